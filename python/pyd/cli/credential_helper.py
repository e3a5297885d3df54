"""`docker-credential-pyd`: pyd's credential store under the protocol that Docker, podman and others speak.

github.com/docker/docker-credential-helpers: one action as the argument; the server or a JSON document on
stdin; answers and errors on stdout, exit status 1 with an error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyd.engine.credential_store import NO_SERVER, NO_USER, NOT_FOUND, required

if TYPE_CHECKING:
    from pyd.engine.credential_store import Vault

_MOST = 1 << 20


class _Refused(Exception):
    """What is said on stdout."""


def entry() -> None:
    """What the installed command calls."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    from pyd.errors import PydError

    try:
        answer = _act(arguments)
    except _Refused as error:
        answer = str(error)
    except PydError as error:
        answer = error.message + (f" ({error.hint})" if error.hint else "")
    except OSError as error:
        answer = f"docker-credential-pyd: {os.strerror(error.errno or 0).lower()}"
    else:
        sys.stdout.write(answer)
        sys.stdout.flush()
        return 0
    print(answer, flush=True)
    return 1


def _act(arguments: Sequence[str]) -> str:
    actions = {"get": _get, "store": _store, "erase": _erase, "list": _list}
    if len(arguments) != 1:
        raise _Refused("Usage: docker-credential-pyd <store|get|erase|list|version>")
    if arguments[0] == "version":
        from pyd import __version__

        return f"docker-credential-pyd (pyd) {__version__}\n"
    if arguments[0] not in actions:
        raise _Refused(f"Unknown credential action `{arguments[0]}`")
    text = _input() if arguments[0] != "list" else ""
    return actions[arguments[0]](required(), text)


def _get(vault: Vault, text: str) -> str:
    server = _server(text)
    found = vault.get(server)
    if found is None:
        raise _Refused(NOT_FOUND)
    return json.dumps({"ServerURL": server, "Username": found.username, "Secret": found.secret}) + "\n"


def _store(vault: Vault, text: str) -> str:
    try:
        document = json.loads(text)
        server, username = document.get("ServerURL", ""), document.get("Username", "")
        secret = document.get("Secret", "")
    except (ValueError, AttributeError, RecursionError):
        raise _Refused("stdin holds no JSON object with ServerURL, Username and Secret") from None
    if not all(isinstance(value, str) for value in (server, username, secret)):
        raise _Refused("ServerURL, Username and Secret must be strings")
    if not server:
        raise _Refused(NO_SERVER)
    if not username:
        raise _Refused(NO_USER)
    vault.store(server, username, secret)
    return ""


def _erase(vault: Vault, text: str) -> str:
    vault.erase(_server(text))
    return ""


def _list(vault: Vault, text: str) -> str:
    return json.dumps(vault.list()) + "\n"


def _server(text: str) -> str:
    server = text.strip()
    if not server:
        raise _Refused(NO_SERVER)
    return server


def _input() -> str:
    data = sys.stdin.buffer.read(_MOST + 1)
    if len(data) > _MOST:
        raise _Refused(f"more than {_MOST} bytes on stdin")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _Refused("stdin is not UTF-8") from None


if __name__ == "__main__":
    entry()
