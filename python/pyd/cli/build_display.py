"""Which display a build gets."""

from __future__ import annotations

import os
import sys

from pyd.cli.build_trace import Display
from pyd.cli.command import UsageError

MODES = ("auto", "plain", "tty", "rawjson", "quiet", "none")


def mode(progress: str | None, quiet: bool) -> str:
    """One of MODES but auto: of --progress, else of BUILDKIT_PROGRESS. Raises UsageError."""
    wanted = progress or "auto"
    if quiet:
        if wanted not in ("auto", "quiet"):
            raise UsageError(f"progress={wanted} and quiet cannot be used together", exit_code=1)
        return "quiet"
    if wanted == "auto":
        wanted = os.environ.get("BUILDKIT_PROGRESS") or "auto"
    if wanted not in MODES:
        raise UsageError(f"invalid progress mode {wanted}: one of {', '.join(MODES)}", exit_code=1)
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    if wanted == "tty":
        if not sys.stderr.isatty():
            raise UsageError(
                "failed to get console: standard error is no terminal: leave out --progress=tty", exit_code=1
            )
        return "plain" if dumb else "tty"
    if wanted == "auto":
        return "tty" if sys.stderr.isatty() and not dumb else "plain"
    return wanted


def display(mode: str, *, explain: bool = False) -> Display:
    """On stderr. Each display is imported only when it is wanted."""
    debug = bool(os.environ.get("PYD_DEBUG"))
    made: type[Display]
    if mode == "tty":
        from pyd.cli.build_tty import Tty as made
    elif mode == "rawjson":
        from pyd.cli.build_rawjson import RawJson as made
    elif mode == "plain":
        from pyd.cli.build_plain import Plain as made
    else:
        from pyd.cli.build_quiet import Quiet as made
    return made(explain=explain, debug=debug)
