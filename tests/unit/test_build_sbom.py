"""Bills of materials: each kind of package is found, the document is SPDX, and hostile files do no harm."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from pyd.build.sbom import programs, system
from pyd.build.sbom.scan import scan
from pyd.build.sbom.spdx import document, expression
from pyd.build.sbom.tree import File

EPOCH = 315532800


def fill(top: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return top


def purls(*layers: Path) -> list[str]:
    return [one.purl for one, _ in scan([str(layer) for layer in layers]).packages]


OS_RELEASE = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc (2.36-9)
Version: 2.36-9+deb12u4
Description: GNU C Library
 of several lines: with a colon

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: adduser
Status: install ok installed
Architecture: all
Version: 3.134
"""


def elf(section: bytes, content: bytes) -> bytes:
    """A 64-bit ELF with this one section, and the one of names."""
    names = b"\0" + section + b"\0.shstrtab\0"
    header, entry = 64, 64
    at = header + 3 * entry
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, header, 0, header, 0, 0, entry, 3, 2)
    shape = "<IIQQQQIIQQ"
    rows = struct.pack(shape, *[0] * 10)
    rows += struct.pack(shape, 1, 1, 0, 0, at, len(content), 0, 0, 1, 0)
    rows += struct.pack(shape, 2 + len(section), 3, 0, 0, at + len(content), len(names), 0, 0, 1, 0)
    return head + rows + content + names


def varint(data: bytes) -> bytes:
    length, found = len(data), b""
    while length >= 0x80:
        found, length = found + bytes([length & 0x7F | 0x80]), length >> 7
    return found + bytes([length]) + data


def go_program() -> bytes:
    modules = "\n".join(
        [
            "path\texample.com/app/cmd",
            "mod\texample.com/app\t(devel)\t",
            "dep\tgolang.org/x/sys\tv0.20.0\th1:abc=",
            "dep\texample.com/old\tv1.0.0\th1:x=",
            "=>\texample.com/new\tv2.0.0+incompatible\th1:y=",
            "build\t-compiler=gc",
        ]
    )
    info = b"\xff Go buildinf:" + bytes([8, 2]) + bytes(16)
    return elf(
        b".go.buildinfo",
        info + varint(b"go1.22.3") + varint(b"m" * 16 + modules.encode() + b"\n" + b"m" * 16),
    )


def rust_program() -> bytes:
    packages = [
        {"name": "app", "version": "0.1.0", "source": "local", "root": True},
        {"name": "serde", "version": "1.0.200", "source": "crates.io"},
        {"name": "cc", "version": "1.0.0", "source": "crates.io", "kind": "build"},
    ]
    return elf(b".dep-v0", zlib.compress(json.dumps({"packages": packages}).encode()))


def rpm_database(path: Path, *headers: bytes, wal: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    if wal:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
    connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(header,) for header in headers])
    connection.commit()
    connection.close()


def rpm_header(**fields: str | int) -> bytes:
    tags = {"name": 1000, "version": 1001, "release": 1002, "epoch": 1003, "license": 1014, "arch": 1022}
    index, data = b"", b""
    for key, value in fields.items():
        if isinstance(value, int):
            data += bytes(-len(data) % 4)
            index += struct.pack(">IIII", tags[key], 4, len(data), 1)
            data += struct.pack(">I", value)
        else:
            index += struct.pack(">IIII", tags[key], 6, len(data), 1)
            data += value.encode() + b"\0"
    return struct.pack(">II", len(index) // 16, len(data)) + index + data


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    top = fill(
        tmp_path / "all",
        {
            "etc/os-release": OS_RELEASE,
            "var/lib/dpkg/status": STATUS,
            "lib/apk/db/installed": (
                "C:Q1x\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\no:musl\n\nP:ssl_client\nV:1.36\no:busybox\n"
            ),
            "usr/lib/python3/dist-packages/Foo_Bar-1.0.dist-info/METADATA": (
                "Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.0\nLicense: MIT\n\nName: not-this\n"
            ),
            "usr/lib/python3/dist-packages/old.egg-info": "Name: old\nVersion: 0.1\nLicense: of ours\n",
            "app/node_modules/left-pad/package.json": (
                '{"name": "left-pad", "version": "1.3.0", "license": "WTFPL"}'
            ),
            "app/node_modules/@scope/pkg/package.json": '{"name": "@scope/pkg", "version": "2.0.0"}',
            "app/node_modules/left-pad/test/package.json": '{"name": "inner", "version": "9"}',
            "app/package.json": '{"name": "app", "version": "0.0.1"}',
            "usr/bin/go-program": go_program(),
            "usr/bin/rust-program": rust_program(),
            "usr/share/rust-data": rust_program(),
        },
    )
    for name in ("go-program", "rust-program"):
        (top / "usr/bin" / name).chmod(0o755)
    header = rpm_header(name="bash", version="5.1", release="8.el9", arch="x86_64", epoch=1, license="GPLv3+")
    rpm_database(top / "var/lib/rpm/rpmdb.sqlite", header)
    return top


def test_every_kind_of_package(everything: Path) -> None:
    assert purls(everything) == sorted(
        [
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc",
            "pkg:deb/debian/adduser@3.134?arch=all&distro=debian-12",
            "pkg:apk/debian/musl@1.2.4-r2?arch=x86_64&distro=debian-12",
            "pkg:apk/debian/ssl_client@1.36?distro=debian-12&upstream=busybox",
            "pkg:rpm/debian/bash@5.1-8.el9?arch=x86_64&distro=debian-12&epoch=1",
            "pkg:pypi/foo-bar@1.0",
            "pkg:pypi/old@0.1",
            "pkg:npm/left-pad@1.3.0",
            "pkg:npm/%40scope/pkg@2.0.0",
            "pkg:golang/stdlib@1.22.3",
            "pkg:golang/example.com/app",
            "pkg:golang/golang.org/x/sys@v0.20.0",
            "pkg:golang/example.com/new@v2.0.0%2Bincompatible",
            "pkg:cargo/app@0.1.0",
            "pkg:cargo/serde@1.0.200",
        ]
    )


def validated(made: dict[str, Any]) -> dict[str, Any]:
    parser: Any = JsonLikeDictParser
    problems = validate_full_spdx_document(parser().parse(json.loads(json.dumps(made))))
    assert not problems, problems
    return made


def test_the_document_is_spdx_and_depends_on_the_files_alone(everything: Path) -> None:
    made = validated(document(scan([str(everything)]), name="app", epoch=EPOCH))
    assert made["creationInfo"]["created"] == "1980-01-01T00:00:00Z"
    declared = {one["name"]: one.get("licenseDeclared") for one in made["packages"]}
    assert declared["musl"] == declared["foo-bar"] == "MIT"
    assert declared["old"] == declared["bash"] == "NOASSERTION"
    os.utime(everything / "etc/os-release")
    assert document(scan([str(everything)]), name="app", epoch=EPOCH) == made
    other = document(scan([str(everything / "app")]), name="app", epoch=EPOCH)
    assert other["documentNamespace"] != made["documentNamespace"]
    validated(document(scan([]), name="empty", epoch=EPOCH))


def test_what_a_layer_has_removed_is_not_there(tmp_path: Path) -> None:
    names = ("one", "two")
    lower = fill(
        tmp_path / "lower",
        {f"l/{name}.dist-info/METADATA": f"Name: {name}\nVersion: 1\n\n" for name in names},
    )
    upper = fill(tmp_path / "upper", {"l/two.dist-info/METADATA": "Name: two\nVersion: 2\n\n"})
    if os.geteuid() == 0:
        os.mknod(upper / "l/one.dist-info", 0o20000, 0)
        assert purls(upper, lower) == ["pkg:pypi/two@2"]
    else:
        assert purls(upper, lower) == ["pkg:pypi/one@1", "pkg:pypi/two@2"]


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    outside = fill(
        tmp_path / "outside", {"status": STATUS, "x.dist-info/METADATA": "Name: outside\nVersion: 1\n"}
    )
    top = fill(tmp_path / "top", {"inside/status": STATUS.replace("libc6", "inside")})
    (top / "var/lib/dpkg").mkdir(parents=True)
    (top / "var/lib/dpkg/status").symlink_to(outside / "status")
    (top / "site").symlink_to(outside)
    assert purls(top) == []
    # the same way, to what is inside
    (top / "var/lib/dpkg/status").unlink()
    (top / "var/lib/dpkg/status").symlink_to("/inside/status")
    assert [purl.partition("@")[0] for purl in purls(top)] == [
        "pkg:deb/debian/adduser",
        "pkg:deb/debian/inside",
    ]


def test_names_cannot_do_harm(tmp_path: Path) -> None:
    evil = "\x1b[31mevil\x00" + "x" * 1000
    text = f"Name: {evil}\nVersion: \udc80?&#/@1\nLicense: (\n"
    top = fill(tmp_path / "top", {"a.dist-info/METADATA": text.encode("utf-8", "surrogateescape")})
    made = validated(document(scan([str(top)]), name="evil", epoch=EPOCH))
    text = json.dumps(made, ensure_ascii=False)
    assert text.isprintable() and len(text) < 4000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x7fELF",
        b"\x7fELF\2\1" + b"\xff" * 100,
        elf(b".dep-v0", b"no zlib"),
        elf(b".dep-v0", zlib.compress(b"[1]")),
    ],
)
def test_programs_that_are_none(tmp_path: Path, content: bytes) -> None:
    top = fill(tmp_path / "top", {"program": content})
    (top / "program").chmod(0o755)
    assert purls(top) == []


def test_damaged_programs_are_passed_over(tmp_path: Path) -> None:
    source = random.Random(3)
    place = tmp_path / "program"
    directory = os.open(tmp_path, os.O_RDONLY)
    for good in (go_program(), rust_program()):
        for _ in range(300):
            data = bytearray(good)
            for _ in range(source.randint(1, 6)):
                data[source.randrange(len(data))] = source.randrange(256)
            place.write_bytes(bytes(data[: source.randint(0, len(data))]))
            place.chmod(0o755)
            file = File("program", place.stat(), directory)
            programs.of(file)
            file.close()
    os.close(directory)


def test_a_bomb_in_a_program_is_not_unpacked(tmp_path: Path) -> None:
    bomb = zlib.compress(b'{"packages": [' + b" " * (64 << 20) + b"]}", 9)
    top = fill(tmp_path / "top", {"program": elf(b".dep-v0", bomb)})
    (top / "program").chmod(0o755)
    assert purls(top) == []


def test_databases_that_are_hostile(tmp_path: Path) -> None:
    place = tmp_path / "top/var/lib/rpm/rpmdb.sqlite"
    # a view that never ends in the place of the table
    place.parent.mkdir(parents=True)
    connection = sqlite3.connect(place)
    connection.execute(
        "CREATE VIEW Packages AS WITH RECURSIVE x(hnum, blob) AS (SELECT 1, x'00' UNION ALL "
        "SELECT hnum + 1, blob FROM x) SELECT * FROM x"
    )
    connection.commit()
    connection.close()
    assert purls(tmp_path / "top") == []
    source = random.Random(5)
    place.unlink()
    rpm_database(place, *[rpm_header(name=f"p{number}", version="1") for number in range(20)])
    good = place.read_bytes()
    assert len(purls(tmp_path / "top")) == 20
    for _ in range(100):
        data = bytearray(good)
        for _ in range(source.randint(1, 20)):
            data[source.randrange(len(data))] = source.randrange(256)
        place.write_bytes(bytes(data[: source.randint(0, len(data))]))
        scan([str(tmp_path / "top")])
    for _ in range(500):
        header = bytearray(rpm_header(name="x", version="1", epoch=3))
        header[source.randrange(len(header))] = source.randrange(256)
        system._header(bytes(header))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MIT", "MIT"),
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("(MIT AND ISC) OR Zlib", "(MIT AND ISC) OR Zlib"),
        ("GPLv2+", ""),
        ("MIT AND", ""),
        ("MIT Apache-2.0", ""),
        ("(MIT", ""),
        ("MIT)", ""),
        ("MIT/Apache-2.0", ""),
        ("", ""),
    ],
)
def test_licences(text: str, expected: str) -> None:
    assert expression(text) == expected
