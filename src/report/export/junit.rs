//! Thresholds as test results, in the XML that CI servers read: one test case for each.

use crate::report::Report;
use crate::report::number;
use crate::report::text;
use crate::report::view::View;
use crate::report::wording::{self, verdict};

/// One suite; its failed cases say what was measured, its output says why.
pub fn junit(report: &Report) -> String {
    let view = View::new(report);
    let run = report.run;
    let failures = report.thresholds.iter().filter(|t| !t.passed).count();
    let headline = escaped(&verdict::headline(&view).plain());
    let counts = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"{:.3}\"",
        report.thresholds.len(),
        view.seconds
    );
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    out.push_str(&format!("<testsuites name=\"hotspan\" {counts}>\n"));
    out.push_str(&format!(
        "  <testsuite name=\"{}\" {counts} timestamp=\"{}\">\n    <properties>\n",
        escaped(&run.name),
        number::rfc3339(run.started_at)
    ));
    let properties =
        [("run", &*run.id), ("target", &*run.target), ("hotspan.version", &*run.hotspan_version)];
    for (name, value) in properties {
        out.push_str(&format!("      <property name=\"{name}\" value=\"{}\"/>\n", escaped(value)));
    }
    out.push_str("    </properties>\n");
    for threshold in report.thresholds {
        let name = escaped(&threshold.expression);
        let class = escaped(&run.name);
        let measured = escaped(&wording::measured(threshold.actual).replace(number::NBSP, " "));
        out.push_str(&format!("    <testcase classname=\"{class}\" name=\"{name}\" time=\"0\""));
        if threshold.passed {
            out.push_str(&format!(">\n      <system-out>measured: {measured}</system-out>\n"));
        } else {
            let message = format!("measured: {measured}");
            out.push_str(&format!(
                ">\n      <failure type=\"threshold\" message=\"{message}\">{name}: {message}. {headline}</failure>\n"
            ));
        }
        out.push_str("    </testcase>\n");
    }
    out.push_str(&format!("    <system-out>{headline}</system-out>\n  </testsuite>\n</testsuites>\n"));
    out
}

/// As XML has it, in attributes too; characters that XML cannot hold are visible escapes.
fn escaped(foreign: &str) -> String {
    let mut out = String::with_capacity(foreign.len());
    for c in text::clean(foreign).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c => out.push(c),
        }
    }
    out
}
