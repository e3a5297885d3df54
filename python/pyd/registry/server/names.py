"""Names as the distribution spec writes them. What passes here may become part of a path or of an SQL value;
nothing else ever does.
"""

from __future__ import annotations

import re
from hashlib import sha256, sha512

from pyd.registry.server.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import _Hash

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)
_MAX_REPOSITORY = 255
ALGORITHMS = ("sha256", "sha512")


def check_repository(name: str) -> str:
    if len(name) > _MAX_REPOSITORY or not _REPOSITORY.fullmatch(name):
        raise Problem(400, "NAME_INVALID", "invalid repository name", {"name": name[:300]})
    return name


def check_tag(tag: str) -> str:
    if not _TAG.fullmatch(tag):
        raise Problem(400, "TAG_INVALID", "invalid tag", {"tag": tag[:200]})
    return tag


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def check_digest(text: str) -> str:
    """sha256 or sha512, lower-case hex of the right length: it becomes the name of a file (CVE-2024-3727)."""
    if not _DIGEST.fullmatch(text):
        raise Problem(
            400, "DIGEST_INVALID", "invalid digest: only sha256 and sha512 are known", {"digest": text[:200]}
        )
    return text


def hasher(algorithm: str) -> _Hash:
    return sha512() if algorithm == "sha512" else sha256()


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    value = hasher(algorithm)
    value.update(data)
    return f"{algorithm}:{value.hexdigest()}"
