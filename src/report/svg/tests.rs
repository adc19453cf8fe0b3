//! Pictures are well-formed, carry the report's numbers, and hostile texts do not leave their places.

use super::*;
use crate::report::ci::hostile_tests::hostile as hostile_texts;
use crate::report::export::tests::with_paths as with_requests;
use crate::report::sample::{self, Sample};
use crate::report::xml_reader::elements;
use std::collections::BTreeSet;

/// All values of an attribute of one kind of mark.
fn values(svg: &str, marked: &str, name: &str) -> Vec<f64> {
    let of_mark = svg.split('<').filter(|tag| tag.contains(marked));
    of_mark
        .filter_map(|tag| tag.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?.parse().ok())
        .collect()
}

fn named<'p>(pictures: &'p [Picture], name: &str) -> &'p str {
    &pictures.iter().find(|picture| picture.name.starts_with(name)).unwrap_or_else(|| panic!("no {name}")).svg
}

#[test]
fn every_sample_is_drawn_as_well_formed_files_of_their_own() {
    for sample in sample::all() {
        let all = pictures(&sample.report());
        let names: BTreeSet<&str> = all.iter().map(|picture| picture.name.as_str()).collect();
        assert_eq!(names.len(), all.len(), "{}: two files of one name", sample.name);
        for picture in &all {
            assert_eq!(elements(&picture.svg)[0], (0, "svg".into()), "{}", picture.name);
            assert!(picture.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{}", picture.name);
            for outside in ["href", "url(", "@import", "<script", "<image", "foreignObject", "NaN", "inf\""] {
                assert!(!picture.svg.contains(outside), "{}: {outside}", picture.name);
            }
        }
        let whole = svg(&sample.report());
        assert_eq!(whole, svg(&sample.report()));
        assert_eq!(elements(&whole).iter().filter(|(depth, _)| *depth == 0).count(), 1);
        assert_eq!(whole.matches("class=\"h\"").count(), all.len());
    }
}

#[test]
fn marks_carry_the_numbers_of_report_json() {
    let sample = with_requests(None);
    let json: serde_json::Value = serde_json::from_str(&crate::report::json(&sample.report())).unwrap();
    let all = pictures(&sample.report());
    for (at, step) in json["steps"].as_array().unwrap().iter().enumerate() {
        if step["exchanges"] == 0 {
            continue;
        }
        let mark = format!(" data-step=\"{at}\"");
        let categories = step["categories"].as_object().unwrap().values();
        let mut wanted: Vec<f64> =
            categories.map(|c| c["mean_ms"].as_f64().unwrap()).filter(|v| *v > 0.0).collect();
        let mut shown = values(named(&all, "blame"), &mark, "data-ms");
        shown.retain(|v| *v > 0.0);
        // Members of an object have no order.
        wanted.sort_by(f64::total_cmp);
        shown.sort_by(f64::total_cmp);
        assert_eq!(shown, wanted, "{at}");
        let line = named(&all, "latency");
        for key in ["p50", "p95", "p99", "max"] {
            let wanted = step["latency_ms"][key].as_f64().unwrap();
            assert_eq!(values(line, &mark, &format!("data-{key}")), [wanted], "{at}: {key}");
        }
    }
    // 3 ms of the code's own, 7.0004 ms of the database, over 10 requests.
    let flame = named(&all, "flame-1");
    assert_eq!(values(flame, "class=\"", "data-own-ms"), [0.0, 3.0, 7.0]);
    assert_eq!(values(flame, "class=\"", "data-mean-ms"), [1.0, 1.0, 0.7]);
    // The path of a request is its whole latency.
    let request = named(&all, "request-1");
    assert_eq!(values(request, "data-path-ms", "data-path-ms").iter().sum::<f64>(), 10.0);
    assert!(request.contains("4bf92f3577b34da6a3ce929d0e0e4736"));
}

#[test]
fn hostile_texts_stay_texts() {
    let of = |sample: &Sample| -> Vec<Vec<(usize, String)>> {
        pictures(&sample.report()).iter().map(|picture| elements(&picture.svg)).collect()
    };
    let plain = of(&with_requests(Some("name")));
    assert!(plain.len() > 4);
    for text in hostile_texts() {
        assert_eq!(of(&with_requests(Some(&text))), plain, "{:?}", text.chars().take(40).collect::<String>());
    }
}

#[test]
fn scales_are_round() {
    assert_eq!(ticks(10.0, 5.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    assert_eq!(ticks(0.0, 5.0), [0.0]);
    assert_eq!((number(0.25), number(2_500.0), number(3.0)), ("0.25".into(), "2500".into(), "3".into()));
    assert_eq!((slug("GET /products?page={n}"), slug("商品")), ("get-products-page-n".into(), "step".into()));
}
