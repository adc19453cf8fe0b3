//! The last lines: a note, the generator and the receiver, and the keys.

use super::super::canvas::{Canvas, Ink};
use super::super::keys::View;
use super::super::model::Model;
use super::Part;
use super::head::factor;
use crate::record::GeneratorLimit;
use crate::report::look::{count, percent};

/// Columns between two keys.
const GAP: usize = 2;

/// Whatever fits of the three.
pub fn draw(model: &Model, view: View, mut part: Part, canvas: &mut Canvas) {
    keys(model, view, part.take_last(1), canvas);
    if part.lines > 1 {
        note(model, part.take(1), canvas);
    }
    health(model, part, canvas);
}

fn note(model: &Model, part: Part, canvas: &mut Canvas) {
    let Some(note) = model.notes.back() else { return };
    let mark = canvas.either('›', '>');
    canvas.put((part.x, part.y), 1, &mark.to_string(), Ink::Caution);
    let note = canvas.foreign(note, part.width().saturating_sub(2));
    canvas.put((part.x + 2, part.y), part.width(), &note, Ink::Plain);
}

fn health(model: &Model, part: Part, canvas: &mut Canvas) {
    if part.lines == 0 {
        return;
    }
    let spans = spans(model);
    let taken: usize = spans.iter().map(|(text, _)| canvas.width(text)).sum();
    let room = part.width();
    let generator = generator(model, room.saturating_sub(taken + 3), canvas);
    canvas.line((part.x, part.y), room, &generator);
    let used: usize = generator.iter().map(|(text, _)| canvas.width(text)).sum();
    if used + 3 + taken <= room {
        canvas.line_to((part.right(), part.y), room, &spans);
    }
}

/// What limits the generator, or the numbers that say that nothing does.
fn generator(model: &Model, room: usize, canvas: &Canvas) -> Vec<(String, Ink)> {
    let look = &model.generator;
    let (word, ink) = match model.limit() {
        None if look.span.0 == 0 => ("-", Ink::Dim),
        None => ("well", Ink::Good),
        Some(GeneratorLimit::Cpu(_)) => ("out of CPU", Ink::Bad),
        Some(GeneratorLimit::RunQueue(_)) => ("waits for a core", Ink::Bad),
        Some(GeneratorLimit::Lag(_)) => ("event loop late", Ink::Bad),
        Some(GeneratorLimit::Ports(_)) => ("out of ports", Ink::Bad),
        Some(GeneratorLimit::Late(_)) => ("late", Ink::Bad),
    };
    let mut parts = vec![("Generator ".into(), Ink::Dim), (word.to_owned(), ink)];
    if look.span.0 == 0 {
        return parts;
    }
    let more = [
        format!("  CPU {}", percent(look.busiest_thread)),
        format!("  lag {}", look.lag),
        format!("  {:.2} cores", look.cpu_cores),
    ];
    let mut used: usize = parts.iter().map(|(text, _)| canvas.width(text)).sum();
    for text in more {
        used += canvas.width(&text);
        if used > room {
            break;
        }
        parts.push((text, Ink::Plain));
    }
    parts
}

fn spans(model: &Model) -> Vec<(String, Ink)> {
    let spans = &model.spans;
    if !model.setup.expects_spans {
        return vec![("no server spans expected".into(), Ink::Dim)];
    }
    let share = spans.joined as f64 / spans.traced.max(1) as f64;
    let mut parts = vec![
        ("Spans ".into(), Ink::Dim),
        (count(spans.stored), Ink::Plain),
        ("  joined ".into(), Ink::Dim),
        (percent(share), Ink::Plain),
    ];
    if spans.lost + spans.bad_requests > 0 {
        parts.push((format!("  lost {}", count(spans.lost + spans.bad_requests)), Ink::Bad));
    }
    parts
}

/// The keys, those that matter most first; as many as fit.
fn keys(model: &Model, view: View, part: Part, canvas: &mut Canvas) {
    let pause = if model.load.paused { "go on" } else { "pause" };
    let more = format!("load ×{}", factor(model.load.factor));
    let can = model.setup.may_change && model.status.is_empty();
    let all = [
        ("q", if model.status.is_empty() { "quit" } else { "do not wait" }, true),
        ("?", if view.help { "close help" } else { "help" }, true),
        ("s", "stop, report", model.status.is_empty()),
        ("p", pause, can),
        ("+/-", &more, can),
        ("n", "next stage", can && model.setup.stages.len() > 1),
        ("↑↓", "step", true),
    ];
    // Their order on the line is another one than that in which they are given up.
    let order = [3, 4, 5, 2, 6, 1, 0];
    let width = |(key, word, _): &(&str, &str, bool)| canvas.width(key) + 1 + canvas.width(word) + GAP;
    let mut room = part.width() + GAP;
    let mut fits = [false; 7];
    for (i, entry) in all.iter().enumerate().filter(|(_, entry)| entry.2) {
        let columns = width(entry);
        if columns <= room {
            room -= columns;
            fits[i] = true;
        }
    }
    let mut at = part.x;
    for i in order.into_iter().filter(|i| fits[*i]) {
        let (key, word, _) = all[i];
        let used = canvas.line(
            (at, part.y),
            part.width(),
            &[(key.to_owned(), Ink::Bold), (format!(" {word}"), Ink::Dim)],
        );
        at += (used + GAP) as u16;
    }
}
