"""`hotspan serve` in a real browser and under attack: every page opened light and dark, at desktop and phone width, used as a
person uses it (search, notes, two sides compared, a step followed over runs, traces filtered and opened, a run written,
started, watched, changed, stopped, and its report), with no console error, no request to elsewhere, no serious violation by
axe. Then raw HTTP: foreign origins and hosts, changes by GET, without token or form word, paths that lead out, links, long
bodies, hostile names. Nothing of that may start, stop or read anything.
HOTSPAN_PAGES_SHOTS=FOLDER keeps pictures of every page.
"""

import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

from harness import HERE, HOST, Suite, clean_environment, free_ports, hotspan_binary, wait_for_port

SHOTS = os.environ.get("HOTSPAN_PAGES_SHOTS", "")
TOKEN = "a-token-for-the-suite"
FORM = "application/x-www-form-urlencoded"
HOSTILE = [
    "<script>pwned=1</script>", "</script><script>pwned=2</script>", "</textarea><script>pwned=3</script>", "\"><img src=x onerror=pwned=4>",
    "' onfocus='pwned=5' autofocus='", "</title><svg onload=pwned=6>", "javascript:pwned=7", "<!--<script>", "&lt;script&gt;", "\u202etxt.exe\u2066", "\x1b[2J", "${pwned=8}",
    "__proto__", "a" * 3000, "日本語 مرحبا", "=cmd|' /C calc'!A0",
]  # fmt: skip

SCENARIO = """name: {name}
target: {target}
load:
  - {{users: 2, for: {first}}}
  - {{users: 6, for: {second}}}
journeys:
  browse:
    think: 20ms
    steps:
      - name: products
        get: /products?page={{{{ pick(1, 20) }}}}
      - name: product
        get: /products/{{{{ pick(1, 200) }}}}
      - name: "missing <b>"
        get: /nothing-here
thresholds:
  - latency.p95 < 20s
"""


class Client:
    """Speaks HTTP as it is told, also wrongly."""

    def __init__(self, port: int):
        self.port = port
        self.cookie, self.csrf = "", ""
        self.own = {"Host": f"{HOST}:{port}", "Origin": f"http://{HOST}:{port}"}

    def ask(self, method: str, path: str, form: "dict | bytes | None" = None, **headers) -> "tuple[int, dict, str]":
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        body = form if isinstance(form, bytes) else urllib.parse.urlencode(form).encode() if form is not None else None
        sent = {"Host": self.own["Host"], "Cookie": self.cookie}
        if body is not None:
            sent |= {"Origin": self.own["Origin"], "Content-Type": FORM, "Content-Length": str(len(body))}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            if value:
                connection.putheader(name, value)
        connection.endheaders()
        try:
            if body:
                connection.send(body)
        except OSError:
            pass  # A server that refuses a long body need not read all of it.
        answer = connection.getresponse()
        seen = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode(errors="replace")
        connection.close()
        return seen

    def enter(self) -> None:
        status, headers, _ = self.ask("POST", "/enter", {"token": TOKEN})
        assert status == 303, status
        self.cookie = headers["set-cookie"].split(";")[0]
        self.csrf = self.page("/start")["csrf"]

    def page(self, path: str) -> dict:
        """The data of a page's script."""
        return json.loads(re.search(r'id="page">(.*?)</script>', self.ask("GET", path)[2], re.S).group(1))

    def state(self) -> dict:
        return json.loads(self.ask("GET", "/live/state")[2])

    def until(self, wanted, seconds: float = 60.0) -> dict:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = self.state()
            if wanted(state):
                return state
            time.sleep(0.2)
        raise RuntimeError(f"the run did not come so far: {json.dumps(self.state())[:1500]}")


def prepare(suite: Suite, out: Path, target: str, grpc: int, http_port: int) -> "list[str]":
    """Two short runs of one scenario, and each a second time as another run."""
    scenario = suite.folder / "first.yaml"
    scenario.write_text(SCENARIO.format(name="shop", target=target, first="1s", second="2s"))
    for _ in range(2):
        ran = suite.hotspan("run", scenario, "--otlp-grpc", f"{HOST}:{grpc}", "--otlp-http", f"{HOST}:{http_port}", "--quiet-period", "1s", "--no-ui", "--quiet", "--out", out, timeout=120)
        suite.check("a run for the list", ran.code in (0, 3), str(ran)[-400:])
    for folder in sorted(out.iterdir()):
        again = folder.with_name(folder.name + "-again")
        shutil.copytree(folder, again)
        for name in ["run.json", "report.json"]:
            (again / name).write_text((again / name).read_text().replace(folder.name, again.name))
    return sorted(p.name for p in out.iterdir() if (p / "run.json").is_file())


def hostile_run(out: Path, run: str) -> str:
    """A run whose every text is hostile."""
    folder = out / "20261128T000000Z-hostile"
    shutil.copytree(out / run, folder)
    text = " ".join(HOSTILE[:9])
    described = json.loads((folder / "run.json").read_text())
    described |= {"name": text, "target": HOSTILE[1], "id": folder.name}
    for step, name in zip(described.get("steps", []), HOSTILE):
        step["name"], step["journey"] = name, HOSTILE[2]
    (folder / "run.json").write_text(json.dumps(described))
    report = json.loads((folder / "report.json").read_text())
    report["run"]["name"] = text
    report["verdict"]["headline"] = " ".join(HOSTILE)
    for number, step in enumerate(report["steps"]):
        step["name"], step["journey"] = HOSTILE[number % len(HOSTILE)], HOSTILE[(number + 1) % len(HOSTILE)]
        for part in step["contributors"]:
            part["name"], part["service"] = HOSTILE[3], HOSTILE[4]
    for number, operation in enumerate(report["operations"]):
        operation["name"], operation["service"] = HOSTILE[number % len(HOSTILE)], HOSTILE[5]
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "notes.json").write_text(json.dumps({"tags": HOSTILE[:6], "text": "\n".join(HOSTILE)}))
    return folder.name


def attack(suite: Suite, client: Client, runs: "list[str]", out: Path, scenarios: Path) -> None:
    run, csrf = runs[0], client.csrf
    status = lambda *args, **headers: client.ask(*args, **headers)[0]  # noqa: E731
    check = suite.check
    pages = ["/", "/trend", f"/runs/{run}", f"/runs/{run}/report", f"/runs/{run}/report.md", f"/runs/{run}/traces", "/start", "/live", f"/compare?base={run}&head={run}"]
    for path in pages:
        check(f"no cookie: {path.split('?')[0]} leads to the token", status("GET", path, Cookie="") == 303)
        check(f"a wrong cookie: {path.split('?')[0]}", status("GET", path, Cookie=f"hotspan_{client.port}=0000") == 303)
        for host in ["evil.example", f"evil.example:{client.port}", f"{HOST}:1", "", f"{HOST}.evil.example:{client.port}"]:
            seen = status("GET", path, Host=host) if host else 421
            check(f"host {host or 'absent'}: {path.split('?')[0]} is not there", seen == 421, str(seen))
    check("the state needs the cookie", status("GET", "/live/state", Cookie="") == 401)
    check("a wrong token", status("POST", "/enter", {"token": "a-token-for-the-suitf"}) == 401)
    check("no token", status("POST", "/enter", {}) == 401)
    check("a token from elsewhere", status("POST", "/enter", {"token": TOKEN}, Origin="http://evil.example") == 403)

    text = SCENARIO.format(name="attack", target="http://127.0.0.1:1", first="1s", second="1s")
    before = (scenarios / "shop.yaml").read_bytes()
    version = hashlib.sha256(before).hexdigest()
    changes = {
        "/save": {"scenario": "shop.yaml", "text": text, "version": version}, "/start": {"scenario": "shop.yaml", "text": text}, "/check": {"scenario": "shop.yaml", "text": text},
        "/live/change": {"change": "stop"}, f"/runs/{run}/notes": {"tags": "attacked", "text": "attacked"},
    }  # fmt: skip
    for path, form in changes.items():
        good = form | {"csrf": csrf}
        for origin in ["http://evil.example", "null", f"http://evil.example:{client.port}", f"http://localhost:{client.port}", f"http://{HOST}:1", ""]:
            seen = status("POST", path, good, Origin=origin)
            check(f"{path}: origin {origin or 'absent'} is refused", seen == 403, str(seen))
        seen = status("POST", path, good, Host=f"evil.example:{client.port}", Origin=f"http://evil.example:{client.port}")
        check(f"{path}: a name that was pointed here is refused", seen == 421, str(seen))
        check(f"{path}: no cookie", status("POST", path, good, Cookie="") == 401)
        check(f"{path}: no form word", status("POST", path, form) == 403)
        check(f"{path}: a wrong form word", status("POST", path, form | {"csrf": csrf[:-1] + "x"}) == 403)
        check(f"{path}: as JSON", status("POST", path, json.dumps(good).encode(), Content_Type="application/json") == 415)
        check(f"{path}: as plain text", status("POST", path, good, Content_Type="text/plain") == 415)
        query = urllib.parse.urlencode(good)
        if path != "/start":
            check(f"{path}: nothing by GET", status("GET", f"{path}?{query}") == 405)
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS"]:
            seen, headers, _ = client.ask(method, path, good, Origin="http://evil.example")
            check(f"{path}: {method} is refused, without CORS", seen == 405 and "access-control-allow-origin" not in headers, str(seen))
        check(f"{path}: a body that is too long", status("POST", path, b"csrf=" + csrf.encode() + b"&text=" + b"x" * 525_000) == 413)
    check("no run was started", client.state() is None, str(client.state()))
    check("no scenario was saved", (scenarios / "shop.yaml").read_bytes() == before and os.listdir(scenarios) == ["shop.yaml"], str(os.listdir(scenarios)))
    check("no note was kept", not (out / run / "notes.json").exists())

    secret = suite.folder / "secret"
    shutil.copytree(out / run, secret)
    (secret / "report.html").write_text("SECRET")
    (suite.folder / "secret.yaml").write_text(text.replace("attack", "SECRET"))
    (suite.folder / "secret.csv").write_text("name\nSECRET\n")
    os.symlink(secret, out / "linked")
    os.symlink(suite.folder / "secret.yaml", scenarios / "linked.yaml")
    os.symlink(suite.folder / "secret.csv", scenarios / "linked.csv")
    names = ["..", "../secret", "..%2fsecret", "%2e%2e%2fsecret", "..%5csecret", "%252e%252e%252fsecret", "linked", "linked/", ".", "%00", f"{run}%00", f"{run}/../../secret", "....//secret", "/etc", "~root", "CON"]
    for name in names:
        for path in [f"/runs/{name}", f"/runs/{name}/report", f"/runs/{name}/report.md", f"/runs/{name}/traces", f"/compare?base={name}&head={run}", f"/start?run={name}", f"/start?scenario={name}.yaml"]:
            seen, _, body = client.ask("GET", path)
            check(f"nothing outside: {path[:70]}", seen in (400, 404) and "SECRET" not in body, f"{seen} {body[:200]}")
    os.symlink(secret / "report.html", out / run / "stolen.html")
    shutil.move(out / run / "report.html", out / run / "kept.html")
    os.symlink(secret / "report.html", out / run / "report.html")
    check("a link in a run folder is not followed", status("GET", f"/runs/{run}/report") == 404)
    (out / run / "report.html").unlink()
    shutil.move(out / run / "kept.html", out / run / "report.html")
    for name in ["../secret.yaml", "linked.yaml", "..%2fsecret.yaml", "/etc/passwd", "shop.yaml/../../secret.yaml"]:
        seen, _, body = client.ask("GET", f"/start?scenario={name}")
        check(f"no scenario outside: {name}", seen == 404 and "SECRET" not in body, str(seen))
    for data in ["../secret.csv", str(suite.folder / "secret.csv"), "linked.csv", "/etc/passwd"]:
        evil = text.replace("    think: 20ms", f"    think: 20ms\n    data: {data}")
        answer = json.loads(client.ask("POST", "/check", {"csrf": csrf, "scenario": "shop.yaml", "text": evil})[2])
        check(f"a scenario reads nothing outside: {data}", "outside the folder" in answer.get("error", {}).get("message", ""), str(answer))
        seen = status("POST", "/start", {"csrf": csrf, "scenario": "shop.yaml", "text": evil})
        check(f"and is not started: {data}", seen == 409, str(seen))
    for name in ["../new.yaml", "/tmp/new.yaml", ".yaml", "new.txt", "a/b.yaml", ""]:
        answer = json.loads(client.ask("POST", "/check", {"csrf": csrf, "scenario": name, "text": text})[2])
        check(f"no scenario of the name {name!r}", "error" in answer, str(answer))
        check(f"and none is saved: {name!r}", status("POST", "/save", {"csrf": csrf, "scenario": name, "text": text}) == 409)
    for name in ["linked.yaml", "shop.yaml"]:
        for known in ["", "0" * 64, hashlib.sha256((suite.folder / "secret.yaml").read_bytes()).hexdigest()]:
            check(f"{name} is not overwritten unseen", status("POST", "/save", {"csrf": csrf, "scenario": name, "text": text, "version": known}) == 409)
    check("what is no scenario is not saved", status("POST", "/save", {"csrf": csrf, "scenario": "new.yaml", "text": "taget: x"}) == 409)
    here = sorted(os.listdir(scenarios))
    check("nothing was written to the folder of scenarios", (scenarios / "shop.yaml").read_bytes() == before and here == ["linked.csv", "linked.yaml", "shop.yaml"], str(here))
    check("nor outside", "SECRET" in (suite.folder / "secret.yaml").read_text() and not (suite.folder / "new.yaml").exists())
    public = text.replace("http://127.0.0.1:1", "http://93.184.216.34/")
    answer = client.ask("POST", "/start", {"csrf": csrf, "scenario": "shop.yaml", "text": public})
    check("a public host is not loaded", answer[0] == 409 and "hotspan serve --i-own 93.184.216.34" in answer[2], str(answer)[:400])
    metadata = text.replace("http://127.0.0.1:1", "http://169.254.169.254/")
    answer = client.ask("POST", "/start", {"csrf": csrf, "scenario": "shop.yaml", "text": metadata})
    check("the cloud's metadata service is not loaded", answer[0] == 409 and "metadata" in answer[2], str(answer)[:400])
    check("still no run was started", client.state() is None)

    for path in pages:
        _, headers, _ = client.ask("GET", path)
        policy = headers["content-security-policy"]
        sound = "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
        sound = sound and (policy.startswith("sandbox") or "unsafe" not in policy) and headers["x-content-type-options"] == "nosniff"
        check(f"strict headers: {path.split('?')[0]}", sound and "access-control-allow-origin" not in headers, policy)
    for text in HOSTILE:
        seen, _, _ = client.ask("POST", f"/runs/{run}/notes", {"csrf": csrf, "tags": text, "text": text + "\nsecond"})
        _, _, body = client.ask("GET", f"/runs/{run}")
        _, _, listed = client.ask("GET", "/?q=" + urllib.parse.quote(text))
        loose = re.search(r"<(?:img|svg onload|script>)|onerror=pwned[^&]*>|\u202e|\x1b", body + listed)
        check(f"a hostile note stays text: {text[:24]!r}", seen == 303 and not loose, str(loose))
    check("notes of the form are kept", "second" in json.loads((out / run / "notes.json").read_text())["text"])
    (out / run / "notes.json").unlink()


def saving(suite: Suite, client: Client, scenarios: Path) -> None:
    """A scenario is kept as it was written, unless its file is another one meanwhile."""
    def save(name: str, text: str, known: str) -> "tuple[int, dict]":
        seen, _, body = client.ask("POST", "/save", {"csrf": client.csrf, "scenario": name, "text": text, "version": known})
        return seen, json.loads(body)

    first = (scenarios / "shop.yaml").read_text()
    page = client.page("/start?scenario=shop.yaml")
    changed = first + "# one more line\n"
    seen, answer = save("shop.yaml", changed, page["version"])
    suite.check("what was read is saved", seen == 200 and (scenarios / "shop.yaml").read_text() == changed, str(answer))
    seen, again = save("shop.yaml", first, page["version"])
    suite.check("what changed meanwhile is not overwritten", seen == 409 and "since this page read it" in again["error"]["message"], str(again))
    seen, _ = save("shop.yaml", first, answer.get("version", ""))
    suite.check("the next version follows", seen == 200 and (scenarios / "shop.yaml").read_text() == first)
    seen, answer = save("copy.yaml", first, "")
    suite.check("a new file is made", seen == 200 and (scenarios / "copy.yaml").read_text() == first, str(answer))
    suite.check("once", save("copy.yaml", first, "")[0] == 409)
    suite.check("nothing else is left", not [name for name in os.listdir(scenarios) if name.startswith(".")], str(os.listdir(scenarios)))


def failing(suite: Suite, client: Client, grpc: int, target: str) -> None:
    """Runs that cannot begin: nothing listens at the target, or the receiver's port is taken."""
    def start(target: str) -> "tuple[int, dict, str]":
        text = SCENARIO.format(name="failing", target=target, first="1s", second="1s")
        return client.ask("POST", "/start", {"csrf": client.csrf, "scenario": "shop.yaml", "text": text})

    seen = start(f"http://{HOST}:1")
    suite.check("a target that is not there is told at once", seen[0] == 409 and f"{HOST}:1" in seen[2], str(seen)[:400])
    with socket.socket() as taken:
        # Connections of the runs before may not be forgotten yet.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((HOST, grpc))
        taken.listen(1)
        suite.check("a run is started", start(target)[0] == 200)
        state = client.until(lambda s: s["state"] != "starting")
        suite.check("a run that cannot begin says why", state["state"] == "failed" and str(grpc) in " ".join(state["said"]), json.dumps(state)[:500])


def browse(suite: Suite, task: dict) -> dict:
    file = suite.folder / "task.json"
    file.write_text(json.dumps(task))
    ran = subprocess.run(
        ["node", str(HERE / "pages" / "serve.mjs"), os.environ["HOTSPAN_CHROMIUM"], str(file)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=600, check=False,
    )  # fmt: skip
    if ran.returncode != 0:
        raise RuntimeError(f"the browser's script ended with {ran.returncode}: {ran.stderr[-2000:]}")
    return json.loads(ran.stdout)


def check_looks(suite: Suite, looks: "list[dict]") -> None:
    for seen in looks:
        with suite.case(seen["name"]):
            suite.check("it is there and drawn", seen["status"] == 200 and not seen["broken"], f"{seen['status']} {seen['broken']}")
            suite.check("no console error", not seen["console"], str(seen["console"][:3]))
            suite.check("nothing is fetched from elsewhere", not seen["requests"], str(seen["requests"][:3]))
            suite.check("no dialog, no foreign script", not seen["dialogs"] and seen["pwned"] is None, str(seen["pwned"]))
            suite.check("not wider than the screen", seen["overflow"] <= 0, f"{seen['overflow']} px")
            suite.check("no serious violation by axe", not seen.get("violations"), "\n".join(seen.get("violations", [])))
            suite.check("only the page's own elements", not seen["foreign"], str(seen["foreign"]))


def check_uses(suite: Suite, uses: dict, client: Client, out: Path) -> None:
    check = suite.check
    check("the token in the link lets in", uses["entered"] == "/", uses["entered"])
    check("a search finds", uses["searched"] == [1, "tagged"], str(uses["searched"]))
    check("the note is kept and shown", uses["note"] == "two\nlines", repr(uses["note"]))
    compared = uses["compared"]
    check("the comparison begins with its verdict", compared["first"] in ("same", "cannot tell", "regressed", "invalid"), str(compared)[:300])
    check("the comparison has steps and operations", compared["steps"] >= 2 and compared["operations"] >= 2, str(compared))
    wanted = json.loads(suite.hotspan("compare", "--format", "json", *(out / r for r in compared["base"]), "--", *(out / r for r in compared["head"])).out)
    check("its headline is that of hotspan compare", " ".join(compared["headline"].split()) == " ".join(wanted["verdict"]["headline"].split()), f"{compared['headline']} for {wanted['verdict']['headline']}")
    shown = {row[0]: float(row[1]) for row in compared["changes"]}
    same = {o["name"]: o["change_ms_per_exchange"] for o in wanted["operations"]}
    check("its changes are those of hotspan compare", all(any(abs(v - o["change_ms_per_exchange"]) < 1e-9 for o in wanted["operations"] if k.startswith(o["name"])) for k, v in shown.items()) and len(shown) >= 2, f"{shown} for {same}")
    trend = uses["trend"]
    check("the trend has a point for each run", trend["points"] >= 4 and trend["canvas"] >= 1, str(trend))
    # Its points are those of the runs that saw it: on a busy machine the spans of one may be late.
    asked = {k: v[0] for k, v in urllib.parse.parse_qs(trend["operation"].partition("?")[2]).items()}
    reports = [json.loads(p.read_text()) for p in out.glob("*/report.json") if not p.parent.is_symlink()]
    seen = lambda r: any((o["service"], o["name"]) == (asked.get("service"), asked.get("operation")) for o in r["operations"])  # noqa: E731
    knowing = sum(r["run"]["name"] == asked.get("scenario") and seen(r) for r in reports)
    check("an operation can be followed", trend["operation"].startswith("/trend?") and 2 <= trend["operationPoints"] <= knowing, f"{trend}, {knowing} runs have it")
    check("a point opens a report", trend["opened"].endswith("/report"), trend["opened"])
    traces = uses["traces"]
    check("filters leave what they say", traces["step"] and set(traces["step"]) == {"product"}, str(traces["step"][:5]))
    check("failed requests are found", traces["failed"] and all(s == "404" for s in traces["failed"]), str(traces["failed"][:5]))
    check("a shortest time is kept to", traces["slow"] and min(traces["slow"]) >= traces["least"], str(traces["slow"][:5]))
    check("a text in spans finds", 0 < traces["byText"] < traces["all"], f"{traces['byText']} of {traces['all']}")
    check("a text that no span has finds nothing", traces["byNothing"] == 0)
    check("pages turn", traces["pageTwo"].startswith("Page 2 of"), traces["pageTwo"])
    trace = uses["trace"]
    check("a trace has its waterfall", trace["rows"] >= 3 and trace["lit"] >= 2, str(trace))
    check("its critical path is its whole latency", trace["path"][0] == trace["path"][1] != "", str(trace["path"]))
    check("its attributes can be read", trace["attributes"] > 3, str(trace["attributes"]))
    editor = uses["editor"]
    check("a good scenario can be started", editor["fine"] is False, str(editor))
    check("a mistake is shown with its place", editor["place"] == "shop.yaml:2:1" and "target" in editor["message"], str(editor))
    check("a mistake cannot be started", editor["stuck"] is True)
    check("its place is gone to", editor["selection"] > 0, str(editor["selection"]))
    check("a public host is refused as one types", "--i-own" in editor["public"], editor["public"])
    check("what is written can be saved", editor["savable"] == "Save" and editor["saved"] == "Saved as shop.yaml." and editor["savedText"].endswith("# seen\n"), str(editor))
    check("a file that changed meanwhile is not overwritten", "Not saved" in editor["late"] and "since this page read it" in editor["late"], editor["late"])
    check("it is saved under another name", editor["another"] == "Saved as another.yaml." and editor["listed"], str(editor))
    linked = uses["linked"]
    check("a trace of the report leads to the browser", linked["at"].endswith(linked["id"]) and linked["rows"] >= 3, str(linked))
    check("it shows the waterfall of the report", linked["rows"] == linked["rowsOfReport"], str(linked))
    live = uses["live"]
    check("the run is watched: requests, latency, blame", live["seconds"] >= 3 and live["p95"] and live["blame"] >= 1, str(live)[:600])
    check("steps have bars of blame", live["bars"] >= 1 and live["rows"] == 3, str(live)[:300])
    check("more load is asked for", live["factor"] == "× 1.1", live["factor"])
    check("it pauses and goes on", live["paused"] == "Resume" and live["resumed"] == "Pause", str(live))
    check("the next stage begins", live["stage"].startswith("Stage 2 of 2"), live["stage"])
    check("a second run is refused meanwhile", "under way" in live["second"], live["second"])
    check("after its end the report opens", re.fullmatch(r"/runs/[\w.-]+/report", live["landed"]) is not None, live["landed"])
    check("the report shows the run", live["reportTitle"].startswith("shop live"), live["reportTitle"])
    report = json.loads((out / live["landed"].split("/")[2] / "report.json").read_text())
    what = json.dumps(report["load"])
    check("the report tells what was changed", all(word in what for word in ["times 1.1", "paused", "resumed", "next stage", "stopped"]), what[:600])
    check("no console error while all is used", not uses["console"], str(uses["console"][:4]))
    check("nothing is fetched from elsewhere", not uses["requests"], str(uses["requests"][:3]))
    check("the theme is kept", uses["theme"] == ["dark", "dark"], str(uses["theme"]))


def main() -> int:
    with Suite("serve") as suite:
        shop, grpc, http_port, port = free_ports(4)
        target = f"http://{HOST}:{shop}"
        process = suite.start("shop", [hotspan_binary(), "demo", "--serve", f"{HOST}:{shop}", "--fault", "n_plus_one"], env={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{grpc}", "OTEL_BSP_SCHEDULE_DELAY": "500"})
        wait_for_port(shop, process)
        out, scenarios = suite.folder / "runs", suite.folder / "scenarios"
        scenarios.mkdir()
        text = SCENARIO.format(name="shop live", target=target, first="60s", second="60s")
        (scenarios / "shop.yaml").write_text(text)
        runs = prepare(suite, out, target, grpc, http_port)
        command = [hotspan_binary(), "serve", out, "--listen", f"{HOST}:{port}", "--scenarios", scenarios, "--otlp-grpc", f"{HOST}:{grpc}", "--otlp-http", f"{HOST}:{http_port}"]
        server = suite.start("serve", command, env={**clean_environment(), "HOTSPAN_SERVE_TOKEN": TOKEN})
        wait_for_port(port, server)
        client = Client(port)
        client.enter()
        attack(suite, client, runs, out, scenarios)
        saving(suite, client, scenarios)
        failing(suite, client, grpc, target)
        hostile = hostile_run(out, runs[0])
        traced = client.page(f"/runs/{runs[-1]}/traces?text=SELECT")["traces"]["rows"]
        suite.check("there is a trace to open", bool(traced))
        opened = {
            "list": "/", "run": f"/runs/{runs[-1]}", "compare": f"/compare?base={runs[0]}&base={runs[1]}&head={runs[2]}&head={runs[3]}", "trend": "/trend?scenario=shop&journey=browse&step=products",
            "traces": f"/runs/{runs[-1]}/traces", "trace": f"/runs/{runs[-1]}/traces/{traced[0]['trace']}", "start": "/start?scenario=shop.yaml", "live": "/live",
            "hostile-list": "/?q=hostile", "hostile-run": f"/runs/{hostile}", "hostile-compare": f"/compare?base={runs[0]}&head={hostile}",
            "hostile-trend": f"/trend?scenario={urllib.parse.quote(' '.join(HOSTILE[:9]))}&step=*", "hostile-traces": f"/runs/{hostile}/traces",
        }  # fmt: skip
        looks = []
        for name, path in opened.items():
            variants = [("light", "desktop"), ("dark", "phone")] if name.startswith("hostile") else [(t, s) for t in ("light", "dark") for s in ("desktop", "phone")]
            looks += [{"name": f"{name}-{theme}-{size}", "path": path, "theme": theme, "size": size, "axe": (theme == "light") == (size == "desktop"), "shots": SHOTS or None} for theme, size in variants]
        task = {"base": f"http://{HOST}:{port}", "token": TOKEN, "looks": looks, "use": {"runs": runs, "scenario": "shop.yaml", "file": str(scenarios / "shop.yaml"), "shots": SHOTS or None}}
        seen = browse(suite, task)
        check_looks(suite, seen["looks"])
        check_uses(suite, seen["uses"], client, out)
        server.send_signal(2)
        suite.check("Ctrl-C ends the server", server.wait(timeout=20) == 0)
        return suite.finish()


if __name__ == "__main__":
    sys.exit(main())
