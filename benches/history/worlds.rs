//! Histories of many series that share a machine: simulated ones whose machine drifts, and recorded runs of one commit, drawn
//! anew in blocks so that their drift stays.

use super::process;
use hotspan::compare::{
    ContributorKey, ContributorSummary, Design, OperationKey, OperationSummary, RunSummary, Settings,
    StepSummary, Times, compare,
};
use hotspan::history::{Group, Measure, Series, SeriesKey, find};
use hotspan::stats::Random;
use std::collections::BTreeMap;

/// Blocks of recorded runs: longer than what a machine remembers for most of it.
const BLOCK: usize = 10;
/// A step put into one series, as a ratio.
const STEP: f64 = 1.10;

const HEAD: &str = "| series | runs | false changes of a series % | histories with one % | `check` fails for it % | +10 % in one series for 10 runs found % |\n|---:|---:|---:|---:|---:|---:|";

/// False alarms and power of histories on machines that drift.
pub fn drifting(histories: usize) {
    println!(
        "Histories of one drifting machine (memory 0.9, deviation 4 %, of which each series has 0.5 to 1.5 times; own noise 3 %)"
    );
    println!("{HEAD}");
    for (series, runs) in [(8, 60), (8, 100), (40, 60), (40, 100), (200, 60)] {
        let mut random = Random::new(91);
        let world = |random: &mut Random| {
            let machine = process(0.9, runs, random, false);
            (0..series)
                .map(|_| {
                    let part = 0.04 * (0.5 + random.uniform());
                    machine.iter().map(|m| part * m + 0.03 * random.normal()).collect()
                })
                .collect()
        };
        told(series, runs, histories.min(40_000 / series), &mut random, world);
    }
}

/// The same of a CSV file with the columns `test`, `timestamp` and `git_commit`, of which the commit with the most runs is
/// taken, and columns of values, which become series.
pub fn recorded(file: &str, columns: &[&str], histories: usize) {
    let rows = read(file, columns);
    let known = rows.first().map_or(0, Vec::len);
    println!(
        "Runs of one commit as recorded, {} series of {known} runs, drawn anew in blocks of {BLOCK}",
        rows.len()
    );
    println!("{HEAD}");
    for runs in [known, 60, 100] {
        let mut random = Random::new(92);
        let world = |random: &mut Random| {
            let mut order = Vec::new();
            while order.len() < runs {
                let from = random.below(known);
                order.extend((from..from + BLOCK).map(|i| i % known));
            }
            rows.iter().map(|row| order[..runs].iter().map(|run| row[*run]).collect()).collect()
        };
        told(rows.len(), runs, histories, &mut random, world);
    }
}

/// Two sides of ten runs with 200 operations and 20 steps of 40 contributors, compared.
pub fn compared() {
    let mut random = Random::new(12);
    let mut run = |i: u64| {
        let mut times = |n: u64, ms: f64| {
            let p50 = ms * (0.04 * random.normal()).exp();
            Times { n, mean: 1.2 * p50, p25: 0.9 * p50, p50, p95: 2.0 * p50, p99: 3.0 * p50 }
        };
        let operation = |o: usize| OperationSummary {
            key: OperationKey { service: "shop".into(), name: name(o).into(), kind: "server".into() },
            category: "app".into(),
            calls: 3_000,
            exchanges: 3_000,
            own: times(3_000, 5.0),
            own_total_ms: 15_000.0,
            duration: times(3_000, 20.0),
            ..OperationSummary::default()
        };
        let operations = (0..200).map(operation).collect();
        let contributor = |c: usize| ContributorSummary {
            key: ContributorKey { category: "app".into(), name: name(c).into(), ..ContributorKey::default() },
            calls_per_exchange: 1.0,
            mean_ms: 2.0,
        };
        let step = |s: usize| StepSummary {
            journey: "buy".into(),
            name: format!("step {s}").into(),
            exchanges: 3_000,
            latency: times(3_000, 80.0),
            contributors: (0..40).map(contributor).collect(),
            ..StepSummary::default()
        };
        let steps = (0..20).map(step).collect();
        RunSummary { id: i.to_string(), complete: true, steps, operations, ..RunSummary::default() }
    };
    let base: Vec<RunSummary> = (0..10).map(&mut run).collect();
    let head: Vec<RunSummary> = (10..20).map(&mut run).collect();
    let started = std::time::Instant::now();
    let found = compare(&base, &head, Design::Paired, Settings::default(), &[]);
    println!(
        "200 operations, 10 and 10 runs compared: {:.3} s on one core, {} tested",
        started.elapsed().as_secs_f64(),
        found.operations.len()
    );
}

fn told(
    series: usize,
    runs: usize,
    histories: usize,
    random: &mut Random,
    world: impl Fn(&mut Random) -> Vec<Vec<f64>>,
) {
    let (mut alarms, mut members, mut failed, mut found) = (0, 0, 0, 0);
    for i in 0..histories {
        let mut rows = world(random);
        let events = find(&group(&rows), 0.01).events;
        alarms += usize::from(!events.is_empty());
        members += events.iter().map(|event| event.members.len()).sum::<usize>();
        failed +=
            usize::from(events.iter().any(|event| event.is_worse_by(0.05) && event.latest + 20 >= runs));
        let slow = i % series;
        rows[slow][runs - 10..].iter_mut().for_each(|v| *v += STEP.ln());
        let name = name(slow);
        let seen = find(&group(&rows), 0.01).events.into_iter().any(|event| {
            event.at.abs_diff(runs - 10) <= 5 && event.members.iter().any(|m| m.key.name == name)
        });
        found += usize::from(seen);
    }
    let share = |n: usize| 100.0 * n as f64 / histories as f64;
    let each = share(members) / series as f64;
    println!(
        "| {series} | {runs} | {each:.2} | {:.1} | {:.1} | {:.1} |",
        share(alarms),
        share(failed),
        share(found)
    );
}

fn name(series: usize) -> String {
    format!("operation {series:03}")
}

fn group(rows: &[Vec<f64>]) -> Group {
    let series = |(i, row): (usize, &Vec<f64>)| Series {
        key: SeriesKey { group: "service".into(), name: name(i), measure: Measure::OperationOwn },
        values: row.iter().map(|v| Some(v.exp())).collect(),
    };
    Group {
        scenario: "s".into(),
        machine: "m".into(),
        runs: (0..rows.first().map_or(0, Vec::len)).collect(),
        series: rows.iter().enumerate().map(series).collect(),
    }
}

/// Logarithms of each column of each test, of the runs of one commit in the order of time.
fn read(file: &str, columns: &[&str]) -> Vec<Vec<f64>> {
    let text = std::fs::read_to_string(file).expect("a file");
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let column = |name: &str| header.iter().position(|h| *h == name).expect(name);
    let (test, time, commit) = (column("test"), column("timestamp"), column("git_commit"));
    let cells: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    cells.iter().for_each(|row| *counts.entry(row[commit]).or_default() += 1);
    let most = counts.into_iter().max_by_key(|(_, n)| *n).expect("a run").0;
    let mut out = Vec::new();
    for name in columns {
        let at = column(name);
        let mut by: BTreeMap<&str, Vec<(u64, f64)>> = BTreeMap::new();
        for row in cells.iter().filter(|row| row[commit] == most) {
            let value: f64 = row[at].parse().expect("a number");
            by.entry(row[test]).or_default().push((row[time].parse().expect("a time"), value));
        }
        for mut runs in by.into_values().filter(|runs| runs.iter().all(|(_, value)| *value > 0.0)) {
            runs.sort_by_key(|run| run.0);
            out.push(runs.into_iter().map(|(_, value)| value.ln()).collect());
        }
    }
    out
}
