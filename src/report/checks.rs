//! Checks by name: how often each held, and how often not.

use super::view::{StepView, View};
use std::sync::Arc;

/// One check of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check<'a> {
    /// As the scenario names it.
    pub name: &'a str,
    /// Exchanges in which it held.
    pub passed: u64,
    /// Exchanges in which it did not.
    pub failed: u64,
    /// One example of what was seen instead.
    pub seen: Option<&'a str>,
}

/// All checks of a step, in the scenario's order; those that it does not name (of an older run, say) follow.
pub fn of<'a>(step: &StepView<'a>, view: &'a View) -> Vec<Check<'a>> {
    let result = step.result;
    let made = view.run().steps.get(usize::from(result.step.0)).map_or(&[][..], |info| &info.checks);
    let unnamed = result.checks.keys().map(Arc::as_ref).filter(|name| !made.iter().any(|m| m == name));
    let names = made.iter().map(String::as_str).chain(unnamed);
    names
        .map(|name| {
            let failed = result.checks.get(name);
            let count = failed.map_or(0, |(count, _)| *count);
            Check {
                name,
                passed: result.checked.saturating_sub(count),
                failed: count,
                seen: failed.map(|(_, seen)| seen.as_ref()),
            }
        })
        .collect()
}

/// The steps whose scenario checks more than the status, with all their checks.
pub fn stated<'a>(view: &'a View) -> Vec<(&'a StepView<'a>, Vec<Check<'a>>)> {
    let all = view.steps.iter().filter(|step| step.result.checked > 0);
    all.map(|step| (step, of(step, view))).filter(|(_, checks)| checks.len() > 1).collect()
}
