"""The Dockerfile and the .dockerignore of a context, read with the care that a stranger's directory needs.

A Dockerfile may be a link inside the context, never out of it; errors have BuildKit's words.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from pyd.build import dockerignore, inside
from pyd.errors import InvalidArgument, NotFound, PydError, from_os_error

DOCKERFILE = "Dockerfile"
IGNORE = ".dockerignore"
LIMIT = 1 << 20  # bytes


def place(root: str, given: str) -> tuple[str, str]:
    """(directory that the Dockerfile may not lead out of, its path there): the context for one inside, else
    its own directory. `given` is relative to the working directory, as with buildx; "" is the default.
    """
    if not given:
        return root, DOCKERFILE
    path = os.path.abspath(given)
    for top in (root, os.path.realpath(root)):
        if path.startswith(f"{top.rstrip('/')}/"):
            return top, os.path.relpath(path, top)
    return os.path.split(path)


def cased(root: str, path: str) -> str:
    """ "dockerfile" where there is no "Dockerfile" (moby#10858)."""
    directory, name = os.path.split(path)
    lower = os.path.join(directory, DOCKERFILE.lower())
    if name == DOCKERFILE and not _exists(root, path) and _exists(root, lower):
        return lower
    return path


def read(root: str, path: str) -> bytes:
    """The Dockerfile. Raises NotFound or InvalidArgument."""
    name = os.path.basename(path)
    try:
        return inside.read(root, path, LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        hint = None
        if os.path.islink(os.path.join(root, path)):
            hint = f"{name} is a link to a file that is not in {root}: links are followed inside it only"
        raise NotFound(f"failed to read dockerfile: open {name}: no such file or directory", hint) from None
    except OSError as error:
        raise _unreadable(error, name, "failed to read dockerfile") from None


def patterns(*places: tuple[str, str]) -> list[str]:
    """Of the first .dockerignore that is there; places are (directory, path in it)."""
    for root, path in places:
        try:
            return dockerignore.read(inside.read(root, path, LIMIT))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        except OSError as error:
            doing = "failed to read dockerignore patterns"
            raise _unreadable(error, os.path.basename(path), doing) from None
    return []


def bounded(chunks: Iterable[bytes], what: str) -> bytes:
    """All of a Dockerfile that comes in pieces."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > LIMIT:
            raise InvalidArgument(f"{what} exceeds maximum allowed size of {LIMIT} bytes")
    return bytes(data)


def _exists(root: str, path: str) -> bool:
    try:
        return os.path.lexists(inside.locate(root, path))
    except OSError:
        return False


def _unreadable(error: OSError, name: str, doing: str) -> PydError:
    if error.errno == errno.EISDIR:
        return InvalidArgument(f"{doing}: read {name}: is a directory")
    if error.errno == errno.EFBIG:
        return InvalidArgument(f"{doing}: {name} exceeds maximum allowed size of {LIMIT} bytes")
    if error.errno in (errno.EINVAL, errno.ENXIO):
        return InvalidArgument(f"{doing}: {name} is not a regular file")
    if error.errno == errno.ELOOP:
        return InvalidArgument(f"{doing}: open {name}: too many levels of symbolic links")
    return from_os_error(error, f"{doing}: open {name}")
