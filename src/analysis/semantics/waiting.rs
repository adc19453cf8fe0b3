//! Spans that are nothing but waiting: for a connection of a pool, for a lock, in a queue, for another try.

/// What such a span waits for.
pub(super) enum Waiting {
    Queue,
    Connection,
}

/// Whether a span's name says that it waits: for a connection of a pool, for a lock, in a queue; or that it opens a
/// connection. Whole words only, so that an online shop's `checkout` is not taken for a pool's.
pub(super) fn waiting(name: &str, database: bool) -> Option<Waiting> {
    const VERBS: [&str; 12] = [
        "acquire",
        "acquiring",
        "checkout",
        "borrow",
        "lease",
        "wait",
        "waiting",
        "get",
        "obtain",
        "request",
        "connect",
        "take",
    ];
    const THINGS: [&str; 12] = [
        "pool",
        "connection",
        "conn",
        "connections",
        "permit",
        "semaphore",
        "lock",
        "mutex",
        "slot",
        "latch",
        "rwlock",
        "limiter",
    ];
    let words = words(name);
    let has = |list: &[&str]| words.iter().any(|w| list.contains(&w.as_str()));
    if has(&["dns", "tcp", "tls", "ssl"]) && has(&["connect", "lookup", "handshake", "resolve"])
        || has(&["connection"]) && has(&["setup"])
    {
        return Some(Waiting::Connection);
    }
    let retry = has(&["backoff"])
        || (has(&["retry", "retrying", "rate", "throttle"]) && has(&["wait", "waiting", "delay", "sleep"]));
    let alone = |list: &[&str]| words.len() == 1 && has(list);
    let queue =
        has(&["queue", "queued", "queueing", "queuing"]) && has(&["wait", "waiting", "time", "in", "delay"]);
    let acquire = has(&VERBS)
        && has(&THINGS)
        && (!has(&["request", "get", "take"]) || has(&["pool", "connection", "conn", "permit", "lock"]));
    let of_a_database = database && alone(&["connect", "checkout", "acquire"]);
    // `pg.connect`, `redis-connect`, `sql.connector.connect`.
    let last = words.last().is_some_and(|w| w == "connect");
    let of_a_database = of_a_database || (database && matches!(words.len(), 2 | 3) && last);
    // A connection is made fit for its next user as it is handed out: `sql.conn.reset_session`.
    let of_a_database =
        of_a_database || (database && ["conn", "reset", "session"].iter().all(|w| has(&[*w])));
    let begins =
        database && words.first().is_some_and(|w| matches!(w.as_str(), "connect" | "acquire" | "checkout"));
    (queue || acquire || retry || of_a_database || begins || alone(&["connect", "queue", "queued"]))
        .then_some(Waiting::Queue)
}

/// Lower-case words of a name: letters and digits, split where a capital follows a small letter.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    for c in name.chars().take(200) {
        if c.is_alphanumeric() {
            let starts = !before.is_alphanumeric() || (before.is_lowercase() && c.is_uppercase());
            if starts {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        before = c;
    }
    words
}
