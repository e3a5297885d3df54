"""A web server on loopback whose answers a test decides, and which notes what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Asked:
    method: str
    path: str
    headers: Message


@dataclass
class Website:
    """files: path -> content; answers: path -> what answers instead, with the handler."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def url(self, path: str, user: str = "", host: str = "127.0.0.1") -> str:
        return f"http://{user}{'@' if user else ''}{host}:{self.port}{path}"

    def redirect(self, path: str, target: str) -> None:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", target)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        self.answers[path] = answer


@contextmanager
def serving() -> Iterator[Website]:
    site = Website()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.asked.append(Asked(self.command, self.path, self.headers))
            path = self.path.partition("?")[0]
            if path in site.answers:
                site.answers[path](self)
                return
            data = site.files.get(path)
            headers = site.headers.get(path, {})
            status = 404 if data is None else 200
            tag = headers.get("ETag", "")
            if data is not None and tag and tag in self.headers.get("If-None-Match", ""):
                status, data = 304, None
            since = self.headers.get("If-Modified-Since")
            if data is not None and since and since == headers.get("Last-Modified"):
                status, data = 304, None
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 304:
                self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
