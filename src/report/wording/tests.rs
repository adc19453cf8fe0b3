//! Every sentence, by every way that leads to it.

use super::{advice, finding, messages, note, verdict};
use crate::analysis::result::*;
use crate::record::*;
use crate::report::golden_tests::check;
use crate::report::headline;
use crate::report::sample::{self, Sample};
use crate::report::view::View;
use std::collections::BTreeSet;

fn no_spans(change: impl Fn(&mut Sample)) -> String {
    let mut sample = sample::untraced();
    change(&mut sample);
    note::no_spans_way_out(&View::new(&sample.report())).plain()
}

#[test]
fn the_way_to_spans_depends_on_what_arrived() {
    let nothing = no_spans(|_| {});
    assert!(nothing.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{nothing}");
    let foreign = no_spans(|s| {
        s.analysis.telemetry.spans_foreign = 900;
        s.analysis.telemetry.services.insert("shop".into(), 900);
        s.run.receiver.spans_received = 900;
    });
    assert!(
        foreign.contains("traceparent") && foreign.contains("shop") && !foreign.contains("ENDPOINT"),
        "{foreign}"
    );
    assert!(
        foreign.contains("tracecontext in OTEL_PROPAGATORS") && foreign.contains("--propagate"),
        "{foreign}"
    );
    let sent = |propagators: &[Propagator]| {
        no_spans(|s| {
            s.analysis.telemetry.spans_foreign = 900;
            s.run.load.propagation = Propagation::of(propagators.iter().copied()).unwrap();
        })
    };
    let jaeger = sent(&[Propagator::Jaeger]);
    assert!(jaeger.contains("the uber-trace-id header") && jaeger.contains("have jaeger in"), "{jaeger}");
    let all = sent(&Propagator::NAMES.map(|(_, propagator)| propagator));
    assert!(all.contains("b3,b3multi,jaeger,xray in") && !all.contains("--propagate"), "{all}");
    let unsampled = no_spans(|s| s.analysis.telemetry.traced = 0);
    assert!(
        unsampled.contains("asked the server to record") && !unsampled.contains("ENDPOINT"),
        "{unsampled}"
    );
    let garbage = no_spans(|s| s.run.receiver.bad_requests = 3);
    assert!(garbage.contains("OTEL_EXPORTER_OTLP_PROTOCOL") && !garbage.contains("ENDPOINT"), "{garbage}");
    let invalid = no_spans(|s| s.run.receiver.spans_rejected = 3);
    assert!(invalid.contains("invalid ids") && !invalid.contains("ENDPOINT"), "{invalid}");
}

fn low_coverage(change: impl Fn(&mut Sample)) -> String {
    let mut sample = sample::bottleneck();
    sample.analysis.notes = vec![Note::LowCoverage { joined: 4_012, traced: 12_040 }];
    change(&mut sample);
    let report = sample.report();
    let all = messages(&View::new(&report));
    all.into_iter().find(|m| m.text.plain().contains("server spans (")).unwrap().whole().plain()
}

#[test]
fn the_way_to_more_spans_depends_on_which_are_missing() {
    let lost = low_coverage(|_| {});
    assert!(lost.starts_with("4,012 of 12,040 traced requests have server spans (33 %)"), "{lost}");
    assert!(lost.contains("OTEL_BSP_MAX_QUEUE_SIZE") && !lost.contains("ENDPOINT"), "{lost}");
    let dark = low_coverage(|s| s.analysis.steps[1].joined = 0);
    assert!(dark.contains("GET /search") && !dark.contains("QUEUE_SIZE"), "{dark}");
    let late = low_coverage(|s| {
        s.run.wait =
            Some(WaitFacts { waited: Nanos(30_000_000_000), end: WaitEnd::Deadline, joined: 1, traced: 2 });
    });
    assert!(late.contains("OTEL_BSP_SCHEDULE_DELAY") && !late.contains("QUEUE_SIZE"), "{late}");
    let none = low_coverage(|s| s.analysis.notes = vec![Note::LowCoverage { joined: 0, traced: 12_040 }]);
    assert!(none.starts_with("None of 12,040 traced requests have server spans (0 %)"), "{none}");
}

#[test]
fn idle_cores_are_not_asked_for_more() {
    let mut sample = sample::generator_bound();
    assert!(headline(&sample.report()).contains("more than 2 cores"));
    sample.run.load.cpu = Nanos::from_millis(5_000);
    let idle = headline(&sample.report());
    assert!(!idle.contains("more than") && idle.contains("busy only"), "{idle}");
    sample.run.load.threads = 0;
    assert!(headline(&sample.report()).contains("faster machine"));
}

#[test]
fn the_share_is_of_the_slow_band_and_else_of_the_mean() {
    let mut sample = sample::bottleneck();
    let slow = sample.analysis.steps[0].bands[Band::Slow as usize];
    let share = slow.categories.get(Category::Database).0 as f64 / slow.latency_sum.0 as f64;
    let text = headline(&sample.report());
    assert!(text.contains(&format!("database: {:.0} % of 174 ms p95, mostly", share * 100.0)), "{text}");
    // Without a slow band: the mean, and the share of the mean.
    let step = &mut sample.analysis.steps[0];
    step.bands[Band::Slow as usize] = BandResult::default();
    step.contributors.iter_mut().for_each(|c| c.bands[Band::Slow as usize] = Nanos::ZERO);
    let share = step.categories.get(Category::Database).0 as f64 / step.latency_sum.0 as f64;
    let text = headline(&sample.report());
    assert!(text.contains(&format!("database: {:.0} % of 97.7 ms mean, mostly", share * 100.0)), "{text}");
}

#[test]
fn less_than_half_of_the_share_is_not_most_of_it() {
    let mut sample = sample::bottleneck();
    let owner = &mut sample.analysis.steps[0].contributors[0];
    let half = Nanos(owner.bands[Band::Slow as usize].0 / 3);
    owner.bands[Band::Slow as usize] = half;
    let text = headline(&sample.report());
    assert!(
        text.contains(
            "77 % of 174 ms p95, the largest part SELECT … FROM review WHERE product_id = ? (24 %)"
        ),
        "{text}"
    );
}

#[test]
fn the_same_statement_from_two_places_is_one_cause_and_two_rows() {
    let mut sample = sample::bottleneck();
    let step = &mut sample.analysis.steps[0];
    let mut other = step.contributors[0].clone();
    other.contributor.code = "src/reviews.rs:99".into();
    step.contributors.insert(1, other);
    sample.analysis.findings[0].contributor.code = "".into();
    let text = headline(&sample.report());
    assert!(text.ends_with("52 calls per request"), "both places: {text}");
    let out = crate::report::terminal(&sample.report(), crate::report::Style::default());
    for place in ["41", "99"] {
        assert!(
            out.lines().any(|l| l.contains("database") && l.contains(&format!("eviews.rs:{place}"))),
            "{out}"
        );
    }
}

#[test]
fn a_finding_out_of_range_is_no_crash() {
    let mut sample = sample::bottleneck();
    sample.analysis.verdict = Verdict::Bottleneck(9);
    assert!(headline(&sample.report()).contains("missing"));
    sample.analysis.verdict = Verdict::Healthy { step: StepId(77) };
    assert!(headline(&sample.report()).contains("step 77"));
    sample.analysis.findings[0].step = StepId(78);
    crate::report::json(&sample.report());
    crate::report::markdown(&sample.report());
    crate::report::terminal(&sample.report(), crate::report::Style::default());
}

/// All sentences in one file, to be read as a whole.
#[test]
fn the_catalogue_of_sentences() {
    let mut out = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        out.push_str(&format!("## {title}\n{}\n\n", lines.join("\n")));
    };
    let failing = |class, status| {
        let mut sample = sample::failing();
        sample.analysis.verdict = Verdict::Failing { step: StepId(0), class, status };
        headline(&sample.report())
    };
    section("failing, by class", FailureClass::ALL.iter().map(|c| failing(Some(*c), None)).collect());
    let statuses = [302, 400, 401, 404, 429, 500];
    section("failing, by status", statuses.iter().map(|s| failing(None, Some(*s))).collect());
    section("failing otherwise", vec![failing(None, None)]);
    let states = [RunState::Running, RunState::Interrupted, RunState::Aborted, RunState::Complete];
    let no_data = |state, offered| {
        let mut sample = sample::no_data();
        (sample.run.state, sample.run.load.offered) = (state, offered);
        headline(&sample.report())
    };
    let mut lines: Vec<String> = states.iter().map(|s| no_data(*s, 0)).collect();
    lines.push(no_data(RunState::Complete, 7));
    section("no data, by state", lines);

    let sample = sample::everything();
    let (report, count) = (sample.report(), sample.analysis.findings.len());
    let view = View::new(&report);
    let mut lines = Vec::new();
    for f in &sample.analysis.findings {
        lines.push(format!("{}: {}", f.kind.name(), finding::title(f, &view).plain()));
        lines.push(format!("  {}", advice::advice(f).plain()));
        lines.push(format!("  {}", finding::impact(f, view.step(f.step)).replace('\u{a0}', " ")));
    }
    section("findings", lines);
    let answer = |i| {
        let mut sample = sample::everything();
        sample.analysis.verdict = Verdict::Bottleneck(i);
        headline(&sample.report())
    };
    section("bottlenecks", (0..count).map(answer).collect());
    let systems =
        ["postgresql", "mysql", "sqlite", "mongodb", "microsoft.sql_server", "oracle.db", "cassandra"];
    let advice = |category, system: &str, kind| {
        let mut f = sample.analysis.findings[0].clone();
        (f.kind, f.contributor.category, f.contributor.system) = (kind, category, system.into());
        f.contributor.code = "".into();
        advice::advice(&f).plain()
    };
    let mut lines: Vec<String> = systems
        .iter()
        .map(|s| format!("{s}: {}", advice(Category::Database, s, FindingKind::SlowQuery)))
        .collect();
    for (category, system) in [(Category::Search, "elasticsearch"), (Category::Cache, "redis")] {
        lines.push(format!("{system}: {}", advice(category, system, FindingKind::SlowQuery)));
    }
    section("slow query, by system", lines);
    let n_plus_one = [Category::Database, Category::Cache, Category::Search];
    section(
        "n+1, by category",
        n_plus_one.iter().map(|c| advice(*c, "", FindingKind::NPlusOneQuery)).collect(),
    );

    let lines: Vec<String> =
        messages(&view).iter().map(|m| format!("{:?}: {}", m.level, m.whole().plain())).collect();
    assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len(), "the same sentence twice");
    section("messages", lines);
    let mut lines = Vec::new();
    for sample in sample::all() {
        let report = sample.report();
        lines.extend(
            messages(&View::new(&report)).iter().map(|m| format!("{}: {}", sample.name, m.whole().plain())),
        );
    }
    section(
        "messages of the other samples",
        lines.into_iter().filter(|l| !l.starts_with("everything")).collect(),
    );
    assert!(!out.contains('\u{a0}'));
    check("sentences.txt", &out);
}

#[test]
fn verdicts_have_names_of_their_own() {
    let names: BTreeSet<&str> = sample::all().iter().map(|s| verdict::name(&s.analysis.verdict)).collect();
    assert_eq!(names.len(), 6);
}

#[test]
fn what_was_said_is_told_where_it_is_more_than_an_answer() {
    let mut sample = sample::bottleneck();
    let mut first = crate::stats::Histogram::new();
    (0..100).for_each(|_| first.record(Nanos(12_000_000)));
    sample.analysis.steps[1].messages = Some(crate::analysis::result::MessageResult {
        exchanges: 100,
        sent: 150,
        received: 500,
        first,
        longest_gap: Nanos(31_000_000),
        round_trips: Some((150, Nanos(10_000_000), Nanos(29_000_000))),
    });
    let report = sample.report();
    let view = View::new(&report);
    let id = report_step(&view, 1);
    let text = super::conversation(id).unwrap().replace('\u{a0}', " ");
    assert_eq!(
        text,
        "messages per request: 1.5 sent, 5 received; the first came after 12.0 ms (p50), 12.0 ms (p95); longest gap between two 31.0 ms; 150 round trips with a mean of 10.0 ms, the longest 29.0 ms"
    );
    for format in
        [crate::report::terminal(&report, crate::report::Style::default()), crate::report::markdown(&report)]
    {
        let flat = format.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        assert!(flat.contains("messages per request: 1.5 sent, 5 received"), "{format}");
    }
}

/// The view of one step, whatever the order in which steps are shown.
fn report_step<'a>(view: &'a View<'a>, index: u16) -> &'a crate::report::view::StepView<'a> {
    view.steps.iter().find(|s| s.result.step == crate::record::StepId(index)).unwrap()
}

#[test]
fn a_failing_step_is_told_with_the_servers_reason() {
    let mut sample = sample::failing();
    sample.analysis.verdict = Verdict::Failing { step: StepId(0), class: None, status: Some(503) };
    let others = headline(&sample.report());
    assert!(others.ends_with("look in the server's log, and at this step's traces"), "{others}");
    let mut limited = sample::bottleneck().analysis.findings.remove(0);
    (limited.kind, limited.step) = (FindingKind::RateLimited, StepId(0));
    limited.evidence.insert("errors_share", 0.73);
    limited.contributor.name = "retry wait: GET geo.example/near".into();
    sample.analysis.findings.insert(0, limited);
    let for_it = headline(&sample.report());
    assert!(
        for_it.ends_with("; what they call limits their rate: retry wait: GET geo.example/near"),
        "{for_it}"
    );
    sample.analysis.findings.remove(0);
    sample.analysis.steps[0].errors = 8;
    let most = headline(&sample.report());
    let want = "mostly with HTTP status 503: sqlite3.OperationalError: database is locked, at UPDATE stock";
    assert!(most.contains(want) && most.ends_with(" in shop"), "{most}");
    // Also where it is no status that says so.
    sample.analysis.verdict = Verdict::Failing { step: StepId(0), class: None, status: None };
    let without = headline(&sample.report());
    assert!(without.contains(" requests: sqlite3.OperationalError: database is locked, at "), "{without}");
    sample.analysis.steps[0].reasons.clear();
    assert!(headline(&sample.report()).ends_with("see what the checks of the scenario expect"));
    sample.run.sources.from_traces = true;
    assert!(headline(&sample.report()).ends_with("; their spans do not say why"));
}

#[test]
fn few_requests_are_no_proof_of_health() {
    let mut sample = sample::bottleneck();
    sample.analysis.verdict = Verdict::Healthy { step: StepId(0) };
    assert!(headline(&sample.report()).starts_with("No bottleneck: slowest step "));
    sample.analysis.steps[0].exchanges = 3;
    let few = headline(&sample.report());
    assert!(few.starts_with("Too few requests to tell: slowest step "), "{few}");
    assert!(few.contains(" of 3 requests: run longer; "), "{few}");
}

#[test]
fn rows_that_are_written_one_by_one_are_not_to_be_fetched() {
    let mut sample = sample::everything();
    let finding = sample.analysis.findings.iter_mut().find(|f| f.kind == FindingKind::NPlusOneQuery).unwrap();
    assert!(super::advice::advice(finding).plain().starts_with("Fetch all rows"));
    finding.contributor.name = "INSERT INTO order_item (order_id, product_id) VALUES (?)".into();
    let advice = super::advice::advice(finding).plain();
    assert!(advice.starts_with("Write all rows with one statement"), "{advice}");
}

#[test]
fn requests_of_other_steps_are_named_where_they_show_it_too() {
    let mut sample = sample::bottleneck();
    let step = sample.analysis.findings[0].step;
    sample.analysis.findings[0].confidence = Confidence::High;
    sample.analysis.findings[0].evidence.remove("steps");
    let sure = |sample: &Sample| {
        let report = sample.report();
        finding::sure(&sample.analysis.findings[0], View::new(&report).step(step)).replace('\u{a0}', " ")
    };
    assert!(sure(&sample).ends_with(" with server spans show it"), "{}", sure(&sample));
    sample.analysis.findings[0].evidence.insert("steps", 3.0);
    assert!(sure(&sample).ends_with(" show it, and those of 2 other steps"), "{}", sure(&sample));
}

#[test]
fn spans_that_came_too_late_are_not_blamed_on_the_disk() {
    let mut sample = sample::bottleneck();
    let facts = &mut sample.run.receiver;
    (facts.spans_received, facts.spans_dropped, facts.dropped_at_end) = (9_000, 192, 192);
    let all = |sample: &Sample| {
        let report = sample.report();
        messages(&View::new(&report)).into_iter().map(|m| m.whole().plain()).collect::<Vec<_>>().join("\n")
    };
    let text = all(&sample);
    assert!(text.contains("192 of 9,000 spans received came too late to be kept"), "{text}");
    assert!(!text.contains("could not be written"), "{text}");
    sample.run.receiver.dropped_at_end = 190;
    assert!(
        all(&sample).contains("hotspan lost 2 of 9,000 spans received, because they could not be written")
    );
}

#[test]
fn a_scan_that_goes_on_after_its_span_has_both_in_the_answer() {
    let mut sample = sample::bottleneck();
    assert!(!headline(&sample.report()).contains("reading its rows"));
    sample.analysis.findings[0].evidence.extend([("share", 0.731), ("reading_ms", 12.0)]);
    let told = headline(&sample.report());
    assert!(told.contains(": 73 % of ") && told.contains(" mean, mostly "), "{told}");
    assert!(told.contains(" and reading its rows, "), "{told}");
}
