"""Bytes that only a key opens: AES-256-GCM, the key made by scrypt from what the user has.

    pyd-sealed 1 scrypt 15 8 3 <salt, base64>\\n   the header; authenticated too
    <nonce, 12 bytes> <ciphertext and tag>

Source: RFC 5116 (AEAD; nonces are random, so a key is good for 2^32 writes), RFC 7914 (scrypt; the parameters
are one of OWASP's: 32 MiB and about 0.2 s).
"""

from __future__ import annotations

import base64
import hashlib
import os
import re

from pyd.errors import CorruptData, InvalidArgument
from pyd.record import Record

_HEADER = re.compile(rb"pyd-sealed 1 scrypt (\d{1,2}) (\d{1,2}) (\d{1,2}) ([A-Za-z0-9+/]{22}==)\n", re.ASCII)
_NONCE = 12


class Lock(Record):
    """How a key is made of a secret: the public half, at the head of the file."""

    salt: bytes
    power: int = 15  # of two: scrypt's N
    blocks: int = 8  # r
    lanes: int = 3  # p

    @classmethod
    def new(cls) -> Lock:
        return cls(os.urandom(16))

    @classmethod
    def read(cls, data: bytes) -> Lock:
        """From the head of sealed data. Raises CorruptData."""
        match = _HEADER.match(data)
        if not match:
            raise CorruptData("it is not a sealed file of pyd")
        power, blocks, lanes = (int(match[number]) for number in (1, 2, 3))
        # who can write the file must not make us use all memory: at most 128 MiB
        if not (10 <= power <= 17 and blocks == 8 and 1 <= lanes <= 16):
            raise CorruptData("its header asks for more work than is sensible")
        lock = cls(base64.b64decode(match[4]), power, blocks, lanes)
        if lock.header != match[0]:  # base64 and numbers have several spellings, one of which is sealed
            raise CorruptData("it is not a sealed file of pyd")
        return lock

    @property
    def header(self) -> bytes:
        salt = base64.b64encode(self.salt).decode()
        return f"pyd-sealed 1 scrypt {self.power} {self.blocks} {self.lanes} {salt}\n".encode()

    def key(self, secret: bytes) -> bytes:
        """32 bytes."""
        return hashlib.scrypt(
            secret, salt=self.salt, n=1 << self.power, r=self.blocks, p=self.lanes, maxmem=256 << 20, dklen=32
        )


def seal(lock: Lock, key: bytes, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE)
    return lock.header + nonce + AESGCM(key).encrypt(nonce, data, lock.header)


def unseal(lock: Lock, key: bytes, sealed: bytes) -> bytes:
    """Raises InvalidArgument when the key is another, or a bit of the file is."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    body = sealed[len(lock.header) :]
    try:
        return AESGCM(key).decrypt(body[:_NONCE], body[_NONCE:], lock.header)
    except (InvalidTag, ValueError):
        raise InvalidArgument("wrong key or passphrase, or the file was changed") from None
