"""What files a step has read, so that it can be told later which of them differs:
data-root/build/listings/<hex>.

The name is the digest of the selection. Only for explanations: a list that was lost costs nothing else, so it
is not synced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress

from pyd.errors import PydError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.paths import Paths

_MAX = 64 << 20  # bytes of one list


def path_of(paths: Paths, digest: str) -> str:
    return f"{paths.build}/listings/{digest.removeprefix('sha256:')}"


def keep(paths: Paths, digest: str, listing: list[tuple[str, str]]) -> None:
    path = path_of(paths, digest)
    if os.path.exists(path):
        return
    import zlib

    data = zlib.compress(json.dumps(listing, separators=(",", ":")).encode(), 1)
    with suppress(OSError):  # without it an explanation is less precise
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        new = f"{path}.{os.urandom(4).hex()}"
        with open(new, "xb") as file:
            file.write(data)
        os.rename(new, path)


def read(paths: Paths, digest: str) -> dict[str, str] | None:
    """path -> fingerprint; None when it is not known any more."""
    import zlib

    try:
        with open(path_of(paths, digest), "rb") as file:
            inflater = zlib.decompressobj()
            data = inflater.decompress(file.read(_MAX), _MAX)
        return dict(json.loads(data))
    except (OSError, ValueError, TypeError, zlib.error, PydError):
        return None


def differences(before: dict[str, str], after: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(path, what happened to it), by path."""
    for path in sorted(before.keys() | after.keys()):
        if path not in before:
            yield path, "is new"
        elif path not in after:
            yield path, "is gone"
        elif before[path] != after[path]:
            yield path, _change(before[path], after[path])


def _change(before: str, after: str) -> str:
    """Fingerprints are words: kind, mode and digest, or kind and target; then owner and attributes."""
    one, other = before.split(" "), after.split(" ")
    if one[0] != other[0]:
        return f"was a {one[0]} and is a {other[0]}"
    if one[0] == "file" and one[2:3] != other[2:3]:
        return "has other contents"
    if one[1:2] != other[1:2]:
        return "has another target" if one[0] == "symlink" else f"has mode {other[1]}, had {one[1]}"
    return "has another owner or other attributes"
