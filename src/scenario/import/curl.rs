//! A curl command.

use super::draft::{Draft, DraftBody, DraftStep, body_of, literal, literal_url};

/// Options with a value that say nothing about the request.
const IGNORED_WITH_VALUE: &[&str] = &[
    "-o",
    "--output",
    "-w",
    "--write-out",
    "--retry",
    "-c",
    "--cookie-jar",
    "-D",
    "--dump-header",
    "--limit-rate",
];
/// Options with a value, and what a scenario says in their place.
const SAID_OTHERWISE: &[(&str, &str)] = &[
    ("--connect-timeout", "timeouts: {connect: …}"),
    ("--max-redirs", "follow: N"),
    ("-x", "http: {proxy: …}"),
    ("--proxy", "http: {proxy: …}"),
    ("-U", "http: {proxy: {user: …, password: …}}"),
    ("--proxy-user", "http: {proxy: {user: …, password: …}}"),
    ("--noproxy", "http: {proxy: {no_proxy: …}}"),
    ("--cacert", "http: {tls: {roots: …}}"),
    ("-E", "http: {tls: {certificate: …}}"),
    ("--cert", "http: {tls: {certificate: …}}"),
    ("--key", "http: {tls: {key: …}}"),
    ("--tls-max", "http: {tls: {max: …}}"),
    ("--resolve", "http: {resolve: …}"),
    ("--connect-to", "http: {resolve: …}"),
    ("--unix-socket", "http: {unix: …}"),
    ("--interface", "http: {source: …}"),
];
const IGNORED: &[&str] = &[
    "-s",
    "--silent",
    "-S",
    "--show-error",
    "-v",
    "--verbose",
    "-i",
    "--include",
    "-f",
    "--fail",
    "-sS",
    "-N",
    "--no-buffer",
    "-#",
    "--http1.1",
    "-O",
    "--globoff",
    "-g",
];

/// Reads it.
///
/// # Errors
/// When there is no URL, or a quote has no end.
pub fn read(text: &str) -> Result<Draft, String> {
    let mut draft = Draft { name: "curl".to_string(), ..Draft::default() };
    let mut steps = Vec::new();
    let mut words = words(&without_carets(text))?;
    // `-sSfL` are four options.
    words = words.into_iter().flat_map(apart).collect();
    for command in words.split(|w| matches!(w.as_str(), ";" | "&&" | "\n")).filter(|c| !c.is_empty()) {
        steps.push(command_step(command, &mut draft)?);
    }
    draft.journeys.push(("main".to_string(), 1, None, steps));
    Ok(draft)
}

fn command_step(words: &[String], draft: &mut Draft) -> Result<DraftStep, String> {
    let mut words = words.iter().filter(|w| *w != "$");
    if words.next().is_none_or(|w| w != "curl") {
        return Err("it is no curl command: it begins with `curl`".to_string());
    }
    let mut step = DraftStep::default();
    let (mut data, mut form, mut as_query, mut json) = (Vec::<String>::new(), Vec::new(), false, false);
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        // `--name=value` and `-Xvalue` are one word.
        let (option, mut inline) = match word.split_once('=') {
            Some((option, value)) if word.starts_with("--") => (option.to_string(), Some(value.to_string())),
            _ if word.len() > 2
                && word.starts_with('-')
                && !word.starts_with("--")
                && "XHdFuAbe".contains(&word[1..2]) =>
            {
                (word[..2].to_string(), Some(word[2..].to_string()))
            }
            _ => (word.clone(), None),
        };
        let mut value = || {
            inline.take().or_else(|| words.next().cloned()).ok_or_else(|| format!("{option} needs a value"))
        };
        match option.as_str() {
            "-X" | "--request" => step.method = value()?.to_ascii_uppercase(),
            "-H" | "--header" => {
                let header = value()?;
                if let Some((name, content)) = header.split_once(':') {
                    step.headers.push((name.trim().to_string(), literal(content.trim())));
                }
            }
            "-d" | "--data" | "--data-raw" | "--data-binary" | "--data-ascii" | "--data-urlencode"
            | "--json" => {
                json |= option == "--json";
                let mut text = value()?;
                if option == "--data-urlencode" && !text.starts_with('@') {
                    text = encoded(&text);
                }
                if text.starts_with('@') && option != "--data-raw" {
                    draft.note(format!(
                        "the body from the file {} was left out: write body: {{file: …}}",
                        &text[1..]
                    ));
                } else {
                    data.push(text);
                }
            }
            "-F" | "--form" | "--form-string" => {
                let text = value()?;
                let (name, content) = text.split_once('=').unwrap_or((&text, ""));
                form.push((name.to_string(), literal(content)));
            }
            "-u" | "--user" => {
                let user = value()?;
                step.headers.push((
                    "authorization".to_string(),
                    format!("Basic {}", crate::scenario::base64(user.as_bytes())),
                ));
            }
            "-b" | "--cookie" => step.headers.push(("cookie".to_string(), value()?)),
            "-A" | "--user-agent" | "-e" | "--referer" => drop(value()?),
            "-G" | "--get" => as_query = true,
            "-I" | "--head" => step.method = "HEAD".to_string(),
            "-k" | "--insecure" => drop(draft.options.insert("insecure", "true".to_string())),
            "-L" | "--location" | "--location-trusted" => {
                draft.options.insert("follow", "true".to_string());
            }
            "--http2" => drop(draft.http.insert("version", "auto".to_string())),
            "--http2-prior-knowledge" => drop(draft.http.insert("version", "2".to_string())),
            "--compressed" => {
                draft.http.insert("accept_encoding", "[gzip, deflate, br, zstd]".to_string());
            }
            "-m" | "--max-time" => match seconds(&value()?) {
                Some(limit) => drop(draft.options.insert("timeouts", format!("{{request: {limit}}}"))),
                None => draft.note(format!("{option}: write `timeouts: {{request: …}}`")),
            },
            "-T" | "--upload-file" => {
                step.method = "PUT".to_string();
                draft.note(format!("the file {} was left out: write body: {{file: …}}", value()?));
            }
            "--url" => step.url = value()?,
            ignored if IGNORED.contains(&ignored) => {}
            ignored if IGNORED_WITH_VALUE.contains(&ignored) => drop(value()?),
            known if SAID_OTHERWISE.iter().any(|(name, _)| *name == known) => {
                // Its value may hold a password: it is not repeated.
                drop(value()?);
                let said =
                    SAID_OTHERWISE.iter().find(|(name, _)| *name == known).map_or("", |(_, said)| said);
                draft.note(format!("{known}: write `{said}`"));
            }
            unknown if unknown.starts_with('-') && unknown.len() > 1 => {
                draft.note(format!("the option {unknown} was not carried over"));
            }
            url if step.url.is_empty() => step.url = url.to_string(),
            stray => draft.note(format!("the word {stray:?} was not carried over")),
        }
    }
    if step.url.is_empty() {
        return Err("the curl command has no URL".to_string());
    }
    if !step.url.contains("://") {
        step.url.insert_str(0, "http://");
    }
    step.url = literal_url(&step.url);
    let joined = data.join("&");
    if as_query && !joined.is_empty() {
        let separator = if step.url.contains('?') { '&' } else { '?' };
        step.url = format!("{}{separator}{}", step.url, literal_url(&joined));
    } else if !form.is_empty() {
        step.body = DraftBody::Multipart(form);
    } else if !joined.is_empty() {
        let given =
            step.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case("content-type")).map(|(_, v)| v.clone());
        let kind = given.unwrap_or_else(|| {
            if json { "application/json" } else { "application/x-www-form-urlencoded" }.to_string()
        });
        step.body = body_of(&joined, &kind);
    }
    if step.method.is_empty() {
        step.method = if matches!(step.body, DraftBody::Empty) { "GET" } else { "POST" }.to_string();
    }
    Ok(step)
}

/// Options without a value that stand in one word.
fn apart(word: String) -> Vec<String> {
    const ALONE: &str = "sSvifLkNOgIG#";
    let letters = word.strip_prefix('-').unwrap_or_default();
    match letters.len() > 1 && letters.chars().all(|c| ALONE.contains(c)) {
        true => letters.chars().map(|c| format!("-{c}")).collect(),
        false => vec![word],
    }
}

/// A number of seconds as a duration.
fn seconds(text: &str) -> Option<String> {
    let number: f64 = text.trim().parse().ok().filter(|n| (0.001..86_400.0).contains(n))?;
    Some(format!("{number}s"))
}

/// `name=content` with the content percent-encoded.
fn encoded(text: &str) -> String {
    let (name, content) = text.split_once('=').map_or(("", text), |(name, content)| (name, content));
    let mut out = if name.is_empty() { String::new() } else { format!("{name}=") };
    crate::scenario::percent_encode(content, &mut out);
    out
}

/// A line for the command prompt of Windows as one for a POSIX shell: there `^` takes away the meaning of what follows it.
fn without_carets(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains("^\"") && !text.contains("^\n") && !text.contains("^\r\n") {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().filter(|c| *c != '\r').peekable();
    while let Some(c) = chars.next() {
        match c {
            '^' => match chars.next() {
                // A line that goes on; with an empty line after it, a line's end.
                Some('\n') => out.push(chars.next_if_eq(&'\n').unwrap_or(' ')),
                Some(c) => out.push(c),
                None => {}
            },
            c => out.push(c),
        }
    }
    out.into()
}

/// Words as a POSIX shell splits them; `;`, `&&` and a line's end are words of their own. Nothing is expanded.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\n') | None => {}
                Some('\r') => drop(chars.next_if_eq(&'\n')),
                Some(next) => word.get_or_insert_default().push(next),
            },
            '\'' => {
                let out = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => out.push(c),
                        None => return Err("a quote ' has no end".to_string()),
                    }
                }
            }
            '"' | '$' if c == '"' || chars.peek() == Some(&'\'') => {
                let end = if c == '"' { '"' } else { chars.next().unwrap_or('\'') };
                let out = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(c) if c == end => break,
                        Some('\\') => match (chars.next(), end) {
                            (Some('\n'), '"') => {}
                            (Some('n'), '\'') => out.push('\n'),
                            (Some('t'), '\'') => out.push('\t'),
                            (Some('r'), '\'') => out.push('\r'),
                            (Some('u'), '\'') => {
                                let hex: String =
                                    (0..4).filter_map(|_| chars.next_if(char::is_ascii_hexdigit)).collect();
                                out.extend(u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32));
                            }
                            (Some(c @ ('"' | '\\' | '$' | '`' | '\'' | '!')), _) => out.push(c),
                            (Some(c), _) => out.extend(['\\', c]),
                            (None, _) => {}
                        },
                        Some(c) => out.push(c),
                        None => return Err(format!("a quote {end} has no end")),
                    }
                }
            }
            ';' | '\n' => {
                words.extend(word.take());
                words.push(c.to_string());
            }
            '&' if chars.peek() == Some(&'&') => {
                chars.next();
                words.extend(word.take());
                words.push("&&".to_string());
            }
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}
