"""The time that a build takes for now: SOURCE_DATE_EPOCH (reproducible-builds.org), or one that never
changes.
"""

from __future__ import annotations

import os

from pyd.build.layers import EPOCH
from pyd.build.request import BuildRequest
from pyd.errors import InvalidArgument

_LAST = 253402300799  # 9999-12-31: what RFC 3339 can say
NAME = "SOURCE_DATE_EPOCH"


def of(request: BuildRequest) -> int:
    """Seconds since 1970: of the request, a build argument, the environment, or EPOCH."""
    if request.epoch is not None:
        return _checked(str(request.epoch))
    text = request.build_args.get(NAME) or os.environ.get(NAME) or ""
    return _checked(text) if text else EPOCH


def _checked(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12 or int(text) > _LAST:
        raise InvalidArgument(f"invalid {NAME} {text!r}: seconds since 1970, a whole number")
    return int(text)
