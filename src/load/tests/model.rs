//! When requests are due and when they are sent: open and closed model, lateness, counters.

use super::server::{friendly, ok, raw};
use super::*;
use crate::record::{FailureClass, Outcome};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn intended_times_are_the_schedule_s_and_nothing_else() {
    let (server, _log) = friendly(|_| ok("ok"));
    let yaml = "target: http://TARGET\nload: [{rate: 100/s, ramp: 200ms, for: 100ms}, {rate: 20/s, for: 100ms}]\nsteps: [GET /]\n";
    for threads in [1, 3] {
        let mut ran = run_with(&server, yaml, |o, _| o.threads = threads);
        ran.exchanges.sort_by_key(|e| e.intended);
        let due = |n: u64| ran.started_at + ran.schedule.streams[0].arrivals.due(n).unwrap();
        let expected: Vec<Timestamp> = (0..ran.schedule.streams[0].arrivals.count()).map(due).collect();
        let intended: Vec<Timestamp> = ran.exchanges.iter().map(|e| e.intended).collect();
        assert_eq!(intended, expected);
        let users: Vec<u32> = ran.exchanges.iter().map(|e| e.user).collect();
        assert_eq!(users, (0..expected.len() as u32).collect::<Vec<_>>(), "each arrival is a user");
        assert_eq!((ran.facts.threads, ran.facts.planned), (threads as u32, Nanos::from_millis(400)));
    }
}

#[test]
fn a_silent_server_shows_in_corrected_latency() {
    let yaml = "target: http://TARGET\nload: {rate: 50/s, for: 600ms}\nsteps: [GET /]\n";
    for connections in [10_000, 1] {
        // The server serves one request at a time and is silent for the second one's 400 ms.
        let gate = Arc::new(tokio::sync::Mutex::new(0u32));
        let server = raw(move |mut stream, _| {
            let gate = Arc::clone(&gate);
            async move {
                let mut text = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    text.push(byte);
                    if text.ends_with(b"\r\n\r\n") {
                        let mut count = gate.lock().await;
                        *count += 1;
                        if *count == 2 {
                            tokio::time::sleep(Duration::from_millis(400)).await;
                        }
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    }
                }
            }
        });
        let mut ran = run_with(&server, yaml, |o, _| o.max_connections = connections);
        ran.exchanges.sort_by_key(|e| e.intended);
        assert_eq!(ran.exchanges.len(), 30);
        for (n, exchange) in ran.exchanges.iter().enumerate() {
            assert_eq!(
                exchange.intended,
                ran.started_at + ran.schedule.streams[0].arrivals.due(n as u64).unwrap()
            );
        }
        if connections == 1 {
            // With one connection nothing could be sent meanwhile: service time hides it, corrected latency does not.
            let waited = |e: &&Exchange| {
                e.corrected_latency().0 > 2 * e.service_time().0
                    && e.schedule_delay() > Nanos::from_millis(100)
            };
            assert!(ran.exchanges.iter().filter(waited).count() >= 5);
            assert!(ran.live.late.load(Ordering::Relaxed) >= 5);
            assert_eq!(ran.facts.users_max, 1);
        }
        let slow = ran.exchanges.iter().filter(|e| e.corrected_latency() > Nanos::from_millis(100)).count();
        assert!(slow >= 5, "{slow} requests met the silence");
    }
}

#[test]
fn arrivals_that_find_no_connection_until_the_end_are_not_sent() {
    let server = raw(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    });
    let yaml = "target: http://TARGET\nload: {rate: 100/s, for: 100ms}\nsteps: [GET /]\n";
    let ran = run_with(&server, yaml, |o, _| o.max_connections = 2);
    let not_sent: Vec<&Exchange> = ran
        .exchanges
        .iter()
        .filter(|e| matches!(&e.outcome, Outcome::Failed { failure, .. } if failure.class == FailureClass::NotSent))
        .collect();
    assert_eq!((ran.exchanges.len(), not_sent.len()), (10, 8));
    assert_eq!((ran.facts.offered, ran.facts.sent, ran.facts.not_sent), (10, 2, 8));
    assert!(not_sent.iter().all(|e| !e.was_sent() && e.phases.start == e.phases.end && !e.sampled));
    assert_eq!(ran.live.in_flight.load(Ordering::Relaxed), 0);
}

#[test]
fn closed_users_come_and_go_as_scheduled() {
    let (server, _log) = friendly(|_| ok("ok"));
    let yaml = "target: http://TARGET\nload: [{users: 4, ramp: 80ms, for: 80ms}, {users: 1, for: 80ms}]\nthink: 4ms\nsteps: [GET /]\n";
    let ran = run_with(&server, yaml, |o, _| o.threads = 2);
    for user in 0..4 {
        let of_user: Vec<&Exchange> = ran.exchanges.iter().filter(|e| e.user == user).collect();
        let (from, until) = ran.schedule.streams[0].users.intervals(user)[0];
        assert_eq!(of_user[0].intended, ran.started_at + from);
        assert!(of_user.iter().all(|e| e.intended < ran.started_at + until));
        let iterations: Vec<u32> = of_user.iter().map(|e| e.iteration).collect();
        assert_eq!(iterations, (0..of_user.len() as u32).collect::<Vec<_>>());
    }
    assert!(!ran.facts.open_model);
    assert_eq!(ran.facts.users_max, 4);
    assert_eq!(ran.facts.iterations, ran.exchanges.len() as u64);
    assert_eq!(ran.live.users.load(Ordering::Relaxed), 0);
    assert_eq!(ran.live.done.load(Ordering::Relaxed), ran.exchanges.len() as u64);
}

#[test]
fn a_step_is_due_when_the_one_before_has_ended_and_the_pause_is_over() {
    let (server, _log) = friendly(|_| ok("ok"));
    let yaml = "target: http://TARGET\nload: {users: 1, for: 400ms}\nsteps: [{get: /a, think: 7ms}, {get: /b, think: 3ms}]\n";
    let ran = run(&server, yaml);
    assert!(ran.exchanges.len() > 6);
    for pair in ran.exchanges.windows(2) {
        let pause = if pair[0].step.0 == 0 { 7 } else { 3 };
        assert_eq!(pair[1].intended, pair[0].phases.end + Nanos::from_millis(pause));
        assert!(pair[1].phases.start >= pair[1].intended);
    }
}

#[test]
fn weights_and_data_rows_are_respected() {
    let (server, log) = friendly(|_| ok("ok"));
    let yaml = "target: http://TARGET\nload: {rate: 1000/s, for: 300ms}\njourneys:\n  often: {weight: 3, steps: [GET /often]}\n  seldom: {weight: 1, data: users.csv, steps: ['GET /seldom/{{ data.user }}']}\n";
    let ran = run(&server, yaml);
    let log = log.lock().unwrap();
    assert_eq!((log.len(), ran.exchanges.len()), (300, 300));
    let seldom: Vec<&str> = log.iter().filter_map(|s| s.uri.strip_prefix("/seldom/")).collect();
    assert!((45..=105).contains(&seldom.len()), "{} of 300 at one quarter", seldom.len());
    for user in ["ann", "bob", "cid"] {
        assert!(seldom.contains(&user), "{user}");
    }
    for exchange in ran.exchanges.iter().filter(|e| e.step.0 == 1) {
        let row = ["ann", "bob", "cid"][exchange.user as usize % 3];
        assert!(exchange.url.ends_with(row), "rows are used in turn");
    }
}

#[test]
fn a_slow_reader_of_exchanges_loses_none() {
    let (server, log) = friendly(|_| ok("ok"));
    let text =
        format!("target: http://{}\nload: {{users: 20, for: 300ms}}\nsteps: [GET /]\n", server.address);
    let scenario = Arc::new(crate::scenario::parse(&text, "t").unwrap());
    let (sink, mut received) = tokio::sync::mpsc::channel(1);
    let (_stopper, stop) = stop_channel();
    let handle = start(LoadOptions::new(scenario, sink, stop)).unwrap();
    let reader = std::thread::spawn(move || {
        let mut exchanges = 0;
        while let Some(batch) = received.blocking_recv() {
            std::thread::sleep(Duration::from_millis(2));
            exchanges += batch.len() as u64;
        }
        exchanges
    });
    let facts = handle.join();
    assert_eq!(reader.join().unwrap(), facts.offered);
    assert_eq!(facts.offered, log.lock().unwrap().len() as u64);
}

#[test]
fn a_reader_that_is_gone_ends_the_load() {
    let (server, _log) = friendly(|_| ok("ok"));
    let text = format!(
        "target: http://{}\nload: {{users: 2, for: 1h}}\nthink: 1ms\nsteps: [GET /]\n",
        server.address
    );
    let scenario = Arc::new(crate::scenario::parse(&text, "t").unwrap());
    let (sink, received) = tokio::sync::mpsc::channel(1);
    drop(received);
    let (_stopper, stop) = stop_channel();
    start(LoadOptions::new(scenario, sink, stop)).unwrap().join();
}

#[test]
fn answers_that_come_while_the_thread_naps_are_read_whole() {
    // At this rate the thread hears its sockets only when it wakes for an arrival; answers in pieces end that.
    for pieces in [1, 2] {
        let server = raw(move |mut stream, _| async move {
            let mut text = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                text.push(byte);
                if !text.ends_with(b"\r\n\r\n") {
                    continue;
                }
                text.clear();
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                let (first, rest) = answer.split_at(if pieces == 1 { answer.len() } else { 30 });
                let _ = stream.write_all(first).await;
                if !rest.is_empty() {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    let _ = stream.write_all(rest).await;
                }
            }
        });
        let yaml = "target: http://TARGET\nload: {rate: 2000/s, for: 150ms}\nsteps: [GET /]\n";
        let ran = run(&server, yaml);
        assert_eq!(ran.exchanges.len(), 300);
        for exchange in &ran.exchanges {
            assert_eq!((&exchange.outcome, exchange.bytes_received), (&Outcome::Answered(200), 2));
            assert!(exchange.phases.first_byte.is_some());
        }
    }
}
