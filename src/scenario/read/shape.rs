//! Loads as typed: stages and the short forms for them (steps, spikes, pauses, repetitions, formulas, files), turned into
//! the few kinds of stages that the schedule knows.

use super::super::curve;
use super::super::error::Fault;
use super::super::formula::Formula;
use super::super::quantity::{self, Rate};
use super::super::shape::{CurvePoint, LoadPlan, SearchPlan, Spacing, Stage};
use super::super::yaml::{Node, Reader, Value};
use super::{Context, duration, one_of, positive_duration};
use crate::record::Nanos;

pub const LOAD_KEYS: &[&str] = &["stages", "arrivals", "search"];
pub const SEARCH_KEYS: &[&str] = &["rate", "for", "settle", "precision", "repeats"];
pub const STAGE_KEYS: &[&str] = &[
    "users", "rate", "ramp", "for", "steps", "spike", "pause", "curve", "replay", "speed", "repeat", "stages",
];
/// Keys of which a stage has exactly one.
const KINDS: [&str; 7] = ["users", "rate", "spike", "pause", "curve", "replay", "repeat"];
const MAX_USERS: i64 = 1_000_000;
const MAX_STAGES: usize = 10_000;
const MAX_DEPTH: usize = 8;

/// What a stage leaves behind: where a ramp begins and a spike goes back to.
#[derive(Clone, Copy)]
enum Level {
    Users(u32),
    Rate(Rate),
}

/// Turns stages as typed into those that the schedule knows.
pub struct Shapes<'a, 'c> {
    stages: Vec<Stage>,
    before: Level,
    context: &'a Context<'c>,
}

impl Shapes<'_, '_> {
    /// A load: a list of stages, one stage alone, or a mapping with `stages` and what holds for all of them.
    pub fn plan(node: &Node, context: &Context) -> Result<LoadPlan, Fault> {
        let has = |wanted: &str| match &node.value {
            Value::Map(entries) => entries.iter().any(|(key, _)| key.text == wanted),
            _ => false,
        };
        if !matches!(node.value, Value::List(_) | Value::Map(_)) {
            return Err(node.expected("a list of stages such as [{users: 20, for: 1m}]"));
        }
        if has("search") {
            return searched(node, context);
        }
        let mut spacing = Spacing::Even;
        let mut list = node;
        if has("stages") && !has("repeat") {
            let reader = Reader::new(node, "load", LOAD_KEYS)?;
            list = reader.need("stages", "a list of stages")?;
            spacing = arrivals(&reader, context)?;
        }
        let mut shapes = Shapes { stages: Vec::new(), before: Level::Users(0), context };
        shapes.add_all(list, 0)?;
        if !shapes.stages.iter().any(Stage::offers_load) {
            return Err(Fault::new(node.place, "the load has no stage with users or a rate above 0"));
        }
        Ok(LoadPlan { stages: shapes.stages, spacing, search: None })
    }

    fn add_all(&mut self, list: &Node, depth: usize) -> Result<(), Fault> {
        list.items().iter().try_for_each(|item| self.add(item, depth))
    }

    fn push(&mut self, stage: Stage, node: &Node) -> Result<(), Fault> {
        self.before = match &stage {
            Stage::Users { users, .. } => Level::Users(*users),
            Stage::Rate { rate, .. } => Level::Rate(*rate),
            Stage::Curve { points, .. } => Level::Rate(points.last().map_or(Rate::default(), |p| p.rate)),
            Stage::Replay { .. } => Level::Rate(Rate::default()),
        };
        self.stages.push(stage);
        if self.stages.len() > MAX_STAGES {
            return Err(Fault::new(node.place, format!("the load has more than {MAX_STAGES} stages")));
        }
        Ok(())
    }

    fn level(&mut self, to: Level, ramp: Nanos, hold: Nanos, node: &Node) -> Result<(), Fault> {
        let stage = match to {
            Level::Users(users) => Stage::Users { users, ramp, hold },
            Level::Rate(rate) => Stage::Rate { rate, ramp, hold },
        };
        self.push(stage, node)
    }

    fn add(&mut self, node: &Node, depth: usize) -> Result<(), Fault> {
        let reader = Reader::new(node, "a load stage", STAGE_KEYS)?;
        let mut given = KINDS.into_iter().filter_map(|kind| Some((kind, reader.get(kind)?)));
        let Some((kind, value)) = given.next() else {
            return Err(Fault::new(reader.place(), "a load stage needs `users` or `rate`"));
        };
        if let Some((other, node)) = given.next() {
            let why = match (kind, other) {
                ("users", "rate") => {
                    "a load stage has `users` (each waits for its answers) or `rate` (arrivals wait for nobody), not both"
                        .to_string()
                }
                _ => format!("a load stage has `{kind}` or `{other}`, not both"),
            };
            return Err(Fault::new(node.place, why));
        }
        let fitting: &[&str] = match kind {
            "users" | "rate" => &["ramp", "for", "steps"],
            "spike" => &["ramp", "for"],
            "curve" | "replay" => &["for", "speed"],
            "repeat" => &["stages"],
            _ => &[],
        };
        for key in ["ramp", "for", "steps", "speed", "stages"] {
            if let Some(node) = reader.get(key).filter(|_| !fitting.contains(&key)) {
                return Err(Fault::new(node.place, format!("`{key}` does not go with `{kind}`")));
            }
        }
        match kind {
            "pause" => {
                let hold = positive_duration(value, self.context.source, "a pause")?;
                self.level(Level::Users(0), Nanos::ZERO, hold, node)
            }
            "repeat" => self.repeat(&reader, value, depth),
            "curve" => self.curve(&reader, value),
            "replay" => self.replay(&reader, value),
            "spike" => self.spike(&reader, value),
            _ => self.plain(&reader, kind, value),
        }
    }

    fn ramp(&self, reader: &Reader) -> Result<Nanos, Fault> {
        reader.get("ramp").map_or(Ok(Nanos::ZERO), |node| duration(node, self.context.source))
    }

    /// A number of users or a rate, a range of either in steps, or a rate by a formula.
    fn plain(&mut self, reader: &Reader, kind: &str, value: &Node) -> Result<(), Fault> {
        let source = self.context.source;
        let ramp = self.ramp(reader)?;
        let hold = match (reader.get("for"), ramp) {
            (Some(node), _) => duration(node, source)?,
            (None, Nanos::ZERO) => {
                return Err(Fault::new(
                    reader.place(),
                    "a load stage needs `for`: how long it lasts, e.g. for: 1m",
                ));
            }
            (None, _) => Nanos::ZERO,
        };
        if ramp + hold == Nanos::ZERO {
            return Err(Fault::new(reader.place(), "a load stage must last longer than nothing"));
        }
        let text = match (&value.value, kind) {
            (Value::Text(text), _) => text.clone(),
            (_, "users") => String::new(),
            _ => value.text(source, "a rate such as 200/s")?,
        };
        if let Some((from, to)) = text.split_once("..") {
            return self.stairs(reader, (kind, from, to), hold, value);
        }
        if let Some(node) = reader.get("steps") {
            return Err(Fault::new(node.place, format!("`steps` needs a range, e.g. {kind}: 100..500")));
        }
        if kind == "users" {
            let users = value.count("users", 0..=MAX_USERS)?;
            return self.level(Level::Users(users), ramp, hold, value);
        }
        if is_formula(&text) {
            if ramp > Nanos::ZERO {
                return Err(Fault::new(
                    reader.place(),
                    "a rate by a formula has no `ramp`: its formula says all",
                ));
            }
            let made = Formula::parse(&text).and_then(|formula| curve::of_formula(&formula, hold));
            let points = made.map_err(|message| Fault::new(value.place, message))?;
            return self.push(Stage::Curve { points: points.into(), hold }, value);
        }
        self.level(level(kind, &text, value)?, ramp, hold, value)
    }

    /// A range in equal steps of equal length; each is reached within the ramp, if there is one.
    fn stairs(
        &mut self,
        reader: &Reader,
        (kind, from, to): (&str, &str, &str),
        hold: Nanos,
        node: &Node,
    ) -> Result<(), Fault> {
        let steps = reader.need("steps", "into how many steps the range is divided")?;
        let steps = u64::from(steps.count("steps", 2..=1_000)?);
        let ramp = self.ramp(reader)?;
        let each = Nanos(hold.0 / steps);
        if each == Nanos::ZERO {
            return Err(Fault::new(reader.place(), "each step would last no time at all: make `for` longer"));
        }
        // A unit at the end holds for both: `100..500/s`.
        let from = match to.split_once('/') {
            Some((_, unit)) if !from.contains('/') => format!("{from}/{unit}"),
            _ => from.to_string(),
        };
        let between = |a: u64, b: u64, n: u64| {
            let (a, b) = (i128::from(a), i128::from(b));
            (a + (b - a) * i128::from(n) / i128::from(steps - 1)) as u64
        };
        let ends = (level(kind, &from, node)?, level(kind, to, node)?);
        for n in 0..steps {
            let to = match ends {
                (Level::Users(a), Level::Users(b)) => {
                    Level::Users(between(u64::from(a), u64::from(b), n) as u32)
                }
                (Level::Rate(a), Level::Rate(b)) => Level::Rate(Rate {
                    per_billion_seconds: between(a.per_billion_seconds, b.per_billion_seconds, n),
                }),
                _ => return Err(node.expected("a range of one kind")),
            };
            self.level(to, ramp, each, node)?;
        }
        Ok(())
    }

    /// Up, stay, and back to what was before.
    fn spike(&mut self, reader: &Reader, value: &Node) -> Result<(), Fault> {
        let ramp = self.ramp(reader)?;
        let hold = reader.need("for", "how long the spike stays up, e.g. for: 10s")?;
        let hold = positive_duration(hold, self.context.source, "a spike")?;
        let text = value.text(self.context.source, "users, e.g. 500, or a rate, e.g. 1000/s")?;
        let to = level(if text.contains('/') { "rate" } else { "users" }, &text, value)?;
        let back = match (to, self.before) {
            (Level::Users(_), before @ Level::Users(_)) | (Level::Rate(_), before @ Level::Rate(_)) => before,
            (Level::Users(_), Level::Rate(_)) => Level::Users(0),
            (Level::Rate(_), Level::Users(_)) => Level::Rate(Rate::default()),
        };
        self.level(to, ramp, hold, value)?;
        self.level(back, ramp, Nanos::ZERO, value)
    }

    fn repeat(&mut self, reader: &Reader, value: &Node, depth: usize) -> Result<(), Fault> {
        if depth >= MAX_DEPTH {
            return Err(Fault::new(reader.place(), "repeated stages are nested too deep"));
        }
        let stages = reader.need("stages", "what is repeated")?;
        for _ in 0..value.count("repeat", 1..=MAX_STAGES as i64)? {
            self.add_all(stages, depth + 1)?;
        }
        Ok(())
    }

    fn speed(&self, reader: &Reader) -> Result<f64, Fault> {
        let Some(node) = reader.get("speed") else { return Ok(1.0) };
        let text = node.text(self.context.source, "a factor such as 2")?;
        let speed: f64 = text.trim_end_matches('x').trim().parse().unwrap_or(f64::NAN);
        let sensible = speed.is_finite() && (0.001..=1000.0).contains(&speed);
        sensible.then_some(speed).ok_or_else(|| node.expected("a factor from 0.001 to 1000"))
    }

    fn curve(&mut self, reader: &Reader, value: &Node) -> Result<(), Fault> {
        let text = self.context.read(value, "the file of rates")?;
        let wrong = |message| Fault::new(value.place, format!("the file of rates: {message}"));
        let mut points = curve::of_points(&text, self.speed(reader)?).map_err(wrong)?;
        let last = points[points.len() - 1];
        let hold = match reader.get("for") {
            None => last.at,
            Some(node) => positive_duration(node, self.context.source, "a stage")?,
        };
        if hold > last.at {
            // The last rate holds on.
            points.push(CurvePoint { at: hold, ..last });
        } else {
            curve::cut(&mut points, hold);
        }
        self.push(Stage::Curve { points: points.into(), hold }, value)
    }

    fn replay(&mut self, reader: &Reader, value: &Node) -> Result<(), Fault> {
        let text = self.context.read(value, "the file of arrivals")?;
        let wrong = |message| Fault::new(value.place, format!("the file of arrivals: {message}"));
        let mut times = curve::of_arrivals(&text, self.speed(reader)?).map_err(wrong)?;
        let hold = match reader.get("for") {
            // The last arrival is within the stage.
            None => times.last().map_or(Nanos::ZERO, |last| Nanos(last.0 + 1)),
            Some(node) => positive_duration(node, self.context.source, "a stage")?,
        };
        times.retain(|time| *time < hold);
        self.push(Stage::Replay { times: times.into(), hold }, value)
    }
}

fn arrivals(reader: &Reader, context: &Context) -> Result<Spacing, Fault> {
    let words = [("even", Spacing::Even), ("poisson", Spacing::Poisson)];
    reader.get("arrivals").map_or(Ok(Spacing::Even), |node| one_of(node, context.source, &words))
}

/// A load that searches for the highest rate that holds.
fn searched(node: &Node, context: &Context) -> Result<LoadPlan, Fault> {
    let source = context.source;
    let top = Reader::new(node, "load", LOAD_KEYS)?;
    if let Some(stages) = top.get("stages") {
        return Err(Fault::new(stages.place, "a load has `stages` or a `search`, not both"));
    }
    let spacing = arrivals(&top, context)?;
    let reader =
        Reader::new(top.need("search", "e.g. search: {rate: 10/s..2000/s}")?, "search", SEARCH_KEYS)?;
    let mut plan = SearchPlan::default();
    if let Some(node) = reader.get("rate") {
        let text = node.text(source, "a range such as 10/s..2000/s")?;
        let wrong = |message: String| Fault::new(node.place, message);
        let (low, high) =
            text.split_once("..").ok_or_else(|| node.expected("a range such as 10/s..2000/s"))?;
        // A unit at the end holds for both.
        let low = match high.split_once('/') {
            Some((_, unit)) if !low.contains('/') => format!("{low}/{unit}"),
            _ => low.to_string(),
        };
        plan.low_per_s = quantity::rate(&low).map_err(wrong)?.as_per_second();
        plan.high_per_s = quantity::rate(high).map_err(wrong)?.as_per_second();
        if !(plan.low_per_s > 0.0 && plan.low_per_s < plan.high_per_s) {
            return Err(Fault::new(node.place, "the search goes from a rate above 0 to a higher one"));
        }
        if plan.low_per_s < plan.high_per_s / 1e5 {
            return Err(Fault::new(node.place, "the search goes over at most five powers of ten"));
        }
    }
    if let Some(node) = reader.get("for") {
        plan.probe = positive_duration(node, source, "a probe")?;
    }
    if let Some(node) = reader.get("settle") {
        plan.settle = duration(node, source)?;
    }
    if let Some(node) = reader.get("precision") {
        let text = node.text(source, "a share such as 5%")?;
        let share = quantity::ratio(&text).filter(|share| (0.005..=0.5).contains(share));
        plan.precision = share.ok_or_else(|| node.expected("a share from 0.5% to 50%"))?;
    }
    if let Some(node) = reader.get("repeats") {
        plan.repeats = node.count("repeats", 1..=9)?;
    }
    Ok(plan.load(spacing))
}

/// A number of users or a rate.
fn level(kind: &str, text: &str, node: &Node) -> Result<Level, Fault> {
    if kind == "rate" {
        return quantity::rate(text).map(Level::Rate).map_err(|message| Fault::new(node.place, message));
    }
    match text.trim().parse::<u32>() {
        Ok(users) if i64::from(users) <= MAX_USERS => Ok(Level::Users(users)),
        _ => Err(Fault::new(node.place, format!("{text:?} is no number of users from 0 to {MAX_USERS}"))),
    }
}

/// Whether a rate is a formula: it has a call, an operator that a rate has not, or the time in it.
fn is_formula(text: &str) -> bool {
    let time = |word: &str| word == "t";
    text.contains(['(', '*', '+', '^', '%']) || text.split(|c: char| !c.is_alphanumeric()).any(time)
}

#[cfg(test)]
mod tests {
    use crate::record::Nanos;
    use crate::scenario::{Scenario, ScenarioError, SearchPlan, Spacing, Stage, Surroundings, parse_with};
    use std::path::Path;

    fn read(load: &str) -> Result<Scenario, ScenarioError> {
        let read = |path: &Path| match path.to_str() {
            Some("rates.csv") => Ok("time,rate\n0,100\n60,200/s\n120,0\n".to_string()),
            Some("log.csv") => Ok("at\n10.5\n10\n12\n".to_string()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        };
        let surroundings = Surroundings { read: &read, ..Surroundings::default() };
        let text = format!("target: http://127.0.0.1:1\nload: {load}\nsteps: [GET /]\n");
        parse_with(&text, "t.yaml", &surroundings)
    }

    fn shown(load: &str) -> Vec<String> {
        let scenario = read(load).unwrap_or_else(|e| panic!("{e}"));
        let one = |stage: &Stage| match stage {
            Stage::Users { users, ramp, hold } => format!("{users} users {ramp} {hold}"),
            Stage::Rate { rate, ramp, hold } => format!("{rate} {ramp} {hold}"),
            Stage::Curve { points, hold } => format!("{} points {hold}", points.len()),
            Stage::Replay { times, hold } => format!("{times:?} {}", hold.0),
        };
        scenario.load.stages.iter().map(one).collect()
    }

    #[test]
    fn short_forms_stand_for_stages() {
        assert_eq!(
            shown("[{rate: 100..300/s, steps: 3, for: 30s}, {spike: 1000/s, ramp: 1s, for: 5s}]"),
            [
                "100/s 0 ns 10.0 s",
                "200/s 0 ns 10.0 s",
                "300/s 0 ns 10.0 s",
                "1000/s 1.00 s 5.00 s",
                "300/s 1.00 s 0 ns"
            ]
        );
        assert_eq!(
            shown(
                "[{users: 10, for: 1s}, {pause: 2s}, {users: 5..1, steps: 2, for: 4s, ramp: 1s}, {spike: 50, for: 1s}]"
            ),
            [
                "10 users 0 ns 1.00 s",
                "0 users 0 ns 2.00 s",
                "5 users 1.00 s 2.00 s",
                "1 users 1.00 s 2.00 s",
                "50 users 0 ns 1.00 s",
                "1 users 0 ns 0 ns"
            ]
        );
        let repeated = shown("{repeat: 2, stages: [{rate: 5/s, for: 1s}, {rate: 1/s, for: 2s}]}");
        assert_eq!(repeated, ["5/s 0 ns 1.00 s", "1/s 0 ns 2.00 s", "5/s 0 ns 1.00 s", "1/s 0 ns 2.00 s"]);
    }

    #[test]
    fn files_and_formulas_give_curves_and_arrivals() {
        assert_eq!(shown("{curve: rates.csv}"), ["3 points 120 s"]);
        assert_eq!(shown("{curve: rates.csv, for: 90s, speed: 1x}"), ["3 points 90.0 s"]);
        assert_eq!(shown("{curve: rates.csv, for: 3m}"), ["4 points 180 s"]);
        assert_eq!(
            shown("{replay: log.csv, speed: 2}"),
            ["[Nanos(0), Nanos(250000000), Nanos(1000000000)] 1000000001"]
        );
        assert_eq!(shown("{replay: log.csv, for: 1s}"), ["[Nanos(0), Nanos(500000000)] 1000000000"]);
        let scenario = read("{rate: '100 + 50*sin(t/60s*2*pi)', for: 1m}").unwrap();
        let Stage::Curve { points, .. } = &scenario.load.stages[0] else { panic!("no curve") };
        assert!((points.iter().map(|p| p.rate.as_per_second()).fold(0.0, f64::max) - 150.0).abs() < 0.01);
        assert!(scenario.is_open() && (scenario.peak_rate() - 150.0).abs() < 0.01);
    }

    #[test]
    fn a_search_has_a_range_and_a_precision() {
        let plan = |load: &str| read(load).unwrap().load.search.unwrap();
        assert_eq!(plan("{search: {}}"), SearchPlan::default());
        let given = plan("{search: {rate: 20..900/s, for: 3s, settle: 500ms, precision: 2%, repeats: 5}}");
        assert_eq!(
            (given.low_per_s, given.high_per_s, given.precision, given.repeats),
            (20.0, 900.0, 0.02, 5)
        );
        assert_eq!((given.probe, given.settle), (Nanos::from_millis(3_000), Nanos::from_millis(500)));
        assert_eq!(read("{search: {rate: 5/s..50/s}}").unwrap().peak_rate(), 50.0);
        for (load, words) in [
            ("{search: {rate: 50/s}}", "a range"),
            ("{search: {rate: 50/s..5/s}}", "to a higher one"),
            ("{search: {rate: 0.001/s..5000/s}}", "five powers"),
            ("{search: {precision: 90%}}", "0.5% to 50%"),
            ("{search: {}, stages: [{rate: 1/s, for: 1s}]}", "not both"),
        ] {
            let message = read(load).unwrap_err().to_string();
            assert!(message.contains(words), "{load}: {message}");
        }
    }

    #[test]
    fn arrivals_are_even_unless_said() {
        assert_eq!(read("{rate: 1/s, for: 1s}").unwrap().load.spacing, Spacing::Even);
        let poisson = read("{arrivals: poisson, stages: [{rate: 1/s, for: 1s}]}").unwrap();
        assert_eq!(poisson.load.spacing, Spacing::Poisson);
    }

    #[test]
    fn what_is_wrong_with_a_load_is_said() {
        for (load, words) in [
            ("[{rate: 100..300/s, for: 1s}]", "needs `steps`"),
            ("[{rate: 100/s, steps: 3, for: 1s}]", "`steps` needs a range"),
            ("[{users: 1..x, steps: 2, for: 1s}]", "\"x\" is no number of users"),
            ("[{pause: 0s}]", "longer than nothing"),
            ("[{pause: 5s}]", "no stage with users or a rate above 0"),
            ("[{pause: 5s, ramp: 1s}]", "`ramp` does not go with `pause`"),
            ("[{spike: 5/s, rate: 3/s, for: 1s}]", "`rate` or `spike`, not both"),
            ("[{rate: '100*sine(t)', for: 1s}]", "did you mean `sin`?"),
            ("[{rate: '1/t*t/0', for: 1s}]", "has no value"),
            ("[{curve: missing.csv}]", "missing.csv cannot be read"),
            ("[{curve: log.csv}]", "line 2: needs a time and a rate"),
            ("[{replay: log.csv, speed: 0}]", "a factor from 0.001"),
            ("{arrivals: random, stages: [{rate: 1/s, for: 1s}]}", "even"),
            ("[{repeat: 2}]", "needs `stages`"),
            (
                "[{repeat: 9999, stages: [{repeat: 9, stages: [{rate: 1/s, for: 1s}]}]}]",
                "more than 10000 stages",
            ),
        ] {
            let message = read(load).unwrap_err().to_string();
            assert!(message.contains(words), "{load}: {message}");
        }
    }

    #[test]
    fn journeys_can_have_loads_of_their_own() {
        let of = |wide: &str, second: &str| {
            let text = format!(
                "target: http://127.0.0.1:1\n{wide}journeys:\n  a: {{load: {{rate: 5/s, for: 3s}}, steps: [GET /a]}}\n  b: {{{second}steps: [GET /b]}}\n  c: [GET /c]\n"
            );
            crate::scenario::parse(&text, "t.yaml")
        };
        let scenario = of("load: {users: 2, for: 9s}\n", "").unwrap();
        let loads: Vec<(Vec<usize>, Nanos)> =
            scenario.loads().into_iter().map(|(journeys, load)| (journeys, load.duration())).collect();
        assert_eq!(loads, [(vec![1, 2], Nanos(9_000_000_000)), (vec![0], Nanos(3_000_000_000))]);
        assert_eq!((scenario.duration(), scenario.most_users()), (Nanos(9_000_000_000), 2));
        let message = of("", "").unwrap_err().to_string();
        assert!(message.contains("needs `load`"), "{message}");
    }
}
