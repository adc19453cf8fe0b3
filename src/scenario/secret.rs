//! Values that must not be seen: passed into requests, masked wherever text leaves the load.

use super::address::base64;
use super::mask::MASK;
use super::template::percent_encode;
use std::borrow::Cow;

/// A secret shorter than this would be masked out of ordinary words.
pub(super) const SHORTEST: usize = 4;

/// All secret values of a scenario, in every form in which they are sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Longest first, so that no part of a longer one is left standing.
    forms: Vec<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.forms.len())
    }
}

impl Secrets {
    /// Of these values.
    pub fn new(values: &[String]) -> Secrets {
        let mut forms: Vec<String> = Vec::new();
        for value in values {
            let mut percent = String::new();
            percent_encode(value, &mut percent);
            let quoted = serde_json::Value::from(value.as_str()).to_string();
            let inside = quoted[1..quoted.len() - 1].to_string();
            for form in [value.clone(), percent, inside, base64(value.as_bytes())] {
                if !forms.contains(&form) {
                    forms.push(form);
                }
            }
        }
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        Secrets { forms }
    }

    /// Whether there are none: then nothing needs to be looked at.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// The text without any of them.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut out = Cow::Borrowed(text);
        for form in &self.forms {
            if out.contains(form.as_str()) {
                out = Cow::Owned(out.replace(form.as_str(), MASK));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_masked_and_nothing_else_is() {
        let secrets = Secrets::new(&["p/w \"1\"".to_string(), "p/w ".to_string()]);
        for (text, masked) in [
            ("a p/w \"1\" b", "a *** b"),
            ("/x?q=p%2Fw%20%221%22&r=1", "/x?q=***&r=1"),
            (r#"{"a": "p/w \"1\""}"#, r#"{"a": "***"}"#),
            ("Basic cC93ICIxIg==", "Basic ***"),
            ("plain", "plain"),
        ] {
            assert_eq!(secrets.mask(text), masked);
        }
        assert_eq!(format!("{secrets:?}"), "7 secrets");
        assert!(Secrets::default().is_empty());
    }
}
