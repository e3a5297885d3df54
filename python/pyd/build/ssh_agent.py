"""An ssh agent for the time of a build: it lists keys and signs, and does nothing else.

Protocol: draft-ietf-sshm-ssh-agent (OpenSSH's PROTOCOL.agent), keys and signatures: RFC 4253, 5656, 8332 and
8709. Keys come from files, or from the user's own agent, which is asked the same two questions only: what
runs in a build must not remove keys from it, add some, or lock it.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import struct
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from pyd.errors import InvalidArgument, NotSupported, Unavailable, from_os_error

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    Key = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_FAILURE, _REQUEST_IDENTITIES, _IDENTITIES, _SIGN_REQUEST, _SIGN_RESPONSE = 5, 11, 12, 13, 14
_RSA_SHA2_256, _RSA_SHA2_512 = 2, 4  # flags
_MOST = 256 << 10  # bytes of a message, as in OpenSSH
_MAX_KEY_FILE = 100 << 10  # bytes
_CONNECTIONS = 64
_SECONDS = 60.0  # that the user's agent may take: it may ask him

Identity = tuple[bytes, bytes]  # public key as ssh writes it, comment


class Keyring(Protocol):
    def identities(self) -> list[Identity]: ...

    def sign(self, public: bytes, data: bytes, flags: int) -> bytes | None:
        """None: it has no such key, or will not."""


class KeyFiles:
    """Private keys in files: ed25519, ECDSA (nistp256, 384, 521), RSA with SHA-2; OpenSSH's format and
    PEM.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._keys: dict[bytes, tuple[Key, str]] = {}
        for path in paths:
            key = _load(path)
            self._keys[_public(key)] = key, os.path.basename(path)

    def identities(self) -> list[Identity]:
        return [(public, os.fsencode(name)) for public, (_, name) in self._keys.items()]

    def sign(self, public: bytes, data: bytes, flags: int) -> bytes | None:
        found = self._keys.get(public)
        return _signature(found[0], data, flags) if found is not None else None


class Forwarded:
    """The keys of another agent, at the socket `path`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def identities(self) -> list[Identity]:
        kind, rest = self._ask(struct.pack(">B", _REQUEST_IDENTITIES))
        if kind != _IDENTITIES or len(rest) < 4:
            return []
        found, at = [], 4
        for _ in range(struct.unpack(">I", rest[:4])[0]):
            public, at = _string(rest, at)
            comment, at = _string(rest, at)
            found.append((public, comment))
        return found

    def sign(self, public: bytes, data: bytes, flags: int) -> bytes | None:
        kind, rest = self._ask(
            struct.pack(">B", _SIGN_REQUEST) + _packed(public) + _packed(data) + struct.pack(">I", flags)
        )
        return _string(rest, 0)[0] if kind == _SIGN_RESPONSE else None

    def _ask(self, message: bytes) -> tuple[int, bytes]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as other:
            other.settimeout(_SECONDS)
            other.connect(self._path)
            other.sendall(_packed(message))
            answer = _receive(other)
        return (answer[0], answer[1:]) if answer else (_FAILURE, b"")


class Agent:
    """Serves `keyring` at a new socket `path` until `close`."""

    def __init__(self, keyring: Keyring, path: str) -> None:
        self._keyring = keyring
        self._path = path
        self._room = threading.BoundedSemaphore(_CONNECTIONS)
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.bind(path)
            os.chmod(path, 0o600)
            self._socket.listen(_CONNECTIONS)
        except OSError as error:
            self._socket.close()
            raise from_os_error(error, f"making the socket {path}") from error
        self._thread = threading.Thread(target=self._accept, name="ssh-agent", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            clients = list(self._clients)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with self._lock:
                if self._closed or not self._room.acquire(blocking=False):
                    client.close()
                    continue
                self._clients.add(client)
            threading.Thread(target=self._serve, args=(client,), name="ssh-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            while message := _receive(client):
                client.sendall(_packed(self._answer(message)))
        except OSError:
            pass
        finally:
            with self._lock:
                self._clients.discard(client)
            client.close()
            self._room.release()

    def _answer(self, message: bytes) -> bytes:
        try:
            if message[0] == _REQUEST_IDENTITIES:
                found = self._keyring.identities()
                entries = b"".join(_packed(public) + _packed(comment) for public, comment in found)
                return struct.pack(">BI", _IDENTITIES, len(found)) + entries
            if message[0] == _SIGN_REQUEST:
                public, at = _string(message, 1)
                data, at = _string(message, at)
                (flags,) = struct.unpack_from(">I", message, at)
                signature = self._keyring.sign(public, data, flags)
                if signature is not None:
                    return struct.pack(">B", _SIGN_RESPONSE) + _packed(signature)
        except (ValueError, struct.error, OSError):
            pass  # a message that is cut, or an agent that has gone
        return struct.pack(">B", _FAILURE)


def _load(path: str) -> Key:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_KEY_FILE)
    except OSError as error:
        raise from_os_error(error, f"failed to open {path}") from error
    openssh = b"BEGIN OPENSSH PRIVATE KEY" in data
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    try:
        key = load(data, None)
    except TypeError:
        raise NotSupported(
            f"failed to parse {path}: this private key is passphrase protected",
            "give it to an agent with ssh-add, and forward the agent: --ssh default",
        ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        # not its text, which may quote the file
        raise InvalidArgument(f"failed to parse {path}: it is no private key that pyd can read") from error
    if isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        return key
    raise NotSupported(f"failed to parse {path}: keys of type {type(key).__name__} are not supported")


def _public(key: Key) -> bytes:
    from cryptography.hazmat.primitives import serialization

    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return base64.b64decode(line.split()[1])


def _signature(key: Key, data: bytes, flags: int) -> bytes | None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, utils

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return _packed(b"ssh-ed25519") + _packed(key.sign(data))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        bits = key.curve.key_size
        digest = hashes.SHA256() if bits <= 256 else hashes.SHA384() if bits <= 384 else hashes.SHA512()
        r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return _packed(b"ecdsa-sha2-nistp%d" % bits) + _packed(_mpint(r) + _mpint(s))
    if flags & _RSA_SHA2_512:
        return _packed(b"rsa-sha2-512") + _packed(key.sign(data, padding.PKCS1v15(), hashes.SHA512()))
    if flags & _RSA_SHA2_256:
        return _packed(b"rsa-sha2-256") + _packed(key.sign(data, padding.PKCS1v15(), hashes.SHA256()))
    return None  # SHA-1


def check_agent(path: str) -> None:
    """Raises Unavailable unless somebody listens at the socket."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.settimeout(2)
            other.connect(path)
    except OSError as error:
        cause = os.strerror(error.errno).lower() if error.errno else "timed out"
        raise Unavailable(
            f"failed to connect to the ssh agent at {path}: {cause}", "start one with ssh-agent"
        ) from None


def _receive(peer: socket.socket) -> bytes:
    """One message; b"" at the end, or when it is longer than any may be."""
    head = _exactly(peer, 4)
    length = struct.unpack(">I", head)[0] if head else 0
    return _exactly(peer, length) if 0 < length <= _MOST else b""


def _exactly(peer: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = peer.recv(count - len(data))
        if not chunk:
            return b""
        data += chunk
    return bytes(data)


def _packed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """(the string at `at`, where it ends). Raises ValueError when it is cut."""
    (length,) = struct.unpack_from(">I", data, at)
    end = at + 4 + length
    if end > len(data):
        raise ValueError("cut")
    return data[at + 4 : end], end


def _mpint(number: int) -> bytes:
    return _packed(number.to_bytes(number.bit_length() // 8 + 1, "big"))
