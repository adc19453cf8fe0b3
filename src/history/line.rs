//! The file: JSON lines, appended to and never changed. It is read as people and tools leave it: with a torn last line, with
//! the markers of a merge that nobody resolved (both sides of it are runs, and all runs count), with a run that was added twice.

use super::series::{Measure, SeriesKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// First word of each line's `schema`.
const SCHEMA: &str = "hotspan.history/1";
/// Longest name that is kept, in characters.
const NAME_MAX: usize = 300;

/// One run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// The run's id.
    pub run: String,
    /// Name of its scenario.
    pub scenario: String,
    /// When its load started, RFC 3339 in UTC.
    pub at: String,
    /// Commit that was measured.
    pub commit: Option<String>,
    /// Machine and version: what must be equal for numbers to be comparable.
    pub machine: String,
    /// Why its numbers are doubtful; such runs are shown and not counted.
    pub doubt: Option<String>,
    /// Its numbers.
    pub values: BTreeMap<SeriesKey, f64>,
}

/// All runs of a file, in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The runs.
    pub entries: Vec<Entry>,
    /// What was odd about the file.
    pub notes: Vec<Note>,
}

/// Something odd in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The last line has no end: a writer was stopped in it.
    Torn(usize),
    /// A line that is no run, with the reason.
    Unreadable(usize, String),
    /// Markers of a merge that nobody resolved; the runs on both sides count.
    Conflict(usize),
    /// Runs that stand in it more than once; the last one counts.
    Duplicates(Vec<String>),
    /// So many runs stand before a run that was earlier; they were sorted by time.
    OutOfOrder(usize),
    /// So many runs were measured at a time that lies after the newest line's: a clock was set.
    Clock(usize),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Torn(line) => {
                write!(f, "line {line} ends in the middle and was left out; the next `add` begins a new line")
            }
            Note::Unreadable(line, why) => write!(f, "line {line} was left out: {why}"),
            Note::Conflict(line) => write!(
                f,
                "line {line} is a marker of an unresolved merge; the runs on both sides count, so the markers can simply be deleted"
            ),
            Note::Duplicates(runs) => {
                write!(f, "counted once although added more often: {}", runs.join(", "))
            }
            Note::OutOfOrder(count) => {
                write!(f, "{count} runs were added after later ones; they are sorted by the time of the run")
            }
            Note::Clock(count) => write!(
                f,
                "{count} runs claim to be later than the newest line; a clock was set, and their place is doubtful"
            ),
        }
    }
}

/// A line as it is written.
#[derive(Serialize, Deserialize)]
struct Line {
    schema: String,
    run: String,
    scenario: String,
    at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    machine: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doubt: Option<String>,
    /// Group, name, and values by measure.
    series: Vec<(String, String, BTreeMap<String, f64>)>,
}

/// The line of a run, with its line break.
///
/// # Errors
/// If a number is not finite.
pub fn to_line(entry: &Entry) -> Result<String, String> {
    let cut = |text: &str| text.chars().take(NAME_MAX).collect::<String>();
    let mut series: BTreeMap<(String, String), BTreeMap<String, f64>> = BTreeMap::new();
    for (key, value) in &entry.values {
        if !value.is_finite() {
            return Err(format!("{} of {} is no number", key.measure.name(), key.name));
        }
        let place = series.entry((cut(&key.group), cut(&key.name))).or_default();
        place.insert(key.measure.name().to_owned(), rounded(*value));
    }
    let line = Line {
        schema: SCHEMA.to_owned(),
        run: entry.run.clone(),
        scenario: entry.scenario.clone(),
        at: entry.at.clone(),
        commit: entry.commit.clone(),
        machine: entry.machine.clone(),
        doubt: entry.doubt.clone(),
        series: series.into_iter().map(|((group, name), values)| (group, name, values)).collect(),
    };
    serde_json::to_string(&line).map(|text| text + "\n").map_err(|e| e.to_string())
}

/// Six significant digits: finer than any run can measure.
fn rounded(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    format!("{value:.5e}").parse().unwrap_or(value)
}

impl History {
    /// Reads the text of a file. Nothing in it makes this fail: what is no run is noted.
    pub fn read(text: &str) -> History {
        let (mut entries, mut notes): (Vec<Entry>, Vec<Note>) = (Vec::new(), Vec::new());
        for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())) {
            if line.is_empty() {
                continue;
            }
            if ["<<<<<<<", "=======", ">>>>>>>", "|||||||"].iter().any(|marker| line.starts_with(marker)) {
                notes.push(Note::Conflict(number));
                continue;
            }
            match entry(line) {
                Ok(entry) => entries.push(entry),
                Err(_) if number == text.lines().count() && !text.ends_with('\n') => {
                    notes.push(Note::Torn(number))
                }
                Err(why) => notes.push(Note::Unreadable(number, why)),
            }
        }
        only_once(&mut entries, &mut notes);
        let late = entries.windows(2).filter(|pair| pair[0].at > pair[1].at).count();
        if let Some(last) = entries.last().filter(|_| late > 0) {
            // Lines are added as time goes on: what is later than the last line was stamped by a wrong clock or added late.
            let newest = last.at.clone();
            let beyond = entries.iter().filter(|entry| entry.at > newest).count();
            notes.push(if beyond * 2 < entries.len() && beyond > 0 && late <= beyond {
                Note::Clock(beyond)
            } else {
                Note::OutOfOrder(late)
            });
        }
        // Stable: equal times stay in the file's order. The text of a time in UTC sorts as the time does.
        entries.sort_by(|a, b| a.at.cmp(&b.at));
        History { entries, notes }
    }

    /// Puts runs into the order of their commits, where all of them are known: an older commit that was measured later
    /// then stands where it belongs. Runs of one commit stay in the order of time. Whether that was done.
    pub fn order_by(&mut self, commits: &HashMap<String, usize>) -> bool {
        let place = |entry: &Entry| {
            let commit = entry.commit.as_deref()?;
            commits.get(commit.trim_end_matches("-dirty").get(..12)?).copied()
        };
        let places: Option<Vec<usize>> = self.entries.iter().map(place).collect();
        let Some(places) = places.filter(|places| places.windows(2).any(|pair| pair[0] > pair[1])) else {
            return false;
        };
        let mut numbered: Vec<(usize, Entry)> =
            places.into_iter().zip(std::mem::take(&mut self.entries)).collect();
        numbered.sort_by_key(|(place, _)| *place);
        self.entries = numbered.into_iter().map(|(_, entry)| entry).collect();
        true
    }
}

fn entry(line: &str) -> Result<Entry, String> {
    let line: Line = serde_json::from_str(line).map_err(|e| format!("it is no run of a history ({e})"))?;
    if line.schema != SCHEMA {
        return Err(format!("its schema is {:?}, and this version reads {SCHEMA:?}", line.schema));
    }
    let time = line.at.as_bytes();
    if time.len() < 20 || time[4] != b'-' || time[10] != b'T' || !line.at.ends_with('Z') {
        return Err(format!("its time {:?} is not in UTC as 2026-01-31T12:00:00Z", line.at));
    }
    let mut values = BTreeMap::new();
    for (group, name, numbers) in line.series {
        for (measure, value) in numbers {
            // A measure of a later version is nobody's loss.
            let Some(measure) = Measure::from_name(&measure) else { continue };
            if value.is_finite() {
                values.insert(SeriesKey { group: group.clone(), name: name.clone(), measure }, value);
            }
        }
    }
    let Line { run, scenario, at, commit, machine, doubt, .. } = line;
    Ok(Entry { run, scenario, at, commit, machine, doubt, values })
}

fn only_once(entries: &mut Vec<Entry>, notes: &mut Vec<Note>) {
    // Of equal keys a map keeps the last.
    let last: HashMap<String, usize> =
        entries.iter().enumerate().map(|(i, entry)| (entry.run.clone(), i)).collect();
    if last.len() == entries.len() {
        return;
    }
    let mut twice = Vec::new();
    let mut place = 0;
    entries.retain(|entry| {
        let keep = last.get(&entry.run) == Some(&place);
        place += 1;
        if !keep && !twice.contains(&entry.run) {
            twice.push(entry.run.clone());
        }
        keep
    });
    notes.push(Note::Duplicates(twice));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, at: &str) -> Entry {
        let key = SeriesKey { group: "shop".into(), name: "GET /x".into(), measure: Measure::OperationOwn };
        Entry {
            run: name.into(),
            scenario: "shop".into(),
            at: at.into(),
            commit: Some(format!("{name}{name}{name}{name}{name}{name}")),
            machine: "2 cpu".into(),
            doubt: None,
            values: BTreeMap::from([(key, 12.345_678_9)]),
        }
    }

    fn text(runs: &[Entry]) -> String {
        runs.iter().map(|r| to_line(r).unwrap()).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let one = run("aa", "2026-01-01T00:00:00.000Z");
        let read = History::read(&text(std::slice::from_ref(&one)));
        assert_eq!(read.notes, []);
        let mut want = one;
        want.values.values_mut().for_each(|v| *v = 12.3457);
        assert_eq!(read.entries, [want]);
        let mut bad = run("aa", "2026-01-01T00:00:00Z");
        bad.values.values_mut().for_each(|v| *v = f64::NAN);
        assert!(to_line(&bad).unwrap_err().contains("GET /x"));
    }

    #[test]
    fn a_torn_line_is_told_and_the_rest_is_kept() {
        let all = text(&[run("aa", "2026-01-01T00:00:00Z"), run("bb", "2026-01-02T00:00:00Z")]);
        for cut in 1..all.len() / 2 - 1 {
            let read = History::read(&all[..all.len() - cut]);
            // Without its line break alone, a line is whole.
            let whole = cut == 1;
            assert_eq!((read.entries.len(), read.notes.len()), if whole { (2, 0) } else { (1, 1) }, "{cut}");
            assert!(whole || read.notes[0] == Note::Torn(2));
        }
    }

    #[test]
    fn both_sides_of_a_merge_count() {
        let (one, two) = (run("aa", "2026-01-01T00:00:00Z"), run("bb", "2026-01-02T00:00:00Z"));
        let merged = format!("<<<<<<< HEAD\n{}=======\n{}>>>>>>> other\n", text(&[two]), text(&[one]));
        let read = History::read(&merged);
        let names: Vec<&str> = read.entries.iter().map(|e| e.run.as_str()).collect();
        assert_eq!(names, ["aa", "bb"]);
        assert_eq!(read.notes[..3], [Note::Conflict(1), Note::Conflict(3), Note::Conflict(5)]);
        assert!(read.notes[0].to_string().contains("deleted"));
    }

    #[test]
    fn runs_count_once_and_stand_in_order() {
        let mut again = run("aa", "2026-01-01T00:00:00Z");
        again.commit = None;
        let runs = [
            run("aa", "2026-01-01T00:00:00Z"),
            run("cc", "2026-01-03T00:00:00Z"),
            run("bb", "2026-01-02T00:00:00Z"),
            again,
        ];
        let read = History::read(&text(&runs));
        let names: Vec<(&str, bool)> =
            read.entries.iter().map(|e| (e.run.as_str(), e.commit.is_some())).collect();
        assert_eq!(names, [("aa", false), ("bb", true), ("cc", true)]);
        assert!(read.notes.contains(&Note::Duplicates(vec!["aa".into()])), "{:?}", read.notes);
        assert!(read.notes.iter().any(|n| matches!(n, Note::OutOfOrder(_))), "{:?}", read.notes);
    }

    #[test]
    fn a_clock_that_was_wrong_is_told() {
        let mut runs: Vec<Entry> =
            (1..9).map(|d| run(&format!("{d}{d}"), &format!("2026-01-0{d}T00:00:00Z"))).collect();
        runs[3].at = "2031-01-01T00:00:00Z".into();
        assert_eq!(History::read(&text(&runs)).notes, [Note::Clock(1)]);
    }

    #[test]
    fn foreign_lines_say_what_is_wrong() {
        let read = History::read(
            "{\"a\":1}\nnot json\n{\"schema\":\"hotspan.history/9\",\"run\":\"r\",\"scenario\":\"s\",\"at\":\"x\",\"machine\":\"m\",\"series\":[]}\n",
        );
        assert_eq!((read.entries.len(), read.notes.len()), (0, 3));
        assert!(read.notes[2].to_string().contains("hotspan.history/9"), "{}", read.notes[2]);
    }

    #[test]
    fn commits_put_runs_in_order_where_all_are_known() {
        let mut history =
            History::read(&text(&[run("aa", "2026-01-01T00:00:00Z"), run("bb", "2026-01-02T00:00:00Z")]));
        let places = |a, b| HashMap::from([("aaaaaaaaaaaa".to_owned(), a), ("bbbbbbbbbbbb".to_owned(), b)]);
        assert!(!history.order_by(&places(1, 2)));
        assert!(!history.order_by(&HashMap::from([("aaaaaaaaaaaa".to_owned(), 1)])));
        assert!(history.order_by(&places(2, 1)));
        assert_eq!(history.entries[0].run, "bb");
    }
}
