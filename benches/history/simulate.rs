//! The change-point detection of histories, measured on series whose truth is known.
//!
//!     cargo bench --bench history -- calibrate           the table in src/stats/changepoint/critical.rs
//!     cargo bench --bench history -- table               false alarms and power, as in docs/history.md
//!     cargo bench --bench history -- drift               histories of many series whose machine drifts
//!     cargo bench --bench history -- recorded FILE.csv   the same with recorded runs of one commit (see worlds.rs)
//!     cargo bench --bench history -- time                1,000 series of 300 runs, and a comparison of 200 operations
//!     cargo bench --bench history -- series KIND N HOW_MANY STEP RUNS      such series, a JSON array a line
//!     cargo bench --bench history -- detect [EFFECT]     series from standard input, a JSON array a line: changes found
//!
//! `rivals.py` beside this file puts the same series to Apache Otava, Mann and Whitney, and Welch.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a program to measure with"
)]

mod worlds;

use hotspan::stats::Random;
use hotspan::stats::changepoint::{Sensitivity, changes, statistic};
use std::io::BufRead;

/// Kinds of noise; `ar0.3` is a process of first order with that memory. All have mean 0; the deviation is 1 but for
/// outliers, where that of the rest is.
const KINDS: [&str; 6] = ["normal", "lognormal", "t3", "outliers", "ar0.3", "ar0.6"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |i: usize| arguments.get(i).and_then(|a| a.parse::<f64>().ok());
    match arguments.first().map(String::as_str) {
        Some("calibrate") => calibrate(number(1).unwrap_or(1.0)),
        Some("table") => table(number(1).unwrap_or(2_000.0) as usize),
        Some("drift") => worlds::drifting(number(1).unwrap_or(1_000.0) as usize),
        Some("recorded") => {
            let file = arguments.get(1).expect("a CSV file");
            worlds::recorded(file, &["usec_op", "p99_us"], number(2).unwrap_or(1_000.0) as usize);
        }
        Some("time") => {
            time();
            worlds::compared();
        }
        Some("series") => {
            let kind = arguments.get(1).expect("a kind");
            let (n, count) = (number(2).unwrap() as usize, number(3).unwrap() as usize);
            let mut random = Random::new(77);
            for _ in 0..count {
                let series = stepped(
                    kind,
                    n,
                    number(4).unwrap_or(0.0),
                    number(5).unwrap_or(0.0) as usize,
                    &mut random,
                );
                println!("{}", serde_json::to_string(&series).unwrap());
            }
        }
        Some("detect") => detect(number(1).unwrap_or(0.0)),
        _ => println!("say calibrate, table, drift, recorded, time, series or detect"),
    }
}

fn noise(kind: &str, n: usize, random: &mut Random) -> Vec<f64> {
    match kind {
        "normal" => (0..n).map(|_| random.normal()).collect(),
        "lognormal" => {
            let spread = 0.5f64;
            let mean = (spread * spread / 2.0).exp();
            let deviation = ((spread * spread).exp() - 1.0).sqrt() * mean;
            (0..n).map(|_| ((spread * random.normal()).exp() - mean) / deviation).collect()
        }
        "t3" => (0..n)
            .map(|_| {
                let chi: f64 = (0..3).map(|_| random.normal().powi(2)).sum::<f64>() / 3.0;
                random.normal() / chi.sqrt() / 3f64.sqrt()
            })
            .collect(),
        // A slow outlier: nothing is ever 8 deviations too fast.
        "outliers" => {
            (0..n).map(|_| random.normal() + if random.uniform() < 0.05 { 8.0 } else { 0.0 }).collect()
        }
        // A machine that drifts, and noise of each run besides: what is most of the memory of recorded series.
        "drift" | "some drift" => {
            let part: f64 = if kind == "drift" { 0.7 } else { 0.4 };
            let machine = process(0.9, n, random, false);
            machine.iter().map(|m| part.sqrt() * m + (1.0 - part).sqrt() * random.normal()).collect()
        }
        other => {
            let memory: f64 = other.strip_prefix("ar").and_then(|m| m.parse().ok()).expect("a kind of noise");
            process(memory, n, random, false)
        }
    }
}

/// A process of first order with deviation 1; its innovations are normal, or Student's with five degrees of freedom.
fn process(memory: f64, n: usize, random: &mut Random, tails: bool) -> Vec<f64> {
    let mut innovation = || {
        if !tails {
            return random.normal();
        }
        let chi: f64 = (0..5).map(|_| random.normal().powi(2)).sum::<f64>() / 5.0;
        random.normal() / chi.sqrt() / (5f64 / 3.0).sqrt()
    };
    let mut last = innovation();
    (0..n)
        .map(|_| {
            last = memory * last + (1.0 - memory * memory).sqrt() * innovation();
            last
        })
        .collect()
}

/// With a step of so many deviations in the last runs.
fn stepped(kind: &str, n: usize, step: f64, runs: usize, random: &mut Random) -> Vec<f64> {
    let mut series = noise(kind, n, random);
    series[n - runs..].iter_mut().for_each(|v| *v += step);
    series
}

/// Memories of the simulated series, as often as they are taken to occur.
const PRIOR: [f64; 12] = [0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9];
/// Classes of estimated memory in the table: none, up to 0.1, up to 0.2, …, above 0.9.
const CLASSES: usize = 11;

fn calibrate(scale: f64) {
    const LEVELS: [f64; 8] = [0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001];
    for (length, thousands) in
        [(12, 600), (16, 600), (24, 600), (36, 500), (60, 400), (100, 300), (180, 150), (300, 90), (600, 40)]
    {
        let mut bins: Vec<Vec<f64>> = vec![Vec::new(); CLASSES];
        let mut random = Random::new(1_000 + length as u64);
        for i in 0..(f64::from(thousands) * 1_000.0 * scale) as usize {
            let memory = PRIOR[i % PRIOR.len()];
            // Every other one with tails as runs have them.
            let tails = (i / PRIOR.len()) % 2 == 1;
            let series = process(memory, length, &mut random, tails);
            let (t, found) = statistic(&series).expect("long enough");
            bins[((found * 10.0).ceil() as usize).min(CLASSES - 1)].push(t);
        }
        println!("    // {length}");
        println!("    [");
        let mut least = [0.0f64; 8];
        for bin in &mut bins {
            bin.sort_unstable_by(f64::total_cmp);
            let row: Vec<String> = LEVELS
                .iter()
                .enumerate()
                .map(|(i, level)| {
                    // Too few for this level: the last steps as far apart as those before.
                    let at = ((1.0 - level) * bin.len() as f64) as usize;
                    if bin.len() as f64 * level >= 8.0 {
                        least[i] = least[i].max(bin[at]);
                    } else if i >= 2 {
                        least[i] = least[i].max(2.0 * least[i - 1] - least[i - 2]);
                    }
                    format!("{:.2}", least[i])
                })
                .collect();
            println!("        [{}],", row.join(", "));
        }
        println!("    ],");
    }
}

fn table(series: usize) {
    let sensitivity = Sensitivity { effect: 0.0, ..Sensitivity::default() };
    println!("False alarms: series without a change in which one was found, per cent of {series}");
    println!("| noise | n = 30 | 60 | 100 | 300 |\n|---|---:|---:|---:|---:|");
    for kind in KINDS.iter().chain(&["ar0.9", "drift", "some drift"]) {
        let mut random = Random::new(31);
        let cells: Vec<String> = [30, 60, 100, 300]
            .into_iter()
            .map(|n| {
                let found = (0..series)
                    .filter(|_| !changes(&noise(kind, n, &mut random), sensitivity).points.is_empty());
                format!("{:.1}", 100.0 * found.count() as f64 / series as f64)
            })
            .collect();
        println!("| {kind} | {} |", cells.join(" | "));
    }
    println!(
        "\nPower, n = 60: found within 5 runs of where it is, per cent of {series}; error of its place, runs (median)"
    );
    println!(
        "| noise | 2 sd, 5 runs | 10 | 3 sd, 3 | 5 | 10 | place | 95 % interval holds the shift |\n|---|---:|---:|---:|---:|---:|---:|---:|"
    );
    for kind in KINDS {
        let mut random = Random::new(32);
        let mut cells = Vec::new();
        let (mut errors, mut covered, mut seen) = (Vec::new(), 0, 0);
        for (step, runs) in [(2.0, 5), (2.0, 10), (3.0, 3), (3.0, 5), (3.0, 10)] {
            let mut found = 0;
            for _ in 0..series {
                let at = 60 - runs;
                let points = changes(&stepped(kind, 60, step, runs, &mut random), sensitivity).points;
                let Some(point) = points.iter().find(|p| p.at.abs_diff(at) <= 5) else { continue };
                found += 1;
                if step > 2.0 {
                    errors.push(point.at.abs_diff(at));
                    seen += 1;
                    covered += usize::from(point.low <= step && step <= point.high);
                }
            }
            cells.push(format!("{:.1}", 100.0 * f64::from(found) / series as f64));
        }
        errors.sort_unstable();
        let middle = errors.get(errors.len() / 2).map_or_else(|| "-".to_owned(), ToString::to_string);
        println!(
            "| {kind} | {} | {middle} | {:.1} |",
            cells.join(" | "),
            100.0 * f64::from(covered as u32) / f64::from(seen.max(1))
        );
    }
}

fn time() {
    let mut random = Random::new(5);
    let all: Vec<Vec<f64>> = (0..1_000)
        .map(|i| stepped(KINDS[i % 6], 300, if i % 3 == 0 { 4.0 } else { 0.0 }, 90, &mut random))
        .collect();
    let started = std::time::Instant::now();
    let found: usize = all.iter().map(|series| changes(series, Sensitivity::default()).points.len()).sum();
    println!(
        "1,000 series of 300 runs: {:.3} s on one core, {found} changes",
        started.elapsed().as_secs_f64()
    );
}

fn detect(effect: f64) {
    for line in std::io::stdin().lock().lines() {
        let series: Vec<f64> = serde_json::from_str(&line.expect("a line")).expect("a JSON array");
        let found = changes(&series, Sensitivity { effect, ..Sensitivity::default() });
        let at: Vec<usize> = found.points.iter().map(|p| p.at).collect();
        println!(
            "{}",
            serde_json::json!({"at": at, "p": found.p, "memory": found.memory,
                "shift": found.points.iter().map(|p| [p.low, p.shift(), p.high]).collect::<Vec<_>>()})
        );
    }
}
