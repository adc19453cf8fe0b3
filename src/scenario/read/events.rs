//! `sse:`: streams of server-sent events.

use super::super::calls::Call;
use super::super::error::Fault;
use super::super::mask::Kind;
use super::super::types::{Body, Step};
use super::super::yaml::{Node, Reader};
use super::Scope;
use super::body::body;
use super::grpc::until;
use super::request::{request_target, target_of};
use super::step::bare_step;
use http::Method;

/// A step with `sse: /events`, without what all steps have. With a body it is a POST.
pub fn step(node: &Node, reader: &Reader, scope: &Scope) -> Result<Step, Fault> {
    let Scope { names, inherited, context, .. } = *scope;
    context.secret(node, Kind::Url);
    let text = node.text(context.source, "a path such as /events")?;
    let target = target_of(reader, scope)?;
    let target = request_target(node, &text, 0, target, scope)?;
    let body = body(reader, names, context)?;
    let method = if body == Body::Empty { Method::GET } else { Method::POST };
    let mut step = bare_step(method, target, inherited);
    step.body = body;
    step.call = Call::Events(Box::new(until(reader, "events", context)?));
    step.cache = Default::default();
    Ok(step)
}
