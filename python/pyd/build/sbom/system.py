"""Packages of distributions: the databases of dpkg, apk and rpm."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pyd.build.sbom.package import Package, package
from pyd.build.sbom.tree import Tree

_MAX_DATABASE = 128 << 20  # bytes
_MAX_HEADER = 8 << 20  # bytes of one package's header in rpm's database
_MAX_PACKAGES = 50_000
_MAX_STEPS = 2_000  # times ten thousand instructions of SQLite
_RPM = ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite")
_APK = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
# rpm's lib/rpmtag.h
_NAME, _VERSION, _RELEASE, _EPOCH, _VENDOR, _LICENSE, _ARCH, _SOURCE = (
    *(1000, 1001, 1002, 1003, 1011, 1014, 1022, 1044),
)
_STRINGS, _INT32 = (6, 8, 9), 4


@dataclass(frozen=True, slots=True)
class Distribution:
    """os-release(5). id: debian; version: 12"""

    id: str = ""
    version: str = ""
    name: str = ""

    @property
    def qualifier(self) -> str:
        return f"{self.id}-{self.version}" if self.id and self.version else self.id


def distribution(tree: Tree) -> Distribution:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        data = tree.read(path, 1 << 16)
        if data:
            values = {}
            for line in data.decode("utf-8", "replace").splitlines():
                key, _, value = line.partition("=")
                values[key.strip()] = value.strip().strip("\"'")
            return Distribution(
                values.get("ID", "")[:50],
                values.get("VERSION_ID", "")[:50],
                values.get("PRETTY_NAME", "")[:100],
            )
    return Distribution()


def dpkg(tree: Tree, system: Distribution) -> Iterator[Package | None]:
    """/var/lib/dpkg/status, and status.d of images without dpkg."""
    directory = "/var/lib/dpkg/status.d"
    files = ["/var/lib/dpkg/status"]
    files += [f"{directory}/{name}" for name in tree.names(directory) if not name.endswith(".md5sums")]
    for path in files[:_MAX_PACKAGES]:
        data = tree.read(path, _MAX_DATABASE) or b""
        for fields in _stanzas(data.decode("utf-8", "replace")):
            state = fields.get("Status", "installed").split()
            if state[-1:] != ["installed"]:
                continue
            source = fields.get("Source", "").partition(" ")[0]
            yield package(
                "deb",
                fields.get("Package", ""),
                fields.get("Version", ""),
                path,
                namespace=system.id or "debian",
                qualifiers={
                    "arch": fields.get("Architecture", ""),
                    "distro": system.qualifier,
                    "upstream": source if source != fields.get("Package") else "",
                },
                supplier=fields.get("Maintainer", ""),
            )


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """deb822(5): fields of each; lines that go on are passed over, none of what is wanted has them."""
    fields: dict[str, str] = {}
    count = 0
    for line in text.split("\n"):
        if not line.strip():
            if fields:
                yield fields
                count += 1
                fields = {}
                if count >= _MAX_PACKAGES:
                    return
        elif not line[0].isspace():
            key, colon, value = line.partition(":")
            if colon:
                fields[key] = value.strip()
    if fields:
        yield fields


def apk(tree: Tree, system: Distribution) -> Iterator[Package | None]:
    """apk's "installed": one letter, a colon, the value; packages are separated by empty lines."""
    for path in _APK:
        data = tree.read(path, _MAX_DATABASE)
        if data is None:
            continue
        for fields in _stanzas(data.decode("utf-8", "replace")):
            origin = fields.get("o", "")
            yield package(
                "apk",
                fields.get("P", ""),
                fields.get("V", ""),
                path,
                namespace=system.id or "alpine",
                qualifiers={
                    "arch": fields.get("A", ""),
                    "distro": system.qualifier,
                    "upstream": origin if origin != fields.get("P") else "",
                },
                license=fields.get("L", ""),
            )
        return


def rpm(tree: Tree, system: Distribution) -> Iterator[Package | None]:
    """The database that rpm has kept in SQLite since 4.16; older ones (Berkeley DB, NDB) are not read."""
    for path in _RPM:
        data = tree.read(path, _MAX_DATABASE)
        if not data:
            continue
        for blob in _rows(data):
            fields = _header(blob)
            version = f"{fields.get(_VERSION, '')}-{fields.get(_RELEASE, '')}"
            yield package(
                "rpm",
                fields.get(_NAME, ""),
                version,
                path,
                namespace=system.id or "rpm",
                qualifiers={
                    "arch": fields.get(_ARCH, ""),
                    "distro": system.qualifier,
                    "epoch": fields.get(_EPOCH, ""),
                    "upstream": fields.get(_SOURCE, ""),
                },
                license=fields.get(_LICENSE, ""),
                supplier=fields.get(_VENDOR, ""),
            )
        return


def _rows(data: bytes) -> list[bytes]:
    """The headers in the table Packages. The file may be anybody's: SQLite gets it in memory, may read one
    real table of it, and is stopped when that takes long.
    """
    if len(data) < 100:
        return []
    # a database in WAL mode cannot be opened from memory; rpm leaves it checkpointed
    plain = data[:18] + b"\1\1" + data[20:]
    connection = sqlite3.connect(":memory:")
    steps = 0

    def tick() -> int:
        nonlocal steps
        steps += 1
        return int(steps > _MAX_STEPS)

    try:
        connection.deserialize(plain)
        connection.set_progress_handler(tick, 10_000)
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA query_only=ON")
        kind = connection.execute("SELECT type FROM sqlite_master WHERE name = 'Packages'").fetchone()
        if kind is None or kind[0] != "table":
            return []
        rows = connection.execute("SELECT blob FROM Packages ORDER BY hnum LIMIT ?", (_MAX_PACKAGES,))
        return [row[0] for row in rows if isinstance(row[0], bytes) and len(row[0]) <= _MAX_HEADER]
    except (sqlite3.Error, MemoryError, ValueError):  # ValueError: names that are no UTF-8
        return []
    finally:
        connection.close()


def _header(blob: bytes) -> dict[int, str]:
    """rpm's header: counts of index entries and data bytes, then (tag, type, offset, count) of each."""
    if len(blob) < 8:
        return {}
    entries, size = struct.unpack_from(">II", blob)
    start = 8 + 16 * entries
    if entries > 65536 or start > len(blob):
        return {}
    data = blob[start : start + size]
    found: dict[int, str] = {}
    for number in range(entries):
        tag, kind, offset, _ = struct.unpack_from(">IIII", blob, 8 + 16 * number)
        if offset >= len(data) or tag not in (
            *(_NAME, _VERSION, _RELEASE, _EPOCH, _VENDOR, _LICENSE, _ARCH, _SOURCE),
        ):
            continue
        if kind in _STRINGS:
            end = data.find(b"\0", offset, offset + 4096)
            found[tag] = data[offset : end if end >= 0 else offset].decode("utf-8", "replace")
        elif kind == _INT32 and offset + 4 <= len(data):
            found[tag] = str(struct.unpack_from(">I", data, offset)[0])
    return found
