"""A real application under the OpenTelemetry Java agent: Spring Boot with JPA, with the faults of the suite `apps`.

The Java bookshop has the pages of the Django and the Express bookshop: an N+1 by a lazy relation, a search without an
index, a slow third party, a calculation that holds a core, and one page with nothing wrong. It is warmed up before the
run: what a Java program takes while it is being compiled is no fault of it.
"""

import os
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import HERE, Suite, start_postgresql
from suite_apps import check, run_app

PAGES = ("books?page=7", "orders?reader=7", "quote/7", "discount/7", "book/7")
# Rounds of warming up at most, and the longest that a page may take to count as warm, in seconds.
ROUNDS, WARM = 60, 0.6


def start_java(suite: Suite, port: int, env: dict):
    folder = Path(os.environ["HOTSPAN_STACK_JAVA"])
    (agent,) = (folder / "agent").glob("opentelemetry-javaagent-*.jar")
    database = env["SHOP_DATABASE_URL"].replace("shop@", "")
    return suite.start(
        "java",
        [
            "java", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-javaagent:{agent}",
            "-cp", f"{folder / 'classes'}:{folder / 'jars'}/*", "shop.Bookshop",
        ],
        # Hibernate's spans for a hundred books are more than the usual queue takes in its five seconds.
        env={**env, "SPRING_DATASOURCE_URL": f"jdbc:{database}", "SERVER_PORT": str(port), "OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_BSP_MAX_QUEUE_SIZE": "20000"},
    )  # fmt: skip


def warm_up(port: int) -> None:
    """Asks for all pages, two at a time, until all of a round are quick."""

    def fetch(page: str) -> float:
        began = time.monotonic()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=60) as answer:
            answer.read()
        return time.monotonic() - began

    with ThreadPoolExecutor(2) as pool:
        for round_ in range(ROUNDS):
            if max(pool.map(fetch, PAGES * 2)) < WARM and round_ >= 10:
                return


def main() -> int:
    with Suite("java") as suite:
        database = start_postgresql(suite, HERE / "apps_schema.sql")
        suite.measured("java", lambda out: check(suite, "java", run_app(suite, "java", start_java, database, out, warm_up)))
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())
