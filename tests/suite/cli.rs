//! The program as a user runs it: exit statuses, messages, files. One small HTTP server of the test's own is the target.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

fn hotspan(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotspan"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
        command.env_remove(name);
    }
    command
}

fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

pub fn run(args: &[&str]) -> Ran {
    ran(hotspan(args).output().expect("hotspan starts"))
}

/// A server that answers every request of every connection with `ok`, until the test ends.
fn target() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut out = stream;
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() && out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

fn only_run(out: &Path) -> PathBuf {
    let mut runs: Vec<_> = std::fs::read_dir(out).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.pop().unwrap()
}

fn report(run: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(run.join("report.json")).unwrap()).unwrap()
}

fn scenario(dir: &Path, address: SocketAddr, thresholds: &str) -> String {
    let text = format!(
        "name: small\ntarget: http://{address}\nload: {{rate: 50/s, for: 1s}}\nsteps:\n  - GET /\n{thresholds}"
    );
    let path = dir.join("small.yaml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Arguments that keep a run off the standard ports and its wait short.
const APART: [&str; 8] = [
    "--otlp-grpc",
    "127.0.0.1:0",
    "--otlp-http",
    "127.0.0.1:0",
    "--quiet-period",
    "200ms",
    "--no-ui",
    "--quiet",
];

fn run_scenario(path: &str, out: &Path, more: &[&str]) -> Ran {
    let mut args = vec!["run", path, "--out", out.to_str().unwrap()];
    args.extend(APART);
    args.extend(more);
    run(&args)
}

#[test]
fn bad_input_is_a_sentence_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let refused = run(&["run", "http://127.0.0.1:9/", "--out", dir.path().to_str().unwrap()]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("nothing listens at http://127.0.0.1:9"), "{}", refused.err);
    assert!(!dir.path().join("runs").exists() && std::fs::read_dir(dir.path()).unwrap().next().is_none());

    let path = scenario(dir.path(), target(), "laod: 3\n");
    let wrong = run_scenario(&path, &dir.path().join("runs"), &[]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("small.yaml:6:1: unknown key `laod`"), "{}", wrong.err);
    assert!(wrong.err.contains("did you mean `load`?"), "{}", wrong.err);

    assert_eq!(run(&["run"]).code, Some(2));
    assert_eq!(run(&["run", "http://127.0.0.1:9/", "--users", "1", "--rate", "1"]).code, Some(2));
    let absent = run(&["analyze", dir.path().join("nothing").to_str().unwrap()]);
    assert_eq!(absent.code, Some(1));
    assert!(absent.err.contains("there is no folder"), "{}", absent.err);
}

#[test]
fn a_taken_port_names_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let url = format!("http://{}/", target());
    let dir = tempfile::tempdir().unwrap();
    let ran = run(&["run", &url, "--otlp-grpc", &address, "--out", dir.path().to_str().unwrap()]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.contains(&format!("port {} is taken", taken.local_addr().unwrap().port())),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("--otlp-grpc 127.0.0.1:") && ran.err.contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
        "{}",
        ran.err
    );
}

#[test]
fn thresholds_decide_the_exit_status() {
    let dir = tempfile::tempdir().unwrap();
    let address = target();
    let gate = |name: &str, thresholds: &str| {
        let path = scenario(dir.path(), address, &format!("thresholds: [{thresholds}]\n"));
        // On a machine that is busy with other tests the load may be late, and says so instead of a verdict.
        for _ in 0..5 {
            let _ = std::fs::remove_dir_all(dir.path().join(name));
            let ran = run_scenario(&path, &dir.path().join(name), &[]);
            if !ran.out.contains("The load generator was late") {
                return ran;
            }
        }
        panic!("this machine is too busy to send 50 requests in a second");
    };
    assert_eq!(gate("holds", "'exchanges >= 50', 'error_rate == 0%'").code, Some(0));
    let failed = gate("fails", "'exchanges < 50'");
    assert_eq!(failed.code, Some(99), "{}", failed.out);
    let thresholds = &report(&only_run(&dir.path().join("fails")))["thresholds"];
    assert_eq!((&thresholds[0]["actual"], &thresholds[0]["passed"]), (&50.0.into(), &false.into()));
    // No server span came: a threshold on blame can neither hold nor fail.
    let blind = gate("blind", "'database.mean < 40ms'");
    assert_eq!(blind.code, Some(3), "{}", blind.err);
    assert!(blind.err.contains("cannot carry a verdict"), "{}", blind.err);
}

#[test]
fn the_same_folder_gives_the_same_report_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = scenario(dir.path(), target(), "");
    let first = run_scenario(&path, &dir.path().join("runs"), &["--format", "markdown"]);
    assert_eq!(first.code, Some(0), "{}", first.err);
    let folder = only_run(&dir.path().join("runs"));
    let files =
        || ["report.json", "report.md", "report.html"].map(|name| std::fs::read(folder.join(name)).unwrap());
    let written = files();
    let again = run(&["analyze", folder.to_str().unwrap(), "--format", "markdown"]);
    assert_eq!((again.code, &again.out), (Some(0), &first.out));
    assert_eq!(files(), written);
    let split = run(&["analyze", folder.to_str().unwrap(), "--format", "markdown", "--partitions", "3"]);
    assert_eq!(split.out, first.out);
    assert_eq!(files(), written);
}

#[test]
fn parts_add_up_to_the_same_report_and_only_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = scenario(dir.path(), target(), "");
    assert_eq!(run_scenario(&path, &dir.path().join("runs"), &[]).code, Some(0));
    let folder = only_run(&dir.path().join("runs"));
    let folder = folder.to_str().unwrap();
    assert_eq!(run(&["analyze", folder]).code, Some(0));
    let whole = std::fs::read_to_string(Path::new(folder).join("report.json")).unwrap();
    let file = |i: u32| dir.path().join(format!("{i}.part")).to_str().unwrap().to_owned();
    for i in 1..=3 {
        let ran = run(&["analyze", folder, "--part", &format!("{i}/3"), "--write-part", &file(i)]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    std::fs::remove_file(Path::new(folder).join("report.json")).unwrap();
    let ran = run(&["merge", folder, &file(3), &file(1), &file(2)]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(Path::new(folder).join("report.json")).unwrap(), whole);

    let missing = run(&["merge", folder, &file(3), &file(1)]);
    assert_eq!(
        (missing.code, missing.err.contains("parts are missing: 2/3")),
        (Some(1), true),
        "{}",
        missing.err
    );
    let twice = run(&["merge", folder, &file(3), &file(3)]);
    assert!(twice.err.contains("is part 3, which was given already"), "{}", twice.err);
    let mut bytes = std::fs::read(file(2)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file(2), bytes).unwrap();
    let damaged = run(&["merge", folder, &file(1), &file(2), &file(3)]);
    assert!(damaged.err.contains("its checksum does not fit"), "{}", damaged.err);
    let wrong = run(&["analyze", folder, "--part", "4/3", "--write-part", &file(4)]);
    assert_eq!((wrong.code, wrong.err.contains("`4/3` is no part")), (Some(2), true), "{}", wrong.err);
    let slower = run(&["analyze", folder, "--what-if", "database=2x"]);
    assert_eq!(
        (slower.code, slower.err.contains("makes something slower")),
        (Some(2), true),
        "{}",
        slower.err
    );
}

#[test]
fn a_killed_run_is_readable_up_to_its_last_whole_record() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{}/", target());
    let out = dir.path().to_str().unwrap();
    let mut args = vec!["run", &url, "--rate", "100", "--duration", "60s", "--out", out];
    args.extend(APART);
    let mut child = hotspan(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let written = |child: &mut std::process::Child| {
        assert!(child.try_wait().unwrap().is_none(), "the run ended by itself");
        let runs = std::fs::read_dir(dir.path()).unwrap().flatten();
        let segments =
            runs.filter_map(|run| std::fs::read_dir(run.path().join("exchanges")).ok()).flatten().flatten();
        segments.filter_map(|segment| segment.metadata().ok()).any(|data| data.len() > 4_096)
    };
    wait_until(|| written(&mut child));
    child.kill().unwrap();
    child.wait().unwrap();
    let folder = only_run(dir.path());
    let analyzed = run(&["analyze", folder.to_str().unwrap()]);
    assert_eq!(analyzed.code, Some(0), "{}", analyzed.err);
    assert!(report(&folder)["telemetry"]["exchanges"].as_u64().unwrap() > 10);
}

#[test]
#[cfg(unix)]
fn an_interrupted_run_reports_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{}/", target());
    let mut args =
        vec!["run", &url, "--rate", "100", "--duration", "60s", "--out", dir.path().to_str().unwrap()];
    args.extend(APART.iter().filter(|arg| **arg != "--quiet"));
    let mut child = hotspan(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    // The first progress line is printed when load runs.
    while !line.contains("requests/s") {
        line.clear();
        assert!(progress.read_line(&mut line).unwrap() > 0, "hotspan ended before its first progress line");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    std::thread::spawn(move || progress.read_to_string(&mut String::new()));
    let ended = ran(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130), "{}", ended.out);
    assert_eq!(report(&only_run(dir.path()))["run"]["state"], "interrupted");
}

#[test]
fn the_demo_finds_its_fault_and_its_segments_sum_to_each_latency() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let demo = run(&["demo", "--fault", "n_plus_one", "--duration", "6s", "--quiet", "--out", out]);
    assert_eq!(demo.code, Some(0), "{}", demo.err);
    let folder = only_run(dir.path());
    let report = report(&folder);
    let headline = report["verdict"]["headline"].as_str().unwrap();
    assert!(headline.starts_with("products is slow because of the database"), "{headline}");
    assert!(report["telemetry"]["coverage"].as_f64().unwrap() > 0.99, "{}", report["telemetry"]);
    let n_plus_one = report["findings"].as_array().unwrap().iter().find(|f| f["kind"] == "n_plus_one_query");
    let contributor = n_plus_one.expect("a finding of the fault")["contributor"].to_string();
    assert!(contributor.contains("review"), "{contributor}");

    let truth = run(&["analyze", folder.to_str().unwrap(), "--truth"]);
    let steps: serde_json::Value = serde_json::from_str(&truth.out).unwrap();
    let steps = steps.as_array().unwrap();
    assert!(steps.iter().any(|step| step["exchanges"].as_u64().unwrap() > 10), "{}", truth.out);
    assert!(steps.iter().all(|step| step["identity_violations"] == 0), "{}", truth.out);
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < give_up, "waited for a minute");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Reports of one run each: structure is compared, times get no verdict, and what is not alike is refused.
#[test]
fn compare_reads_reports_and_refuses_what_is_not_alike() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/golden/bottleneck.json");
    let base: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&golden).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut report = base.clone();
        report["run"]["id"] = name.into();
        change(&mut report);
        let path = dir.path().join(name);
        std::fs::write(&path, report.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let one = write("one.json", &|_| ());
    let other = write("other.json", &|_| ());
    let more = write("more.json", &|report| {
        let step = report["steps"][0]["contributors"].as_array_mut().unwrap();
        let database = step.iter_mut().find(|c| c["category"] == "database").unwrap();
        database["calls_per_exchange"] = serde_json::json!(100.0);
    });
    let elsewhere = write("elsewhere.json", &|report| report["run"]["host"]["cores"] = 63.into());
    let out = dir.path().join("out");
    let same = run(&["compare", &one, "--out", out.to_str().unwrap(), "--", &other]);
    assert_eq!(same.code, Some(0), "{}{}", same.out, same.err);
    assert!(same.out.contains("One run on each side"), "{}", same.out);
    let document: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(out.join("compare.json")).unwrap()).unwrap();
    assert_eq!(document["schema"], "hotspan.compare/1");
    assert_eq!(document["verdict"]["status"], "cannot_tell");
    assert!(std::fs::read_to_string(out.join("compare.md")).unwrap().starts_with("## No regression shown"));
    assert_eq!(run(&["compare", &one, "--strict", "--", &other]).code, Some(3));
    let slower = run(&["compare", &one, "--", &more]);
    assert_eq!(slower.code, Some(99), "{}{}", slower.out, slower.err);
    assert!(slower.out.contains("is called 100 times instead of"), "{}", slower.out);
    let refused = run(&["compare", &one, "--", &elsewhere]);
    assert_eq!(refused.code, Some(3));
    assert!(
        refused.err.contains("different machines") && refused.err.contains("--allow machine"),
        "{}",
        refused.err
    );
    for several in ["machine", "coverage,machine"] {
        assert_eq!(run(&["compare", &one, "--allow", several, "--", &elsewhere]).code, Some(0));
    }
    let itself = run(&["compare", &one, "--", &one]);
    assert!(itself.code == Some(3) && itself.err.contains("both sides"), "{}", itself.err);
    let missing = run(&["compare", &one, "--", "no/such/run"]);
    assert!(missing.code == Some(1) && missing.err.contains("no/such/run"), "{}", missing.err);
    // Two names are the two sides; of more, somebody has to say which are which.
    assert_eq!(run(&["compare", &one, &other]).code, same.code);
    assert_eq!(run(&["compare", &one]).code, Some(1), "head is missing");
    let which = run(&["compare", &one, &other, &more]);
    assert!(which.code == Some(1) && which.err.contains("hotspan compare b1 b2 -- h1 h2"), "{}", which.err);
    let sides = run(&["ci", "http://127.0.0.1:9/", "--pairs", "1"]);
    assert!(sides.code == Some(1) && sides.err.contains("--base-command"), "{}", sides.err);
}
