#!/usr/bin/env python3
"""Holds hotspan's load against servers of which the truth is known.

    python3 benches/load_truth.py [--hotspan target/release/hotspan] [stall] [capacity] [trace-cost]

stall:      a server that is silent for one second in a run of 10 s at 1,000/s. A tenth of all requests waits, evenly from
            1,000 ms down to 0: the corrected p99 is 900 ms, and there are 10,000 samples. The server keeps the books: request
            n is due n milliseconds after the first, and waits until it is answered, whatever the machine is busy with.
capacity:   three servers of N workers that hold each request for a fixed time, as they measured it themselves: the capacity
            is N over the median of that time, and has to lie between the rate that held and the one that broke.
trace-cost: a server that takes longer for requests whose traceparent says that they are sampled.

Everything is on 127.0.0.1. Prints one line of JSON per case; the status is 1 when a figure is out of its bounds.
"""

import argparse
import asyncio
import json
import pathlib
import subprocess
import sys
import tempfile
import time

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers every request on kept connections; `delay` gives how long one takes and may wait."""

    def __init__(self, delay):
        self.delay = delay

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=4096)
        return self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self.delay(head)
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def hotspan(binary, *arguments):
    with tempfile.TemporaryDirectory() as out:
        process = await asyncio.create_subprocess_exec(
            binary, "run", *arguments, "--traces-from", "none", "--out", out, "--format", "json", "--quiet",
            stdout=subprocess.PIPE)
        text, _ = await process.communicate()
        return json.loads(text)


async def stall(binary):
    begun = {}
    waited = []

    async def silent(_head):
        now = time.monotonic()
        first = begun.setdefault("at", now)
        number = begun["number"] = begun.get("number", -1) + 1
        # From 4.5 s to 5.5 s after the first request nothing is answered.
        if 4.5 <= now - first < 5.5:
            await asyncio.sleep(first + 5.5 - now)
        waited.append(1e3 * (time.monotonic() - first) - number)

    port = await Server(silent).start()
    report = await hotspan(binary, f"http://127.0.0.1:{port}/", "--rate", "1000", "--duration", "10s")
    step, load = report["steps"][0], report["load"]
    found = step["latency_ms"]
    waited.sort()
    truth = {q: waited[min(len(waited) - 1, int(len(waited) * q / 100))] for q in (90, 95, 99)}
    line = {
        "case": "stall", "truth_p90_ms": round(truth[90], 1), "truth_p95_ms": round(truth[95], 1), "truth_p99_ms": round(truth[99], 1),
        "error_p99": round(found["p99"] / truth[99] - 1, 4), "samples": step["exchanges"], "p90_ms": found["p90"], "p95_ms": found["p95"], "p99_ms": found["p99"],
        "max_ms": found["max"], "late": load["late"], "not_sent": load["not_sent"], "errors": step["errors"],
        "generator": load["generator"]["bottleneck"],
    }
    good = step["exchanges"] == 10_000 and abs(line["error_p99"]) <= 0.05
    return line, good


# Workers, the seconds that each holds a request, and the rate that the search begins below.
POOLS = ((4, 0.100, 400), (1, 0.040, 200), (24, 0.060, 2_000))


async def capacity(binary):
    lines, good = [], True
    for pool in POOLS:
        line = await capacity_of(binary, *pool)
        lines.append(line)
        good &= line["holds_truth"]
    return {"case": "capacity", "servers": lines}, good


async def capacity_of(binary, workers, seconds, most):
    gate = asyncio.Semaphore(workers)
    held = []

    async def work(_head):
        async with gate:
            since = time.monotonic()
            await asyncio.sleep(seconds)
            held.append(time.monotonic() - since)

    port = await Server(work).start()
    report = await hotspan(binary, f"http://127.0.0.1:{port}/", "--find-capacity", "--rate", str(most))
    found = report["capacity"]
    # The median: a wake-up that came late once is no property of the server.
    truth = workers / sorted(held)[len(held) // 2]
    low, high = found["holds_per_s"], found["breaks_per_s"]
    return {
        "workers": workers, "truth_per_s": round(truth, 1), "found_per_s": found["capacity_per_s"],
        "holds_per_s": low, "breaks_per_s": high, "broke_by": found["broke_by"], "probes": len(found["probes"]),
        "error": round(found["capacity_per_s"] / truth - 1, 4), "holds_truth": low <= truth <= high,
    }


async def trace_cost(binary):
    plain, traced = 0.010, 0.012

    async def work(head):
        at = head.find(b"traceparent: ")
        await asyncio.sleep(traced if head[at + 13 + 53: at + 13 + 55] == b"01" else plain)

    port = await Server(work).start()
    report = await hotspan(binary, f"http://127.0.0.1:{port}/", "--users", "10", "--duration", "32s", "--trace-cost")
    found = report["trace_cost"]
    line = {"case": "trace-cost", "truth": round(traced / plain, 3), "p50": found["p50"], "rate": found["rate"], "pairs": found["pairs"]}
    return line, abs(found["p50"]["ratio"] / (traced / plain) - 1) <= 0.05 and found["p50"]["low"] > 1


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hotspan", default=str(pathlib.Path(__file__).parent.parent / "target/release/hotspan"))
    parser.add_argument("cases", nargs="*", choices=["stall", "capacity", "trace-cost", []], default=[])
    arguments = parser.parse_args()
    cases = {"stall": stall, "capacity": capacity, "trace-cost": trace_cost}
    status = 0
    for name in arguments.cases or cases:
        line, good = await cases[name](arguments.hotspan)
        print(json.dumps(line | {"within_bounds": good}), flush=True)
        status |= not good
    return status


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
