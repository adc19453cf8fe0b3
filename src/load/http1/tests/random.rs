//! The parser out of random bytes, and out of answers that were damaged at random: it never panics, holds little, and makes
//! the same of the same bytes however they are split.

use super::super::chunks::MOST_TRAILERS;
use super::super::head::{Asked, Fields, MOST_HEAD};
use super::super::known::Known;
use super::super::parser::{Body, Parser};
use super::table::CASES;
use crate::record::FailureClass;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use std::path::Path;

/// Bodies are kept up to here, so that the bound on memory shows.
const KEEP: usize = 1_000;

/// All that a parser makes of some bytes and the end of the connection after them.
#[derive(Clone, Debug, PartialEq)]
struct Made {
    ended: Result<(), (FailureClass, String)>,
    status: Option<u16>,
    fields: usize,
    received: u64,
    kept: Vec<u8>,
    used: usize,
}

fn made<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, asked: Asked) -> Made {
    made_beside(pieces, (asked, Fields::All), &mut Known::default())
}

fn made_beside<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    (asked, fields): (Asked, Fields),
    known: &mut Known,
) -> Made {
    let mut parser = Parser::new(asked, fields);
    let mut body = Body { keep: KEEP, ..Body::default() };
    let mut used = 0;
    let mut ended = None;
    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
        match parser.feed(piece, &mut body, known) {
            Ok(taken) => {
                assert!(taken <= piece.len());
                used += taken;
            }
            Err(fault) => {
                ended = Some(Err(fault));
                break;
            }
        }
        assert!(parser.held() <= MOST_HEAD.max(MOST_TRAILERS), "{} bytes are held", parser.held());
        assert!(body.kept.len() <= KEEP);
        if parser.is_done() {
            break;
        }
    }
    let failed = ended.is_some();
    let ended = ended.unwrap_or_else(|| parser.end());
    Made {
        ended: ended.map_err(|fault| (fault.class, fault.words.into_owned())),
        status: parser.seen().map(|head| head.status),
        fields: parser.seen().map_or(0, |head| head.headers.len()),
        // How far a parser came before it refused is its own affair.
        received: if failed { 0 } else { body.received },
        kept: if failed { Vec::new() } else { body.kept },
        used: if failed { 0 } else { used },
    }
}

/// Pieces of the lengths that the numbers say, the last one taking what is left.
fn split<'a>(bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for length in lengths {
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

fn holds_for(bytes: &[u8], lengths: &[usize], asked: Asked) {
    let whole = made([bytes], asked);
    assert_eq!(made(split(bytes, lengths), asked), whole, "split at {lengths:?}: {bytes:?}");
    if bytes.len() < 2_000 {
        assert_eq!(made(bytes.chunks(1), asked), whole, "byte by byte: {bytes:?}");
    }
    // What was learnt from the same bytes, or from others, changes nothing.
    let few = (asked, Fields::Few);
    let fresh = made_beside([bytes], few, &mut Known::default());
    let mut known = Known::default();
    for _ in 0..2 {
        assert_eq!(made_beside([bytes], few, &mut known), fresh, "known: {bytes:?}");
        assert_eq!(made_beside(split(bytes, lengths), few, &mut known), fresh, "known and split: {bytes:?}");
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![Just(Asked::Ordinary), Just(Asked::Head), Just(Asked::Connect)]
}

/// Pieces of answers in any order: nearer to HTTP than random bytes are.
fn nearly_an_answer() -> impl Strategy<Value = Vec<u8>> {
    let words: &[&str] = &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 404 \r\n",
        "HTTP/1.1 100 Continue\r\n",
        "HTTP/1.1 204 N\r\n",
        "content-length: 3\r\n",
        "content-length: 0\r\n",
        "Content-Length: 4, 4\r\n",
        "transfer-encoding: chunked\r\n",
        "connection: close\r\n",
        "x: y\r\n",
        "\r\n",
        "\n",
        "\r",
        "abc",
        "3\r\nabc\r\n",
        "0\r\n",
        "0\r\n\r\n",
        "A;x\r\n0123456789\r\n",
        " ",
        ":",
        "\0",
        "ffffffffffffffff\r\n",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..16)
        .prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        lengths in proptest::collection::vec(0usize..40, 0..10), asked in asked()
    ) {
        holds_for(&bytes, &lengths, asked);
    }

    #[test]
    fn bytes_that_are_nearly_an_answer(
        bytes in nearly_an_answer(), lengths in proptest::collection::vec(0usize..40, 0..10), asked in asked()
    ) {
        holds_for(&bytes, &lengths, asked);
    }
}

/// The committed corpus, and the answers of the table.
fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/http1");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{} holds no corpus", folder.display());
    let read = files.iter().map(|file| std::fs::read(file).unwrap());
    read.chain(CASES.iter().map(|case| case.bytes.as_bytes().to_vec())).collect()
}

fn damage(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut SmallRng) {
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.insert(at, random.next_u64() as u8),
            3 => bytes.truncate(at),
            _ => {
                let other = &corpus[random.random_range(0..corpus.len())];
                let from = random.random_range(0..=other.len());
                bytes.splice(at..at, other[from..].iter().take(200).copied());
            }
        }
    }
}

#[test]
fn the_corpus_and_what_becomes_of_it_when_it_is_damaged() {
    let corpus = corpus();
    let mut random = SmallRng::seed_from_u64(7);
    for bytes in &corpus {
        for asked in [Asked::Ordinary, Asked::Head, Asked::Connect] {
            holds_for(bytes, &[1, 2, 3, 5, 8, 13, 21], asked);
        }
    }
    // As many as a debug build does in about two seconds.
    for round in 0..6_000 {
        let mut bytes = corpus[round % corpus.len()].clone();
        damage(&mut bytes, &corpus, &mut random);
        let lengths: Vec<usize> = (0..6).map(|_| random.random_range(0..60)).collect();
        holds_for(&bytes, &lengths, Asked::Ordinary);
    }
}

#[test]
fn floods_are_refused_before_they_cost_memory() {
    let flood = |start: &str, unit: &str| {
        let mut parser = Parser::new(Asked::Ordinary, Fields::Few);
        let mut body = Body::default();
        let mut bytes = start.as_bytes().to_vec();
        for sent in 0..10_000 {
            if parser.feed(&bytes, &mut body, &mut Known::default()).is_err() {
                return sent * unit.len();
            }
            bytes = unit.as_bytes().to_vec();
        }
        usize::MAX
    };
    let head = "HTTP/1.1 200 OK\r\n";
    assert!(flood("", &"x".repeat(100)) <= 1_100, "no status line");
    assert!(flood(&format!("{head}a: "), &"x".repeat(100)) <= MOST_HEAD + 100, "a field without end");
    assert!(flood(head, "abcdefg: hijklm\r\n") <= 300 * 17, "fields without end");
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
    assert!(flood(&format!("{chunked}1;"), &"x".repeat(100)) <= 17_000, "an extension without end");
    assert!(flood(&format!("{chunked}0\r\n"), "abcdefg: hijklm\r\n") <= MOST_TRAILERS + 34, "trailers");
    assert!(flood("", "HTTP/1.1 100 Continue\r\n\r\n") <= 33 * 25, "interim answers");
}
