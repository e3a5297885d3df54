"""The engines by the names that --engine takes, in the order of the tables."""

from __future__ import annotations

from benches.engines.base import Engine, Place
from benches.engines.buildah import Buildah
from benches.engines.commands import Docker, DockerBuildKit, Podman, Pyd
from benches.engines.containerd import Ctr
from benches.engines.floor import Floor, FloorOverlay, FloorParked, FloorPull, FloorV2
from benches.engines.library import Library, LibraryProcess
from benches.engines.runtimes import (
    Bwrap,
    Crun,
    Nsenter,
    PydRuntime,
    PydRuntimeFilter,
    PydRuntimeV2,
    Runc,
    RuncV2,
    Youki,
)
from benches.engines.skopeo import Skopeo
from benches.programs import Unavailable

_ORDER: tuple[type[Engine], ...] = (
    *(Floor, Bwrap, Nsenter, PydRuntime, PydRuntimeFilter, Crun, Youki, Runc),
    *(FloorV2, PydRuntimeV2, RuncV2),
    *(FloorOverlay, FloorPull, Pyd, Podman, Buildah, Docker, DockerBuildKit, Skopeo, Ctr),
    *(FloorParked, Library, LibraryProcess),
)
ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in _ORDER}
SUBJECTS = {"runtime": "pyd-runtime", "v2": "pyd-runtime-v2", "command": "pyd", "library": "engine"}
"""level -> the engine whose ratio to each of the others is given."""

__all__ = ["ENGINES", "SUBJECTS", "Engine", "Place", "Unavailable"]
