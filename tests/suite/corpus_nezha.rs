//! Minutes of two systems with a fault injected (Nezha, IntelligentDDS), analysed and compared with a minute without a fault by
//! the program, as anybody would: which service is the first that `compare` names? Spans there have neither kinds nor attributes.

use crate::cli::run;
use crate::corpus_critical_path::{corpus, read};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The run folder that `analyze` makes of a file of traces.
fn analyse(file: &Path, out: &Path) -> PathBuf {
    let out = out.join(file.file_name().unwrap());
    let ran = run(&["analyze", file.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}: {}", file.display(), ran.err);
    std::fs::read_dir(&out).unwrap().next().unwrap().unwrap().path()
}

/// Services in `compare`'s order, with what speaks against each.
fn suspects(base: &Path, head: &Path) -> Vec<(String, Option<f64>)> {
    let ran = run(&["compare", base.to_str().unwrap(), head.to_str().unwrap(), "--format", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.err));
    let services = answer["services"].as_array().unwrap().iter();
    services.map(|s| (s["service"].as_str().unwrap().to_owned(), s["suspicion_ms"].as_f64())).collect()
}

#[test]
fn the_faulty_service_is_ranked_first() {
    let Some(folder) = corpus("nezha") else { return };
    let temporary = tempfile::tempdir().unwrap();
    let labels = read(&folder.join("labels.json"));
    let baselines = [
        ("OnlineBoutique", "", "baseline_OnlineBoutique_2022-08-23_17_00.csv.gz"),
        ("TrainTicket", "2023-01-29", "baseline_TrainTicket_2023-01-29_08_50.csv.gz"),
        ("TrainTicket", "2023-01-30", "baseline_TrainTicket_2023-01-30_11_39.csv.gz"),
    ];
    let baselines =
        baselines.map(|(system, day, file)| (system, day, analyse(&folder.join(file), temporary.path())));
    // Minutes, those with the service first, those with it among three.
    let mut found: BTreeMap<(String, String), (u32, u32, u32)> = BTreeMap::new();
    for label in labels.as_array().unwrap() {
        let text = |key: &str| label[key].as_str().unwrap();
        let (file, system, fault) = (text("file"), text("system"), text("fault"));
        let baseline = baselines.iter().find(|b| b.0 == system && file.starts_with(b.1)).unwrap();
        let ranked = suspects(&baseline.2, &analyse(&folder.join(file), temporary.path()));
        let place = ranked.iter().position(|(service, _)| *service == text("root_cause_service"));
        let counts = found.entry((system.to_owned(), fault.to_owned())).or_default();
        counts.0 += 1;
        counts.1 += u32::from(place == Some(0));
        counts.2 += u32::from(place.is_some_and(|p| p < 3));
        let first: Vec<String> = ranked
            .iter()
            .take(3)
            .map(|(service, ms)| format!("{service} {:+.0} ms", ms.unwrap_or(0.0)))
            .collect();
        eprintln!("{file} {fault} {}: place {place:?}; {}", text("root_cause_service"), first.join(", "));
    }
    for ((system, fault), (minutes, first, three)) in &found {
        eprintln!("{system} {fault}: first in {first} of {minutes}, among three in {three}");
    }
    let of = |system: &str, fault: &str| found[&(system.to_owned(), fault.to_owned())];
    for (system, fault) in [
        ("OnlineBoutique", "network_delay"),
        ("OnlineBoutique", "cpu_consumed"),
        ("TrainTicket", "network_delay"),
    ] {
        let (minutes, first, _) = of(system, fault);
        assert!(first * 10 >= minutes * 9, "{system} {fault}: {first} of {minutes}");
    }
    let (minutes, _, three) = of("OnlineBoutique", "cpu_contention");
    assert!(three * 10 >= minutes * 8, "cpu_contention: {three} of {minutes}");
}
