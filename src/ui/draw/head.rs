//! The first lines: what is run, how it stands, which stage it is in and how long that still takes.

use super::super::canvas::{Canvas, Ink};
use super::super::model::Model;
use super::Part;
use crate::record::Nanos;
use crate::report::look::{count, ms, percent, rate};

/// How the run stands, in one word or a few.
fn state(model: &Model) -> (String, Ink) {
    let load = &model.load;
    if !model.status.is_empty() {
        ("load is over".into(), Ink::Bold)
    } else if load.stopping {
        ("stopping".into(), Ink::Caution)
    } else if load.paused {
        ("paused".into(), Ink::Caution)
    } else {
        ("running".into(), Ink::Good)
    }
}

/// Title, bar, and the stage in words.
pub fn draw(model: &Model, mut part: Part, canvas: &mut Canvas) {
    title(model, part.take(1), canvas);
    if part.lines > 1 {
        bar(model, part.take(1), canvas);
    }
    stage(model, part, canvas);
}

fn title(model: &Model, part: Part, canvas: &mut Canvas) {
    let (word, ink) = state(model);
    let dot = canvas.either('●', '*');
    let mut right = vec![(format!("{dot} "), ink), (word, Ink::Bold)];
    if model.load.factor != 1.0 {
        right.insert(0, (format!("load ×{}   ", factor(model.load.factor)), Ink::Caution));
    }
    let taken = canvas.line_to((part.right(), part.y), part.width(), &right);
    let room = part.width().saturating_sub(taken + 2);
    let name = canvas.foreign(&model.setup.name, room.saturating_sub(10));
    let used = canvas.line(
        (part.x, part.y),
        room,
        &[("hotspan ".into(), Ink::Dim), (name, Ink::Bold), ("  ".into(), Ink::Plain)],
    );
    let target = canvas.foreign(&model.setup.target, room.saturating_sub(used));
    canvas.put((part.x + used as u16, part.y), room.saturating_sub(used), &target, Ink::Dim);
}

/// A factor without digits that say nothing.
pub fn factor(factor: f64) -> String {
    let text = format!("{factor:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One piece for each stage, as long as the stage, filled as far as the schedule has come.
fn bar(model: &Model, part: Part, canvas: &mut Canvas) {
    let stages = &model.setup.stages;
    let whole = model.planned().0 as f64;
    if stages.is_empty() || whole <= 0.0 {
        return;
    }
    let (done, ahead, edge) = (canvas.either('━', '='), canvas.either('─', '-'), canvas.either('╋', '+'));
    let cells = part.width();
    let filled = (model.load.position.0 as f64 / whole * cells as f64).round().min(cells as f64) as usize;
    let ink = if model.load.paused { Ink::Caution } else { Ink::Good };
    canvas.put((part.x, part.y), cells, &ahead.to_string().repeat(cells), Ink::Dim);
    canvas.put((part.x, part.y), filled, &done.to_string().repeat(filled), ink);
    let mut at = 0.0;
    for stage in &stages[..stages.len() - 1] {
        at += stage.length.0 as f64;
        let cell = ((at / whole * cells as f64).round() as usize).min(cells.saturating_sub(1));
        let ink = if cell < filled { ink } else { Ink::Dim };
        canvas.put((part.x + cell as u16, part.y), 1, &edge.to_string(), ink);
    }
}

fn stage(model: &Model, part: Part, canvas: &mut Canvas) {
    let load = &model.load;
    if part.lines == 0 {
        return;
    }
    let mut time = vec![(clock(load.at), Ink::Bold)];
    if !model.setup.stages.is_empty() {
        time.push((format!(" of {}", clock(model.planned())), Ink::Plain));
    }
    match load.left {
        _ if !model.status.is_empty() || load.stopping => {}
        Some(left) => time.push((format!("   {} left", clock(Nanos(left.0 + 999_999_999))), Ink::Bold)),
        None if load.paused => time.push(("   standing".into(), Ink::Caution)),
        None => {}
    }
    let taken = canvas.line_to((part.right(), part.y), part.width(), &time);
    let room = part.width().saturating_sub(taken + 2);
    let words = match model.stage() {
        _ if !model.status.is_empty() => canvas.foreign(&model.status, room),
        Some((index, _)) if model.setup.stages.len() > 1 => {
            let number = format!("stage {} of {}: ", index + 1, model.setup.stages.len());
            number + &model.setup.stages[index].words
        }
        Some((index, _)) => model.setup.stages[index].words.clone(),
        None => "searching for the highest rate that holds".into(),
    };
    let words = canvas.foreign(&words, room);
    canvas.put((part.x, part.y), room, &words, Ink::Plain);
}

/// Minutes and seconds: `0:18`, `12:05`, `1:02:03`.
pub fn clock(time: Nanos) -> String {
    let seconds = time.0 / 1_000_000_000;
    match seconds / 3_600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// Where there is no room for a picture: the numbers that matter most, a line each.
pub fn tiny(model: &Model, canvas: &mut Canvas) {
    let (columns, _) = canvas.size();
    let width = usize::from(columns);
    let all = &model.series[0];
    let now = all.now();
    let (word, ink) = state(model);
    let left = model.load.left.map(|left| format!(" {} left", clock(left))).unwrap_or_default();
    let errors = if all.total.errors > 0 { Ink::Bad } else { Ink::Plain };
    let share = all.total.errors as f64 / all.total.done.max(1) as f64;
    let lines = [
        vec![(word, ink), (format!(" {}{left}", clock(model.load.at)), Ink::Plain)],
        vec![(
            format!("{} requests/s", rate(model.seconds.back().map_or(0.0, |second| second.done))),
            Ink::Bold,
        )],
        vec![(format!("p95 {} ms", ms(now.quantile(0.95).as_millis_f64())), Ink::Bold)],
        vec![(format!("{} errors, {}", count(all.total.errors), percent(share)), errors)],
        vec![("make the window larger".into(), Ink::Dim)],
    ];
    for (y, line) in lines.iter().enumerate() {
        canvas.line((0, y as u16), width, line);
    }
}
