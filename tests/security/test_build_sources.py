"""Attacks by what a build is given: repositories, servers, archives; and what must not be seen of secrets."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shlex
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyd.build import git_program, room
from pyd.build.contexts import opened
from pyd.build.git import Repository, parse
from pyd.build.remote import fetch
from pyd.build.request import BuildRequest
from pyd.build.scratch import Scratch
from pyd.build.secrets import Secrets
from pyd.build.sources import Sources
from pyd.build.ssh import Ssh
from pyd.errors import (
    CorruptData,
    InvalidArgument,
    KernelError,
    NotFound,
    PydError,
    RegistryError,
    Unavailable,
)
from pyd.registry import transport
from tests.support.canaries import Canaries, Watch
from tests.support.gitserver import ENVIRONMENT, GitServer, Repo, serving_git
from tests.support.webserver import Website, serving

CANARY = "canary-7b51f0aa"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that an attack makes when it succeeds."""
    return tmp_path / "marker"


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo(tmp_path / "served" / "app")
    repo.write("file", "x")
    repo.commit()
    return repo


@pytest.fixture
def server(repo: Repo) -> Iterator[GitServer]:
    with serving_git(repo.directory.parent) as server:
        yield server


def checkout(text: str, scratch: Path) -> str:
    source = parse(text)
    assert source is not None
    return Repository(source, str(scratch)).checkout().root


# --- words that git or ssh would take for options (CVE-2017-1000117, CVE-2019-13139)


def injections(server: GitServer, marker: Path) -> list[str]:
    touch = f"touch${{IFS}}{marker}"
    return [
        f"{server.url('app')}#--upload-pack={touch}",
        f"{server.url('app')}?ref=--upload-pack={touch}",
        f"{server.url('app')}#-u{touch}",
        f"{server.url('app')}#main --upload-pack={touch}",
        f"ssh://-oProxyCommand={touch}/x.git",
        f"ssh://-oProxyCommand={touch}@h/x.git",
        f"git://-x{touch}/x.git",
        f"ssh://h/-oProxyCommand={touch}.git",
        f"-oProxyCommand={touch}@h:x.git",
        f"git@-oProxyCommand={touch}:x.git",
        f"git@h:-oProxyCommand={touch}.git",
        f"ext::sh -c {touch}%x.git",
        f"https://h/x.git\nhttps://h/y.git#{touch}",
    ]


def test_options_in_urls(server: GitServer, scratch: Path, marker: Path) -> None:
    for text in injections(server, marker):
        try:
            source = parse(text, local_looking=True)
        except InvalidArgument:
            continue
        assert source is None, text
    for subdir in ("--upload-pack=x", "$(touch x)", "-x"):
        with pytest.raises(NotFound):
            checkout(f"{server.url('app')}#:{subdir}", scratch)
    assert not marker.exists()


def test_control_of_the_options(server: GitServer, repo: Repo, marker: Path) -> None:
    """git without "--" takes such a ref for an option, and runs it."""
    words = ["git", "-c", "protocol.file.allow=always", "fetch", str(repo.directory)]
    subprocess.run(
        [*words, f"--upload-pack=touch {marker};"], cwd=repo.directory, env=ENVIRONMENT, check=False,
        capture_output=True,
    )  # fmt: skip
    assert marker.exists()


# --- repositories that reach for this host


def test_submodule_of_this_host(server: GitServer, repo: Repo, scratch: Path, tmp_path: Path) -> None:
    """CVE-2022-39253: a submodule that is a directory of this host."""
    secret = Repo(tmp_path / "secret")
    secret.write("key", CANARY)
    commit = secret.commit()
    for url in (
        str(secret.directory),
        f"file://{secret.directory}",
        "../../secret",
        f"ext::cat {secret.directory}",
    ):
        repo.write(".gitmodules", f'[submodule "s"]\n\tpath = s\n\turl = {url}\n')
        repo("update-index", "--add", "--cacheinfo", f"160000,{commit},s")
        repo("add", ".gitmodules")
        repo("commit", "--quiet", "-m", "x")
        with pytest.raises(Unavailable):
            checkout(server.url("app"), scratch)
    assert Canaries(CANARY).in_files([scratch]) == {}


def test_control_of_the_submodule(repo: Repo, tmp_path: Path) -> None:
    """git that allows it takes the directory."""
    secret = Repo(tmp_path / "secret")
    secret.write("key", CANARY)
    secret.commit()
    repo("submodule", "--quiet", "add", str(secret.directory), "s")
    assert Canaries(CANARY).in_files([repo.directory / "s"])


def test_links_in_a_repository(server: GitServer, repo: Repo, scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "Dockerfile").write_text(CANARY)
    for name, target in (("abs", tmp_path / "outside"), ("rel", "../../../../outside"), ("dir/up", "../..")):
        (repo.directory / name).parent.mkdir(exist_ok=True)
        (repo.directory / name).symlink_to(target)
    (repo.directory / "Dockerfile").symlink_to(tmp_path / "outside" / "Dockerfile")
    repo.commit()
    for fragment in ("", "#:abs", "#:rel", "#:abs/../outside", "#:../../outside", "#:dir/up/../outside"):
        request = BuildRequest(context=server.url("app") + fragment)
        with pytest.raises(NotFound), opened(request, Scratch(str(scratch))):
            pass
    assert os.path.samefile(checkout(f"{server.url('app')}#:dir/up", scratch), newest(scratch) / "tree")


def newest(scratch: Path) -> Path:
    return max(scratch.iterdir(), key=lambda path: path.stat().st_ctime_ns)


def test_control_of_the_links(server: GitServer, repo: Repo, scratch: Path, tmp_path: Path) -> None:
    """Joined by name, the subdirectory is the host's."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "Dockerfile").write_text(CANARY)
    (repo.directory / "abs").symlink_to(tmp_path / "outside")
    repo.commit()
    assert Path(checkout(server.url("app"), scratch), "abs", "Dockerfile").read_text() == CANARY


def test_configuration_of_the_user(
    server: GitServer, scratch: Path, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks, templates, helpers and rewritten URLs of the user do not take part."""
    monkeypatch_home(monkeypatch, tmp_path, marker)
    checkout(server.url("app"), scratch)
    assert not marker.exists()


def test_control_of_the_configuration(
    server: GitServer, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch_home(monkeypatch, tmp_path, marker)
    monkeypatch.delenv("GIT_PROXY_COMMAND")
    words = ["git", "clone", "--quiet", server.url("app"), str(tmp_path / "clone")]
    subprocess.run(words, capture_output=True, check=False)
    assert marker.exists()


def monkeypatch_home(monkeypatch: pytest.MonkeyPatch, home: Path, marker: Path) -> None:
    hooks = home / "template" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {shlex.quote(str(marker))}\n")
    (hooks / "post-checkout").chmod(0o755)
    (home / ".gitconfig").write_text(
        f"[init]\n\ttemplateDir = {home}/template\n[core]\n\tfsmonitor = touch {marker}\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", f"{home}/template")
    monkeypatch.setenv("GIT_PROXY_COMMAND", f"touch {marker}")


def bomb(repo: Repo, depth: int) -> None:
    """A branch with a few trees that stand for 10^depth files."""
    entries = [("100644 blob", repo("hash-object", "-w", "file"))] * 10
    for _ in range(depth):
        lines = "".join(f"{kind} {made}\tn{index}\n" for index, (kind, made) in enumerate(entries))
        words = ["git", "mktree"]
        done = subprocess.run(
            words, input=lines, cwd=repo.directory, env=ENVIRONMENT, stdout=-1, text=True, check=True
        )
        entries = [("040000 tree", done.stdout.strip())] * 10
    repo("update-ref", "refs/heads/bomb", repo("commit-tree", entries[0][1], "-m", "bomb"))


def test_trees_that_stand_for_many(
    server: GitServer, repo: Repo, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A "git bomb": counted before anything is unpacked; in a submodule, by the memory that git may have."""
    bomb(repo, 9)
    monkeypatch.setattr("pyd.build.git._MOST_FILES", 10_000)
    with pytest.raises(CorruptData, match="the commit has more than 10000 files"):
        checkout(f"{server.url('app')}#bomb", scratch)
    bomb(repo, 6)
    monkeypatch.setattr("pyd.build.git._MOST_FILES", 1 << 60)
    monkeypatch.setattr(git_program, "_memory", lambda: 50 << 20)
    with pytest.raises(Unavailable, match="Out of memory"):
        checkout(f"{server.url('app')}#bomb", scratch)


def test_control_of_the_trees(
    server: GitServer, repo: Repo, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb(repo, 3)
    monkeypatch.setattr("pyd.build.git._MOST_FILES", 10_000)
    monkeypatch.setattr(git_program, "_memory", lambda: 100 << 20)
    assert (
        sum(1 for path in Path(checkout(f"{server.url('app')}#bomb", scratch)).rglob("*") if path.is_file())
        == 1000
    )


def test_a_repository_that_fills_the_disk(
    server: GitServer, repo: Repo, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped when the disk has no more room."""
    bomb(repo, 5)
    monkeypatch.setattr(git_program, "_LOOK", 0.02)
    monkeypatch.setattr(room, "free", lambda directory: max(0, 200 - count(scratch)))
    with pytest.raises(KernelError, match="no space left"):
        checkout(f"{server.url('app')}#bomb", scratch)
    assert count(scratch) < 50_000


def count(directory: Path) -> int:
    return sum(len(names) + len(files) for _, names, files in os.walk(directory))


# --- servers


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Website]:
    monkeypatch.setattr(transport, "_FIRST_PAUSE", 0.001)
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving() as site:
        yield site


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1/",
        "http://user:pass@127.0.0.2/",
        "//169.254.169.254/x",
    ],
)
def test_redirects(site: Website, scratch: Path, target: str) -> None:
    site.redirect("/x", target)
    with pytest.raises(RegistryError):
        fetch(site.url("/x"), scratch=str(scratch))
    assert list(scratch.iterdir()) == []


def names(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[str]]) -> None:
    """A DNS that answers each time with the next address, the last one for ever."""
    real = socket.getaddrinfo

    def lookup(host: object, port: object, *rest: object, **named: object) -> object:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name in answers:
            known = answers[name]
            host = known.pop(0) if len(known) > 1 else known[0]
        return real(host, port, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


def test_a_server_in_the_world_leads_to_this_host(
    site: Website, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By address, by name, and by a name that changes between the check and the request (DNS rebinding)."""
    site.files["/secret"] = CANARY.encode()
    names(
        monkeypatch,
        {
            "world.test": ["127.0.0.1"],
            "here.test": ["127.0.0.1"],
            "rebind.test": ["203.0.113.9", "127.0.0.1"],
        },
    )
    for host in ("127.0.0.1", "here.test", "rebind.test", "0.0.0.0", "[::ffff:127.0.0.1]"):
        site.redirect("/x", site.url("/secret", host=host))
        with pytest.raises(RegistryError, match="an address of this host: refused"):
            fetch(site.url("/x", host="world.test"), scratch=str(scratch))
    assert list(scratch.iterdir()) == []
    # who names the host himself is served
    assert Path(fetch(site.url("/secret", host="here.test"), scratch=str(scratch)).path).read_text() == CANARY


def test_control_of_the_rebinding(site: Website, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look at who has answered, the file of this host is got."""
    site.files["/secret"] = CANARY.encode()
    names(monkeypatch, {"world.test": ["127.0.0.1"], "rebind.test": ["203.0.113.9", "127.0.0.1"]})
    monkeypatch.setattr("pyd.registry.origin.check_peer", lambda *values: None)
    site.redirect("/x", site.url("/secret", host="rebind.test"))
    found = fetch(site.url("/x", host="world.test"), scratch=str(scratch))
    assert Path(found.path).read_text() == CANARY


# --- archives


def archive(*members: tuple[str, bytes, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, value in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(value)
                tar.addfile(member, io.BytesIO(value.encode()))
            else:
                member.linkname = value
                tar.addfile(member)
    return out.getvalue()


def hostile(outside: Path) -> dict[str, bytes]:
    file, link, hard = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
    up = "../" * 12 + str(outside).lstrip("/")
    return {
        "dots": archive((f"{up}/evil", file, "x")),
        "absolute": archive((f"{outside}/evil", file, "x")),
        "link": archive(("d", link, str(outside)), ("d/evil", file, "x")),
        "relative link": archive(("d", link, up), ("d/evil", file, "x")),
        "chain": archive(("a", link, ".."), ("b", link, f"a/{up}"), ("b/evil", file, "x")),
        "over a link": archive(("evil", link, f"{outside}/evil"), ("evil", file, "x")),
        "hard link": archive(("h", hard, f"{outside}/there"), ("h", file, "overwritten")),
        "hard link through a link": archive(("d", link, str(outside)), ("h", hard, "d/there")),
    }


@pytest.mark.parametrize("name", hostile(Path("/x")))
def test_archives_stay_inside(name: str, scratch: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "there").write_text(CANARY)
    data = hostile(outside)[name]
    try:
        with opened(
            BuildRequest(context="-", stdin=io.BytesIO(data), text=None), Scratch(str(scratch))
        ) as found:
            assert found
    except PydError:
        pass
    assert os.listdir(outside) == ["there"] and (outside / "there").read_text() == CANARY
    assert (outside / "there").stat().st_nlink == 1
    assert Canaries(CANARY).in_files([scratch]) == {}


def test_control_of_the_archives(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with tarfile.open(fileobj=io.BytesIO(hostile(outside)["absolute"])) as tar:
        tar.extractall(tmp_path / "x", filter="fully_trusted")
    assert (outside / "evil").exists()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_bombs(pack: object, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that inflates to more than there is room for, a thousand times its size and more."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("zeros")
        member.size = 24 << 20
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    data = pack(out.getvalue())  # type: ignore[operator]
    most = [0]

    def free(directory: str) -> int:
        used = sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file())
        most[0] = max(most[0], used)
        return max(0, (4 << 20) - used)

    monkeypatch.setattr(room, "free", free)
    monkeypatch.setattr(room, "_STEP", 1 << 20)
    monkeypatch.setattr("pyd.build.archives.free", free)
    with (
        pytest.raises((CorruptData, KernelError)),
        opened(BuildRequest(context="-", stdin=io.BytesIO(data)), Scratch(str(scratch))),
    ):
        pass
    free("")
    assert most[0] < 6 << 20


# --- secrets


def test_tokens_are_seen_nowhere(server: GitServer, site: Website, scratch: Path) -> None:
    """S11: of a token for a git server or a website nothing is in argv, in files or in errors."""
    server.needs = server.basic("x-access-token", CANARY)
    site.files["/f"] = b"x"
    secrets = Secrets(["id=GIT_AUTH_TOKEN,env=T", "id=HTTP_AUTH_TOKEN_127.0.0.1,env=T"], {"T": CANARY})
    canaries = Canaries(CANARY)
    with Watch(canaries) as watch:
        source = parse(server.url("app") + "?keep-git-dir=1")
        assert source is not None
        Sources(secrets=secrets).checkout(source, str(scratch))
        fetch(site.url("/f"), scratch=str(scratch), secret=secrets.get)
        server.needs = "nobody"
        with pytest.raises(Unavailable) as caught:
            Sources(secrets=secrets).checkout(source, str(scratch))
        with pytest.raises(Unavailable) as failed:
            checkout(server.url("app", f"me:{CANARY}"), scratch)
    # git's own environment, which is root's alone, has the token
    assert not [seen for seen in watch.seen if not seen.startswith("environment of b'/usr/lib/git-core/git")]
    assert any(b"ls-remote" in words for words in watch.met)
    assert canaries.in_text(str(caught.value), str(failed.value), str(failed.value.hint)) == []
    assert canaries.in_files([scratch]) == {}


def test_control_of_the_tokens(server: GitServer, tmp_path: Path) -> None:
    """git that is given them in the URL shows them in its command line and keeps them."""
    server.needs = server.basic("me", CANARY)
    canaries = Canaries(CANARY)
    with Watch(canaries) as watch:
        for index in range(20):
            words = [
                "git",
                "clone",
                "--quiet",
                server.url("app", f"me:{CANARY}"),
                str(tmp_path / f"c{index}"),
            ]
            subprocess.run(words, env=ENVIRONMENT, check=True, capture_output=True)
            if any(seen.startswith("argv") for seen in watch.seen):
                break
    assert any(seen.startswith("argv") for seen in watch.seen) and canaries.in_files(
        [tmp_path / "c0" / ".git"]
    )


def test_the_users_agent_only_signs(tmp_path: Path) -> None:
    """What runs in a build can neither remove the keys of the user's agent, nor add some, nor lock it."""
    with agent(tmp_path) as real, tempfile.TemporaryDirectory(prefix="pyd-ssh-") as run:
        with Ssh(["default"], f"{run}/s", {"SSH_AUTH_SOCK": real}) as ssh:
            forwarded = ssh.need("default")
            assert ask(forwarded, "ssh-add", "-l").stdout == ask(real, "ssh-add", "-l").stdout
            for words in (("ssh-add", "-D"), ("ssh-add", str(tmp_path / "second"))):
                assert ask(forwarded, *words).returncode != 0
            public = str(tmp_path / "first.pub")
            done = ask(forwarded, "ssh-keygen", "-Y", "sign", "-f", public, "-n", "file", stdin=b"x")
            assert b"BEGIN SSH SIGNATURE" in done.stdout
        assert len(ask(real, "ssh-add", "-l").stdout.splitlines()) == 1


def test_control_of_the_agent(tmp_path: Path) -> None:
    with agent(tmp_path) as real:
        assert ask(real, "ssh-add", "-D").returncode == 0
        assert ask(real, "ssh-add", "-l").returncode == 1


class agent:
    """The user's ssh-agent, with one key."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> str:
        self._run = tempfile.TemporaryDirectory(prefix="pyd-agent-")
        path = f"{self._run.name}/a"
        self._process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
        for name in ("first", "second"):
            key = str(self._directory / name)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        for _ in range(200):
            if ask(path, "ssh-add", "-l").returncode in (0, 1):
                break
        assert ask(path, "ssh-add", str(self._directory / "first")).returncode == 0
        (self._directory / "first").unlink()  # so that nobody but the agent can sign
        return path

    def __exit__(self, *rest: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._run.cleanup()


def ask(socket_path: str, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.environ["PATH"], "SSH_AUTH_SOCK": socket_path}
    return subprocess.run(words, env=environment, input=stdin, capture_output=True, check=False)
