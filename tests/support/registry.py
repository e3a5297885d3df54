"""A real registry on loopback: Debian's docker-registry, filled by skopeo."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.support.command import find_program, wait_until

CONFIG = """version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {directory}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
HTPASSWD = "auth: {{htpasswd: {{realm: test, path: {path}}}}}\n"
TOKEN = (
    "auth: {{token: {{realm: {realm}, service: {service}, issuer: {issuer}, rootcertbundle: {bundle}}}}}\n"
)


class Registry:
    """Serves from `directory` until `stop`. `auth`: HTPASSWD or TOKEN with their places filled in."""

    def __init__(self, directory: Path, auth: str = "") -> None:
        program = find_program("docker-registry", "registry")
        assert program is not None, "docker-registry is not installed (sh tests/setup.sh)"
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        config = directory / "config.yml"
        config.write_text(CONFIG.format(directory=directory / "storage", port=self.port) + auth)
        self._log = (directory / "log").open("w")
        self._process = subprocess.Popen(
            [program, "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            # it takes REGISTRY_AUTH_FILE, Podman's, for a setting of its own
            env={name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")},
        )
        try:
            wait_until(self._answers, 60, f"docker-registry at {self.host}")
        except BaseException:
            self._process.kill()
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.directory / "log").read_text()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in (200, 401)
        except OSError:
            return False
        finally:
            connection.close()

    def push(self, layout: Path, name: str, *, compression: str = "gzip", v2s2: bool = False) -> str:
        """Pushes the image of an OCI layout and returns its reference."""
        reference = f"{self.host}/{name}:latest"
        options = ["--dest-compress-format", compression] if compression != "gzip" else []
        options += ["--format", "v2s2"] if v2s2 else []
        skopeo(
            "copy",
            "--quiet",
            *options,
            "--dest-tls-verify=false",
            f"oci:{layout}:latest",
            f"docker://{reference}",
        )
        return reference

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def skopeo(*args: str) -> str:
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"skopeo {' '.join(args)}: {done.stderr}"
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
