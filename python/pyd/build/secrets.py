"""`--secret`: values that a build may use and that stay out of everything that it makes.

The grammar is buildx's: `id=NAME[,src=PATH|,env=VARIABLE][,type=file|env]`. A value is read when it is first
wanted and kept in memory alone.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Mapping, Sequence

from pyd.errors import InvalidArgument, NotFound, PydError, from_os_error
from pyd.record import Record

LIMIT = 500 << 10  # bytes


class SecretSpec(Record):
    """Exactly one of `path` and `variable` is set."""

    id: str
    path: str = ""
    variable: str = ""


def parse(text: str, environ: Mapping[str, str]) -> SecretSpec:
    """Without src and env, the id names the variable of the environment, or else the file."""
    values = {"type": "", "id": "", "source": "", "env": ""}
    for key, value in _fields(text):
        name = "source" if key == "src" else key
        if name not in values:
            raise InvalidArgument(f"unexpected key '{key}' in '{key}={value}'")
        if name == "type" and value not in ("file", "env"):
            raise InvalidArgument(f'unsupported secret type "{value}"')
        values[name] = value
    path, variable = values["source"], values["env"]
    if not values["id"]:
        raise InvalidArgument("secret missing ID", "write it as --secret id=NAME,src=PATH")
    if values["type"] == "env" and not variable:
        path, variable = "", path or values["id"]
    if not path and not variable:
        if values["type"] != "file" and values["id"] in environ:
            variable = values["id"]
        else:
            path = values["id"]
    return SecretSpec(values["id"], "" if variable else path, variable)


class Secrets:
    """May be used by several threads. Raises InvalidArgument for what is written badly, NotFound for a file
    that is not there.
    """

    def __init__(self, texts: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._specs = {spec.id: spec for spec in (parse(text, self._environ) for text in texts)}
        self._values: dict[str, bytes] = {}
        self._lock = threading.Lock()
        for spec in self._specs.values():
            if spec.path:
                _check(spec)

    def get(self, secret_id: str) -> bytes | None:
        """None when the build was given no secret of this id."""
        spec = self._specs.get(secret_id)
        if spec is None:
            return None
        with self._lock:
            # once: the file may be a pipe, /dev/fd/63 of a shell
            if secret_id not in self._values:
                self._values[secret_id] = self._read(spec)
            return self._values[secret_id]

    def need(self, secret_id: str) -> bytes:
        """Raises NotFound in the words of BuildKit."""
        value = self.get(secret_id)
        if value is None:
            raise NotFound(f"secret {secret_id}: not found", f"give it with --secret id={secret_id},src=PATH")
        return value

    @property
    def ids(self) -> list[str]:
        return sorted(self._specs)

    def _read(self, spec: SecretSpec) -> bytes:
        if spec.variable:
            value = os.fsencode(self._environ.get(spec.variable, ""))
        else:
            try:
                with open(spec.path, "rb") as file:
                    value = file.read(LIMIT + 1)
            except OSError as error:
                raise _failed(error, spec) from None
        if len(value) > LIMIT:
            raise _too_big(spec)
        return value

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self.ids)})"


def _check(spec: SecretSpec) -> None:
    try:
        found = os.stat(spec.path)
    except OSError as error:
        raise _failed(error, spec) from None
    if stat.S_ISDIR(found.st_mode):
        raise InvalidArgument(f"secret {spec.id}: {spec.path} is a directory")
    if found.st_size > LIMIT:
        raise _too_big(spec)


def _failed(error: OSError, spec: SecretSpec) -> PydError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"failed to stat {spec.path}: {os.strerror(error.errno).lower()}")
    return from_os_error(error, f"reading secret {spec.id} from {spec.path}")


def _too_big(spec: SecretSpec) -> InvalidArgument:
    return InvalidArgument(f"secret {spec.id} too big. max size 500KB")


def _fields(text: str) -> list[tuple[str, str]]:
    """(key in lower case, value) of a line of CSV with key=value fields."""
    import csv

    try:
        words = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise InvalidArgument(f"failed to parse csv secret: {error}") from None
    found = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidArgument(f"invalid field '{word}' must be a key=value pair")
        found.append((key.lower(), value))
    return found
