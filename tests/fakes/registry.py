"""A registry in the test's own process that serves what it is told, and lies when a fault says so.

A fault is a function that looks at the request and, when it is its turn, answers and returns True.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import ssl
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class FakeImage:
    """A small image; every part of it may be changed before it is served."""

    layers: list[bytes]
    config: dict[str, Any]
    manifest: dict[str, Any]

    @classmethod
    def of(cls, *files: Mapping[str, bytes], **config: Any) -> FakeImage:
        """One layer for each dict of path -> content."""
        plain = [_tar(each) for each in files]
        layers = [gzip.compress(data, 1, mtime=0) for data in plain]
        document = {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": {"Cmd": ["/hello"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(data) for data in plain]},
            "history": [{"created_by": f"step {number}"} for number in range(len(plain))],
            **config,
        }
        image = cls(layers, document, {})
        image.seal()
        return image

    def seal(self) -> None:
        """The manifest that fits the layers and the config as they are now."""
        config = self.config_bytes
        self.manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [
                {"mediaType": LAYER, "digest": digest_of(data), "size": len(data)} for data in self.layers
            ],
        }

    @property
    def config_bytes(self) -> bytes:
        return json.dumps(self.config).encode()

    @property
    def id(self) -> str:
        return digest_of(self.config_bytes)

    @property
    def manifest_bytes(self) -> bytes:
        return json.dumps(self.manifest).encode()


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


@dataclass
class FakeRegistry:
    """`token_for`: None = open; else {"user": "password"}, with Bearer tokens unless `basic`."""

    manifests: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    faults: list[Callable[[Handler], bool]] = field(default_factory=list)
    users: dict[str, str] | None = None
    basic: bool = False
    anonymous: bool = False  # a token for everybody
    realm: str = ""
    host: str = ""

    def add(self, name: str, image: FakeImage, tag: str = "latest", kind: str = MANIFEST) -> str:
        """Serve the image; its manifest's digest."""
        for data in (*image.layers, image.config_bytes):
            self.blobs[digest_of(data)] = data
        return self.add_manifest(name, image.manifest_bytes, tag, kind)

    def add_manifest(self, name: str, data: bytes, tag: str = "", kind: str = MANIFEST) -> str:
        digest = digest_of(data)
        for reference in filter(None, (tag, digest)):
            self.manifests[name, reference] = data, kind
        return digest

    def asked(self, part: str) -> list[Request]:
        """The requests whose path has `part`."""
        return [request for request in self.requests if part in request.path]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: FakeRegistry
    body = b""

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_GET(self) -> None:
        registry = self.registry
        registry.requests.append(Request(self.command, self.path, dict(self.headers), self.body))
        if any(fault(self) for fault in registry.faults):
            return
        if self.path.startswith("/token"):
            self._token()
        elif registry.users is not None and not self._is_allowed():
            self.challenge()
        elif self.path == "/v2/":
            self.answer(200, b"{}")
        elif match := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", self.path):
            found = registry.manifests.get((match[1], match[2]))
            if found is None:
                self.error(404, "MANIFEST_UNKNOWN")
            else:
                self.answer(200, found[0], {"Content-Type": found[1]})
        elif match := re.fullmatch(r"/v2/(.+)/blobs/([^/]+)", self.path):
            self.blob(match[2])
        else:
            self.error(404, "UNSUPPORTED")

    def blob(self, digest: str) -> None:
        data = self.registry.blobs.get(digest)
        if data is None:
            self.error(404, "BLOB_UNKNOWN")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted:
            start = int(wanted[1])
            extra = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            self.answer(206, data[start:], extra)
        else:
            self.answer(200, data)

    def answer(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> bool:
        """Always True, so that a fault can be one expression."""
        sent = {"Content-Length": str(len(data)), **(headers or {})}
        self.send_response(status)
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        return True

    def error(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> bool:
        return self.answer(
            status, json.dumps({"errors": [{"code": code, "message": "no"}]}).encode(), headers
        )

    def cut(self) -> None:
        """End the connection here."""
        self.close_connection = True

    def challenge(self) -> None:
        registry = self.registry
        realm = registry.realm or f"http://{registry.host}/token"
        scheme = 'Basic realm="x"' if registry.basic else f'Bearer realm="{realm}",service="s,1"'
        self.error(401, "UNAUTHORIZED", {"WWW-Authenticate": scheme})

    def _is_allowed(self) -> bool:
        given = self.headers.get("Authorization", "")
        if self.registry.basic:
            return self._knows(given)
        return given == "Bearer the-token"

    def _knows(self, given: str) -> bool:
        users = self.registry.users or {}
        pairs = (f"{user}:{password}" for user, password in users.items())
        return given in {"Basic " + base64.b64encode(pair.encode()).decode() for pair in pairs}

    def _token(self) -> None:
        given = self.headers.get("Authorization", "")
        if self._knows(given) or (self.registry.anonymous and not given) or b"refresh_token=it" in self.body:
            self.answer(200, json.dumps({"token": "the-token", "expires_in": 300}).encode())
        else:
            self.error(401, "UNAUTHORIZED")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what half of the faults are about."""


@contextmanager
def serving(
    registry: FakeRegistry | None = None, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[FakeRegistry]:
    registry = registry or FakeRegistry()
    handler = type("BoundHandler", (Handler,), {"registry": registry})
    server = _Server((address, 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    registry.host = f"{address}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
