"""Packages that compilers have written into programs: modules of Go, and crates by cargo-auditable."""

from __future__ import annotations

import json
import struct
import zlib

from pyd.build.sbom.package import Package, package
from pyd.build.sbom.tree import File

_GO, _RUST = b".go.buildinfo", b".dep-v0"
_GO_MAGIC = b"\xff Go buildinf:"
_MAX_SECTIONS = 1000
_MAX_SECTION = 16 << 20  # bytes
_MAX_MODULES = 20_000


def of(file: File) -> list[Package | None]:
    """[] for what is no ELF program or says nothing."""
    if not file.info.st_mode & 0o111 or file.info.st_size < 64:
        return []
    if file.part(0, 4) != b"\x7fELF":
        return []
    sections = _sections(file)
    found: list[Package | None] = []
    if _GO in sections:
        found += _go(file, *sections[_GO])
    if _RUST in sections:
        found += _rust(file, *sections[_RUST])
    return found


def _sections(file: File) -> dict[bytes, tuple[int, int]]:
    """(offset, bytes) of each section by name (elf(5)); {} for what cannot be read."""
    head = file.part(0, 64)
    wide, little = head[4:5] == b"\2", head[5:6] == b"\1"
    order = "<" if little else ">"
    try:
        if wide:
            (start,) = struct.unpack_from(f"{order}Q", head, 40)
            entry, count, names = struct.unpack_from(f"{order}HHH", head, 58)
            shape, size = f"{order}IIQQQQ", 64
        else:
            (start,) = struct.unpack_from(f"{order}I", head, 32)
            entry, count, names = struct.unpack_from(f"{order}HHH", head, 46)
            shape, size = f"{order}IIIIII", 40
        if not size <= entry <= 256 or not 0 < count <= _MAX_SECTIONS or names >= count:
            return {}
        table = file.part(start, entry * count)
        rows = [struct.unpack_from(shape, table, entry * number) for number in range(count)]
    except struct.error:
        return {}
    texts = file.part(rows[names][4], min(rows[names][5], 1 << 20))
    found: dict[bytes, tuple[int, int]] = {}
    for row in rows:
        name = texts[row[0] : row[0] + 32].partition(b"\0")[0]
        found.setdefault(name, (row[4], min(row[5], _MAX_SECTION)))
    return found


def _go(file: File, offset: int, size: int) -> list[Package | None]:
    """debug/buildinfo of Go 1.18 and later: the strings stand in the section itself."""
    data = file.part(offset, size)
    if not data.startswith(_GO_MAGIC) or len(data) < 32 or not data[15] & 2:
        return []
    version, rest = _text(data, 32)
    modules, _ = _text(data, rest)
    # the runtime finds them by marks of 16 bytes around them
    lines = modules[16:-16].decode("utf-8", "replace").split("\n") if len(modules) > 32 else []
    release = version.decode("utf-8", "replace").split(" ")[0].removeprefix("go")
    found = [package("golang", "stdlib", release, file.path, license="BSD-3-Clause")] if release else []
    pending: list[str] = []
    for line in lines[:_MAX_MODULES]:
        fields = line.split("\t")
        if fields[0] in ("dep", "mod") and len(fields) >= 3:
            if pending:
                found.append(_module(file, pending))
            pending = fields[1:3]
        elif fields[0] == "=>" and len(fields) >= 3:
            pending = fields[1:3]  # it was replaced by this
    if pending:
        found.append(_module(file, pending))
    return found


def _module(file: File, fields: list[str]) -> Package | None:
    path, version = fields
    namespace, _, name = path.rpartition("/")
    return package("golang", name, "" if version == "(devel)" else version, file.path, namespace=namespace)


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    """A string behind its length (a varint), and what follows it."""
    length = shift = 0
    while at < len(data) and shift < 63:
        byte = data[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return data[at : at + length], at + length
    return b"", len(data)


def _rust(file: File, offset: int, size: int) -> list[Package | None]:
    """cargo-auditable: JSON, compressed with zlib."""
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(file.part(offset, size), _MAX_SECTION)
        packages = json.loads(data)["packages"]
        crates = [one for one in packages[:_MAX_MODULES] if one.get("kind") != "build"]
        return [
            package("cargo", one["name"], one["version"], file.path)
            for one in crates
            if isinstance(one["name"], str) and isinstance(one["version"], str)
        ]
    except (zlib.error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
