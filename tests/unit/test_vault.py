"""pyd's own credential store: sealed files, their keys, the kernel's keyring, the helper's protocol."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import keyrings

from pyd.cli import credential_helper
from pyd.cli.main import main
from pyd.engine import credential_store
from pyd.errors import CorruptData, InvalidArgument, PydError, Unauthorized, Unavailable
from pyd.registry import credentials
from pyd.registry.credentials import Credentials
from pyd.registry.helper import Found
from pyd.registry.vault import kernel, key, settings
from pyd.registry.vault.keyring import KeyringVault
from pyd.registry.vault.sealed_file import SealedFile
from pyd.registry.vault.sealing import Lock, seal, unseal

SERVER = "registry.pyd-test.invalid:5000"
CHEAP = Lock(b"0123456789abcdef", 10, 8, 1)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("PYD_CONFIG", str(tmp_path / "pyd" / "config.json"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    monkeypatch.setenv("PYD_TEST_KEY", "a secret of a CI system")
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)
    monkeypatch.setattr(Lock, "new", classmethod(lambda cls: Lock(os.urandom(16), 10, 8, 1)))


@pytest.fixture
def vault(tmp_path: Path) -> SealedFile:
    vault = SealedFile(str(tmp_path / "sealed"), "env:PYD_TEST_KEY")
    vault.create()
    return vault


def held(top: Path, *texts: str) -> list[str]:
    """Files below `top` that hold one of the texts, also as base64."""
    found = []
    words = [text.encode() for text in texts]
    words += [base64.b64encode(word)[:-4] for word in words if len(word) > 8]
    for path in top.rglob("*"):
        if path.is_file() and any(word in path.read_bytes() for word in words):
            found.append(path.name)
    return found


def test_what_is_sealed_is_read_with_its_key_alone() -> None:
    secret = CHEAP.key(b"passphrase")
    sealed = seal(CHEAP, secret, b"content")
    assert unseal(Lock.read(sealed), secret, sealed) == b"content"
    assert seal(CHEAP, secret, b"content") != sealed, "a nonce is used once"
    with pytest.raises(InvalidArgument):
        unseal(CHEAP, CHEAP.key(b"Passphrase"), sealed)


def test_every_changed_bit_is_noticed() -> None:
    secret = CHEAP.key(b"passphrase")
    sealed = seal(CHEAP, secret, b"content")
    for bit in range(0, len(sealed) * 8, 3):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((InvalidArgument, CorruptData)):
            unseal(Lock.read(bytes(changed)), secret, bytes(changed))
    for length in range(len(sealed)):
        with pytest.raises((InvalidArgument, CorruptData)):
            unseal(Lock.read(sealed[:length]), secret, sealed[:length])


@pytest.mark.parametrize(
    "head", [b"", b"pyd-sealed 2 scrypt", b"\x00" * 100, b"pyd-sealed 1 scrypt 15 8 3 AAAA\n"]
)
def test_what_is_no_sealed_file(head: bytes) -> None:
    with pytest.raises(CorruptData, match="not a sealed file"):
        Lock.read(head)


@pytest.mark.parametrize("numbers", ["31 8 1", "18 8 1", "15 99 1", "15 8 99", "9 8 1", "15 8 0"])
def test_a_header_cannot_ask_for_all_memory(numbers: str) -> None:
    with pytest.raises(CorruptData, match="more work"):
        Lock.read(f"pyd-sealed 1 scrypt {numbers} AAAAAAAAAAAAAAAAAAAAAA==\n".encode())


def test_a_sealed_file_keeps_and_forgets(vault: SealedFile, tmp_path: Path) -> None:
    assert vault.get(SERVER) is None and vault.list() == {}
    vault.store(SERVER, "some-user", "canary-secret")
    vault.store("https://index.docker.io/v1/", "<token>", "canary-token")
    again = SealedFile(vault.path, vault.source)
    assert again.get(SERVER) == Found("some-user", "canary-secret")
    assert again.list() == {SERVER: "some-user", "https://index.docker.io/v1/": "<token>"}
    assert held(tmp_path, "canary-secret", "canary-token", "some-user", SERVER, "index.docker") == []
    assert os.stat(vault.path).st_mode & 0o777 == 0o600
    again.erase(SERVER)
    again.erase(SERVER)
    assert vault.get(SERVER) is None and len(vault.list()) == 1
    assert os.listdir(tmp_path) == ["sealed"]


def test_another_key_changes_nothing(vault: SealedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.store(SERVER, "me", "s")
    before = Path(vault.path).read_bytes()
    monkeypatch.setenv("PYD_TEST_KEY", "another secret")
    acts: list[Callable[[], object]] = [
        lambda: vault.get(SERVER),
        lambda: vault.store(SERVER, "x", "y"),
        lambda: vault.erase(SERVER),
        vault.list,
        vault.create,
    ]
    for act in acts:
        with pytest.raises(InvalidArgument, match="does not open: wrong key"):
            act()
    assert Path(vault.path).read_bytes() == before
    monkeypatch.delenv("PYD_TEST_KEY")
    with pytest.raises(Unavailable, match="fewer than 8 bytes"):
        vault.get(SERVER)


def test_a_file_that_is_gone_is_not_made_anew(vault: SealedFile) -> None:
    os.unlink(vault.path)
    with pytest.raises(Unavailable, match="does not exist"):
        vault.store(SERVER, "me", "s")
    assert not os.path.exists(vault.path)


def test_key_files_are_the_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "pyd.key"
    key.make_file(str(path))
    assert path.stat().st_mode & 0o777 == 0o600 and len(path.read_bytes()) == 65
    before = path.read_bytes()
    key.make_file(str(path))
    assert path.read_bytes() == before
    made = key.of(f"file:{path}", "/x", CHEAP)
    assert len(made) == 32
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(Unavailable, match="can be read by others"):
            key.of(f"file:{path}", "/x", CHEAP)
    path.chmod(0o600)
    path.write_bytes(b"short\n")
    with pytest.raises(Unavailable, match="fewer than 8 bytes"):
        key.of(f"file:{path}", "/x", CHEAP)
    path.unlink()
    with pytest.raises(Unavailable, match="does not exist"):
        key.of(f"file:{path}", "/x", CHEAP)
    os.mkfifo(path, 0o600)
    with pytest.raises(Unavailable, match="not a regular file"):
        key.of(f"file:{path}", "/x", CHEAP)


def test_the_key_of_a_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="CREDENTIALS_DIRECTORY is not set"):
        key.of("systemd:pyd", "/x", CHEAP)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "pyd").write_text("secret of the unit")
    (tmp_path / "pyd").chmod(0o400)
    assert key.of("systemd:pyd", "/x", CHEAP) == CHEAP.key(b"secret of the unit")


@pytest.mark.parametrize("source", ["", "file:", "file:relative", "env:", "systemd:../x", "canary", "pass:x"])
def test_what_is_no_source(source: str) -> None:
    with pytest.raises(InvalidArgument):
        SealedFile("/x", source)


@keyrings.needed
def test_a_passphrase_is_typed_once(tmp_path: Path) -> None:
    vault = SealedFile(str(tmp_path / "sealed"), "passphrase")
    vault.create(b"correct horse")
    try:
        vault.store(SERVER, "me", "s")
        vault.lock()
        with pytest.raises(Unauthorized, match="is locked"):
            vault.get(SERVER)
        with pytest.raises(InvalidArgument, match="wrong key or passphrase"):
            vault.unlock(b"wrong horse")
        with pytest.raises(Unauthorized):
            vault.get(SERVER)
        vault.unlock(b"correct horse")
        assert vault.get(SERVER) == Found("me", "s")
        assert held(tmp_path, "correct horse") == []
    finally:
        vault.lock()
        vault.lock()


@keyrings.needed
@pytest.mark.parametrize("scope", ["user", "persistent", "session"])
def test_the_kernels_keyring(scope: str) -> None:
    keyrings.join_session()
    vault = KeyringVault(scope)
    try:
        assert vault.get(SERVER) is None
        vault.store(SERVER, "me", "one")
        vault.store(SERVER, "me", "two" * 1000)
        assert KeyringVault(scope).get(SERVER) == Found("me", "two" * 1000)
        assert vault.list()[SERVER] == "me"
    finally:
        vault.erase(SERVER)
    vault.erase(SERVER)
    assert vault.get(SERVER) is None and SERVER not in vault.list()
    with pytest.raises(Unavailable, match="too long"):
        vault.store(SERVER, "me", "x" * 40_000)
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(InvalidArgument):
            vault.get(name)


@keyrings.needed
def test_another_session_of_the_user() -> None:
    keyrings.join_session()
    KeyringVault("session").store(SERVER, "me", "s")
    KeyringVault("user").store(SERVER, "me", "u")
    keyrings.join_session()
    try:
        assert KeyringVault("session").get(SERVER) is None
        assert KeyringVault("user").get(SERVER) == Found("me", "u")
    finally:
        KeyringVault("user").erase(SERVER)


def test_a_kernel_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, says in (
        (1, "may not use the kernel's keyrings"),
        (38, "may not use"),
        (122, "quota"),
        (12, "keyring"),
    ):

        def refuse(*arguments: object, number: int = number) -> int:
            raise kernel._KeyError(number)

        monkeypatch.setattr(kernel, "_syscall", refuse)
        acts: list[Callable[[], object]] = [
            lambda: KeyringVault().get(SERVER),
            lambda: KeyringVault().store(SERVER, "m", "s"),
            KeyringVault().list,
            lambda: KeyringVault("persistent").get(SERVER),
        ]
        for act in acts:
            with pytest.raises(Unavailable, match=says):
                act()


class Protocol:
    """The helper, as Docker calls it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.patch, self.capsys = monkeypatch, capsys

    def __call__(self, *words: str, input: str | bytes = "") -> tuple[int, str]:
        data = input if isinstance(input, bytes) else input.encode()
        self.patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        status = credential_helper.main(words)
        return status, self.capsys.readouterr().out


@pytest.fixture
def protocol(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Protocol:
    return Protocol(monkeypatch, capsys)


def test_the_protocol(protocol: Protocol, vault: SealedFile) -> None:
    settings.remember(vault)
    entry = {"ServerURL": SERVER, "Username": "me", "Secret": "pass\\word\n\u00e9"}
    assert protocol("get", input=SERVER) == (1, "credentials not found in native keychain\n")
    assert protocol("store", input=json.dumps(entry)) == (0, "")
    status, out = protocol("get", input=f"{SERVER}\n")
    assert status == 0 and json.loads(out) == entry
    assert json.loads(protocol("list", input="unused")[1]) == {SERVER: "me"}
    assert protocol("erase", input=SERVER) == (0, "")
    assert protocol("erase", input=SERVER) == (0, "")
    assert protocol("list")[1] == "{}\n"


@pytest.mark.parametrize(
    ("words", "input", "says"),
    [
        ((), "", "Usage: docker-credential-pyd <store|get|erase|list|version>"),
        (("get", "x"), "", "Usage: "),
        (("steal",), "", "Unknown credential action `steal`"),
        (("get",), " \n", "no credentials server URL"),
        (("erase",), "", "no credentials server URL"),
        (("store",), "{}", "no credentials server URL"),
        (("store",), '{"ServerURL": "x"}', "no credentials username"),
        (("store",), "canary", "stdin holds no JSON object"),
        (("store",), "[" * 100_000, "stdin holds no JSON object"),
        (("store",), '["canary"]', "stdin holds no JSON object"),
        (
            ("store",),
            '{"ServerURL": "x", "Username": "u", "Secret": ["canary"]}',
            "ServerURL, Username and Secret must",
        ),
        (("store",), b"\xff canary", "stdin is not UTF-8"),
        (("store",), b"x" * (2 << 20), "more than 1048576 bytes"),
    ],
)
def test_the_protocol_with_bad_input(
    words: tuple[str, ...], input: str | bytes, says: str, protocol: Protocol, vault: SealedFile
) -> None:
    settings.remember(vault)
    status, out = protocol(*words, input=input)
    assert status == 1 and out.startswith(says) and out.count("\n") == 1 and "canary" not in out


def test_the_helper_before_it_is_set_up(protocol: Protocol, tmp_path: Path) -> None:
    status, out = protocol("get", input=SERVER)
    assert status == 1 and "not set up (set it up: pyd credential setup)" in out
    (tmp_path / "pyd").mkdir()
    for wrong in (
        '{"credentials": []}',
        '{"credentials": {"store": "file"}}',
        '{"credentials": {"store": 1}}',
        "{",
    ):
        (tmp_path / "pyd" / "config.json").write_text(wrong)
        assert protocol("get", input=SERVER)[0] == 1


def test_setting_up_moves_what_was_readable(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.mkdir()
    auth = base64.b64encode(b"me:canary-password").decode()
    before = {
        "auths": {
            SERVER: {"auth": auth, "email": "me@example.com"},
            "https://index.docker.io/v1/": {"auth": "bWU6", "identitytoken": "canary-identity"},
            "own.example": {"auth": "YTpi"},
            "ready.example": {"registrytoken": "stays"},
        },
        "credHelpers": {"own.example": "other"},
        "psFormat": "x",
    }
    (docker / "config.json").write_text(json.dumps(before))
    place = tmp_path / "pyd" / "config.json"
    place.parent.mkdir()
    place.write_text('{"registry-mirrors": []}')
    moved = credential_store.set_up_file(f"file:{tmp_path}/key")
    assert moved == ["https://index.docker.io/v1/", SERVER]
    after = json.loads((docker / "config.json").read_text())
    assert after.pop("credsStore") == "pyd"
    assert after["auths"][SERVER] == {"email": "me@example.com"}
    assert after["auths"]["own.example"] == {"auth": "YTpi"}
    assert after["psFormat"] == "x"
    assert json.loads(place.read_text())["registry-mirrors"] == []
    assert place.stat().st_mode & 0o777 == 0o644, "other settings are for everybody"
    assert held(tmp_path, "canary-password", "canary-identity", "me:canary-password") == []
    assert credentials.find(SERVER) == Credentials("me", "canary-password")
    assert credentials.find("docker.io") == Credentials(identity_token="canary-identity")
    # to another key, and nothing is left under the old one
    credential_store.set_up_file("env:PYD_TEST_KEY")
    assert credential_store.status()["Key"] == "env:PYD_TEST_KEY"
    assert credential_store.status()["Servers"] == {SERVER: "me", "https://index.docker.io/v1/": "<token>"}
    assert len(list(place.parent.glob("*.sealed"))) == 1


def test_a_store_that_does_not_open_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credential_store.set_up_file("env:PYD_TEST_KEY")
    credentials.save(SERVER, Credentials("me", "s"))
    before = (tmp_path / "pyd" / "config.json").read_bytes()
    monkeypatch.setenv("PYD_TEST_KEY", "another secret")
    with pytest.raises(Unavailable, match="cannot be moved"):
        credential_store.set_up_file(f"file:{tmp_path}/key")
    assert (tmp_path / "pyd" / "config.json").read_bytes() == before
    assert "does not open" in credential_store.status()["Problem"]
    with pytest.raises(PydError, match="has no passphrase"):
        credential_store.unlock(b"x" * 10)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--store", "keyring", "--key", "env:X"), "--key is not for --store keyring"),
        (("--key", "env:X", "--keyring", "user"), "--keyring is not for --store file"),
        (("--store", "file"), "--store file needs --key"),
        (("--store", "vault"), "must be one of keyring, file"),
        (("--key", "canary-in-the-wrong-place"), "invalid key 'canary-in-the-wrong-place'"),
        (("--key", "env:NOT_SET_AT_ALL"), "has fewer than 8 bytes"),
        (("--key", "passphrase"), "cannot ask for the passphrase: stdin is no terminal"),
        (("--key", "passphrase", "--passphrase-stdin"), "a passphrase has at least 8 bytes"),
    ],
)
def test_setting_up_wrongly_changes_nothing(
    words: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"short\n")))
    assert main(["credential", "setup", *words]) in (1, 125)
    assert says in capsys.readouterr().err
    assert not list(tmp_path.rglob("config.json")) and not list(tmp_path.rglob("*.sealed"))


def test_names_that_command_a_terminal(vault: SealedFile, capsys: pytest.CaptureFixture[str]) -> None:
    settings.remember(vault)
    vault.store("evil\x1b[2J.example", "me\r\x07", "s")
    assert main(["credential", "status"]) == 0
    shown = capsys.readouterr().out
    assert "evil" in shown and not {"\x1b", "\r", "\x07"} & set(shown)
