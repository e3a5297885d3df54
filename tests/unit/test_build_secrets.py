"""--secret and --ssh: their grammar, what is read when, and agents that OpenSSH's own programs talk to."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pyd.build.secrets import LIMIT, Secrets, SecretSpec, parse
from pyd.build.ssh import Ssh
from pyd.build.ssh import parse as parse_ssh
from pyd.errors import InvalidArgument, NotFound, NotSupported, PydError, Unavailable

ENVIRON = {"TOKEN": "from-env"}


@pytest.mark.parametrize(
    ("text", "path", "variable"),
    [
        ("id=a,src=/x", "/x", ""),
        ("id=a,source=/x", "/x", ""),
        ("ID=a,SRC=/x", "/x", ""),
        ("id=a,env=TOKEN", "", "TOKEN"),
        ("id=a,type=env,src=TOKEN", "", "TOKEN"),
        ("type=file,id=a,src=/x", "/x", ""),
        ("id=TOKEN", "", "TOKEN"),
        ("id=a", "a", ""),
        ("id=TOKEN,type=file", "TOKEN", ""),
        ("id=a,type=env", "", "a"),
        ('id=a,"src=/with,comma"', "/with,comma", ""),
        ("id=a,src=/x=y", "/x=y", ""),
    ],
)
def test_grammar_of_secrets(text: str, path: str, variable: str) -> None:
    found = parse(text, ENVIRON)
    assert found == SecretSpec(found.id, path, variable)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("src=/x", "secret missing ID"),
        ("id", "invalid field 'id' must be a key=value pair"),
        ("id=a,type=x", 'unsupported secret type "x"'),
        ("id=a,what=x", "unexpected key 'what' in 'what=x'"),
        ("", "secret missing ID"),
        ('id=a,"src', "failed to parse csv secret"),
    ],
)
def test_bad_grammar_of_secrets(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse(text, ENVIRON)


def test_values(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from-file\n")
    secrets = Secrets([f"id=f,src={tmp_path}/file", "id=e,env=TOKEN", "id=u,env=UNSET"], ENVIRON)
    assert (secrets.get("f"), secrets.get("e"), secrets.get("u")) == (b"from-file\n", b"from-env", b"")
    assert secrets.get("none") is None and secrets.ids == ["e", "f", "u"]
    assert "from" not in repr(secrets)
    assert secrets.need("e") == b"from-env"
    with pytest.raises(NotFound, match=r"^secret none: not found$"):
        secrets.need("none")


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="failed to stat /no/such: no such file or directory"):
        Secrets(["id=a,src=/no/such"])
    with pytest.raises(InvalidArgument, match="is a directory"):
        Secrets([f"id=a,src={tmp_path}"])
    (tmp_path / "big").write_bytes(b"x" * (LIMIT + 1))
    with pytest.raises(InvalidArgument, match=r"secret a too big\. max size 500KB"):
        Secrets([f"id=a,src={tmp_path}/big"])
    (tmp_path / "big").write_bytes(b"x" * LIMIT)
    assert len(Secrets([f"id=a,src={tmp_path}/big"]).get("a") or b"") == LIMIT
    with pytest.raises(InvalidArgument, match="too big"):
        Secrets(["id=a,env=X"], {"X": "x" * (LIMIT + 1)}).get("a")


def test_a_pipe_is_read_once() -> None:
    """--secret id=a,src=<(command) of a shell"""
    reader, writer = os.pipe()
    os.write(writer, b"once")
    os.close(writer)
    secrets = Secrets([f"id=a,src=/dev/fd/{reader}"])
    assert [secrets.get("a"), secrets.get("a")] == [b"once", b"once"]
    os.close(reader)


Key = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KEYS: dict[str, Key] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ecdsa256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa384": ec.generate_private_key(ec.SECP384R1()),
    "ecdsa521": ec.generate_private_key(ec.SECP521R1()),
    "rsa": rsa.generate_private_key(65537, 2048),
}


def key_file(directory: Path, name: str, *, password: bytes = b"", pem: bool = False) -> Path:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8 if pem else serialization.PrivateFormat.OpenSSH
    path = directory / name
    path.write_bytes(KEYS[name].private_bytes(serialization.Encoding.PEM, form, hidden))
    path.chmod(0o600)
    public = KEYS[name].public_key()
    line = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.with_suffix(".pub").write_bytes(line + b" comment\n")
    return path


def ask(agent: str, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.environ["PATH"], "SSH_AUTH_SOCK": agent}
    return subprocess.run(words, env=environment, input=stdin, capture_output=True, check=False)


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Short enough for the address of a socket."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="pyd-ssh-") as path:
        yield Path(path)


@pytest.mark.parametrize("name", KEYS)
def test_openssh_signs_with_the_keys(name: str, tmp_path: Path, directory: Path) -> None:
    """What ssh-keygen lets our agent sign, ssh-keygen verifies."""
    path = key_file(tmp_path, name, pem=name == "rsa")
    with Ssh([f"default={path}"], str(directory / "run")) as ssh:
        agent = ssh.need("")
        listed = ask(agent, "ssh-add", "-L").stdout
        assert listed.split()[:2] == path.with_suffix(".pub").read_bytes().split()[:2]
        # without the private key beside it, the agent is the only one who can
        public = tmp_path / "alone.pub"
        public.write_bytes(path.with_suffix(".pub").read_bytes())
        done = ask(agent, "ssh-keygen", "-Y", "sign", "-f", str(public), "-n", "file", stdin=b"words")
        assert done.returncode == 0, done.stderr
    (tmp_path / "signature").write_bytes(done.stdout)
    (tmp_path / "allowed").write_bytes(b"me " + public.read_bytes())
    words = ("-I", "me", "-n", "file", "-f", str(tmp_path / "allowed"), "-s", str(tmp_path / "signature"))
    done = ask("", "ssh-keygen", "-Y", "verify", *words, stdin=b"words")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ask("", "ssh-keygen", "-Y", "verify", *words, stdin=b"other").returncode != 0
    assert not (directory / "run").exists(), "nothing is left"


def test_several_keys_and_owners(tmp_path: Path, directory: Path) -> None:
    one, two = key_file(tmp_path, "ed25519"), key_file(tmp_path, "rsa")
    run = directory / "run"
    with Ssh([f"both={one},{two}", f"one={one}"], str(run)) as ssh:
        uid, gid = (1000, 1001) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
        both, single = ssh.socket("both", uid=uid, gid=gid, mode=0o660), ssh.socket("one")
        assert both and single and ssh.socket("none") is None
        assert len(ask(both, "ssh-add", "-L").stdout.splitlines()) == 2
        assert len(ask(single, "ssh-add", "-L").stdout.splitlines()) == 1
        found = os.stat(both)
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (uid, gid, 0o660)
        assert os.stat(single).st_mode & 0o777 == 0o600 and os.stat(run).st_mode & 0o777 == 0o700
        assert ssh.socket("one") == single
        with pytest.raises(NotFound, match="unset ssh forward key none"):
            ssh.need("none")


def test_messages_that_are_nonsense(tmp_path: Path, directory: Path) -> None:
    with Ssh([f"default={key_file(tmp_path, 'rsa')}"], str(directory / "run")) as ssh:
        public = ssh._keyrings["default"].identities()[0][0]
        sha1 = b"\x0d" + struct.pack(">I", len(public)) + public + struct.pack(">I", 1) + b"x" + bytes(4)
        for message in (b"\x0d", b"\x0d\xff\xff\xff\xff", b"\x0d" + bytes(12), b"\xc8", b"\x11abc", sha1):
            assert exchange(ssh.need(""), message) == b"\x05", message
        for raw in (bytes(4), b"\xff\xff\xff\xff", b"\0\0"):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(ssh.need(""))
                peer.sendall(raw)
                peer.shutdown(socket.SHUT_WR)
                assert peer.recv(10) == b""
        # and it still works
        assert exchange(ssh.need(""), b"\x0b")[:5] == b"\x0c\0\0\0\x01"


def exchange(path: str, message: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(path)
        peer.sendall(struct.pack(">I", len(message)) + message)
        head = peer.recv(4, socket.MSG_WAITALL)
        return peer.recv(struct.unpack(">I", head)[0], socket.MSG_WAITALL)


def test_more_clients_than_there_is_room_for(tmp_path: Path, directory: Path) -> None:
    with Ssh([f"default={key_file(tmp_path, 'ed25519')}"], str(directory / "run")) as ssh:
        idle = []
        for _ in range(70):
            idle.append(socket.socket(socket.AF_UNIX))
            idle[-1].connect(ssh.need(""))
        for peer in idle:
            peer.close()
        assert ask(ssh.need(""), "ssh-add", "-l").returncode == 0


def test_what_cannot_be_forwarded(tmp_path: Path, directory: Path) -> None:
    plain, hidden = key_file(tmp_path, "rsa"), key_file(tmp_path, "ed25519", password=b"hunter2")
    (tmp_path / "text").write_text("no key")
    dead = str(directory / "dead")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(dead)
    cases: list[tuple[str, type[PydError], str]] = [
        ("default", InvalidArgument, "make sure SSH_AUTH_SOCK is set"),
        ("a=/no/such", NotFound, "stat /no/such: no such file or directory"),
        (f"a={tmp_path}/text", InvalidArgument, "failed to parse .*/text"),
        (f"a={hidden}", NotSupported, "passphrase protected"),
        (f"a={dead},{dead}", InvalidArgument, "only single socket allowed"),
        (f"a={dead},{plain}", InvalidArgument, "invalid combination of keys and sockets"),
        (f"a={dead}", Unavailable, "failed to connect to the ssh agent"),
    ]
    for text, error, message in cases:
        with pytest.raises(error, match=message):
            Ssh([text], str(directory / "run"), {})
    with pytest.raises(InvalidArgument, match='duplicate agent ID "default"'):
        Ssh([f"default={plain}", f"={plain}"], str(directory / "run"), {})


def test_grammar_of_ssh() -> None:
    assert (parse_ssh("default").id, parse_ssh("default").paths) == ("default", ())
    assert parse_ssh("a=/x,/y").paths == ("/x", "/y")
    assert parse_ssh("=/x").id == "default"
