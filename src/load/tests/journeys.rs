//! How users walk: branches, loops, calls, retries, pauses, and what is done once per run and once per user.

use super::server::{Log, friendly, ok};
use super::*;
use http::Response;
use std::sync::atomic::{AtomicUsize, Ordering};

fn answer(status: u16, body: &str) -> Response<String> {
    Response::builder().status(status).body(body.to_string()).unwrap()
}

/// Method and path of everything that was sent, in order.
fn sent(log: &Log) -> Vec<String> {
    log.lock().unwrap().iter().map(|s| format!("{} {}", s.method, s.uri)).collect()
}

/// One user's first iteration, which ends by a long pause.
fn first_walk(server: &Server, steps: &str) -> Ran {
    let text = format!(
        "target: http://TARGET\nload: {{users: 1, for: 400ms}}\nvars: {{n: 2, list: [1, 2], empty: null}}\nsteps:\n{steps}\n  - {{pause: 10s}}\n  - GET /never\n"
    );
    run(server, &text)
}

#[test]
fn conditions_choose_the_way() {
    let (server, log) = friendly(|_| ok(r#"{"total": 3, "next": null}"#));
    first_walk(
        &server,
        r#"  - {get: /a, extract: {total: $.total}}
  - when: total > 2 and not defined(empty)
    steps: [GET /many, {get: /deep, when: list | length == 2}]
    else: [GET /few]
  - when: "{{ total > 9 }}"
    steps: [GET /never]
    else: [GET /else]
  - {get: /skipped, when: total == 4}"#,
    );
    assert_eq!(sent(&log), ["GET /a", "GET /many", "GET /deep", "GET /else"]);
}

#[test]
fn loops_repeat_until_they_are_left() {
    let (server, log) = friendly(|s| match s.uri.as_str() {
        "/page/3" => ok(r#"{"next": null}"#),
        path => ok(&format!(r#"{{"next": {}}}"#, path[6..].parse::<u32>().unwrap_or(0) + 1)),
    });
    first_walk(
        &server,
        r#"  - {get: /page/0, repeat: 2}
  - set: {next: 1}
  - while: next != null
    steps:
      - {get: "/page/{{ next }}", name: page, extract: {next: {json: $.next, optional: true}}}
  - repeat: 5
    steps:
      - set: {n: "{{ n + 1 }}"}
      - {when: n == 5, steps: [break]}
      - get: /page/9{{ n }}
  - {get: /page/7, while: "true", max: 2}"#,
    );
    assert_eq!(
        sent(&log),
        ["/page/0", "/page/0", "/page/1", "/page/2", "/page/3", "/page/93", "/page/94", "/page/7", "/page/7"]
            .map(|p| format!("GET {p}"))
    );
}

#[test]
fn a_loop_without_requests_ends_with_the_load() {
    let (server, log) = friendly(|_| ok("{}"));
    let ran = run(
        &server,
        "target: http://TARGET\nload: {users: 2, for: 200ms}\nvars: {n: 0}\nsteps:\n  - GET /\n  - {while: 'true', max: 100000, steps: [{repeat: 100000, steps: [{set: {n: '{{ n + 1 }}'}}]}]}\n",
    );
    assert_eq!(sent(&log).len(), 2);
    assert_eq!(ran.facts.iterations, 2);
}

#[test]
fn branches_are_taken_by_their_weight() {
    let (server, log) = friendly(|_| ok("{}"));
    run(
        &server,
        "target: http://TARGET\nload: [{rate: 1000/s, for: 400ms}, {users: 0, for: 300ms}]\nsteps:\n  - choose:\n      - {weight: 3, get: /often}\n      - {weight: 1, steps: [GET /rare, stop]}\n  - GET /after\n",
    );
    let sent = sent(&log);
    let count = |path: &str| sent.iter().filter(|s| s.as_str() == path).count() as f64;
    let (often, rare, after) = (count("GET /often"), count("GET /rare"), count("GET /after"));
    assert_eq!(often + rare, 400.0);
    assert_eq!(after, often, "`stop` ends the iteration");
    assert!((0.68..=0.82).contains(&(often / 400.0)), "{often} of 400");
}

#[test]
fn journeys_call_journeys() {
    let (server, log) = friendly(|s| match s.uri.as_str() {
        "/login" => ok(r#"{"token": "t-9"}"#),
        _ => ok("{}"),
    });
    let ran = run(
        &server,
        r#"target: http://TARGET
load: {users: 1, for: 300ms}
journeys:
  buy:
    steps:
      - call: login
      - {get: "/cart?t={{ token }}", name: cart}
      - {call: view, with: {id: "{{ token + 1 }}"}}
      - {call: view, with: {id: 5}, repeat: 2}
      - pause: 10s
      - GET /never
  login: {weight: 0, data: users.csv, steps: [{post: "/login", json: {u: "{{ data.user }}"}, extract: {token: $.token}}]}
  view: {weight: 0, takes: [id], steps: [{get: "/item/{{ id }}", name: item}]}
"#,
    );
    assert_eq!(
        sent(&log),
        ["POST /login", "GET /cart?t=t-9", "GET /item/t-91", "GET /item/5", "GET /item/5"]
    );
    assert_eq!(log.lock().unwrap()[0].body, r#"{"u":"ann"}"#);
    let steps: Vec<u16> = ran.exchanges.iter().map(|e| e.step.0).collect();
    assert_eq!(steps, [2, 0, 3, 3, 3], "a called journey's requests are its own steps");
}

#[test]
fn failures_are_retried_or_end_the_walk_or_do_not() {
    let tries = AtomicUsize::new(0);
    let (server, log) = friendly(move |s| match s.uri.as_str() {
        "/flaky" if tries.fetch_add(1, Ordering::Relaxed) < 2 => answer(503, ""),
        "/bad" | "/worse" => answer(500, ""),
        _ => ok("{}"),
    });
    let ran = first_walk(
        &server,
        r#"  - {get: /flaky, on_failure: "retry(3, 10ms)"}
  - {get: /bad, on_failure: "retry(1, 0s) then go_on"}
  - {get: /lacking, extract: {x: $.x}, on_failure: go_on}
  - {get: /worse, on_failure: stop, think: 10s}"#,
    );
    assert_eq!(
        sent(&log),
        ["/flaky", "/flaky", "/flaky", "/bad", "/bad", "/lacking", "/worse"].map(|p| format!("GET {p}"))
    );
    let waits: Vec<f64> =
        ran.exchanges.windows(2).map(|w| w[1].intended.since(w[0].phases.end).as_millis_f64()).collect();
    assert_eq!((waits[0], waits[1], waits[3]), (10.0, 10.0, 0.0));
}

#[test]
fn a_retry_waits_as_long_as_the_answer_asks() {
    for (asked, requests) in [("1", 1), ("Fri, 31 Dec 2100 23:59:59 GMT", 1), ("0", 3), ("soon", 3)] {
        let (server, log) = friendly(move |_| {
            Response::builder().status(503).header("retry-after", asked).body(String::new()).unwrap()
        });
        let ran = first_walk(&server, r#"  - {get: /busy, on_failure: "retry(2, 10ms) then go_on"}"#);
        assert_eq!(sent(&log).len(), requests, "{asked}");
        assert_eq!(ran.exchanges.len(), requests, "{asked}");
    }
}

#[test]
fn iterations_keep_their_pace() {
    let (server, _log) = friendly(|_| ok("{}"));
    let ran = run(
        &server,
        "target: http://TARGET\nload: {users: 1, for: 450ms}\npace: 100ms\nsteps:\n  - {get: /, think: 5ms}\n",
    );
    let due: Vec<f64> = ran.exchanges.iter().map(|e| ran.ms(e.intended)).collect();
    assert_eq!(due, [0.0, 100.0, 200.0, 300.0, 400.0]);
}

#[test]
fn a_run_is_set_up_once_and_each_user_logs_in_and_out_once() {
    let logins = AtomicUsize::new(0);
    let (server, log) = friendly(move |s| match s.uri.as_str() {
        "/seed" => ok(r#"{"id": "s-1"}"#),
        "/login" => ok(&format!(r#"{{"token": "t-{}"}}"#, logins.fetch_add(1, Ordering::Relaxed))),
        _ => ok("{}"),
    });
    let text = r#"target: http://TARGET
load: LOAD
setup: [{post: /seed, extract: {seed: $.id}}]
on_start: [{post: /login, extract: {token: $.token}}]
journeys:
  work: {think: 20ms, steps: [{get: "/work/{{ seed }}/{{ token }}", name: work}]}
on_stop: [{post: "/logout/{{ token }}", name: logout}]
teardown: [{delete: "/seed/{{ seed }}", name: clear}]
"#;
    let ran = run(&server, &text.replace("LOAD", "{users: 3, for: 300ms}"));
    let all = sent(&log);
    let count = |start: &str| all.iter().filter(|s| s.starts_with(start)).count();
    assert_eq!((all[0].as_str(), all[all.len() - 1].as_str()), ("POST /seed", "DELETE /seed/s-1"));
    assert_eq!(
        (count("POST /seed"), count("POST /login"), count("POST /logout"), count("DELETE")),
        (1, 3, 3, 1)
    );
    for user in 0..3 {
        assert!(count(&format!("GET /work/s-1/t-{user}")) > 1, "{all:?}");
        assert_eq!(count(&format!("POST /logout/t-{user}")), 1, "{all:?}");
    }
    assert!(ran.exchanges.iter().any(|e| e.phases.end < ran.started_at), "the setup is before the load");
    log.lock().unwrap().clear();
    run(&server, &text.replace("LOAD", "{rate: 20/s, for: 300ms}"));
    let all = sent(&log);
    let count = |start: &str| all.iter().filter(|s| s.starts_with(start)).count();
    assert_eq!(
        (count("POST /seed"), count("POST /login"), count("GET /work"), count("DELETE")),
        (1, 6, 6, 1)
    );
}

#[test]
fn a_setup_that_fails_says_so_and_no_load_is_put_on() {
    let (server, log) = friendly(|_| answer(403, ""));
    let text = format!(
        "target: http://{}\nload: {{users: 1, for: 1s}}\nsetup: [{{post: /seed, on_failure: stop}}]\nsteps: [GET /]\n",
        server.address
    );
    let scenario = Arc::new(crate::scenario::parse(&text, "t").unwrap());
    let (sink, mut received) = tokio::sync::mpsc::channel(16);
    let (_stopper, stop) = stop_channel();
    let Err(error) = start(LoadOptions::new(scenario, sink, stop)) else { panic!("it was started") };
    assert_eq!(
        error.to_string(),
        "no load was put on: the setup failed at `POST /seed`: the check `status` does not hold: 403"
    );
    assert_eq!(sent(&log), ["POST /seed"]);
    assert_eq!(received.try_recv().unwrap().len(), 1, "what was sent is on record");
}

#[test]
fn steps_go_to_several_targets() {
    let (one, log_one) = friendly(|_| ok("{}"));
    let (two, log_two) = friendly(|_| ok("{}"));
    let text = r#"targets:
  shop: http://TARGET/s
  api: {url: "http://u:p@TWO/v1", headers: {X-Tenant: t}}
headers: {Authorization: Bearer shop, X-All: a}
load: {users: 1, for: 200ms}
steps:
  - GET /a
  - {get: /b, target: api}
  - GET http://TWO/c
  - {pause: 10s}
  - GET /never
"#;
    run(&one, &text.replace("TWO", &two.address.to_string()));
    assert_eq!(
        (sent(&log_one), sent(&log_two)),
        (vec!["GET /s/a".into()], vec!["GET /v1/b".into(), "GET /c".into()])
    );
    let first = log_one.lock().unwrap()[0].clone();
    assert_eq!(
        (first.header("authorization"), first.header("x-tenant")),
        ("Bearer shop".into(), String::new())
    );
    for seen in log_two.lock().unwrap().iter() {
        assert_eq!(seen.header("authorization"), "Basic dTpw");
        assert_eq!((seen.header("x-tenant"), seen.header("x-all")), ("t".into(), "a".into()));
    }
}

#[test]
fn the_same_seed_walks_the_same_way_on_any_number_of_threads() {
    let walk = |threads: usize, seed: u64| {
        let (server, log) = friendly(|s| ok(&format!(r#"{{"id": {}}}"#, s.uri.len())));
        run_with(
            &server,
            r#"target: http://TARGET
load: {users: 6, for: 300ms}
journeys:
  a:
    weight: 2
    steps:
      - {get: "/a/{{ pick(1, 1000) }}/{{ fake.city }}?u={{ user }}", name: a, extract: {id: $.id}}
      - choose: [{get: "/x?u={{ user }}", name: x}, {post: "/y?u={{ user }}", name: y, json: {m: "{{ fake.email }}", i: "{{ id }}", k: "{{ uuid() }}"}}]
      - {get: "/r?u={{ user }}", name: r, repeat: 0..3}
      - pause: 10s
      - GET /never
  b: [{get: "/b/{{ random_text(9) }}?u={{ user }}", name: b}, {pause: 10s}, GET /never]
"#,
            |options, _| (options.threads, options.seed) = (threads, seed),
        );
        let log = log.lock().unwrap();
        let mut by_user: Vec<Vec<String>> = vec![Vec::new(); 6];
        for seen in log.iter() {
            let user: usize = seen.uri.split("u=").nth(1).unwrap().parse().unwrap();
            let mut headers: Vec<String> = seen
                .headers
                .iter()
                .filter(|(name, _)| !matches!(name.as_str(), "traceparent" | "host"))
                .map(|(n, v)| format!("{n}: {v:?}"))
                .collect();
            headers.sort();
            by_user[user].push(format!("{} {} {headers:?} {}", seen.method, seen.uri, seen.body));
        }
        by_user
    };
    let one = walk(1, 42);
    assert!(one.iter().all(|user| !user.is_empty()));
    assert_eq!(one, walk(2, 42));
    assert_eq!(one, walk(3, 42));
    assert_ne!(one, walk(1, 43));
}

#[test]
fn a_cache_asks_again_only_for_what_is_stale() {
    let (server, log) = friendly(|s| {
        let build = Response::builder();
        match s.uri.as_str() {
            "/fresh" => build.header("cache-control", "max-age=60").body(r#"{"v": 1}"#.to_string()),
            "/tagged" if s.header("if-none-match") == "\"a\"" => build.status(304).body(String::new()),
            "/tagged" => build.header("etag", "\"a\"").body(r#"{"v": 2}"#.to_string()),
            _ => build.body(r#"{"v": 3}"#.to_string()),
        }
        .unwrap()
    });
    let ran = run(
        &server,
        r#"target: http://TARGET
load: {users: 1, for: 400ms}
cache: true
steps:
  - repeat: 3
    steps:
      - {get: /fresh, extract: {a: $.v}}
      - {get: /tagged, expect: {status: 200}, extract: {b: $.v}}
      - {get: "/sum/{{ a + b }}", name: sum, cache: false}
  - {put: /fresh, body: x}
  - GET /fresh
  - {pause: 10s}
  - GET /never
"#,
    );
    let sums = ["GET /sum/3"; 3];
    assert_eq!(
        sent(&log),
        [
            "GET /fresh",
            "GET /tagged",
            sums[0],
            "GET /tagged",
            sums[1],
            "GET /tagged",
            sums[2],
            "PUT /fresh",
            "GET /fresh"
        ]
    );
    let conditions: Vec<String> = log
        .lock()
        .unwrap()
        .iter()
        .filter(|s| s.uri == "/tagged")
        .map(|s| s.header("if-none-match"))
        .collect();
    assert_eq!(conditions, ["", "\"a\"", "\"a\""]);
    assert!(ran.exchanges.iter().all(|e| !e.is_error() && e.checks_failed.is_empty()));
    assert_eq!((ran.facts.cached, ran.facts.offered), (2, 9));
}
