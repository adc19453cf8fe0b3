//! `queueing` before a server: time between caller and server that no span covers, because the server was busy with others.
//!
//! Three things tell it from a slow line. Requests that wait for a worker, a thread or an event loop are taken in as another
//! ends; what a line brings comes whenever it comes. Where it takes a while until a free worker takes the next, for the machine
//! is busy, there are still as many requests in the service as it has workers whenever one waits, neither more nor fewer. And a
//! line or a proxy takes about the same each time, while an accept queue takes nothing when it is empty: so time that slow
//! requests have and typical ones have not is waiting, too.

use super::dominant::queue_kind;
use super::event_loop::Requests;
use super::{Claim, Found, Limit, MIN_REQUESTS, View, limited_calls, mean_ms, same_work};
use crate::analysis::names::callee;
use crate::analysis::result::{Category, Contributor, Doubt, FindingKind};
use crate::analysis::tally::Part;
use crate::analysis::verdict::reached_on_this_machine;
use crate::record::Nanos;

/// Waiting from which it is seen whether a request was taken in as another ended.
const WAITED: u64 = Nanos::from_millis(5).0;
/// Time within which what was freed takes the next.
const AT_ONCE: u64 = Nanos::from_millis(3).0;
/// Requests that must have waited, the share of them that must be taken in so, and how many times as many that must be as
/// chance would give.
const WAITING: usize = 20;
const AS_OTHERS_END: f64 = 0.5;
const OVER_CHANCE: f64 = 3.0;

/// Time before the server that the server's other requests make, or that varies.
pub(super) fn claim(view: &View<'_>, who: &Contributor, part: &Part) -> Option<Claim> {
    if let Some(share) = waits_for_workers(view, who) {
        return Some(Claim::sure(FindingKind::Queueing).with(&[(AS_OTHERS_END_SHARE, share)]));
    }
    if let Some(served) = all_workers_are_busy(view, who) {
        return Some(Claim::sure(FindingKind::Queueing).with(&[(SERVED_AT_ONCE, served)]));
    }
    let bands = &view.tally.joined_bands;
    let typical = mean_ms(part.bands[0], bands[0].0);
    // The slowest requests that there are enough of.
    let from =
        |i: usize| -> (u64, u64) { (bands[i..].iter().map(|b| b.0).sum(), part.bands[i..].iter().sum()) };
    let (slow_n, time) = [from(2), from(1)].into_iter().find(|(n, _)| *n >= MIN_REQUESTS)?;
    let slow = mean_ms(time, slow_n);
    let varies = slow >= view.limit(Limit::VariesRatio) * typical;
    // How long a loop is busy goes with what its requests do, not with how many there are.
    let (n, _) = view.basis(who);
    let crowded = view.crowds.in_all(callee(who), part.total as f64 / n.max(1) as f64);
    let doubt = match varies {
        true => Doubt::Varies,
        false if no_line(view, who) => Doubt::NoLine,
        false if crowded => Doubt::CrowdedLoop,
        false => return None,
    };
    let (kind, doubt) = match waits_for_nobody(view, who) {
        true if crowded => (FindingKind::Queueing, Doubt::CrowdedLoop),
        true => (FindingKind::SlowNetwork, Doubt::NotByNumber),
        false => (FindingKind::Queueing, doubt),
    };
    Some(Claim::doubted(kind, doubt).with(&[("typical_ms", typical), ("slow_ms", slow)]))
}

/// Whether the time before a service cannot be a line's: the client is on its machine, and the waits differ as those of a proxy that
/// delays do not.
fn no_line(view: &View<'_>, way: &Contributor) -> bool {
    let of = view.requests.iter().filter(|((service, _), _)| **service == *callee(way));
    let mut insides =
        of.map(|(_, requests)| Inside::of(requests)).filter(|inside| inside.waited >= WAITING).peekable();
    way.service.is_empty()
        && reached_on_this_machine(view.known.run)
        && insides.peek().is_some()
        && insides.all(|inside| inside.waits_differ >= WAITS_DIFFER)
}

/// Whether in each process whose requests wait the wait does not go with how many are there: so it is for a line or a proxy that is
/// slow at times, and never for a queue.
fn waits_for_nobody(view: &View<'_>, way: &Contributor) -> bool {
    let of = view.requests.iter().filter(|((service, _), _)| **service == *callee(way));
    let mut processes = of.map(|(_, requests)| requests).filter(|r| Ahead::waited(r) >= WAITING).peekable();
    processes.peek().is_some() && processes.all(|requests| Ahead::of(requests).is_no_reason())
}

/// How the waits of a process's requests go with who is there: those that were sent before and have no answer yet.
struct Ahead {
    /// At most so much the wait and their number correlate, by two standard errors; 1 where it cannot be told.
    correlation: f64,
}

/// A correlation below which less than a tenth of how waits differ goes with how many are there.
const LITTLE: f64 = 0.3;
/// The standard deviation of how many are there over its mean from which their number could make a difference, and the share of
/// its variance that may be a sample's.
const NUMBERS_DIFFER: f64 = 0.1;
const SAMPLED: f64 = 0.8;

impl Ahead {
    fn waited(requests: &Requests) -> usize {
        requests.sample.iter().filter(|r| r.2.saturating_sub(r.1) >= WAITED).count()
    }

    fn of(requests: &Requests) -> Ahead {
        let sample = &requests.sample;
        let sorted = |moment: fn(&(u64, u64, u64, u64)) -> u64| {
            let mut all: Vec<u64> = sample.iter().map(moment).collect();
            all.sort_unstable();
            all
        };
        let (sent, ended) = (sorted(|r| r.1), sorted(|r| r.3));
        let before = |all: &[u64], at: u64| all.partition_point(|moment| *moment < at);
        let (mut waits, mut counts, mut both) = (Sum::default(), Sum::default(), 0.0);
        for (_, from, begins, _) in sample.iter() {
            let wait = begins.saturating_sub(*from) as f64 / 1e6;
            let count = before(&sent, *from).saturating_sub(before(&ended, *from)) as f64;
            waits.add(wait);
            counts.add(count);
            both += wait * count;
        }
        Ahead { correlation: correlation(&waits, &counts, both, requests.kept()) }
    }

    fn is_no_reason(&self) -> bool {
        self.correlation < LITTLE
    }
}

/// An upper bound of how waits and counts correlate, `both` being the sum of their products.
fn correlation(waits: &Sum, counts: &Sum, both: f64, kept: f64) -> f64 {
    // Of a sample each is there by chance: a part of the variance that hides what goes with the number.
    let noise = (1.0 - kept) * counts.mean() / counts.variance().max(f64::MIN_POSITIVE);
    let differ = (counts.variance() * (1.0 - noise).max(0.0)).sqrt() / counts.mean().max(f64::MIN_POSITIVE);
    let spreads = (waits.variance() * counts.variance()).sqrt();
    if noise > SAMPLED || differ < NUMBERS_DIFFER || spreads <= 0.0 {
        return 1.0;
    }
    let seen = (both / waits.n - waits.mean() * counts.mean()) / spreads;
    (seen + 2.0 / waits.n.sqrt()) / (1.0 - noise).sqrt()
}

/// Which share of the requests that waited on the way to a service were taken in as others ended, if that shows that they
/// waited for a worker.
fn waits_for_workers(view: &View<'_>, way: &Contributor) -> Option<f64> {
    let of = view.requests.iter().filter(|((service, _), _)| **service == *callee(way));
    share_as_others_end(of.map(|(_, requests)| requests), 0)
}

/// Whether what requests of several processes wait for is given to them as others end, or a little before: what is given back is
/// given on before its request is answered.
pub(super) fn is_given_on<'a>(processes: impl Iterator<Item = &'a Requests>) -> bool {
    share_as_others_end(processes, AT_ONCE).is_some()
}

/// Whether it took so long until it had its turn that it waited.
pub(super) fn has_waited(since: u64, begun: u64) -> bool {
    begun.saturating_sub(since) >= WAITED
}

/// Which share of the requests of several processes that waited were taken in as others ended, or so much before, if that shows
/// that they waited for those.
fn share_as_others_end<'a>(processes: impl Iterator<Item = &'a Requests>, before: u64) -> Option<f64> {
    let (mut waited, mut followed, mut by_chance) = (0, 0.0, 0.0);
    for requests in processes {
        let (n, seen, chance) = taken_in_as_others_end(requests, before);
        (waited, followed, by_chance) = (waited + n, followed + seen, by_chance + chance);
    }
    let shown =
        waited >= WAITING && followed >= AS_OTHERS_END * waited as f64 && followed >= OVER_CHANCE * by_chance;
    shown.then(|| (followed / waited as f64).min(1.0))
}

/// How many requests each process of a service serves while others wait for it, if that is the same each time.
fn all_workers_are_busy(view: &View<'_>, way: &Contributor) -> Option<f64> {
    let of = view.requests.iter().filter(|((service, _), _)| **service == *callee(way));
    let (mut served, mut waited, mut processes) = (0.0, 0.0, 0.0);
    for inside in of.map(|(_, requests)| Inside::of(requests)).filter(|inside| inside.waited >= WAITING) {
        if !inside.is_full() {
            return None;
        }
        let weight = inside.waited as f64;
        (served, waited) = (served + weight * inside.mean, waited + weight);
        processes += 1.0;
    }
    (processes > 0.0).then(|| served / waited)
}

/// How many requests a process serves while another waits for it.
pub(super) struct Inside {
    waited: usize,
    mean: f64,
    /// Its variance over its mean: 1 for what comes by chance, 0 for what is always as many.
    spread: f64,
    /// Its mean over the most there are; 1 where a sample cannot tell.
    of_most: f64,
    /// The standard deviation of the waits over their mean.
    waits_differ: f64,
    /// How many others wait with one that waits.
    others: f64,
}

/// The spread up to which there are always as many, of the most how many there are on average, and from which on waits differ:
/// those of a steady line do not, and then requests may come so evenly that there are always as many inside, too.
const ALWAYS_AS_MANY: f64 = 0.3;
const NEAR_THE_MOST: f64 = 0.8;
const WAITS_DIFFER: f64 = 0.2;

impl Inside {
    /// What a process serves while a request waits for its turn, if it is always as many, there are more that wait, and enough waited.
    pub fn served_at_once(requests: &Requests) -> Option<f64> {
        let inside = Inside::of(requests);
        let shown = inside.waited >= WAITING && inside.is_full() && inside.others >= inside.mean;
        shown.then_some(inside.mean)
    }

    /// Whether enough waited in a process to tell that it is not always as many.
    pub fn is_not_full(requests: &Requests) -> bool {
        let inside = Inside::of(requests);
        inside.waited >= WAITING && !inside.is_full()
    }

    /// Whether enough requests of a process waited to tell.
    pub fn is_waited_for(requests: &Requests) -> bool {
        Ahead::waited(requests) >= WAITING
    }

    /// How much the numbers inside differ in the process in which they do so most, where there are always as many in each in which
    /// enough waited.
    pub fn least_even<'a>(processes: impl Iterator<Item = &'a Requests>) -> Option<f64> {
        let mut most: Option<f64> = None;
        for inside in processes.map(Inside::of).filter(|inside| inside.waited >= WAITING) {
            if !inside.is_full() {
                return None;
            }
            most = Some(most.map_or(inside.spread, |most| most.max(inside.spread)));
        }
        most
    }

    fn of(requests: &Requests) -> Inside {
        let sample = &requests.sample;
        let sorted = |moment: fn(&(u64, u64, u64, u64)) -> u64| {
            let mut all: Vec<u64> = sample.iter().map(moment).collect();
            all.sort_unstable();
            all
        };
        let (begun, ended, sent) = (sorted(|r| r.2), sorted(|r| r.3), sorted(|r| r.1));
        let waiting = sample.iter().filter(|r| r.2.saturating_sub(r.1) >= WAITED);
        let (mut waits, mut counts, mut others) = (Sum::default(), Sum::default(), Sum::default());
        let mut numbers = Vec::new();
        for (_, from, begins, _) in waiting {
            let middle = from + (begins - from) / 2;
            let until = |all: &[u64]| all.partition_point(|at| *at <= middle);
            let inside = until(&begun) - until(&ended);
            counts.add(inside as f64);
            others.add(until(&sent).saturating_sub(until(&begun) + 1) as f64);
            numbers.push(inside);
            waits.add((begins - from) as f64);
        }
        // Of a sample each is there by chance, which spreads what is always as many.
        let kept = requests.kept();
        numbers.sort_unstable();
        let most = numbers.get(numbers.len() * 95 / 100).copied().unwrap_or(0) as f64;
        let spread = (counts.variance() / counts.mean().max(f64::MIN_POSITIVE) - (1.0 - kept)) / kept;
        Inside {
            waited: counts.n as usize,
            mean: counts.mean() / kept,
            spread,
            of_most: if kept < 1.0 { 1.0 } else { counts.mean() / most.max(1.0) },
            waits_differ: waits.variance().sqrt() / waits.mean().max(1.0),
            others: others.mean() / kept,
        }
    }

    fn is_full(&self) -> bool {
        self.mean >= 0.5
            && self.spread <= ALWAYS_AS_MANY
            && self.of_most >= NEAR_THE_MOST
            && self.waits_differ >= WAITS_DIFFER
    }
}

#[derive(Default)]
struct Sum {
    n: f64,
    sum: f64,
    squares: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        (self.n, self.sum, self.squares) = (self.n + 1.0, self.sum + value, self.squares + value * value);
    }

    fn mean(&self) -> f64 {
        if self.n > 0.0 { self.sum / self.n } else { 0.0 }
    }

    fn variance(&self) -> f64 {
        if self.n > 0.0 { (self.squares / self.n - self.mean() * self.mean()).max(0.0) } else { 0.0 }
    }
}

/// How much of a step's latency was waiting for workers: no share of what the service did is told by it.
pub(super) fn waiting_for_workers(view: &View<'_>) -> u64 {
    let much = |part: &Part, n: u64| mean_ms(part.total, n) >= WAITED_MEAN_MS;
    let ways = view.tally.parts.iter().filter(|(who, _)| who.category == Category::Network);
    let long = ways.filter(|(who, part)| much(part, view.basis(who).0));
    let queues = |who: &Contributor, part: &Part| {
        claim(view, who, part).is_some_and(|claim| claim.kind == FindingKind::Queueing)
    };
    long.filter(|(who, part)| queues(who, part)).map(|(_, part)| part.total).sum()
}

/// How much of a step's latency is waiting for connections and workers that spans name.
pub(super) fn named_waits(view: &View<'_>) -> u64 {
    long_waits(view).map(|(_, time)| time).sum()
}

/// The same of one service.
pub(super) fn named_waits_of(view: &View<'_>, service: &str) -> u64 {
    long_waits(view).filter(|(who, _)| *who.service == *service).map(|(_, time)| time).sum()
}

fn long_waits<'a>(view: &View<'a>) -> impl Iterator<Item = (&'a Contributor, u64)> {
    let parts = view.tally.parts.iter().filter(|(who, _)| {
        who.category == Category::Queue
            && matches!(queue_kind(&who.name, &who.system), FindingKind::PoolWait | FindingKind::Queueing)
    });
    let view = *view;
    parts
        .filter(move |(who, part)| mean_ms(part.total, view.basis(who).0) >= WAITED_MEAN_MS)
        .map(|(who, part)| (who, part.total))
}

/// How much of a step's latency is waiting that findings tell of: for a lock or a place, for a start, until a call is made again.
pub(super) fn told_waits(view: &View<'_>, found: &[Found]) -> u64 {
    use FindingKind::{ColdStart, LockContention, RateLimited};
    let told = found.iter().map(|f| &f.finding);
    let waits = told.filter(|f| {
        matches!(f.kind, ColdStart | LockContention | RateLimited) || limited_calls::is_told_by(f)
    });
    let who: Vec<&Contributor> = waits.map(|f| &f.contributor).collect();
    let parts = view.tally.parts.iter().filter(|(c, _)| who.iter().any(|w| same_work(c, w)));
    parts.map(|(_, part)| part.total).sum()
}

/// Time on the way from which it is asked whether it is waiting for workers.
const WAITED_MEAN_MS: f64 = 5.0;

/// The evidence of requests that are taken in as others end.
pub(super) const AS_OTHERS_END_SHARE: &str = "as_others_end_share";
/// The evidence of processes that are full while others wait.
pub(super) const SERVED_AT_ONCE: &str = "served_at_once";

/// Requests of a process that waited before it took them in; how many it took in just as another ended; and how many
/// of them would be so by chance. The other may end so much later.
fn taken_in_as_others_end(requests: &Requests, later: u64) -> (usize, f64, f64) {
    let sample = &requests.sample;
    let mut ends: Vec<u64> = sample.iter().map(|r| r.3).collect();
    ends.sort_unstable();
    let (first, last) = (sample.iter().map(|r| r.2).min().unwrap_or(0), ends.last().copied().unwrap_or(0));
    let rate = ends.len() as f64 / last.saturating_sub(first).max(1) as f64;
    // Of a sample, the one that ended is kept as rarely as all.
    let kept = requests.kept();
    let (mut waited, mut followed) = (0, 0.0);
    for (_, sent, begun, ended) in sample.iter().filter(|r| r.2.saturating_sub(r.1) >= WAITED) {
        waited += 1;
        let before = &ends[..ends.partition_point(|end| *end <= begun + later)];
        // Its own end frees nothing for it.
        let another = before.iter().rev().find(|end| *end != ended || *end <= begun);
        let freed = another.is_some_and(|end| end + AT_ONCE > *begun && end >= sent);
        followed += f64::from(u8::from(freed)) / kept;
    }
    (waited, followed, waited as f64 * (rate * (AT_ONCE + later) as f64 / kept).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `lanes` requests are served at a time, 60 ms each, as one of them ends or when the line has brought them.
    fn served(lanes: u64, by_line: bool) -> (usize, f64, f64) {
        let mut requests = Requests::default();
        for n in 0..300u64 {
            let turn = n * 61_000_000 / lanes + n % lanes * 3_000_000;
            // A line is steady but for a little.
            let begun = if by_line { turn + n * n % 47 * 1_000_000 } else { turn };
            requests.add((begun).saturating_sub(80_000_000), begun, begun + 60_000_000);
        }
        taken_in_as_others_end(&requests, 0)
    }

    /// What is inside while others wait: `workers` are busy all the time, and take the next some time after the last ended; or
    /// a line brings requests after `line` ms, by chance or evenly.
    fn inside(workers: u64, number: u64) -> Inside {
        let mut requests = Requests::default();
        let mut free = vec![0u64; workers as usize];
        for n in 0..number {
            let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            let next = (0..free.len()).min_by_key(|i| free[*i]).unwrap();
            // The machine takes its time between the two.
            let begun = free[next] + 6_000_000 + mixed % 9 * 1_000_000;
            free[next] = begun + (60 + mixed % 90) * 1_000_000;
            requests.add(begun.saturating_sub((100 + mixed % 700) * 1_000_000), begun, free[next]);
        }
        Inside::of(&requests)
    }

    fn by_a_line(evenly: bool, jitter: u64) -> Inside {
        let mut requests = Requests::default();
        for n in 0..600u64 {
            let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            let sent = n * 20_000_000 + if evenly { 0 } else { mixed % 400 * 1_000_000 };
            let begun = sent + (150 + mixed % (jitter + 1)) * 1_000_000;
            requests.add(sent, begun, begun + 85_000_000);
        }
        Inside::of(&requests)
    }

    #[test]
    fn full_workers_are_told_from_a_line_by_how_many_are_inside() {
        for (workers, number) in [(1, 400), (6, 400), (16, 1_500), (8, 6_000)] {
            let full = inside(workers, number);
            let seen = (workers, full.mean, full.spread, full.waits_differ);
            assert!(full.is_full() && (full.mean - workers as f64).abs() < 0.2 * workers as f64, "{seen:?}");
        }
        for (evenly, jitter) in [(false, 0), (false, 200), (true, 0), (true, 300)] {
            let line = by_a_line(evenly, jitter);
            assert!(
                !line.is_full(),
                "{evenly} {jitter}: {} {} {}",
                line.mean,
                line.spread,
                line.waits_differ
            );
        }
        assert!(!Inside::of(&Requests::default()).is_full());
    }

    /// Users who think between requests, before `workers` of 60 ms each, the way taking 5 ms; or a way that takes 20 to 90 ms
    /// by chance, before a server that takes in all at once.
    fn users(users: usize, workers: usize, jitter: bool, number: u64) -> Requests {
        let mut requests = Requests::default();
        let mut next: Vec<u64> = (0..users as u64).map(|u| u * 7_000_000).collect();
        let mut free = vec![0u64; workers];
        for n in 0..number {
            let mixed = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
            let user = (0..users).min_by_key(|u| next[*u]).unwrap();
            let sent = next[user];
            let worker = (0..workers).min_by_key(|w| free[*w]).unwrap();
            let work = (30 + mixed % 61) * 1_000_000;
            let begun = if jitter {
                sent + (20 + (mixed >> 8) % 71) * 1_000_000
            } else {
                (sent + 5_000_000).max(free[worker] + (mixed >> 8) % 9 * 1_000_000)
            };
            free[worker] = begun + work;
            requests.add(sent, begun, begun + work);
            next[user] = begun + work + (100 + (mixed >> 16) % 301) * 1_000_000;
        }
        requests
    }

    #[test]
    fn a_way_that_takes_long_by_chance_is_told_from_waiting_for_others() {
        for number in [300, 1_500, 6_000] {
            for few in [5, 20, 50] {
                let line = Ahead::of(&users(few, 1, true, number));
                assert!(line.is_no_reason(), "{few} {number} {}", line.correlation);
            }
            for (many, workers) in [(5, 1), (20, 4), (50, 8), (20, 2)] {
                let queue = Ahead::of(&users(many, workers, false, number));
                let seen = (many, workers, number, queue.correlation);
                assert!(!queue.is_no_reason(), "{seen:?}");
            }
        }
        // As many always, as of users who do not think: nothing can be told.
        let mut always = Requests::default();
        (0..400u64).for_each(|n| {
            always.add(
                n * 10_000_000,
                n * 10_000_000 + n * n % 47 * 1_000_000 + 20_000_000,
                n * 10_000_000 + 99_000_000,
            )
        });
        assert!(!Ahead::of(&always).is_no_reason());
    }

    #[test]
    fn a_queue_is_told_from_a_line() {
        let (waited, followed, by_chance) = served(1, false);
        assert!(waited > 290 && followed > 280.0 && by_chance < 20.0, "{waited} {followed} {by_chance}");
        let (waited, followed, _) = served(1, true);
        assert!(followed < 0.3 * waited as f64, "{waited} {followed}");
        assert_eq!(taken_in_as_others_end(&Requests::default(), 0), (0, 0.0, 0.0));
    }
}
