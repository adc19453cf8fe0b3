//! One thing under many names: a peer on a port that the system chose, a pod, an id in the name of an operation. Such parts
//! differ from run to run, and what differs from run to run must not look like a change of the program.
//!
//! A name that every run of both sides has stays as it is, whatever it looks like. Others are known by their name with volatile
//! parts left out (`*`), and what has one name then is one thing: a new peer at `10.0.0.9:5432` beside the known
//! `10.0.0.4:5432` is still new, and a peer that moved from one free port to another is not.

use super::summary::{
    ContributorKey, ContributorSummary, OperationKey, OperationSummary, RunSummary, StepSummary, Times,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The first port that systems give out by themselves (Linux; others begin higher).
const FREE_PORTS: u32 = 32_768;
/// Letters and digits that Kubernetes makes names of: without vowels, and without what looks like them.
const POD_LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";

/// Runs of both sides under names that can be compared. Nothing where all names can be already.
pub(super) fn aligned(
    base: &[RunSummary],
    head: &[RunSummary],
) -> Option<(Vec<RunSummary>, Vec<RunSummary>)> {
    let all = || base.iter().chain(head);
    let contributors = renamed(
        all().map(|run| run.steps.iter().flat_map(|s| s.contributors.iter().map(|c| &c.key)).collect()),
        |key: &ContributorKey| ContributorKey {
            service: steady(&key.service),
            name: steady(&key.name),
            ..key.clone()
        },
    );
    let operations =
        renamed(all().map(|run| run.operations.iter().map(|op| &op.key).collect()), |key: &OperationKey| {
            OperationKey { service: steady(&key.service), name: steady(&key.name), kind: key.kind.clone() }
        });
    if contributors.is_empty() && operations.is_empty() {
        return None;
    }
    let side = |runs: &[RunSummary]| -> Vec<RunSummary> {
        let anew = |run: &RunSummary| RunSummary {
            steps: run.steps.iter().map(|s| step(s, &contributors)).collect(),
            operations: of_one_name(&run.operations, &operations),
            ..run.clone()
        };
        runs.iter().map(anew).collect()
    };
    Some((side(base), side(head)))
}

/// New keys of those that not every run has and that have volatile parts.
fn renamed<'a, K: Ord + Clone + 'a>(
    runs: impl Iterator<Item = BTreeSet<&'a K>>,
    steady: impl Fn(&K) -> K,
) -> BTreeMap<K, K> {
    let mut count = 0;
    let mut seen: BTreeMap<&K, usize> = BTreeMap::new();
    for keys in runs {
        count += 1;
        keys.into_iter().for_each(|key| *seen.entry(key).or_default() += 1);
    }
    seen.into_iter()
        .filter(|(_, runs)| *runs < count)
        .map(|(key, _)| (key.clone(), steady(key)))
        .filter(|(key, steady)| key != steady)
        .collect()
}

fn step(step: &StepSummary, names: &BTreeMap<ContributorKey, ContributorKey>) -> StepSummary {
    let mut sums: BTreeMap<ContributorKey, ContributorSummary> = BTreeMap::new();
    for c in &step.contributors {
        let key = names.get(&c.key).unwrap_or(&c.key).clone();
        let sum = sums
            .entry(key.clone())
            .or_insert_with(|| ContributorSummary { key, ..ContributorSummary::default() });
        sum.calls_per_exchange += c.calls_per_exchange;
        sum.mean_ms += c.mean_ms;
    }
    let mut contributors: Vec<ContributorSummary> = sums.into_values().collect();
    contributors.sort_by(|a, b| b.mean_ms.total_cmp(&a.mean_ms));
    StepSummary { contributors, ..step.clone() }
}

/// Operations of one name as one. Quantiles of several are their mean, weighted by how many values each has: not the quantile of
/// all values, but the same estimate on both sides.
fn of_one_name(
    operations: &[OperationSummary],
    names: &BTreeMap<OperationKey, OperationKey>,
) -> Vec<OperationSummary> {
    let mut out: Vec<OperationSummary> = Vec::with_capacity(operations.len());
    let mut places: BTreeMap<OperationKey, usize> = BTreeMap::new();
    for op in operations {
        let key = names.get(&op.key).unwrap_or(&op.key).clone();
        match places.get(&key) {
            Some(place) => add(&mut out[*place], op),
            None => {
                places.insert(key.clone(), out.len());
                out.push(OperationSummary { key, ..op.clone() });
            }
        }
    }
    out
}

fn add(to: &mut OperationSummary, op: &OperationSummary) {
    to.calls += op.calls;
    to.errors += op.errors;
    to.exchanges += op.exchanges;
    to.own_total_ms += op.own_total_ms;
    to.own = together(to.own, op.own);
    to.duration = together(to.duration, op.duration);
}

fn together(a: Times, b: Times) -> Times {
    let n = a.n + b.n;
    let of = |x: f64, y: f64| (x * a.n as f64 + y * b.n as f64) / n.max(1) as f64;
    Times {
        n,
        mean: of(a.mean, b.mean),
        p25: of(a.p25, b.p25),
        p50: of(a.p50, b.p50),
        p95: of(a.p95, b.p95),
        p99: of(a.p99, b.p99),
    }
}

/// A text without the parts that differ from run to run.
pub fn steady_name(name: &str) -> String {
    without_volatile(name)
}

/// A name without the parts that differ from run to run; the same `Arc` where it has none.
fn steady(name: &Arc<str>) -> Arc<str> {
    let text = without_volatile(name);
    if *text == **name { name.clone() } else { Arc::from(text) }
}

/// Ids, addresses of pods, free ports and the ends of pod names as `*`.
fn without_volatile(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while !rest.is_empty() {
        let before = out.chars().last();
        let starts = !before.is_some_and(|c| c.is_alphanumeric());
        if starts && let Some(len) = uuid(rest).or_else(|| private_address(rest)) {
            out.push('*');
            rest = &rest[len..];
            continue;
        }
        if starts && let Some(len) = quoted(rest) {
            out.push_str("'*'");
            rest = &rest[len..];
            continue;
        }
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if len == 0 || !starts {
            let len = rest.chars().next().map_or(rest.len(), char::len_utf8);
            out.push_str(&rest[..len]);
            rest = &rest[len..];
            continue;
        }
        let word = &rest[..len];
        let whole = !rest[len..].starts_with(|c: char| c.is_alphanumeric());
        out.push_str(if whole && is_volatile(word, &out) { "*" } else { word });
        rest = &rest[len..];
    }
    // Lists of literals have as many as the request asked for.
    for list in ["*, *", "*,*", "'*', '*'", "'*','*'"] {
        while out.contains(list) {
            out = out.replace(list, if list.starts_with('*') { "*" } else { "'*'" });
        }
    }
    out
}

/// The length of a literal in single quotes at the beginning of a text.
fn quoted(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    Some(inner.find('\'')? + 2)
}

/// Whether a word is likely another in the next run, given what stands before it.
fn is_volatile(word: &str, before: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if digits == word.len() {
        return match before.chars().last() {
            // A port is a number like any other, unless nobody chose it.
            Some(':') => word.parse::<u32>().is_ok_and(|port| (FREE_PORTS..65_536).contains(&port)),
            Some('/') => true,
            // Literals of statements: `id = 42`, `IN (1, 2)`.
            _ if before.trim_end().ends_with(['=', '<', '>', '(', ',']) => true,
            _ => word.len() >= 4,
        };
    }
    let hexadecimal = word.bytes().all(|b| b.is_ascii_hexdigit());
    if digits > 0 && (hexadecimal && word.len() >= 8 || word.len() >= 16) {
        return true;
    }
    let of_pod = word.bytes().all(|b| POD_LETTERS.as_bytes().contains(&b));
    // `-7d9f8b6c54-x2k4p`: a replica set and a pod of it; a pod of a daemon set has the last part alone.
    match (before.ends_with("-*-"), before.ends_with('-')) {
        (true, _) => of_pod && word.len() == 5,
        (_, true) => of_pod && digits > 0 && matches!(word.len(), 5 | 8..=10),
        _ => false,
    }
}

/// The length of a UUID at the beginning of a text.
fn uuid(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let fits = bytes.get(..36)?.iter().enumerate().all(|(i, b)| match i {
        8 | 13 | 18 | 23 => *b == b'-',
        _ => b.is_ascii_hexdigit(),
    });
    (fits && !bytes.get(36).is_some_and(u8::is_ascii_alphanumeric)).then_some(36)
}

/// The length of an IPv4 address of a private network at the beginning of a text. Loopback is one that stays.
fn private_address(text: &str) -> Option<usize> {
    let len = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let address: std::net::Ipv4Addr = text[..len].parse().ok()?;
    address.is_private().then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_left_out() {
        for (name, want) in [
            ("127.0.0.1:43817", "127.0.0.1:*"),
            ("GET localhost:51234/v1/charges", "GET localhost:*/v1/charges"),
            ("[::1]:40001", "[::1]:*"),
            ("10.42.3.17:5432", "*:5432"),
            ("192.168.1.9 GET /", "* GET /"),
            ("orders-7d9f8b6c54-x2k4p", "orders-*-*"),
            ("orders-7d9f8b6c54-bcdfg", "orders-*-*"),
            ("agent-x2k4p", "agent-*"),
            ("GET /orders/8f3a9c20", "GET /orders/*"),
            ("GET /orders/7", "GET /orders/*"),
            ("GET /orders/7/lines", "GET /orders/*/lines"),
            ("job 3f2504e0-4f89-11d3-9a0c-0305e82c3301 run", "job * run"),
            ("upload 01ARZ3NDEKTSV4RRFFQ69G5FAV", "upload *"),
            ("SELECT * FROM temp_20261128", "SELECT * FROM temp_*"),
            ("session V1StGXR8Z5jdHi6BmyT", "session *"),
            ("SELECT * FROM t WHERE id = 42 AND name = 'a b'", "SELECT * FROM t WHERE id = * AND name = '*'"),
            ("DELETE FROM t WHERE id IN (1, 22, 3)", "DELETE FROM t WHERE id IN (*)"),
            ("x IN ('a','b')", "x IN ('*')"),
        ] {
            assert_eq!(without_volatile(name), want, "{name}");
        }
    }

    #[test]
    fn names_that_somebody_chose_stay() {
        for name in [
            "127.0.0.1:8080",
            "db.internal:5432",
            "api.example.com GET /v1/charges",
            "GET /api/v2/products",
            "SELECT products WHERE id = ?",
            "HTTP 404",
            "8.8.8.8:53",
            "utf8mb4 md5 sha256",
            "shop-backend",
            "feedface",
            "retry 3",
            "größe-x2k4pä",
            "it's",
            "LIMIT 10",
            "OrderController.list",
            "",
        ] {
            assert_eq!(without_volatile(name), name);
        }
    }
}
