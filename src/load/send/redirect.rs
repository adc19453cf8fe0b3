//! Where an answer points to.

use super::super::check::Answer;
use super::super::plan::{Made, StepPlan};
use crate::scenario::{Endpoint, Scenario, masked_url};
use http::Method;
use http::header::LOCATION;
use http::uri::PathAndQuery;

/// Where an answer points to, if that is a host of the scenario; and whether it is to be got rather than sent again (RFC 9110,
/// section 15.4: 303 always, 301 and 302 after a POST as browsers do).
pub fn redirected(
    scenario: &Scenario,
    plan: &StepPlan,
    made: &Made,
    method: &Method,
    answer: &Answer,
) -> Option<(Made, bool)> {
    if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = answer.headers.get(LOCATION)?.to_str().ok()?;
    // The shown URL may be masked: what counts for resolving is the path that was really sent.
    let shown = url::Url::parse(&made.url).ok()?;
    let base = shown.join(made.path.as_str()).ok()?;
    let mut next = base.join(location).ok()?;
    let endpoint = endpoint_of(scenario, &next)?;
    next.set_fragment(None);
    let path = &next[url::Position::BeforePath..];
    let path = PathAndQuery::try_from(path).ok()?;
    let as_get = answer.status == 303 && method != Method::HEAD
        || matches!(answer.status, 301 | 302) && method == Method::POST;
    let url = masked_url(next.as_str()).into();
    Some((plan.redirected(made, (scenario, endpoint), (path, url), !as_get)?, as_get))
}

/// The endpoint of a URL, if the scenario names it: nobody else is loaded, whoever points there.
fn endpoint_of(scenario: &Scenario, url: &url::Url) -> Option<usize> {
    let tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_string();
    let wanted = Endpoint { tls, host, port: url.port_or_known_default()? };
    scenario.endpoints.iter().position(|endpoint| *endpoint == wanted)
}
