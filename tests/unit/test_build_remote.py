"""Files by http: names, checksums, revalidation, redirects, credentials, limits."""

from __future__ import annotations

import email.utils
import hashlib
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.support.webserver import Website, serving

from pyd.build import room
from pyd.build.remote import UNNAMED, Fetched, fetch, file_name
from pyd.build.urls import basic_auth, checked, redacted, without_user
from pyd.errors import CorruptData, InvalidArgument, KernelError, NotFound, Unavailable
from pyd.registry import transport

DATA = b"some bytes\n" * 1000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_FIRST_PAUSE", 0.001)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site() -> Iterator[Website]:
    with serving() as site:
        site.files["/dir/file.txt"] = DATA
        yield site


def test_bytes_digest_and_name(site: Website, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    found = fetch(
        site.url("/dir/file.txt?token=1#part"),
        scratch=str(tmp_path),
        told=lambda *values: seen.append(values),
    )
    assert Path(found.path).read_bytes() == DATA and Path(found.path).parent == tmp_path
    assert (found.digest, found.size, found.filename) == (DIGEST, len(DATA), "file.txt")
    assert seen[-1][1:] == (len(DATA), len(DATA))
    assert site.asked[-1].path == "/dir/file.txt?token=1"


@pytest.mark.parametrize(
    ("url", "disposition", "name"),
    [
        ("https://h/a/b.tar.gz", "", "b.tar.gz"),
        ("https://h/a/b.tar.gz?x=/y", "", "b.tar.gz"),
        ("https://h/a/", "", "a"),
        ("https://h", "", UNNAMED),
        ("https://h/", 'attachment; filename="c.zip"', "c.zip"),
        ("https://h/", 'attachment; filename="../../etc/passwd"', "passwd"),
        ("https://h/", 'attachment; filename="..\\\\evil"', "evil"),
        ("https://h/", 'attachment; filename=".."', UNNAMED),
        ("https://h/", "attachment; filename*=UTF-8''n%C3%A4me", "näme"),
        ("https://h/own", 'attachment; filename="c.zip"', "own"),
        ("https://h/a%2Fb", "", "b"),
        ("https://h/..", "", UNNAMED),
        ("https://h/%2e%2e", "", UNNAMED),
        ("https://h/a%00b", "", UNNAMED),
        ("https://h/" + "x" * 256, "", UNNAMED),
    ],
)
def test_names(url: str, disposition: str, name: str) -> None:
    assert file_name(url, disposition) == name


def test_checksum(site: Website, tmp_path: Path) -> None:
    url = site.url("/dir/file.txt")
    assert fetch(url, scratch=str(tmp_path), checksum=DIGEST).digest == DIGEST
    before = set(tmp_path.iterdir())
    with pytest.raises(CorruptData, match=f"{DIGEST} .expected: sha256:0000"):
        fetch(url, scratch=str(tmp_path), checksum="sha256:" + "0" * 64)
    assert set(tmp_path.iterdir()) == before, "what was wrong is removed"
    for text in ("md5:00", "sha256:00", "sha512:" + "0" * 128, "SHA256:" + "0" * 64):
        with pytest.raises(InvalidArgument, match="invalid checksum"):
            fetch(url, scratch=str(tmp_path), checksum=text)


@pytest.mark.parametrize("tag", ['"one"', 'W/"one"'])
def test_unchanged_by_etag(site: Website, tmp_path: Path, tag: str) -> None:
    site.headers["/dir/file.txt"] = {"ETag": tag}
    url = site.url("/dir/file.txt")
    memory = fetch(url, scratch=str(tmp_path)).memory()
    again = fetch(url, scratch=str(tmp_path), known=memory)
    assert (again.path, again.digest, again.filename) == ("", DIGEST, "file.txt")
    assert len(list(tmp_path.iterdir())) == 1 and again.memory() == memory
    site.files["/dir/file.txt"], site.headers["/dir/file.txt"] = b"new", {"ETag": '"two"'}
    changed = fetch(url, scratch=str(tmp_path), known=memory)
    assert Path(changed.path).read_bytes() == b"new" and changed.etag == '"two"'


def test_servers_that_ignore_the_condition(site: Website, tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("ETag", '"same"')
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        handler.wfile.write(DATA)

    site.answers["/x"] = answer
    memory = fetch(site.url("/x"), scratch=str(tmp_path)).memory()
    assert fetch(site.url("/x"), scratch=str(tmp_path), known=memory).path == ""


def test_unchanged_by_time_if_it_is_old_enough(site: Website, tmp_path: Path) -> None:
    url = site.url("/dir/file.txt")
    for age, unchanged in ((3600, True), (1, False)):
        stamp = email.utils.formatdate(time.time() - age, usegmt=True)
        site.headers["/dir/file.txt"] = {"Last-Modified": stamp}
        found = fetch(url, scratch=str(tmp_path))
        assert abs(found.mtime - (time.time() - age)) < 3
        assert (fetch(url, scratch=str(tmp_path), known=found.memory()).path == "") is unchanged


def test_what_was_kept_may_be_nonsense(site: Website, tmp_path: Path) -> None:
    url = site.url("/dir/file.txt")
    memory = fetch(url, scratch=str(tmp_path)).memory()
    for known in (
        {},
        {"etag": '"x"'},
        memory | {"digest": "../x"},
        memory | {"size": "1"},
        memory | {"filename": ".."},
    ):
        assert fetch(url, scratch=str(tmp_path), known=known).path
    assert fetch(url, scratch=str(tmp_path), known=memory, checksum=DIGEST).path == "", "no request is needed"


def test_not_modified_for_another(site: Website, tmp_path: Path) -> None:
    """A 304 that does not fit to what is known is asked again without a condition."""
    site.headers["/dir/file.txt"] = {"ETag": '"one"'}
    memory = fetch(site.url("/dir/file.txt"), scratch=str(tmp_path)).memory()
    turns: list[str | None] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        turns.append(handler.headers.get("If-None-Match"))
        handler.send_response(304 if turns[-1] else 200)
        handler.send_header("ETag", '"other"')
        if not turns[-1]:
            handler.send_header("Content-Length", "3")
        handler.end_headers()
        if not turns[-1]:
            handler.wfile.write(b"abc")

    site.answers["/dir/file.txt"] = answer
    found = fetch(site.url("/dir/file.txt"), scratch=str(tmp_path), known=memory)
    assert Path(found.path).read_bytes() == b"abc" and turns[0] and not turns[1]


def test_statuses(site: Website, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="invalid response status 404"):
        fetch(site.url("/none"), scratch=str(tmp_path))
    turns: list[int] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        turns.append(1)
        handler.send_response(503 if len(turns) < 3 else 200)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"ok")

    site.answers["/busy"] = answer
    assert Path(fetch(site.url("/busy"), scratch=str(tmp_path)).path).read_bytes() == b"ok"
    with pytest.raises(Unavailable):
        fetch("http://127.0.0.1:1/x", scratch=str(tmp_path))


def test_credentials_stay_with_their_origin(site: Website, tmp_path: Path) -> None:
    with serving() as other:
        other.files["/file"] = b"x"
        site.redirect("/away", other.url("/file"))
        site.redirect("/here", "/dir/file.txt")
        fetch(site.url("/away", "name:pass%20word"), scratch=str(tmp_path))
        assert site.asked[-1].headers["Authorization"] == "Basic bmFtZTpwYXNzIHdvcmQ="
        assert other.asked[-1].headers["Authorization"] is None
        fetch(site.url("/here", "name:pass"), scratch=str(tmp_path))
        assert [each.headers["Authorization"] for each in site.asked[-2:]] == ["Basic bmFtZTpwYXNz"] * 2
        secrets = {"HTTP_AUTH_TOKEN_127.0.0.1": b"tok\n"}
        fetch(site.url("/dir/file.txt"), scratch=str(tmp_path), secret=secrets.get)
        assert site.asked[-1].headers["Authorization"] == "Bearer tok"
        secrets["HTTP_AUTH_HEADER_127.0.0.1"] = b"Basic abc"
        fetch(site.url("/dir/file.txt"), scratch=str(tmp_path), secret=secrets.get)
        assert site.asked[-1].headers["Authorization"] == "Basic abc"
        with pytest.raises(InvalidArgument, match="no HTTP header"):
            bad = {"HTTP_AUTH_HEADER_127.0.0.1": b"a\r\nX-Evil: 1"}
            fetch(site.url("/dir/file.txt"), scratch=str(tmp_path), secret=bad.get)


def test_limits(site: Website, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = site.url("/dir/file.txt")
    with pytest.raises(CorruptData, match="larger than 100 bytes"):
        fetch(url, scratch=str(tmp_path), limit=100)
    monkeypatch.setattr(room, "free", lambda directory: 100)
    with pytest.raises(KernelError, match="no space left"):
        fetch(url, scratch=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_redaction() -> None:
    assert redacted("https://u:p@h/x?a@b") == "https://xxxxx:xxxxx@h/x?a@b"
    assert redacted("https://token@h:1/x") == "https://xxxxx@h:1/x"
    assert redacted("https://h/x@y") == "https://h/x@y"
    assert redacted("https://u:p/w@d@h/x") == "https://u:p/w@d@h/x"  # the host is u, its port is wrong
    assert without_user("https://u:p@h/x") == "https://h/x"
    assert basic_auth("https://h/x") == ""
    for text in (
        "https://",
        "http://h:99999/",
        "https://h/a b",
        "ftp://h/",
        "https://h/\x1b[31m",
        "https:///x",
    ):
        with pytest.raises(InvalidArgument, match="invalid URL"):
            checked(text)


def test_mtime_of_nonsense() -> None:
    assert Fetched(path="", digest="", filename="x", size=0, last_modified="no date").mtime == 0
