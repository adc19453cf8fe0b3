//! Waits for what there are few of: who holds the connections of a pool, and how many calls may be under way at once.

use super::contributor_name;
use crate::analysis::result::{Contributor, Finding, Holder};
use crate::report::number::{calls as plain, percent};
use crate::report::prose::Prose;

/// A page that holds less of a pool is not worth a word, and no more of them than this.
const WORTH_A_WORD: f64 = 0.05;
const NAMED: usize = 3;
/// The share of all holding that must be of one sort for the advice to be about that.
const MOST: f64 = 0.5;

/// How many calls may be under way at once, of a wait that is told by them.
pub fn places(finding: &Finding) -> Option<f64> {
    finding.evidence.get("places").copied()
}

/// What a page does most while it holds a connection.
enum Does<'a> {
    Statement(&'a Contributor, f64),
    Call(&'a Contributor, f64),
    Own(f64),
}

fn does(holder: &Holder) -> Does<'_> {
    let mut most = Does::Own(holder.own);
    let mut least = holder.own;
    if let Some((who, share)) = holder.statement.as_ref().filter(|(_, share)| *share > least) {
        (most, least) = (Does::Statement(who, *share), *share);
    }
    match holder.call.as_ref().filter(|(_, share)| *share > least) {
        Some((who, share)) => Does::Call(who, *share),
        None => most,
    }
}

/// Who holds the connections, and what they do meanwhile.
pub fn holders(finding: &Finding) -> Option<Prose> {
    let all = finding.evidence.get("connections_held")?;
    let mut out = Prose::from(format!("of {} connections held on average ", plain(*all)));
    let worth = finding.holders.iter().filter(|h| h.share >= WORTH_A_WORD).take(NAMED);
    for (i, holder) in worth.enumerate() {
        let out_by = if i == 0 { out } else { out.own(", ") };
        out = out_by.own(format!("{} by ", plain(holder.held))).name(contributor_name(&holder.page));
        out = match does(holder) {
            Does::Statement(who, share) | Does::Call(who, share) => {
                out.own(format!(" ({} of that time in ", percent(share))).name(contributor_name(who)).own(")")
            }
            Does::Own(share) => out.own(format!(" ({} of that time in its own code)", percent(share))),
        };
    }
    Some(out)
}

/// What to do about a pool that is empty.
pub fn advice(finding: &Finding) -> Prose {
    let sum = |of: fn(&Holder) -> f64| finding.holders.iter().map(|h| h.share * of(h)).sum::<f64>();
    let (calls, own, statements) = (sum(|h| h.calls), sum(|h| h.own), sum(|h| h.statements));
    let first = |of: fn(&Holder) -> f64| {
        finding.holders.iter().max_by(|a, b| (a.share * of(a)).total_cmp(&(b.share * of(b))))
    };
    let then = " Then raise the pool's size as far as the database allows.";
    let out = Prose::from("All connections of the pool are in use");
    if let (true, Some(page)) = (calls >= MOST, first(|h| h.calls)) {
        let out = out
            .own(", most of the time while their requests call others: ")
            .name(contributor_name(&page.page));
        let out = match &page.call {
            Some((who, _)) => out.own(" calls ").name(contributor_name(who)).own(" while it holds one"),
            None => out.own(" does"),
        };
        return out
            .own(". Make the call before a connection is taken or after it is given back, never within a transaction.")
            .own(then);
    }
    if let (true, Some(page)) = (own >= MOST, first(|h| h.own)) {
        return out
            .own(", most of the time while the service's own code runs, above all that of ")
            .name(contributor_name(&page.page))
            .own(". Read what is needed, give the connection back, and only then compute, render or wait.")
            .own(then);
    }
    if let (true, Some(page)) = (statements >= MOST, first(|h| h.statements)) {
        let out = out.own(", most of the time by statements");
        let out = match &page.statement {
            Some((who, _)) => out
                .own(", above all ")
                .name(contributor_name(who))
                .own(" of ")
                .name(contributor_name(&page.page)),
            None => out,
        };
        return out.own(". Make them quicker or fewer first.").own(then);
    }
    out.own(". Hold them shorter (not while calling other services or rendering), then raise the pool's size as far as the database allows.")
}

/// What to do where only so many calls may be under way at once.
pub fn few_places(finding: &Finding) -> Prose {
    let places = places(finding).unwrap_or_default();
    let mut calls = finding.related.iter().take(NAMED);
    let to = |out: Prose, calls: &mut dyn Iterator<Item = &Contributor>| {
        calls.enumerate().fold(out, |out, (i, who)| {
            let out = if i == 0 { out } else { out.own(", ") };
            out.name(contributor_name(who))
        })
    };
    if places < 1.5 {
        let out = Prose::from("Each process makes this call one at a time: ");
        return to(out, &mut calls).own(
            ". A lock, a semaphore of one or a client with one connection is held meanwhile. Do not hold a lock while calling, or let as many through as the peer can take; a kept answer needs neither.",
        );
    }
    let out = Prose::from(format!("At most {} calls are under way at once in each process: ", plain(places)));
    to(out, &mut calls).own(
        ". A semaphore, a bulkhead or the client's own pool lets no more through, and the other requests wait for a place. See how many the peer can take and raise the limit to that; else make the calls shorter or fewer (kept answers, several in one).",
    )
}
