//! Changes that somebody has looked at and accepts, each with a reason and an end: a list in a file of the repository.

use serde::{Deserialize, Serialize};

/// One acceptance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The commit that brought the change, or one within the range that the history names; at least 7 digits.
    pub commit: String,
    /// Which series; `*` stands for any text.
    #[serde(default = "everything")]
    pub series: String,
    /// Why it is accepted.
    pub reason: String,
    /// The last day on which it counts, `2027-01-31`.
    pub until: String,
}

fn everything() -> String {
    "*".to_owned()
}

/// The list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceptances(pub Vec<Acceptance>);

impl Acceptances {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn read(text: &str) -> Result<Acceptances, String> {
        if text.trim().is_empty() {
            return Ok(Acceptances::default());
        }
        let list: Vec<Acceptance> =
            serde_json::from_str(text).map_err(|e| format!("it is no list of accepted changes: {e}"))?;
        list.iter().try_for_each(Acceptance::check)?;
        Ok(Acceptances(list))
    }

    /// The text of the file.
    pub fn write(&self) -> String {
        serde_json::to_string_pretty(&self.0).map(|text| text + "\n").unwrap_or_default()
    }

    /// The acceptance of a change of that series whose commit is one of these, and whether its time is over.
    pub fn of(&self, commits: &[&str], series: &str, today: &str) -> Option<(&Acceptance, bool)> {
        let same = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
        let fits = |acceptance: &&Acceptance| {
            let known = acceptance.commit.trim_end_matches("-dirty");
            commits.iter().any(|commit| same(commit, known)) && matches(&acceptance.series, series)
        };
        // One that still counts wins over one that does not.
        let mut found: Vec<&Acceptance> = self.0.iter().filter(fits).collect();
        found.sort_by(|a, b| b.until.cmp(&a.until));
        found.first().map(|acceptance| (*acceptance, acceptance.until.as_str() < today))
    }
}

impl Acceptance {
    /// Whether it can be used.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let hex = self.commit.trim_end_matches("-dirty");
        if hex.len() < 7 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("{:?} is no commit: write at least 7 hexadecimal digits", self.commit));
        }
        let day = self.until.as_bytes();
        let digits =
            |range: std::ops::Range<usize>| self.until.get(range).and_then(|t| t.parse::<u32>().ok());
        let (month, date) = (digits(5..7), digits(8..10));
        let is_day = day.len() == 10 && day[4] == b'-' && day[7] == b'-' && digits(0..4).is_some();
        if !is_day
            || !month.is_some_and(|m| (1..=12).contains(&m))
            || !date.is_some_and(|d| (1..=31).contains(&d))
        {
            return Err(format!("{:?} is no day: write for example 2027-01-31", self.until));
        }
        if self.reason.trim().is_empty() {
            return Err("a change is accepted for a reason: say which".to_owned());
        }
        Ok(())
    }
}

/// Whether `text` matches a pattern in which `*` stands for any text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(commit: &str, series: &str, until: &str) -> Acceptance {
        Acceptance {
            commit: commit.into(),
            series: series.into(),
            reason: "known".into(),
            until: until.into(),
        }
    }

    #[test]
    fn an_acceptance_counts_until_its_day() {
        let list = Acceptances(vec![one("abcdef1", "*SELECT*", "2027-01-31")]);
        let of =
            |commit: &str, series: &str, today: &str| list.of(&[commit], series, today).map(|(_, over)| over);
        assert_eq!(of("abcdef1234567890", "shop: SELECT x", "2027-01-31"), Some(false));
        assert_eq!(of("abcdef1234567890", "shop: SELECT x", "2027-02-01"), Some(true));
        assert_eq!(of("abcdef1234567890", "shop: INSERT x", "2027-01-01"), None);
        assert_eq!(of("1234567", "shop: SELECT x", "2027-01-01"), None);
        assert_eq!(Acceptances::read(&list.write()), Ok(list));
    }

    #[test]
    fn faults_say_what_to_write() {
        for (text, want) in [
            ("[{\"commit\":\"abc\",\"reason\":\"r\",\"until\":\"2027-01-01\"}]", "at least 7"),
            ("[{\"commit\":\"abcdef1\",\"reason\":\"r\",\"until\":\"soon\"}]", "2027-01-31"),
            ("[{\"commit\":\"abcdef1\",\"reason\":\" \",\"until\":\"2027-01-01\"}]", "say which"),
            ("[{\"commit\":\"abcdef1\",\"until\":\"2027-01-01\"}]", "missing field `reason`"),
            ("{}", "no list"),
        ] {
            assert!(Acceptances::read(text).unwrap_err().contains(want), "{text}");
        }
        assert_eq!(Acceptances::read(" \n"), Ok(Acceptances::default()));
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, want) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "ab", false),
            ("abc", "abc", true),
            ("ab", "abc", false),
            ("*b*", "abc", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), want, "{pattern} {text}");
        }
    }
}
