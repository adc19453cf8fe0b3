"""`--database mysql://…` with a real MariaDB: a Flask application with PyMySQL under automatic instrumentation, whose search has
no index, whose hits wait for one row, and whose other pages are well.

The index is named by column and table, as a statement that MariaDB takes; once it is there, nothing is said. The report is
the same afterwards without the database. A wrong password is told without it.
"""

import json
import subprocess
import sys
from pathlib import Path

import pymysql
from harness import HERE, HOST, Suite, free_ports, owned_by_user, read_report, run_folder, traced, wait_for_port

SECONDS = 6
SCENARIO = """\
name: words
target: http://127.0.0.1:{port}
load:
  - {{users: 12, for: {seconds}s}}
journeys:
  word: {{weight: 2, think: 50ms..150ms, steps: [{{name: word, get: "/word/w{{{{ pick(1, 30000) }}}}", expect: {{status: 200}}}}]}}
  entry: {{think: 50ms..150ms, steps: [{{name: entry, get: "/entry/{{{{ pick(1, 30000) }}}}", expect: {{status: 200}}}}]}}
  common: {{think: 50ms..150ms, steps: [{{name: common, get: "/common/b", expect: {{status: 200}}}}]}}
  hit: {{weight: 8, think: 5ms..15ms, steps: [{{name: hit, get: "/hit/1", expect: {{status: 200}}}}]}}
"""
USER, PASSWORD = "reader", "pass:w0rd"


def start_mariadb(suite: Suite) -> str:
    """A server of this suite's own, filled; gives its URL."""
    data, (port,) = suite.folder / "mariadb", free_ports(1)
    as_user = owned_by_user(data)
    common = ["--no-defaults", f"--datadir={data}"]
    programs = ["mariadb-install-db", "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run([*as_user, programs[0], *common, *programs[1:]], check=True, stdout=subprocess.DEVNULL, cwd=data)
    process = suite.start(
        "mariadb",
        [*as_user, "/usr/sbin/mariadbd", *common, f"--port={port}", f"--bind-address={HOST}", f"--socket={data}/s",
         "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M"],
        cwd=data,
    )  # fmt: skip
    wait_for_port(port, process, seconds=60)
    root = pymysql.connect(host=HOST, port=port, user="root")
    with root.cursor() as cursor:
        for statement in (
            "CREATE DATABASE words",
            f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT SELECT, UPDATE ON words.* TO '{USER}'@'%'",
            f"GRANT PROCESS ON *.* TO '{USER}'@'%'",
            "USE words",
            "CREATE TABLE entry (id INT PRIMARY KEY, word VARCHAR(40), letter CHAR(1), meaning VARCHAR(200))",
            "CREATE TABLE hits (id INT PRIMARY KEY, n BIGINT)",
            "INSERT INTO hits VALUES (1, 0)",
            "INSERT INTO entry SELECT seq, CONCAT('w', seq), CHAR(97 + seq % 3), REPEAT('m', 180) FROM seq_1_to_60000",
            "ANALYZE TABLE entry",
        ):
            cursor.execute(statement)
    root.commit()
    return f"mysql://{USER}:{PASSWORD.replace(':', '%3A')}@{HOST}:{port}/words"


def run(suite: Suite, name: str, database: str) -> "tuple[dict, Path]":
    port, grpc, http = free_ports(3)
    programs = Path(sys.executable).parent
    app = suite.start(
        f"app-{name}",
        [programs / "opentelemetry-instrument", programs / "gunicorn", "--workers", 1, "--threads", 10, "--bind", f"{HOST}:{port}", "app:app"],
        env=traced("words", http, SHOP_DATABASE_URL=database),
        cwd=HERE / "mysql_app",
    )
    wait_for_port(port, app, seconds=60)
    scenario, out = suite.folder / f"{name}.yaml", suite.folder / f"runs-{name}"
    scenario.write_text(SCENARIO.format(port=port, seconds=SECONDS))
    ran = suite.hotspan(
        "run", scenario, "--no-ui", "--out", out, "--database", database, "--otlp-grpc", f"{HOST}:{grpc}", "--otlp-http", f"{HOST}:{http}",
        timeout=120,
    )  # fmt: skip
    suite.stop(app)
    print("\n".join("    " + line for line in ran.text.splitlines()[:40]), flush=True)
    suite.check(f"{name}: hotspan run exits with 0", ran.code == 0, str(ran) + suite.log(f"app-{name}"))
    return read_report(run_folder(out)), run_folder(out)


def main() -> int:
    with Suite("mysql") as suite:
        database = start_mariadb(suite)
        with suite.case("without the index"):
            report, folder = run(suite, "before", database)
            found = {f["kind"]: f for f in report["findings"]}
            index = found.get("missing_index", {})
            remedy = index.get("remedy", "")
            suite.check("missing_index names column and table", remedy == "CREATE INDEX entry_word ON entry (word)", str(report["findings"])[:2000])
            suite.check("by the database's plan, so with high confidence", index.get("confidence", {}).get("level") == "high", str(index))
            kept = json.loads((folder / "database.json").read_text())
            scans = [each["statement"] for each in kept["scans"]]
            suite.check("what would find much of the table is no missing index", len(scans) == 1 and "word = ?" in scans[0], str(kept))
            locks = {each["statement"]: each for each in kept["locks"]}
            update = next((each for statement, each in locks.items() if statement.startswith("UPDATE hits")), {"locked": 0})
            suite.check("sessions were seen waiting for a row", update["locked"] >= 5, str(kept["locks"]))
            waits = [f for f in report["findings"] if f["step"]["name"] == "hit"]
            kinds = [f["kind"] for f in waits]
            suite.check("lock_contention of the row that all write", kinds[:1] == ["lock_contention"], str(waits)[:1500])
            # What the page does for 20 ms while it holds the lock is its own.
            suite.check("and beside it nothing but the page's own code", set(kinds[1:]) <= {"app_cpu"}, str(waits)[:1500])
            steps = {f["step"]["name"] for f in report["findings"] if f["confidence"]["level"] == "high"}
            suite.check("nothing is said of the page that goes by its key", "entry" not in steps, str(steps))
            again = suite.hotspan("analyze", folder, "--format", "json")
            remedies = [f.get("remedy") for f in json.loads(again.out)["findings"]]
            suite.check("analyze says the same without the database", remedy in remedies, str(again)[:500])
        with suite.case("with the index"):
            where = database.split("@")[1]
            root = pymysql.connect(host=HOST, port=int(where.split(":")[1].split("/")[0]), user="root", database="words")
            with root.cursor() as cursor:
                cursor.execute(remedy)
            report, _ = run(suite, "after", database)
            kinds = [f["kind"] for f in report["findings"]]
            suite.check("MariaDB took the remedy as it stands, and the finding is gone", "missing_index" not in kinds, str(kinds))
        with suite.case("bad input"):
            (port,) = free_ports(1)
            target = suite.start("target", [sys.executable, "-m", "http.server", port, "--bind", HOST])
            wait_for_port(port, target)
            for what, url, said in (
                ("a wrong password", database.replace("w0rd", "s3cret"), "Access denied"),
                ("no database in the URL", database.rsplit("/", 1)[0], "names no database"),
                ("a database that is none", database.replace("/words", "/nowhere"), "nowhere"),
                ("nothing listens", f"mysql://reader:s3cret@{HOST}:1/words", "cannot connect to MySQL"),
            ):
                ran = suite.hotspan("run", f"http://{HOST}:{port}/", "--duration", "1s", "--database", url, "--traces-from", "none")
                suite.check(f"{what}: exit 1 or 2, and it is said", ran.code in (1, 2) and said in ran.err, str(ran))
                suite.check(f"{what}: the password is not shown", "s3cret" not in ran.text and "w0rd" not in ran.text, str(ran))
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())
