//! Statements without their data, against the vectors of OpenTelemetry's semantic conventions.

use super::corpus_critical_path::{corpus, read};
use hotspan::analysis::statement::normalise;

/// Every vector agrees but for white space, which the conventions keep and we do not: one name per statement is the aim.
#[test]
fn semantic_conventions_vectors() {
    let Some(path) = corpus("semconv/db-sql-test-cases.json") else { return };
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    let mut seen = 0;
    for case in read(&path).as_array().unwrap() {
        let query = case["input"]["query"].as_str().unwrap();
        let got = normalise(case["input"]["db.system.name"].as_str().unwrap(), query);
        let allowed = case["expected"]["db.query.text"].as_array().unwrap();
        let agrees = allowed.iter().any(|a| squeezed(a.as_str().unwrap()) == squeezed(&got));
        assert!(agrees, "{}: {got:?} is none of {allowed:?}", case["name"]);
        seen += 1;
    }
    assert_eq!(seen, 24);
}
