//! `sse:`: streams of server-sent events.

use super::super::calls::Call;
use super::super::error::Fault;
use super::super::mask::Kind;
use super::super::template::Names;
use super::super::types::{Body, Step};
use super::super::yaml::{Node, Reader};
use super::grpc::until;
use super::step::{bare_step, body, request_target, target_of};
use super::{Building, Context, Inherited};
use http::Method;

/// A step with `sse: /events`, without what all steps have. With a body it is a POST.
pub fn step(
    node: &Node,
    reader: &Reader,
    names: &Names,
    inherited: &Inherited,
    context: &Context,
    building: &Building,
) -> Result<Step, Fault> {
    context.secret(node, Kind::Url);
    let text = node.text(context.source, "a path such as /events")?;
    let target = target_of(reader, inherited, context, building)?;
    let target = request_target(node, &text, 0, names, target, context, building)?;
    let body = body(reader, names, context)?;
    let method = if body == Body::Empty { Method::GET } else { Method::POST };
    let mut step = bare_step(method, target, inherited);
    step.body = body;
    step.call = Call::Events(Box::new(until(reader, "events", context)?));
    step.cache = Default::default();
    Ok(step)
}
