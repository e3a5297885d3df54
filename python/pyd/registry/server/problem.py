"""What a client is told when a request fails: an error document (distribution spec, "Error Codes")."""

from __future__ import annotations

import errno
import json
from typing import Any

from pyd.errors import KernelError


class Problem(Exception):
    """`code` is one of the spec's; `headers` go with the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        detail: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.headers = headers or {}

    @property
    def document(self) -> bytes:
        error = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return json.dumps({"errors": [error]}).encode()


def of_kernel_error(error: OSError | KernelError) -> Problem:
    """A disk that is full is the operator's business, but the client must know that trying again is no
    use.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem(507, "DENIED", "the registry's disk is full")
    return Problem(500, "UNKNOWN", "the registry cannot read or write its storage")


def blob_unknown(digest: str) -> Problem:
    return Problem(404, "BLOB_UNKNOWN", "blob unknown to registry", {"digest": digest})


def manifest_unknown(name: str, reference: str) -> Problem:
    return Problem(404, "MANIFEST_UNKNOWN", "manifest unknown", {"name": name, "reference": reference[:200]})


def name_unknown(name: str) -> Problem:
    return Problem(404, "NAME_UNKNOWN", "repository name not known to registry", {"name": name})


def upload_unknown(session: str) -> Problem:
    return Problem(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", {"uuid": session[:100]})


def unsupported(what: str) -> Problem:
    return Problem(405, "UNSUPPORTED", what)
