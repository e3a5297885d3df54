"""What front doors need of a build besides the engine: what they ask, what they are told, what they get."""

from __future__ import annotations

from pyd.build.events import Step as Step
from pyd.build.events import Watcher as Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.build.request import BuildRequest as BuildRequest
    from pyd.build.result import BuildResult as BuildResult


def __getattr__(name: str) -> Any:
    """Those that are made with dataclasses only when somebody makes one."""
    if name == "BuildRequest":
        from pyd.build.request import BuildRequest

        return BuildRequest
    raise AttributeError(f"module 'pyd.engine.build_values' has no attribute {name!r}")
