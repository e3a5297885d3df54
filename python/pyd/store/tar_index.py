"""Where the files lie in a tar archive, without unpacking it.

`tarfile` reads PAX headers of any length into memory and guesses at damaged archives; an archive given to
`load` may be hostile. This reader knows what `docker save` and `skopeo` write (ustar, GNU long names, PAX
path and size) and refuses the rest. Format: pax(1), "ustar Interchange Format", and GNU tar's manual.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import BinaryIO

from pyd.errors import CorruptData

_BLOCK = 512
_MAX_EXTRA = 1 << 20  # bytes of a PAX header or long name
_MAX_ENTRIES = 100_000
_MAX_HOPS = 8
_FILES, _HARD, _SYMBOLIC = b"0\0" + b"7", b"1", b"2"


@dataclass(frozen=True, slots=True)
class Member:
    offset: int
    size: int  # bytes


class TarIndex:
    """The regular files of a seekable archive by name, links followed inside the archive only."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._files: dict[str, Member] = {}
        self._links: dict[str, str] = {}
        self._scan()

    def find(self, name: str) -> Member | None:
        name = _clean(name)
        for _ in range(_MAX_HOPS):
            member = self._files.get(name)
            if member is not None or name not in self._links:
                return member
            name = self._links[name]
        return None

    def need(self, name: str) -> Member:
        member = self.find(name)
        if member is None:
            raise CorruptData(f"the archive has no file {name[:200]!r}")
        return member

    def read(self, name: str, limit: int) -> bytes:
        """A small file."""
        member = self.need(name)
        if member.size > limit:
            raise CorruptData(f"{name[:200]!r} in the archive is larger than {limit} bytes")
        self._file.seek(member.offset)
        return _exactly(self._file, member.size)

    def _scan(self) -> None:
        file, position, count = self._file, 0, 0
        extra: dict[str, str] = {}
        end = file.seek(0, 2)
        while True:
            file.seek(position)
            header = file.read(_BLOCK)
            if not header.strip(b"\0"):
                break  # the end, by zeros or by nothing
            if len(header) != _BLOCK or not _checksum_fits(header):
                raise CorruptData("this is not a tar archive, or a damaged one")
            kind = header[156:157]
            size = int(extra["size"]) if "size" in extra and kind not in b"xgLK" else _number(header[124:136])
            data, position = position + _BLOCK, position + _BLOCK + -(-size // _BLOCK) * _BLOCK
            if data + size > end:
                raise CorruptData("the archive is truncated")
            if kind in b"xLK" and kind:
                file.seek(data)
                extra.update(_extra(kind, _exactly(file, _bounded(size))))
                continue
            if kind == b"g":
                continue
            self._add(kind, header, data, size, extra)
            extra = {}
            count += 1
            if count > _MAX_ENTRIES:
                raise CorruptData(f"the archive has more than {_MAX_ENTRIES} entries")

    def _add(self, kind: bytes, header: bytes, offset: int, size: int, extra: dict[str, str]) -> None:
        name = _clean(extra.get("path") or _name(header))
        target = extra.get("linkpath") or _string(header[157:257])
        self._files.pop(name, None)
        self._links.pop(name, None)
        if kind in _FILES:
            self._files[name] = Member(offset, size)
        elif kind == _HARD:
            self._links[name] = _clean(target)
        elif kind == _SYMBOLIC:
            self._links[name] = _clean(posixpath.join(posixpath.dirname(name), target))


def _name(header: bytes) -> str:
    name, prefix = _string(header[:100]), _string(header[345:500])
    return f"{prefix}/{name}" if prefix and header[257:263] == b"ustar\0" else name


def _clean(name: str) -> str:
    """`./a//b` as `a/b`. A name with `..` stays inside, as it would in a chroot."""
    return posixpath.normpath("/" + name).lstrip("/")


def _string(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU's base-256, for sizes of 8 GiB and more
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    else:
        text = field.strip(b" \0")
        if not all(digit in b"01234567" for digit in text):
            raise CorruptData("a size in the archive is not a number")
        value = int(text or b"0", 8)
    if value > 1 << 50:
        raise CorruptData("a size in the archive is absurd")
    return value


def _checksum_fits(header: bytes) -> bool:
    try:
        stated = int(header[148:156].strip(b" \0") or b"0", 8)
    except ValueError:
        return False
    return stated == sum(header[:148]) + sum(header[156:]) + 8 * 0x20


def _extra(kind: bytes, data: bytes) -> dict[str, str]:
    if kind == b"L":
        return {"path": _string(data)}
    if kind == b"K":
        return {"linkpath": _string(data)}
    found: dict[str, str] = {}
    while data:
        length, space, _ = data[:20].partition(b" ")
        if not space or not length.isdigit() or not len(length) + 1 < int(length) <= len(data):
            raise CorruptData("a PAX header in the archive is damaged")
        record, data = data[len(length) + 1 : int(length)], data[int(length) :]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise CorruptData("a PAX header in the archive is damaged")
        text = value[:-1].decode("utf-8", "surrogateescape")
        name = key.decode("utf-8", "replace")
        if name in ("path", "linkpath"):
            found[name] = text
        elif name == "size":
            if not (text.isascii() and text.isdigit() and len(text) < 16):
                raise CorruptData("a PAX header in the archive is damaged")
            found[name] = text
        elif name.startswith("GNU.sparse"):
            raise CorruptData("the archive has sparse members, which no image archive has")
    return found


def _bounded(size: int) -> int:
    if size > _MAX_EXTRA:
        raise CorruptData(f"a header in the archive is larger than {_MAX_EXTRA} bytes")
    return size


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise CorruptData("the archive is truncated")
    return data
