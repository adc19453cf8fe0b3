//! Calls to one partner whose paths differ in one place alone are one kind of call: `GET rates.example/convert/EUR` and `…/convert/USD`.
//!
//! What looks like an id is left out of a path when its span is read. A word does not look like one: that it is one shows only over
//! many requests, in that there are several and none of them is in most requests. So this is done last, on the sums of all shares, and
//! the same for any partition. What one request calls in a loop is counted before, by the names as they came.

use super::names::{FAILURE_WAIT, RETRY_WAIT};
use super::result::{Category, Contributor};
use super::tally::{Part, StepTally};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Different words in one place of a path from which it is no name: beyond the first segment, in the first, and where others there have
/// been taken for ids already.
const WORDS: usize = 5;
const FIRST_WORDS: usize = 12;
const WORDS_BESIDE_IDS: usize = 3;
/// The share of a step's requests that may have the same one.
const ONE_WORD: f64 = 0.6;
/// What stands for an id.
const ID: &str = "{id}";
/// Places of one path that may differ.
const PLACES: usize = 3;

/// Whose call, and how it begins: service, system, method and host.
type Owner = (Arc<str>, Arc<str>, String);

/// A path with one segment left out, and which.
type Place<'a> = (&'a Owner, Vec<&'a str>, usize);

/// Puts calls under one name whose paths differ by a word that stands for a thing.
pub(super) fn under_templates(steps: &mut [StepTally]) {
    for _ in 0..PLACES {
        let found: BTreeSet<(Owner, Vec<String>)> = steps.iter().flat_map(templates).collect();
        if found.is_empty() {
            return;
        }
        let renamed = |who: &Contributor| renamed(who, &found);
        steps.iter_mut().for_each(|step| rename(step, &renamed));
    }
}

/// The templates of a step's calls that it does not have yet.
fn templates(step: &StepTally) -> Vec<(Owner, Vec<String>)> {
    let (requests, _) = step.joined_sum();
    let mut calls: BTreeMap<(Owner, Vec<String>), u64> = BTreeMap::new();
    for (who, part) in step.parts.iter().filter(|(who, _)| who.category == Category::External) {
        if let Some(call) = parse(who, &who.name) {
            *calls.entry(call).or_default() += part.exchanges;
        }
    }
    let mut places: BTreeMap<Place<'_>, Vec<(&str, u64)>> = BTreeMap::new();
    for ((owner, path), exchanges) in &calls {
        for at in 0..path.len() {
            let mut template: Vec<&str> = path.iter().map(String::as_str).collect();
            template[at] = ID;
            places.entry((owner, template, at)).or_default().push((&path[at], *exchanges));
        }
    }
    let is_a_thing = |at: usize, words: &[(&str, u64)]| {
        let literal = words.iter().filter(|(word, _)| *word != ID).count();
        let least = match at {
            _ if literal < words.len() => WORDS_BESIDE_IDS,
            0 => FIRST_WORDS,
            _ => WORDS,
        };
        let seldom = |n: u64| n as f64 <= ONE_WORD * requests as f64;
        literal >= least && words.iter().all(|(word, n)| *word == ID || seldom(*n))
    };
    let found: Vec<_> = places.into_iter().filter(|((_, _, at), words)| is_a_thing(*at, words)).collect();
    // Where two places differ, that which has more.
    let mut words: BTreeMap<(&Owner, usize, usize), usize> = BTreeMap::new();
    for ((owner, template, at), of) in &found {
        *words.entry((owner, template.len(), *at)).or_default() += of.len();
    }
    let best = words.into_iter().max_by_key(|((_, _, at), n)| (*n, std::cmp::Reverse(*at)));
    let Some((best, _)) = best else { return Vec::new() };
    let of_place = found.iter().filter(|((owner, template, at), _)| (*owner, template.len(), *at) == best);
    let named = |template: &[&str]| template.iter().map(|segment| (*segment).to_owned()).collect();
    of_place.map(|((owner, template, _), _)| ((*owner).clone(), named(template))).collect()
}

/// A call by whose it is and the segments of its path; nothing for what is no call over HTTP.
fn parse(who: &Contributor, name: &str) -> Option<(Owner, Vec<String>)> {
    let (method, rest) = name.split_once(' ')?;
    let (host, path) = rest.split_once('/')?;
    let plain = method.bytes().all(|c| c.is_ascii_uppercase()) && !host.is_empty() && !path.contains(' ');
    let owner = || (who.service.clone(), who.system.clone(), format!("{method} {host}"));
    plain.then(|| (owner(), path.split('/').map(str::to_owned).collect()))
}

fn renamed(who: &Contributor, templates: &BTreeSet<(Owner, Vec<String>)>) -> Option<Contributor> {
    let (before, name) = match who.category {
        Category::External => ("", &*who.name),
        Category::Queue => {
            let wait = [RETRY_WAIT, FAILURE_WAIT].into_iter().find(|wait| who.name.starts_with(wait))?;
            (wait, who.name.strip_prefix(wait)?)
        }
        _ => return None,
    };
    let (owner, path) = parse(who, name)?;
    let same_owner = |of: &Owner| {
        // A wait belongs to no system of its own.
        (&of.0, &of.2) == (&owner.0, &owner.2) && (who.category == Category::Queue || of.1 == owner.1)
    };
    let fits = |template: &[String]| {
        let differs = template.iter().zip(&path).filter(|(a, b)| a != b);
        template.len() == path.len() && differs.clone().count() == 1 && differs.clone().all(|(a, _)| a == ID)
    };
    let (of, template) = templates.iter().find(|(of, template)| same_owner(of) && fits(template))?;
    let name = format!("{before}{}/{}", of.2, template.join("/"));
    Some(Contributor { name: name.into(), ..who.clone() })
}

/// Gives all sums of a step their contributors' new names.
fn rename(step: &mut StepTally, new: &impl Fn(&Contributor) -> Option<Contributor>) {
    let (requests, _) = step.joined_sum();
    for parts in [&mut step.parts, &mut step.groups, &mut step.series] {
        rename_keys(parts, new, |mine: &mut Part, theirs| {
            mine.merge(&theirs);
            // One request may have several of them.
            mine.exchanges = mine.exchanges.min(requests.max(theirs.exchanges));
        });
    }
    let evidence = &mut step.evidence;
    let of_pattern = |key: &(_, Contributor)| Some((key.0, new(&key.1)?));
    rename_keys(&mut evidence.patterns, &of_pattern, |mine, theirs| mine.merge(&theirs));
    let of_instance = |key: &(Contributor, Arc<str>)| Some((new(&key.0)?, key.1.clone()));
    rename_keys(&mut evidence.stretches, &of_instance, |mine, theirs| mine.merge(theirs));
    rename_keys(&mut evidence.callers, &of_instance, |mine, theirs| mine.merge(&theirs));
}

fn rename_keys<K: Ord, V>(
    all: &mut BTreeMap<K, V>,
    new: &impl Fn(&K) -> Option<K>,
    merge: impl Fn(&mut V, V),
) {
    for (key, value) in std::mem::take(all) {
        match all.entry(new(&key).unwrap_or(key)) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(value);
            }
            std::collections::btree_map::Entry::Occupied(mut place) => merge(place.get_mut(), value),
        }
    }
}
