"""login and logout as a user runs them, against Debian's docker-registry and beside docker and skopeo."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from pyd.registry.credentials import Credentials, find
from tests.fakes import docker_daemon
from tests.fakes.token_registry import Service, serving
from tests.support import vaults
from tests.support.command import Pyd
from tests.support.registry import HTPASSWD, Registry
from tests.support.token_auth import Signer

UNENCRYPTED = "WARNING! Your credentials are stored unencrypted in '{}'."


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configuration of this test's own; also of docker, whose helpers are found on the PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    helper = programs / "docker-credential-pyd"
    helper.write_text(f'#!/bin/sh\nexec {sys.executable} -m pyd.cli.credential_helper "$@"\n')
    helper.chmod(0o755)
    for name, value in {
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "PYD_CONFIG": str(tmp_path / "pyd" / "config.json"),
        "PYD_DATA_ROOT": str(tmp_path / "data"),
        "PYD_RUN_ROOT": str(tmp_path / "run"),
        "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json"),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)
    return tmp_path / "docker" / "config.json"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with one user: me, s3cret:word."""
    directory = tmp_path_factory.mktemp("guarded")
    users = directory / "htpasswd"
    users.write_bytes(b"me:" + bcrypt.hashpw(b"s3cret:word", bcrypt.gensalt(4)) + b"\n")
    registry = Registry(directory / "registry", HTPASSWD.format(path=users))
    yield registry
    registry.stop()


@pytest.fixture
def token_registry(tmp_path: Path) -> Iterator[tuple[Registry, Service]]:
    """A registry that believes its token service, which gives identity tokens."""
    signer = Signer(tmp_path)
    service = Service(users={"me": "s3cret"}, give_identity="the-identity", sign=signer)
    with serving(service):
        registry = Registry(tmp_path / "registry", signer.config(f"http://{service.token_host}/token"))
        yield registry, service
        registry.stop()


def small_image(pyd: Pyd, directory: Path, name: str) -> None:
    (directory / "hello").write_text("hello")
    with tarfile.open(directory / "small.tar", "w") as tar:
        tar.add(directory / "hello", "hello")
    pyd("import", directory / "small.tar", name)


def skopeo_is_let_in(registry: Registry, authfile: Path) -> bool:
    """A repository that is not there is told to those alone who may ask."""
    place = f"docker://{registry.host}/nosuch"
    asked = subprocess.run(
        ["skopeo", "list-tags", "--tls-verify=false", "--authfile", str(authfile), place],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "404" in asked.stderr or "authentication required" in asked.stderr, asked.stderr
    return "404" in asked.stderr


def test_password_on_stdin_push_pull_logout(
    guarded: Registry, pyd: Pyd, config: Path, tmp_path: Path
) -> None:
    name = f"{guarded.host}/team/app:1"
    small_image(pyd, tmp_path, name)
    refused = pyd("push", name, code=1)
    assert "log in: pyd login" in refused.stderr
    done = pyd("login", "-u", "me", "--password-stdin", f"http://{guarded.host}/v2/", input="s3cret:word\n")
    assert done.out == "Login Succeeded"
    assert UNENCRYPTED.format(config) in done.stderr
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    auth = base64.b64encode(b"me:s3cret:word").decode()
    assert json.loads(config.read_text()) == {"auths": {guarded.host: {"auth": auth}}}
    pyd("push", name)
    pyd("rmi", name)
    assert pyd("pull", "-q", name).out == name
    assert pyd("logout", guarded.host).out == f"Removing login credentials for {guarded.host}"
    assert json.loads(config.read_text()) == {"auths": {}}
    assert "pull access denied" in pyd("pull", name, code=1).stderr
    assert pyd("logout", guarded.host).code == 0


def test_what_is_refused_is_said_in_dockers_words(guarded: Registry, pyd: Pyd, config: Path) -> None:
    done = pyd("login", "-u", "me", "-p", "wrong", guarded.host, code=1)
    warning = "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n"
    failed = f"login attempt to http://{guarded.host}/v2/ failed with status: 401 Unauthorized"
    assert done.stderr == f"{warning}Error response from daemon: {failed}\n"
    assert not config.exists(), "nothing is kept that was not verified"
    no_terminal = "Error: Cannot perform an interactive login from a non TTY device"
    both = "cannot specify both --password and --password-stdin"
    for words, input, says in (
        (("--password-stdin",), "x", "the --password-stdin option requires --username to be set"),
        (("-u", "a", "-p", "b", "--password-stdin"), "x", both),
        (("-u", "a"), None, no_terminal),
        (
            ("-u", "a", "--password-stdin"),
            "",
            "Error: Cannot perform an interactive login from a non TTY device",
        ),
        (("-u", "a:b", "--password-stdin"), "x", "must not contain a colon"),
    ):
        done = pyd("login", *words, guarded.host, input=input, code=1)
        assert says in done.stderr and done.stdout == ""
    assert "connection refused" in pyd("login", "-u", "a", "-p", "b", "127.0.0.1:1", code=1).stderr
    assert '"pyd login" requires at most 1 argument.' in pyd("login", "a", "b", code=1).stderr


def test_a_damaged_config_json_is_left_alone(guarded: Registry, pyd: Pyd, config: Path) -> None:
    config.parent.mkdir()
    config.write_text('{"auths": {')
    done = pyd("login", "-u", "me", "--password-stdin", guarded.host, input="s3cret:word", code=1)
    assert f"{config} is not valid JSON" in done.stderr and "Login Succeeded" not in done.stdout
    assert config.read_text() == '{"auths": {'


def test_prompts_on_a_terminal(guarded: Registry, pyd: Pyd, config: Path) -> None:
    terminal = pyd.terminal("login", guarded.host)
    terminal.expect("Username: ")
    terminal.write("me\n")
    terminal.expect("Password: ")
    terminal.write("s3cret:word\n")
    assert "s3cret" not in terminal.expect("Login Succeeded")
    assert terminal.close() == 0
    # again: what is stored is tried first
    done = pyd("login", guarded.host)
    assert "Authenticating with existing credentials... [Username: me]" in done.stdout
    assert done.lines[-1] == "Login Succeeded"
    stored = json.loads(config.read_text())
    stored["auths"][guarded.host]["auth"] = base64.b64encode(b"me:old").decode()
    config.write_text(json.dumps(stored))
    terminal = pyd.terminal("login", guarded.host)
    terminal.expect("Stored credentials invalid or expired")
    terminal.expect("Username (me): ")
    terminal.write("\n")
    terminal.expect("Password: ")
    terminal.write("s3cret:word\n")
    terminal.expect("Login Succeeded")
    assert terminal.close() == 0


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_giving_up_restores_the_terminal(key: str, guarded: Registry, pyd: Pyd, config: Path) -> None:
    import termios

    terminal = pyd.terminal("login", "-u", "me", guarded.host)
    before = termios.tcgetattr(terminal.master)[3] & termios.ECHO
    terminal.expect("Password: ")
    assert not termios.tcgetattr(terminal.master)[3] & termios.ECHO
    if key == "\x03":  # the terminal of a test controls nothing: the signal itself
        terminal.process.send_signal(2)
    else:
        terminal.write(key)
    assert terminal.process.wait(15) == (130 if key == "\x03" else 1)
    assert termios.tcgetattr(terminal.master)[3] & termios.ECHO == before
    assert not config.exists()
    terminal.end()


@pytest.mark.parametrize("get", [True, False])
def test_an_identity_token_is_kept_and_used(
    get: bool, token_registry: tuple[Registry, Service], pyd: Pyd, config: Path, tmp_path: Path
) -> None:
    registry, service = token_registry
    service.get = get
    pyd("login", "-u", "me", "--password-stdin", registry.host, input="s3cret")
    entry = json.loads(config.read_text())["auths"][registry.host]
    assert entry == {"auth": base64.b64encode(b"me:").decode(), "identitytoken": "the-identity"}
    name = f"{registry.host}/team/app:1"
    small_image(pyd, tmp_path, name)
    service.requests.clear()
    pyd("push", name)
    pyd("rmi", name)
    pyd("pull", "-q", name)
    assert {sent.form["grant_type"][0] for sent in service.of("POST")} == {"refresh_token"}
    assert {sent.form["scope"][0] for sent in service.of("POST")} >= {
        "repository:team/app:pull,push",
        "repository:team/app:pull",
    }
    assert not service.of("GET"), "the password is nowhere any more"
    with docker_daemon.docker(tmp_path) as docker:
        assert docker.finds(registry.host)["identitytoken"] == "the-identity"
    wrong = pyd("login", "-u", "me", "--password-stdin", registry.host, input="wrong", code=1)
    says = f'Get "http://{registry.host}/v2/": unauthorized: incorrect username or password'
    assert wrong.stderr == f"Error response from daemon: {says}\n"
    assert json.loads(config.read_text())["auths"][registry.host] == entry


def test_docker_reads_what_pyd_wrote_and_the_other_way_round(
    guarded: Registry, pyd: Pyd, config: Path, tmp_path: Path
) -> None:
    with docker_daemon.docker(tmp_path) as docker:
        pyd("login", "-u", "me", "--password-stdin", guarded.host, input="s3cret:word")
        expected = {"username": "me", "password": "s3cret:word"}
        assert docker.finds(guarded.host).items() >= expected.items()
        pyd("logout", guarded.host)
        assert "password" not in docker.finds(guarded.host)
        done = docker("login", "-u", "me", "--password-stdin", guarded.host, input="s3cret:word")
        assert "Login Succeeded" in done.stdout, done.stderr
        by_docker = config.read_text()
        assert "Login Succeeded" in pyd("login", guarded.host).stdout
        assert config.read_text() == by_docker, "not a byte is other than Docker's"
        assert skopeo_is_let_in(guarded, config)
        assert docker("logout", guarded.host).returncode == 0
        assert json.loads(config.read_text())["auths"] == {}


def test_pyds_helper_under_docker_and_skopeo(
    guarded: Registry, pyd: Pyd, config: Path, tmp_path: Path
) -> None:
    pyd("login", "-u", "me", "--password-stdin", guarded.host, input="s3cret:word")
    done = pyd("credential", "setup", *vaults.cheap(tmp_path))
    assert f"Moved the credentials for {guarded.host}" in done.lines
    assert json.loads(config.read_text()) == {"auths": {guarded.host: {}}, "credsStore": "pyd"}
    assert f"{guarded.host} (me)" in pyd("credential", "status").stdout
    with docker_daemon.docker(tmp_path) as docker:
        expected = {"username": "me", "password": "s3cret:word"}
        assert docker.finds(guarded.host).items() >= expected.items()
        docker("login", "-u", "you", "--password-stdin", "other.example", input="by-docker")
        listed = json.loads(pyd("credential", "status", "--format", "json").stdout)["Servers"]
        assert listed == {guarded.host: "me", "other.example": "you"}
        # and it is pyd's to find
        assert find("other.example") == Credentials("you", "by-docker")
        docker("logout", "other.example")
        assert "other.example" not in pyd("credential", "status").stdout
    authfile = tmp_path / "skopeo.json"
    authfile.write_text(json.dumps({"credHelpers": {guarded.host: "pyd"}}))
    assert skopeo_is_let_in(guarded, authfile)
    pyd("logout", guarded.host)
    assert not skopeo_is_let_in(guarded, authfile)


def test_docker_hub_by_default(pyd: Pyd, config: Path) -> None:
    assert pyd("logout").out == "Removing login credentials for https://index.docker.io/v1/"
    terminal = pyd.terminal("login")
    terminal.expect("Log in with your Docker ID")
    terminal.expect("Username: ")
    terminal.write("\n")
    terminal.expect("error: username is required")
    assert terminal.close() == 1


def test_completion_knows_registries(pyd: Pyd, config: Path) -> None:
    config.parent.mkdir()
    config.write_text('{"auths": {"one.example": {}, "two.example": {}}}')
    assert pyd("__complete", "logout", "o").lines == ["one.example"]
