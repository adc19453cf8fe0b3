//! Comparisons of runs made by hand, and laws that hold for all.

use super::simulation::{QUIET, World, runs};
use super::*;
use crate::stats::Random;
use proptest::prelude::*;
use std::slice::from_ref;
use std::sync::Arc;

fn contributor(category: &str, name: &str, calls: f64, mean_ms: f64) -> ContributorSummary {
    ContributorSummary {
        key: ContributorKey {
            category: Arc::from(category),
            service: Arc::from("shop"),
            system: Arc::from(""),
            name: Arc::from(name),
        },
        calls_per_exchange: calls,
        mean_ms,
    }
}

fn run(id: &str, contributors: Vec<ContributorSummary>) -> RunSummary {
    let mean = contributors.iter().map(|c| c.mean_ms).sum();
    RunSummary {
        id: id.into(),
        scenario: "shop".into(),
        duration_s: 30.0,
        complete: true,
        environment: Environment { cpu: "cpu".into(), cores: 2, ..Environment::default() },
        load: LoadSummary { open_model: true, offered: 1_000, sent: 1_000, ..LoadSummary::default() },
        telemetry: TelemetrySummary {
            exchanges: 1_000,
            traced: 1_000,
            joined: 1_000,
            ..TelemetrySummary::default()
        },
        steps: vec![StepSummary {
            journey: Arc::from("buy"),
            name: Arc::from("checkout"),
            exchanges: 1_000,
            latency: Times { n: 1_000, mean, p25: 0.8 * mean, p50: mean, p95: 2.0 * mean, p99: 3.0 * mean },
            contributors,
            ..StepSummary::default()
        }],
        ..RunSummary::default()
    }
}

fn one_each(base: Vec<ContributorSummary>, head: Vec<ContributorSummary>) -> Comparison {
    compare(&[run("b", base)], &[run("h", head)], Design::Paired, Settings::default(), &[])
}

#[test]
fn many_calls_where_there_were_few_are_named_with_the_time_that_they_cost() {
    let c = one_each(
        vec![
            contributor("app", "POST /checkout", 1.0, 60.0),
            contributor("database", "SELECT orders", 3.0, 20.0),
        ],
        vec![
            contributor("app", "POST /checkout", 1.0, 61.2),
            contributor("database", "SELECT orders", 41.0, 34.0),
        ],
    );
    assert_eq!(c.status, Status::Regressed);
    let [change] = &c.structure[..] else { panic!("{:?}", c.structure) };
    assert_eq!((change.kind, &*change.name, change.alarm), (StructureKind::MoreCalls, "SELECT orders", true));
    assert_eq!(change.calls, Sides { base: 3.0, head: 41.0 });
    let attribution = &c.steps[0].attribution;
    assert!((attribution.change_ms - 15.2).abs() < 1e-9);
    let main = attribution.main().unwrap();
    assert_eq!(&*main.key.name, "SELECT orders");
    assert!((main.share - 14.0 / 15.2).abs() < 1e-9 && (main.change_ms - 14.0).abs() < 1e-9);
    // Times of one run each are no verdict.
    assert_eq!(c.steps[0].verdict, Verdict::CannotTell);
}

#[test]
fn a_statement_with_another_name_is_not_more_statements() {
    let app = || contributor("app", "POST /checkout", 1.0, 60.0);
    let c = one_each(
        vec![app(), contributor("database", "SELECT a", 20.0, 20.0)],
        vec![app(), contributor("database", "SELECT b", 20.0, 20.0)],
    );
    assert_eq!(c.structure.iter().filter(|s| s.alarm).count(), 0, "{:?}", c.structure);
    assert_eq!(c.structure.len(), 2);
    assert_eq!(c.status, Status::CannotTell);
    // One that replaces a single statement is.
    let c = one_each(
        vec![app(), contributor("database", "SELECT all", 1.0, 20.0)],
        vec![app(), contributor("database", "SELECT one", 20.0, 20.0)],
    );
    assert!(c.structure[0].alarm && &*c.structure[0].name == "SELECT one", "{:?}", c.structure);
}

#[test]
fn one_or_two_more_calls_are_said_and_no_alarm() {
    let c =
        one_each(vec![contributor("cache", "GET", 1.0, 1.0)], vec![contributor("cache", "GET", 2.0, 2.0)]);
    assert_eq!((c.structure.len(), c.structure[0].alarm), (1, false));
    let c =
        one_each(vec![contributor("cache", "GET", 20.0, 1.0)], vec![contributor("cache", "GET", 23.0, 2.0)]);
    assert_eq!((c.structure.len(), c.structure[0].alarm), (1, false));
}

#[test]
fn requests_that_fail_are_an_alarm() {
    let steady = || vec![contributor("app", "a", 1.0, 10.0)];
    let failing = |errors| {
        let mut head = run("h", steady());
        head.steps[0].errors = errors;
        compare(&[run("b", steady())], &[head], Design::Paired, Settings::default(), &[])
    };
    let c = failing(60);
    assert_eq!((c.status, c.structure[0].kind), (Status::Regressed, StructureKind::MoreErrors));
    assert!(failing(9).structure.is_empty(), "less than one in a hundred");
}

/// Each difference that forbids a comparison, and the sentence that says so.
#[test]
fn runs_that_are_not_alike_get_no_verdict() {
    type Spoil = fn(&mut RunSummary);
    let cases: [(&str, Spoil); 11] = [
        ("incomplete", |r| r.complete = false),
        ("load-not-delivered", |r| r.load.sent = 900),
        ("generator-bound", |r| r.load.generator_bound = Some("its threads were busy".into())),
        ("scenario", |r| r.scenario_digest = Some("other".into())),
        ("scenario", |r| r.steps[0].name = Arc::from("search")),
        ("load", |r| r.duration_s = 60.0),
        ("load", |r| r.load.open_model = false),
        ("machine", |r| r.environment.cores = 64),
        ("coverage", |r| r.telemetry.joined = 850),
        ("sampling", |r| (r.telemetry.traced, r.telemetry.joined) = (500, 500)),
        ("spans-lost", |r| (r.telemetry.spans_received, r.telemetry.spans_dropped) = (1_000, 20)),
    ];
    let good = || {
        let mut run = run("b", vec![contributor("app", "a", 1.0, 10.0)]);
        run.scenario_digest = Some("one".into());
        run
    };
    for (name, spoil) in cases {
        let mut head = RunSummary { id: "h".into(), ..good() };
        spoil(&mut head);
        for (b, h) in [(good(), head.clone()), (head, good())] {
            let c = compare(from_ref(&b), from_ref(&h), Design::Paired, Settings::default(), &[]);
            assert_eq!(c.status, Status::Invalid, "{name}");
            assert!(c.reasons.iter().any(|r| r.name() == name), "{name}: {:?}", c.reasons);
            assert!(c.reasons.iter().all(|r| r.to_string().len() > 20));
            let names: Vec<&str> = c.reasons.iter().map(Reason::name).collect();
            assert!(names.iter().all(|n| Reason::ALLOWABLE.contains(n)));
            let c = compare(&[b], &[h], Design::Paired, Settings::default(), &names);
            assert!(c.status != Status::Invalid && !c.allowed.is_empty());
        }
    }
    let none = compare(&[], &[good()], Design::Paired, Settings::default(), &[]);
    assert_eq!((none.status, &none.reasons[..]), (Status::Invalid, &[Reason::NoRuns { side: "base" }][..]));
    let c = compare(&[good()], &[good()], Design::Paired, Settings::default(), &[]);
    assert_eq!(c.reasons, [Reason::SameRun { run: "b".into() }]);
}

#[test]
fn the_worst_operation_comes_first_and_those_above_it_are_told_apart() {
    let world = World { operations: 40, slower: (1, 1.5), noise: (0.01, 0.01), ..QUIET };
    let (base, mut head) = runs(&world, &mut Random::new(1));
    // The one above it takes longer, and its own time does not.
    let (by, base_of) = (1.4, |run: &RunSummary| run.operations[1].duration);
    for (run, before) in head.iter_mut().zip(base.iter().map(base_of)) {
        let d = &mut run.operations[1].duration;
        (d.p25, d.p50, d.p95) = (by * before.p25, by * before.p50, by * before.p95);
    }
    let c = compare(&base, &head, Design::Paired, Settings::default(), &[]);
    assert_eq!(c.status, Status::Regressed);
    assert_eq!(&*c.culprit().unwrap().key.name, "operation 000");
    assert_eq!((c.operations[0].verdict, c.operations[0].cause), (Verdict::Regressed, Cause::Own));
    assert_eq!(&*c.operations[1].key.name, "operation 001");
    assert_eq!((c.operations[1].verdict, c.operations[1].cause), (Verdict::Regressed, Cause::Below));
    // What calls nothing is slower in itself, whichever of the two shows it.
    let mut leaf = c.operations[0].clone();
    leaf.own.iter_mut().flatten().for_each(|change| change.verdict = Verdict::CannotTell);
    let mut alone = c.clone();
    alone.operations = vec![leaf];
    alone.settle();
    assert_eq!((alone.operations[0].verdict, alone.operations[0].cause), (Verdict::Regressed, Cause::Own));
    let change = c.operations[0].own[0].unwrap();
    assert!(change.low < 1.5 && 1.5 < change.high && change.low > 1.3, "{change:?}");
    assert!(change.detectable > 1.04 && change.detectable < 1.15, "{change:?}");
}

#[test]
fn what_is_too_short_or_too_seldom_is_not_tested() {
    let (mut base, mut head) = runs(&World { operations: 20, ..QUIET }, &mut Random::new(3));
    for (run, by) in base.iter_mut().map(|r| (r, 1.0)).chain(head.iter_mut().map(|r| (r, 2.0))) {
        let short = &mut run.operations[0];
        let seldom = Times { n: 40, mean: by, p25: by, p50: by, p95: by, p99: by };
        short.own =
            Times { n: 1_000, mean: 0.01, p25: 0.007 * by, p50: 0.008 * by, p95: 0.009 * by, p99: 0.01 };
        short.duration = short.own;
        (run.operations[1].own, run.operations[1].duration) = (seldom, seldom);
    }
    let c = compare(&base, &head, Design::Paired, Settings::default(), &[]);
    assert_eq!(c.operations.iter().filter(|o| o.verdict == Verdict::Regressed).count(), 0);
    let untested =
        c.operations.iter().filter(|o| o.own.iter().chain(&o.duration).all(Option::is_none)).count();
    assert_eq!(untested, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What got slower one way got faster the other way.
    #[test]
    fn swapping_the_sides_swaps_the_verdicts(seed in any::<u64>(), paired in any::<bool>()) {
        let design = if paired { Design::Paired } else { Design::Unpaired };
        let world = World { operations: 30, slower: (3, 1.3), design, ..QUIET };
        let (base, head) = runs(&world, &mut Random::new(seed));
        let of = |b: &[RunSummary], h: &[RunSummary]| {
            let c = compare(b, h, design, Settings::default(), &[]);
            let mut ops = c.operations;
            ops.sort_by(|a, b| a.key.cmp(&b.key));
            ops
        };
        for (there, back) in of(&base, &head).iter().zip(&of(&head, &base)) {
            for (a, b) in there.own.iter().zip(&back.own) {
                let (a, b) = (a.unwrap(), b.unwrap());
                prop_assert!((a.ratio * b.ratio - 1.0).abs() < 1e-9);
                prop_assert!((a.low * b.high - 1.0).abs() < 1e-6);
                prop_assert_eq!(a.verdict == Verdict::Regressed, b.verdict == Verdict::Improved);
            }
        }
    }

    /// Pairs in any order; and without pairs, each side in any order.
    #[test]
    fn the_order_of_runs_does_not_matter(seed in any::<u64>(), paired in any::<bool>()) {
        let design = if paired { Design::Paired } else { Design::Unpaired };
        let world = World { operations: 25, slower: (2, 1.2), design, ..QUIET };
        let (mut base, mut head) = runs(&world, &mut Random::new(seed));
        let there = compare(&base, &head, design, Settings::default(), &[]);
        base.reverse();
        head.reverse();
        if !paired {
            head.swap(0, 2);
        }
        let again = compare(&base, &head, design, Settings::default(), &[]);
        prop_assert_eq!(there.status, again.status);
        for (a, b) in there.operations.iter().zip(&again.operations) {
            prop_assert_eq!((&a.key, a.verdict), (&b.key, b.verdict));
            let (a, b) = (a.own[1].unwrap(), b.own[1].unwrap());
            prop_assert!((a.ratio - b.ratio).abs() < 1e-9 && (a.high - b.high).abs() < 1e-6);
        }
    }

    /// The parts of a difference are the difference.
    #[test]
    fn contributors_share_out_the_whole_difference(parts in prop::collection::vec((0.0f64..9.0, 0.0f64..9.0), 1..30)) {
        let side = |of: fn(&(f64, f64)) -> f64| {
            parts.iter().enumerate().map(|(i, p)| contributor("app", &i.to_string(), 1.0, of(p))).collect()
        };
        let c = one_each(side(|p| p.0), side(|p| p.1));
        let a = &c.steps[0].attribution;
        let sum: f64 = a.parts.iter().map(|p| p.change_ms).sum::<f64>() + a.others_ms;
        prop_assert!((sum - a.change_ms).abs() < 1e-9);
        let services: f64 = c.services.iter().map(ServiceChange::change_ms).sum();
        prop_assert!((services - a.change_ms).abs() < 1e-9);
    }
}

#[test]
fn sides_that_took_turns_are_pairs() {
    let at = |times: &[u64]| -> Vec<RunSummary> {
        let run = |t: &u64| RunSummary { started_at: crate::record::Timestamp(*t), ..RunSummary::default() };
        times.iter().map(run).collect()
    };
    let design = |base: &[u64], head: &[u64]| design_of(&at(base), &at(head));
    assert_eq!(design(&[1, 4, 5], &[2, 3, 6]), Design::Paired, "ABBA");
    assert_eq!(design(&[1, 2, 3], &[4, 5, 6]), Design::Unpaired, "first the one, then the other");
    assert_eq!(design(&[1], &[2]), Design::Paired);
    assert_eq!(design(&[1, 3], &[2]), Design::Unpaired);
    assert_eq!(design(&[4, 1], &[2, 3]), Design::Unpaired, "the caller must sort them");
}

fn operation(name: &str, calls: u64) -> OperationSummary {
    let times = Times { n: calls, mean: 2.0, p25: 1.5, p50: 2.0, p95: 3.0, p99: 4.0 };
    OperationSummary {
        key: OperationKey { service: "shop".into(), name: name.into(), kind: "client".into() },
        category: "external".into(),
        calls,
        exchanges: calls,
        own: times,
        own_total_ms: 2.0 * calls as f64,
        duration: times,
        ..OperationSummary::default()
    }
}

/// Runs whose one call has, in each, a name of its own.
fn runs_that_call(names: &[&str]) -> Vec<RunSummary> {
    let each = |(i, name): (usize, &&str)| {
        let calls = vec![contributor("app", "POST /pay", 1.0, 30.0), contributor("external", name, 3.0, 6.0)];
        let operations = vec![operation("POST /pay", 1_000), operation(name, 3_000)];
        RunSummary { operations, ..run(&i.to_string(), calls) }
    };
    names.iter().enumerate().map(each).collect()
}

#[test]
fn names_with_parts_that_change_from_run_to_run_are_no_structure() {
    for (base, head) in [
        (
            ["127.0.0.1:43817 GET /tax", "127.0.0.1:40001 GET /tax"],
            ["127.0.0.1:51234 GET /tax", "127.0.0.1:33333 GET /tax"],
        ),
        (["10.1.0.4:8080", "10.1.0.9:8080"], ["10.1.3.1:8080", "10.1.3.7:8080"]),
        (["pay-7d9f8b6c54-x2k4p", "pay-7d9f8b6c54-x2k4p"], ["pay-58c7d4bb6f-9q2wz", "pay-58c7d4bb6f-9q2wz"]),
        (["GET /tax/8f3a9c20", "GET /tax/17"], ["GET /tax/9920aa01", "GET /tax/18"]),
        (["SELECT temp_20261127", "SELECT temp_20261128"], ["SELECT temp_20261129", "SELECT temp_20261130"]),
    ] {
        let c =
            compare(&runs_that_call(&base), &runs_that_call(&head), Design::Paired, Settings::default(), &[]);
        assert_eq!((c.structure.as_slice(), c.operations.len()), (&[][..], 2), "{base:?} {head:?}");
        let part = c.steps[0].attribution.parts.iter().find(|p| &*p.key.category == "external").unwrap();
        assert!(part.key.name.contains('*') && part.change_ms == 0.0, "{part:?}");
    }
}

#[test]
fn a_new_peer_is_new_whatever_it_is_called() {
    let mut head = runs_that_call(&["10.1.0.4:8080", "10.1.0.4:8080"]);
    let base = head.clone();
    for run in &mut head {
        run.operations.push(operation("10.1.0.5:9090", 3_000));
        run.steps[0].contributors.push(contributor("external", "10.1.0.5:9090", 3.0, 1.0));
    }
    let c = compare(&base, &head, Design::Paired, Settings::default(), &[]);
    let found: Vec<_> = c.structure.iter().map(|s| (s.kind, &*s.name, s.alarm)).collect();
    assert_eq!(
        found,
        [(StructureKind::MoreCalls, "*:9090", true), (StructureKind::New, "*:9090", false)],
        "{found:?}"
    );
    assert!(
        c.operations.iter().any(|op| &*op.key.name == "10.1.0.4:8080"),
        "a name that all runs have stays"
    );
}

#[test]
fn many_names_of_one_operation_are_added_up() {
    let mut base = runs_that_call(&["GET /a/1"]);
    base[0].operations.push(operation("GET /a/2", 1_000));
    let c = compare(&base, &runs_that_call(&["GET /a/3"]), Design::Paired, Settings::default(), &[]);
    let op = c.operations.iter().find(|op| &*op.key.name == "GET /a/*").unwrap();
    assert_eq!((op.calls_per_exchange.base, op.calls_per_exchange.head), (1.0, 1.0));
    assert_eq!((op.mean_ms_per_exchange.base, op.mean_ms_per_exchange.head), (8.0, 6.0));
}

#[test]
fn one_bad_run_is_no_change_of_failures() {
    let with = |errors: [u64; 5]| -> Vec<RunSummary> {
        let each = |(i, errors): (usize, u64)| {
            let mut run = run(&i.to_string(), vec![contributor("app", "POST /pay", 1.0, 30.0)]);
            run.steps[0].errors = errors;
            run
        };
        errors.into_iter().enumerate().map(each).collect()
    };
    let alarms = |head| {
        let c = compare(&with([0, 2, 0, 1, 0]), &with(head), Design::Paired, Settings::default(), &[]);
        c.structure.iter().filter(|s| s.kind == StructureKind::MoreErrors).count()
    };
    assert_eq!([alarms([0, 0, 150, 0, 0]), alarms([20, 30, 25, 0, 31]), alarms([3, 3, 3, 3, 3])], [0, 1, 0]);
}

#[test]
fn what_is_not_listed_is_not_gone_and_few_requests_prove_nothing() {
    let few = |calls| {
        vec![contributor("app", "POST /pay", 1.0, 30.0), contributor("database", "SELECT", calls, 6.0)]
    };
    let mut base = run("b", vec![contributor("app", "POST /pay", 1.0, 30.0)]);
    base.steps[0].others_mean_ms = 0.5;
    let pair = |b: &RunSummary, h: &RunSummary| {
        compare(from_ref(b), from_ref(h), Design::Paired, Settings::default(), &[]).structure
    };
    assert_eq!(pair(&base, &run("h", few(3.0))), []);
    let (mut base, mut head) = (run("b", few(1.0)), run("h", few(9.0)));
    assert!(pair(&base, &head)[0].alarm);
    (base.steps[0].exchanges, head.steps[0].exchanges) = (3, 3);
    assert!(!pair(&base, &head)[0].alarm);
}

#[test]
fn two_runs_of_one_second_are_two_runs() {
    let one = run("20261128T192045Z-shop", vec![contributor("app", "POST /pay", 1.0, 30.0)]);
    let refused = |head: &RunSummary| {
        let c = compare(from_ref(&one), from_ref(head), Design::Paired, Settings::default(), &[]);
        c.reasons.iter().map(Reason::name).collect::<Vec<_>>()
    };
    assert_eq!(refused(&one), ["same-run"]);
    let at_once = RunSummary { started_at: crate::record::Timestamp(7_000_000), ..one.clone() };
    assert!(refused(&at_once).is_empty());
}
