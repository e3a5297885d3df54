"""Passwords and tokens of registries are where the user put them, and nowhere else (CVE-2021-41092)."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from tests.fakes.token_registry import Service, serving
from tests.support import keyrings, vaults
from tests.support.canaries import Canaries, Watch
from tests.support.command import Pyd, Result, wait_until
from tests.support.registry import HTPASSWD, Registry
from tests.support.token_auth import Signer

PASSWORD, IDENTITY = "canary/password+7f3a91", "canary-identity-token-c40d"
WRONG, PROXY, URL = "canary-wrong-word-55e0", "canary-proxy-word-aa13", "canary-url-word-90be"
PASSPHRASE = "canary-passphrase-1b2c"

# keeps everything outside of what is searched, and lives long enough to be looked at
HELPER = """#!/bin/sh
place={place}
said=$(cat)
sleep 0.1
case $1 in
store) echo "$said" > $place;;
get) if [ -e $place ]; then cat $place; else echo credentials not found in native keychain; exit 1; fi;;
erase) rm -f $place;;
esac
"""


class Scene:
    """Everything that pyd says and writes in one test."""

    def __init__(self, pyd: Pyd, directory: Path, canaries: Canaries) -> None:
        self.pyd, self.directory, self.canaries = pyd, directory, canaries
        self.said: list[str] = []

    def __call__(self, *words: str, code: int | None = 0, input: str | None = None) -> Result:
        # through a proxy nothing on loopback is asked; what is elsewhere is asked in vain
        proxy = {"HTTPS_PROXY": f"http://someone:{PROXY}@127.0.0.1:1"}
        result = self.pyd(*words, code=code, input=input, env=proxy)
        self.said += [result.stdout, result.stderr]
        return result

    def leaks(self) -> dict[str, list[str]]:
        """Files and output that hold a secret."""
        found = self.canaries.in_files(
            self.directory / name for name in ("docker", "pyd", "data", "run", "tmp")
        )
        told = self.canaries.in_text(*self.said)
        return {**found, **({"output": told} if told else {})}


@pytest.fixture
def scene(pyd: Pyd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    for name in ("docker", "tmp", "bin"):
        (tmp_path / name).mkdir()
    for name, value in {
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "PYD_CONFIG": str(tmp_path / "pyd" / "config.json"),
        "PYD_DATA_ROOT": str(tmp_path / "data"),
        "PYD_RUN_ROOT": str(tmp_path / "run"),
        "TMPDIR": str(tmp_path / "tmp"),
        "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json"),
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)
    return Scene(pyd, tmp_path, Canaries(PASSWORD, IDENTITY, WRONG, PROXY, URL, PASSPHRASE))


@pytest.fixture
def by_password(tmp_path: Path) -> Iterator[Registry]:
    users = tmp_path / "htpasswd"
    users.write_bytes(b"me:" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)) + b"\n")
    registry = Registry(tmp_path / "registry", HTPASSWD.format(path=users))
    yield registry
    registry.stop()


@pytest.fixture
def by_token(tmp_path: Path, scene: Scene) -> Iterator[Registry]:
    """Every access token that is given out becomes a canary."""
    signer = Signer(tmp_path)

    def sign(scopes: list[str]) -> str:
        token = signer(scopes)
        scene.canaries.add(token.rpartition(".")[2])
        return token

    service = Service(users={"me": PASSWORD}, give_identity=IDENTITY, sign=sign)
    with serving(service):
        registry = Registry(tmp_path / "registry", signer.config(f"http://{service.token_host}/token"))
        yield registry
        registry.stop()
    assert len(signer.issued) >= 4, "login, push, pull, and a pull in vain"


def use_it_all(scene: Scene, registry: Registry) -> None:
    """Every way in which a secret is read, sent, refused and repeated in a message."""
    host = registry.host
    name = f"{host}/team/app:1"
    scene("login", "-u", "me", "--password-stdin", host, input=PASSWORD)
    scene("-D", "login", "-u", "me", "--password-stdin", host, input=WRONG, code=1)
    with tarfile.open(scene.directory / "small.tar", "w") as tar:
        tar.add("/etc/hostname", "hello")
    scene("import", str(scene.directory / "small.tar"), name)
    scene("-D", "push", name)
    scene("rmi", name)
    scene("-D", "pull", name)
    scene("-D", "pull", f"{host}/no/such:1", code=1)
    scene("-D", "pull", f"someone:{URL}@{host}/x:1", code=1)
    scene("-D", "login", "-u", "me", "--password-stdin", f"https://someone:{URL}@{host}", input=WRONG, code=1)
    scene("-D", "pull", "registry.example/x:1", code=1)  # through the proxy
    assert "proxy 127.0.0.1:1" in scene.said[-1]


def test_plain_password_is_in_config_json_alone(scene: Scene, by_password: Registry) -> None:
    with Watch(scene.canaries, URL) as watch:
        use_it_all(scene, by_password)
    assert scene.leaks() == {"config.json": [PASSWORD]}, "where Docker puts it, in base64"
    assert (scene.directory / "docker" / "config.json").stat().st_mode & 0o777 == 0o600
    scene("logout", by_password.host)
    assert (scene.leaks(), watch.seen) == ({}, set())


def test_plain_identity_token_is_in_config_json_alone(scene: Scene, by_token: Registry) -> None:
    with Watch(scene.canaries, URL) as watch:
        use_it_all(scene, by_token)
    assert scene.leaks() == {"config.json": [IDENTITY]}, "and the password is nowhere"
    scene("logout", by_token.host)
    assert (scene.leaks(), watch.seen) == ({}, set())


def test_sealed_file(scene: Scene, by_token: Registry) -> None:
    scene("credential", "setup", *vaults.cheap(scene.directory))
    with Watch(scene.canaries, URL) as watch:
        use_it_all(scene, by_token)
    assert "(identity token)" in scene("credential", "status").stdout, "it is kept"
    assert (scene.leaks(), watch.seen) == ({}, set())


@keyrings.needed
def test_sealed_file_with_a_passphrase(scene: Scene, by_password: Registry) -> None:
    try:
        with Watch(scene.canaries) as watch:
            scene("credential", "setup", "--key", "passphrase", "--passphrase-stdin", input=PASSPHRASE)
            scene("login", "-u", "me", "--password-stdin", by_password.host, input=PASSWORD)
            scene("credential", "lock")
            assert "is locked" in scene("-D", "login", by_password.host, code=1).stderr
            scene("-D", "credential", "unlock", "--passphrase-stdin", input=WRONG, code=1)
            scene("credential", "unlock", "--passphrase-stdin", input=PASSPHRASE)
            assert "Login Succeeded" in scene("login", by_password.host).stdout
    finally:
        scene("credential", "lock")
    assert (scene.leaks(), watch.seen) == ({}, set())


@keyrings.needed
def test_kernel_keyring(scene: Scene, by_token: Registry) -> None:
    scene("credential", "setup", "--keyring", "user")
    try:
        with Watch(scene.canaries, URL) as watch:
            use_it_all(scene, by_token)
        assert f"{by_token.host} (identity token)" in scene("credential", "status").stdout
    finally:
        scene("logout", by_token.host)
    assert (scene.leaks(), watch.seen) == ({}, set())


def test_helper_of_others(scene: Scene, by_token: Registry) -> None:
    """It gets the secret by stdin, and of our environment what it needs."""
    program = scene.directory / "bin" / "docker-credential-slow"
    program.write_text(HELPER.format(place=scene.directory / "kept-by-the-helper"))
    program.chmod(0o755)
    (scene.directory / "docker" / "config.json").write_text('{"credsStore": "slow"}')
    with Watch(scene.canaries, URL) as watch:
        use_it_all(scene, by_token)
    assert IDENTITY in (scene.directory / "kept-by-the-helper").read_text(), "it was used"
    assert any(b"docker-credential-slow" in words for words in watch.met), "it was looked at"
    assert (scene.leaks(), watch.seen) == ({}, set())


def test_control_of_the_canaries(scene: Scene) -> None:
    """A secret in a file (base64 too), in output, in argv and in the environment of a grandchild is found."""
    import base64

    for offset in range(3):
        text = base64.b64encode(b"x" * offset + f"me:{PASSWORD}".encode())
        (scene.directory / "data").mkdir(exist_ok=True)
        (scene.directory / "data" / f"log{offset}").write_bytes(b"before" + text + b"after")
    scene.said.append(f"error: {URL}")
    assert scene.leaks() == {**{f"log{offset}": [PASSWORD] for offset in range(3)}, "output": [URL]}
    script = "import subprocess, sys; subprocess.run(['sleep', '60'], env={'TOKEN': sys.stdin.read()})"
    with Watch(scene.canaries) as watch:
        child = subprocess.Popen(["sh", "-c", "sleep 60; :", WRONG], process_group=0)
        other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, process_group=0)
        assert other.stdin is not None
        other.stdin.write(PROXY.encode())
        other.stdin.close()
        try:
            wait_until(lambda: len(watch.seen) >= 2)
        finally:
            for each in (child, other):
                os.killpg(each.pid, 9)
                each.wait()
    assert {each.partition(" of ")[0] for each in watch.seen} == {"argv", "environment"}
