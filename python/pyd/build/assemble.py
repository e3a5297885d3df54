"""From the state of the target stage to the image config, in bytes that depend on nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pyd.build.result import Built, State
from pyd.build.stage import created
from pyd.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# of a base's document what the new image has too; "container" and the like say how the base was made
_INHERITED = ("os.version", "os.features")


def built(
    state: State, *, epoch: int, labels: Mapping[str, str], materials: Sequence[tuple[str, str]]
) -> Built:
    config = {key: value for key, value in state.config.items() if value not in (None, "", [], {})}
    if labels:
        config["Labels"] = {**(config.get("Labels") or {}), **labels}
    document: dict[str, Any] = {
        "created": created(epoch),
        **({"author": state.author} if state.author else {}),
        **_platform(state.platform),
        **{key: state.base[key] for key in _INHERITED if state.base.get(key)},
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in state.layers]},
        "history": list(state.history),
    }
    data = json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    return Built(state.platform, state.layers, data, state.manifest, tuple(materials))


def _platform(platform: Platform) -> dict[str, str]:
    return {
        "architecture": platform.architecture,
        "os": platform.os,
        **({"variant": platform.variant} if platform.variant else {}),
    }
