"""The HTML report in a real browser: headless Chromium opens, clicks, sorts, filters, prints and reads back.

Runs of the demo shop (constant load with a fault, load in stages, a healthy one) and traces full of hostile names are
analysed; their report.html is opened light and dark, at desktop and phone width. No console error, no request, no serious
violation by axe, numbers equal to report.json, and nothing of 120 hostile texts is run. The other formats are read back:
the same numbers in each, and none broken by hostile texts.
HOTSPAN_PAGES_SHOTS=FOLDER keeps pictures of every section; HOTSPAN_PAGES_RUN=RUN opens that run folder too and says how
large its page is and how long it takes to open.
"""

import base64
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml
import zlib
from pathlib import Path

from harness import HERE, Suite, read_report, run_folder

SHOTS = os.environ.get("HOTSPAN_PAGES_SHOTS", "")
MOST_BYTES = 5 * 1024 * 1024
TEXTS = [
    "<script>pwned=1</script>", "</script><script>pwned=2</script>", "</title><script>pwned=3</script>",
    "<img src=x onerror=pwned=4>", "<svg onload=pwned=5>", "<iframe srcdoc='<script>parent.pwned=6</script>'>",
    "\"><script>pwned=7</script>", "' onmouseover='pwned=8", "\" autofocus onfocus=\"pwned=9", "javascript:pwned=10",
    "<a href=javascript:pwned=11>x</a>", "<body onload=pwned=12>", "<style>*{display:none}</style>", "<link rel=stylesheet href=//evil.test>",
    "<base href=//evil.test>", "<meta http-equiv=refresh content=0;url=//evil.test>", "<form action=//evil.test><input name=x>",
    "<!--", "-->", "<!--<script>", "<![CDATA[", "]]>", "<template><script>pwned=13</script></template>",
    "<math><mtext></mtext><mglyph><svg><script>pwned=14</script></svg></mglyph></math>", "{{constructor.constructor('pwned=15')()}}",
    "${pwned=16}", "`${pwned=17}`", "\\u003cscript\\u003epwned=18\\u003c/script\\u003e", "&lt;script&gt;pwned=19&lt;/script&gt;", "&#60;script&#62;",
    "\x1b[2J\x1b[H", "\x1b]0;title\x07", "\x9b31m", "nul\x00byte", "back\x08\x08space", "one\ntwo\r\nthree", "tab\tbed\x0b\x0c", "\x7fdel",
    "\u202etxt.exe", "\u2066isolate\u2069", "\u200frtl\u200e", "zero\u200bwidth\u200d", "line\u2028para\u2029", "\ufeffbom", "soft\xadhyphen", "\u3164filler",
    "z" + "".join(chr(0x300 + i) for i in range(40)) + "algo", "\U000e0041tag", "\ufff9anno\ufffb", "\ufffereversed",
    "](javascript:pwned=20)", "[x](//evil.test)", "![x](//evil.test/x.png)", "| a | b |", "|---|---|", "`code`", "```fence", "**bold**", "# head", "> quote",
    "- item", "1. item", "---", "<details open ontoggle=pwned=21>", "~~gone~~", "@octocat #1", "https://evil.test/", "a::b::c", "::error::boom", "::set-output name=x::y",
    "##vso[task.complete]", "=1+1", "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "=HYPERLINK(\"//evil.test\")", "'; DROP TABLE run; --", "\" OR 1=1",
    "../../etc/passwd", "..\\..\\windows", "file:///etc/passwd", "data:text/html,<script>pwned=22</script>", "vbscript:x", "%3Cscript%3Epwned=23%3C/script%3E", "%00", "%n%s%p", "$(pwned)", "$PATH",
    "__proto__", "constructor", "toString", "hasOwnProperty", "prototype", "__defineGetter__", "NaN", "undefined", "null", "true", "[object Object]", "1e999", "-0",
    "商品一覧", "مرحبا بالعالم", "👩‍👩‍👧‍👦", "ﷺ" * 40, "a" * 4000, "word " * 400, "<" * 300, "&" * 300, "\\" * 50, "\"" * 50, "'" * 50,
    "", " ", "\u00a0", ".", "/", "?a=<b>&c='\"#", "<x onclick=pwned=24 tabindex=0 autofocus onfocus=pwned=25>", "<marquee onstart=pwned=26>", "<input autofocus onfocus=pwned=27>",
]  # fmt: skip


def hostile_traces(path: Path) -> None:
    """A trace for each text, which stands wherever a trace can hold text: service, span, attributes, events, state."""
    def attributes(**pairs):
        return [{"key": key.replace("__", "."), "value": {"stringValue": value}} for key, value in pairs.items()]

    resources = []
    for number, text in enumerate(TEXTS):
        trace, base = f"{number + 1:032x}", 1_790_000_000_000_000_000 + number * 50_000_000

        def span(order, parent, name, kind, start, end, attrs, trace=trace, base=base, number=number, text=text):
            return {
                "traceId": trace, "spanId": f"{number + 1:08x}{order:08x}", "parentSpanId": f"{number + 1:08x}{parent:08x}" if parent else "",
                "name": name, "kind": kind, "startTimeUnixNano": str(base + start * 1_000_000), "endTimeUnixNano": str(base + end * 1_000_000),
                "attributes": attrs, "traceState": "", "status": {"code": 2, "message": text}, "events": [{"name": text, "timeUnixNano": str(base)}],
            }  # fmt: skip

        spans = [
            span(1, 0, text, 2, 0, 40, attributes(http__route=text, http__request__method="GET", url__path=text)),
            span(2, 1, text, 3, 2, 12, attributes(db__system__name=text or "x", db__query__text=text, db__collection__name=text)),
            span(3, 1, text, 3, 12, 30, attributes(server__address=text, url__full="http://evil.test/" + text, http__request__method="GET")),
            span(4, 1, text, 1, 30, 39, attributes(code__function__name=text, code__file__path=text)),
        ]
        name = text if number % 2 else "shop"
        resources.append({"resource": {"attributes": attributes(service__name=name, service__instance__id=text, host__name=text)}, "scopeSpans": [{"scope": {"name": text}, "spans": spans}]})
    path.write_text(json.dumps({"resourceSpans": resources}))


def one_request(suite: Suite) -> Path:
    """The least that a report can be made of, and a change that nothing in it matches."""
    span = {"traceId": f"{1:032x}", "spanId": f"{1:016x}", "name": "GET /only", "kind": 2, "startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000000020000000"}
    service = [{"key": "service.name", "value": {"stringValue": "shop"}}]
    traces, out = suite.folder / "one.json", suite.folder / "one"
    traces.write_text(json.dumps({"resourceSpans": [{"resource": {"attributes": service}, "scopeSpans": [{"spans": [span]}]}]}))
    ran = suite.hotspan("analyze", traces, "--out", out, "--what-if", "no such work=0", timeout=120)
    suite.check("one request is analysed", ran.code == 0, str(ran))
    return run_folder(out)


def check_one(suite: Suite, text: str) -> None:
    """The page of one request says what there is."""
    nonsense = [word for word in ("[object", "NaN", "undefined", "Infinity", "0.00\u202fs", "No request was made", "hotspan was late") if word in text]
    suite.check("one request: no nonsense", not nonsense, str(nonsense))
    for wanted in ("no such work=0", "Nothing in this run matches it", "Too few requests", "nothing to see over time", "No call from one service to another"):
        suite.check(f"one request: says {wanted!r}", wanted in text, text[:600])


def browse(suite: Suite, task: dict) -> dict:
    file = suite.folder / "task.json"
    file.write_text(json.dumps(task))
    ran = subprocess.run(
        ["node", str(HERE / "pages" / "look.mjs"), os.environ["HOTSPAN_CHROMIUM"], str(file)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=600, check=False,
    )  # fmt: skip
    if ran.returncode != 0:
        raise RuntimeError(f"the browser's script ended with {ran.returncode}: {ran.stderr[-2000:]}")
    return json.loads(ran.stdout)


def spaces(text: str) -> str:
    return " ".join(text.replace("\u202f", " ").replace("\u00a0", " ").split())


def check_look(suite: Suite, seen: dict) -> None:
    name = seen["name"]
    foreign = seen["foreign"]
    suite.check(f"{name}: no console error", not seen["console"], str(seen["console"][:3]))
    suite.check(f"{name}: nothing is fetched", not seen["requests"], str(seen["requests"][:3]))
    suite.check(f"{name}: no dialog", not seen["dialogs"], str(seen["dialogs"]))
    suite.check(f"{name}: not wider than the screen", seen["overflow"] <= 0, f"{seen['overflow']} px")
    suite.check(f"{name}: no foreign script ran", foreign["pwned"] is None, str(foreign["pwned"]))
    suite.check(f"{name}: only the page's own elements", not foreign["tags"] and foreign["scripts"] == 5 and foreign["handlers"] == 0, str(foreign))
    suite.check(f"{name}: links go to the page or to http", not foreign["links"], str(foreign["links"][:3]))
    suite.check(f"{name}: no control characters are shown", foreign["controls"] == 0, str(foreign["controls"]))
    if "violations" in seen:
        suite.check(f"{name}: no serious violation by axe", not seen["violations"], "\n".join(seen["violations"]))


def check_numbers(suite: Suite, uses: dict, report: dict) -> None:
    suite.check("the headline is the report's", spaces(uses["headline"]) == spaces(report["verdict"]["headline"]), uses["headline"])
    wanted = [
        [s["exchanges"], s["rate_per_s"], s["errors"], *(s["latency_ms"][q] for q in ("mean", "p50", "p95", "p99", "max"))]
        for s in report["steps"] if s["exchanges"]
    ]  # fmt: skip
    shown = [[cell["v"] for cell in row[1:9]] for row in uses["steps"]]
    suite.check("every number of the steps is report.json's", shown == wanted, f"{shown[:2]} for {wanted[:2]}")
    telemetry = report["telemetry"]
    shown = {row[0]["text"]: row[1]["v"] for row in uses["telemetry"]}
    for label, key in {"Requests": "exchanges", "Joined with server spans": "joined", "Spans read": "spans", "Spans that came twice": "duplicates"}.items():
        suite.check(f"telemetry: {label}", shown.get(label) == telemetry[key], str(shown.get(label)))
    suite.check("a card for each finding", len(uses["cards"]) == len(report["findings"]) > 0, str(uses["cards"]))
    suite.check("cards have the findings' titles", [spaces(c) for c in uses["cards"]] == [spaces(f["title"]) for f in report["findings"]], str(uses["cards"]))
    suite.check("what was copied is the Markdown report", uses["copied"] == uses["markdown"], (uses["copied"] or "")[:200])


def printed(suite: Suite, folder: Path, form: str) -> str:
    ran = suite.hotspan("report", folder, "--format", form, timeout=120)
    suite.check(f"report --format {form} exits with 0", ran.code == 0, str(ran)[:400])
    return ran.out


def against_schema(suite: Suite, text: str) -> str:
    """What libxml2 finds wrong with a JUnit file by the schema that Jenkins' xUnit plugin reads it by."""
    file = suite.folder / "junit.xml"
    file.write_text(text)
    ran = subprocess.run(["xmllint", "--noout", "--schema", os.environ["HOTSPAN_JUNIT_XSD"], str(file)], capture_output=True, text=True, timeout=60, check=False)
    return "" if ran.returncode == 0 else ran.stderr[:600]


def check_junit(suite: Suite, folder: Path) -> None:
    """A gate whose verdict cannot be given, and a comparison; and the check itself must be able to fail."""
    doubtful = suite.folder / "doubtful.xml"
    # A limit on blame where no server span came: an error, and what was not decided is skipped.
    budget = suite.folder / "budget.yaml"
    budget.write_text("thresholds:\n  - database.mean < 1s\n  - latency.p95 < 10s\n")
    hidden = suite.folder / "without-spans"
    shutil.copytree(folder, hidden)
    shutil.rmtree(hidden / "spans")
    ran = suite.hotspan("analyze", hidden, "--budget", budget, "--write", f"junit={doubtful}", timeout=120)
    suite.check("JUnit: a result that cannot carry a verdict exits with 3", ran.code == 3, str(ran)[-600:])
    text = doubtful.read_text()
    suite.check("JUnit: it has an error and what was skipped", "<error" in text and "<skipped" in text, text[:600])
    suite.check("JUnit: it is valid by the schema", not (wrong := against_schema(suite, text)), wrong)
    compared = suite.folder / "compared.xml"
    ran = suite.hotspan("compare", folder, "--write", f"junit={compared}", "--", hidden, timeout=120)
    suite.check("JUnit: a comparison is valid by the schema", compared.is_file() and not (wrong := against_schema(suite, compared.read_text())), str(ran)[-400:])
    broken = text.replace("<testcase ", "<testcase flaky=\"no\" ", 1)
    suite.check("JUnit: the schema finds an attribute that it does not know", "flaky" in against_schema(suite, broken))


def check_formats(suite: Suite, name: str, folder: Path, report: dict) -> None:
    """Every format is read by a reader of its own, and says the same as report.json."""
    steps = [s for s in report["steps"] if s["exchanges"]]
    rows = list(csv.DictReader(io.StringIO(printed(suite, folder, "csv"), newline="")))
    of_steps = [r for r in rows if r["row"] == "step" and r["requests"] != "0"]
    same = [[float(r[k]) for k in ("requests", "errors", "mean_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms")] for r in of_steps]
    wanted = [[s["exchanges"], s["errors"], *(s["latency_ms"][q] for q in ("mean", "p50", "p95", "p99", "max"))] for s in steps]
    suite.check(f"{name}: CSV has the numbers of the steps", same == wanted, f"{same[:2]} for {wanted[:2]}")
    texts = [r[k] for r in rows for k in ("journey", "step", "service", "system", "name", "code")]
    suite.check(f"{name}: no cell of the CSV is a formula", not [t for t in texts if t[:1] in "=+-@\t\r" and t], str(texts[:3]))
    junit = printed(suite, folder, "junit")
    wrong = against_schema(suite, junit)
    suite.check(f"{name}: JUnit is valid by the schema of Jenkins' xUnit plugin", not wrong, wrong)
    tests = xml.fromstring(junit)
    failed = [t for t in report["thresholds"] if not t["passed"]]
    counts = (len(tests.findall(".//testcase")), len(tests.findall(".//failure")))
    suite.check(f"{name}: JUnit has a case for each threshold", counts == (len(report["thresholds"]), len(failed)), str(counts))
    metrics = printed(suite, folder, "openmetrics")
    lines = [line for line in metrics.splitlines() if not line.startswith("#")]
    broken = [line for line in lines if not re.fullmatch(r'[a-z_]+(\{([a-z_]+="([^"\\\n]|\\.)*",?)*\})? [-+.e0-9]+', line)]
    suite.check(f"{name}: OpenMetrics is well formed", not broken and metrics.endswith("\n# EOF\n"), str(broken[:2]))
    p95 = [float(line.rsplit(" ", 1)[1]) for line in lines if 'quantile="0.95"' in line]
    suite.check(f"{name}: OpenMetrics has the p95", [round(v * 1000, 3) for v in p95] == [s["latency_ms"]["p95"] for s in steps], str(p95[:3]))
    # Blame was given for every exchange, so the paths sum to the latency; each stack is rounded to a microsecond.
    total = sum(s["exchanges"] * s["latency_ms"]["mean"] for s in steps)
    stacks = printed(suite, folder, "folded").splitlines()
    folded = sum(int(line.rsplit(" ", 1)[1]) for line in stacks) / 1000
    near = abs(folded - total) <= 0.001 * (len(stacks) + report["telemetry"]["exchanges"])
    suite.check(f"{name}: folded stacks sum to the latency", near, f"{folded} ms for {total} ms")
    scope = json.loads(printed(suite, folder, "speedscope"))
    weights = sum(sum(p["weights"]) for p in scope["profiles"]) / 1000
    frames = {f for p in scope["profiles"] for s in p["samples"] for f in s}
    suite.check(f"{name}: speedscope has the same", abs(weights - folded) < 1e-6 and max(frames) < len(scope["shared"]["frames"]), f"{weights}")
    events = json.loads(printed(suite, folder, "perfetto"))["traceEvents"]
    processes = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    slices = [e for e in events if e["ph"] == "X"]
    roots = {e["pid"]: e["dur"] for e in reversed(slices) if e["ts"] == 0 and processes[e["pid"]].endswith("requests")}
    means = sorted(round(v / 1000, 3) for v in roots.values())
    wanted = sorted(s["latency_ms"]["mean"] for s in steps)
    near = len(means) == len(wanted) and all(abs(a - b) <= 0.002 for a, b in zip(means, wanted))
    suite.check(f"{name}: Perfetto's average requests have the means", near, f"{means[:3]} for {wanted[:3]}")
    real = {e["args"]["trace_id"]: e["dur"] for e in slices if e["name"] == "request" and "trace_id" in e["args"]}
    known = {e["trace_id"]: e["latency_ms"] * 1000 for s in steps for e in s["exemplars"]}
    suite.check(f"{name}: its requests are the report's", real and all(abs(real[t] - known[t]) < 1 for t in real if t in known) and set(real) & set(known), f"{list(real)[:2]}")
    threads = json.loads(printed(suite, folder, "firefox"))["threads"]
    profiled = sum(sum(t["samples"]["weight"]) for t in threads)
    samples = sum(t["samples"]["length"] for t in threads)
    suite.check(f"{name}: the Firefox profile has the same time", abs(profiled - folded) <= 0.002 * samples, f"{profiled} for {folded}")
    pictures = folder.parent / f"{folder.name}-pictures"
    ran = suite.hotspan("report", folder, "--pictures", pictures, timeout=120)
    files = sorted(pictures.glob("*.svg"))
    suite.check(f"{name}: each picture is a file", ran.code == 0 and sorted(ran.out.split("\n")[:-1]) == [str(f) for f in files] and len(files) > 4, str(ran)[:300])
    blame = [{k.removeprefix("data-"): v for k, v in e.attrib.items()} for e in xml.parse(pictures / "blame.svg").iter() if "data-ms" in e.attrib]
    shown = {}
    for bar in blame:
        shown[int(bar["step"])] = shown.get(int(bar["step"]), 0) + float(bar["ms"])
    wanted = {n: s["latency_ms"]["mean"] for n, s in enumerate(report["steps"]) if s["exchanges"]}
    suite.check(f"{name}: SVG bars sum to the means", all(abs(v - wanted[n]) < 0.01 for n, v in shown.items()) and len(shown) == min(len(wanted), 40), f"{shown} for {wanted}")
    elements = {e.tag.split("}")[1] for f in files for e in xml.parse(f).iter()}
    allowed = {"svg", "title", "desc", "style", "rect", "g", "text", "path", "circle"}
    suite.check(f"{name}: pictures have only their own elements", elements <= allowed, str(elements - allowed))
    whole = xml.fromstring(printed(suite, folder, "svg"))
    suite.check(f"{name}: all pictures are one file too", len([e for e in whole.iter() if e.get("class") == "h"]) == len(files))
    logs = [line for line in printed(suite, folder, "hdr").splitlines() if line.startswith("Tag=")]
    suite.check(f"{name}: the histogram log has two lines a step", len(logs) == 2 * len(steps), str(len(logs)))
    payloads = [base64.b64decode(line.rsplit(",", 1)[1]) for line in logs]
    suite.check(f"{name}: its histograms unpack", all(len(zlib.decompress(p[8:])) > 40 for p in payloads))


def check_words(suite: Suite, uses: dict) -> None:
    """The steps' numbers read the same on the page and in Markdown."""
    lines = uses["markdown"].split("## Steps", 1)[1].split("##", 1)[0].splitlines()
    rows = [[c.strip().strip("*`") for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("| `")]
    shown = {row[0]["text"]: [cell["text"] for cell in row[1:8]] for row in uses["steps"]}
    wanted = {row[0]: row[1:8] for row in rows}
    suite.check("the page's numbers read as in Markdown", len(wanted) > 3 and all(shown.get(k) == v for k, v in wanted.items()), f"{shown} for {wanted}")


def check_uses(suite: Suite, uses: dict) -> None:
    suite.check("copying is said aloud", "copied" in uses["said"], uses["said"])
    suite.check("sorting, largest first", uses["sortedDown"] == sorted(uses["sortedDown"], reverse=True) and len(uses["sortedDown"]) > 3, str(uses["sortedDown"]))
    suite.check("sorting, smallest first", uses["sortedUp"] == sorted(uses["sortedUp"]), str(uses["sortedUp"]))
    filtered = uses["filtered"]
    suite.check("the filter leaves one step", filtered["rows"] == [filtered["step"]], str(filtered))
    suite.check("a link keeps the filter", uses["linked"] == [filtered["step"]], f"{uses['linked']} from {filtered['hash']}")
    suite.check("a link leads to a finding", uses["toFinding"] is not None and 0 <= uses["toFinding"] < 300 and uses["focusedAt"] == "finding-1", f"{uses['toFinding']} {uses['focusedAt']}")
    suite.check("a link leads to a request", uses["toTrace"])
    request = uses["request"]
    suite.check("a finding's request is drawn when it is opened", request["before"] == 0 and len(request["rows"]) > 5, str(request)[:300])
    suite.check("its path is its whole latency", request["rows"] and request["rows"][0][2] == request["rows"][0][3], str(request["rows"][:1]))
    suite.check("what the finding is about is marked", request["mine"] >= 1 and request["lit"] >= 1 and "what the finding is about" in request["said"], str(request)[-300:])
    before, without = uses["asItWas"], uses["without"]
    suite.check("sliders at rest change nothing", all(abs(now - then) < 1e-9 for now, then in before), str(before))
    suite.check("a slider at zero takes time away", without[0][1] < without[0][0] and all(then <= now for now, then in without), str(without))
    frames = uses["frames"]
    suite.check("the flame graph zooms and comes back", frames[0] == frames[2] >= 5 and frames[1] <= frames[0], str(frames))
    suite.check("the flame graph finds", uses["hits"] > 0, str(uses["hits"]))
    rows = uses["waterfall"]
    suite.check("the waterfall has client and server spans", len(rows) > 5 and rows[0][0] == "critical path", str(rows[:3]))
    suite.check("the waterfall's path is the whole latency", rows[0][2] == rows[0][3], str(rows[0]))
    suite.check("every picture has its table", all(n > 0 for _, n in uses["behind"]) and len(uses["behind"]) >= 8, str(uses["behind"]))
    suite.check("t changes the theme", uses["themes"][0] != uses["themes"][1], str(uses["themes"]))
    suite.check("/ goes to the step menu", uses["menuFocused"] == "step-filter", uses["menuFocused"])
    suite.check("the first key leads past the menu", uses["firstTab"] == "Skip to the answer", uses["firstTab"])
    suite.check("it prints", uses["print"] > 50_000, str(uses["print"]))
    paper = uses["paper"]
    suite.check("on paper the figures are one row and whole", paper["rows"] == 1 and not paper["cut"], str(paper))
    suite.check("on paper nothing is wider than the paper", 600 < paper["wide"] <= 690, str(paper["wide"]))
    suite.check("on paper there is nothing to slide, choose or fill in", not paper["controls"], str(paper["controls"][:5]))
    suite.check("no console error while it is used", not uses["seen"]["console"], str(uses["seen"]["console"][:3]))
    suite.check("nothing is fetched while it is used", not uses["seen"]["requests"], str(uses["seen"]["requests"][:3]))


STAGES = """name: shop in stages
target: {target}
load:
  - {{users: 2, for: 5s}}
  - {{users: 6, for: 5s}}
  - {{users: 16, for: 5s}}
  - {{users: 40, for: 5s}}
journeys:
  browse:
    think: 20ms
    steps:
      - GET /products?page={{{{ pick(1, 20) }}}}
      - GET /products/{{{{ pick(1, 200) }}}}
thresholds:
  - latency.p95 < 5s
  - error_rate < 1%
  - latency.p50 < 1us
"""


def in_stages(suite: Suite) -> Path:
    """A shop with a fault under load that grows and falls: saturation, thresholds that hold and that do not."""
    from harness import HOST, free_ports, hotspan_binary, wait_for_port

    shop, grpc, http = free_ports(3)
    process = suite.start("shop", [hotspan_binary(), "demo", "--serve", f"{HOST}:{shop}", "--fault", "n_plus_one"], env={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{grpc}"})
    wait_for_port(shop, process)
    scenario = suite.folder / "stages.yaml"
    scenario.write_text(STAGES.format(target=f"http://{HOST}:{shop}"))
    out = suite.folder / "stages"
    ran = suite.hotspan("run", scenario, "--otlp-grpc", f"{HOST}:{grpc}", "--otlp-http", f"{HOST}:{http}", "--no-ui", "--out", out, timeout=180)
    suite.check("the run in stages fails its threshold", ran.code == 99, str(ran))
    suite.stop(process)
    return run_folder(out)


def main() -> int:
    with Suite("pages") as suite:
        out = suite.folder / "runs"
        ran = suite.hotspan("demo", "--fault", "n_plus_one", "--users", 8, "--duration", "15s", "--no-ui", "--out", out, timeout=240)
        suite.check("hotspan demo exits with 0", ran.code == 0, str(ran))
        folder = run_folder(out)
        page = folder / "report.html"
        suite.check("the run leaves report.html", page.is_file())
        suite.check("its closing lines name report.html", "report.html" in ran.out, ran.out[-400:])
        text = page.read_text()
        data = sum(len(text.split(f'id="{each}">')[1].split("</script>")[0]) for each in ("report", "pictures", "words", "markdown"))
        suite.check("the page without its data is below 1 MiB", len(text.encode()) - data < 1024 * 1024, f"{len(text) - data} of {len(text)}")
        printed = suite.hotspan("report", folder, "--format", "html", timeout=120)
        suite.check("hotspan report --format html is the same page", printed.code == 0 and printed.out == text, str(printed)[:300])

        stages = in_stages(suite)
        healthy_out = suite.folder / "healthy"
        suite.hotspan("demo", "--fault", "none", "--users", 4, "--duration", "6s", "--no-ui", "--out", healthy_out, timeout=240)
        healthy = run_folder(healthy_out)
        traces = suite.folder / "hostile.json"
        hostile_traces(traces)
        hostile_out = suite.folder / "hostile"
        ran = suite.hotspan("analyze", traces, "--out", hostile_out, timeout=120)
        suite.check(f"{len(TEXTS)} hostile texts are analysed", ran.code in (0, 3) and len(TEXTS) >= 120, str(ran))
        hostile = run_folder(hostile_out)

        looks = []
        for name, run in [("demo", folder), ("stages", stages), ("healthy", healthy), ("hostile", hostile)]:
            for theme in ("light", "dark"):
                for size in ("desktop", "phone"):
                    looks.append({"name": f"{name}-{theme}-{size}", "file": str(run / "report.html"), "theme": theme, "size": size, "axe": True, "shots": SHOTS or None})
        one = one_request(suite)
        for size in ("desktop", "phone"):
            looks.append({"name": f"one-light-{size}", "file": str(one / "report.html"), "size": size, "axe": True, "text": True, "shots": SHOTS or None})
        large = os.environ.get("HOTSPAN_PAGES_RUN")
        if large:
            looks.append({"name": "large", "file": str(Path(large).resolve() / "report.html")})
        seen = browse(suite, {"looks": looks, "use": {"file": str(page), "shots": SHOTS or None}})
        for look in seen["looks"]:
            with suite.case(look["name"]):
                check_look(suite, look)
                if "text" in look:
                    check_one(suite, look["text"])
        if large:
            size, took = (Path(large) / "report.html").stat().st_size, seen["looks"][-1]["openedMs"]
            print(f"  {large}: {size / 1e6:.2f} MB, opened in {took} ms")
            suite.check("the page of a large run stays below 5 MiB", size < MOST_BYTES, str(size))
        uses = {**seen["uses"], "markdown": (folder / "report.md").read_text()}
        check_numbers(suite, uses, read_report(folder))
        check_uses(suite, uses)
        check_words(suite, uses)
        for name, run in [("demo", folder), ("stages", stages), ("hostile", hostile)]:
            with suite.case(f"formats of {name}"):
                check_formats(suite, name, run, read_report(run))
        with suite.case("JUnit"):
            check_junit(suite, folder)
        return suite.finish()


if __name__ == "__main__":
    sys.exit(main())
