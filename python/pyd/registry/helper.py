"""Credential helpers: programs `docker-credential-NAME` that keep passwords for all container tools.

Protocol: github.com/docker/docker-credential-helpers. The action is the argument, everything else goes by
stdin and stdout; a helper says what is wrong on stdout and exits 1. Secrets are never arguments.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pyd.errors import InvalidArgument, Unavailable

NOT_FOUND = "credentials not found in native keychain"
NO_SERVER = "no credentials server URL"
NO_USER = "no credentials username"
_SECONDS = 60.0
_MOST = 1 << 20  # bytes of an answer
_CHUNK = 1 << 16
_DOING = {"get": "getting", "store": "storing", "erase": "erasing", "list": "listing"}

# A helper gets its home, its agents and its own settings, not the rest of our environment: that may hold
# secrets of others. PYD_CREDENTIAL_HELPER_ENV names what a helper needs beyond this.
_ENVIRONMENT = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TERM", "TMPDIR", "DISPLAY", "WAYLAND_DISPLAY"),
    *("DOCKER_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR", "CREDENTIALS_DIRECTORY"),
)
_PREFIXES = (
    *("LC_", "XDG_", "DBUS_", "GNUPG", "GPG_", "PASSWORD_STORE_"),
    *("AWS_", "GOOGLE_", "CLOUDSDK_", "AZURE_"),
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Found(NamedTuple):
    username: str  # "<token>": the secret is an identity token
    secret: str


class Helper:
    """One helper by its NAME. Errors are Unavailable, in Docker's words."""

    def __init__(self, name: str) -> None:
        if not name or "/" in name or "\0" in name:
            raise InvalidArgument(f"invalid credential helper {name!r} in config.json")
        self.name = name
        self.program = f"docker-credential-{name}"

    def get(self, server: str) -> Found | None:
        """None when it has nothing for this server."""
        status, out = self._run("get", server.encode())
        if status != 0:
            if NOT_FOUND.encode() in out:
                return None
            raise self._failed("get", f"exit status {status}", out)
        answer = self._object("get", out)
        username, secret = answer.get("Username"), answer.get("Secret")
        if not isinstance(username, str) or not isinstance(secret, str):
            raise self._failed("get", "it does not answer with Username and Secret")
        return Found(username, secret)

    def store(self, server: str, username: str, secret: str) -> None:
        document = {"ServerURL": server, "Username": username, "Secret": secret}
        status, out = self._run("store", json.dumps(document).encode())
        if status != 0:
            raise self._failed("store", f"exit status {status}", out, secret)

    def erase(self, server: str) -> None:
        """What is not there is erased."""
        status, out = self._run("erase", server.encode())
        if status != 0 and NOT_FOUND.encode() not in out:
            raise self._failed("erase", f"exit status {status}", out)

    def list(self) -> dict[str, str]:
        """Server -> user name."""
        status, out = self._run("list", b"unused")
        if status != 0:
            raise self._failed("list", f"exit status {status}", out)
        answer = self._object("list", out)
        return {server: name for server, name in answer.items() if isinstance(name, str)}

    def _object(self, action: str, out: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(out)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            # not shown: what it is may be half of a secret
            raise self._failed(action, "it does not answer with a JSON object")
        return answer

    def _failed(self, action: str, cause: str, out: bytes = b"", secret: str = "") -> Unavailable:
        text = out.decode(errors="replace").strip()
        if '"Secret"' in text or (secret and secret in text):
            text = "(not shown: it holds a secret)"
        shown = "".join(letter if letter.isprintable() else "?" for letter in text)[:200]
        return Unavailable(
            f"error {_DOING[action]} credentials - err: {self.program}: {cause}, out: `{shown}`",
            None if shown else f"config.json names this helper; `{self.program} list` shows if it works",
        )

    def _run(self, action: str, text: bytes) -> tuple[int, bytes]:
        try:
            process = subprocess.Popen(
                [self.program, action],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
                process_group=0,  # so that what it has started ends with it
            )
        except FileNotFoundError:
            raise self._failed(action, "executable file not found in $PATH") from None
        except OSError as error:
            raise self._failed(action, os.strerror(error.errno or 0).lower()) from None
        try:
            return self._converse(process, action, text)
        finally:
            with process:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def _converse(self, process: subprocess.Popen[bytes], action: str, text: bytes) -> tuple[int, bytes]:
        """Write and read at once, until it ends, has said too much or has taken too long."""
        assert process.stdin and process.stdout
        stdin, stdout = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(stdin, False)
        os.set_blocking(stdout, False)
        until, out = time.monotonic() + _SECONDS, bytearray()
        ended = os.pidfd_open(process.pid)
        try:
            with selectors.DefaultSelector() as ready:
                ready.register(stdin, selectors.EVENT_WRITE)
                ready.register(stdout, selectors.EVENT_READ)
                # a daemon that it has started may keep its stdout open for ever
                ready.register(ended, selectors.EVENT_READ)
                while True:
                    events = {key.fd for key, _ in ready.select(max(0.0, until - time.monotonic()))}
                    if not events:
                        raise self._failed(action, f"no answer within {_SECONDS:.0f} seconds")
                    if stdin in events:
                        text = _write(stdin, text)
                        if not text:
                            ready.unregister(stdin)
                            process.stdin.close()
                    if stdout in events and not _read(stdout, out):
                        ready.unregister(stdout)
                    if len(out) > _MOST:
                        raise self._failed(action, f"it answers with more than {_MOST} bytes")
                    if ended in events and stdout not in events:
                        return process.wait(), bytes(out)
        finally:
            os.close(ended)


def _write(fd: int, text: bytes) -> bytes:
    """What is left to be written."""
    try:
        return text[os.write(fd, text) :] if text else b""
    except BlockingIOError:
        return text
    except BrokenPipeError:  # a helper need not read what it does not want
        return b""


def _read(fd: int, out: bytearray) -> bool:
    """False at the end."""
    chunk = os.read(fd, _CHUNK)
    out += chunk
    return bool(chunk)


def environment() -> dict[str, str]:
    """What a helper gets of ours. Proxies with a password in them are left out too."""
    more = tuple(os.environ.get("PYD_CREDENTIAL_HELPER_ENV", "").replace(",", " ").split())
    return {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT
        or name.startswith(_PREFIXES)
        or name in more
        or (name.lower() in _PROXIES and not _has_password(value))
    }


def _has_password(proxy: str) -> bool:
    try:
        return "@" in urlsplit(proxy if "://" in proxy else f"//{proxy}").netloc
    except ValueError:
        return True
