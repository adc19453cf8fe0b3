"""The service of the examples that need more than the shop of `hotspan demo`: a login with a hidden field and a cookie, a
list in pages, and uploads that are worked on for a while. It refuses whatever a browser would not have sent, and what was
refused stands under /refused.

    python3 tests/stack/examples_app.py 8000
"""

import json
import re
import secrets
import sys
import threading
import urllib.parse
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ITEMS, PAGE = 50, 10
# How often an upload is asked after before it is done.
POLLS = 3
LOCK = threading.Lock()
SESSIONS: dict[str, dict] = {}
FILES: dict[str, dict] = {}
REFUSED: list[str] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body go out together.
    wbufsize = 65536

    def log_message(self, *_):
        pass

    def answer(self, status: int, body, kind: str = "text/html", **headers) -> None:
        content = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def json(self, status: int, value, **headers) -> None:
        self.answer(status, json.dumps(value), "application/json", **headers)

    def refuse(self, status: int, why: str) -> None:
        with LOCK:
            REFUSED.append(f"{self.command} {self.path}: {why}")
        self.answer(status, why)

    def session(self) -> dict | None:
        sid = re.search(r"(?:^|; )sid=(\w+)", self.headers.get("cookie", ""))
        return SESSIONS.get(sid[1]) if sid else None

    def form(self, csrf: str) -> str:
        return f'<form method="post"><input type="hidden" name="csrf_token" value="{csrf}"><input name="email"></form>'

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/login":
            # Characters that a form must encode.
            sid, csrf = secrets.token_hex(16), secrets.token_urlsafe(16) + "+/="
            with LOCK:
                SESSIONS[sid] = {"csrf": csrf, "user": None}
            return self.answer(200, self.form(csrf), set_cookie=f"sid={sid}; Path=/; HttpOnly; SameSite=Lax")
        if path == "/account":
            session = self.session()
            if not session or not session["user"]:
                return self.refuse(403, "not logged in")
            return self.answer(200, f"<h1>Welcome, {session['user']}</h1>{self.form(session['csrf'])}")
        if path == "/api/items":
            page = int(dict(urllib.parse.parse_qsl(query)).get("page", "0"))
            first, more = page * PAGE, (page + 1) * PAGE < ITEMS
            items = [{"id": f"item-{n}"} for n in range(first, first + PAGE)]
            return self.json(200, {"items": items, "next": f"/api/items?page={page + 1}" if more else None})
        if item := re.fullmatch(r"/api/items/(item-\d+)", path):
            return self.json(200, {"id": item[1]})
        if (place := re.fullmatch(r"/files/(\w+)(/content)?", path)) and place[1] in FILES:
            file = FILES[place[1]]
            if place[2]:
                if file["polls"] < POLLS:
                    return self.refuse(409, "asked for before it was ready")
                return self.answer(200, file["content"], file["kind"])
            with LOCK:
                file["polls"] += 1
            return self.json(200, {"state": "ready" if file["polls"] >= POLLS else "processing"})
        if path == "/refused":
            return self.json(200, REFUSED)
        return self.refuse(404, "no such page")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        if self.path == "/files":
            return self.upload(body)
        if self.path not in ("/login", "/account", "/logout"):
            return self.refuse(404, "no such page")
        fields, session = dict(urllib.parse.parse_qsl(body.decode())), self.session()
        if self.headers.get("content-type") != "application/x-www-form-urlencoded":
            return self.refuse(415, f"no form: {self.headers.get('content-type')}")
        if not session or fields.get("csrf_token") != session["csrf"]:
            return self.refuse(403, f"the hidden field is not the page's: {fields.get('csrf_token')!r}")
        if self.path == "/login":
            if fields.get("password") != "secret":
                return self.refuse(403, "wrong password")
            # As frameworks do, so that a form from before the login is worth nothing.
            session["user"], session["csrf"] = fields["user"], secrets.token_urlsafe(16) + "+/="
            return self.answer(302, "", location="/account")
        if self.path == "/account":
            return self.answer(200, "Saved") if "@" in fields.get("email", "") else self.refuse(400, "no email")
        session["user"] = None
        return self.answer(200, "Goodbye", set_cookie="sid=; Max-Age=0; Path=/")

    def upload(self, body: bytes) -> None:
        kind = self.headers.get("content-type", "")
        message = BytesParser().parsebytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + body)
        parts = {part.get_param("name", header="content-disposition"): part for part in message.get_payload() or []
                 if not isinstance(part, str)}  # fmt: skip
        file = parts.get("file")
        if file is None or "title" not in parts:
            return self.refuse(400, f"fields {sorted(map(str, parts))} of {kind!r}")
        content = file.get_payload(decode=True)
        if not content.startswith(b"\x89PNG") or file.get_filename() != "picture.png":
            return self.refuse(400, "no picture")
        name = secrets.token_hex(8)
        with LOCK:
            FILES[name] = {"polls": 0, "content": content, "kind": file.get_content_type()}
        return self.json(202, {"state": "processing"}, location=f"/files/{name}")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), Handler).serve_forever()
