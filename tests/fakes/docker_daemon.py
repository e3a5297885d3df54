"""What the docker command sends to its daemon: the credentials that it found, by itself, for a registry."""

from __future__ import annotations

import base64
import json
import os
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.support.command import find_program


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    found: list[dict[str, Any]]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return ""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/auth"):
            self.found.append(json.loads(body))
            self.answer(200, {"Status": "Login Succeeded", "IdentityToken": ""})
        elif "/images/create" in self.path:
            given = self.headers.get("X-Registry-Auth", "")
            self.found.append(json.loads(base64.urlsafe_b64decode(given + "==") or b"{}"))
            self.answer(404, {"message": "not here"})
        else:
            self.answer(200, {})

    do_HEAD = do_POST = do_GET

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode() if self.command != "HEAD" else b""
        self.send_response(status)
        for name, value in (("Api-Version", "1.41"), ("Content-Type", "application/json")):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Client:
    """`docker("login", ...)` runs the command; `found` is what it sent for registries."""

    def __init__(self, socket: Path, found: list[dict[str, Any]]) -> None:
        program = find_program("/usr/bin/docker", "docker")
        assert program, "docker.io is not installed (sh tests/setup.sh)"
        self.base = [program, "--host", f"unix://{socket}"]
        self.found = found

    def __call__(self, *words: str, input: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.base, *words],
            input=input,
            capture_output=True,
            text=True,
            timeout=30,
            env=os.environ | {"DOCKER_CONTENT_TRUST": "0"},
            check=False,
        )

    def finds(self, registry: str) -> dict[str, Any]:
        """What it has for a registry, without the address."""
        self("pull", f"{registry}/x:1")
        return {key: value for key, value in self.found.pop().items() if key != "serveraddress"}


@contextmanager
def docker(directory: Path) -> Iterator[Client]:
    found: list[dict[str, Any]] = []
    handler = type("BoundHandler", (Handler,), {"found": found})
    server = Server(str(directory / "docker.sock"), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield Client(directory / "docker.sock", found)
    finally:
        server.shutdown()
        server.server_close()
