//! Changes of all series of a group, and those that happened together as one event.

use super::line::Entry;
use super::series::{Group, Measure, Series, SeriesKey};
use crate::stats::changepoint::{
    ChangePoint, Changes, CommonFactor, FEWEST, Memory, Sensitivity, changes, changes_with, common_factor,
    shared_memory,
};

/// Probability that a history without any change shows one, whatever the number of its series.
const FALSE_ALARM: f64 = 0.02;

/// What was found in a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Changes that happened together, the latest first.
    pub events: Vec<Event>,
    /// What was found in each series, in the group's order.
    pub series: Vec<Found>,
    /// The part that all times of a run have in common was taken out, known from so many series.
    pub common: usize,
    /// Changes of that part: everything at once, by the machine or by the whole service.
    pub whole: Vec<ChangePoint>,
    /// Largest deviation from 1 of the common part, as a ratio.
    pub common_span: f64,
    /// Series with too few runs.
    pub short: usize,
}

/// One series with its changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Its changes; indices are places of runs in the group.
    pub changes: Changes,
}

/// Series that changed together.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Place in the group of the first run with the change, in most series.
    pub at: usize,
    /// The earliest run that may be that instead, in all series.
    pub earliest: usize,
    /// The latest.
    pub latest: usize,
    /// Which changed, the worst first.
    pub members: Vec<Member>,
}

/// A series' part of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Which series.
    pub key: SeriesKey,
    /// Level before, in the measure's unit.
    pub before: f64,
    /// Level after.
    pub after: f64,
    /// Change as a ratio; of shares their difference plus 1, so that more is above 1 always.
    pub ratio: f64,
    /// Lower end of the ratio's 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Probability of so clear a change by chance.
    pub p: f64,
}

impl Member {
    /// Whether it became worse: all measures are better when smaller.
    pub fn is_worse(&self) -> bool {
        self.ratio > 1.0
    }
}

impl Event {
    /// Whether any series became worse by at least so much (0.05 is five per cent).
    pub fn is_worse_by(&self, effect: f64) -> bool {
        self.members.iter().any(|m| m.ratio >= 1.0 + effect)
    }
}

/// Looks for changes in all series of a group. `effect` is the smallest relative change that counts.
///
/// The error probability is shared among the series by Benjamini and Hochberg's step-up rule, so that a history of hundreds of
/// operations without a change is as quiet as one of a single series.
pub fn find(group: &Group, effect: f64) -> Findings {
    let scaled: Vec<Vec<Option<f64>>> = group.series.iter().map(scale).collect();
    let times: Vec<Vec<Option<f64>>> = (group.series.iter().zip(&scaled))
        .filter(|(series, row)| series.key.measure.is_time() && row.iter().flatten().count() >= FEWEST)
        .map(|(_, row)| row.clone())
        .collect();
    let common = common_factor(&times);
    let rows: Vec<(Vec<usize>, Vec<f64>)> = (group.series.iter().zip(&scaled))
        .map(|(series, row)| without(row, &common, series.key.measure.is_time()))
        .collect();
    // Machines drift, and that is in all times; counts and shares of failures have nothing to do with it.
    let drift = shared_memory(
        (group.series.iter().zip(&rows))
            .filter(|(series, _)| series.key.measure.is_time())
            .map(|(_, (_, values))| values.as_slice()),
    );
    let least = |series: &Series| if series.key.measure.is_time() { drift } else { Memory::default() };
    let minimum = (1.0 + effect).ln();
    let quiet = Sensitivity { alpha: 0.0, effect: minimum };
    let mut smallest: Vec<f64> = (group.series.iter().zip(&rows))
        .filter(|(_, (_, values))| values.len() >= FEWEST)
        .map(|(series, (_, values))| changes_with(values, quiet, least(series)).p)
        .collect();
    let whole_p = if common.is_known() { Some(changes(&common.by_run, quiet).p) } else { None };
    smallest.extend(whole_p);
    let alpha = step_up(&mut smallest, FALSE_ALARM);
    let sensitivity = Sensitivity { alpha, effect: minimum };
    let series: Vec<Found> = (group.series.iter().zip(&rows))
        .map(|(series, (places, values))| {
            let mut found = changes_with(values, sensitivity, least(series));
            found.points.iter_mut().for_each(|point| to_places(point, places));
            Found { changes: found }
        })
        .collect();
    let whole = if common.is_known() { changes(&common.by_run, sensitivity).points } else { Vec::new() };
    let span = common.by_run.iter().fold(0.0f64, |most, v| most.max(v.abs()));
    Findings {
        events: together(group, &series),
        short: rows.iter().filter(|(_, values)| values.len() < FEWEST).count(),
        series,
        common: common.series,
        whole,
        common_span: span.exp() - 1.0,
    }
}

fn scale(series: &Series) -> Vec<Option<f64>> {
    series.values.iter().map(|value| series.key.measure.scaled((*value)?)).collect()
}

/// The values that are there, and at which runs; times without the common part.
fn without(row: &[Option<f64>], common: &CommonFactor, is_time: bool) -> (Vec<usize>, Vec<f64>) {
    let part = |run: usize| if is_time { common.by_run.get(run).copied().unwrap_or(0.0) } else { 0.0 };
    row.iter().enumerate().filter_map(|(run, value)| Some((run, (*value)? - part(run)))).unzip()
}

/// The largest p-value that is still a discovery.
fn step_up(smallest: &mut [f64], share: f64) -> f64 {
    smallest.sort_by(f64::total_cmp);
    let count = smallest.len() as f64;
    let limit = |i: usize| share * (i + 1) as f64 / count;
    // With no discovery the limit of the first stands: nothing passes it.
    (0..smallest.len()).rev().find(|i| smallest[*i] <= limit(*i)).map_or(share / count.max(1.0), limit)
}

fn to_places(point: &mut ChangePoint, places: &[usize]) {
    let place = |i: usize| places.get(i).copied().unwrap_or(i);
    // A run that lacks the series between two that have it belongs to the range.
    let earliest = if point.earliest == 0 { 0 } else { place(point.earliest - 1) + 1 };
    (point.at, point.earliest, point.latest) = (place(point.at), earliest, place(point.latest));
}

/// Changes whose ranges have a run in common are one event, as long as all of them have.
fn together(group: &Group, found: &[Found]) -> Vec<Event> {
    let mut all: Vec<(ChangePoint, Member)> = Vec::new();
    for (series, found) in group.series.iter().zip(found) {
        all.extend(found.changes.points.iter().map(|point| (*point, member(&series.key, point))));
    }
    all.sort_by(|a, b| (a.0.at, a.0.earliest, &a.1.key).cmp(&(b.0.at, b.0.earliest, &b.1.key)));
    let mut events: Vec<(Event, Vec<usize>)> = Vec::new();
    for (point, member) in all {
        let fits = |event: &Event| point.earliest <= event.latest && event.earliest <= point.latest;
        match events.iter_mut().find(|(event, _)| fits(event)) {
            Some((event, places)) => {
                event.earliest = event.earliest.max(point.earliest);
                event.latest = event.latest.min(point.latest);
                event.members.push(member);
                places.push(point.at);
            }
            None => events.push((
                Event { at: point.at, earliest: point.earliest, latest: point.latest, members: vec![member] },
                vec![point.at],
            )),
        }
    }
    let mut events: Vec<Event> = events
        .into_iter()
        .map(|(mut event, mut places)| {
            places.sort_unstable();
            // The middle one, within what all agree on.
            event.at = places[places.len() / 2].clamp(event.earliest, event.latest);
            event.members.sort_by(|a, b| b.ratio.total_cmp(&a.ratio).then_with(|| a.key.cmp(&b.key)));
            event
        })
        .collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.at));
    events
}

fn member(key: &SeriesKey, point: &ChangePoint) -> Member {
    let as_ratio = |shift: f64| if key.measure == Measure::StepErrors { 1.0 + shift } else { shift.exp() };
    Member {
        key: key.clone(),
        before: key.measure.unscaled(point.before),
        after: key.measure.unscaled(point.after),
        ratio: as_ratio(point.shift()),
        low: as_ratio(point.low),
        high: as_ratio(point.high),
        p: point.p,
    }
}

/// The runs that an event's range spans, as entries: the last without the change, and the first with it at the latest.
pub(super) fn bounds<'e>(
    event: &Event,
    group: &Group,
    entries: &'e [Entry],
) -> (Option<&'e Entry>, Option<&'e Entry>) {
    let entry = |place: usize| group.runs.get(place).and_then(|run| entries.get(*run));
    (event.earliest.checked_sub(1).and_then(entry), entry(event.latest))
}

impl Event {
    /// The last run without the change, and the run that has it at the latest.
    pub fn bounds<'e>(&self, group: &Group, entries: &'e [Entry]) -> (Option<&'e Entry>, Option<&'e Entry>) {
        bounds(self, group, entries)
    }

    /// Commits that may have brought it, as the history knows them: those of the runs from the earliest to the latest.
    pub fn commits<'e>(&self, group: &Group, entries: &'e [Entry]) -> Vec<&'e str> {
        let runs = group.runs.get(self.earliest..=self.latest.min(group.runs.len().saturating_sub(1)));
        let mut commits: Vec<&str> =
            runs.unwrap_or_default().iter().filter_map(|run| entries.get(*run)?.commit.as_deref()).collect();
        commits.dedup();
        commits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::groups;
    use crate::stats::Random;
    use std::collections::BTreeMap;

    /// Runs of 40 operations; `step` says by how much an operation differs from its level at a run.
    fn history(runs: usize, seed: u64, step: impl Fn(usize, usize) -> f64) -> Vec<Entry> {
        let mut random = Random::new(seed);
        (0..runs)
            .map(|run| {
                let machine = 0.03 * random.normal();
                let values: BTreeMap<SeriesKey, f64> = (0..40)
                    .map(|operation| {
                        let key = SeriesKey {
                            group: "shop".into(),
                            name: format!("op {operation:02}"),
                            measure: Measure::OperationOwn,
                        };
                        let level = 1.0 + operation as f64;
                        (key, level * (machine + 0.03 * random.normal() + step(run, operation)).exp())
                    })
                    .collect();
                Entry {
                    run: format!("r{run}"),
                    scenario: "shop".into(),
                    at: format!("2026-01-01T00:{:02}:{:02}Z", run / 60, run % 60),
                    commit: Some(format!("{run:040x}")),
                    machine: "m".into(),
                    doubt: None,
                    values,
                }
            })
            .collect()
    }

    #[test]
    fn operations_that_change_together_are_one_event() {
        let entries = history(60, 3, |run, op| if run >= 45 && op < 4 { 0.2 } else { 0.0 });
        let groups = groups(&entries);
        let found = find(&groups[0], 0.01);
        assert_eq!(found.events.len(), 1, "{:?}", found.events);
        let event = &found.events[0];
        assert_eq!((event.at, event.members.len()), (45, 4));
        for m in &event.members {
            assert!(m.is_worse() && m.low < m.ratio && m.ratio < m.high && m.p < 1e-3, "{m:?}");
            assert!((m.ratio.ln() - 0.2).abs() < 0.05, "{m:?}");
        }
        assert!(event.is_worse_by(0.05) && !event.is_worse_by(0.5));
        let (good, bad) = event.bounds(&groups[0], &entries);
        assert_eq!((good.unwrap().run.as_str(), bad.unwrap().run.as_str()), ("r44", "r45"));
        assert_eq!(event.commits(&groups[0], &entries), [format!("{:040x}", 45)]);
    }

    #[test]
    fn machines_that_sway_are_no_change_and_hundreds_of_series_are_quiet() {
        let alarms = (0..20)
            .filter(|seed| {
                let entries = history(60, 100 + seed, |_, _| 0.0);
                let found = find(&groups(&entries)[0], 0.0);
                !found.events.is_empty()
            })
            .count();
        assert!(alarms <= 1, "{alarms} of 20 histories of 40 series");
    }

    #[test]
    fn what_hits_everything_is_told_apart() {
        let entries = history(60, 5, |run, _| if run >= 40 { 0.3 } else { 0.0 });
        let found = find(&groups(&entries)[0], 0.01);
        assert_eq!((found.events.len(), found.whole.len()), (0, 1), "{:?}", found.whole);
        assert!((found.whole[0].shift() - 0.3).abs() < 0.05 && found.common == 40);
    }

    #[test]
    fn another_machine_begins_a_series_of_its_own() {
        let mut entries = history(60, 7, |run, _| if run >= 40 { 0.5 } else { 0.0 });
        entries[40..].iter_mut().for_each(|entry| entry.machine = "another".into());
        entries[50].doubt = Some("the generator was late".into());
        let groups = groups(&entries);
        assert_eq!(
            groups.iter().map(|g| (g.machine.as_str(), g.runs.len())).collect::<Vec<_>>(),
            [("another", 19), ("m", 40)]
        );
        for group in &groups {
            let found = find(group, 0.01);
            assert!(found.events.is_empty() && found.whole.is_empty());
        }
    }

    #[test]
    fn a_run_that_lacks_a_series_is_in_the_range() {
        let mut entries = history(40, 9, |run, op| if run >= 30 && op == 0 { 1.0 } else { 0.0 });
        let key = entries[0].values.keys().next().cloned().unwrap();
        entries[29].values.remove(&key);
        let groups = groups(&entries);
        let found = find(&groups[0], 0.01);
        let event = found.events.iter().find(|e| e.members[0].key == key).unwrap();
        assert_eq!((event.earliest, event.latest), (29, 30));
    }
}
