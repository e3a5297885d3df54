"""Unix stream sockets between a command and a monitor, made of the interpreter's own `_socket`: the module
`socket` builds enums, for two milliseconds of the thirty that a whole `pyd exec` takes.
"""

from __future__ import annotations

from _socket import AF_UNIX, SHUT_RDWR, SOCK_STREAM, socketpair
from _socket import socket as _Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


class Connection(_Socket):
    """Ends with its `with` block."""

    def __init__(self, fileno: int | None = None) -> None:
        super().__init__(AF_UNIX, SOCK_STREAM, 0, fileno)

    def cut(self) -> None:
        """No more either way, for whoever else has it too. Raises OSError."""
        self.shutdown(SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pair() -> tuple[Connection, Connection]:
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    return Connection(ours.detach()), Connection(theirs.detach())
