//! `--trace-link` as people write it: a backend's name and address, or a template of their own.

use url::Url;

/// What a template may hold between braces.
const PLACES: [&str; 9] = [
    "{trace_id}",
    "{start_s}",
    "{start_ms}",
    "{start_us}",
    "{start_ns}",
    "{end_s}",
    "{end_ms}",
    "{end_us}",
    "{end_ns}",
];

/// Grafana's page for one query, as it writes it into the address: a trace id in a data source of Tempo's kind.
fn grafana(base: &str, datasource: &str) -> String {
    let panes = serde_json::json!({
        "trace": {
            "datasource": datasource,
            "queries": [{
                "refId": "A",
                "datasource": {"type": "tempo", "uid": datasource},
                "queryType": "traceql",
                "query": "TRACE_ID",
            }],
            "range": {"from": "START_MS", "to": "END_MS"},
        }
    });
    let coded: String = url::form_urlencoded::byte_serialize(panes.to_string().as_bytes()).collect();
    // The placeholders go in after the encoding, so that they are found again.
    let coded = coded
        .replace("TRACE_ID", "{trace_id}")
        .replace("START_MS", "{start_ms}")
        .replace("END_MS", "{end_ms}");
    format!("{base}/explore?schemaVersion=1&orgId=1&panes={coded}")
}

/// The template that the text means.
pub fn parse(text: &str) -> Result<String, String> {
    let preset = text.split_once('=').filter(|(name, _)| !name.contains([':', '/', '?']));
    let template = match preset {
        Some(("jaeger", base)) => format!("{}/trace/{{trace_id}}", base.trim_end_matches('/')),
        Some(("zipkin", base)) => {
            format!("{}/zipkin/traces/{{trace_id}}", base.trim_end_matches('/').trim_end_matches("/zipkin"))
        }
        Some((name @ ("grafana" | "tempo"), base)) => {
            let (base, datasource) = base.split_once('#').unwrap_or((base, "tempo"));
            if datasource.is_empty()
                || !datasource.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
            {
                return Err(format!("{name}: `{datasource}` is no uid of a data source"));
            }
            grafana(base.trim_end_matches('/'), datasource)
        }
        Some((name, _)) => {
            return Err(format!(
                "`{name}` is no backend with a known page; use jaeger=, grafana=, tempo= or zipkin= with the URL of its pages, or a template with {{trace_id}}"
            ));
        }
        None => text.to_owned(),
    };
    let plain = PLACES.iter().fold(template.clone(), |text, place| text.replace(place, "0"));
    let parsed = Url::parse(&plain).map_err(|error| format!("`{text}` is no URL: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err("a link must begin with http:// or https://".into());
    }
    if !template.contains("{trace_id}") {
        return Err(format!(
            "`{text}` has no {{trace_id}}; write it where the id belongs, or name the backend: jaeger={text}"
        ));
    }
    if let Some(at) = plain.find('{') {
        let place: String = plain[at..].chars().take_while(|c| *c != '}').take(40).collect();
        return Err(format!("`{place}}}` is not known; there are {}", PLACES.join(" ")));
    }
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_and_templates() {
        assert_eq!(parse("jaeger=http://j:16686/").unwrap(), "http://j:16686/trace/{trace_id}");
        assert_eq!(parse("zipkin=http://z:9411").unwrap(), "http://z:9411/zipkin/traces/{trace_id}");
        let own = "https://x/t?id={trace_id}&from={start_ms}&to={end_ms}";
        assert_eq!(parse(own).unwrap(), own);
        let grafana = parse("grafana=https://g/#my-tempo").unwrap();
        assert!(
            grafana.starts_with("https://g/explore?schemaVersion=1&orgId=1&panes=%7B%22trace%22"),
            "{grafana}"
        );
        assert!(
            grafana.contains("%22query%22%3A%22{trace_id}%22") && grafana.contains("my-tempo"),
            "{grafana}"
        );
        assert!(grafana.contains("{start_ms}") && grafana.contains("{end_ms}"));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (text, words) in [
            ("http://j:16686", "has no {trace_id}"),
            ("javascript:alert('{trace_id}')", "http:// or https://"),
            ("elastic=http://x", "`elastic` is no backend"),
            ("http://x/{trace_id}/{span_id}", "`{span_id}` is not known; there are {trace_id}"),
            ("jaeger=localhost", "is no URL"),
            ("grafana=http://g#a b", "no uid of a data source"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
