"""What is kept for the user, and where: config.json whole, helpers that misbehave."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyd.engine.login import Server
from pyd.errors import CorruptData, InvalidArgument, PydError, Unavailable
from pyd.registry import credentials, helper, json_file, private_file
from pyd.registry.credentials import Credentials, find, forget, save

HOST = "registry.example.com:5000"
ME = Credentials("me", "s3cret")
AUTH = base64.b64encode(b"me:s3cret").decode()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)
    return tmp_path / "docker" / "config.json"


@pytest.fixture
def make_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """`make_helper("x", "script")` puts docker-credential-x on the PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def make(name: str, script: str) -> None:
        program = programs / f"docker-credential-{name}"
        program.write_text(script if script.startswith("#!") else f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return make


def test_a_new_file_is_as_docker_writes_it(config: Path) -> None:
    assert save(HOST, ME) == str(config)
    assert (
        config.read_text() == f'{{\n\t"auths": {{\n\t\t"{HOST}": {{\n\t\t\t"auth": "{AUTH}"\n\t\t}}\n\t}}\n}}'
    )
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
    assert os.listdir(config.parent) == ["config.json"]
    assert find(HOST) == ME


def test_an_identity_token_takes_the_passwords_place(config: Path) -> None:
    save(HOST, ME)
    save(HOST, Credentials("me", "", "the-token"))
    entry = json.loads(config.read_text())["auths"][HOST]
    assert entry == {"auth": base64.b64encode(b"me:").decode(), "identitytoken": "the-token"}
    assert find(HOST) == Credentials("me", "", "the-token")
    save(HOST, ME)
    assert json.loads(config.read_text())["auths"][HOST] == {"auth": AUTH}


def test_everything_else_stays(config: Path) -> None:
    text = """{
\t"zeta": {"unknown": [1, 2.5, null, true, "\\u00e9", 12345678901234567890123]},
\t"HttpHeaders": {"X-Meta-A": "b"},
\t"auths": {
\t\t"other": {"auth": "bzpw", "email": "o@example.com"},
\t\t"registry.example.com:5000": {"auth": "b2xkOm9sZA==", "email": "me@example.com"}
\t},
\t"psFormat": "table <a> & b",
\t"alpha": "\\ud800"
}"""
    config.parent.mkdir()
    config.write_text(text)
    config.chmod(0o644)
    before = json.loads(text)
    save(HOST, ME)
    after = json.loads(config.read_text())
    assert list(after) == list(before)
    assert after["auths"].pop(HOST) == {"email": "me@example.com", "auth": AUTH}
    before["auths"].pop(HOST)
    assert after == before
    assert stat.S_IMODE(config.stat().st_mode) == 0o600, "it holds a password now"
    forget(HOST)
    assert json.loads(config.read_text()) == before


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"auths": {',
        b"[]",
        b"\xff\xfe",
        b"null",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b"[" * 200_000,
        b'{"a": 1, "a": 2}',
        b'{"auths": []}',
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda data: data[:16].decode(errors="replace"),
)
def test_a_damaged_file_is_left_alone(damaged: bytes, config: Path) -> None:
    config.parent.mkdir()
    config.write_bytes(damaged)
    with pytest.raises(InvalidArgument, match=r"config\.json"):
        save(HOST, ME)
    assert config.read_bytes() == damaged
    assert os.listdir(config.parent) == ["config.json"]


def test_what_is_no_file_is_left_alone(config: Path) -> None:
    config.parent.mkdir()
    os.mkfifo(config)
    with pytest.raises(CorruptData, match="not a regular file"):
        save(HOST, ME)
    config.unlink()
    config.mkdir()
    with pytest.raises(PydError):
        save(HOST, ME)
    config.rmdir()
    with config.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(CorruptData, match="larger than"):
        save(HOST, ME)


@pytest.mark.parametrize("dangling", [False, True])
def test_a_symbolic_link_stays(dangling: bool, config: Path, tmp_path: Path) -> None:
    config.parent.mkdir()
    place = tmp_path / "dotfiles" / "docker.json"
    place.parent.mkdir()
    if not dangling:
        place.write_text('{"kept": 1}')
    config.symlink_to("../dotfiles/docker.json")
    save(HOST, ME)
    assert config.is_symlink() and not place.is_symlink()
    assert json.loads(place.read_text()).get("kept") == (None if dangling else 1)
    assert find(HOST) == ME
    assert os.listdir(place.parent) == ["docker.json"]


SAVER = """
import sys
from pyd.registry.credentials import Credentials, save
for number in range(int(sys.argv[2])):
    save(f"{sys.argv[1]}-{number}.example", Credentials("me", "x"))
    print(number, flush=True)
"""


def saver(name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SAVER, name, str(count)], stdout=subprocess.PIPE, text=True
    )


def test_who_writes_at_the_same_time_loses_nothing(config: Path) -> None:
    savers = [saver(f"p{number}", 10) for number in range(4)]
    for each in savers:
        each.communicate()
        assert each.returncode == 0
    assert len(json.loads(config.read_text())["auths"]) == 40
    assert os.listdir(config.parent) == ["config.json"]


def test_a_killed_writer_leaves_the_old_file_or_the_new(config: Path) -> None:
    acknowledged = set()
    for turn in range(6):
        process = saver(f"k{turn}", 10_000)
        assert process.stdout is not None
        until = time.monotonic() + 0.02 * (turn + 1)
        for line in process.stdout:
            acknowledged.add(f"k{turn}-{line.strip()}.example")
            if time.monotonic() > until:
                process.kill()
                break
        acknowledged |= {f"k{turn}-{line.strip()}.example" for line in process.stdout if line.endswith("\n")}
        process.wait()
        process.stdout.close()
    assert acknowledged <= set(json.loads(config.read_text())["auths"])
    save(HOST, ME)  # what a killed one left is no obstacle, and is removed
    assert os.listdir(config.parent) == ["config.json"]


def test_a_full_disk_leaves_the_old_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(HOST, ME)
    before = config.read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PydError, match="no space left on device"):
        save("other.example", ME)
    assert config.read_bytes() == before
    assert os.listdir(config.parent) == ["config.json"]


def test_docker_hub_has_one_key(config: Path) -> None:
    for text in ("", "docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"):
        assert Server.parse(text) == Server("docker.io", "https://index.docker.io/v1/")
    save("docker.io", ME)
    assert list(json.loads(config.read_text())["auths"]) == ["https://index.docker.io/v1/"]
    assert find("registry-1.docker.io") == ME


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://reg:5000/v2/", "reg:5000"),
        ("reg/team", "reg"),
        ("http://[::1]:5000", "[::1]:5000"),
        ("127.0.0.1:5000", "127.0.0.1:5000"),
    ],
)
def test_addresses(text: str, host: str) -> None:
    assert Server.parse(text) == Server(host, host)


@pytest.mark.parametrize(
    "text", ["https://u:canary@reg", "u:canary@reg/x", "reg\ncanary", "https://", "a b", "--x", "http://[x"]
)
def test_bad_addresses_are_not_repeated_with_their_password(text: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        Server.parse(text)
    if "@" in text:
        assert "canary" not in raised.value.message


def test_docker_auth_config_beats_all(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(HOST, Credentials("old", "old"))
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {HOST: {"auth": AUTH}}}))
    assert find(HOST) == ME
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", "{nonsense")
    assert find(HOST) == Credentials("old", "old")


KEEPER = r"""
place=$XDG_TEST_PLACE
(echo "$@"; env) >> "$place.log"
said=$(cat)
case $1 in
store) echo "$said" > "$place"; exit;;
list) sed 's/.*"ServerURL": "\([^"]*\)", "Username": "\([^"]*\)".*/{"\1": "\2"}/' "$place"; exit;;
esac
if ! grep -qF "\"$said\"" "$place" 2>/dev/null; then
  echo 'credentials not found in native keychain'
  exit 1
fi
if [ "$1" = get ]; then cat "$place"; else rm "$place"; fi
"""


@pytest.mark.parametrize("general", [False, True])
def test_a_helper_keeps_it_all(
    general: bool,
    config: Path,
    tmp_path: Path,
    make_helper: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_helper("keeper", KEEPER)
    place = tmp_path / "kept"
    monkeypatch.setenv("XDG_TEST_PLACE", str(place))
    monkeypatch.setenv("SECRET_OF_OTHERS", "canary")
    monkeypatch.setenv("HTTPS_PROXY", "http://u:canary@proxy:1")
    config.parent.mkdir()
    names = {"credsStore": "keeper"} if general else {"credHelpers": {HOST: "keeper"}, "credsStore": "none"}
    config.write_text(json.dumps(names))
    assert find(HOST) is None
    assert save(HOST, ME) == ""
    assert json.loads(config.read_text()) == names | {"auths": {HOST: {}}}
    assert find(HOST) == ME
    assert helper.Helper("keeper").list() == {HOST: "me"}
    save(HOST, Credentials("me", "", "the-token"))
    kept = {"ServerURL": HOST, "Username": "<token>", "Secret": "the-token"}
    assert json.loads(place.read_text()) == kept
    assert find(HOST) == Credentials(identity_token="the-token")
    forget(HOST)
    assert not place.exists() and HOST not in config.read_text().partition("auths")[2]
    assert find(HOST) is None
    forget(HOST)  # twice is no error
    log = Path(f"{place}.log").read_text()
    assert {"get", "store", "erase", "list"} <= set(log.splitlines())
    assert not {"canary", "s3cret", "the-token"} & set(log.replace("=", " ").split()) and "canary" not in log


def test_an_empty_helper_means_the_file(config: Path) -> None:
    config.parent.mkdir()
    config.write_text(json.dumps({"credsStore": "nosuch", "credHelpers": {HOST: ""}}))
    assert save(HOST, ME) == str(config)
    assert find(HOST) == ME


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 3", "error getting credentials - err: docker-credential-bad: exit status 3, out: ``"),
        ("echo 'vault \x1b[2J is sealed'; exit 1", "exit status 1, out: `vault .* is sealed`"),
        ("kill -SEGV $$", "exit status -11"),
        ("echo hello", "does not answer with a JSON object"),
        ("printf '\\377\\376'", "does not answer with a JSON object"),
        ("exit 0", "does not answer with a JSON object"),
        ("echo '{\"Username\": 5}'", "does not answer with Username and Secret"),
        ('echo \'{"Username": "u", "Secret": "canary"}\'; exit 1', "not shown: it holds a secret"),
        ("head -c 300000 /dev/zero | tr '\\0' '['", "does not answer with a JSON object"),
        ("exec head -c 100000000 /dev/zero", "answers with more than 1048576 bytes"),
        ("exec yes", "answers with more than"),
        ("sleep 100 & wait", "no answer within 1 seconds"),
        ("exec >&-; sleep 100", "no answer within 1 seconds"),
        ("#!/nonexistent\n", "executable file not found in .PATH"),
    ],
)
def test_helpers_that_misbehave(
    script: str,
    says: str,
    config: Path,
    make_helper: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(helper, "_SECONDS", 1.0)
    make_helper("bad", script)
    config.parent.mkdir()
    config.write_text(json.dumps({"credsStore": "bad"}))
    start = time.monotonic()
    with pytest.raises(Unavailable, match=says) as raised:
        find(HOST)
    assert time.monotonic() - start < 3
    assert "canary" not in str(raised.value) and "\x1b" not in str(raised.value)


def test_a_missing_helper_and_a_bad_name(config: Path) -> None:
    config.parent.mkdir()
    config.write_text('{"credsStore": "nosuch"}')
    with pytest.raises(Unavailable, match=r"docker-credential-nosuch: executable file not found in \$PATH"):
        find(HOST)
    before = config.read_bytes()
    with pytest.raises(Unavailable):
        save(HOST, ME)
    assert config.read_bytes() == before
    config.write_text('{"credsStore": "../../bin/sh"}')
    with pytest.raises(InvalidArgument, match="invalid credential helper"):
        find(HOST)


def test_a_helper_that_repeats_the_password(config: Path, make_helper: Callable[[str, str], None]) -> None:
    make_helper("echo", "cat; exit 1")
    config.parent.mkdir()
    config.write_text('{"credsStore": "echo"}')
    with pytest.raises(Unavailable, match="error storing credentials") as raised:
        save(HOST, ME)
    assert "s3cret" not in str(raised.value)


def test_a_helper_that_does_not_read(config: Path, make_helper: Callable[[str, str], None]) -> None:
    make_helper("deaf", "exit 0")
    helper.Helper("deaf").store(HOST, "me", "x" * 1_000_000)


def test_a_daemon_that_a_helper_leaves_is_not_waited_for(make_helper: Callable[[str, str], None]) -> None:
    make_helper("agent", 'sleep 3 & echo \'{"Username":"u","Secret":"s"}\'')
    start = time.monotonic()
    assert helper.Helper("agent").get(HOST) == ("u", "s")
    assert time.monotonic() - start < 2


def test_of_an_entry_that_cannot_be_read_nothing_is_shown(config: Path) -> None:
    config.parent.mkdir()
    for auth in ("canary!", base64.b64encode(b"canary").decode(), base64.b64encode(b"\xff:canary").decode()):
        config.write_text(json.dumps({"auths": {HOST: {"auth": auth}}}))
        with pytest.raises(InvalidArgument, match=f"the credentials for {HOST} in config.json") as raised:
            find(HOST)
        assert "canary" not in str(raised.value) and auth not in str(raised.value)


def test_nothing_shows_a_secret_by_its_repr() -> None:
    shown = repr(Credentials("me", "canary-1", "canary-2", "canary-3"))
    assert "canary" not in shown


def test_changes_that_change_nothing_write_nothing(config: Path) -> None:
    save(HOST, ME)
    before = config.stat().st_ino
    save(HOST, ME)
    forget("other.example")
    assert config.stat().st_ino == before
    assert private_file.read(str(config)) is not None and json_file.read(str(config)) != {}
    assert credentials.names("docker.io")[0] == "https://index.docker.io/v1/"
