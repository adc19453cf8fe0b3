"""A bookshop on FastAPI and PostgreSQL, as people write such services, with nothing about tracing in it.

It runs under `opentelemetry-instrument`. What it keeps of its own are plain timers (`time.perf_counter` around each
call to the database and to the recommendation partner), apart from every span: they are the truth that the suite holds
hotspan's blame against. They go out in `Server-Timing` and, one row per request, into the CSV file `SHOP_TIMINGS`.
"""

import csv
import os
import time
from contextlib import asynccontextmanager
from contextvars import ContextVar

import httpx
from fastapi import FastAPI, HTTPException
from psycopg_pool import ConnectionPool

DATABASE_URL = os.environ["SHOP_DATABASE_URL"]
PARTNER_URL = os.environ["SHOP_PARTNER_URL"]
TIMINGS = os.environ["SHOP_TIMINGS"]

# Seconds that the current request has spent by part; the dictionary is shared with the worker thread of a sync route.
spent: ContextVar[dict[str, float]] = ContextVar("spent")


class timed:
    """Adds the time of a `with` block to one part of the current request."""

    def __init__(self, part: str):
        self.part = part

    def __enter__(self):
        self.start = time.perf_counter()

    def __exit__(self, *_):
        parts = spent.get()
        parts[self.part] = parts.get(self.part, 0.0) + time.perf_counter() - self.start


class Timings:
    """Outermost middleware: `total` from the request's arrival in the application to the last byte handed over."""

    def __init__(self, app, rows):
        self.app, self.rows = app, rows

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start = time.perf_counter()
        parts: dict[str, float] = {}
        token = spent.set(parts)
        status = 500

        async def send_with_timing(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                total = time.perf_counter() - start
                database, external = parts.get("database", 0.0), parts.get("external", 0.0)
                value = ", ".join(
                    f"{name};dur={seconds * 1e3:.3f}"
                    for name, seconds in (
                        ("database", database),
                        ("external", external),
                        ("app", total - database - external),
                        ("total", total),
                    )
                )
                message["headers"].append((b"server-timing", value.encode()))
            await send(message)

        try:
            await self.app(scope, receive, send_with_timing)
        finally:
            spent.reset(token)
            total = time.perf_counter() - start
            database, external = parts.get("database", 0.0), parts.get("external", 0.0)
            route = scope.get("route")
            row = (scope["method"], getattr(route, "path", scope["path"]), status, database, external, total)
            self.rows.writerow([*row[:3], *(f"{seconds * 1e3:.4f}" for seconds in row[3:])])
            timings_file.flush()


timings_file = open(TIMINGS, "w", newline="")
rows = csv.writer(timings_file)
rows.writerow(["method", "route", "status", "database_ms", "external_ms", "total_ms"])

# Autocommit, as read-only services do: psycopg's instrumentation has no span for COMMIT, so no tracer could call the
# round trip of one the database's, and a timer around it would measure what spans cannot show.
pool = ConnectionPool(DATABASE_URL, min_size=8, max_size=8, open=False, kwargs={"autocommit": True})


@asynccontextmanager
async def lifespan(app: FastAPI):
    pool.open(wait=True)
    app.state.partner = httpx.AsyncClient(base_url=PARTNER_URL, timeout=10.0)
    app.state.shipping = httpx.Client(base_url=PARTNER_URL, timeout=10.0)
    yield
    await app.state.partner.aclose()
    app.state.shipping.close()
    pool.close()


app = FastAPI(lifespan=lifespan)


class Session:
    """One connection for one request, each statement timed."""

    def __enter__(self):
        self.connection = pool.getconn()
        return self

    def __exit__(self, *_):
        pool.putconn(self.connection)

    def all(self, statement, *values):
        with timed("database"):
            return self.connection.execute(statement, values).fetchall()


@app.get("/books")
def books(page: int = 0):
    """The list page: one query for the books, then one per book for its rating (an N+1 over an unindexed column)."""
    with Session() as session:
        listed = session.all(
            "SELECT id, title, price_cents FROM book ORDER BY title LIMIT 8 OFFSET %s", page % 100 * 8
        )
        answer = []
        for book_id, title, price in listed:
            ((rating, count),) = session.all("SELECT avg(rating), count(*) FROM review WHERE book_id = %s", book_id)
            answer.append({"id": book_id, "title": title, "price": price, "rating": float(rating), "reviews": count})
    return answer


@app.get("/orders")
def orders(reader: int):
    """A reader's orders, searched without an index."""
    with Session() as session:
        found = session.all(
            "SELECT id, book_id, created_at FROM orders WHERE lower(email) = %s AND note LIKE %s ORDER BY created_at DESC",
            f"reader{reader % 5000}@example.org",
            "%note%",
        )
    return [{"id": row[0], "book": row[1], "at": row[2]} for row in found]


@app.get("/reservations/{book_id}")
def reservations(book_id: int):
    """Fails: its migration was forgotten, and the column is not there."""
    with Session() as session:
        return session.all("SELECT reserved_until FROM book WHERE id = %s", book_id)


@app.get("/recommendations/{book_id}")
async def recommendations(book_id: int):
    """What a partner's API says: the waiting is somebody else's."""
    with timed("external"):
        answer = await app.state.partner.get(f"/similar/{book_id}")
    if answer.status_code != 200:
        raise HTTPException(502, "the partner does not answer")
    return answer.json()


@app.get("/price/{book_id}")
def price(book_id: int):
    """A discount found the slow way, in pure Python: the application's own time."""
    best, seed = 0, book_id
    for step in range(100_000):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        best = max(best, seed % 1000 - step % 7)
    return {"book": book_id, "discount": best}


@app.get("/checkout/{book_id}")
def checkout(book_id: int):
    """A bit of everything: the order search, the partner, and a calculation."""
    with Session() as session:
        session.all("SELECT id, title, price_cents FROM book WHERE id = %s", book_id)
        session.all("SELECT count(*) FROM orders WHERE lower(note) LIKE %s", f"%note {book_id}")
    with timed("external"):
        quote = app.state.shipping.get(f"/shipping/{book_id}")
    seed = book_id
    for _ in range(60_000):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
    return {"book": book_id, "shipping": quote.json(), "check": seed}


# Last, so that it is the outermost of the application's own layers.
app.add_middleware(Timings, rows=rows)
