"""pyd: a container platform for Linux that installs with pip.

from pyd import Engine

engine = Engine()
result = engine.run("busybox", ["echo", "hi"], network="none")
print(result.exit_code, result.stdout)
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd import errors
    from pyd.config import Config
    from pyd.engine.engine import Engine
    from pyd.engine.options import ContainerOptions, RunResult
    from pyd.errors import PydError

__version__ = "0.1.0"
__all__ = ["Config", "ContainerOptions", "Engine", "PydError", "RunResult", "__version__", "errors"]

# `import pyd` costs nothing: what is not used is not imported
_WHERE = {
    "Config": "pyd.config",
    "ContainerOptions": "pyd.engine.options",
    "Engine": "pyd.engine.engine",
    "PydError": "pyd.errors",
    "RunResult": "pyd.engine.options",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("pyd.errors")
    if name not in _WHERE:
        raise AttributeError(f"module 'pyd' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value
