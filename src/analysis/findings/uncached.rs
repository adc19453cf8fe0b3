//! `uncached`: the same question again and again; `cache_miss`: a cache that mostly does not have what it is asked for.
//!
//! A statement without any variable has an answer that could be kept. One whose data were merely the same in this run is no
//! proof: the load may have asked for one thing only. What a miss costs is what the step asks instead.

use super::duplicate_query::writes;
use super::questions::Questions;
use super::{Claim, Found, Limit, View, anywhere, share};
use crate::analysis::result::{Category, Contributor, Doubt, FindingKind};

/// A read that always asks the same, whatever was requested.
pub(super) fn claim(view: &View<'_>, who: &Contributor) -> Option<Claim> {
    if who.category == Category::Cache || writes(&who.name) || !is_constant(&who.name) {
        return None;
    }
    let data = view.tally.evidence.data.get(&anywhere(who))?;
    let enough = data.known as f64 >= view.limit(Limit::SameCalls);
    (enough && data.is_the_same())
        .then(|| Claim::sure(FindingKind::Uncached).with(&[("same_calls", data.known as f64)]))
}

/// Whether a statement has no data but how many rows it wants.
fn is_constant(statement: &str) -> bool {
    let text = statement.replace("LIMIT ?", "LIMIT").replace("limit ?", "limit");
    let reads =
        ["SELECT", "WITH"].iter().any(|w| text.get(..w.len()).is_some_and(|t| t.eq_ignore_ascii_case(w)));
    reads && !text.contains(['?', '…']) && text.to_ascii_uppercase().contains(" FROM ")
}

/// Whether a command looks something up in a cache.
pub(super) fn reads(command: &str) -> bool {
    const READS: [&str; 8] = ["GET", "MGET", "HGET", "HGETALL", "HMGET", "GETEX", "JSON.GET", "GETS"];
    let (verb, _) = command.split_once(' ').unwrap_or((command, ""));
    READS.iter().any(|read| verb.eq_ignore_ascii_case(read))
}

/// Whether a command writes to the keys of a look: keys of one pattern, as far as they are known.
pub(super) fn fills(command: &str, look: &str) -> bool {
    const WRITES: [&str; 10] =
        ["SET", "SETEX", "PSETEX", "SETNX", "MSET", "HSET", "HMSET", "HSETNX", "JSON.SET", "ADD"];
    let keys = |text: &str| text.split_once(' ').map_or("?".to_owned(), |(_, keys)| keys.to_owned());
    let (verb, _) = command.split_once([' ', ';']).unwrap_or((command, ""));
    let (written, looked) = (keys(command), keys(look));
    let known = |keys: &str| !keys.starts_with('?') && !keys.is_empty();
    WRITES.iter().any(|write| verb.eq_ignore_ascii_case(write))
        && (written == looked || !known(&written) || !known(&looked))
}

/// Caches that mostly have nothing, in steps that lose time to what the answer costs then.
pub(super) fn misses(view: &View<'_>) -> Vec<Found> {
    let evidence = &view.tally.evidence;
    let told = evidence.hits.iter().map(|(who, n)| (who, n, None));
    // Where spans do not say what a look found, what follows it does.
    let inferred = evidence.looks.iter().filter(|(who, _)| !evidence.hits.contains_key(who));
    let inferred = inferred.map(|(who, n)| (who, n, Some(Doubt::WrittenAfter)));
    told.chain(inferred).filter_map(|(who, looks, doubt)| missed(view, who, *looks, doubt)).collect()
}

fn missed(
    view: &View<'_>,
    who: &Contributor,
    (hits, all): (u64, u64),
    doubt: Option<Doubt>,
) -> Option<Found> {
    let missed = 1.0 - share(hits, all);
    if who.category != Category::Cache
        || (all as f64) < view.limit(Limit::MissCalls)
        || missed < view.limit(Limit::MissRatio)
    {
        return None;
    }
    // No cache has what nobody asked for before: what a load that asks for ever new things misses is no fault of the cache.
    let again = all as f64 * view.tally.evidence.questions.get(who).map_or(1.0, Questions::asked_before);
    if again < view.limit(Limit::MissCalls) || 1.0 - hits as f64 / again < view.limit(Limit::MissRatio) {
        return None;
    }
    // What a database or a peer does in the same step is what a miss costs.
    let costs = |c: &Contributor| {
        c.service == who.service
            && matches!(c.category, Category::Database | Category::Search | Category::External)
    };
    let groups = view.tally.groups.iter().filter(|(c, _)| costs(c));
    let (behind, part) = groups.max_by(|a, b| a.1.total.cmp(&b.1.total).then(b.0.cmp(a.0)))?;
    let claim = Claim { doubt, ..Claim::sure(FindingKind::CacheMiss) }.with(&[("miss_share", missed)]);
    let mut one = view.pattern(claim, (behind, part), 0.0, Limit::Share, Limit::OutlierMeanMs)?;
    one.finding.related = vec![one.finding.contributor.clone()];
    one.finding.contributor = view.with_code(who);
    Some(one)
}
