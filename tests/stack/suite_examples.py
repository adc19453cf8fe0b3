"""The scenarios under examples/, as they are but for a shorter load and a free port, against the shop of `hotspan demo`
without faults, or against examples_app.py, which refuses what no browser would send: every step is reached, every check holds, nothing fails, and nearly every request has its server's spans.
Their thresholds are evaluated; whether they hold depends on the machine and is not checked."""

import datetime
import http.client
import json
import re
import shutil
import sys
import urllib.parse
import urllib.request

from harness import HERE, HOST, Suite, free_ports, hotspan_binary, read_report, run_folder, wait_for_port

EXAMPLES = sorted((HERE.parent.parent / "examples").glob("*.yaml"))
# Exit codes: all held; the generator was late, so that nothing can be said; a threshold failed.
ENDED = (0, 3, 99)


def shortened(text: str, port: int) -> str:
    text = re.sub(r"127\.0\.0\.1:80[08]0", f"{HOST}:{port}", text)
    text = re.sub(r"\bramp: \d+s", "ramp: 2s", text)
    return re.sub(r"\bfor: (1m|30s)", "for: 10s", text)


def run_example(suite: Suite, example) -> None:
    name = example.stem
    port, grpc, http = free_ports(3)
    of_shop = "examples_app.py" not in example.read_text()
    if of_shop:
        command = [hotspan_binary(), "demo", "--serve", f"{HOST}:{port}", "--fault", "none"]
    else:
        command = [sys.executable, HERE / "examples_app.py", port]
    shop = suite.start(f"{name}-shop", command, env={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{grpc}"})
    wait_for_port(port, shop, seconds=60)
    file = suite.folder / example.name
    file.write_text(shortened(example.read_text(), port))
    for beside in example.parent.glob("*.png"):
        shutil.copy(beside, suite.folder)
    out = suite.folder / f"{name}-runs"
    ran = suite.hotspan(
        "run", file, "--no-ui", "--out", out, "--otlp-grpc", f"{HOST}:{grpc}", "--otlp-http", f"{HOST}:{http}",
        *([] if of_shop else ["--traces-from", "none"]),
        env={"PASSWORD": "secret"}, timeout=120,
    )  # fmt: skip
    with urllib.request.urlopen(f"http://{HOST}:{port}/{'' if of_shop else 'refused'}", timeout=10) as answer:
        suite.check(f"{name}: the service still answers", answer.status == 200)
        refused = [] if of_shop else json.load(answer)
    suite.check(f"{name}: nothing was refused", refused == [], str(refused[:5]))
    suite.stop(shop)
    if not suite.check(f"{name}: it ends as a run does", ran.code in ENDED, str(ran)):
        return
    report = read_report(run_folder(out))
    for step in report["steps"]:
        what = f"{name}: {step['name']}"
        suite.check(f"{what}: is reached without an error", step["exchanges"] > 0 and step["errors"] == 0,
                    f"{step['exchanges']} exchanges, {step['failures']}")  # fmt: skip
        suite.check(f"{what}: all checks hold", step["checks_failed"] == 0, str(step["checks"]))
        suite.check(f"{what}: has its server's spans", not of_shop or step["joined"] >= 0.95 * step["exchanges"],
                    f"{step['joined']} of {step['exchanges']}")  # fmt: skip
    wanted = set(re.findall(r"\bname: ([a-z_]+)", example.read_text())) - {name}
    reached = {step["name"] for step in report["steps"]}
    suite.check(f"{name}: no step is left out", wanted <= reached | {"product", "buy"}, f"{wanted - reached} missing")
    suite.check(f"{name}: its thresholds are evaluated", len(report["thresholds"]) > 0)
    whole = "".join(path.read_text(errors="replace") for path in run_folder(out).glob("*.*"))
    suite.check(f"{name}: the password is nowhere in the run folder", '"password": "secret"' not in whole and "password=secret" not in whole)


class Recorder:
    """A visit to the service, written down as browsers do (HAR 1.2)."""

    def __init__(self, port: int):
        self.port, self.entries, self.cookie = port, [], None
        self.clock = datetime.datetime(2026, 11, 24, 10, 0, 0)

    def visit(self, method: str, path: str, form: "dict | None" = None) -> str:
        body = urllib.parse.urlencode(form) if form else None
        sent = {"cookie": self.cookie} if self.cookie else {}
        if body:
            sent["content-type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if cookie := answer.getheader("set-cookie"):
            self.cookie = cookie.split(";")[0]
        self.clock += datetime.timedelta(milliseconds=100)
        pairs = lambda fields: [{"name": name, "value": value} for name, value in fields]  # noqa: E731
        self.entries.append({
            "startedDateTime": self.clock.isoformat() + "Z", "time": 20,
            "request": {"method": method, "url": f"http://{HOST}:{self.port}{path}", "headers": pairs(sent.items()),
                        **({"postData": {"mimeType": sent["content-type"], "text": body}} if body else {})},
            "response": {"status": answer.status, "headers": pairs(answer.getheaders()),
                         "content": {"mimeType": answer.getheader("content-type"), "text": text}},
        })  # fmt: skip
        return text


def recording(port: int) -> str:
    visit = Recorder(port)
    field = lambda page: re.search(r'name="csrf_token" value="([^"]+)"', page)[1]  # noqa: E731
    csrf = field(visit.visit("GET", "/login"))
    visit.visit("POST", "/login", {"user": "ann", "password": "secret", "csrf_token": csrf})
    csrf = field(visit.visit("GET", "/account"))
    visit.visit("POST", "/account", {"email": "ann@example.org", "csrf_token": csrf})
    items = json.loads(visit.visit("GET", "/api/items"))
    items = json.loads(visit.visit("GET", items["next"]))
    visit.visit("GET", f"/api/items/{items['items'][3]['id']}")
    return json.dumps({"log": {"version": "1.2", "entries": visit.entries}})


K6 = """import http from 'k6/http';
import { check, sleep } from 'k6';
const BASE = __ENV.BASE || 'http://HOST:PORT';
export const options = { scenarios: { list: { executor: 'constant-arrival-rate', rate: 20, timeUnit: '1s', duration: '4s', preAllocatedVUs: 5 } } };
export default function () {
  const list = http.get(`${BASE}/api/items?page=${Math.floor(Math.random() * 5)}`, { tags: { name: 'list' } });
  check(list, { 'is there': (r) => r.status === 200 });
  const id = list.json('items.0.id');
  const item = http.request('GET', BASE + '/api/items/' + id);
  check(item, { 'is there': (r) => r.status === 200 });
}
"""
LOCUST = """from locust import HttpUser, task, between
import random

class Reader(HttpUser):
    host = "http://HOST:PORT"
    wait_time = between(0.1, 0.2)

    def on_start(self):
        r = self.client.get("/api/items")
        self.first = r.json()["items"][0]["id"]

    @task(3)
    def page(self):
        self.client.get(f"/api/items?page={random.randint(0, 4)}", name="page")

    @task
    def item(self):
        self.client.get(f"/api/items/{self.first}", name="item")
"""
CMD = """curl ^"http://HOST:PORT/api/items?page=1^" ^
  -H ^"accept: */*^" ^
  --compressed
"""
POWERSHELL = """Invoke-WebRequest -UseBasicParsing -Uri "http://HOST:PORT/api/items?page=1" `
-Headers @{
"method"="GET"
  "accept"="*/*"
}
"""


def imported(suite: Suite) -> None:
    """What was imported runs as it is: nothing is refused, and every step is reached."""
    (port,) = free_ports(1)
    app = suite.start("import-app", [sys.executable, HERE / "examples_app.py", port])
    wait_for_port(port, app)
    documents = {"visit.har": recording(port), "list.js": K6, "reader.py": LOCUST, "copied.txt": CMD, "copied.ps1": POWERSHELL}
    for name, text in documents.items():
        file = suite.folder / name
        file.write_text(text.replace("HOST:PORT", f"{HOST}:{port}"))
        made = suite.folder / f"{name}.yaml"
        ran = suite.hotspan("import", file, "--out", made)
        if not suite.check(f"import {name}: is read", ran.code == 0, str(ran)):
            continue
        made.write_text(re.sub(r"\bfor: 30s", "for: 3s", made.read_text()))
        out = suite.folder / f"{name}-runs"
        ran = suite.hotspan(
            "run", made, "--no-ui", "--out", out, "--traces-from", "none", env={"PASSWORD": "secret"}, timeout=60
        )
        if not suite.check(f"import {name}: runs as it is", ran.code in ENDED, str(ran)):
            continue
        for step in read_report(run_folder(out))["steps"]:
            good = step["exchanges"] > 0 and step["errors"] == 0 and step["checks_failed"] == 0
            suite.check(f"import {name}: {step['name']} is reached, without an error", good,
                        f"{step['exchanges']} exchanges, {step['failures']}, {step['checks']}")  # fmt: skip
    with urllib.request.urlopen(f"http://{HOST}:{port}/refused", timeout=10) as answer:
        refused = json.load(answer)
    suite.check("import: nothing was refused", refused == [], str(refused[:5]))
    suite.stop(app)


def main() -> int:
    with Suite("examples") as suite:
        suite.check("there are examples", len(EXAMPLES) >= 6)
        for example in EXAMPLES:
            with suite.case(example.stem):
                run_example(suite, example)
        with suite.case("import"):
            imported(suite)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())
