//! Runs out of a random number generator, whose truth is known: how often the comparison cries wolf, and what it sees.
//!
//! Each run's log quantile of an operation is its level, plus the machine's state in that run (which drifts from run to run
//! and hits all operations), plus the operation's own noise of that run. Noise is heavy-tailed (t with five degrees of
//! freedom), and its size differs by operation between 2 % and 6 %. That is what run-to-run noise looks like; how many
//! requests a run has does not appear, as it decides little of it.
//!
//! `cargo test --release --lib simulation -- --ignored --nocapture` prints the table of docs/compare.md.

use super::*;
use crate::record::Timestamp;
use crate::stats::Random;
use std::sync::Arc;

/// What is simulated.
#[derive(Clone, Copy)]
pub(super) struct World {
    pub operations: usize,
    pub pairs: usize,
    /// Operations that are slower in head, and by what ratio.
    pub slower: (usize, f64),
    /// Standard deviation of an operation's own noise: from, to.
    pub noise: (f64, f64),
    /// Standard deviation of the machine's state.
    pub machine: f64,
    /// How much of the machine's state is still there in the next run.
    pub drift: f64,
    /// So many operations wait instead of calculating: they do not feel the machine, and are nearly the same each time.
    pub waiting: usize,
    /// All operations are slower by this ratio in head.
    pub whole: f64,
    pub design: Design,
}

/// Noise of an operation that waits.
const WAITING_NOISE: (f64, f64) = (0.003, 0.01);
/// A machine that others use too, and an operation of thirty that waits for something else.
const BUSY: World = World { operations: 30, noise: (0.1, 0.3), machine: 0.2, waiting: 5, ..QUIET };

pub(super) const QUIET: World = World {
    operations: 200,
    pairs: 5,
    slower: (0, 1.0),
    noise: (0.02, 0.06),
    machine: 0.03,
    drift: 0.8,
    waiting: 0,
    whole: 1.0,
    design: Design::Paired,
};

/// t with five degrees of freedom, of standard deviation 1.
fn heavy(random: &mut Random) -> f64 {
    let chi2 = (0..5).map(|_| random.normal().powi(2)).sum::<f64>();
    random.normal() / (chi2 / 5.0).sqrt() / (5.0f64 / 3.0).sqrt()
}

/// One comparison's runs.
pub(super) fn runs(world: &World, random: &mut Random) -> (Vec<RunSummary>, Vec<RunSummary>) {
    let level: Vec<f64> = (0..world.operations).map(|_| (0.2f64).ln() + 4.0 * random.uniform()).collect();
    let waits = |i: usize| i < world.waiting;
    let noise: Vec<f64> = (0..world.operations)
        .map(|i| {
            let (from, to) = if waits(i) { WAITING_NOISE } else { world.noise };
            from + (to - from) * random.uniform()
        })
        .collect();
    let mut machine = random.normal();
    let (mut base, mut head) = (Vec::new(), Vec::new());
    for pair in 0..world.pairs {
        // ABBA, by lot.
        let head_first = random.uniform() < 0.5;
        for turn in 0..2 {
            machine = world.drift * machine + (1.0 - world.drift * world.drift).sqrt() * random.normal();
            let is_head = (turn == 0) == head_first;
            let side = if is_head { &mut head } else { &mut base };
            let state = world.machine * machine + if is_head { world.whole.ln() } else { 0.0 };
            let operations = (0..world.operations)
                .map(|i| {
                    let slower = if is_head && i < world.slower.0 { world.slower.1.ln() } else { 0.0 };
                    let own = noise[i] * heavy(random);
                    // The 95th percentile shares most of the run's noise with the median, and has some of its own.
                    let tail = 0.8 * own + 0.6 * noise[i] * heavy(random);
                    // So does the lower quartile, which lies below it, as far as in a normal distribution of logarithms.
                    let low = 0.8 * own + 0.6 * noise[i] * heavy(random);
                    let (felt, width) = if waits(i) { (0.0, 0.1) } else { (state, 1.0) };
                    let middle = level[i] + felt + slower;
                    let p25 = (middle - 0.41 * width + low).min(middle + own - 0.02 * width);
                    operation(i, [p25, middle + own, middle + width + tail])
                })
                .collect();
            side.push(RunSummary {
                id: format!("{}-{pair}", ["b", "h"][usize::from(is_head)]),
                ..run(operations)
            });
        }
    }
    (base, head)
}

fn operation(i: usize, logs: [f64; 3]) -> OperationSummary {
    let [p25, p50, p95] = logs.map(f64::exp);
    let times = Times { n: 1_000, mean: p50, p25, p50, p95, p99: p95 };
    OperationSummary {
        key: OperationKey {
            service: Arc::from("s"),
            name: Arc::from(format!("operation {i:03}")),
            kind: Arc::from("internal"),
        },
        category: Arc::from("app"),
        calls: 1_000,
        errors: 0,
        exchanges: 1_000,
        own: times,
        own_total_ms: 1_000.0 * times.mean,
        duration: times,
    }
}

fn run(operations: Vec<OperationSummary>) -> RunSummary {
    RunSummary {
        source: "simulated".into(),
        scenario: "simulated".into(),
        started_at: Timestamp(1),
        duration_s: 60.0,
        complete: true,
        load: LoadSummary { offered: 1_000, sent: 1_000, users_max: 10, ..LoadSummary::default() },
        telemetry: TelemetrySummary {
            exchanges: 1_000,
            traced: 1_000,
            joined: 1_000,
            ..TelemetrySummary::default()
        },
        operations,
        ..RunSummary::default()
    }
}

/// What many comparisons of one world came to.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    trials: f64,
    /// Comparisons with a false alarm of any kind.
    any_false: f64,
    /// Those that a second comparison of new runs confirms, by the same operation or as a whole.
    confirmed_false: f64,
    false_operations: f64,
    sound: f64,
    found: f64,
    slower: f64,
    false_share: f64,
    covered: f64,
    intervals: f64,
    detectable: f64,
    whole: f64,
}

fn alarms(c: &Comparison, slower: usize) -> (Vec<&OperationKey>, usize) {
    let regressed = c.operations.iter().filter(|o| o.verdict == Verdict::Regressed).map(|o| &o.key);
    let is_slower = |key: &OperationKey| {
        key.name.trim_start_matches("operation ").parse().is_ok_and(|i: usize| i < slower)
    };
    let (right, wrong): (Vec<_>, Vec<_>) = regressed.partition(|key| is_slower(key));
    (wrong, right.len())
}

pub(super) fn simulate(world: &World, trials: usize, seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    let whole = |c: &Comparison| c.whole_service.is_some_and(|w| w.verdict == Verdict::Regressed);
    for _ in 0..trials {
        let (base, head) = runs(world, &mut random);
        let c = compare(&base, &head, world.design, Settings::default(), &[]);
        assert!(c.reasons.is_empty(), "{:?}", c.reasons);
        let (wrong, right) = alarms(&c, world.slower.0);
        let whole_false = world.whole <= 1.0 && whole(&c);
        tally.trials += 1.0;
        tally.whole += f64::from(u8::from(whole(&c)));
        if !wrong.is_empty() || whole_false {
            tally.any_false += 1.0;
            let (base2, head2) = runs(world, &mut random);
            let again = compare(&base2, &head2, world.design, Settings::default(), &[]);
            let (base, head) = ([base, base2].concat(), [head, head2].concat());
            let all = compare(&base, &head, world.design, Settings::default(), &["same-run"]);
            let left = all.confirmed(&c, &again);
            let still = !alarms(&left, world.slower.0).0.is_empty() || world.whole <= 1.0 && whole(&left);
            tally.confirmed_false += f64::from(u8::from(still));
        }
        tally.false_operations += wrong.len() as f64;
        tally.sound += (world.operations - world.slower.0) as f64;
        tally.found += right as f64;
        tally.slower += world.slower.0 as f64;
        tally.false_share += wrong.len() as f64 / (wrong.len() + right).max(1) as f64;
        tally.detectable += c.smallest_detectable.unwrap_or(f64::NAN) - 1.0;
        for op in &c.operations {
            let i: usize = op.key.name.trim_start_matches("operation ").parse().unwrap();
            let truth = if i < world.slower.0 { world.slower.1 } else { 1.0 };
            for change in op.own.iter().flatten() {
                tally.intervals += 1.0;
                tally.covered += f64::from(u8::from(change.low <= truth && truth <= change.high));
            }
        }
    }
    tally
}

impl Tally {
    fn per_cent(part: f64, whole: f64) -> f64 {
        if whole > 0.0 { 100.0 * part / whole } else { 0.0 }
    }
    pub fn any_false(&self) -> f64 {
        Tally::per_cent(self.any_false, self.trials)
    }
    fn confirmed(&self) -> f64 {
        Tally::per_cent(self.confirmed_false, self.trials)
    }
    fn each_false(&self) -> f64 {
        Tally::per_cent(self.false_operations, self.sound)
    }
    pub fn power(&self) -> f64 {
        Tally::per_cent(self.found, self.slower)
    }
    pub fn false_share(&self) -> f64 {
        Tally::per_cent(self.false_share, self.trials)
    }
    pub fn coverage(&self) -> f64 {
        Tally::per_cent(self.covered, self.intervals)
    }
    pub fn whole(&self) -> f64 {
        Tally::per_cent(self.whole, self.trials)
    }
}

const AT_4: World = World { noise: (0.04, 0.04), ..QUIET };

#[test]
fn nothing_changed_and_nothing_is_said() {
    let tally = simulate(&QUIET, 150, 1);
    assert!(tally.any_false() <= 4.0, "{tally:?}");
    assert!((93.0..=97.0).contains(&tally.coverage()), "{tally:?}");
}

#[test]
fn ten_slower_operations_are_seen() {
    let ten = |ratio| simulate(&World { slower: (10, ratio), ..AT_4 }, 40, 2);
    let (little, much) = (ten(1.1), ten(1.2));
    assert!(little.power() >= 65.0 && little.false_share() <= 8.0, "{little:?}");
    assert!(much.power() >= 97.0, "{much:?}");
    let three = simulate(&World { pairs: 3, slower: (10, 1.2), ..AT_4 }, 40, 3);
    assert!(three.power() >= 80.0, "{three:?}");
}

/// What calculates is noisy, and so is what they have in common; a wait that got longer is seen all the same.
#[test]
fn a_longer_wait_is_seen_on_a_busy_machine() {
    let tally = simulate(&World { slower: (1, 1.1), ..BUSY }, 120, 5);
    // One in eleven cries wolf before it is confirmed (docs/compare.md); four standard deviations of 120 more would be a fault.
    assert!(tally.power() >= 80.0 && tally.any_false() <= 19.5, "{tally:?}");
    assert!((92.0..=98.0).contains(&tally.coverage()), "{tally:?}");
    let nothing = simulate(&BUSY, 60, 6);
    assert!(nothing.any_false() <= 12.0, "{nothing:?}");
}

#[test]
fn a_slowdown_of_everything_is_the_whole_services() {
    let tally = simulate(&World { whole: 1.2, machine: 0.02, ..QUIET }, 60, 4);
    assert!(tally.whole() >= 80.0, "{tally:?}");
    assert!(tally.false_operations <= 6.0, "it is no operation's own: {tally:?}");
}

/// What others do with the same runs, operation by operation, on the 95th percentile: Student's t on the pairs, Welch's t on the
/// two sets, and both with Benjamini and Hochberg's control; and "10 % more in the mean of all runs" as a fixed limit.
const RIVALS: [&str; 7] = [
    "paired t, p < 0.05",
    "Welch, p < 0.05",
    "Mann-Whitney, p < 0.05",
    "paired t, BH",
    "Welch, BH",
    "more than 10 %",
    "hotspan",
];
/// Pairs of a run of base and one of head of which head is the faster, among 5 and 5 runs, at most: 4.8 % by chance.
const FASTER: usize = 4;

/// Which operations each rival calls slower.
fn rivals(base: &[RunSummary], head: &[RunSummary]) -> [Vec<bool>; 7] {
    let n = base[0].operations.len();
    let logs = |runs: &[RunSummary], i: usize| -> Vec<f64> {
        runs.iter().map(|r| r.operations[i].own.p95.ln()).collect()
    };
    let (mut paired, mut welch, mut limit, mut ranks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for i in 0..n {
        let (b, h) = (logs(base, i), logs(head, i));
        let row =
            super::contrast::Row { base: b.clone(), head: h.clone(), width: f64::NAN, ..Default::default() };
        let alone = row.difference(Design::Paired).unwrap().alone();
        paired.push(alone.slower_by_chance());
        ranks.push(h.iter().map(|x| b.iter().filter(|y| x < y).count()).sum::<usize>() <= FASTER);
        let moments = |v: &[f64]| {
            let (n, mean) = (v.len() as f64, v.iter().sum::<f64>() / v.len() as f64);
            (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0) / n, n)
        };
        let ((mb, vb, nb), (mh, vh, nh)) = (moments(&b), moments(&h));
        let df = (vb + vh).powi(2) / (vb * vb / (nb - 1.0) + vh * vh / (nh - 1.0));
        welch.push(crate::stats::t_above((mh - mb) / (vb + vh).sqrt(), df));
        limit.push(mh - mb > 1.1f64.ln());
    }
    let below = |ps: &[f64]| ps.iter().map(|p| *p < 0.05).collect();
    let bh = |ps: &[f64]| crate::stats::benjamini_hochberg(ps, 0.05);
    let found = compare(base, head, Design::Paired, Settings::default(), &[]);
    let slower: std::collections::BTreeSet<&OperationKey> =
        found.operations.iter().filter(|o| o.verdict == Verdict::Regressed).map(|o| &o.key).collect();
    let ours = base[0].operations.iter().map(|o| slower.contains(&o.key)).collect();
    [below(&paired), below(&welch), ranks, bh(&paired), bh(&welch), limit, ours]
}

#[test]
#[ignore = "prints the rivals' table of docs/compare.md"]
fn table_of_rivals() {
    let trials = std::env::var("HOTSPAN_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    println!("| rule, 5 pairs | any false % | power at 10 % | power at 20 % | false share at 10 % |");
    println!("|---|---|---|---|---|");
    let worlds = [QUIET, World { slower: (10, 1.1), ..AT_4 }, World { slower: (10, 1.2), ..AT_4 }];
    let mut sums = [[(0.0, 0.0, 0.0); 3]; RIVALS.len()];
    for (w, world) in worlds.iter().enumerate() {
        let mut random = Random::new(7);
        for _ in 0..trials {
            let (base, head) = runs(world, &mut random);
            for (rival, called) in rivals(&base, &head).iter().enumerate() {
                let right = called[..world.slower.0].iter().filter(|c| **c).count();
                let wrong = called.iter().filter(|c| **c).count() - right;
                let sum = &mut sums[rival][w];
                sum.0 += f64::from(u8::from(wrong > 0));
                sum.1 += right as f64 / world.slower.0.max(1) as f64;
                sum.2 += wrong as f64 / (wrong + right).max(1) as f64;
            }
        }
    }
    for (name, sum) in RIVALS.iter().zip(sums) {
        let of = |value: f64| 100.0 * value / trials as f64;
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} | {:.1} |",
            of(sum[0].0),
            of(sum[1].1),
            of(sum[2].1),
            of(sum[1].2)
        );
    }
}

/// The table of docs/compare.md.
#[test]
#[ignore = "some minutes; prints the table of docs/compare.md"]
fn table() {
    let trials = std::env::var("HOTSPAN_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let print = |name: &str, world: World| {
        let t = simulate(&world, trials, 7);
        println!(
            "| {name} | {:.2} | {:.3} | {:.4} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
            t.any_false(),
            t.confirmed(),
            t.each_false(),
            t.power(),
            t.false_share(),
            t.coverage(),
            100.0 * t.detectable / t.trials,
            t.whole(),
        );
    };
    println!(
        "| runs | any false % | confirmed % | per operation % | power % | false share % | coverage % | detectable % | whole % |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    print("no change, 5 pairs", QUIET);
    print("no change, 3 pairs", World { pairs: 3, ..QUIET });
    print("no change, 10 pairs", World { pairs: 10, ..QUIET });
    print("no change, 5 and 5 unpaired", World { design: Design::Unpaired, ..QUIET });
    print("no change, no machine noise", World { machine: 0.0, ..QUIET });
    print("no change, machine noise 10 %", World { machine: 0.1, ..QUIET });
    print("no change, 20 operations", World { operations: 20, ..QUIET });
    print("no change, 5 operations", World { operations: 5, ..QUIET });
    for pairs in [3, 5, 10] {
        for ratio in [1.05, 1.1, 1.2] {
            let name = format!("10 of 200 slower by {:.0} %, {pairs} pairs", 100.0 * (ratio - 1.0));
            print(&name, World { pairs, slower: (10, ratio), ..AT_4 });
        }
    }
    print("1 of 200 slower by 10 %, 5 pairs", World { slower: (1, 1.1), ..AT_4 });
    print("1 of 20 slower by 10 %, 5 pairs", World { operations: 20, slower: (1, 1.1), ..AT_4 });
    print("1 of 20 slower by 20 %, 5 pairs", World { operations: 20, slower: (1, 1.2), ..AT_4 });
    print("busy machine, no change, 5 pairs", BUSY);
    print("busy machine, no change, 10 pairs", World { pairs: 10, ..BUSY });
    print("busy machine, 1 wait of 30 slower by 5 %, 5 pairs", World { slower: (1, 1.05), ..BUSY });
    print("busy machine, 1 wait of 30 slower by 10 %, 5 pairs", World { slower: (1, 1.1), ..BUSY });
    print("busy machine, 1 wait of 30 slower by 10 %, 3 pairs", World { pairs: 3, slower: (1, 1.1), ..BUSY });
    print("busy machine, all slower by 20 %, 10 pairs", World { pairs: 10, whole: 1.2, ..BUSY });
    print("all slower by 10 %, 5 pairs", World { whole: 1.1, ..QUIET });
    print("all slower by 20 %, 5 pairs", World { whole: 1.2, ..QUIET });
}
