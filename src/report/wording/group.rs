//! Sentences on what goes with slow requests.

use super::contributor_name;
use crate::analysis::result::{Association, Feature, ShapeResult};
use crate::record::grpc_status_name;
use crate::report::number::{count, percent};
use crate::report::prose::Prose;
use crate::report::view::StepView;

/// A sentence for each feature that goes with the slow requests of a step.
pub fn slow_with(step: &StepView) -> Vec<Prose> {
    step.result.associations.iter().filter_map(|a| sentence(a, &step.result.shapes)).collect()
}

fn sentence(a: &Association, shapes: &[ShapeResult]) -> Option<Prose> {
    let prose = Prose::new().own("Slow goes with ");
    let prose = match &a.feature {
        Feature::Shape(hash) => {
            let shape = shapes.iter().find(|s| s.hash == Some(*hash))?;
            let (who, usual, calls) =
                shape.differs.iter().max_by_key(|(_, usual, calls)| usual.abs_diff(*calls))?;
            let calls =
                if *calls == 0 { "no".to_owned() } else { format!("about {}", count(u64::from(*calls))) };
            let usual =
                if *usual == 0 { "none".to_owned() } else { format!("about {}", count(u64::from(*usual))) };
            prose
                .own(format!("{calls} calls of "))
                .name(contributor_name(who))
                .own(format!(" (usual: {usual})"))
        }
        Feature::Status(0) => prose.own("requests without a status"),
        Feature::Status(status @ 1..100) => prose.own(format!("status {}", grpc_status_name(*status))),
        Feature::Status(status) => prose.own(format!("status {status}")),
        Feature::Connection(which) if &**which == "new" => prose.own("a connection that had to be opened"),
        Feature::Connection(_) => prose.own("a connection that was used before"),
        Feature::Instance(service, instance) => {
            prose.own("the instance ").name(instance).own(" of ").name(service)
        }
        Feature::Error(service, operation) => {
            prose.own("an error in ").name(operation).own(" of ").name(service)
        }
        Feature::Process(service, key, value) | Feature::Attribute(service, key, value) => {
            prose.name(key).own(" ").name(value).own(" of ").name(service)
        }
        Feature::User(user) => prose.own(format!("the data of virtual user {user}")),
        Feature::Url(url) => prose.own("the data in ").name(url),
    };
    Some(prose.own(format!(
        ": {} of its {} requests are slow, {} of the others; it is in {} of all slow ones.",
        percent(a.slow as f64 / a.exchanges.max(1) as f64),
        count(a.exchanges),
        percent(a.slow_share_without),
        percent(a.covers)
    )))
}
