"""Image references as Docker writes them: `ubuntu`, `host:5000/a/b:tag`, `name@sha256:...`.

Grammar: github.com/distribution/reference. The first component is a host only when it has a `.` or `:` or is
`localhost`; everything else is on Docker Hub.
"""

from __future__ import annotations

import re

from pyd.errors import CorruptData, InvalidArgument
from pyd.oci.digest import Digest
from pyd.record import Record, replace

HUB = "docker.io"
DEFAULT_TAG = "latest"
_MAX_NAME = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_IDENTIFIER = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Reference(Record):
    """A parsed image name. Without tag and digest it means a whole repository."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Raises InvalidArgument with Docker's wording."""
        if not text or len(text) > 600:
            raise InvalidArgument("invalid reference format")
        if _IDENTIFIER.fullmatch(text):
            raise InvalidArgument(
                f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )
        rest, digest = text, None
        if "@" in text:
            rest, _, digest_text = text.partition("@")
            try:
                digest = Digest.parse(digest_text)
            except CorruptData:
                raise InvalidArgument("invalid reference format") from None
        tag = None
        colon = rest.rfind(":")
        if colon > rest.rfind("/"):
            rest, tag = rest[:colon], rest[colon + 1 :]
            if not _TAG.fullmatch(tag):
                raise InvalidArgument("invalid reference format")
        domain, path = _split_domain(rest)
        # compiled for other registries only: half a millisecond
        is_domain = domain == HUB or re.fullmatch(_DOMAIN, domain, re.ASCII)
        if not is_domain or not all(_PATH.fullmatch(part) for part in path.split("/")):
            hint = ": repository name must be lowercase" if path != path.lower() else ""
            raise InvalidArgument(f"invalid reference format{hint}")
        if len(domain) + 1 + len(path) > _MAX_NAME:
            raise InvalidArgument(
                f"invalid reference format: repository name must not be more than {_MAX_NAME} characters"
            )
        return cls(domain, path, tag, digest)

    @property
    def repository(self) -> str:
        """The full name without tag and digest: docker.io/library/ubuntu."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """As Docker shows it: ubuntu, user/app, host:5000/a."""
        if self.domain != HUB:
            return self.repository
        return self.path.removeprefix("library/")

    @property
    def canonical(self) -> str:
        """The key of the store: the full name, with tag or digest. The digest wins over the tag."""
        return self.repository + self.suffix

    @property
    def familiar(self) -> str:
        return self.familiar_repository + self.suffix

    @property
    def suffix(self) -> str:
        if self.digest:
            return f"@{self.digest}"
        return f":{self.tag}" if self.tag else ""

    @property
    def is_name_only(self) -> bool:
        return self.tag is None and self.digest is None

    def with_default_tag(self) -> Reference:
        return replace(self, tag=DEFAULT_TAG) if self.is_name_only else self

    def at(self, digest: Digest) -> Reference:
        """The same repository, this digest."""
        return Reference(self.domain, self.path, None, digest)


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        domain, path = first, rest
    else:
        domain, path = HUB, name
    if domain in ("index.docker.io", HUB):
        domain = HUB
        if "/" not in path:
            path = f"library/{path}"
    return domain, path
