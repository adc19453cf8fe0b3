//! Changes of a load and the search for a capacity, in `run.json`.

use crate::record::{LoadChange, Nanos, Probe, Search};
use serde::{Deserialize, Serialize};

/// What was changed, in order.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ChangesDoc(Vec<ChangeDoc>);

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct ChangeDoc {
    at_ns: u64,
    what: String,
}

impl From<Vec<LoadChange>> for ChangesDoc {
    fn from(changes: Vec<LoadChange>) -> ChangesDoc {
        ChangesDoc(changes.into_iter().map(|c| ChangeDoc { at_ns: c.at.0, what: c.what }).collect())
    }
}

impl From<ChangesDoc> for Vec<LoadChange> {
    fn from(doc: ChangesDoc) -> Vec<LoadChange> {
        doc.0.into_iter().map(|c| LoadChange { at: Nanos(c.at_ns), what: c.what }).collect()
    }
}

/// A search, or none.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SearchDoc(Option<FoundDoc>);

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct FoundDoc {
    probes: Vec<ProbeDoc>,
    holds_per_s: Option<f64>,
    breaks_per_s: Option<f64>,
    cut_short: Option<String>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct ProbeDoc {
    at_ns: u64,
    length_ns: u64,
    rate_per_s: f64,
    exchanges: u64,
    errors: u64,
    p50_ns: u64,
    p95_ns: u64,
    behind: f64,
    broke: Option<String>,
}

impl From<Option<Search>> for SearchDoc {
    fn from(search: Option<Search>) -> SearchDoc {
        let probe = |p: Probe| ProbeDoc {
            at_ns: p.at.0,
            length_ns: p.length.0,
            rate_per_s: p.rate_per_s,
            exchanges: p.exchanges,
            errors: p.errors,
            p50_ns: p.p50.0,
            p95_ns: p.p95.0,
            behind: p.behind,
            broke: p.broke,
        };
        SearchDoc(search.map(|s| FoundDoc {
            probes: s.probes.into_iter().map(probe).collect(),
            holds_per_s: s.holds_per_s,
            breaks_per_s: s.breaks_per_s,
            cut_short: s.cut_short,
        }))
    }
}

impl From<SearchDoc> for Option<Search> {
    fn from(doc: SearchDoc) -> Option<Search> {
        let probe = |p: ProbeDoc| Probe {
            at: Nanos(p.at_ns),
            length: Nanos(p.length_ns),
            rate_per_s: p.rate_per_s,
            exchanges: p.exchanges,
            errors: p.errors,
            p50: Nanos(p.p50_ns),
            p95: Nanos(p.p95_ns),
            behind: p.behind,
            broke: p.broke,
        };
        doc.0.map(|s| Search {
            probes: s.probes.into_iter().map(probe).collect(),
            holds_per_s: s.holds_per_s,
            breaks_per_s: s.breaks_per_s,
            cut_short: s.cut_short,
        })
    }
}
