//! Requests as browsers copy them for PowerShell and as a call of `fetch`.

use super::draft::{Draft, DraftStep, body_of, literal, literal_url};
use super::k6::headers;
use super::literals::arguments;
use serde_json::Value;
use std::collections::BTreeMap;

/// Reads calls of `Invoke-WebRequest` and `Invoke-RestMethod`.
///
/// # Errors
/// When there is no URL, or a quote has no end.
pub fn powershell(text: &str) -> Result<Draft, String> {
    let mut draft = Draft { name: "powershell".to_string(), ..Draft::default() };
    let mut steps = Vec::new();
    let starts: Vec<usize> = ["Invoke-WebRequest", "Invoke-RestMethod"]
        .iter()
        .flat_map(|word| text.match_indices(word).map(|(at, word)| at + word.len()))
        .collect();
    let mut starts = starts;
    starts.sort_unstable();
    for (n, start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(text.len());
        steps.push(call(&words(&text[*start..end])?, &mut draft)?);
    }
    draft.journeys.push(("main".to_string(), 1, None, steps));
    Ok(draft)
}

/// A word of a command.
#[derive(Debug, PartialEq)]
enum Word {
    /// `-Name`
    Option(String),
    /// A text, with or without quotes.
    Text(String),
    /// `@{`, `}`, `(`, `)`, `=`, `;` and ends of lines.
    Sign(char),
}

fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // The end of a line that goes on.
            '`' => drop(chars.next_if(|c| *c == '\r')),
            '"' | '\'' => words.push(Word::Text(quoted(c, &mut chars)?)),
            '{' | '}' | '(' | ')' | '=' | ';' | '\n' => words.push(Word::Sign(c)),
            '@' | '\r' => {}
            c if c.is_whitespace() => {}
            c => {
                let mut word = c.to_string();
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !"{}()=;`\"'".contains(*c)) {
                    word.push(c);
                }
                words.push(match word.strip_prefix('-') {
                    Some(name) => Word::Option(name.to_ascii_lowercase()),
                    None => Word::Text(word),
                });
            }
        }
    }
    Ok(words)
}

/// The inside of a quoted text: in `"` a backtick escapes, in `\'` nothing does; the quote twice is the quote.
fn quoted(quote: char, chars: &mut std::iter::Peekable<std::str::Chars>) -> Result<String, String> {
    let mut out = String::new();
    loop {
        match chars.next() {
            None => return Err(format!("a quote {quote} has no end")),
            Some(c) if c == quote => match chars.next_if_eq(&quote) {
                Some(c) => out.push(c),
                None => return Ok(out),
            },
            Some('`') if quote == '"' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some(c) => out.push(c),
                None => {}
            },
            Some(c) => out.push(c),
        }
    }
}

fn call(words: &[Word], draft: &mut Draft) -> Result<DraftStep, String> {
    let mut step = DraftStep { method: "GET".to_string(), ..DraftStep::default() };
    let (mut body, mut kind) = (String::new(), String::new());
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let Word::Option(name) = word else {
            // The URL can stand without its name.
            if let Word::Text(text) = word
                && step.url.is_empty()
                && text.contains("://")
            {
                step.url = literal_url(text);
            }
            continue;
        };
        // A value can stand within calls: `-Body ([System.Text.Encoding]::UTF8.GetBytes("…"))`.
        let mut value = || {
            let mut found = None;
            while let Some(word) = words.peek() {
                match word {
                    Word::Text(text) if text.starts_with('[') => {}
                    Word::Text(text) => {
                        found.get_or_insert_with(|| text.clone());
                    }
                    Word::Sign('(' | ')') => {}
                    _ => break,
                }
                words.next();
            }
            found.unwrap_or_default()
        };
        match name.as_str() {
            "uri" => step.url = literal_url(&value()),
            "method" => step.method = value().to_ascii_uppercase(),
            "body" => body = value(),
            "contenttype" => kind = value(),
            "headers" => {
                let mut key: Option<String> = None;
                for word in words.by_ref() {
                    match (word, key.take()) {
                        (Word::Sign('}'), _) => break,
                        // What HTTP/2 says before its fields.
                        (Word::Text(_), Some(name))
                            if ["authority", "method", "path", "scheme"].contains(&name.as_str()) => {}
                        (Word::Text(value), Some(name)) => step.headers.push((name, literal(value))),
                        (Word::Text(name), None) => key = Some(name.clone()),
                        (Word::Sign('='), name) => key = name,
                        _ => {}
                    }
                }
            }
            "skipcertificatecheck" => drop(draft.options.insert("insecure", "true".to_string())),
            "usebasicparsing" | "websession" | "sessionvariable" | "useragent" | "outfile" => {}
            other => draft.note(format!("the option -{other} was not carried over")),
        }
    }
    if step.url.is_empty() {
        return Err("the command has no -Uri".to_string());
    }
    if !kind.is_empty() {
        step.headers.push(("content-type".to_string(), kind.clone()));
    }
    step.body = body_of(&body, &kind);
    Ok(step)
}

/// Reads calls of `fetch`.
///
/// # Errors
/// When its arguments are computed.
pub fn fetch(text: &str) -> Result<Draft, String> {
    let mut draft = Draft { name: "fetch".to_string(), ..Draft::default() };
    let (names, mut steps) = (BTreeMap::new(), Vec::new());
    for inside in text.split("fetch(").skip(1) {
        let (given, _) = arguments(inside, &names).ok_or("the arguments of fetch could not be read")?;
        let Some(Some(Value::String(url))) = given.first() else {
            return Err("the URL of fetch is computed".to_string());
        };
        let options = given.get(1).cloned().flatten().unwrap_or_default();
        let fields = headers(&options["headers"]);
        let of = |name: &str| {
            let found = fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let kind = of("content-type");
        if kind.starts_with("multipart/") {
            draft.note("the multipart body was left out: write its fields under `multipart`");
        }
        steps.push(DraftStep {
            method: options["method"].as_str().unwrap_or("GET").to_ascii_uppercase(),
            url: literal_url(url),
            body: match kind.starts_with("multipart/") {
                true => Default::default(),
                false => body_of(options["body"].as_str().unwrap_or_default(), &kind),
            },
            headers: fields,
            ..DraftStep::default()
        });
    }
    draft.journeys.push(("main".to_string(), 1, None, steps));
    Ok(draft)
}
