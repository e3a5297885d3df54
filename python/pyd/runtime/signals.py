"""Names and numbers of signals as people give them."""

from __future__ import annotations

import re
import signal as _signal

from pyd.errors import InvalidArgument

_RTMIN, _RTMAX = 34, 64


def signal_number(text: str) -> int:
    """ "KILL", "SIGKILL", "9", "RTMIN+1". Raises InvalidArgument."""
    name = text.strip().upper()
    if name.isascii() and name.isdigit():
        if 1 <= int(name) <= _RTMAX:
            return int(name)
        raise InvalidArgument(f"invalid signal: {text}")
    name = name.removeprefix("SIG")
    match = re.fullmatch(r"RTM(IN|AX)([+-]\d+)?", name)
    if match:
        number = (_RTMIN if match[1] == "IN" else _RTMAX) + int(match[2] or 0)
        if _RTMIN <= number <= _RTMAX:
            return number
    found = getattr(_signal, f"SIG{name}", None)
    if not isinstance(found, _signal.Signals):
        raise InvalidArgument(f"invalid signal: {text}")
    return int(found)
