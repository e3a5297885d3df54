"""Which words name which files: contexts of all kinds, their Dockerfiles and .dockerignore."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.webserver import Website, serving

from pyd.build.archives import is_archive
from pyd.build.contexts import Context, opened
from pyd.build.named_contexts import NamedContext, normal_name, opened_named
from pyd.build.request import BuildRequest
from pyd.build.scratch import Scratch
from pyd.errors import CorruptData, InvalidArgument, NotFound, NotSupported, PydError

TEXT = b"FROM scratch\n"


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


ARCHIVE = tar({"Dockerfile": TEXT, "sub/other": b"FROM other\n", ".dockerignore": b"x\n", "data": b"1"})


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """A context."""
    directory = tmp_path / "context"
    (directory / "sub").mkdir(parents=True)
    (directory / "Dockerfile").write_bytes(TEXT)
    (directory / ".dockerignore").write_text("# a comment\n/build/\n!build/keep\n")
    return directory


@pytest.fixture
def read(scratch: Path) -> Callable[..., Context]:
    def read(context: object, stdin: bytes | None = None, **values: object) -> Context:
        stream = io.BytesIO(stdin) if stdin is not None else None
        request = BuildRequest(context=str(context), stdin=stream, **values)  # type: ignore[arg-type]
        with opened(request, Scratch(str(scratch))) as found:
            return found

    return read


def named(scratch: Path, value: str) -> NamedContext:
    with opened_named("name", value, str(scratch)) as found:
        return found


def test_directory(where: Path, read: Callable[..., Context], monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(where)
    assert (found.root, found.dockerfile, found.dockerfile_name) == (str(where), TEXT, "Dockerfile")
    assert (found.identity, found.remote) == (str(where), None)
    assert found.ignore == ["build", "!build/keep"]
    monkeypatch.chdir(where)
    assert read(".").root == str(where)
    (where / "Dockerfile").rename(where / "dockerfile")
    assert read(".").dockerfile_name == "dockerfile"


def test_dockerfiles_own_ignore_file(where: Path, read: Callable[..., Context]) -> None:
    (where / "sub" / "A.Dockerfile").write_bytes(b"FROM a\n")
    (where / "sub" / "A.Dockerfile.dockerignore").write_text("only\n")
    found = read(where, dockerfile=str(where / "sub" / "A.Dockerfile"))
    assert (found.dockerfile, found.dockerfile_name, found.ignore) == (b"FROM a\n", "A.Dockerfile", ["only"])
    assert read(where).ignore == ["build", "!build/keep"]


def test_dockerfile_elsewhere(
    where: Path, read: Callable[..., Context], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative to the working directory, inside the context or not."""
    (tmp_path / "D").write_bytes(b"FROM d\n")
    monkeypatch.chdir(tmp_path)
    assert read("context", dockerfile="D").dockerfile == b"FROM d\n"
    assert read("context", dockerfile="D").ignore == ["build", "!build/keep"]
    (tmp_path / "D.dockerignore").write_text("mine")
    assert read("context", dockerfile="D").ignore == ["mine"]
    with pytest.raises(NotFound, match="failed to read dockerfile: open X: no such file or directory"):
        read("context", dockerfile="X")
    assert read("context", b"FROM stdin\n", dockerfile="-").dockerfile == b"FROM stdin\n"
    assert read("context", text=b"FROM text\n").dockerfile == b"FROM text\n"


def test_links_stay_inside(where: Path, read: Callable[..., Context], tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    dockerfile = where / "Dockerfile"
    (where / "sub" / "real").write_bytes(b"FROM real\n")
    for target in ("sub/real", "/sub/real", "./sub/../sub/real", "../../../sub/real"):
        dockerfile.unlink()
        dockerfile.symlink_to(target)
        assert read(where).dockerfile == b"FROM real\n", target
    for target in (str(tmp_path / "outside"), "../outside", "/etc/passwd", "nowhere"):
        dockerfile.unlink()
        dockerfile.symlink_to(target)
        with pytest.raises(NotFound, match="open Dockerfile: no such file or directory"):
            read(where)
    dockerfile.unlink()
    dockerfile.symlink_to("Dockerfile")
    with pytest.raises(InvalidArgument, match="too many levels of symbolic links"):
        read(where)
    # a link above the Dockerfile
    (where / "link").symlink_to(tmp_path)
    with pytest.raises(NotFound):
        read(where, dockerfile=str(where / "link" / "outside"))
    (where / ".dockerignore").unlink()
    (where / ".dockerignore").symlink_to(tmp_path / "outside")
    dockerfile.unlink()
    dockerfile.write_bytes(TEXT)
    assert read(where).ignore == []


def test_control_of_the_links(where: Path, tmp_path: Path) -> None:
    """The same link is followed by who opens by name."""
    (tmp_path / "outside").write_bytes(b"secret")
    (where / "Dockerfile").unlink()
    (where / "Dockerfile").symlink_to("../outside")
    assert (where / "Dockerfile").read_bytes() == b"secret"


def test_what_is_no_file(where: Path, read: Callable[..., Context]) -> None:
    dockerfile = where / "Dockerfile"
    dockerfile.unlink()
    with pytest.raises(
        NotFound, match="failed to read dockerfile: open Dockerfile: no such file or directory"
    ):
        read(where)
    dockerfile.mkdir()
    with pytest.raises(InvalidArgument, match="read Dockerfile: is a directory"):
        read(where)
    dockerfile.rmdir()
    os.mkfifo(dockerfile)
    with pytest.raises(InvalidArgument, match="Dockerfile is not a regular file"):
        read(where)
    dockerfile.unlink()
    dockerfile.write_bytes(b"#" * (1 << 20))
    assert len(read(where).dockerfile) == 1 << 20
    dockerfile.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(InvalidArgument, match="exceeds maximum allowed size"):
        read(where)
    dockerfile.write_bytes(TEXT)
    (where / ".dockerignore").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(InvalidArgument, match=r"\.dockerignore exceeds maximum allowed size"):
        read(where)


def test_words_that_name_nothing(where: Path, read: Callable[..., Context]) -> None:
    with pytest.raises(InvalidArgument, match='unable to prepare context: path "/no/such" not found'):
        read("/no/such")
    with pytest.raises(InvalidArgument, match="is not a directory"):
        read(where / "Dockerfile")
    with pytest.raises(InvalidArgument, match="please specify build context"):
        read("")
    with pytest.raises(InvalidArgument, match="can't use stdin for both build context and dockerfile"):
        read("-", b"", dockerfile="-")
    with pytest.raises(InvalidArgument, match="ambiguous Dockerfile source"):
        read("-", TEXT, dockerfile="other")
    with pytest.raises(InvalidArgument, match="no standard input"):
        read("-")


def zstd(data: bytes) -> bytes:
    """Stored, not compressed: one frame of raw blocks (RFC 8878)."""
    out = b"\x28\xb5\x2f\xfd\xa0" + len(data).to_bytes(4, "little")
    for start in range(0, len(data), 1 << 17):
        block = data[start : start + (1 << 17)]
        last = start + len(block) == len(data)
        out += (len(block) << 3 | last).to_bytes(3, "little") + block
    return out


@pytest.mark.parametrize("packed", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd])
def test_archive_on_standard_input(
    read: Callable[..., Context], packed: Callable[[bytes], bytes], scratch: Path
) -> None:
    found = read("-", packed(ARCHIVE))
    assert (found.dockerfile, found.dockerfile_name, found.identity) == (TEXT, "Dockerfile", "-")
    assert Path(found.root, "data").read_bytes() == b"1" and Path(found.root).parent == scratch
    assert found.ignore == [], "as with BuildKit it counts for directories only"
    assert read("-", packed(ARCHIVE), dockerfile="sub/other").dockerfile == b"FROM other\n"
    with pytest.raises(NotFound, match="open none: no such file"):
        read("-", packed(ARCHIVE), dockerfile="none")


def test_names_that_mean_something_in_layers(read: Callable[..., Context]) -> None:
    """They are not lost silently."""
    with pytest.raises(NotSupported, match=r"name begins with \.wh\.: lost"):
        read("-", tar({"Dockerfile": TEXT, "a/.wh.lost": b"content"}))


class Slow(io.RawIOBase):
    """A pipe that gives a byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(1)


def test_dockerfile_on_standard_input(read: Callable[..., Context], scratch: Path) -> None:
    found = read("-", TEXT)
    assert (found.dockerfile, found.dockerfile_name) == (TEXT, "Dockerfile")
    assert os.listdir(found.root) == []
    assert read("-", b"").dockerfile == b""
    request = BuildRequest(context="-", stdin=Slow(ARCHIVE))  # type: ignore[arg-type]
    with opened(request, Scratch(str(scratch))) as slow:
        assert slow.dockerfile == TEXT
    with pytest.raises(InvalidArgument, match="exceeds maximum allowed size"):
        read("-", b"#" * ((1 << 20) + 1))


def test_damaged_archives(read: Callable[..., Context]) -> None:
    for data in (gzip.compress(ARCHIVE)[:-20], bz2.compress(ARCHIVE)[:-20], lzma.compress(ARCHIVE)[:-20]):
        with pytest.raises(PydError):
            read("-", data)
    with pytest.raises(CorruptData):
        read("-", gzip.compress(b"this is no archive" * 100))


def test_archives_are_told_by_their_first_bytes() -> None:
    assert is_archive(ARCHIVE[:512]) and is_archive(gzip.compress(b""))
    for head in (b"", TEXT, b"\0" * 1024, b"#" * 1024, ARCHIVE[:511], b"x" + ARCHIVE[1:512]):
        assert not is_archive(head)


@pytest.fixture
def site() -> Iterator[Website]:
    with serving() as site:
        site.files = {"/c.tar.gz": gzip.compress(ARCHIVE), "/My.Dockerfile": TEXT, "/x.git": b""}
        yield site


def test_urls(site: Website, read: Callable[..., Context], where: Path) -> None:
    found = read(site.url("/c.tar.gz", "user:hunter2"), dockerfile="sub/other")
    assert found.dockerfile == b"FROM other\n" and found.remote is not None
    assert found.identity == found.remote[0] == site.url("/c.tar.gz", "xxxxx:xxxxx")
    assert found.remote[1].startswith("sha256:") and found.ignore == []
    found = read(site.url("/My.Dockerfile"))
    assert (found.dockerfile, found.dockerfile_name, os.listdir(found.root)) == (TEXT, "My.Dockerfile", [])
    # a Dockerfile of this host for files from elsewhere, and the other way round
    (where / "mine").write_bytes(b"FROM mine\n")
    assert read(site.url("/c.tar.gz"), dockerfile=str(where / "mine")).dockerfile == b"FROM mine\n"
    found = read(where, dockerfile=site.url("/My.Dockerfile"))
    assert (found.root, found.dockerfile, found.ignore[0]) == (str(where), TEXT, "build")
    with pytest.raises(NotFound):
        read(site.url("/none"))


def test_named_contexts(site: Website, scratch: Path, where: Path) -> None:
    found = named(scratch, str(where))
    assert (found.kind, found.root, found.ignore) == ("directory", str(where), ["build", "!build/keep"])
    found = named(scratch, site.url("/c.tar.gz"))
    assert (found.kind, Path(found.root, "data").read_bytes()) == ("directory", b"1")
    found = named(scratch, site.url("/My.Dockerfile"))
    assert Path(found.root, "context").read_bytes() == TEXT
    found = named(scratch, "docker-image://alpine:3")
    assert (found.kind, found.reference, found.identity) == ("image", "alpine:3", "docker-image://alpine:3")
    (where / "index.json").touch()
    for rest in ("", ":tag", "@sha256:" + "0" * 64, ":tag@sha256:" + "0" * 64):
        found = named(scratch, f"oci-layout://{where}{rest}")
        assert (found.kind, found.root, found.reference) == ("layout", str(where), rest)
    for value, message in {
        "/no/such": "failed to get build context name: stat /no/such: no such file or directory",
        str(where / "Dockerfile"): "not a directory",
        "target:base": "bake file",
    }.items():
        with pytest.raises(InvalidArgument, match=message):
            named(scratch, value)
    with pytest.raises(NotFound, match="could not be resolved"):
        named(scratch, f"oci-layout://{scratch}")


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("docker.io/library/alpine:latest", "alpine"),
        ("alpine", "alpine"),
        ("alpine:3", "alpine:3"),
        ("quay.io/a/b", "quay.io/a/b"),
    ],
)
def test_names_of_contexts(name: str, normal: str) -> None:
    assert normal_name(name) == normal
    with pytest.raises(InvalidArgument, match="invalid context name"):
        normal_name("UPPER")
