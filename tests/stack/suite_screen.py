"""The live screen in a real pseudo-terminal: what is on it, what its keys and a new size do, and that whatever way the run
ends the terminal is given back and the report printed.

With HOTSPAN_SCREEN_PICTURE=FILE.svg the screen of a demo of 40 s at 120×40 is written there as a picture, and nothing else is done.
"""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyte
from wcwidth import wcwidth

from harness import HERE, Suite, clean_environment, free_ports, hotspan_binary, wait_for_port

PARTNER = HERE / "fastapi_app" / "partner.py"
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
BAR = "▇"


class Terminal:
    """A program in a pseudo-terminal of its own, and what a person would see of it."""

    def __init__(self, arguments, columns=80, lines=24, env=None, cwd=None):
        self.raw, self.code, self.rest = b"", None, b""
        self.columns, self.lines = columns, lines
        self.main, self.alternate = self.blank(), None
        environment = {**clean_environment(), "TERM": "xterm-256color", "LANG": "C.UTF-8", **(env or {})}
        for name in ("CI", "NO_COLOR", "LC_ALL"):
            if name not in (env or {}):
                environment.pop(name, None)
        arguments = [str(each) for each in arguments]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd or ".")
            os.execve(arguments[0], arguments, environment)
        self.size(columns, lines)
        self.before = termios.tcgetattr(self.fd)

    def blank(self):
        screen = pyte.Screen(self.columns, self.lines)
        screen.stream = pyte.ByteStream(screen)
        return screen

    def size(self, columns, lines):
        self.columns, self.lines = columns, lines
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        for screen in (self.main, self.alternate):
            if screen:
                screen.resize(lines, columns)

    def read(self, seconds):
        """Reads for so long, or until the program closes the terminal."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([self.fd], [], [], left)
            if not ready:
                return True
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return False
            if not data:
                return False
            self.raw += data
            self.feed(data)
        return True

    def feed(self, data):
        data = self.rest + data
        # An escape sequence that is not whole yet waits for its end.
        cut = data.rfind(b"\x1b")
        if cut >= 0 and not re.match(rb"\x1b(\[[0-9;?]*[A-Za-z]|[^\[])", data[cut:]):
            data, self.rest = data[:cut], data[cut:]
        else:
            self.rest = b""
        for part in re.split(rb"(\x1b\[\?1049[hl])", data):
            if part == ENTER:
                self.alternate = self.blank()
            elif part == LEAVE:
                self.alternate = None
            else:
                # pyte knows no dim text; italics stand for it.
                part = part.replace(b"\x1b[2m", b"\x1b[3m").replace(b"\x1b[22m", b"\x1b[22;23m")
                (self.alternate or self.main).stream.feed(part)

    def shown(self):
        # pyte's own `display` falls over half a wide character that is left alone.
        screen = self.alternate or self.main
        lines = []
        for y in range(screen.lines):
            line, wide = "", False
            for x in range(screen.columns):
                data = screen.buffer[y][x].data
                line += data or ("" if wide else " ")
                wide = bool(data) and wcwidth(data[0]) == 2
            lines.append(line)
        return lines

    def text(self):
        return "\n".join(line.rstrip() for line in self.shown())

    def press(self, keys):
        os.write(self.fd, keys.encode() if isinstance(keys, str) else keys)

    def until(self, wanted, seconds=20.0):
        """Waits until `wanted` (a text, or a function of the screen's text) is on the screen."""
        is_there = wanted if callable(wanted) else lambda text: wanted in text
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            open_still = self.read(0.1)
            if is_there(self.text()):
                return True
            if not open_still:
                return False
        return False

    def end(self, seconds=60.0):
        """Waits for the program's end; gives its exit code, `None` where it had to be killed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.code is None:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.read(0.2)
        return self.code

    def restored(self):
        """What is not as it was before; empty: nothing."""
        wrong = []
        if self.raw.count(ENTER) != 1 or self.raw.rfind(LEAVE) < self.raw.rfind(ENTER):
            wrong.append("the alternate screen was entered once and left last")
        if self.raw.rfind(b"\x1b[?25h") < self.raw.rfind(b"\x1b[?25l"):
            wrong.append("the cursor is shown")
        try:
            if termios.tcgetattr(self.fd)[:4] != self.before[:4]:
                wrong.append("keys are echoed and lines edited")
        except termios.error:
            pass
        return wrong

    def ansi(self):
        """The screen with colours, for a picture."""
        screen, out = self.alternate or self.main, []
        for y in range(screen.lines):
            line, before = "", None
            for x in range(screen.columns):
                cell = screen.buffer[y][x]
                codes = ["0"] + ["1"] * cell.bold + ["2"] * cell.italics
                if re.fullmatch("[0-9a-f]{6}", cell.fg):
                    codes.append("38;5;%d" % nearest256(cell.fg))
                line += (f"\x1b[{';'.join(codes)}m" if codes != before else "") + cell.data
                before = codes
            out.append(line + "\x1b[0m")
        return "\n".join(out)


def nearest256(color):
    table = pyte.graphics.FG_BG_256
    return max(index for index, each in enumerate(table) if each == color)


def given_back(suite, name, terminal, code, *, report=True):
    ended = terminal.end()
    suite.check(f"{name}: exit code {code}", ended == code, f"{ended}\n{terminal.text()}")
    wrong = terminal.restored()
    suite.check(f"{name}: the terminal is as it was", not wrong, f"not so: {wrong}")
    if report:
        after = terminal.raw[terminal.raw.rfind(LEAVE) :].decode(errors="replace")
        suite.check(f"{name}: the report is printed after the screen", "STEPS" in after, after[-2000:])
    suite.check(f"{name}: no crash", b"panicked" not in terminal.raw)


def line_with(text, word):
    return next((line for line in text.splitlines() if word in line), "")


def demo(suite):
    out = suite.folder / "demo"
    t = Terminal([hotspan_binary(), "demo", "--users", 6, "--duration", "60s", "--out", out], cwd=suite.folder)
    suite.check("demo: the screen comes up", t.until("running", 60), t.text())
    for word in ("Load", "requests/s", "Latency ms", "Steps", "Top contributors", "Generator", "p pause", "q quit"):
        suite.check(f"demo: shows {word}", word in t.text(), t.text())
    suite.check("demo: all users come", t.until("6 of 6"), t.text())
    suite.check("demo: blame is divided while it runs", t.until(lambda text: BAR * 5 in text, 30), t.text())
    suite.check("demo: a contributor is named", t.until("SELECT", 15), t.text())
    suite.check("demo: spans are counted", re.search(r"Spans [1-9]", t.text()), t.text())
    t.until(lambda text: re.search(r"p95 +[0-9.]+ +[0-9.]+", text))
    suite.check("demo: percentiles are numbers", re.search(r"p95 +[0-9.,]+ +[0-9.,]+", t.text()), t.text())

    t.press("\x1b[B")
    suite.check("demo: an arrow chooses a step", t.until(lambda text: re.search(r"▸ (?!all)", text), 5), t.text())
    t.press("\t\t")
    t.press("\x1b")
    suite.check("demo: Esc goes back to all steps", t.until("▸ all steps", 5), t.text())
    t.press("?")
    suite.check("demo: ? helps", t.until("close this help", 5), t.text())
    t.press("h")
    suite.check("demo: h closes the help", t.until(lambda text: "close this help" not in text, 5), t.text())

    t.press("p")
    suite.check("demo: p pauses", t.until("paused", 5), t.text())
    still = lambda text: re.search(r"requests/s +0 ", line_with(text, "requests/s") + " ")
    suite.check("demo: nothing is sent then", t.until(still, 15), t.text())
    t.press("p")
    suite.check("demo: p goes on", t.until("● running", 5), t.text())
    t.press("++")
    suite.check("demo: + is more load", t.until("load ×1.2", 5), t.text())
    suite.check("demo: more users come", t.until("8 of 8", 10), t.text())
    t.press("-")
    suite.check("demo: - is less", t.until("load ×1.1 ", 5), t.text())

    for columns, lines, word in ((120, 40, "p99"), (60, 15, "joined"), (20, 4, "requests/s"), (120, 40, "Top")):
        t.size(columns, lines)
        there = lambda text, word=word: word in text and "\n" in text
        suite.check(f"demo: drawn anew at {columns}×{lines}", t.until(there, 5), t.text())
    t.read(3)
    frame = t.text().splitlines()
    suite.check("demo: 120×40 is used to its ends", "hotspan" in frame[0] and "q quit" in frame[-1], t.text())
    suite.check("demo: and to its right edge", len(frame[0]) == 119, repr(frame[0]))
    (suite.folder / "frame.ansi").write_text(t.ansi())
    (suite.folder / "frame.txt").write_text(t.text())
    t.size(80, 24)
    # A key that comes in the same instant as a new size may wait for the next key, by the library that reads both.
    narrow = lambda text: max(len(line) for line in text.splitlines() or [""]) < 80 and "q quit" in text
    suite.check("demo: drawn anew at 80×24", t.until(narrow, 10), t.text())
    t.read(1)
    t.press("s")
    suite.check("demo: s stops", t.until(lambda text: "stopping" in text or "load is over" in text, 10), t.text())
    given_back(suite, "demo", t, 0)
    run = json.loads(next(out.glob("*/run.json")).read_text())
    changes = json.dumps(run)
    for word in ("paused", "resumed", "times 1.2", "times 1.1", "stopped"):
        suite.check(f"demo: the run keeps that the load was {word}", word in changes, changes[-1500:])


def picture(suite, file):
    arguments = [hotspan_binary(), "demo", "--duration", "60s", "--out", suite.folder / "picture"]
    t = Terminal(arguments, 120, 40, cwd=suite.folder)
    suite.check("picture: the screen comes up", t.until("running", 60), t.text())
    t.read(40)
    drawer = HERE.parent.parent / "docs" / "terminal_picture.py"
    subprocess.run([sys.executable, drawer, file], input=t.ansi(), text=True, check=True)
    t.press("s")
    given_back(suite, "picture", t, 0)


def target(suite, delay_ms=2):
    (port,) = free_ports(1)
    process = suite.start("target", [sys.executable, PARTNER, port, delay_ms, delay_ms])
    wait_for_port(port, process)
    return f"http://127.0.0.1:{port}/similar/1"


def run_arguments(suite, url, name, *more):
    return [hotspan_binary(), "run", url, "--users", 2, "--duration", "40s", "--traces-from", "none",
            "--out", suite.folder / name, *more]  # fmt: skip


def endings(suite, url):
    def begin(name):
        t = Terminal(run_arguments(suite, url, name), cwd=suite.folder)
        suite.check(f"{name}: the screen comes up", t.until("running", 30), t.text())
        t.read(1.5)
        return t

    t = begin("q")
    t.press("q")
    given_back(suite, "q", t, 130)
    t = begin("ctrl-c twice")
    t.press("\x03\x03")
    given_back(suite, "ctrl-c twice", t, 130)
    t = begin("SIGTERM")
    os.kill(t.pid, signal.SIGTERM)
    given_back(suite, "SIGTERM", t, 130)
    t = begin("SIGTERM twice")
    os.kill(t.pid, signal.SIGTERM)
    t.read(0.3)
    os.kill(t.pid, signal.SIGTERM)
    given_back(suite, "SIGTERM twice", t, 130)


def target_goes(suite):
    (port,) = free_ports(1)
    process = suite.start("gone", [sys.executable, PARTNER, port, 2, 2])
    wait_for_port(port, process)
    t = Terminal(run_arguments(suite, f"http://127.0.0.1:{port}/similar/1", "gone"), cwd=suite.folder)
    t.until("running", 30)
    suite.stop(process)
    suite.check("a target that goes: errors are shown", t.until(lambda text: re.search(r"errors +[1-9]", text), 20))
    given_back(suite, "a target that goes", t, 1)


def without_a_screen(suite, url):
    for name, env, more in (
        ("TERM=dumb", {"TERM": "dumb"}, []),
        ("CI", {"CI": "true"}, []),
        ("--no-ui", {}, ["--no-ui"]),
        ("--quiet", {}, ["--quiet"]),
    ):
        arguments = run_arguments(suite, url, f"plain {name}", *more)
        arguments[arguments.index("40s")] = "3s"
        t = Terminal(arguments, env=env, cwd=suite.folder)
        code = t.end()
        suite.check(f"{name}: exit code 0", code == 0, f"{code}\n{t.text()}")
        suite.check(f"{name}: no screen", ENTER not in t.raw, repr(t.raw[:300]))
        has_progress = re.search(rb"\d s of 3 s", t.raw) is not None
        suite.check(f"{name}: {'no ' if more == ['--quiet'] else ''}progress lines", has_progress == (more != ["--quiet"]),
                    repr(t.raw[:600]))  # fmt: skip
    # Standard output that goes elsewhere: the line that is redrawn, and the report in the file.
    file = suite.folder / "report.txt"
    command = " ".join(f"'{each}'" for each in run_arguments(suite, url, "piped")).replace("'40s'", "'3s'")
    t = Terminal(["/bin/sh", "-c", f"{command} > '{file}'"], cwd=suite.folder)
    suite.check("output to a file: exit code 0", t.end() == 0, t.text())
    suite.check("output to a file: no screen", ENTER not in t.raw, repr(t.raw[:300]))
    suite.check("output to a file: the report is in it", "STEPS" in file.read_text())
    # In the background, taking the terminal would stop the process.
    command = command.replace("piped", "background")
    t = Terminal(["/bin/bash", "-mc", f"{command} > /dev/tty & wait"], cwd=suite.folder)
    suite.check("in the background: runs to its end", t.end(40) == 0, t.text())
    suite.check("in the background: no screen", ENTER not in t.raw, repr(t.raw[:300]))


def hostile(suite, url):
    # Control characters are refused in names of a scenario; what else is hostile is not.
    names = ["\\u202eevil\\u2066", "商品一覧を見る商品一覧を見る", "👩‍👩‍👧‍👦👍🏽🇩🇪", "e\\u0301\\u0301\\u0301\\u0301",
             "a\\u200bb\\ufeff", "﷽﷽﷽", "x" * 90]  # fmt: skip
    steps = "".join(f'      - {{name: "{name}", get: "/similar/1"}}\n' for name in names)
    scenario = suite.folder / "hostile.yaml"
    base = url.rsplit("/similar", 1)[0]
    scenario.write_text(
        f"name: hostile\ntarget: {base}\nload: {{users: 2, for: 40s}}\njourneys:\n  all:\n    steps:\n{steps}"
    )
    arguments = [hotspan_binary(), "run", scenario, "--traces-from", "none", "--out", suite.folder / "hostile"]
    t = Terminal(arguments, 100, 30, cwd=suite.folder)
    suite.check("hostile names: the screen comes up", t.until("running", 30), t.text())
    t.read(4)
    frame = t.shown()
    suite.check("hostile names: first and last line are in place", frame[0].startswith(" hotspan") and "q quit" in frame[-1],
                t.text())  # fmt: skip
    rows = [i for i, line in enumerate(frame) if re.search(r"\d+ +0 +[\d.]+ +[\d.]+ +- *$", line)]
    suite.check("hostile names: every step has its row", len(rows) == len(names) + 1, t.text())
    cells = [[(t.alternate.buffer[row][x].data or "") for x in range(100)] for row in rows]
    ends = [max(x for x, cell in enumerate(row) if cell.isdigit()) for row in cells]
    suite.check("hostile names: numbers stand below each other", len({*ends}) == 1, f"{ends}\n{t.text()}")
    (suite.folder / "hostile.txt").write_text(t.text())
    t.press("s")
    given_back(suite, "hostile names", t, 0)


def main() -> int:
    with Suite("screen") as suite:
        if os.environ.get("HOTSPAN_SCREEN_PICTURE"):
            picture(suite, os.environ["HOTSPAN_SCREEN_PICTURE"])
            return suite.finish()
        with suite.case("demo"):
            demo(suite)
        url = target(suite)
        for name, part in (("endings", endings), ("without a screen", without_a_screen), ("hostile names", hostile)):
            with suite.case(name):
                part(suite, url)
        with suite.case("a target that goes"):
            target_goes(suite)
        return suite.finish()


if __name__ == "__main__":
    sys.exit(main())
