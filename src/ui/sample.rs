//! A run to draw: the demo's shop with an N+1 query, in the middle of its second stage.

use super::model::{LoadLook, Model, Setup, SpanCounts, StageInfo, StepBlame, StepSum, Update};
use crate::record::{GeneratorSample, Nanos, StepId};
use crate::report::look::{ByCategory, Category, Contributor};
use crate::stats::Histogram;

const STEPS: [&str; 5] = ["GET /products", "product", "POST /login", "POST /orders", "POST /logout"];

/// The run before its load.
pub fn setup(names: &[&str]) -> Setup {
    let stage = |words: &str, seconds: u64| StageInfo { words: words.into(), length: second(seconds) };
    Setup {
        name: "shop".into(),
        target: "http://127.0.0.1:8080".into(),
        steps: names.iter().map(|name| ("browse".to_owned(), (*name).to_owned())).collect(),
        stages: vec![
            stage("20 users after a ramp of 10 s", 10),
            stage("20 users", 30),
            stage("40 users after a ramp of 10 s", 20),
        ],
        open_model: false,
        expects_spans: true,
        may_change: true,
    }
}

/// Whole seconds.
pub fn second(n: u64) -> Nanos {
    Nanos::from_millis(n * 1_000)
}

/// How the load stands after so many seconds.
pub fn look(n: u64) -> LoadLook {
    let users = (2 * n).min(20);
    LoadLook {
        at: second(n),
        position: second(n),
        left: Some(second(60 - n.min(60))),
        factor: 1.0,
        users,
        users_planned: Some(users),
        in_flight: users.saturating_sub(3),
        iterations: 30 * n,
        done: 100 * n,
        errors: n / 2,
        ..LoadLook::default()
    }
}

/// Exchanges of a step in a second: a bell around `center` ms with a long end.
fn sums(step: u16, n: u64, center: u64, count: u64) -> StepSum {
    let mut latency = Histogram::coarse();
    for i in 0..count {
        let wave = (n * 7 + i * 13 + u64::from(step) * 5) % 20;
        let busy = center * n.min(20) * n.min(20) / 400 + center * ((n * 5) % 7) / 20;
        let slow = if i % 10 == 9 { center * ((n * 3) % 5) / 3 } else { 0 };
        latency.record(Nanos((center + slow + busy) * 1_000_000 / 2 + center * wave * 50_000));
    }
    StepSum {
        step: StepId(step),
        latency,
        errors: if step == 3 && n % 6 == 1 { 1 + n % 4 } else { 0 },
        checks_failed: 0,
    }
}

/// Who spent some of a step's latency: category, service, system, name, calls in 100 exchanges, microseconds in each.
type Spent = (Category, &'static str, &'static str, &'static str, u64, u64);

const SPENT: [&[Spent]; 3] = [
    &[
        (
            Category::Database,
            "catalogue",
            "sqlite",
            "SELECT id, name, price FROM product WHERE category = ?",
            100,
            4_200,
        ),
        (Category::App, "shop", "", "GET /products", 100, 2_100),
        (Category::Cache, "shop", "redis", "GET category", 100, 300),
        (Category::Network, "shop", "http", "catalogue", 100, 900),
        (Category::Untraced, "", "", "", 0, 100),
    ],
    &[
        (
            Category::Database,
            "catalogue",
            "sqlite",
            "SELECT author, stars FROM review WHERE product_id = ?",
            2_600,
            31_000,
        ),
        (Category::App, "catalogue", "", "GET /products/{id}", 100, 5_200),
        (Category::Network, "shop", "http", "catalogue", 100, 1_900),
        (Category::Queue, "catalogue", "sqlite", "acquire connection", 100, 1_400),
    ],
    &[
        (Category::App, "account", "", "hash password", 100, 12_000),
        (Category::External, "payment", "http", "POST payments.example/charges", 40, 9_000),
        (Category::Database, "account", "sqlite", "SELECT id FROM user WHERE name = ?", 100, 700),
        (Category::Connection, "", "", "", 0, 250),
    ],
];

/// Blame of a hundred exchanges of a step.
pub fn blame(step: u16) -> StepBlame {
    let mut categories = ByCategory::default();
    let spent = SPENT[usize::from(step).min(2)];
    let contributors = spent
        .iter()
        .map(|(category, service, system, name, calls, micros)| {
            let time = Nanos(micros * 100_000);
            categories.add(*category, time);
            let who = Contributor {
                category: *category,
                service: (*service).into(),
                system: (*system).into(),
                name: (*name).into(),
                code: "".into(),
            };
            (who, *calls, time)
        })
        .collect();
    StepBlame { step: StepId(step), exchanges: 100, joined: 98, categories, contributors }
}

/// The run after so many seconds.
pub fn model(seconds: u64) -> Model {
    of(setup(&STEPS), seconds)
}

/// Any run after so many seconds: its first five steps have exchanges.
pub fn of(setup: Setup, seconds: u64) -> Model {
    let steps = setup.steps.len().min(5) as u16;
    let mut model = Model::new(setup);
    for n in 1..=seconds {
        let sums = (0..steps)
            .map(|step| sums(step, n, [8, 36, 21, 24, 4][usize::from(step)], 4 + n.min(10) + n % 3));
        model.apply(Update::Exchanges(sums.collect()));
        model.apply(Update::Load(look(n)));
        if n >= 4 {
            model.apply(Update::Blame((0..steps).map(blame).collect()));
            model.apply(Update::Spans(SpanCounts {
                stored: n * 1_234,
                traced: n * 100,
                joined: n * 98,
                ..SpanCounts::default()
            }));
        }
        model.apply(Update::Generator(GeneratorSample {
            at: second(n),
            span: second(1),
            cpu_cores: 0.42,
            busiest_thread: 0.31,
            lag: Nanos(410_000),
            ..GeneratorSample::default()
        }));
    }
    model
}
