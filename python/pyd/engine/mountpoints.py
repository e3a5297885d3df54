"""The mounts of a new container: which there are, the volumes behind them, and their first contents."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pyd.engine import names
from pyd.engine.options import ContainerOptions
from pyd.errors import InvalidArgument, from_os_error
from pyd.runtime import mounts
from pyd.store import VolumeRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine

Mount = dict[str, "Any"]


def requested(engine: Engine, options: ContainerOptions, image_volumes: Sequence[str]) -> list[Mount]:
    """All mount requests in order of precedence; an image's VOLUME gives way to a mount on the same path."""
    own = [mounts.parse_volume(text, options.volume_driver) for text in options.volumes]
    own += [mounts.parse_mount(text) for text in options.mounts]
    own += [mounts.parse_tmpfs(text) for text in options.tmpfs]
    own = mounts.unique(own)
    taken = {mount["Destination"] for mount in own}
    for text in options.volumes_from:
        for mount in _volumes_of(engine, text):
            if mount["Destination"] not in taken:
                taken.add(mount["Destination"])
                own.append(mount)
    for path in image_volumes:
        if path not in taken:
            own.append(mounts.parse_volume(path))
    for mount in own:
        if mount["Type"] == "volume" and mount["Driver"] not in ("", "local"):
            raise InvalidArgument(
                f'error looking up volume plugin {mount["Driver"]}: plugin "{mount["Driver"]}" not found',
                "pyd has the local driver only",
            )
    return own


def _volumes_of(engine: Engine, text: str) -> list[Mount]:
    name, _, mode = text.partition(":")
    if mode not in ("", "ro", "rw", "z", "Z"):
        raise InvalidArgument(f"invalid mode: {mode}")
    other = engine.store.containers.get(name)
    result = []
    for mount in other.host["pyd"]["mounts"]:
        copy = {**mount, "NoCopy": True}
        if mode == "ro":
            copy["RW"] = False
        if mount["Type"] == "volume":
            copy["Source"] = mount["Name"]
        if mount["Type"] != "tmpfs":
            result.append(copy)
    return result


def check_binds(requests: Sequence[Mount]) -> None:
    """Make what -v may make, refuse what --mount must find."""
    for mount in requests:
        if mount["Type"] != "bind":
            continue
        source = mount["Source"]
        try:
            if mount.get("MakeSource"):
                if not os.path.lexists(source):
                    os.makedirs(source, 0o755, exist_ok=True)
            else:
                os.stat(source)
        except FileNotFoundError:
            raise InvalidArgument(
                f'invalid mount config for type "bind": bind source path does not exist: {source}',
                "create it, or use -v, which creates a directory",
            ) from None
        except OSError as error:
            raise from_os_error(error, f"mounting {source}") from error


def ensure_volumes(engine: Engine, requests: Sequence[Mount]) -> list[Mount]:
    """The mount points of the container: every volume exists and has its name and host path."""
    points = []
    for mount in requests:
        point = dict(mount)
        if mount["Type"] == "volume":
            anonymous = not mount["Source"]
            record = VolumeRecord(
                name=mount["Source"] or names.new_id(), labels=mount.get("Labels") or {}, anonymous=anonymous
            )
            record = engine.store.volumes.ensure(record)
            path = engine.config.paths.volume(record.name)
            point.update(Name=record.name, Source=path)
            if mount.get("Subpath"):
                point["Subpath"] = _subpath(path, mount["Subpath"])
        points.append(point)
    return points


def _subpath(volume: str, subpath: str) -> str:
    """The cleaned path, looked for now so that a wrong one is refused early.

    Whoever has the volume can make a link of it later: the runtime resolves it again, inside the volume.
    """
    clean = os.path.normpath(subpath)
    if os.path.isabs(clean) or clean.startswith(".."):
        raise InvalidArgument(f"invalid volume-subpath {subpath!r}: it must be a path inside the volume")
    path = os.path.realpath(f"{volume}/{clean}")
    if not f"{path}/".startswith(f"{os.path.realpath(volume)}/") or not os.path.exists(path):
        raise InvalidArgument(f"cannot access path {subpath} in the volume: no such file or directory")
    return clean


def populate(engine: Engine, points: Sequence[Mount], layers: Sequence[str]) -> None:
    """Fill new volumes with what the image has at their place: on first use, and only if they are empty."""
    for point in points:
        if point["Type"] != "volume" or point.get("NoCopy") or point.get("Subpath"):
            continue
        if engine.store.volumes.get(point["Name"]).populated:
            continue
        from pyd.runtime import copyup

        with engine.store.lock(f"volume-{point['Name']}"):
            if engine.store.volumes.get(point["Name"]).populated:
                continue  # another container was first while we waited
            copyup.copy(layers, point["Destination"], point["Source"])
            engine.store.volumes.set_populated(point["Name"])
