"""Secrets that are looked for in all spellings: in files, in output, and in what /proc shows of processes."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from urllib.parse import quote


def spellings(secret: str) -> set[bytes]:
    """As it is, in base64 at each of three offsets, in hex, and in a URL."""
    data, found = secret.encode(), {secret.encode(), secret.encode().hex().encode(), quote(secret).encode()}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + data)
        # without the characters that what is before and behind it has a share in
        inner = encoded[2 * offset : len(encoded) - (4 if len(encoded) % 4 == 0 else 0)]
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return {each for each in found if len(each) > 8}


class Canaries:
    """`add` a secret, look for all of them with `in_text` and `in_files`."""

    def __init__(self, *secrets: str) -> None:
        self._found: dict[str, set[bytes]] = {}
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        self._found[secret] = spellings(secret)

    def in_bytes(self, data: bytes) -> list[str]:
        known = list(self._found.items())  # a server's thread may add one meanwhile
        return [secret for secret, words in known if any(word in data for word in words)]

    def in_text(self, *texts: str) -> list[str]:
        return [secret for text in texts for secret in self.in_bytes(text.encode())]

    def in_files(self, tops: Iterable[Path]) -> dict[str, list[str]]:
        """Name of each file below `tops` that holds one -> which."""
        found = {}
        for top in tops:
            for directory, _, names in os.walk(top):
                for name in names:
                    path = Path(directory) / name
                    if (
                        path.is_file()
                        and not path.is_symlink()
                        and (held := self.in_bytes(path.read_bytes()))
                    ):
                        found[name] = held
        return found


class Watch:
    """While it is open, looks at all command lines, and at the environment of all processes but those that
    this process itself has started (their environment is what the test gave them). `given`: secrets that the
    test wrote into a command line.
    """

    def __init__(self, canaries: Canaries, *given: str) -> None:
        self._canaries = canaries
        self._given = given
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seen: set[str] = set()
        self.met: set[bytes] = set()  # programs that were looked at

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.02):
            for name in os.listdir("/proc"):
                if name.isdigit() and int(name) != os.getpid():
                    self._look(name)

    def _look(self, pid: str) -> None:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            parent = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1]
            self.met.add(words)
            for secret in set(self._canaries.in_bytes(words)) - set(self._given):
                self.seen.add(f"argv of {words!r}: {secret}")
            # a child that has not called execve yet shows its parent's memory
            if int(parent) == os.getpid() or Path(f"/proc/{parent}/cmdline").read_bytes() == words:
                return
            for secret in self._canaries.in_bytes(Path(f"/proc/{pid}/environ").read_bytes()):
                self.seen.add(f"environment of {words!r}: {secret}")
        except OSError:
            pass
