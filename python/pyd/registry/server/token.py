"""Bearer tokens: JSON Web Tokens with an `access` claim (distribution.github.io/distribution/spec/auth/jwt).

The registry signs its own with an Ed25519 key that it makes at first use. With a key of somebody else's it
takes theirs (EdDSA, ES256, RS256), and never what a token says about its own algorithm.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyd.errors import InvalidArgument, from_os_error

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey

LIFETIME = 300  # seconds; what a user may do is asked again that often
_LEEWAY = 30  # seconds by which another server's clock may differ
_MAX = 16384


class InvalidToken(Exception):
    """The message says what is wrong, for the client."""


@dataclass(frozen=True, slots=True)
class Claims:
    user: str | None
    access: dict[tuple[str, str], frozenset[str]]  # (type, name) -> actions

    def allowed(self, kind: str, name: str) -> frozenset[str]:
        return self.access.get((kind, name), frozenset())


class Signer:
    """Makes tokens with the key in `path`, which is made when it is not there."""

    def __init__(self, path: str, service: str) -> None:
        self.service = service
        self._key = _load_or_make(path)

    def sign(self, user: str | None, access: list[dict[str, Any]], now: float) -> str:
        claims = {
            "iss": self.service,
            "sub": user or "",
            "aud": self.service,
            "exp": int(now) + LIFETIME,
            "nbf": int(now) - _LEEWAY,
            "iat": int(now),
            "jti": os.urandom(12).hex(),
            "access": access,
        }
        head = _encode(json.dumps({"typ": "JWT", "alg": "EdDSA"}).encode())
        body = f"{head}.{_encode(json.dumps(claims).encode())}"
        return f"{body}.{_encode(self._key.sign(body.encode()))}"

    @property
    def verifier(self) -> Verifier:
        return Verifier(self._key.public_key(), self.service, self.service)


class Verifier:
    """`issuer`: whose tokens are taken; None for whoever holds the key."""

    def __init__(self, key: PublicKey, service: str, issuer: str | None) -> None:
        self._key = key
        self._service = service
        self._issuer = issuer

    @classmethod
    def from_file(cls, path: str, service: str, issuer: str | None) -> Verifier:
        """`path`: a PEM file with a public key or a certificate."""
        return cls(_public_key(path), service, issuer)

    def verify(self, token: str) -> Claims:
        """Raises InvalidToken."""
        parts = token.split(".")
        if len(token) > _MAX or len(parts) != 3:
            raise InvalidToken("not a token")
        try:
            head = json.loads(_decode(parts[0]))
            claims = json.loads(_decode(parts[1]))
            signature = _decode(parts[2])
        except (ValueError, RecursionError):
            raise InvalidToken("not a token") from None
        if not isinstance(head, dict) or not isinstance(claims, dict):
            raise InvalidToken("not a token")
        if not _is_signed(self._key, head.get("alg"), signature, f"{parts[0]}.{parts[1]}".encode()):
            raise InvalidToken("the signature is not valid")
        return self._check(claims)

    def _check(self, claims: dict[str, Any]) -> Claims:
        now = time.time()
        ends, begins = claims.get("exp"), claims.get("nbf", 0)
        if not isinstance(ends, int | float) or not isinstance(begins, int | float):
            raise InvalidToken("the token has no end")
        if now > ends or now < begins - _LEEWAY:
            raise InvalidToken("the token has expired")
        audience = claims.get("aud")
        if self._service not in (audience if isinstance(audience, list) else [audience]):
            raise InvalidToken("the token is for another service")
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise InvalidToken("the token is of another issuer")
        access: dict[tuple[str, str], frozenset[str]] = {}
        entries = claims.get("access")
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and isinstance(entry.get("actions"), list):
                key = str(entry.get("type")), str(entry.get("name"))
                access[key] = access.get(key, frozenset()) | {str(action) for action in entry["actions"]}
        user = claims.get("sub")
        return Claims(user if isinstance(user, str) and user else None, access)


def _is_signed(key: PublicKey, algorithm: Any, signature: bytes, data: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    with contextlib.suppress(InvalidSignature):
        if isinstance(key, ed25519.Ed25519PublicKey) and algorithm == "EdDSA":
            key.verify(signature, data)
            return True
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm == "ES256" and len(signature) == 64:
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            key.verify(encode_dss_signature(r, s), data, ec.ECDSA(SHA256()))
            return True
        if isinstance(key, rsa.RSAPublicKey) and algorithm == "RS256":
            key.verify(signature, data, padding.PKCS1v15(), SHA256())
            return True
    return False


def _public_key(path: str) -> PublicKey:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise from_os_error(error, f"reading {path}") from error
    try:
        if b"CERTIFICATE" in data:
            key: object = x509.load_pem_x509_certificate(data).public_key()
        else:
            key = load_pem_public_key(data)
    except ValueError as error:
        raise InvalidArgument(f"{path} holds no public key: {error}") from None
    if not isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise InvalidArgument(f"{path} holds a key of an unknown kind", "use Ed25519, P-256 or RSA")
    return key


def _load_or_make(path: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    try:
        if not os.path.exists(path):
            made = Ed25519PrivateKey.generate()
            data = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            temporary = f"{path}.{os.urandom(6).hex()}"
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
            os.unlink(temporary)
        with open(path, "rb") as file:
            key = load_pem_private_key(file.read(), None)
    except OSError as error:
        raise from_os_error(error, f"opening {path}") from error
    except ValueError as error:
        raise InvalidArgument(f"{path} holds no private key: {error}", f"remove {path}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidArgument(f"{path} does not hold an Ed25519 key", f"remove {path}")
    return key


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
