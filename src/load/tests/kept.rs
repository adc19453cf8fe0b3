//! Values that outlast an iteration, and rows that a user keeps.

use super::server::{Log, friendly, ok};
use super::*;
use http::Response;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

fn paths(log: &Log) -> Vec<String> {
    log.lock().unwrap().iter().map(|s| s.uri.clone()).collect()
}

#[test]
fn a_kept_variable_lasts_as_long_as_its_user() {
    let (server, log) = friendly(|s| ok(&format!(r#"{{"session": "s{}"}}"#, s.uri.replace('/', "-"))));
    let text = "target: http://TARGET
load: {users: 3, for: 600ms}
steps:
  - when: not defined(session)
    steps: [{name: login, get: '/login/{{ user }}', extract: {session: {json: $.session, keep: user}, once: $.session}}]
    else: [{name: work, get: '/work/{{ user }}/{{ session }}', when: not defined(once), think: 20ms}]
";
    run(&server, text);
    let seen = paths(&log);
    let logins: Vec<&String> = seen.iter().filter(|p| p.starts_with("/login")).collect();
    // How far they get is the machine's affair.
    let once: BTreeSet<&String> = logins.iter().copied().collect();
    assert!(once.len() == logins.len() && !logins.is_empty(), "each logs in once: {seen:?}");
    for path in seen.iter().filter(|p| p.starts_with("/work")) {
        let user = path.split('/').nth(2).unwrap();
        assert_eq!(*path, format!("/work/{user}/s-login-{user}"));
    }
}

#[test]
fn a_variable_of_the_run_is_fetched_by_one_and_used_by_all() {
    // Each token is good for 40 uses.
    let uses: Mutex<Vec<usize>> = Mutex::default();
    let (server, log) = friendly(move |s| {
        let mut uses = uses.lock().unwrap();
        if s.uri == "/token" {
            uses.push(0);
            return ok(&format!(r#"{{"token": "{}"}}"#, uses.len() - 1));
        }
        let token: usize = s.header("authorization").strip_prefix("Bearer ").unwrap().parse().unwrap();
        uses[token] += 1;
        let status = if uses[token] <= 40 { 200 } else { 401 };
        Response::builder().status(status).body("{}".to_string()).unwrap()
    });
    let text = "target: http://TARGET
load: {users: 4, for: 600ms}
setup: [call: token]
journeys:
  token: {weight: 0, steps: [{name: token, get: /token, extract: {token: {json: $.token, keep: run}}}]}
  work:
    steps:
      - {name: work, get: /work, headers: {Authorization: 'Bearer {{ token }}'}, expect: {status: [200, 401]}, extract: {code: status}, think: 2ms}
      - {when: code == 401, call: token}
";
    let ran = run_with(&server, text, |options, _| options.threads = 2);
    let seen = paths(&log);
    let (fetched, worked) =
        (seen.iter().filter(|p| *p == "/token").count(), seen.iter().filter(|p| *p == "/work").count());
    // At each refusal all four may find out at the same time.
    assert!(fetched >= 1 && fetched <= 4 * (worked / 40 + 1), "{fetched} tokens for {worked} requests");
    assert!(ran.exchanges.iter().all(|e| e.checks_failed.is_empty()));
}

/// A service whose tokens are good for 40 uses each: how often a token was fetched, refused and used.
fn with_tokens(wait: Duration) -> (Server, Log) {
    let uses: Mutex<Vec<usize>> = Mutex::default();
    friendly(move |s| {
        if s.uri == "/token" {
            // Long enough that others find the old one refused meanwhile.
            std::thread::sleep(wait);
            let mut uses = uses.lock().unwrap();
            uses.push(0);
            return ok(&format!(r#"{{"token": "{}"}}"#, uses.len() - 1));
        }
        let mut uses = uses.lock().unwrap();
        let token: usize = s.header("authorization").strip_prefix("Bearer ").unwrap().parse().unwrap();
        uses[token] += 1;
        let status = if uses[token] <= 40 { 200 } else { 401 };
        Response::builder().status(status).body("{}".to_string()).unwrap()
    })
}

#[test]
fn one_user_fetches_for_all_while_the_others_wait() {
    let (server, log) = with_tokens(Duration::from_millis(15));
    let text = "target: http://TARGET
load: {users: 8, for: 900ms}
journeys:
  token: {weight: 0, steps: [{name: token, get: /token, extract: {token: {json: $.token, keep: run}}}]}
  work:
    steps:
      - {when: not defined(token), call: token, one_for_all: true}
      - {name: work, get: /work, headers: {Authorization: 'Bearer {{ token }}'}, expect: {status: [200, 401]}, extract: {code: status}, think: 2ms}
      - {when: code == 401, call: token, one_for_all: true}
";
    let ran = run_with(&server, text, |options, _| options.threads = 2);
    let log = log.lock().unwrap();
    let fetched = log.iter().filter(|s| s.uri == "/token").count();
    // A token is fetched for the start, and then only after a refusal of the one before.
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    log.iter()
        .filter(|s| s.uri == "/work")
        .for_each(|s| *used.entry(s.header("authorization")).or_default() += 1);
    assert!(fetched >= 1 && !used.is_empty(), "{used:?}");
    assert!(used.keys().all(|token| token.starts_with("Bearer ")), "{used:?}");
    let spent = used.values().filter(|n| **n > 40).count();
    assert!(fetched <= spent + 1, "{fetched} tokens, of which {spent} were spent: {used:?}");
    assert!(ran.exchanges.iter().all(|e| e.checks_failed.is_empty()));
    // To wait for another's token is as to wait for an answer: what follows is due afterwards.
    let (tokens, works): (Vec<&Exchange>, Vec<&Exchange>) =
        ran.exchanges.iter().partition(|e| ran.scenario_steps[usize::from(e.step.0)] == "token");
    let first = tokens.iter().map(|e| e.phases.end).min().unwrap();
    assert!(works.iter().all(|e| e.intended >= first));
}

#[test]
fn where_the_one_fails_the_next_in_line_tries() {
    let asked = Mutex::new(0);
    let (server, log) = friendly(move |s| {
        let mut asked = asked.lock().unwrap();
        if s.uri != "/token" {
            return ok("{}");
        }
        *asked += 1;
        let (status, body) = if *asked <= 3 { (503, "{}") } else { (200, r#"{"token": "t"}"#) };
        Response::builder().status(status).body(body.to_string()).unwrap()
    });
    let text = "target: http://TARGET
load: {users: 4, for: 900ms}
journeys:
  token: {weight: 0, steps: [{name: token, get: /token, extract: {token: {json: $.token, keep: run}}, on_failure: stop}]}
  work:
    steps:
      - {when: not defined(token), call: token, one_for_all: true}
      - {name: work, get: '/work/{{ token }}', think: 5ms}
";
    run_with(&server, text, |options, _| options.threads = 2);
    let seen = paths(&log);
    let fetched = seen.iter().filter(|p| *p == "/token").count();
    assert!(seen.iter().all(|p| p == "/token" || p == "/work/t"), "{seen:?}");
    // Three failures and one success, if the run lasted that long; never one for each user.
    let worked = seen.iter().any(|p| p == "/work/t");
    assert!(if worked { fetched == 4 } else { (1..=4).contains(&fetched) }, "{seen:?}");
}

#[test]
fn on_start_journeys_and_on_stop_share_a_row() {
    let (server, log) = friendly(|_| ok("{}"));
    let text = "target: http://TARGET
load: {users: 3, for: 600ms}
data: {file: users.csv, order: per_user}
on_start: [GET '/start/{{ user }}/{{ data.user }}']
journeys:
  work:
    think: 20ms
    steps: [{name: work, get: '/work/{{ user }}/{{ data.user }}'}, {call: inner}]
  inner: {weight: 0, steps: [{name: inner, get: '/inner/{{ user }}/{{ data.user }}'}]}
on_stop: [{name: stop, get: '/stop/{{ user }}/{{ data.user }}'}]
"
    .replace(
        "[GET '/start/{{ user }}/{{ data.user }}']",
        "[{name: start, get: '/start/{{ user }}/{{ data.user }}'}]",
    );
    run(&server, &text);
    let whom: BTreeSet<String> =
        paths(&log).iter().map(|p| p[1..].split_once('/').unwrap().1.to_string()).collect();
    let all: BTreeSet<String> = ["0/ann", "1/bob", "2/cid"].map(str::to_string).into();
    assert!(!whom.is_empty() && whom.is_subset(&all), "{whom:?}");
}

#[test]
fn a_journey_that_is_called_goes_on_with_its_callers_row() {
    let (server, log) = friendly(|_| ok("{}"));
    let text = "target: http://TARGET
load: {users: 1, for: 600ms}
data: users.csv
journeys:
  work: {steps: [{name: a, get: '/{{ iteration }}/{{ data.user }}'}, {call: inner}, {name: c, get: '/{{ iteration }}/{{ data.user }}', think: 10ms}]}
  inner: {weight: 0, steps: [{name: b, get: '/{{ iteration }}/{{ data.user }}'}]}
";
    run(&server, text);
    let seen: BTreeSet<String> = paths(&log).into_iter().collect();
    let iterations: BTreeSet<&str> = seen.iter().map(|p| p.split('/').nth(1).unwrap()).collect();
    assert_eq!(iterations.len(), seen.len(), "one row for each iteration: {seen:?}");
    assert!(seen.contains("/0/ann") && !seen.contains("/1/ann"), "{seen:?}");
}

#[test]
fn conditions_compare_with_what_the_walk_knows() {
    // The run ends when both steps were sent twice, however long that takes.
    let stopper: Arc<OnceLock<Stopper>> = Arc::default();
    let (reached, asked) = (Arc::clone(&stopper), AtomicUsize::new(0));
    let (server, _) = friendly(move |s| {
        if s.uri == "/none" && asked.fetch_add(1, Ordering::Relaxed) == 1 {
            reached.wait().drain();
        }
        let body = r#"{"owner": "ann", "left": 3, "code": "007", "tags": ["a", "b"]}"#.to_string();
        Response::builder().header("x-owner", "ann").body(body).unwrap()
    });
    let text = r#"target: http://TARGET
load: {users: 1, for: 1m}
vars: {me: ann, stock: 5, few: "2", tag: b, code: "007"}
steps:
  - name: all hold
    get: /
    expect:
      headers: {x-owner: "{{ me }}"}
      json: {$.owner: "{{ me }}", $.left: "< {{ stock }}", $.code: "{{ code }}", $.tags: "contains {{ tag }}", $.none: absent}
    think: 20ms
  - name: none holds
    get: /none
    expect:
      json: {$.owner: "!= {{ me }}", $.left: "< {{ few }}", $.tags: "not contains {{ tag }}", $.code: "== {{ missing }}"}
    extract: {missing: {json: $.none, optional: true}}
    think: 20ms
"#;
    // A variable that is never given a value can be named only where a step extracts it.
    let text = text.replace("steps:\n  - name: all", "on_start: [{name: s, get: /, extract: {missing: {json: $.none, optional: true}}}]\nsteps:\n  - name: all");
    let ran = run_with(&server, &text, |_, given| assert!(stopper.set(given).is_ok()));
    let failed = |name: &str| -> BTreeSet<String> {
        let of = |e: &&Exchange| ran.scenario_steps[usize::from(e.step.0)] == name;
        ran.exchanges.iter().filter(of).flat_map(|e| &e.checks_failed).map(|c| c.check.to_string()).collect()
    };
    assert_eq!(failed("all hold"), BTreeSet::new());
    let wanted = [
        "json $.owner != {{ me }}",
        "json $.left < {{ few }}",
        "json $.tags not contains {{ tag }}",
        "json $.code == {{ missing }}",
    ];
    assert_eq!(failed("none holds"), wanted.map(str::to_string).into());
}
