//! Tests of the room as a whole: pictures of single exchanges, laws over random ones, aggregates and findings.

mod answers;
mod causes;
mod coarse;
mod cursors;
mod detectors;
mod event_loop;
mod graphql;
mod groups;
mod laws;
mod layers;
mod own_pages;
mod pictures;
mod pools;
mod recall;
mod results;
mod sampling;
mod saturation;
mod series;
mod turns;
mod waiting;
mod what_if;
