"""Git URLs taken apart as BuildKit does it; commits fetched from a server on loopback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.gitserver import GitServer, Repo, serving_git

from pyd.build import git_program
from pyd.build.contexts import opened
from pyd.build.git import Checkout, Repository, parse
from pyd.build.git_source import GitSource
from pyd.build.request import BuildRequest
from pyd.build.scratch import Scratch
from pyd.build.secrets import Secrets
from pyd.build.sources import Sources
from pyd.errors import CorruptData, InvalidArgument, NotFound, NotSupported, PydError, Unavailable

SHA = "0123456789abcdef0123456789abcdef01234567"
FORMS: dict[str, tuple[str, str, str] | None] = {
    "https://example.com/": None,
    "https://example.com/foo": None,
    "https://example.com/foo.git/": None,
    "https://example.com/foo.git.bar": None,
    "http://github.com/docker/docker.git:#branch": None,
    "https://example.com/foo.git": ("https://example.com/foo.git", "", ""),
    "https://example.com/foo.git#": ("https://example.com/foo.git", "", ""),
    f"https://example.com/foo.git#{SHA}": ("https://example.com/foo.git", SHA, ""),
    "https://example.com/foo.git#release/1.2": ("https://example.com/foo.git", "release/1.2", ""),
    "https://example.com/foo.git#a/b:c/d": ("https://example.com/foo.git", "a/b", "c/d"),
    "https://example.com/foo.git#:c": ("https://example.com/foo.git", "", "c"),
    "HTTPS://example.com/foo.git": ("https://example.com/foo.git", "", ""),
    "https://u:p@example.com/foo.git": ("https://example.com/foo.git", "", ""),
    "git://example.com/foo": ("git://example.com/foo", "", ""),
    "ssh://git@example.com:22/foo#v1": ("ssh://git@example.com:22/foo", "v1", ""),
    "git@example.com:a/b": ("git@example.com:a/b", "", ""),
    "git@example.com:a/b.git#v1:sub": ("git@example.com:a/b.git", "v1", "sub"),
    "example.com:a/b.git": ("example.com:a/b.git", "", ""),
    "example.com/a/b.git": None,
    "github.com/moby/buildkit": ("https://github.com/moby/buildkit", "", ""),
    "github.com/moby/buildkit#v1": ("https://github.com/moby/buildkit", "v1", ""),
    "./x.git": None,
    ".git": None,
    "file:///x.git": None,
    "ext::sh -c x": None,
    "docker-image://a.git": None,
    "name:with-colon": None,
    "https://h/x.git?ref=v1&subdir=/s": ("https://h/x.git", "v1", "/s"),
    "https://h/x.git?tag=v1": ("https://h/x.git", "refs/tags/v1", ""),
    "https://h/x.git?branch=b": ("https://h/x.git", "refs/heads/b", ""),
    "https://h/x.git?ref=v1#v1:s": ("https://h/x.git", "v1", "s"),
    f"https://h/x.git?checksum={SHA}": ("https://h/x.git", SHA, ""),
}


@pytest.mark.parametrize("text", FORMS)
def test_forms(text: str) -> None:
    found = parse(text, local_looking=True)
    assert (found and (found.remote, found.ref, found.subdir)) == FORMS[text]
    if text.startswith("github.com"):
        assert parse(text) is None, "for ADD it is a path"


def test_flags_of_the_query() -> None:
    found = parse("https://h/x.git?keep-git-dir&submodules=0&commit=abcdef0")
    assert found and (found.keep_git_dir, found.submodules, found.checksum) == (True, False, "abcdef0")
    for query, message in {
        "x=1": 'unexpected query "x"',
        "ref=": 'query "ref" has no value',
        "ref=a&ref=b": 'query "ref" has multiple values',
        "keep-git-dir=maybe": "invalid keep-git-dir value",
        "tag=a&branch=b": "branch conflicts with tag",
        "ref=a#b": "ref conflicts",
        "subdir=a#:b": "subdir conflicts",
        "checksum=xyz": "invalid checksum",
    }.items():
        with pytest.raises(InvalidArgument, match=message):
            parse(f"https://h/x.git?{query}")


def test_credentials_are_shown_nowhere() -> None:
    found = parse("https://user:hunter2@h:8443/x.git#v1")
    assert found and found.shown == "https://xxxxx:xxxxx@h:8443/x.git#v1" and found.host == "h:8443"
    assert "hunter2" not in repr(found) and found.authorization is not None
    found = parse("ssh://git@h/x.git")
    assert found and found.shown == "ssh://git@h/x.git" and found.is_ssh


class World:
    """A server with one repository: v1 (annotated tag), main, branch."""

    def __init__(self, top: Path) -> None:
        self.repo = Repo(top / "served" / "app")
        self.repo.write("Dockerfile", "FROM scratch\n")
        self.repo.write("sub/dir/file", "one")
        (self.repo.directory / "run.sh").write_text("#!/bin/sh\n")
        (self.repo.directory / "run.sh").chmod(0o777)
        (self.repo.directory / "link").symlink_to("sub")
        self.first = self.repo.commit("first")
        self.repo("tag", "-a", "v1", "-m", "annotated")
        self.repo.write("sub/dir/file", "two")
        self.second = self.repo.commit("second")
        self.repo("branch", "branch", self.first)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("git"))


@pytest.fixture
def server(world: World) -> Iterator[GitServer]:
    with serving_git(world.repo.directory.parent) as server:
        yield server


def source(text: str) -> GitSource:
    found = parse(text)
    assert found is not None
    return found


def get(text: str, scratch: Path) -> Checkout:
    return Repository(source(text), str(scratch)).checkout()


def test_refs(world: World, server: GitServer, tmp_path: Path) -> None:
    url = server.url("app")
    for ref, commit, content in (
        ("", world.second, "two"),
        ("#v1", world.first, "one"),
        ("#refs/tags/v1", world.first, "one"),
        ("#branch", world.first, "one"),
        ("#refs/heads/main", world.second, "two"),
        (f"#{world.first}", world.first, "one"),
        (f"?checksum={world.first[:10]}#v1", world.first, "one"),
    ):
        repository = Repository(source(url + ref), str(tmp_path))
        resolved = repository.resolve()
        assert resolved.commit == commit, ref
        found = repository.checkout(resolved)
        assert found.commit == commit and Path(found.root, "sub/dir/file").read_text() == content
        assert ".git" not in os.listdir(found.root)
    mode = os.stat(f"{found.root}/run.sh").st_mode & 0o777
    assert mode == 0o755 and os.readlink(f"{found.root}/link") == "sub"


def test_refs_that_are_not_there(world: World, server: GitServer, tmp_path: Path) -> None:
    url = server.url("app")
    with pytest.raises(NotFound, match="does not contain ref nosuch"):
        get(f"{url}#nosuch", tmp_path)
    with pytest.raises(NotFound) as caught:
        get(f"{url}#{world.first[:12]}", tmp_path)
    assert "all of its digits" in str(caught.value.hint)
    with pytest.raises(PydError):
        get(f"{url}#{SHA}", tmp_path)
    with pytest.raises(CorruptData, match="expected checksum to match 0000000, got"):
        get(f"{url}?checksum=0000000", tmp_path)
    with pytest.raises(Unavailable, match=r"failed to fetch remote .*nosuch"):
        get(server.url("nosuch"), tmp_path)


def test_commit_that_no_ref_leads_to(tmp_path: Path) -> None:
    """Many servers give out any commit; one that does not is asked for everything it has."""
    repo = Repo(tmp_path / "served" / "app")
    repo.write("a", "1")
    old = repo.commit()
    repo.write("a", "2")
    repo.commit()
    with serving_git(repo.directory.parent) as server:
        for protocol in ("2", "0"):
            # the old protocol refuses what is not advertised
            settings = (*git_program._SETTINGS, f"protocol.version={protocol}")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(git_program, "_SETTINGS", settings)
                found = get(f"{server.url('app')}#{old}", tmp_path)
            assert Path(found.root, "a").read_text() == "1", protocol


def test_moved_meanwhile(tmp_path: Path) -> None:
    """What was looked up, and is in the cache's key, is what comes."""
    repo = Repo(tmp_path / "served" / "app")
    repo.write("a", "1")
    old = repo.commit()
    with serving_git(repo.directory.parent) as server:
        repository = Repository(source(server.url("app") + "#main"), str(tmp_path))
        resolved = repository.resolve()
        repo.write("a", "2")
        repo.commit()
        found = repository.checkout(resolved)
    assert (found.commit, Path(found.root, "a").read_text()) == (old, "1")


def test_subdirectories(server: GitServer, tmp_path: Path) -> None:
    url = server.url("app")
    for subdir in ("sub", "/sub", "link", "sub/../sub/", "../../sub"):
        assert Path(get(f"{url}#:{subdir}", tmp_path).root, "dir/file").read_text() == "two"
    for subdir, error in (("none", NotFound), ("Dockerfile", InvalidArgument), (".git", InvalidArgument)):
        with pytest.raises(error):
            get(f"{url}#:{subdir}", tmp_path)


def test_git_directory_is_kept(world: World, server: GitServer, tmp_path: Path) -> None:
    """It says where it comes from, without credentials, and is the same each time."""
    indexes = set()
    for _ in range(2):
        found = get(server.url("app", "me:hunter2") + "?keep-git-dir=1#v1", tmp_path)
        git = Path(found.root, ".git")
        assert "hunter2" not in (git / "config").read_text()
        indexes.add((git / "index").read_bytes())
        words = ["git", "-C", found.root, "-c", "safe.directory=*"]
        done = subprocess.run([*words, "describe", "--tags"], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "v1"
        done = subprocess.run([*words, "status", "--short"], capture_output=True, text=True, check=True)
        assert done.stdout == ""
        assert not (git / "hooks").exists() and not (git / "FETCH_HEAD").exists()
    assert len(indexes) == 1


def test_submodules(tmp_path: Path) -> None:
    top = tmp_path / "served"
    inner, outer = Repo(top / "inner"), Repo(top / "outer")
    inner.write("file", "inner")
    inner.commit()
    with serving_git(top) as server:
        outer("submodule", "--quiet", "add", server.url("inner"), "deps/inner")
        outer.commit()
        found = get(server.url("outer"), tmp_path)
        assert Path(found.root, "deps/inner/file").read_text() == "inner"
        assert not os.path.lexists(f"{found.root}/deps/inner/.git")
        found = get(server.url("outer") + "?submodules=false", tmp_path)
        assert os.listdir(f"{found.root}/deps/inner") == []


def test_secrets_for_the_server(world: World, server: GitServer, tmp_path: Path) -> None:
    url = server.url("app")
    host = url.removeprefix("http://").partition("/")[0]

    def checkout(text: str = url, **secrets: str) -> Checkout:
        named = {name.replace("__", "."): value for name, value in secrets.items()}
        specs = [f"id={name.replace('HOST', host)},env={name}" for name in named]
        given = Secrets(specs, named)
        return Repository(source(text), str(tmp_path), secret=given.get).checkout()

    server.needs = server.basic("x-access-token", "tok")
    assert checkout(GIT_AUTH_TOKEN="tok\n").commit == world.second
    assert checkout(GIT_AUTH_TOKEN__HOST="tok", GIT_AUTH_TOKEN="wrong").commit == world.second
    assert checkout(GIT_AUTH_HEADER=server.needs).commit == world.second
    server.needs = server.basic("me", "hunter2")
    assert checkout(server.url("app", "me:hunter2")).commit == world.second
    with pytest.raises(Unavailable) as caught:
        checkout(server.url("app", "me:wrong-hunter3"))
    assert "hunter3" not in caught.value.message
    with pytest.raises(Unavailable, match="terminal prompts disabled"):
        checkout()


def test_git_daemon(world: World, tmp_path: Path) -> None:
    """git://"""
    top = world.repo.directory.parent
    words = ["git", "daemon", "--export-all", "--listen=127.0.0.1", f"--base-path={top}"]
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    daemon = subprocess.Popen(
        [*words, f"--port={port}", str(top)], stderr=subprocess.DEVNULL, process_group=0
    )
    try:
        for attempt in range(100):
            try:
                found = get(f"git://127.0.0.1:{port}/app#v1", tmp_path)
                break
            except Unavailable:
                assert attempt < 99
        assert found.commit == world.first
    finally:
        os.killpg(daemon.pid, 15)
        daemon.wait()


def test_as_a_context(world: World, server: GitServer, tmp_path: Path) -> None:
    for given, keeps in (({}, False), ({"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"}, True)):
        request = BuildRequest(context=server.url("app", "a:b") + "#v1", build_args=given)
        with opened(request, Scratch(str(tmp_path)), Sources()) as found:
            assert found.dockerfile == b"FROM scratch\n"
            assert found.identity == server.url("app", "xxxxx:xxxxx") + "#v1"
            assert found.remote == (found.identity, world.first)
            assert os.path.isdir(f"{found.root}/.git") is keeps


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotSupported) as caught:
        Repository(source("https://h/x.git"), str(tmp_path))
    assert "git" in caught.value.message and "apt-get install git" in str(caught.value.hint)
