"""Access tokens that Debian's docker-registry believes: signed JWTs (distribution's spec/auth/jwt)."""

from __future__ import annotations

import base64
import datetime
import json
import secrets
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from tests.support.registry import TOKEN

ISSUER, SERVICE = "tests", "svc"


class Signer:
    """Makes tokens that hold what was asked for; `config(realm)` is for the registry that believes them."""

    def __init__(self, directory: Path) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        today = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(today - datetime.timedelta(1))
            .not_valid_after(today + datetime.timedelta(30))
            .sign(self._key, hashes.SHA256())
        )
        self._der = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
        self._bundle = directory / "bundle.pem"
        self._bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.issued: list[str] = []

    def config(self, realm: str) -> str:
        return TOKEN.format(realm=realm, service=SERVICE, issuer=ISSUER, bundle=self._bundle)

    def __call__(self, scopes: list[str]) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": SERVICE,
            "sub": "me",
            "nbf": now - 10,
            "iat": now,
            "exp": now + 300,
            "jti": secrets.token_hex(8),
            "access": [_access(scope) for scope in scopes],
        }
        signed = f"{_text({'typ': 'JWT', 'alg': 'RS256', 'x5c': [self._der]})}.{_text(claims)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        self.issued.append(f"{signed}.{_base64(signature)}")
        return self.issued[-1]


def _access(scope: str) -> dict[str, Any]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    return {"type": kind, "name": name, "actions": actions.split(",")}


def _text(value: object) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
