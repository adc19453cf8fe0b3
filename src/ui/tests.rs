//! Frames as text, against golden files in `golden/`: `HOTSPAN_BLESS=1 cargo test --lib ui::` writes them anew; look at the
//! difference before you commit it.

use super::canvas::Look;
use super::draw::draw;
use super::keys::{View, Wish};
use super::model::{LoadLook, Model, Update};
use super::sample;
use crate::record::{GeneratorSample, Nanos};
use crate::report::ci::hostile_tests::hostile as every_hostile;
use crate::report::look::{self, char_width};
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};
use std::path::PathBuf;

const COLOR: Look = Look { color: true, unicode: true };

fn frame(model: &Model, view: View, look: Look, (columns, lines): (u16, u16)) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, columns, lines));
    draw(model, view, look, &mut buffer);
    buffer
}

/// The lines of a frame, as a terminal would show them.
fn lines(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    let line = |y| {
        let mut line = String::new();
        let mut skip = 0;
        for x in 0..area.width {
            let symbol = buffer[(x, y)].symbol();
            if skip > 0 {
                skip -= 1;
                continue;
            }
            line.push_str(symbol);
            skip = look::width(symbol).saturating_sub(1);
        }
        line.trim_end().to_owned()
    };
    (0..area.height).map(line).collect()
}

fn text(buffer: &Buffer) -> String {
    lines(buffer).join("\n") + "\n"
}

/// The same with ANSI codes, to look at as a picture.
fn painted(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            let mut codes = vec!["0".to_owned()];
            if cell.modifier.contains(Modifier::BOLD) {
                codes.push("1".into());
            }
            if cell.modifier.contains(Modifier::DIM) {
                codes.push("2".into());
            }
            if let Color::Indexed(n) = cell.fg {
                codes.push(format!("38;5;{n}"));
            }
            out.push_str(&format!("\u{1b}[{}m{}", codes.join(";"), cell.symbol()));
        }
        out.push_str("\u{1b}[0m\n");
    }
    out
}

fn check(file: &str, got: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/ui/golden").join(file);
    if std::env::var_os("HOTSPAN_BLESS").is_some() {
        std::fs::write(&path, got).unwrap();
        return;
    }
    let want = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; write it with HOTSPAN_BLESS=1", path.display()));
    assert_eq!(want, got, "{file}: look at the difference, then HOTSPAN_BLESS=1");
}

fn pressed(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

#[test]
fn a_run_in_the_usual_sizes() {
    let model = sample::model(25);
    let first = View::default();
    let second = View { row: 2, help: false };
    for (file, size, view, look) in [
        ("80x24.txt", (80, 24), first, COLOR),
        ("120x40.txt", (120, 40), second, COLOR),
        ("60x15.txt", (60, 15), first, COLOR),
        ("80x24.ascii.txt", (80, 24), second, Look { color: false, unicode: false }),
        ("80x24.mono.txt", (80, 24), first, Look { color: false, unicode: true }),
        ("80x24.help.txt", (80, 24), View { row: 0, help: true }, COLOR),
        ("60x20.help.txt", (60, 20), View { row: 0, help: true }, COLOR),
        ("30x5.txt", (30, 5), first, COLOR),
    ] {
        let buffer = frame(&model, view, look, size);
        if let Some(dir) = std::env::var_os("HOTSPAN_FRAMES") {
            std::fs::write(PathBuf::from(dir).join(file), painted(&buffer)).unwrap();
        }
        check(file, &text(&buffer));
    }
}

#[test]
fn a_run_at_its_ends() {
    let start = Model::new(sample::setup(&["GET /"]));
    check("start.80x24.txt", &text(&frame(&start, View::default(), COLOR, (80, 24))));
    let mut end = sample::model(60);
    end.apply(Update::Status("waiting for late spans: 12 of 6,000 requests have none yet".into()));
    end.apply(Update::Note("orders sends no spans: its time is part of the caller's network".into()));
    check("end.80x24.txt", &text(&frame(&end, View::default(), COLOR, (80, 24))));
}

#[test]
fn a_load_in_trouble() {
    let mut setup = sample::setup(&["GET /"]);
    setup.open_model = true;
    setup.expects_spans = false;
    let mut model = Model::new(setup);
    for n in 1..=20 {
        model.apply(Update::Load(LoadLook {
            at: sample::second(n),
            position: sample::second(9),
            left: None,
            factor: 1.5,
            paused: true,
            users: 812,
            users_planned: None,
            in_flight: 1_000,
            due: 500 * n,
            iterations: 300 * n,
            done: 300 * n,
            errors: 3 * n,
            late: 100 * n,
            not_sent: 7,
            ..LoadLook::default()
        }));
        let busy = GeneratorSample {
            span: sample::second(1),
            busiest_thread: 0.99,
            cpu_cores: 1.97,
            lag: Nanos::from_millis(81),
            ..GeneratorSample::default()
        };
        model.apply(Update::Generator(busy));
    }
    check("trouble.80x24.txt", &text(&frame(&model, View::default(), COLOR, (80, 24))));
}

/// Every size: nothing panics, and no line is longer than the terminal.
#[test]
fn any_size_has_a_frame() {
    let model = sample::model(25);
    for columns in (0..50).step_by(4).chain([1, 2, 43, 45, 60, 79, 80, 81, 119, 120, 300]) {
        for rows in (0..26).chain([29, 30, 31, 40, 100]) {
            for help in [false, true] {
                let view = View { row: 5, help };
                let buffer = frame(&model, view, COLOR, (columns, rows));
                let widest = lines(&buffer).iter().map(|line| look::width(line)).max().unwrap_or(0);
                assert!(widest <= usize::from(columns), "{columns}×{rows}");
            }
        }
    }
}

const HOSTILE: [&str; 14] = [
    "\u{1b}[2J\u{1b}[31mred",
    "\u{9b}2J",
    "\u{202e}evil\u{202c} \u{2066}x",
    "a\tb\r\nc\u{2028}d\u{85}e",
    "商品一覧を見る商品一覧を見る商品一覧を見る商品一覧を見る",
    "👩‍👩‍👧‍👦👍🏽🇩🇪🏳️‍🌈🇫🇷1️⃣",
    "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    "\u{301}\u{301}\u{301}",
    "﷽﷽﷽𒐫𒐫꧅",
    "\u{200b}\u{feff}\u{ad}",
    "\u{0}\u{7}\u{8}\u{8}\u{8}\u{c}\u{b}",
    "\u{e000}\u{f8ff}\u{10ffff}\u{fffe}",
    "",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

/// A character that a terminal acts on, or whose columns terminals do not agree on.
fn is_unsettled(c: char) -> bool {
    let code = u32::from(c);
    c.is_control()
        || c != ' ' && c.is_whitespace()
        || matches!(code, 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xfeff | 0xad)
        || matches!(code, 0x1f1e6..=0x1f1ff | 0x1f3fb..=0x1f3ff | 0xe000..=0xf8ff | 0xf0000..)
}

#[test]
fn hostile_names_stay_in_their_place() {
    let sober = sample::of(sample::setup(&["product", "b", "c", "d", "e"]), 25);
    let right_end = |buffer: &Buffer, line: usize| -> Vec<String> {
        let area = buffer.area;
        (area.width - 45..area.width).map(|x| buffer[(x, line as u16)].symbol().to_owned()).collect()
    };
    let all: Vec<String> = HOSTILE.into_iter().map(str::to_owned).chain(every_hostile()).collect();
    for hostile in all.iter().map(String::as_str) {
        let mut setup = sample::setup(&[hostile, "b", "c", "d", "e"]);
        (setup.name, setup.target) = (hostile.into(), hostile.into());
        setup.stages[1].words = hostile.into();
        let mut model = sample::of(setup, 25);
        model.apply(Update::Note(hostile.into()));
        let mut blame = sample::blame(0);
        for (who, _, _) in &mut blame.contributors {
            (who.name, who.service, who.system) = (hostile.into(), hostile.into(), hostile.into());
        }
        model.apply(Update::Blame(vec![blame]));
        for size in [(80, 24), (120, 40), (60, 15), (44, 10), (20, 4)] {
            for look in [COLOR, Look { color: false, unicode: false }] {
                let buffer = frame(&model, View { row: 1, help: false }, look, size);
                for (y, line) in lines(&buffer).iter().enumerate() {
                    let bad: Vec<char> = line.chars().filter(|c| is_unsettled(*c)).collect();
                    assert!(bad.is_empty(), "{hostile:?} leaves {bad:?} in line {y} of {size:?}");
                    assert!(look.unicode || line.is_ascii(), "{hostile:?}: {line}");
                    assert!(look::width(line) <= usize::from(size.0), "{hostile:?}: {line}");
                }
                // A wide character's second cell holds nothing.
                for y in 0..size.1 {
                    for x in 1..size.0 {
                        let before = buffer[(x - 1, y)].symbol().chars().next().map_or(1, char_width);
                        assert!(before < 2 || buffer[(x, y)].symbol() == " ", "{hostile:?} at {x},{y}");
                    }
                }
            }
        }
        // The numbers beside a hostile name stand where they stand beside a sober one.
        let (row, sober_row) = (
            frame(&model, View::default(), COLOR, (120, 40)),
            frame(&sober, View::default(), COLOR, (120, 40)),
        );
        let at = lines(&sober_row).iter().position(|line| line.starts_with("   product")).unwrap();
        let joined = |line: Vec<String>| line[37..].to_vec();
        assert_eq!(joined(right_end(&row, at)).len(), joined(right_end(&sober_row, at)).len());
        let p95 = |buffer: &Buffer| -> String {
            lines(buffer)[at].chars().rev().skip_while(|c| !c.is_ascii_digit()).take(2).collect()
        };
        assert_eq!(p95(&row).len(), p95(&sober_row).len(), "{hostile:?}");
    }
}

#[test]
fn keys_choose_and_wish() {
    let model = sample::model(5);
    let mut view = View::default();
    let mut press = |code| (view.key(pressed(code), &model), view.row, view.help);
    assert_eq!(press(KeyCode::Tab), (None, 1, false));
    assert_eq!(press(KeyCode::Down), (None, 2, false));
    assert_eq!(press(KeyCode::Up), (None, 1, false));
    assert_eq!(press(KeyCode::BackTab), (None, 0, false));
    assert_eq!(press(KeyCode::Up), (None, 5, false));
    assert_eq!(press(KeyCode::Down), (None, 0, false));
    assert_eq!(press(KeyCode::Char('?')), (None, 0, true));
    assert_eq!(press(KeyCode::Esc), (None, 0, false));
    for (key, wish) in [
        ('p', Wish::PauseOrResume),
        (' ', Wish::PauseOrResume),
        ('+', Wish::More),
        ('-', Wish::Less),
        ('n', Wish::NextStage),
        ('s', Wish::Stop),
        ('q', Wish::Interrupt),
    ] {
        assert_eq!(press(KeyCode::Char(key)), (Some(wish), 0, false), "{key}");
    }
    assert_eq!(press(KeyCode::Char('x')), (None, 0, false));
    let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
    assert_eq!(view.key(control('c'), &model), Some(Wish::Interrupt));
    assert_eq!(view.key(control('s'), &model), None, "flow control is no wish to stop");
}

#[test]
fn the_chosen_step_is_always_in_sight() {
    let names: Vec<String> = (0..60).map(|n| format!("step number {n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let model = sample::of(sample::setup(&names), 12);
    for row in 1..=60 {
        for size in [(80, 24), (120, 40), (60, 15)] {
            let shown = text(&frame(&model, View { row, help: false }, COLOR, size));
            let wanted = format!("▸ step number {:02}", row - 1);
            assert!(shown.contains(&wanted), "{wanted} is not in\n{shown}");
        }
    }
}

#[test]
fn a_minute_and_an_hour_hold_the_same_amount() {
    let mut model = sample::model(60);
    for n in 61..4_000 {
        model.apply(Update::Load(LoadLook { at: sample::second(n), ..sample::look(60) }));
        model.apply(Update::Blame(vec![sample::blame(1)]));
    }
    assert_eq!((model.seconds.len(), model.series[0].points.len()), (240, 240));
    // 20 s, both ends included.
    assert_eq!(model.divided(0).exchanges, 21 * 100);
    assert_eq!(model.contributors(2)[0].0.category, look::Category::Database);
}

#[test]
fn numbers_are_those_that_were_told() {
    let model = sample::model(25);
    let all = &model.series[0];
    let steps: u64 = model.series[1..].iter().map(|s| s.total.done).sum();
    assert_eq!(all.total.done, steps);
    assert_eq!(all.run.len(), steps);
    assert_eq!(all.sums.iter().map(|s| s.done).sum::<u64>(), steps);
    assert_eq!(all.points.len(), 25);
    let divided = model.divided(2);
    let owners: u64 = model.contributors(2).iter().map(|(_, _, time)| time.0).sum();
    assert_eq!(divided.categories.total().0, owners, "contributors sum to the latency");
    assert_eq!(model.stage(), Some((1, 0.5)));
}
