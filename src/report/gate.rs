//! What a gate decided and on what, whoever decided it: thresholds and budgets of a run, a comparison, a history. The
//! formats of continuous integration ([`super::ci`]) know this type alone.
//!
//! Texts here are plain: each format makes foreign ones safe in its own way.

use super::Unit;

/// The decision and everything that it rests on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gate {
    /// Stable name in letters, digits, `-` and `_`: marks the comment that is replaced by the next one of the same gate.
    pub id: String,
    /// What was checked: `Thresholds of shop`.
    pub title: String,
    /// The decision.
    pub verdict: GateVerdict,
    /// The decision in one sentence.
    pub headline: String,
    /// What was checked, in the order of whoever filled it.
    pub checks: Vec<Check>,
    /// Why the result cannot carry a decision, or what makes it doubtful, in sentences.
    pub reasons: Vec<String>,
    /// How it was measured, and how small a change would have been seen.
    pub design: Vec<String>,
    /// Name and value of what a reader may want to look up: the run, the commit, the scenario.
    pub facts: Vec<(String, String)>,
    /// Longer texts, folded where a format can fold: title and lines.
    pub details: Vec<(String, Vec<String>)>,
    /// How long it took to measure, in seconds; 0 where that says nothing.
    pub seconds: f64,
    /// A file of the repository that stands for checks without a place in the code: the scenario or the budget.
    pub file: Option<String>,
}

/// What a gate says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum GateVerdict {
    /// Every check that could be decided held, and nothing forbids to say so.
    #[default]
    Passed,
    /// At least one check did not hold.
    Failed,
    /// The result cannot carry a decision. Never to be taken for a pass.
    CannotTell,
}

impl GateVerdict {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            GateVerdict::Passed => "passed",
            GateVerdict::Failed => "failed",
            GateVerdict::CannotTell => "cannot_tell",
        }
    }
}

/// One check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Check {
    /// What kind of check.
    pub kind: CheckKind,
    /// Where it belongs: a service, a journey or step; empty for the run as a whole.
    pub group: String,
    /// What was checked, without the group.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Its numbers.
    pub figures: Figures,
    /// What happened, in a sentence. May be empty where the numbers say it all.
    pub message: String,
    /// Where in the code, where a span says so.
    pub location: Option<Location>,
    /// Traces to look at.
    pub traces: Vec<TraceRef>,
    /// How much it matters among checks of the same outcome: larger is worse. Any scale that one gate keeps to.
    pub weight: f64,
}

/// What kind of check; a closed list with stable names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckKind {
    /// A threshold or budget of the scenario or of a file of limits.
    #[default]
    Threshold,
    /// Latency of a step against a base.
    Step,
    /// An operation against a base.
    Operation,
    /// New, vanished or more numerous spans.
    Structure,
    /// A change found in a history.
    History,
}

impl CheckKind {
    /// All of them.
    pub const ALL: [CheckKind; 5] = [
        CheckKind::Threshold,
        CheckKind::Step,
        CheckKind::Operation,
        CheckKind::Structure,
        CheckKind::History,
    ];

    /// Stable name: type of failures, rule of results.
    pub const fn name(self) -> &'static str {
        match self {
            CheckKind::Threshold => "threshold",
            CheckKind::Step => "step",
            CheckKind::Operation => "operation",
            CheckKind::Structure => "structure",
            CheckKind::History => "history",
        }
    }

    /// What a failure of this kind means.
    pub const fn describes(self) -> &'static str {
        match self {
            CheckKind::Threshold => "A threshold or budget did not hold.",
            CheckKind::Step => "A step became slower than its base.",
            CheckKind::Operation => "A server operation became slower than its base.",
            CheckKind::Structure => "Requests make other or more calls than their base.",
            CheckKind::History => "A series of runs changed for the worse.",
        }
    }
}

/// What became of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It did not hold.
    Failed,
    /// It could not be decided.
    CannotTell,
    /// It holds, and better than before.
    Improved,
    /// It did not hold and somebody has said that this is accepted.
    Accepted,
    /// It holds.
    #[default]
    Passed,
}

impl Outcome {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Failed => "failed",
            Outcome::CannotTell => "cannot_tell",
            Outcome::Improved => "improved",
            Outcome::Accepted => "accepted",
            Outcome::Passed => "passed",
        }
    }

    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Outcome::CannotTell => "cannot tell",
            other => other.name(),
        }
    }
}

/// Numbers of a check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Unit of `base` and `now`.
    pub unit: Option<Unit>,
    /// What it was.
    pub base: Option<f64>,
    /// What it is.
    pub now: Option<f64>,
    /// What it must be, as written: `< 300ms`.
    pub limit: Option<String>,
    /// The change.
    pub change: Option<Change>,
}

/// A relative change with its interval; 1.18 is 18 % more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The estimate.
    pub ratio: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A place in the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Path of the file, as the span says it.
    pub file: String,
    /// Its line, from 1, where known.
    pub line: Option<u32>,
}

impl Location {
    /// From `file:line`, as contributors have it. Names of functions are no place that a tool can open.
    ///
    /// A path that leads out of the repository or is absolute is none either: tools want relative ones.
    pub fn parse(code: &str) -> Option<Location> {
        let (file, line) = match code.rsplit_once(':') {
            Some((file, line)) if !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit()) => {
                (file, line.parse().ok().filter(|line| *line > 0))
            }
            _ => (code, None),
        };
        let file = file.strip_prefix("./").unwrap_or(file);
        let relative = !file.starts_with(['/', '\\', '~'])
            && !file.contains("://")
            && file.as_bytes().get(1) != Some(&b':')
            && !file.split(['/', '\\']).any(|part| part == "..");
        // `OrderController.list` is a function, `app/main.go` a file.
        let named = file.rsplit_once('/').is_some_and(|(_, name)| name.trim_start_matches('.').contains('.'));
        let plain =
            !file.contains(|c: char| c.is_control() || "<>|\"*?()".contains(c)) && file.len() <= 1_024;
        (relative && plain && (named || line.is_some())).then(|| Location { file: file.to_owned(), line })
    }
}

/// A trace to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceRef {
    /// Which it is: `base`, `head`, `slow`.
    pub role: String,
    /// Its id.
    pub id: String,
    /// Where it can be looked at.
    pub url: Option<String>,
}

impl Gate {
    /// How many checks have that outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|check| check.outcome == outcome).count()
    }

    /// Checks that are worth a reader's time, worst first: what failed, what could not be told, what became better.
    pub fn worst(&self) -> Vec<&Check> {
        // Hundreds of operations that changed by less than could be seen are nobody's news.
        let unseen = |c: &&Check| {
            c.kind == CheckKind::Operation
                && c.outcome == Outcome::CannotTell
                && self.verdict != GateVerdict::CannotTell
        };
        let notable = |c: &&Check| c.outcome != Outcome::Passed && !unseen(c);
        let mut checks: Vec<&Check> = self.checks.iter().filter(notable).collect();
        checks.sort_by(|a, b| {
            (a.outcome.cmp(&b.outcome))
                .then_with(|| b.weight.total_cmp(&a.weight))
                .then_with(|| (&a.group, &a.name).cmp(&(&b.group, &b.name)))
        });
        checks
    }

    /// `2 failed, 1 cannot be told, 14 held`.
    pub fn counts(&self) -> String {
        let parts = [
            (Outcome::Failed, "failed"),
            (Outcome::CannotTell, "cannot be told"),
            (Outcome::Accepted, "accepted"),
            (Outcome::Improved, "improved"),
            (Outcome::Passed, "held"),
        ];
        let said: Vec<String> = parts
            .into_iter()
            .filter_map(|(outcome, words)| {
                let count = self.count(outcome);
                (count > 0).then(|| format!("{count} {words}"))
            })
            .collect();
        if said.is_empty() { "nothing was checked".to_owned() } else { said.join(", ") }
    }
}

impl Check {
    /// Group and name, as one text.
    pub fn full_name(&self) -> String {
        if self.group.is_empty() { self.name.clone() } else { format!("{}: {}", self.group, self.name) }
    }

    /// What happened, in one line: the message, or the numbers.
    pub fn told(&self) -> String {
        if !self.message.is_empty() {
            return self.message.clone();
        }
        let figures = &self.figures;
        let value = |v: f64| show(v, figures.unit);
        let mut parts = Vec::new();
        match (figures.base, figures.now) {
            (Some(base), Some(now)) => parts.push(format!("{} → {}", value(base), value(now))),
            (None, Some(now)) => parts.push(format!("is {}", value(now))),
            (Some(base), None) => parts.push(format!("was {}, now nothing was measured", value(base))),
            (None, None) => parts.push("nothing was measured".to_owned()),
        }
        if let Some(change) = &figures.change {
            parts.push(change.to_string());
        }
        if let Some(limit) = &figures.limit {
            parts.push(format!("must be {limit}"));
        }
        parts.join(", ")
    }

    /// A name for this check that stays the same from run to run: FNV-1a of kind, group and name, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        let texts = [self.kind.name(), &self.group, &self.name];
        let bytes = texts.iter().flat_map(|text| text.bytes().chain([0xff]));
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

impl std::fmt::Display for Change {
    /// `+18.0 % [+11.2, +25.1]`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |ratio: f64| (ratio - 1.0) * 100.0;
        write!(f, "{:+.1} % [{:+.1}, {:+.1}]", percent(self.ratio), percent(self.low), percent(self.high))
    }
}

/// A value with its unit, short: four significant digits at most.
pub fn show(value: f64, unit: Option<Unit>) -> String {
    match unit {
        Some(Unit::Share) => format!("{} %", digits(value * 100.0)),
        Some(Unit::Milliseconds) => format!("{} ms", digits(value)),
        Some(Unit::PerSecond) => format!("{}/s", digits(value)),
        Some(Unit::Count) | None => digits(value),
    }
}

/// Three significant digits, more only where the whole number has more.
pub fn digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let before = value.abs().log10().floor() as i32;
    let places = usize::try_from((2 - before).clamp(0, 9)).unwrap_or(0);
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_code_are_relative_files() {
        let at = |file: &str, line| Some(Location { file: file.into(), line });
        for (code, want) in [
            ("src/orders.py:42", at("src/orders.py", Some(42))),
            ("./src/orders.py:42", at("src/orders.py", Some(42))),
            ("app/main.go", at("app/main.go", None)),
            ("orders.rs:0", None),
            ("/usr/lib/python3/site.py:3", None),
            ("C:\\src\\a.cs:3", None),
            ("../secret.py:1", None),
            ("https://evil.test/x.js:1", None),
            ("OrderController.list", None),
            ("list_orders", None),
            ("", None),
            ("a\nb.py:1", None),
        ] {
            assert_eq!(Location::parse(code), want, "{code}");
        }
    }

    #[test]
    fn the_worst_come_first() {
        let check =
            |name: &str, outcome, weight| Check { name: name.into(), outcome, weight, ..Check::default() };
        let gate = Gate {
            checks: vec![
                check("fine", Outcome::Passed, 9.0),
                check("better", Outcome::Improved, 1.0),
                check("bad", Outcome::Failed, 1.0),
                check("worse", Outcome::Failed, 2.0),
                check("who knows", Outcome::CannotTell, 0.0),
            ],
            ..Gate::default()
        };
        let names: Vec<&str> = gate.worst().iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["worse", "bad", "who knows", "better"]);
        assert_eq!(gate.counts(), "2 failed, 1 cannot be told, 1 improved, 1 held");
        assert_eq!(Gate::default().counts(), "nothing was checked");
    }

    #[test]
    fn numbers_are_told_where_nothing_else_is() {
        let figures = Figures {
            unit: Some(Unit::Milliseconds),
            base: Some(12.0),
            now: Some(14.16),
            limit: None,
            change: Some(Change { ratio: 1.18, low: 1.11, high: 1.25 }),
        };
        let mut check = Check { figures, ..Check::default() };
        assert_eq!(check.told(), "12 ms → 14.2 ms, +18.0 % [+11.0, +25.0]");
        check.figures = Figures {
            unit: Some(Unit::Share),
            now: Some(0.021),
            limit: Some("< 0.1%".into()),
            ..Figures::default()
        };
        assert_eq!(check.told(), "is 2.1 %, must be < 0.1%");
        check.message = "said".into();
        assert_eq!(check.told(), "said");
        assert_eq!([0.0, 1234.5, 0.001234, 99.96, 5.0].map(digits), ["0", "1234", "0.00123", "100", "5"]);
    }

    #[test]
    fn fingerprints_tell_group_from_name() {
        let of = |group: &str, name: &str| {
            Check { group: group.into(), name: name.into(), ..Check::default() }.fingerprint()
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_eq!(of("a", "b"), of("a", "b"));
        assert_eq!(of("a", "b").len(), 16);
    }
}
