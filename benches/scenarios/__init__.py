"""One module per scenario; `SCENARIOS` in the order in which `all` runs them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from benches.bench import Bench, Cases
from benches.scenarios import (
    build,
    changes,
    density,
    exec,
    imports,
    memory,
    parallel,
    pull,
    push,
    save,
    split,
    start,
    unpack,
)

_MODULES: tuple[ModuleType, ...] = (
    *(start, split, exec, parallel, density, memory),
    *(unpack, pull, push, save, changes, build, imports),
)
SCENARIOS: dict[str, Callable[[Bench], Cases]] = {
    module.__name__.rpartition(".")[2]: module.measure for module in _MODULES
}
PURPOSE: dict[str, str] = {
    name: " ".join(str(module.__doc__).partition("\n\n")[0].split())
    for name, module in zip(SCENARIOS, _MODULES, strict=True)
}
"""The first paragraph of each module."""
