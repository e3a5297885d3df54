""".dockerignore to patterns, cleaned as moby/patternmatcher/ignorefile does it; matching is not done here."""

from __future__ import annotations

from pyd.build.words import SPACES
from pyd.errors import InvalidArgument

MAX_SIZE = 4 << 20  # bytes
_MAX_LINE = 65535


def read(data: bytes) -> list[str]:
    """In their order, `!` in front of exceptions; paths are relative to the context. Raises InvalidArgument.

    Bytes that are no UTF-8 are kept as os.fsdecode would have them.
    """
    if len(data) > MAX_SIZE:
        raise InvalidArgument(f".dockerignore is larger than {MAX_SIZE >> 20} MiB")
    patterns = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if len(raw) > _MAX_LINE:
            raise InvalidArgument(f"error reading .dockerignore: line {number} is too long")
        if b"\0" in raw:
            raise InvalidArgument(f"error reading .dockerignore: line {number} has a null byte")
        line = raw.decode("utf-8", "surrogateescape")
        if line.startswith("#"):
            continue
        pattern = line.strip(SPACES)
        if not pattern:
            continue
        excepts = pattern.startswith("!")
        if excepts:
            pattern = pattern[1:].strip(SPACES)
        if pattern:
            pattern = clean(pattern)
            if len(pattern) > 1:
                pattern = pattern.removeprefix("/")
        patterns.append(f"!{pattern}" if excepts else pattern)
    return patterns


def clean(path: str) -> str:
    """Go's filepath.Clean: no `.`, no `//`, `..` resolved where it can be."""
    absolute = path.startswith("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts and parts[-1] != "..":
            parts.pop()
        elif not absolute:
            parts.append(part)
    return ("/" if absolute else "") + "/".join(parts) or "."
