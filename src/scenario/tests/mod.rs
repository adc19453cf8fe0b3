//! Whole files: the documented example, the URL form, masking, and what is said of broken ones.

mod broken;
mod budget;
mod findings;
mod schema;

use super::*;

pub(super) const EXAMPLE: &str = include_str!("example.yaml");

fn example_surroundings() -> Surroundings<'static> {
    Surroundings {
        read: &|_| Ok("user,password\nann,secret\nbob,hidden\n".to_string()),
        ..Surroundings::default()
    }
}

fn read(text: &str) -> Scenario {
    parse_with(text, "shop.yaml", &example_surroundings()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_documented_example_is_read_whole() {
    let scenario = read(EXAMPLE);
    assert_eq!((scenario.name.as_str(), scenario.target.as_str()), ("shop", "http://127.0.0.1:8080"));
    assert_eq!(
        scenario.load.stages,
        [
            Stage::Users { users: 20, ramp: Nanos::from_millis(10_000), hold: Nanos::from_millis(60_000) },
            Stage::Rate { rate: Rate::per_second(200), ramp: Nanos::ZERO, hold: Nanos::from_millis(120_000) },
        ]
    );
    assert_eq!(scenario.duration(), Nanos::from_millis(190_000));
    let steps: Vec<String> = scenario
        .steps()
        .into_iter()
        .map(|s| format!("{} | {} | {} {}", s.journey, s.name, s.method, s.template))
        .collect();
    assert_eq!(
        steps,
        [
            "browse | GET /products | GET /products",
            "browse | product | GET /products/{ids}",
            "checkout | POST /login | POST /login",
            "checkout | POST /orders | POST /orders",
            "checkout | POST /logout | POST /logout",
        ]
    );
    let weights: Vec<u32> = scenario.journeys.iter().map(|j| j.weight).collect();
    assert_eq!(weights, [8, 1]);
    let think = Think::Between { least: Nanos::from_millis(500), most: Nanos::from_millis(2_000) };
    assert!(scenario.steps[..2].iter().all(|s| s.think == think));
    assert!(scenario.steps[2..].iter().all(|s| s.think == Think::default()));
    let implied = &scenario.steps[0].extract;
    assert!(
        matches!(&implied[0].source, Source::Json(_, Several::Yes)),
        "ids are taken from the list before"
    );
    let checks: Vec<&str> = scenario.steps[1].expect.json.iter().map(|c| &*c.name).collect();
    assert_eq!(checks, ["json $.price > 0"]);
    assert!(scenario.steps[1].expect.status.holds(200) && !scenario.steps[1].expect.status.holds(204));
    assert_eq!(scenario.steps[1].expect.within.as_ref().map(|w| w.1), Some(Nanos::from_millis(300)));
    let Body::Text { content_type, text } = &scenario.steps[3].body else { panic!("an order has a body") };
    assert_eq!(*content_type, Some("application/json"));
    let Piece::Text(first) = &text.pieces[0] else { panic!("{text:?}") };
    assert_eq!(first, "{\"product\":");
    assert_eq!(scenario.thresholds.len(), 5);
    assert_eq!(
        scenario.thresholds[4].subject,
        Subject::Span("SELECT product".to_string()),
        "{:?}",
        scenario.thresholds[4]
    );
    assert_eq!(scenario.thresholds[4].text, "span(\"SELECT product\"): duration.p95 < 20ms, calls < 5");
    assert_eq!(scenario.text(), EXAMPLE, "nothing in it is secret");
}

#[test]
fn steps_inherit_what_stands_above_them() {
    let scenario = read(
        r#"
target: https://me:pw@example.org/api/
targets: {other: "http://other.example"}
load: {users: 1, for: 1s}
headers: {Accept: text/html, X-Api-Key: k}
think: 1s
timeouts: {request: 2s}
vars: {shop: berlin, sizes: [1, 2]}
steps:
  - GET /a
  - get: http://other.example/b?x={{ shop }}
    headers: {accept: "*/*"}
    think: 0s
    timeout: 500ms
  - form: {q: "a b", n: "{{ sizes | random }}"}
    post: "?search"
"#,
    );
    assert_eq!(scenario.endpoints.len(), 2);
    assert_eq!(scenario.steps[0].path.as_static(), Some("/api/a"));
    let names = |step: &Step| step.headers.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&scenario.steps[0]), ["accept", "x-api-key", "authorization"]);
    assert_eq!(names(&scenario.steps[1]), ["accept"], "credentials stay with the target");
    assert_eq!(scenario.steps[1].headers[0].1.as_static(), Some("*/*"));
    assert_eq!(
        (scenario.steps[0].timeout, scenario.steps[1].timeout),
        (Nanos::from_millis(2_000), Nanos::from_millis(500))
    );
    assert_eq!(scenario.steps[1].think, Think::default());
    assert_eq!(scenario.steps[2].path.as_static(), Some("/api/?search"));
    let Body::Text { text, .. } = &scenario.steps[2].body else { panic!("a form has a body") };
    assert_eq!(text.pieces[0], Piece::Text("q=a%20b&n=".to_string()));
    assert_eq!(scenario.variables[0], serde_json::json!("berlin"));
}

#[test]
fn secrets_are_masked_in_the_text_and_it_still_parses() {
    let text = r#"target: http://me:pw@h:1
load: {users: 1, for: 1s}
headers:
  Authorization: Bearer abc.def   # from the vault
  X-Trace: kept
steps:
  - post: /login?api_key=s3cret&page=1
    json: {user: ann, password: hunter2, deep: {client_secret: "s"}}
  - post: /x
    form: {token: "{{ user }}"}
telemetry: {endpoint: "http://127.0.0.1:4317", headers: {x-tenant: t1}}
"#;
    let scenario = read(text);
    assert_eq!(
        scenario.text(),
        r#"target: http://***@h:1
load: {users: 1, for: 1s}
headers:
  Authorization: 'Bearer ***'   # from the vault
  X-Trace: kept
steps:
  - post: /login?api_key=***&page=1
    json: {user: ann, password: '***', deep: {client_secret: "***"}}
  - post: /x
    form: {token: "{{ user }}"}
telemetry: {endpoint: "http://127.0.0.1:4317", headers: {x-tenant: '***'}}
"#
    );
    let again = read(scenario.text());
    assert_eq!(again.steps(), scenario.steps());
    assert_eq!(again.text(), scenario.text());
}

#[test]
fn environment_variables_are_filled_in_and_never_written_down() {
    let environment = [("TOKEN".to_string(), "abcd".to_string()), ("HOST".to_string(), "h:81".to_string())];
    let surroundings = Surroundings { environment: Arc::new(environment.into()), ..example_surroundings() };
    let text = "target: http://{{ env.HOST }}\nload: {users: 1, for: 1s}\nsteps:\n  - get: /a\n    headers: {Authorization: 'Bearer {{ env.TOKEN }}'}\n";
    let scenario = parse_with(text, "a.yaml", &surroundings).unwrap();
    assert_eq!(scenario.endpoints[0].port, 81);
    assert_eq!(scenario.steps[0].headers[0].1.revealed().as_static(), Some("Bearer abcd"));
    assert_eq!(scenario.text(), text);
}

#[test]
fn the_url_form_reads_back_as_itself() {
    let form = UrlForm {
        load: UrlLoad::Rate(Rate { per_billion_seconds: 1_500_000_000 }),
        ramp: Nanos::from_millis(2_500),
        headers: vec![("Accept".into(), "text/html; q=\"1\"".into())],
        body: Some("a: {b}\n'c'".into()),
        method: "POST".into(),
        timeout: Some(Nanos::from_millis(900)),
        ..UrlForm::new("http://127.0.0.1:8080/p?q={x}&r=ü")
    };
    let scenario = from_url(&form).unwrap();
    assert_eq!(scenario.name, "127.0.0.1:8080");
    assert_eq!(scenario.steps[0].path.as_static(), Some("/p?q=%7Bx%7D&r=%C3%BC"));
    assert_eq!(scenario.steps()[0].name, "POST /p");
    assert!(
        matches!(&scenario.steps[0].body, Body::Text { text, .. } if text.as_static() == Some("a: {b}\n'c'"))
    );
    let again = parse(scenario.text(), "run").unwrap();
    assert_eq!(format!("{:?}", again), format!("{:?}", scenario));
    assert!(from_url(&UrlForm::new("localhost:8080")).unwrap_err().to_string().contains("with its scheme"));
}

#[test]
fn a_step_may_be_of_one_name_in_several_journeys() {
    let scenario = read(
        "target: http://h\nload: {users: 1, for: 1s}\njourneys:\n  a: [GET /x, GET /x]\n  b: [GET /x]\nthresholds:\n  - GET /x: latency.p95 < 1s\n  - b/GET /x: latency.p95 < 1s\n",
    );
    let names: Vec<String> = scenario.steps().into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["GET /x", "GET /x (2)", "GET /x"]);
    let steps = |n: usize| match &scenario.thresholds[n].subject {
        Subject::Step { steps, .. } => steps.iter().map(|s| s.0).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!((steps(0), steps(1)), (vec![0, 2], vec![2]));
}

#[test]
fn the_reference_names_everything_that_can_be_written() {
    let reference = include_str!("../../../docs/scenario.md");
    assert!(reference.contains(EXAMPLE.trim_end()), "the example is the one that is tested");
    let words = super::template::words().chain(super::read::words()).chain(CATEGORIES.iter().copied());
    for word in words {
        assert!(
            reference.contains(&format!("`{word}`")) || reference.contains(&format!("`{word}(")),
            "{word}"
        );
    }
}

#[test]
fn requests_can_be_marked_as_test_traffic() {
    let text = |telemetry: &str| {
        format!(
            "target: http://127.0.0.1:1\nload: {{users: 1, for: 1s}}\n{telemetry}steps:\n  - GET /a\n  \
             - {{get: /b, headers: {{Baggage: own=1}}}}\n"
        )
    };
    assert!(read(&text("telemetry: {baggage: true}\n")).telemetry.is_some_and(|t| t.baggage));
    let mut scenario = read(&text(""));
    assert!(scenario.telemetry.is_none());
    scenario.mark_requests("hotspan.run.id=r1,user_agent.synthetic.type=test");
    let headers: Vec<String> = scenario.steps.iter().map(|step| format!("{:?}", step.headers)).collect();
    assert!(headers[0].contains("hotspan.run.id=r1"), "{headers:?}");
    assert!(headers[1].contains("own=1") && !headers[1].contains("hotspan.run.id"), "{headers:?}");
}

#[test]
fn a_call_for_all_leaves_something_for_all() {
    let with = |extract: &str, flag: &str, uses: &str| {
        parse(
            &format!(
                "target: http://h\nload: {{users: 1, for: 1s}}\njourneys:\n  token: {{weight: 0, steps: [{{get: /t, extract: {extract}}}]}}\n  work:\n    steps:\n      - {{call: token, one_for_all: {flag}}}\n      - get: '/{uses}'\n"
            ),
            "test",
        )
    };
    let kept = "{token: {json: $.t, keep: run}, other: $.o}";
    let scenario = with(kept, "true", "{{ token }}").unwrap_or_else(|e| panic!("{e}"));
    let work = scenario.journeys.iter().find(|j| j.name == "work").unwrap();
    assert!(matches!(work.flow[0], Op::CallForAll(_)), "{:?}", work.flow);
    assert!(matches!(with(kept, "false", "{{ other }}").unwrap().journeys[1].flow[0], Op::Call(_)));
    let error = |extract: &str, flag: &str, uses: &str| with(extract, flag, uses).unwrap_err().to_string();
    // What only one user would have cannot be used after it.
    let lacking = error(kept, "true", "{{ other }}");
    assert!(lacking.contains("other") && lacking.contains(":8:"), "{lacking}");
    let nothing = error("{token: {json: $.t, keep: user}}", "true", "");
    assert!(
        nothing.contains(":7:")
            && nothing.contains("`token` leaves nothing for the users who wait")
            && nothing.contains("keep: run"),
        "{nothing}"
    );
    assert!(error(kept, "perhaps", "").contains("true or false"));
}

#[test]
fn words_of_the_language_mean_nothing_in_what_is_sent() {
    let text = "target: http://h\nload: {users: 1, for: 1s}\nsteps:\n  - {post: /, json: {extract: {a: {keep: forever}}, steps: 5}, extract: {a: {json: $.a, keep: run}}}\n  - ws: /\n    script: [{send: {json: {extract: {b: {keep: 1}}}}}, {expect, extract: {c: {json: $.c, keep: user}}}]\n";
    let text = text.replace("{expect, extract", "{expect: {json: {$.c: exists}}, extract");
    let scenario = parse(&text, "test").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((scenario.kept.run.len(), scenario.kept.user.len()), (1, 1));
}
