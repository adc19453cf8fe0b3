//! Names and values of forms and queries.

/// Names and values in the order in which they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Of `a=b&c=d` with percent escapes. What is broken stands as it is.
    pub fn read(text: &[u8]) -> Form {
        let pairs = text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            (decoded(&pair[..at]), decoded(pair.get(at + 1..).unwrap_or_default()))
        });
        Form(pairs.collect())
    }

    /// The first value of a name; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    /// All values of a name.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(own, _)| own == name).map(|(_, value)| value.clone()).collect()
    }

    /// Whether it has no other names than these.
    pub fn has_only(&self, names: &[&str]) -> bool {
        self.0.iter().all(|(own, _)| names.contains(&own.as_str()))
    }
}

fn decoded(text: &[u8]) -> String {
    let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escaped = match (byte, text.get(at + 1..at + 3)) {
            (b'%', Some([high, low])) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match (byte, escaped) {
            (_, Some(escaped)) => {
                bytes.push(escaped);
                at += 2;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_broken_ones_stay() {
        let form = Form::read(b"q=a+b%2Bc&x&y=%zz%2&q=%C3%A9&=z");
        assert_eq!(form.get("q"), "a b+c");
        assert_eq!(form.all("q"), ["a b+c", "\u{e9}"]);
        assert_eq!((form.get("x"), form.get("y"), form.get("none")), ("", "%zz%2", ""));
        assert!(form.has_only(&["q", "x", "y", ""]) && !form.has_only(&["q"]));
        assert_eq!(Form::read(b""), Form::default());
    }
}
