"""`pyd registry serve`, run as a user runs it, and requests to it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from tests.support.command import executable

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code of the spec."""
        return str(self.json()["errors"][0]["code"])


class Served:
    """Serves from `directory` until `stop` or `kill`; `start` serves the same again, at the same port."""

    def __init__(
        self, directory: Path, *options: object, tls: Path | None = None, program: list[str] | None = None
    ) -> None:
        self.program = program or executable()
        self.directory = directory
        self.options = [str(option) for option in options]
        self.tls = tls
        self.port = 0
        self.log = directory.with_name(f"{directory.name}.log")
        self.process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None, "it does not run"
        return self.process.pid

    def start(self) -> None:
        words = [*self.program, "registry", "serve", "--root", str(self.directory)]
        words += ["--listen", f"127.0.0.1:{self.port}", *self.options]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        match = re.search(r":(\d+)$", said)
        if match is None:
            self.process.wait()
            raise AssertionError(f"it does not serve: {said}{self.log.read_text()}")
        self.port = int(match[1])

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code

    def connection(self, timeout: float = 120) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        context = ssl.create_default_context(cafile=str(self.tls))
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=context)

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        /,
        *,
        user: str = "",
        **headers: str,
    ) -> Answer:
        """`user="name:password"`; header names with _ for -."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if user:
            sent["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def push_blob(self, name: str, data: bytes, **extra: str) -> str:
        digest = sha256(data)
        answer = self("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", data, **extra)
        assert answer.status == 201, answer
        return digest

    def push_manifest(self, name: str, reference: str, document: Any, **extra: str) -> Answer:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        kind = OCI_MANIFEST if isinstance(document, bytes) else document.get("mediaType", OCI_MANIFEST)
        extra.setdefault("Content_Type", kind)
        return self("PUT", f"/v2/{name}/manifests/{reference}", data, **extra)

    def push_image(self, name: str, tag: str, layer: bytes, **extra: str) -> str:
        """Config, layer and manifest; the manifest's digest."""
        document = self.manifest(name, layer, **extra)
        answer = self.push_manifest(name, tag, document, **extra)
        assert answer.status == 201, answer
        return answer.headers["Docker-Content-Digest"]

    def manifest(self, name: str, *layers: bytes, **extra: str) -> dict[str, Any]:
        """A manifest whose blobs have been pushed."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}).encode()
        for blob in (config, *layers):
            self.push_blob(name, blob, **extra)
        return {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(config, OCI_CONFIG),
            "layers": [descriptor(layer, OCI_LAYER) for layer in layers],
        }


def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def memory(pid: int) -> int:
    """The most bytes that the process ever had in RAM (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def random_bytes(count: int) -> bytes:
    return os.urandom(count)
