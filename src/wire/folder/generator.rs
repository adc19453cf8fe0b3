//! `generator.jsonl`: one look at the generator per line, appended as it is made, so that a run that was killed has all but
//! the last.

use crate::record::{GeneratorSample, Nanos, ServiceSample};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Name within the run folder.
const FILE: &str = "generator.jsonl";
/// Most lines that are read: a week of seconds.
const MOST: usize = 604_800;

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Line {
    at_ns: u64,
    span_ns: u64,
    cpu_cores: f64,
    busiest_thread: f64,
    run_delay: f64,
    lag_ns: u64,
    open_files: u64,
    time_wait: u64,
    ports_left: Option<u64>,
    memory: u64,
    in_flight: u64,
    done: u64,
    late: u64,
    not_sent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<ServiceLine>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct ServiceLine {
    cpu_cores: f64,
    run_delay: f64,
    sends_spans: bool,
}

/// Writes looks at the generator into a run folder.
#[derive(Debug)]
pub struct GeneratorWriter {
    file: File,
}

impl GeneratorWriter {
    /// Opens the file in the run folder `dir`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(dir: &Path) -> io::Result<GeneratorWriter> {
        Ok(GeneratorWriter { file: OpenOptions::new().create(true).append(true).open(dir.join(FILE))? })
    }

    /// Appends a look.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, sample: &GeneratorSample) -> io::Result<()> {
        let mut text = serde_json::to_vec(&Line::from(sample))?;
        text.push(b'\n');
        self.file.write_all(&text)
    }
}

/// All looks of a run folder; a torn or foreign line is left out. None where there is no such file.
pub(super) fn read(dir: &Path) -> Vec<GeneratorSample> {
    let Ok(text) = fs::read(dir.join(FILE)) else { return Vec::new() };
    text.split(|byte| *byte == b'\n')
        .take(MOST)
        .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
        .map(GeneratorSample::from)
        .collect()
}

impl From<&GeneratorSample> for Line {
    fn from(s: &GeneratorSample) -> Line {
        Line {
            at_ns: s.at.0,
            span_ns: s.span.0,
            cpu_cores: s.cpu_cores,
            busiest_thread: s.busiest_thread,
            run_delay: s.run_delay,
            lag_ns: s.lag.0,
            open_files: s.open_files,
            time_wait: s.time_wait,
            ports_left: s.ports_left,
            memory: s.memory,
            in_flight: s.in_flight,
            done: s.done,
            late: s.late,
            not_sent: s.not_sent,
            service: s.service.map(|s| ServiceLine {
                cpu_cores: s.cpu_cores,
                run_delay: s.run_delay,
                sends_spans: s.sends_spans,
            }),
        }
    }
}

impl From<Line> for GeneratorSample {
    fn from(l: Line) -> GeneratorSample {
        GeneratorSample {
            at: Nanos(l.at_ns),
            span: Nanos(l.span_ns),
            cpu_cores: l.cpu_cores,
            busiest_thread: l.busiest_thread,
            run_delay: l.run_delay,
            lag: Nanos(l.lag_ns),
            open_files: l.open_files,
            time_wait: l.time_wait,
            ports_left: l.ports_left,
            memory: l.memory,
            in_flight: l.in_flight,
            done: l.done,
            late: l.late,
            not_sent: l.not_sent,
            service: l.service.map(|l| ServiceSample {
                cpu_cores: l.cpu_cores,
                run_delay: l.run_delay,
                sends_spans: l.sends_spans,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_read_back_and_a_torn_line_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), []);
        let sample = GeneratorSample {
            at: Nanos(1_000_000_000),
            span: Nanos(1_000_000_000),
            cpu_cores: 1.25,
            busiest_thread: 0.9375,
            run_delay: 0.125,
            lag: Nanos(77),
            open_files: 9,
            time_wait: 8,
            ports_left: Some(7),
            memory: 6,
            in_flight: 5,
            done: 4,
            late: 3,
            not_sent: 2,
            service: Some(ServiceSample { cpu_cores: 0.25, run_delay: 0.5, sends_spans: true }),
        };
        let mut writer = GeneratorWriter::create(dir.path()).unwrap();
        writer.append(&sample).unwrap();
        let unknown = GeneratorSample { ports_left: None, service: None, ..sample.clone() };
        writer.append(&unknown).unwrap();
        writer.file.write_all(b"{\"at_ns\": 12").unwrap();
        assert_eq!(read(dir.path()), [sample, unknown]);
    }
}
