//! Whole run folders: written, torn, damaged, on a full disk, and read again.

use super::exchange_codec::tests::exchange;
use super::segment::{Disk, SEGMENT_MAX, SegmentFile, SystemDisk};
use super::*;
use crate::record::*;
use crate::wire::otlp::Encoding;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) fn run() -> Run {
    Run {
        id: "20261124T120000Z-shop".into(),
        name: "shop".into(),
        started_at: Timestamp(1_764_000_000_123_456_789),
        ended_at: Some(Timestamp(u64::MAX)),
        state: RunState::Interrupted,
        target: "http://127.0.0.1:8080".into(),
        hotspan_version: "0.1.0".into(),
        git_commit: Some("abc".into()),
        host: Host { name: "h".into(), os: "o".into(), cpu: "c".into(), cores: 2 },
        scenario: "name: shop\n\"quoted\" ü".into(),
        steps: vec![StepInfo {
            journey: "j".into(),
            name: "n".into(),
            method: "GET".into(),
            template: "/t".into(),
            checks: vec!["status".into()],
        }],
        load: LoadFacts {
            open_model: true,
            planned: Nanos(1),
            offered: 2,
            sent: 3,
            not_sent: 4,
            users_max: 5,
            iterations: 6,
            cached: 1,
            cpu: Nanos(7),
            late: 7,
            changes: vec![LoadChange { at: Nanos(5), what: "paused".into() }],
            search: Some(Search {
                probes: vec![Probe {
                    at: Nanos(1),
                    rate_per_s: 10.5,
                    broke: Some("b".into()),
                    ..Probe::default()
                }],
                holds_per_s: Some(9.5),
                breaks_per_s: Some(10.5),
                cut_short: None,
            }),
            propagation: Propagation::of([Propagator::B3, Propagator::XRay]).unwrap(),
            trace_stretch: Some(Nanos(9)),
            trace_cost: None,
            generator: Vec::new(),
            threads: 8,
        },
        receiver: ReceiverFacts {
            requests: 1,
            spans_received: 2,
            spans_stored: 3,
            spans_rejected: 4,
            spans_dropped: 5,
            dropped_at_end: 2,
            spans_duplicate: 9,
            bad_requests: 6,
            forwarded: 7,
            forward_dropped: 8,
            forward_waiting: 10,
            metrics: SignalFacts { requests: 1, received: 2, stored: 3, dropped: 4 },
            logs: SignalFacts { requests: 5, received: 6, stored: 7, dropped: 8 },
        },
        export: ExportFacts {
            endpoint: Some("http://c:4317".into()),
            spans_offered: 1,
            spans_sent: 2,
            spans_dropped: 3,
            metric_exports: 4,
            last_error: Some("e".into()),
        },
        sources: SourceFacts {
            from_traces: true,
            fetched: Some(FetchFacts {
                source: "tempo:http://t:3200".into(),
                asked: 9,
                found: 8,
                partial: 3,
                partial_reason: Some("too large".into()),
                spans: 7,
                requests: 6,
                retries: 5,
                took: Nanos(4),
                problem: Some("p".into()),
            }),
            trace_link: Some("https://j/trace/{trace_id}".into()),
        },
        wait: Some(WaitFacts { waited: Nanos(1), end: WaitEnd::Quiet, joined: 2, traced: 3 }),
        warnings: vec!["w".into()],
    }
}

/// A few hundred exchanges from the strategy, the same each time.
pub(crate) fn exchanges(n: usize) -> Vec<Exchange> {
    let mut runner = TestRunner::deterministic();
    prop::collection::vec(exchange(), n).new_tree(&mut runner).unwrap().current()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("runs/one");
    (temp, dir)
}

/// A batch as it was appended.
type Batch = (Encoding, Vec<u8>, u32);

/// Everything in a folder, and how many notes there were.
fn read(dir: &Path) -> (Vec<Exchange>, Vec<Batch>, usize) {
    let reader = RunReader::open(dir).unwrap();
    let mut stream = reader.exchanges();
    let exchanges: Vec<Exchange> = stream.by_ref().collect();
    let mut batches = reader.span_batches();
    let mut spans = Vec::new();
    while let Some(batch) = batches.next_batch() {
        spans.push((batch.encoding, batch.bytes.to_vec(), batch.spans));
    }
    (exchanges, spans, stream.notes().len() + batches.notes().len())
}

#[test]
fn a_run_reads_back_as_it_was_written() {
    let (_temp, dir) = folder();
    let written = exchanges(500);
    let mut writer = RunWriter::create(&dir, &run()).unwrap();
    for part in written.chunks(7) {
        writer.append_exchanges(part).unwrap();
    }
    writer.append_spans(Encoding::Protobuf, b"", 0).unwrap();
    writer.append_spans(Encoding::Json, b"{\"resourceSpans\":[]}", 3).unwrap();
    let ended = Run { state: RunState::Complete, ..run() };
    writer.finish(&ended).unwrap();
    assert_eq!(RunReader::open(&dir).unwrap().run(), &ended);
    let spans =
        vec![(Encoding::Protobuf, vec![], 0), (Encoding::Json, b"{\"resourceSpans\":[]}".to_vec(), 3)];
    assert_eq!(read(&dir), (written, spans, 0));
}

#[test]
fn an_empty_run_is_a_run() {
    let (_temp, dir) = folder();
    RunWriter::create(&dir, &run()).unwrap().finish(&run()).unwrap();
    assert_eq!(read(&dir), (vec![], vec![], 0));
}

#[test]
fn segments_are_rotated_and_read_in_order() {
    let (_temp, dir) = folder();
    let mut writer = RunWriter::create_on(&dir, &run(), || Box::new(SystemDisk), 1_000).unwrap();
    for n in 0..50u8 {
        writer.append_spans(Encoding::Protobuf, &vec![n; 90 + usize::from(n)], 1).unwrap();
    }
    writer.append_spans(Encoding::Protobuf, &vec![50; 5_000], 1).unwrap();
    writer.finish(&run()).unwrap();
    let segments = fs::read_dir(dir.join(SPANS_DIR)).unwrap().count();
    assert!(segments > 5, "{segments}");
    let (_, spans, notes) = read(&dir);
    let order: Vec<u8> = spans.iter().map(|(_, bytes, _)| bytes[0]).collect();
    assert_eq!((order, notes), ((0..=50).collect(), 0));
}

#[test]
fn cut_at_any_byte_everything_before_the_torn_record_is_read() {
    let (_temp, dir) = folder();
    let mut writer = RunWriter::create(&dir, &run()).unwrap();
    let mut ends = vec![];
    let written = exchanges(6);
    for part in written.chunks(2) {
        writer.append_exchanges(part).unwrap();
        writer.flush().unwrap();
        ends.push(fs::metadata(dir.join("exchanges/000000.seg")).unwrap().len());
    }
    writer.finish(&run()).unwrap();
    let path = dir.join("exchanges/000000.seg");
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let frames = ends.iter().filter(|end| **end <= cut as u64).count();
        let (seen, _, notes) = read(&dir);
        assert_eq!(seen, written[..frames * 2], "cut at {cut}");
        let clean = ends.contains(&(cut as u64)) || cut == 0 || cut == 16;
        assert_eq!(notes, usize::from(!clean), "cut at {cut}");
    }
}

#[test]
fn a_damaged_byte_never_yields_a_wrong_record() {
    let (_temp, dir) = folder();
    let written = exchanges(4);
    let mut writer = RunWriter::create(&dir, &run()).unwrap();
    for one in &written {
        writer.append_exchanges(std::slice::from_ref(one)).unwrap();
        writer.flush().unwrap();
    }
    writer.finish(&run()).unwrap();
    let path = dir.join("exchanges/000000.seg");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let (seen, _, notes) = read(&dir);
        assert_eq!((&seen[..], notes), (&written[..seen.len()], 1), "byte {at}");
    }
}

#[test]
fn records_are_on_disk_without_an_orderly_end() {
    let (_temp, dir) = folder();
    let written = exchanges(3);
    let mut writer = RunWriter::create(&dir, &run()).unwrap();
    writer.append_exchanges(&written).unwrap();
    writer.flush().unwrap();
    // As after kill -9: nothing of the writer runs any more.
    std::mem::forget(writer);
    assert_eq!(read(&dir).0, written);
}

/// A disk that takes a number of bytes and no more, shared by all its files.
struct SmallDisk(Arc<AtomicU64>);
struct SmallFile(Arc<AtomicU64>, Box<dyn SegmentFile>);

impl Disk for SmallDisk {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(SmallFile(self.0.clone(), SystemDisk.create(path)?)))
    }
}

impl SegmentFile for SmallFile {
    fn append(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let room = self.0.load(Ordering::Relaxed) as usize;
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let first = &first[..first.len().min(room)];
        let second = &second[..second.len().min(room - first.len())];
        let n = self.1.append(first, second)?;
        self.0.fetch_sub(n as u64, Ordering::Relaxed);
        Ok(n)
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.1.cut(len)
    }
    fn take_space(&mut self, len: u64, more: u64) -> bool {
        self.1.take_space(len, more)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.1.sync()
    }
}

#[test]
fn a_full_disk_loses_what_it_says_and_nothing_else() {
    for room in (0..700).step_by(29) {
        let (_temp, dir) = folder();
        let free = Arc::new(AtomicU64::new(room));
        let disk = || Box::new(SmallDisk(free.clone())) as Box<dyn Disk>;
        let mut writer = RunWriter::create_on(&dir, &run(), disk, SEGMENT_MAX).unwrap();
        for n in 0..6u8 {
            writer.append_spans(Encoding::Protobuf, &[n; 50], 10).unwrap();
        }
        let lost = match writer.flush() {
            Ok(()) => Lost::default(),
            Err(error) => {
                assert!(error.is_disk_full() && error.to_string().contains("free some space"), "{error}");
                error.lost()
            }
        };
        let (_, kept, notes) = read(&dir);
        assert_eq!((kept.len() as u64 * 10 + lost.spans, notes), (60, 0), "room for {room}");
        // Space again: the run goes on.
        free.store(10_000, Ordering::Relaxed);
        writer.append_spans(Encoding::Protobuf, b"later", 1).unwrap();
        writer.finish(&run()).unwrap();
        let (_, after, notes) = read(&dir);
        assert_eq!((after.len(), notes), (kept.len() + 1, 0), "room for {room}");
        assert_eq!(after.last().unwrap().1, b"later");
    }
}

#[test]
fn large_messages_between_small_ones_are_kept_whole_whatever_the_disk_takes() {
    // The sizes of messages that wait in the buffer, and of those that go to the disk from where they are.
    let sizes = [50, 70_000, 64 << 10, 10, 200_000, 20];
    let all: usize = sizes.iter().sum();
    for room in (0..all as u64).step_by(9_973).chain([all as u64 + 1_000]) {
        let (_temp, dir) = folder();
        let free = Arc::new(AtomicU64::new(room));
        let disk = || Box::new(SmallDisk(free.clone())) as Box<dyn Disk>;
        let mut writer = RunWriter::create_on(&dir, &run(), disk, 300_000).unwrap();
        let mut lost = Lost::default();
        for (n, size) in sizes.into_iter().enumerate() {
            let message = vec![n as u8; size];
            lost.add(
                writer
                    .append_spans(Encoding::Protobuf, &message, 10)
                    .map_or_else(|e| e.lost(), |()| Lost::default()),
            );
        }
        lost.add(writer.flush().map_or_else(|e| e.lost(), |()| Lost::default()));
        let (_, kept, notes) = read(&dir);
        assert_eq!((kept.len() as u64 * 10 + lost.spans, notes), (60, 0), "room for {room}");
        for (_, bytes, _) in &kept {
            assert_eq!(*bytes, vec![bytes[0]; sizes[usize::from(bytes[0])]], "room for {room}");
        }
        assert!(kept.is_sorted_by_key(|(_, bytes, _)| bytes[0]));
        assert_eq!(kept.len() == 6, room >= all as u64 + 200, "room for {room}");
    }
}

/// Blocks of a disk that are as good as endless: what was asked for and what is cut off.
struct WideDisk(Arc<AtomicU64>);
struct WideFile(Arc<AtomicU64>, Box<dyn SegmentFile>);

impl Disk for WideDisk {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(WideFile(self.0.clone(), SystemDisk.create(path)?)))
    }
}

impl SegmentFile for WideFile {
    fn append(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        self.1.append(first, second)
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.0.store(0, Ordering::Relaxed);
        self.1.cut(len)
    }
    fn take_space(&mut self, len: u64, more: u64) -> bool {
        let before = self.0.fetch_max(len + more, Ordering::Relaxed);
        assert!(
            before < len + more && more <= 64 << 20 && len + more <= 20 << 20,
            "{len} {more} after {before}"
        );
        true
    }
    fn sync(&mut self) -> io::Result<()> {
        self.1.sync()
    }
}

#[test]
fn space_that_was_taken_ahead_is_given_back() {
    let (_temp, dir) = folder();
    let taken = Arc::new(AtomicU64::new(0));
    let disk = || Box::new(WideDisk(taken.clone())) as Box<dyn Disk>;
    let mut writer = RunWriter::create_on(&dir, &run(), disk, 20 << 20).unwrap();
    let message = vec![7; 200_000];
    let mut most = 0;
    for n in 0..150 {
        writer.append_spans(Encoding::Protobuf, &message, 10).unwrap();
        let now = taken.load(Ordering::Relaxed);
        assert_eq!(now > 0, n % 104 > 20, "only a file of some megabytes is worth it: message {n}");
        most = most.max(now);
    }
    assert!(most > 16 << 20, "{most}");
    writer.finish(&run()).unwrap();
    assert_eq!(taken.load(Ordering::Relaxed), 0);
    let (_, kept, notes) = read(&dir);
    assert!(kept.len() == 150 && notes == 0 && kept.iter().all(|(_, bytes, _)| *bytes == message));
}

#[cfg(target_os = "linux")]
#[test]
fn a_finished_segment_takes_no_more_of_the_disk_than_it_is_long() {
    use std::os::unix::fs::MetadataExt;
    let (_temp, dir) = folder();
    let mut writer = RunWriter::create(&dir, &run()).unwrap();
    for _ in 0..60 {
        writer.append_spans(Encoding::Protobuf, &vec![7; 200_000], 10).unwrap();
    }
    writer.finish(&run()).unwrap();
    let segment = fs::metadata(dir.join(SPANS_DIR).join(super::segment_name(0))).unwrap();
    assert!(segment.len() > 12_000_000 && segment.blocks() * 512 < segment.len() + (1 << 20), "{segment:?}");
}

#[test]
fn what_is_no_run_folder_is_told_apart() {
    let (_temp, dir) = folder();
    assert!(RunReader::open(&dir).unwrap_err().to_string().contains("there is no folder"));
    fs::create_dir_all(&dir).unwrap();
    let not_a_run = |reason: &str| {
        let error = RunReader::open(&dir).unwrap_err().to_string();
        assert!(error.contains("is not a run folder") && error.contains(reason), "{error}");
    };
    not_a_run("it has no run.json");
    fs::write(dir.join(RUN_FILE), "{").unwrap();
    not_a_run("is not JSON");
    fs::write(dir.join(RUN_FILE), "{}").unwrap();
    not_a_run("does not name the format");
    fs::write(dir.join(RUN_FILE), r#"{"format":"hotspan.run/1","id":3}"#).unwrap();
    not_a_run("damaged");
    fs::write(dir.join(RUN_FILE), r#"{"format":"hotspan.run/2"}"#).unwrap();
    let error = RunReader::open(&dir).unwrap_err().to_string();
    assert!(error.contains("newer hotspan (format hotspan.run/2)"), "{error}");
    assert!(matches!(RunWriter::create(&dir, &run()), Err(FolderError::Occupied { .. })));
    let file = dir.join(RUN_FILE);
    assert!(RunReader::open(&file).unwrap_err().to_string().contains("it is a file"));
}

#[test]
fn a_document_of_an_earlier_version_with_less_in_it_is_read() {
    let (_temp, dir) = folder();
    fs::create_dir_all(&dir).unwrap();
    let text = r#"{"format":"hotspan.run/1","id":"a","name":"b","started_at_unix_ns":5,"new_field":1}"#;
    fs::write(dir.join(RUN_FILE), text).unwrap();
    let reader = RunReader::open(&dir).unwrap();
    assert_eq!((reader.run().started_at, reader.run().state), (Timestamp(5), RunState::Running));
    // Its folders are missing, which is a note each.
    assert_eq!(read(&dir).2, 2);
}

#[test]
fn strange_files_and_kinds_are_noted_and_passed_over() {
    let (_temp, dir) = folder();
    let mut writer = RunWriter::create(&dir, &run()).unwrap();
    writer.append_exchanges(&exchanges(2)).unwrap();
    writer.finish(&run()).unwrap();
    // A frame of exchanges where spans belong: sound, but not of the kind.
    fs::copy(dir.join("exchanges/000000.seg"), dir.join("spans/000000.seg")).unwrap();
    fs::write(dir.join("spans/000001.seg"), b"hotspan-seg\n\x09\0\0\0").unwrap();
    fs::write(dir.join("spans/000002.seg"), b"something else entirely").unwrap();
    fs::write(dir.join("spans/README"), b"not ours").unwrap();
    let reader = RunReader::open(&dir).unwrap();
    let totals = reader.for_each_span(&mut |_| panic!("there are no spans"));
    let reasons: Vec<&str> = totals.notes.iter().map(|note| note.reason).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons[1].contains("newer") && reasons[2].contains("not a segment"), "{reasons:?}");
    assert!(totals.notes[0].to_string().starts_with("spans/000000.seg: "));
}

#[test]
fn metrics_and_logs_read_back_and_a_torn_tail_costs_its_record_only() {
    use crate::wire::otlp::Signal;
    let (_temp, dir) = folder();
    let mut writer = RunWriter::create(&dir, &run()).unwrap();
    let metrics = br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":
        [{"asInt":"3"},{"asDouble":0.5}]}}]}]}]}"#;
    let logs = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"},
        "traceId":"5b8efff798038103d269b633813fc60c"}]}]}]}"#;
    for _ in 0..2 {
        writer.append_message(Signal::Metrics, Encoding::Json, metrics, 2).unwrap();
        writer.append_message(Signal::Logs, Encoding::Json, logs, 1).unwrap();
    }
    writer.append_message(Signal::Metrics, Encoding::Protobuf, b"", 0).unwrap();
    writer.append_message(Signal::Logs, Encoding::Protobuf, b"\x0a\xff", 0).unwrap();
    writer.finish(&run()).unwrap();
    let reader = RunReader::open(&dir).unwrap();
    let mut values = Vec::new();
    let totals = reader.for_each_metric(&mut |point| values.push(point.value.number().unwrap()));
    assert_eq!(values, [3.0, 0.5, 3.0, 0.5]);
    assert_eq!((totals.batches, totals.walked.points, totals.notes.len()), (3, 4, 0));
    let totals =
        reader.for_each_log(&mut |line| assert!(line.trace_id.is_some() && line.text() == Some("x")));
    assert_eq!((totals.batches, totals.bad_batches, totals.walked.records), (3, 1, 2));
    let segment = dir.join("metrics/000000.seg");
    let size = fs::metadata(&segment).unwrap().len();
    fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(size - 21).unwrap();
    let totals = reader.for_each_metric(&mut |_| {});
    assert_eq!((totals.walked.points, totals.notes.len()), (2, 1));
    // A folder of an earlier version has neither.
    fs::remove_dir_all(dir.join("metrics")).unwrap();
    assert_eq!(reader.for_each_metric(&mut |_| {}), Default::default());
}
