//! Sentences on imagined changes.

use super::contributor_name;
use crate::analysis::result::{WhatIfResult, WhatIfStep};
use crate::record::Nanos;
use crate::report::number;
use crate::report::number::{counted, percent};
use crate::report::prose::Prose;

/// What a change is about, or that it is about nothing here.
pub fn about(result: &WhatIfResult) -> Prose {
    let Some(first) = result.matched.first() else {
        return "Nothing in this run matches it. Names are listed with each step above; a pattern's words must occur in one of them, in that order.".into();
    };
    let prose = Prose::new().own("About ").name(contributor_name(first));
    match result.matched.len() - 1 {
        0 => prose.own("."),
        more => prose.own(format!(" and {}.", counted(more as u64, "other", "others"))),
    }
}

/// Why a step has a range, where it has one.
pub fn range(result: &WhatIfResult) -> Option<Prose> {
    let most = result.steps.iter().filter(|s| s.best.is_some()).map(|s| s.queued_share).fold(0.0, f64::max);
    (most > 0.0).then(|| {
        format!(
            "Ranges: up to {} of the time was waiting for a turn, which gets shorter too when the work does; how much, spans do not tell.",
            percent(most)
        )
        .into()
    })
}

/// Before and after of one quantile: `120 → 40`, or `120 → 20 to 40`.
pub fn change(step: &WhatIfStep, of: fn(&crate::stats::Quantiles) -> Nanos) -> String {
    let ms = |q: &crate::stats::Quantiles| number::ms(of(q).as_millis_f64());
    match &step.best {
        Some(best) if ms(best) != ms(&step.after) => {
            format!("{} → {} to {}", ms(&step.before), ms(best), ms(&step.after))
        }
        _ => format!("{} → {}", ms(&step.before), ms(&step.after)),
    }
}
