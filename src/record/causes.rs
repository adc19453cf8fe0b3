//! An error in words.

use std::error::Error;

/// An error with its causes, outermost first: the reason lies in the causes. What an outer one repeats is said once.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    // A chain of causes is short; the bound guards against one that points to itself.
    for _ in 0..16 {
        let Some(cause) = source else { break };
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn causes_are_told_once() {
        let inner = io::Error::other("peer went away");
        let outer = io::Error::other(inner);
        assert_eq!(with_causes(&outer), "peer went away");
    }
}
