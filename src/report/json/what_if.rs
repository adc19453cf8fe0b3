//! Imagined changes, in `report.json`.

use super::document::StepName;
use super::step::{Latency, Owned};
use super::value::share;
use crate::analysis::result::{WhatIfResult, WhatIfStep};
use crate::report::view::View;
use serde::Serialize;

/// One imagined change.
#[derive(Serialize)]
pub struct WhatIfJson<'a> {
    change: &'a str,
    matched: Vec<Owned<'a>>,
    steps: Vec<WhatIfStepJson<'a>>,
}

#[derive(Serialize)]
struct WhatIfStepJson<'a> {
    step: StepName<'a>,
    exchanges_changed: u64,
    before_ms: Latency,
    after_ms: Latency,
    best_ms: Option<Latency>,
    queued_share: f64,
}

impl<'a> WhatIfJson<'a> {
    /// As the document has it.
    pub fn new(result: &'a WhatIfResult, view: &'a View<'a>) -> WhatIfJson<'a> {
        let step = |s: &'a WhatIfStep| WhatIfStepJson {
            step: StepName::new(s.step, view),
            exchanges_changed: s.touched,
            before_ms: Latency::new(&s.before),
            after_ms: Latency::new(&s.after),
            best_ms: s.best.as_ref().map(Latency::new),
            queued_share: share(s.queued_share),
        };
        WhatIfJson {
            change: &result.text,
            matched: result.matched.iter().map(Owned::new).collect(),
            steps: result.steps.iter().map(step).collect(),
        }
    }
}
