//! Comparisons in every format: against golden files, the schema, and foreign text that means harm.

use super::golden_tests::check;
use super::sample;
use super::{Style, comparison_json, comparison_markdown, comparison_terminal, json, summary, terminal};
use crate::compare::{
    Comparison, Design, RunSummary, ServiceSummary, Settings, Status, Times, Verdict, compare,
};
use crate::stats::Random;
use std::path::Path;
use std::sync::Arc;

const STYLE: Style = Style { color: false, width: 100, unicode: true };

/// A run like that of the sample report, with twelve operations, a little noise, and a name of its own.
fn run(id: &str, random: &mut Random) -> RunSummary {
    let mut run = summary(&json(&sample::bottleneck().report()), "runs/sample").unwrap();
    run.id = id.into();
    run.services = vec![ServiceSummary {
        service: "shop".into(),
        exchanges: 1_000,
        own_ms: 43_170.0,
        network_in_ms: 160.0,
        network_out_ms: 0.0,
    }];
    run.load.generator_bound = None;
    let one = run.operations[0].clone();
    for i in 0..12 {
        let mut op = one.clone();
        op.key.name = Arc::from(format!("operation {i}"));
        run.operations.push(op);
    }
    let mut noisy = |times: &mut Times| {
        let by = (0.02 * random.normal()).exp();
        times.mean *= by;
        [&mut times.p25, &mut times.p50, &mut times.p95].into_iter().for_each(|quantile| *quantile *= by);
    };
    for op in &mut run.operations {
        noisy(&mut op.own);
        op.duration = op.own;
    }
    run.steps.iter_mut().for_each(|step| noisy(&mut step.latency));
    run
}

fn sides(pairs: usize) -> (Vec<RunSummary>, Vec<RunSummary>) {
    let mut random = Random::new(9);
    let mut side = |name: &str| (0..pairs).map(|i| run(&format!("{name}-{i}"), &mut random)).collect();
    (side("base"), side("head"))
}

fn of(base: &[RunSummary], head: &[RunSummary]) -> Comparison {
    compare(base, head, Design::Paired, Settings::default(), &[])
}

/// Head asks the database more often, and one operation is slower.
pub(super) fn slower() -> Comparison {
    let (base, mut head) = sides(5);
    for run in &mut head {
        let op = &mut run.operations[4];
        for times in [&mut op.own, &mut op.duration] {
            [&mut times.p25, &mut times.p50, &mut times.p95]
                .into_iter()
                .for_each(|quantile| *quantile *= 1.3);
        }
        run.services[0].own_ms += 23_370.0;
        let step = &mut run.steps[0];
        let database = step.contributors.iter_mut().find(|c| &*c.key.category == "database").unwrap();
        database.calls_per_exchange = 3.0 * database.calls_per_exchange + 5.0;
        let more = database.mean_ms;
        database.mean_ms += more;
        let l = &mut step.latency;
        let by = 1.0 + more / l.mean;
        [&mut l.mean, &mut l.p25, &mut l.p50, &mut l.p95].into_iter().for_each(|value| *value *= by);
    }
    of(&base, &head)
}

/// One run on each side, of two services: the ways to one of them got slower.
fn suspected(way_ms: f64) -> String {
    let (mut base, mut head) = sides(1);
    for (run, way) in [(&mut base[0], 1.0), (&mut head[0], way_ms)] {
        let stock = ServiceSummary {
            service: "stock".into(),
            exchanges: 100,
            own_ms: 500.0,
            network_in_ms: 100.0 * way,
            network_out_ms: 0.0,
        };
        run.services.push(stock);
        run.services[0].network_out_ms = 100.0 * way;
        run.operations.clear();
        run.steps.iter_mut().for_each(|step| step.exchanges = 5);
    }
    super::wording::comparison::headline(&of(&base, &head)).plain()
}

#[test]
fn a_service_that_stands_out_is_named_where_nothing_can_be_shown() {
    let named = "Most speaks against stock: requests that reach it took 30.0 ms longer there or on the way. One run on";
    assert!(suspected(31.0).replace('\u{a0}', " ").starts_with(named), "{}", suspected(31.0));
    assert!(suspected(1.0).starts_with("One run on each side"), "{}", suspected(1.0));
    // Of a request of 9 ms, 0.1 ms longer.
    assert!(suspected(1.1).starts_with("One run on each side"), "{}", suspected(1.1));
}

/// A busy machine: medians and tails of one step and one operation are noise, and their lower quartiles got longer.
pub(super) fn quartile() -> Comparison {
    let (mut base, mut head) = sides(5);
    let noise = [0.7, 1.5, 1.1, 0.8, 1.3];
    let busy = |times: &mut Times, slower: f64, i: usize, noise: &[f64; 5]| {
        times.p25 *= slower;
        [&mut times.p50, &mut times.p95].into_iter().for_each(|quantile| *quantile *= noise[i]);
    };
    let turned = [1.2, 0.9, 1.4, 1.0, 0.7];
    for (runs, slower, noise) in [(&mut base, 1.0, &noise), (&mut head, 1.12, &turned)] {
        for (i, run) in runs.iter_mut().enumerate() {
            busy(&mut run.steps[0].latency, slower, i, noise);
            busy(&mut run.operations[4].own, slower, i, noise);
            busy(&mut run.operations[4].duration, slower, i, noise);
        }
    }
    of(&base, &head)
}

fn all() -> Vec<(&'static str, Comparison)> {
    let (base, head) = sides(5);
    let mut elsewhere = head.clone();
    elsewhere.iter_mut().for_each(|run| run.environment.cores += 2);
    vec![
        ("slower", slower()),
        ("quartile", quartile()),
        ("unchanged", of(&base, &head)),
        ("single", of(&base[..1], &head[..1])),
        ("invalid", of(&base, &elsewhere)),
        ("let_pass", compare(&base, &elsewhere, Design::Unpaired, Settings::default(), &["machine"])),
        ("nothing", of(&[], &[])),
    ]
}

#[test]
fn every_comparison_in_every_format() {
    for (name, c) in all() {
        check(&format!("compare.{name}.txt"), &comparison_terminal(&c, STYLE));
        check(&format!("compare.{name}.md"), &comparison_markdown(&c));
    }
    check("compare.slower.json", &comparison_json(&slower()));
    let small = Style { color: false, width: 60, unicode: false };
    let text = comparison_terminal(&slower(), small);
    assert!(text.is_ascii());
    check("compare.slower.60.ascii.txt", &text);
}

#[test]
fn statuses_are_what_the_samples_mean() {
    let status = |name: &str| all().into_iter().find(|(n, _)| *n == name).unwrap().1.status;
    assert_eq!(status("slower"), Status::Regressed);
    let quartile = quartile();
    let step = &quartile.steps[0];
    assert_eq!(step.latency.map(|c| c.unwrap().verdict == Verdict::Regressed), [false, false, true]);
    assert_eq!((quartile.regressions(), quartile.culprit().unwrap().verdict), (2, Verdict::Regressed));
    assert!(matches!(status("unchanged"), Status::Same | Status::CannotTell));
    assert_eq!((status("single"), status("invalid")), (Status::CannotTell, Status::Invalid));
    assert_ne!(status("let_pass"), Status::Invalid);
    assert_eq!(status("nothing"), Status::Invalid);
}

#[test]
fn no_layout_needs_clipping() {
    for (name, c) in all() {
        for width in 60..=120 {
            for unicode in [true, false] {
                assert!(!terminal::clips(&c, Style { color: true, width, unicode }), "{name} at {width}");
            }
        }
    }
}

#[test]
fn every_comparison_fits_the_schema_and_the_schema_is_strict() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compare.schema.json");
    let schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (name, c) in all() {
        let document: serde_json::Value = serde_json::from_str(&comparison_json(&c)).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&document).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
    }
    let good: serde_json::Value = serde_json::from_str(&comparison_json(&slower())).unwrap();
    for pointer in
        ["", "/design", "/verdict", "/steps/0", "/steps/0/p50", "/operations/0", "/operations/0/own_p50"]
    {
        let mut bad = good.clone();
        let object = bad.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        object.insert("surprise".into(), 1.into());
        assert!(!validator.is_valid(&bad), "an unknown key passes at {pointer}");
        for key in good.pointer(pointer).unwrap().as_object().unwrap().keys() {
            let mut bad = good.clone();
            bad.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(key);
            assert!(!validator.is_valid(&bad), "{pointer}/{key} may be missing");
        }
    }
}

#[test]
fn foreign_names_stay_text() {
    let evil = "a|b\n`<img src=x onerror=alert(1)>` @everyone \u{1b}[31m\u{202e}";
    let (mut base, mut head) = sides(5);
    for run in base.iter_mut().chain(&mut head) {
        run.operations[4].key.name = Arc::from(evil);
        run.operations[4].key.service = Arc::from(evil);
        run.steps[0].name = Arc::from(evil);
        run.steps[0].contributors[0].key.name = Arc::from(evil);
    }
    for run in &mut head {
        let op = &mut run.operations[4];
        (op.own.p50, op.duration.p50) = (2.0 * op.own.p50, 2.0 * op.duration.p50);
        run.steps[0].contributors[0].calls_per_exchange += 50.0;
    }
    let c = of(&base, &head);
    assert_eq!(c.status, Status::Regressed);
    let (text, page) = (comparison_terminal(&c, STYLE), comparison_markdown(&c));
    for out in [&text, &page, &comparison_json(&c)] {
        assert!(!out.contains(['\u{1b}', '\u{202e}']));
    }
    for line in page.lines().filter(|line| line.contains("<img")) {
        let before = line.split("<img").next().unwrap();
        assert!(before.contains('`'), "not in a code span: {line}");
    }
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    let table: Vec<&str> = page.lines().filter(|l| l.starts_with('|')).collect();
    for pair in table.windows(2).filter(|p| p[0].contains("Operation")) {
        assert_eq!(columns(pair[0]), columns(pair[1]));
    }
    assert!(
        table.iter().filter(|l| l.contains("<img")).all(|l| [9, 8, 7].contains(&columns(l))),
        "{table:#?}"
    );
}
