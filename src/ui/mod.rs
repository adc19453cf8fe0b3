//! What a person looks at: the live terminal screen while a run goes on, and the local web pages ([`web`]).
//!
//! Whoever runs the load tells the screen what happened ([`Update`]); the screen's own thread keeps it in a [`Model`], draws
//! it, and tells back what its user wants ([`Wish`]). Nobody waits for the screen: an update that finds the channel full
//! comes back to its sender. A frame is a pure function of model, view and size.
//!
//! What this room must not do: know how load is made, where spans come from or how runs are kept, read a clock for what it
//! shows, print anything but frames.

mod canvas;
mod chart;
mod draw;
mod follower;
mod keys;
mod model;
#[cfg(test)]
mod sample;
mod screen;
mod series;
mod snapshot;
#[cfg(test)]
mod tests;
pub mod web;

pub use canvas::Look;
pub use draw::draw;
pub use follower::Follower;
pub use keys::{View, Wish};
pub use model::{LoadLook, Model, Setup, SpanCounts, StageInfo, StepBlame, StepSum, Update};
pub use screen::{Feed, Screen};
