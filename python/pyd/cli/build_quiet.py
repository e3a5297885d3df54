"""`--quiet`, `--progress=quiet`, `--progress=none`: nothing, until a step fails."""

from __future__ import annotations

from pyd.cli.build_trace import Display


class Quiet(Display):
    """Shows the last output of a step that has failed, and no warnings."""

    def summary(self) -> str:
        return ""
