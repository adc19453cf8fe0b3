"""What the stack suites share: processes with an end, free ports, a real PostgreSQL, and checks that are counted.

Every process is ended by its own process id (group), also when a suite fails or is interrupted. Everything listens on
loopback only, and every wait has a limit.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"


class Skip(Exception):
    """This suite cannot run here; the text says why and what to do."""


def hotspan_binary() -> str:
    binary = os.environ.get("HOTSPAN_BIN", "")
    if not binary or not os.access(binary, os.X_OK):
        raise SystemExit(
            f"HOTSPAN_BIN={binary!r} is not a program: build it with `cargo build --release` and set "
            "HOTSPAN_BIN=target/release/hotspan"
        )
    return os.path.abspath(binary)


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_for_port(port: int, process: "subprocess.Popen | None" = None, seconds: float = 30.0) -> None:
    """Waits by TCP alone: an HTTP probe would be a request, and leave spans of its own."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with {process.returncode} before port {port} was open")
        try:
            socket.create_connection((HOST, port), timeout=1.0).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port} after {seconds:.0f} s")


def end(*_) -> None:
    """Ends the suite. A second signal, of a group that is ended as a whole, would cut short how it ends its processes."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


class Suite:
    """A suite's folder, processes and checks. Use as a context manager; `finish()` gives the exit code."""

    def __init__(self, name: str):
        self.name = name
        self.passed, self.failed = 0, 0
        self.broken: list[str] = []
        self.anew: list[str] = []
        self.processes: list[tuple[str, subprocess.Popen]] = []
        self.on_end: list = []
        self.folder = Path(tempfile.mkdtemp(prefix=f"hotspan-{name}-"))
        # PostgreSQL runs as another user and must be able to reach its folder below this one.
        self.folder.chmod(0o755)
        signal.signal(signal.SIGTERM, end)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        for undo in reversed(self.on_end):
            try:
                undo()
            except Exception as problem:  # the other things must still be ended
                print(f"  at the end: {problem}", flush=True)
        for name, process in reversed(self.processes):
            end_process(name, process)
        if kind is None and self.failed == 0 and not os.environ.get("HOTSPAN_STACK_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            print(f"  kept for a look: {self.folder}", flush=True)

    def start(self, name: str, command: list, env: dict | None = None, cwd=None) -> subprocess.Popen:
        """Starts a server in a process group of its own; its output goes to a file in the suite's folder."""
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd or self.folder,
                start_new_session=True,
            )
        self.processes.append((name, process))
        return process

    def stop(self, process: subprocess.Popen) -> None:
        for name, each in self.processes:
            if each is process:
                end_process(name, process)
        self.processes = [(name, each) for name, each in self.processes if each is not process]

    def log(self, name: str, lines: int = 30) -> str:
        path = self.folder / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def hotspan(self, *arguments, timeout: float = 180.0, env: dict | None = None, cwd=None) -> "Ran":
        """Runs the program under test to its end and keeps what it printed."""
        command = [hotspan_binary(), *(str(each) for each in arguments)]
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**clean_environment(), **(env or {})},
            cwd=cwd or self.folder,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=timeout)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            code = None
        except BaseException:
            # The suite is to end: so is what it runs.
            end_process("hotspan", process)
            raise
        return Ran(command, code, out, err, time.monotonic() - began)

    def check(self, what: str, holds: bool, seen: str = "") -> bool:
        """Counts one check and prints it; a failed one does not end the suite, so that a run shows all that is wrong."""
        self.passed += bool(holds)
        self.failed += not holds
        seen = f": {seen}" if seen and not holds else ""
        if not holds:
            self.broken.append(f"{what}{seen[:300]}".replace("\n", " "))
        self.count()
        print(f"  {'ok  ' if holds else 'FAIL'} {what}{seen}", flush=True)
        return bool(holds)

    def count(self) -> None:
        """Written each time: a suite that falls over later has still counted what came before."""
        counts = os.environ.get("HOTSPAN_STACK_COUNTS")
        if counts:
            lines = [f"{self.passed} {self.failed}"]
            lines += [f"  did not hold: {each}" for each in self.broken] + [f"  measured anew: {each}" for each in self.anew]
            Path(counts).write_text("\n".join(lines) + "\n")

    def measured(self, name: str, part, tries: int = 3) -> None:
        """A part whose checks hold times against each other: a function of the try's own name, for its files and processes.

        A machine that is busy elsewhere for some seconds is no fault of the program. A part of which a check does not hold
        is measured anew, and told so; what is wrong with the program is wrong each time, and fails with the last try."""
        for attempt in range(1, tries + 1):
            before = self.passed, self.failed, len(self.broken)
            running = [process for _, process in self.processes]
            began = cpu_times()
            with self.case(name):
                part(name if attempt == 1 else f"{name}-{attempt}")
            if self.failed == before[1] or attempt == tries:
                return
            taken = {kind: now - then for (kind, then), now in zip(began.items(), cpu_times().values())}
            all_of_it = sum(taken.values()) or 1
            shares = ", ".join(f"{taken[kind] / all_of_it:.0%} {kind}" for kind in ("idle", "steal"))
            self.anew.append(f"{name}, try {attempt} of {tries} ({shares}): {'; '.join(self.broken[before[2]:])[:600]}")
            print(f"  ANEW {self.anew[-1]}", flush=True)
            self.passed, self.failed = before[:2]
            del self.broken[before[2]:]
            self.count()
            for process in [process for _, process in self.processes if process not in running]:
                self.stop(process)

    @contextmanager
    def case(self, name: str):
        """One part of a suite: what goes wrong in it is a failed check, and the next part still runs."""
        try:
            yield
        except Skip:
            raise
        except Exception as problem:
            traceback.print_exc(file=sys.stdout)
            self.check(f"{name}: runs to its end", False, f"{type(problem).__name__}: {problem}")

    def finish(self) -> int:
        for each in self.anew:
            print(f"  measured anew: {each}", flush=True)
        print(f"suite {self.name}: {self.passed} checks held, {self.failed} did not", flush=True)
        return 0 if self.failed == 0 and self.passed > 0 else 1


def cpu_times() -> dict:
    """The machine's processor time by kind, in ticks since it started: how busy it was, and what another machine took of it."""
    kinds = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    with open("/proc/stat") as file:
        return dict(zip(kinds, map(int, file.readline().split()[1:])))


class Ran:
    """A program's end: exit code (`None` when it had to be killed), output, and seconds."""

    def __init__(self, command, code, out, err, seconds):
        self.command, self.code, self.out, self.err, self.seconds = command, code, out, err, seconds

    @property
    def text(self) -> str:
        return self.out + self.err

    def __str__(self) -> str:
        tail = "\n".join(self.text.splitlines()[-25:])
        return f"exit code {self.code} after {self.seconds:.1f} s\n{tail}"


def clean_environment() -> dict:
    """The environment without OpenTelemetry's variables: what a suite sets is all that counts."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}


def end_process(name: str, process: subprocess.Popen) -> None:
    if process.poll() is not None:
        return
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            pass
        try:
            process.wait(timeout=10)
            return
        except subprocess.TimeoutExpired:
            print(f"  {name} does not end at signal {sent}", flush=True)


def run_folder(out: Path) -> Path:
    """The one run folder that a run has made below `out`."""
    found = sorted(each.parent for each in out.glob("**/run.json"))
    if len(found) != 1:
        raise RuntimeError(f"expected one run folder below {out}, found {len(found)}")
    return found[0]


def read_report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def unprivileged_user() -> "str | None":
    """A user to run PostgreSQL as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
            return name
        except KeyError:
            continue
    raise Skip("this runs as root, and PostgreSQL needs another user (postgres or nobody): add one")


def postgresql_programs() -> Path:
    found = shutil.which("initdb")
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if candidates:
        return candidates[-1].parent
    if found and (Path(found).resolve().parent / "postgres").exists():
        return Path(found).resolve().parent
    raise Skip("PostgreSQL's server programs (initdb, postgres) are not here: install the package postgresql")


def owned_by_user(data: Path) -> list:
    """Makes the folder of a server that does not run as root, and gives what its commands begin with."""
    data.mkdir()
    user = unprivileged_user()
    if not user:
        return []
    shutil.chown(data, user)
    return ["setpriv", f"--reuid={user}", f"--regid={group_of(user)}", "--clear-groups"]


def traced(service: str, http_port: int, **more) -> dict:
    """The environment of a service under automatic instrumentation that sends its spans, and nothing else, to a port."""
    return {
        "OTEL_SERVICE_NAME": service,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{http_port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        **more,
    }


def start_postgresql(suite: Suite, schema: Path) -> str:
    """Starts a database server of this suite's own, fills it, and gives its URL."""
    programs, data, (port,) = postgresql_programs(), suite.folder / "postgresql", free_ports(1)
    as_user = owned_by_user(data)
    subprocess.run(
        [*as_user, programs / "initdb", "-D", data, "-U", "shop", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=data,
    )
    process = suite.start(
        "postgresql",
        [
            *as_user, programs / "postgres", "-D", data, "-p", port, "-k", data,
            "-c", f"listen_addresses={HOST}", "-c", "fsync=off", "-c", "shared_buffers=64MB",
            "-c", "max_connections=30", "-c", "max_parallel_workers_per_gather=0",
        ],
        cwd=data,
    )  # fmt: skip
    wait_for_port(port, process)
    url = f"postgresql://shop@{HOST}:{port}/postgres"
    import psycopg

    deadline = time.monotonic() + 20
    while True:
        try:
            with psycopg.connect(url) as connection:
                connection.execute(schema.read_text())
            return url
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid
