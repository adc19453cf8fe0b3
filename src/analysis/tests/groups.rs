//! What goes with slow, on requests of which that is known.

use crate::analysis::groups::{Group, Groups, Values};
use crate::analysis::result::{Analysis, Feature};
use crate::analysis::testing::{Owned, exchange, run, trace};
use crate::analysis::{Analyzer, Partial, Partition};
use crate::record::{Attribute, Span, SpanKind, Value};
use crate::stats::Random;
use std::collections::BTreeMap;
use std::sync::Arc;

const MS: u64 = 1_000_000;

/// One request: its length, statements, the host that served it, whether its connection was new.
type Request = (u64, u64, &'static str, bool);

fn load(n: u64, request: impl Fn(u64) -> Request) -> Analysis {
    let run = run(1);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    let mut spans = Vec::new();
    for i in 0..n {
        let (length, statements, host, new) = request(i);
        let at = i * 1_000 * MS;
        let mut one = exchange(i * 100 + 1, at, at + length * MS);
        one.trace_id = trace(i);
        one.connection_reused = !new;
        analyzer.exchange(&one);
        let mut server =
            Owned::new(i * 100 + 2, i * 100 + 1, SpanKind::Server, "shop", "GET /", at, at + length * MS);
        server.trace = trace(i);
        server.host = host.to_owned();
        spans.push(server);
        for s in 0..statements {
            let from = at + s * MS;
            let mut one = Owned::new(
                i * 100 + 10 + s,
                i * 100 + 2,
                SpanKind::Client,
                "shop",
                "SELECT",
                from,
                from + MS,
            );
            one.trace = trace(i);
            one.host = host.to_owned();
            one.attributes = vec![
                ("db.system.name", Value::Str("postgresql")),
                ("db.query.text", Value::Str("SELECT 1 FROM t")),
            ];
            spans.push(one);
        }
    }
    spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
    analyzer.finish().into_analysis(&run)
}

/// Spread that has nothing to do with anything else.
fn sway(i: u64) -> u64 {
    Random::new(i).bits() >> 60
}

#[test]
fn a_slow_instance_goes_with_slow() {
    let hosts = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let of = |i: u64| hosts[(sway(i * 7 + 3) % 8) as usize];
    let analysis = load(2_000, |i| (30 + sway(i) + if of(i) == "c" { 60 } else { 0 }, 3, of(i), i % 3 == 0));
    let found = &analysis.steps[0].associations;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].feature, Feature::Instance("shop".into(), "c".into()));
    assert!(found[0].covers > 0.95 && found[0].slow_share_without < 0.02 && found[0].p < 1e-9);
}

#[test]
fn another_shape_goes_with_slow_and_tells_how_it_differs() {
    let more = |i: u64| sway(i * 5 + 1) == 0;
    let analysis = load(2_000, |i| {
        (30 + sway(i) + if more(i) { 40 } else { 0 }, if more(i) { 16 } else { 2 }, "a", false)
    });
    let step = &analysis.steps[0];
    assert_eq!(step.shapes.len(), 2);
    let [usual, other] = &step.shapes[..] else { panic!() };
    assert_eq!((usual.exchanges + other.exchanges, usual.differs.len()), (2_000, 0));
    assert_eq!((other.differs.len(), other.differs[0].1, other.differs[0].2), (1, 2, 16));
    assert_eq!(step.associations[0].feature, Feature::Shape(other.hash.unwrap()));
}

#[test]
fn chance_is_not_told_and_neither_are_a_few() {
    for seed in 0..20 {
        let of = |i: u64| ["a", "b", "c", "d"][(sway(i * 11 + seed) % 4) as usize];
        let analysis = load(800, |i| {
            (30 + sway(i + seed * 997), 1 + sway(i * 3 + seed) % 3, of(i), sway(i * 13 + seed) < 4)
        });
        assert_eq!(analysis.steps[0].associations, [], "seed {seed}");
    }
    // All twelve requests of an instance are slow: too few to say so.
    let analysis =
        load(800, |i| if i % 66 == 0 { (99, 1, "b", false) } else { (30 + sway(i), 1, "a", false) });
    assert_eq!(analysis.steps[0].associations, []);
}

#[test]
fn very_many_shapes_stay_bounded() {
    let analysis = load(100, |i| (30 + sway(i), 1 + i % 40, "a", false));
    let shapes = &analysis.steps[0].shapes;
    assert!(shapes.len() <= 9, "counts fall into powers of two: {}", shapes.len());
    assert_eq!(shapes.iter().map(|s| s.exchanges).sum::<u64>(), 100);
}

/// A load in shares; of each request its length, user, URL and the version of the service that served it.
fn served(n: u64, shares: u32, request: impl Fn(u64) -> (u64, u32, String, &'static str)) -> Analysis {
    let run = run(1);
    let mut whole: Option<Partial> = None;
    for index in 0..shares {
        let mut analyzer = Analyzer::new(&run, Partition { index, of: shares });
        let requests: Vec<_> = (0..n).map(&request).collect();
        for (i, (length, user, url, _)) in (0..n).zip(&requests) {
            let mut one = exchange(i * 100 + 1, i * 1_000 * MS, (i * 1_000 + length) * MS);
            one.trace_id = trace(i);
            one.user = *user;
            one.url = url.as_str().into();
            analyzer.exchange(&one);
        }
        for (i, (length, _, _, version)) in (0..n).zip(&requests) {
            let (from, to) = (i * 1_000 * MS, (i * 1_000 + length) * MS);
            let mut server =
                Owned::new(i * 100 + 2, i * 100 + 1, SpanKind::Server, "shop", "GET /", from, to);
            server.trace = trace(i);
            server.lend(|span| {
                let mut resource = span.resource.clone();
                resource.attributes.push(Attribute { key: "service.version", value: Value::Str(version) });
                analyzer.span(&Span { resource: &resource, ..*span });
            });
        }
        let part = analyzer.finish();
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => whole.merge(part),
        }
    }
    whole.unwrap().into_analysis(&run)
}

#[test]
fn a_version_a_user_and_data_go_with_slow() {
    let url = |i: u64| format!("http://shop/products/{}", sway(i * 3 + 1) % 12);
    let slow_if = |slow: bool, i: u64| 30 + sway(i) + if slow { 80 } else { 0 };
    let first = |analysis: &Analysis| analysis.steps[0].associations[0].feature.clone();
    let version = |i: u64| if sway(i * 7 + 2) < 2 { "2.0" } else { "1.9" };
    let analysis =
        served(1_500, 1, |i| (slow_if(version(i) == "2.0", i), (i % 5) as u32, url(i), version(i)));
    assert_eq!(first(&analysis), Feature::Process("shop".into(), "service.version".into(), "2.0".into()));
    let user = |i: u64| (sway(i * 13 + 5) % 8) as u32;
    let analysis = served(1_500, 1, |i| (slow_if(user(i) == 3, i), user(i), url(i), "1"));
    assert_eq!(first(&analysis), Feature::User(3));
    let analysis = served(1_500, 1, |i| (slow_if(url(i).ends_with("/7"), i), user(i), url(i), "1"));
    assert_eq!(first(&analysis), Feature::Url("http://shop/products/7".into()));
    // Each request its own URL: none has support.
    let own = |i: u64| format!("http://shop/products/{i}");
    let analysis = served(1_500, 1, |i| (slow_if(user(i) == 3, i), 0, own(i), "1"));
    assert_eq!(analysis.steps[0].associations, []);
}

#[test]
fn urls_are_counted_whole_whatever_the_shares() {
    // Every other request asks for something of its own: more URLs than are told apart.
    let hot = |i: u64| i.is_multiple_of(2).then(|| sway(i * 3 + 1) % 12);
    let url = |i: u64| match hot(i) {
        Some(product) => format!("http://shop/products/{product}"),
        None => format!("http://shop/orders/{i}"),
    };
    let slow = |i: u64| hot(i).is_some_and(|product| product < 3);
    let request = |i: u64| (30 + sway(i) + if slow(i) { 80 } else { 0 }, 0, url(i), "1");
    let of = |shares| served(3_000, shares, request).steps[0].clone();
    let whole = of(1);
    assert!(!whole.associations.is_empty());
    for shares in [2, 3] {
        let parts = of(shares);
        assert_eq!((parts.associations, parts.shapes), (whole.associations.clone(), whole.shapes.clone()));
    }
}

/// Requests whose server spans say which plan their customer has, on which shard it lies and what the request's own number is.
fn told(shares: u32, length: impl Fn(&str, i64) -> u64) -> Analysis {
    let run = run(1);
    let mut whole: Option<Partial> = None;
    for index in 0..shares {
        let mut analyzer = Analyzer::new(&run, Partition { index, of: shares });
        let mut spans = Vec::new();
        for i in 0..1_500u64 {
            let plan = ["free", "team", "gold"][(sway(i * 5 + 3) % 3) as usize];
            let shard = (sway(i * 11 + 1) % 16) as i64;
            let (at, length) = (i * 1_000 * MS, (30 + sway(i) + length(plan, shard)) * MS);
            let mut one = exchange(i * 100 + 1, at, at + length);
            one.trace_id = trace(i);
            analyzer.exchange(&one);
            let mut server =
                Owned::new(i * 100 + 2, i * 100 + 1, SpanKind::Server, "shop", "GET /", at, at + length);
            server.trace = trace(i);
            server.attributes = vec![
                ("http.request.method", Value::Str("GET")),
                ("http.response.body.size", Value::Int(length as i64)),
                ("shop.plan", Value::Str(plan)),
                ("request.number", Value::Int(i as i64)),
            ];
            let mut inner = server.clone();
            (inner.id, inner.parent, inner.kind) = (server.id + 1, server.id, SpanKind::Internal);
            inner.attributes = vec![("shard", Value::Int(shard))];
            spans.extend([server, inner]);
        }
        spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
        let part = analyzer.finish();
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => whole.merge(part),
        }
    }
    whole.unwrap().into_analysis(&run)
}

#[test]
fn what_the_makers_say_of_a_request_goes_with_slow() {
    let gold = |plan: &str, _: i64| if plan == "gold" { 80 } else { 0 };
    let attribute = |key: &str, value: &str| Feature::Attribute("shop".into(), key.into(), value.into());
    let analysis = told(1, gold);
    let first = &analysis.steps[0].associations[0];
    assert_eq!(first.feature, attribute("shop.plan", "gold"));
    assert!(first.covers > 0.9 && first.slow_share_without < 0.01, "{first:?}");
    // Whatever the shares.
    assert_eq!(told(3, gold).steps[0].associations, analysis.steps[0].associations);
    let shard = told(2, |_, shard| if shard == 11 { 80 } else { 0 });
    assert_eq!(shard.steps[0].associations[0].feature, attribute("shard", "11"));
    // What each request has of its own, and what conventions define, goes with nothing; nor does what makes no difference.
    let analysis = told(1, |_, _| 0);
    assert_eq!(analysis.steps[0].associations, []);
}

#[test]
fn an_attribute_of_many_values_is_none_in_any_order() {
    let group = Group { exchanges: 30, slow: 9, latency: 1 };
    let of = |values: std::ops::Range<u32>| {
        let mut groups = Groups::<u32>::default();
        for value in values {
            let values = BTreeMap::from([(Arc::from(value.to_string()), group)]);
            groups.attribute(("shop".into(), "k".into()), Values { many: false, groups: values });
        }
        groups
    };
    let merged = |parts: Vec<Groups<u32>>| {
        let mut sum = Groups::default();
        parts.into_iter().for_each(|part| sum.merge(part));
        sum.attributes
    };
    let few = merged(vec![of(0..20), of(10..32)]);
    assert_eq!(few[&("shop".into(), "k".into())].groups.len(), 32);
    let many = merged(vec![of(0..33)]);
    assert!(many[&("shop".into(), "k".into())].groups.is_empty());
    assert_eq!(merged(vec![of(0..20), of(20..40), of(0..2)]), many);
    assert_eq!(merged(vec![of(0..40), of(0..2)]), many);
}
