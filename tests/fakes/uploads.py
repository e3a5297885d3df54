"""The fake registry with the writing half: uploads, mounts, manifests; each step may be made to go wrong.

A fault is what it is in `tests.fakes.registry`; one that wants only part of a body reads it with
`handler.take(count)` and then cuts.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.fakes.registry import FakeRegistry, Handler, Request, digest_of


@dataclass
class UploadRegistry(FakeRegistry):
    """`resumes`: whether the state of an upload may be asked for; `elsewhere`: host that uploads go to."""

    uploads: dict[str, bytes] = field(default_factory=dict)
    resumes: bool = True
    elsewhere: str = ""
    mounts: bool = True
    received: int = 0  # bytes of blobs, the ones that were cut included


class UploadHandler(Handler):
    registry: UploadRegistry

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        if self._writes("POST"):
            return
        super().do_POST()

    def do_PATCH(self) -> None:
        self._writes("PATCH")

    def do_PUT(self) -> None:
        self._writes("PUT")

    def do_DELETE(self) -> None:
        self._writes("DELETE")

    def do_GET(self) -> None:
        match = re.fullmatch(r"/v2/.+/blobs/uploads/([0-9]+)", urlsplit(self.path).path)
        if match:
            self._note()
            if any(fault(self) for fault in self.registry.faults):
                return
            data = self.registry.uploads.get(match[1]) if self.registry.resumes else None
            if data is None:
                self.error(404, "BLOB_UPLOAD_UNKNOWN")
            else:
                self.answer(204, b"", {"Range": f"0-{max(len(data) - 1, 0)}", "Location": self.path})
            return
        super().do_GET()

    def answer(self, status: int, data: bytes, headers: object = None) -> bool:
        if self.command == "HEAD":
            return self._headers(status, len(data), headers)
        return super().answer(status, data, headers)  # type: ignore[arg-type]

    def take(self, count: int) -> bytes:
        """The next bytes of the request's body."""
        data = self.rfile.read(count)
        self.registry.received += len(data)
        return data

    @property
    def length(self) -> int:
        return int(self.headers.get("Content-Length", 0))

    def _headers(self, status: int, length: int, headers: object) -> bool:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():  # type: ignore[attr-defined]
            self.send_header(name, value)
        self.end_headers()
        return True

    def _note(self, body: bytes = b"") -> None:
        self.registry.requests.append(Request(self.command, self.path, dict(self.headers), body))

    def _writes(self, method: str) -> bool:
        """Handle a request that changes something; False for others."""
        path, _, query_text = self.path.partition("?")
        query = {key: values[0] for key, values in parse_qs(query_text).items()}
        upload = re.fullmatch(r"/v2/(.+)/blobs/uploads/([0-9]*)", path)
        manifest = re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path)
        if not upload and not manifest:
            return False
        self._note()
        registry = self.registry
        if any(fault(self) for fault in registry.faults):
            return True
        if registry.users is not None and not self._is_allowed() and not self._is_elsewhere():
            self.take(self.length)
            self.challenge()
            return True
        body = self.take(self.length)
        if manifest:
            self._manifest(manifest[1], manifest[2], body)
        elif upload and method == "POST":
            self._begin(upload[1], query)
        elif upload:
            self._go_on(upload[1], upload[2], method, query, body)
        return True

    def _is_elsewhere(self) -> bool:
        """A place for uploads at another origin wants no token: the URL is the right to write."""
        return bool(self.registry.elsewhere) and self.headers.get("Host") == self.registry.elsewhere

    def _manifest(self, name: str, reference: str, body: bytes) -> None:
        registry = self.registry
        if self.command == "DELETE":
            found = registry.manifests.pop((name, reference), None)
            self.answer(202, b"") if found else self.error(404, "MANIFEST_UNKNOWN")
            return
        kind = self.headers.get("Content-Type", "")
        digest = registry.add_manifest(name, body, "" if ":" in reference else reference, kind)
        self.answer(201, b"", {"Docker-Content-Digest": digest, "Location": self.path})

    def _begin(self, name: str, query: dict[str, str]) -> None:
        registry = self.registry
        if registry.mounts and query.get("mount") in registry.blobs:
            self.answer(201, b"", {"Location": f"/v2/{name}/blobs/{query['mount']}"})
            return
        number = str(len(registry.uploads) + 1)
        registry.uploads[number] = b""
        host = f"http://{registry.elsewhere}" if registry.elsewhere else ""
        self.answer(202, b"", {"Location": f"{host}/v2/{name}/blobs/uploads/{number}", "Range": "0-0"})

    def _go_on(self, name: str, number: str, method: str, query: dict[str, str], body: bytes) -> None:
        registry = self.registry
        if number not in registry.uploads:
            self.error(404, "BLOB_UPLOAD_UNKNOWN")
            return
        have = registry.uploads[number]
        start = re.match(r"(\d+)-", self.headers.get("Content-Range", ""))
        if start and int(start[1]) != len(have):
            self.error(416, "BLOB_UPLOAD_INVALID")
            return
        registry.uploads[number] = have = have + body
        if method == "PATCH":
            self.answer(202, b"", {"Range": f"0-{len(have) - 1}", "Location": self.path})
        elif digest_of(have) != query.get("digest"):
            self.error(400, "DIGEST_INVALID")
        else:
            registry.blobs[digest_of(have)] = have
            del registry.uploads[number]
            self.answer(201, b"", {"Docker-Content-Digest": digest_of(have)})


@contextmanager
def taking(registry: UploadRegistry | None = None) -> Iterator[UploadRegistry]:
    registry = registry or UploadRegistry()
    handler = type("BoundHandler", (UploadHandler,), {"registry": registry})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    registry.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
