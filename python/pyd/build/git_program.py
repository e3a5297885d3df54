"""The `git` program, run so that nothing of this host and nothing in a repository decides what it does.

No configuration of the user or the system, no hooks, no templates, no helpers for credentials, no prompts,
and no transport but http, https, git and ssh: a submodule cannot name a directory of this host
(CVE-2022-39253). What is secret goes by the environment, which other users cannot read, never by the command
line.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

from pyd.build import room
from pyd.errors import CorruptData, DeadlineExceeded, NotSupported, PydError, Unavailable, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.autocrlf=false",
    "core.logAllRefUpdates=false",
    "credential.helper=",
    "protocol.allow=never",
    "protocol.http.allow=always",
    "protocol.https.allow=always",
    "protocol.git.allow=always",
    "protocol.ssh.allow=always",
    "protocol.file.allow=never",
    "protocol.ext.allow=never",
    "http.followRedirects=initial",
    "http.lowSpeedLimit=100",
    "http.lowSpeedTime=60",
    "submodule.recurse=false",
    "advice.detachedHead=false",
    "init.defaultBranch=master",
    "gc.auto=0",
    "maintenance.auto=false",
    # objects that try to leave the work tree by their names are refused when they arrive (CVE-2018-11235)
    "fetch.fsckObjects=true",
    # harmless, and common in old histories
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingEmail=ignore",
)
_PASSED_ON = (
    *("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
)
_SECONDS = 3600.0  # that one command may take
_MOST = 64 << 20  # bytes of an answer
_LOOK = 0.2  # seconds between two looks at the disk
_LINGER = 5.0  # seconds that what it has started may go on writing
_SHOWN = 2000  # bytes of its complaint
_LEAST = (2, 31)  # the version that reads settings from the environment


class Git:
    """`home`: an empty directory of ours. secrets: (setting, value) that are not to be seen. agent: socket of
    the agent that ssh may ask; it has no other keys.
    """

    def __init__(
        self, home: str, *, secrets: Sequence[tuple[str, str]] = (), agent: str = "", shown: str = ""
    ) -> None:
        program = shutil.which("git")
        if program is None:
            raise NotSupported(
                f"{shown}: git sources need the program git, which is not installed",
                "install it (apt-get install git), or give the files as a directory or an archive",
            )
        self._program = program
        self._home = home
        self._secrets = [value for _, value in secrets]
        self._environment = _environment(home, agent)
        if secrets:
            self._need(_LEAST, shown)
            self._environment["GIT_CONFIG_COUNT"] = str(len(secrets))
            for index, (name, value) in enumerate(secrets):
                self._environment[f"GIT_CONFIG_KEY_{index}"] = name
                self._environment[f"GIT_CONFIG_VALUE_{index}"] = value

    def run(self, *words: str, directory: str = "", most: int = 0) -> str:
        """What it writes to stdout. `most`: records, each with a NUL at its end, that it may write; they are
        counted and not given back. Raises Unavailable with its complaint, CorruptData for too many records,
        DeadlineExceeded, and KernelError when the disk is full.
        """
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        command = [self._program, *settings, *words]
        doing = f"git {words[0]}"
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory or self._home,
                env=self._environment,
                umask=0o022,
                process_group=0,  # so that what it has started ends with it
            )
        except OSError as error:
            raise from_os_error(error, f"starting {self._program}") from error
        assert process.stdout is not None and process.stderr is not None
        with contextlib.suppress(ProcessLookupError):
            # trees that stand for 10^9 files are small until they are unpacked into memory
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (_memory(), _memory()))
        out = _Reader(process.stdout, 0 if most else _MOST, records=most)
        complaint = _Reader(process.stderr, _SHOWN, tail=True)
        try:
            self._wait(process, doing, out)
            for reader in (out, complaint):
                reader.join(_LINGER)
        finally:
            # while something of the group lives, no other group gets its number
            if process.poll() is None or out.is_alive() or complaint.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for reader in (out, complaint):
                reader.join()
        if process.returncode != 0:
            raise Unavailable(f"{doing}: {self._complaint(bytes(complaint.data), process.returncode)}")
        return out.data.decode("utf-8", "replace")

    def _wait(self, process: subprocess.Popen[bytes], doing: str, out: _Reader) -> None:
        until = time.monotonic() + _SECONDS
        pidfd = os.pidfd_open(process.pid)
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        try:
            while not ended.poll(_LOOK * 1000):
                self._look(doing, out, until)
        finally:
            os.close(pidfd)
        process.wait()
        if out.overflown:
            self._look(doing, out, until)

    def _look(self, doing: str, out: _Reader, until: float) -> None:
        if out.overflown and out.records:
            raise CorruptData(f"{doing}: the commit has more than {out.records} files")
        if out.overflown:
            raise Unavailable(f"{doing}: the server answers with more than {_MOST >> 20} MiB")
        if time.monotonic() > until:
            raise DeadlineExceeded(f"{doing}: not done within {_SECONDS / 60:.0f} minutes")
        if room.free(self._home) == 0:
            room.Room(self._home, "the repository").need(1)

    def _complaint(self, data: bytes, status: int) -> str:
        """Its last words, without secrets that a server may have sent back."""
        text = data.decode("utf-8", "replace")
        for secret in self._secrets:
            for word in (secret, secret.rpartition(" ")[2]):
                text = text.replace(word, "xxxxx") if word else text
        lines = [line.strip() for line in re.split("[\r\n]+", text) if line.strip()]
        chosen = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "ERROR"))]
        return "; ".join((chosen or lines)[-4:]) or f"exit status {status}"

    def _need(self, least: tuple[int, int], shown: str) -> None:
        answer = subprocess.run(
            [self._program, "version"], env=self._environment, capture_output=True, text=True, check=False
        ).stdout
        found = re.search(r"(\d+)\.(\d+)", answer)
        if found is None or (int(found[1]), int(found[2])) < least:
            raise NotSupported(
                f"{shown}: credentials for a git source need git {least[0]}.{least[1]} or newer",
                "install a newer git, or use ssh",
            )


class _Reader(threading.Thread):
    """Reads a pipe to its end. Keeps the first `limit` bytes, or with `tail` the last. With `records` it
    keeps none and counts NULs.
    """

    def __init__(self, pipe: IO[bytes], limit: int, *, tail: bool = False, records: int = 0) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._limit = limit
        self._tail = tail
        self._count = 0
        self.records = records
        self.data = bytearray()
        self.overflown = False
        self.start()

    def run(self) -> None:
        with self._pipe:
            while chunk := os.read(self._pipe.fileno(), 1 << 16):
                if self.records:
                    self._count += chunk.count(b"\0")
                    self.overflown = self._count > self.records
                    continue
                self.data += chunk
                if self._tail:
                    del self.data[: -self._limit]
                elif len(self.data) > self._limit:
                    self.overflown = True
                    del self.data[self._limit :]


def _memory() -> int:
    """Bytes that one process of git may have: half of the machine's."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _environment(home: str, agent: str) -> dict[str, str]:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return environment | {
        "HOME": home,
        "XDG_CONFIG_HOME": home,
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TEMPLATE_DIR": "",
        "GIT_CEILING_DIRECTORIES": os.path.dirname(home),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "http:https:git:ssh",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_SSH_COMMAND": _ssh(home),
        "GIT_SSH_VARIANT": "ssh",
        **({"SSH_AUTH_SOCK": agent} if agent else {}),
    }


def _ssh(home: str) -> str:
    """A host that the user knows must have the key that he knows; a new one is taken as it is, as in
    BuildKit, and is not noted in his file.
    """
    options: Mapping[str, str] = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": f'"{home}/known_hosts" ~/.ssh/known_hosts',
        "IdentityFile": "none",
        "ProxyCommand": "none",
        "PermitLocalCommand": "no",
        "ForwardAgent": "no",
        "ConnectTimeout": "30",
        "ServerAliveInterval": "30",
    }
    words = ["ssh", "-F", "/dev/null", *(f"-o{name}={value}" for name, value in options.items())]
    return shlex.join(words)


def failed(error: PydError, doing: str) -> PydError:
    """The same error with what it came from."""
    return type(error)(f"{doing}: {error.message}", error.hint)
