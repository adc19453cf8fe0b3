//! The same answers to our client and to hyper's, split at every byte and at random: where the two differ, that is said,
//! with the reason, in the table.

use super::table::{CASES, Case, Expected, Hyper, Reuse};
use super::{Came, Script, Then, ours};
use crate::load::words::of_exchange;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

/// Turns in which a script is over: each gives hyper one more look at a connection that says nothing.
const TURNS: usize = 64;

/// Polls both until the first is done; the second is what makes it go on.
fn with_driver<T>(
    future: impl Future<Output = T>,
    driver: &mut Option<Pin<Box<impl Future<Output = hyper::Result<()>>>>>,
) -> Option<T> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..TURNS {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return Some(value);
        }
        if let Some(at_work) = driver
            && at_work.as_mut().poll(&mut cx).is_ready()
        {
            *driver = None;
        }
    }
    None
}

/// One exchange of hyper's client with a peer of a script.
fn hypers(script: Script, method: &str) -> Came {
    let (mut sender, connection) =
        super::now_or_never(hyper::client::conn::http1::handshake(TokioIo::new(script))).unwrap().unwrap();
    let mut driver = Some(Box::pin(connection));
    let request =
        http::Request::builder().method(method).uri("/").header("host", "h").body(Empty::<Bytes>::new());
    let answer = with_driver(sender.send_request(request.unwrap()), &mut driver);
    let (head, body) = match answer {
        None => return Came::Waits,
        Some(Err(error)) => return Came::Failed(of_exchange(&error, false)),
        Some(Ok(answer)) => answer.into_parts(),
    };
    let body = match with_driver(body.collect(), &mut driver) {
        None => return Came::Waits,
        Some(Err(error)) => return Came::Failed(of_exchange(&error, true)),
        Some(Ok(body)) => body.to_bytes().to_vec(),
    };
    // Whatever else it makes of the connection shows when it is asked whether it is ready.
    with_driver(std::future::pending::<()>(), &mut driver);
    Came::answer(head.status.as_u16(), &head.headers, body, driver.is_some() && sender.is_ready())
}

fn is(came: &Came, expected: Expected) -> bool {
    match (came, expected) {
        (Came::Answer(status, _, body, usable), Expected::Answer(wanted, text, reuse)) => {
            *status == wanted && body == text.as_bytes() && *usable == (reuse == Reuse::Yes)
        }
        (Came::Failed(class), Expected::Failed(wanted)) => *class == wanted,
        (Came::Waits, Expected::Waits) => true,
        _ => false,
    }
}

fn check(case: &Case, pieces: &[&[u8]]) {
    let script = || Script::new(pieces.iter().map(|p| p.to_vec()), case.then);
    let shown = || format!("{} {:?} then {:?}, in {pieces:?}", case.method, case.bytes, case.then);
    let (mine, ..) = ours(script(), case.method);
    assert!(is(&mine, case.expected), "ours: {mine:?} for {}", shown());
    let theirs = hypers(script(), case.method);
    match case.hyper {
        Hyper::Same => assert_eq!(theirs, mine, "hyper's differs for {}", shown()),
        Hyper::Differs(expected, reason) => {
            assert!(is(&theirs, expected), "hyper's: {theirs:?} for {} ({reason})", shown());
            assert!(!is(&theirs, case.expected), "no difference any more for {}", shown());
        }
    }
}

#[test]
fn all_answers_in_one_piece() {
    CASES.iter().for_each(|case| check(case, &[case.bytes.as_bytes()]));
}

#[test]
fn all_answers_split_at_every_byte() {
    for case in CASES {
        for at in 1..case.bytes.len() {
            let (left, right) = case.bytes.as_bytes().split_at(at);
            check(case, &[left, right]);
        }
        check(case, &case.bytes.as_bytes().chunks(1).collect::<Vec<_>>());
    }
}

#[test]
fn all_answers_split_at_random() {
    let mut random = SmallRng::seed_from_u64(1);
    for case in CASES {
        for _ in 0..20 {
            let mut pieces = Vec::new();
            let mut rest = case.bytes.as_bytes();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(random.random_range(1..=rest.len().min(9)));
                pieces.push(piece);
                rest = after;
            }
            check(case, &pieces);
        }
    }
}

/// Too long for the table: built, and compared with what hyper allows.
#[test]
fn limits_are_ours() {
    use crate::load::http1::head::{MOST_FIELDS, MOST_HEAD};
    use crate::record::FailureClass::InvalidResponse;
    let whole = |bytes: String| {
        let (mine, ..) = ours(Script::new([bytes.clone().into_bytes()], Then::Waits), "GET");
        (mine, hypers(Script::new([bytes.into_bytes()], Then::Waits), "GET"))
    };
    let answered = |came: &Came| matches!(came, Came::Answer(200, _, body, true) if body == b"ok");
    let fields = |count: usize| {
        format!("HTTP/1.1 200 OK\r\ncontent-length: 2{}\r\n\r\nok", "\r\na: b".repeat(count - 1))
    };
    let (mine, theirs) = whole(fields(100));
    assert!(answered(&mine) && answered(&theirs));
    // hyper refuses from 101 fields on; real services behind several proxies have more.
    let (mine, theirs) = whole(fields(MOST_FIELDS));
    assert!(answered(&mine) && theirs == Came::Failed(InvalidResponse), "{theirs:?}");
    assert_eq!(whole(fields(MOST_FIELDS + 1)).0, Came::Failed(InvalidResponse));
    let long = |size: usize| {
        let rest = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: \r\n\r\n".len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: {}\r\n\r\nok", "y".repeat(size - rest))
    };
    let (mine, theirs) = whole(long(MOST_HEAD));
    assert!(answered(&mine) && answered(&theirs), "{theirs:?}");
    // hyper takes in 400 KiB; with thousands of users that is memory that a hostile service decides on.
    let (mine, theirs) = whole(long(MOST_HEAD + 1));
    assert!(mine == Came::Failed(InvalidResponse) && answered(&theirs), "{theirs:?}");
    let interim = |count: usize| {
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(count) + "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    };
    let (mine, theirs) = whole(interim(32));
    assert!(answered(&mine) && answered(&theirs));
    // hyper has no limit: a service could keep an exchange busy for ever.
    let (mine, theirs) = whole(interim(33));
    assert!(mine == Came::Failed(InvalidResponse) && answered(&theirs), "{theirs:?}");
    let (mine, theirs) = whole("\r\n".repeat(9) + "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    // hyper skips empty lines without end.
    assert!(mine == Came::Failed(InvalidResponse) && answered(&theirs), "{theirs:?}");
}
