//! Blame as pictures: bars in, one letter for each moment out.

use crate::analysis::result::Category;
use crate::analysis::testing::{Owned, exchange, run};
use crate::analysis::{Analyzer, Blame, Partition, blame_exchange};
use crate::record::{Exchange, Span, SpanKind, Timestamp, Value};

/// An exchange and its spans, drawn.
///
/// The first line is the exchange: `.` it was late, `o` it connected, `=` it waited, `+` the answer came in. Every other
/// line is a span, indented under its parent: kind, service, then bars. Kinds are `S`erver, `C`lient (an HTTP call),
/// `I`nternal, `P`roducer, `M` consumer, `U`nspecified; `D` is a client span of a database, `R` of Redis, `Q` an internal
/// span named `pool acquire`. `@host+9` gives a host whose clock is 9 ahead; `!429` a status, `~` a resend, `^` a missing
/// parent.
fn parse(picture: &str) -> (Exchange, Vec<Owned>) {
    let mut lines = picture.lines().filter(|l| l.contains('|'));
    let client = lines.next().unwrap().split('|').nth(1).unwrap();
    let at = |c: char| client.find(c).map(|i| i as u64 + 1000);
    let end = client.trim_end().len() as u64 + 1000;
    let first = at('.').or(at('o')).or(at('=')).or(at('+')).unwrap();
    let sent = at('=').or(at('+')).unwrap_or(end);
    let mut asked = exchange(1, first, end);
    asked.phases.start = Timestamp(at('o').unwrap_or(sent));
    asked.phases.sent = (sent < end).then_some(Timestamp(sent));
    asked.phases.first_byte = (sent < end).then_some(Timestamp(at('+').unwrap_or(end)));
    let mut spans: Vec<(usize, Owned)> = Vec::new();
    for (i, line) in lines.enumerate() {
        let (label, bar) = line.split_once('|').unwrap();
        let indent = label.len() - label.trim_start().len();
        let mut words = label.split_whitespace();
        let letter = words.next().unwrap();
        let service = words.next().unwrap();
        let mut parent = spans.iter().rev().find(|(at, _)| *at < indent).map_or(1, |(_, s)| s.id);
        let bar = bar.trim_end_matches(['|', ' ']);
        let (start, end) = (bar.find('=').unwrap_or(bar.len()) as u64 + 1000, bar.len() as u64 + 1000);
        let (kind, name, mut attributes) = drawn(letter);
        let (mut host, mut ahead) = (String::new(), 0);
        for word in words {
            match word.split_at(1) {
                ("@", rest) => {
                    let (name, by) = rest.split_once('+').unwrap_or((rest, "0"));
                    (host, ahead) = (name.to_owned(), by.parse().unwrap());
                }
                ("!", status) => {
                    attributes.push(("http.response.status_code", Value::Int(status.parse().unwrap())))
                }
                ("~", _) => attributes.push(("http.request.resend_count", Value::Int(1))),
                ("^", _) => parent = 999,
                other => panic!("{other:?} in {line}"),
            }
        }
        let mut span = Owned::new(i as u64 + 2, parent, kind, service, name, start + ahead, end + ahead);
        span.host = host;
        span.attributes = attributes;
        spans.push((indent, span));
    }
    (asked, spans.into_iter().map(|(_, s)| s).collect())
}

fn drawn(letter: &str) -> (SpanKind, &'static str, Vec<(&'static str, Value<'static>)>) {
    let http = vec![("http.request.method", Value::Str("GET")), ("server.address", Value::Str("peer"))];
    let sql = vec![("db.system", Value::Str("postgresql")), ("db.statement", Value::Str("SELECT 1"))];
    match letter {
        "S" => (SpanKind::Server, "GET /", Vec::new()),
        "C" => (SpanKind::Client, "GET", http),
        "I" => (SpanKind::Internal, "work", Vec::new()),
        "P" => (SpanKind::Producer, "send", Vec::new()),
        "M" => (SpanKind::Consumer, "process", Vec::new()),
        "U" => (SpanKind::Unspecified, "op", Vec::new()),
        "D" => (SpanKind::Client, "SELECT", sql),
        "R" => (SpanKind::Client, "GET", vec![("db.system", Value::Str("redis"))]),
        "Q" => (SpanKind::Internal, "pool acquire", Vec::new()),
        other => panic!("{other} is no kind"),
    }
}

fn blame(exchange: &Exchange, spans: &[Owned]) -> Blame {
    fn lend(exchange: &Exchange, rest: &[Owned], have: &[Span<'_>]) -> Blame {
        match rest.split_first() {
            None => blame_exchange(&run(1), exchange, have),
            Some((first, rest)) => first.lend(|span| lend(exchange, rest, &[have, &[*span]].concat())),
        }
    }
    lend(exchange, spans, &[])
}

/// One letter per moment: the category's first, `k` for connection, `h` for cache.
fn letters(blame: &Blame) -> String {
    let letter = |c: Category| match c {
        Category::Connection => 'k',
        Category::Cache => 'h',
        other => char::from(other.name().as_bytes()[0]),
    };
    let moments =
        |s: &crate::analysis::Segment| std::iter::repeat_n(letter(s.owner.category), s.length().0 as usize);
    blame.segments.iter().flat_map(moments).collect()
}

#[track_caller]
fn check(picture: &str, want: &str) -> Blame {
    let (exchange, mut spans) = parse(picture);
    let first = blame(&exchange, &spans);
    for _ in 0..spans.len() {
        spans.rotate_left(1);
        assert_eq!(blame(&exchange, &spans), first, "depends on the order of arrival: {picture}");
    }
    assert_eq!(letters(&first), want, "{picture}");
    assert_eq!(first.total(), exchange.corrected_latency());
    first
}

/// Names of the owners in the order of their first segment.
fn owners(blame: &Blame) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for segment in &blame.segments {
        if !names.contains(&&*segment.owner.name) {
            names.push(&segment.owner.name);
        }
    }
    names
}

#[test]
fn the_clients_phases_and_the_servers_path_fill_the_latency() {
    let blame = check(
        "X            |..oo========++|
          S shop     |     =====    |
            D shop   |       ==     |",
        "ggkknaaddanntt",
    );
    assert_eq!(
        owners(&blame),
        ["schedule delay", "wait for a connection", "client → shop", "GET /", "SELECT ?", "answer body"]
    );
}

#[test]
fn without_server_spans_the_wait_is_untraced() {
    check("X   |.====++|", "guuuutt");
}

#[test]
fn what_was_never_sent_is_all_the_clients() {
    check("X   |..ooooo|", "ggkkkkk");
}

#[test]
fn a_streamed_answer_is_the_servers_time_while_it_streams() {
    check(
        "X            |===++++++|
          S shop     | =====   |",
        "naaaaattt",
    );
}

#[test]
fn a_call_to_a_traced_service_is_network_around_it() {
    let blame = check(
        "X              |============|
          S shop       | ========== |
            C shop     |   =======  |
              S stock  |     ===    |
                D stock|      =     |",
        "naannadannan",
    );
    assert_eq!(owners(&blame), ["client → shop", "GET /", "shop → stock GET /", "SELECT ?"]);
}

#[test]
fn a_call_to_a_silent_peer_is_external() {
    let blame = check(
        "X            |==========|
          S shop     |==========|
            C shop   |  =====   |",
        "aaeeeeeaaa",
    );
    assert_eq!(owners(&blame), ["GET /", "GET peer"]);
}

#[test]
fn a_pools_wait_is_queue_and_the_statement_after_it_database() {
    check(
        "X            |==========|
          S shop     |==========|
            Q shop   | ====     |
            D shop   |     ===  |",
        "aqqqqdddaa",
    );
}

#[test]
fn of_two_layers_around_one_statement_each_owns_its_own() {
    check(
        "X            |==========|
          S shop     |==========|
            D shop   | ======   |
              Q shop |  ==      |
              D shop |    ==    |",
        "adqqdddaaa",
    );
}

#[test]
fn the_transport_of_a_search_is_the_search() {
    check(
        "X            |==========|
          S shop     |==========|
            D shop   | ======   |
              C shop |  ====    |",
        "addddddaaa",
    );
}

#[test]
fn parallel_calls_belong_to_the_one_that_ends_last() {
    check(
        "X            |==========|
          S shop     |==========|
            D shop   | =====    |
            C shop   | =======  |
            R shop   |  ==      |",
        "aeeeeeeeaa",
    );
}

#[test]
fn what_outlives_the_answer_is_no_part_of_it() {
    check(
        "X            |======      |
          S shop     |======      |
            D shop   |   =======  |
            I shop   |      ===   |",
        "aaaddd",
    );
}

#[test]
fn work_whose_parent_only_began_it_is_waited_for_by_who_goes_on() {
    // A resolver hands its fields on and ends; the query waits for them.
    check(
        "X              |============|
          S shop       |============|
            I shop     | ========== |
              I shop   | =          |
                I shop | =          |
                  D shop |  =====    |
                  D shop |  =======  |",
        "aadddddddaaa",
    );
    // The server waits, whatever is between.
    check(
        "X            |==========|
          S shop     |==========|
            I shop   |==        |
              D shop | =====    |",
        "adddddaaaa",
    );
    // Its parent waited for most of it; nobody did, for the answer was sent; it was handed on.
    check(
        "X            |==========|
          S shop     |==========|
            I shop   |====      |
              D shop | ====     |",
        "adddaaaaaa",
    );
    check(
        "X            |======      |
          S shop     |======      |
            I shop   |==          |
              D shop | ========   |",
        "adaaaa",
    );
    check(
        "X            |==========|
          S shop     |==========|
            I shop   |==        |
              M shop | =====    |",
        "aaaaaaaaaa",
    );
}

#[test]
fn a_message_is_not_waited_for_but_sending_it_is() {
    check(
        "X            |==========|
          S shop     |==========|
            P shop   |  ==      |
              M mail |   ====   |
            M mail   |      ==  |
            M mail   |        ====|",
        "aammaaaaaa",
    );
}

#[test]
fn a_retry_waits_for_the_peer() {
    let blame = check(
        "X                |============|
          S shop         |============|
            C shop !429  | ==         |
            C shop ~     |       ==   |",
        "aeeqqqqeeaaa",
    );
    assert_eq!(owners(&blame), ["GET /", "GET peer", "retry wait: GET peer"]);
    check(
        "X                |============|
          S shop         |============|
            C shop !429  | ==         |
            C shop       |       ==   |",
        "aeeqqqqeeaaa",
    );
    // Nothing was refused: what is between two calls is the service's own.
    check(
        "X                |============|
          S shop         |============|
            C shop       | ==         |
            C shop       |       ==   |",
        "aeeaaaaeeaaa",
    );
}

#[test]
fn a_wrapper_without_children_takes_in_what_it_wraps() {
    let blame = check(
        "X               |============|
          S gate        |============|
            I gate      | ========== |
            C gate      | =========  |
              S shop    |   =====    |",
        "annaaaaannaa",
    );
    assert_eq!(owners(&blame), ["GET /", "gate → shop GET /", "work"]);
}

#[test]
fn a_server_on_another_clock_is_moved_into_its_caller() {
    check(
        "X                     |==========|
          S shop @b+500000    |  ======  |
            D shop @b+500000  |    ==    |",
        "nnaaddaann",
    );
    // Its own callee shares its clock and keeps its place.
    check(
        "X                       |============|
          S shop @b+700000      | ========== |
            C shop @b+700000    |  =======   |
              S stock @c+700000 |  ===       |",
        "naaaannnnaan",
    );
}

#[test]
fn on_one_clock_nothing_is_moved() {
    check(
        "X                     |==========   |
          S shop @client      |      ====== |",
        "nnnnnnaaaa",
    );
    check(
        "X                   |==========      |
          S shop @a         |==========      |
            C shop @a       | =====          |
              S stock @a    |    ====        |",
        "annnaaaaaa",
    );
}

#[test]
fn a_server_longer_than_its_caller_is_clipped() {
    check(
        "X              |=====     |
          S shop @b    | =========|",
        "naaaa",
    );
}

#[test]
fn orphans_join_the_shortest_span_that_contains_them() {
    // The SERVER span of `stock` never came: its statement is found under the client span that waited, which thereby is a way.
    check(
        "X              |============|
          S shop       | ========== |
            C shop     |   =======  |
              D stock ^|     ===    |",
        "naanndddnnan",
    );
    // A SERVER span whose caller never came joins the handler that ran then.
    check(
        "X              |============|
          S shop       | ========== |
            S stock ^  |     ===    |
              D stock  |      =     |",
        "naaaaadaaaan",
    );
    // Nothing but orphans: merged in time under the exchange.
    check(
        "X              |============|
          S shop ^     | ====       |
          S shop ^     |     =====  |",
        "naaaaaaaaann",
    );
}

#[test]
fn without_kinds_a_change_of_service_is_a_hop() {
    let blame = check(
        "X              |============|
          U shop       | ========== |
            U shop     |   =======  |
              U stock  |     ===    |
            U shop     |          = |",
        "naannaaannan",
    );
    assert_eq!(owners(&blame), ["client → shop", "op", "shop → stock op"]);
}

#[test]
fn a_time_in_queue_that_an_attribute_tells_is_queue() {
    let (exchange, mut spans) = parse(
        "X            |==========|
          S shop     | ======== |
            C shop   |  =====   |",
    );
    spans[1].attributes.push(("http.client.request.time_in_queue", Value::Double(3e-9)));
    assert_eq!(letters(&blame(&exchange, &spans)), "naqqqeeaan");
}

#[test]
fn duplicates_shared_ids_and_circles_are_repaired() {
    let picture = "X            |==========|
          S shop     |==========|
            C shop   |  ======  |
              S stock|    ==    |";
    let (exchange, mut spans) = parse(picture);
    let want = "aannaannaa";
    spans.push(spans[1].clone());
    spans.push(spans[0].clone());
    assert_eq!(letters(&blame(&exchange, &spans)), want);
    // Zipkin: both ends of the call under one id.
    let (exchange, mut spans) = parse(picture);
    spans[2].id = spans[1].id;
    spans[2].parent = spans[0].id;
    assert_eq!(letters(&blame(&exchange, &spans)), want);
    spans.reverse();
    assert_eq!(letters(&blame(&exchange, &spans)), want);
    // A circle hangs from nothing: cut at its earliest span.
    let (exchange, mut spans) = parse(picture);
    spans[0].parent = spans[2].id;
    assert_eq!(letters(&blame(&exchange, &spans)), want);
    // A span that names itself as its parent.
    let (exchange, mut spans) = parse(picture);
    spans[0].parent = spans[0].id;
    assert_eq!(letters(&blame(&exchange, &spans)), want);
    // hotspan's own span, come back through a Collector.
    let (exchange, mut spans) = parse(picture);
    spans.push(Owned::new(1, 0, SpanKind::Client, "hotspan", "GET /", 1000, 1010));
    assert_eq!(letters(&blame(&exchange, &spans)), want);
}

/// How much shorter the exchange gets if the contributor of that name took no time: nanoseconds are columns.
#[track_caller]
fn check_without(picture: &str, name: &str, want: u64) {
    let (exchange, spans) = parse(picture);
    let run = run(1);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    analyzer.exchange(&exchange);
    spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
    let analysis = analyzer.finish().into_analysis(&run);
    let found = analysis.steps[0].contributors.iter().find(|c| &*c.contributor.name == name);
    let without = found.unwrap_or_else(|| panic!("no {name} in {picture}")).without.sum() as u64;
    assert_eq!(exchange.corrected_latency().0 - without, want, "{name}: {picture}");
}

#[test]
fn without_it_what_depends_on_it_moves_and_what_does_not_stays() {
    let sequence = "X            |============|
          S shop     | ========== |
            D shop   |  ===       |
            C shop   |      ====  |";
    check_without(sequence, "SELECT ?", 3);
    check_without(sequence, "GET peer", 4);
    check_without(sequence, "GET /", 3);
    check_without(sequence, "client → shop", 2);
    // Beside a call that is as long, nothing is gained; beside a shorter one, the difference.
    let beside = "X            |============|
          S shop     | ========== |
            C shop   |  ======    |
            D shop   |  ====      |
            R shop   |        ==  |";
    check_without(beside, "GET peer", 2);
    // What follows a call that goes on beside waits for both.
    check_without(beside, "GET", 2);
    // The parent's own time before parallel calls moves both.
    let own_first = "X            |==========|
          S shop     |==========|
            C shop   |   =====  |
            D shop   |    ====  |";
    check_without(own_first, "GET /", 5);
    // A call that began while another ran does not depend on it.
    let overlapping = "X            |==========|
          S shop     |==========|
            C shop   | =====    |
            D shop   |   ====== |";
    check_without(overlapping, "GET peer", 0);
    check_without(overlapping, "SELECT ?", 3);
}
