"""The environment of a process: what it inherits, and what the user gave."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pyd.errors import InvalidArgument


def environment(given: Sequence[str], image: Sequence[str]) -> list[str]:
    """The image's entries, then the user's; "NAME" without a value copies the caller's and "NAME=" is
    empty.
    """
    values = {entry.partition("=")[0]: entry for entry in image}
    for entry in given:
        name, equals, _ = entry.partition("=")
        if not name or "\0" in entry:
            raise InvalidArgument(f"invalid environment variable: {entry}")
        if equals:
            values[name] = entry
        elif name in os.environ:
            values[name] = f"{name}={os.environ[name]}"
        else:
            values.pop(name, None)
    return list(values.values())
