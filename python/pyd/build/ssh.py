"""`--ssh`: keys that a build may use without having them: `default`, `id=SOCKET` or `id=KEY[,KEY…]`."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Mapping, Sequence

from pyd.errors import InvalidArgument, NotFound, from_os_error
from pyd.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from pyd.build.ssh_agent import Agent, Keyring

DEFAULT = "default"


class SshSpec(Record):
    id: str
    paths: tuple[str, ...] = ()  # one socket, or files with private keys; (): the user's agent


def parse(text: str) -> SshSpec:
    name, equals, paths = text.partition("=")
    return SshSpec(name or DEFAULT, tuple(paths.split(",")) if equals and paths else ())


class Ssh:
    """Sockets that exist while it is entered. `directory`: made, and removed at the end; on the run-root, so
    that nothing of it survives a boot.

    Raises InvalidArgument, NotFound or Unavailable for what cannot be had, before any step runs.
    """

    def __init__(
        self, texts: Sequence[str], directory: str, environ: Mapping[str, str] | None = None
    ) -> None:
        self._directory = directory
        self._keyrings: dict[str, Keyring] = {}
        self._agents: dict[tuple[str, int, int, int], tuple[Agent, str]] = {}
        self._lock = threading.Lock()
        for spec in map(parse, texts):
            if spec.id in self._keyrings:
                raise InvalidArgument(f'duplicate agent ID "{spec.id}"')
            self._keyrings[spec.id] = _keyring(spec, os.environ if environ is None else environ)

    def __enter__(self) -> Ssh:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def socket(self, ssh_id: str, *, uid: int = -1, gid: int = -1, mode: int = 0o600) -> str | None:
        """Path on the host of a socket with this owner and mode; None when the build was given no such
        keys.
        """
        keyring = self._keyrings.get(ssh_id or DEFAULT)
        if keyring is None:
            return None
        key = (ssh_id or DEFAULT, uid, gid, mode)
        with self._lock:
            if key not in self._agents:
                self._agents[key] = self._served(keyring, uid, gid, mode)
            return self._agents[key][1]

    def need(self, ssh_id: str, *, uid: int = -1, gid: int = -1, mode: int = 0o600) -> str:
        """Raises NotFound in the words of BuildKit."""
        path = self.socket(ssh_id, uid=uid, gid=gid, mode=mode)
        if path is None:
            name = ssh_id or DEFAULT
            raise NotFound(f"unset ssh forward key {name}", f"give it with --ssh {name}")
        return path

    def close(self) -> None:
        with self._lock:
            agents = [agent for agent, _ in self._agents.values()]
            self._agents.clear()
            self._keyrings.clear()
        for agent in agents:
            agent.close()
        if agents:
            try:
                os.rmdir(self._directory)
            except OSError:
                pass  # somebody else's, or gone with the run-root

    def _served(self, keyring: Keyring, uid: int, gid: int, mode: int) -> tuple[Agent, str]:
        from pyd.build.ssh_agent import Agent

        # short: the address of a unix socket has 107 bytes
        path = f"{self._directory}/{os.urandom(4).hex()}"
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            agent = Agent(keyring, path)
            if (uid, gid) != (-1, -1):
                os.chown(path, uid, gid)
            os.chmod(path, mode)
        except OSError as error:
            raise from_os_error(error, f"making the ssh socket {path}") from error
        return agent, path


def _keyring(spec: SshSpec, environ: Mapping[str, str]) -> Keyring:
    from pyd.build.ssh_agent import Forwarded, KeyFiles, check_agent

    paths = [path for path in spec.paths if path] or [environ.get("SSH_AUTH_SOCK", "")]
    if not paths[0]:
        raise InvalidArgument(
            "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set",
            "start an agent (eval $(ssh-agent); ssh-add), or name a key: --ssh default=PATH",
        )
    sockets = [path for path in paths if _is_socket(path)]
    if sockets and len(paths) > 1:
        if len(sockets) > 1:
            raise InvalidArgument(f'ssh "{spec.id}": only single socket allowed')
        raise InvalidArgument(f'ssh "{spec.id}": invalid combination of keys and sockets')
    if sockets:
        check_agent(sockets[0])
        return Forwarded(sockets[0])
    return KeyFiles(paths)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except FileNotFoundError:
        raise NotFound(f"stat {path}: no such file or directory") from None
    except OSError as error:
        raise from_os_error(error, f"stat {path}") from error
