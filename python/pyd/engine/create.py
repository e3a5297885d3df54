"""Making a container: a row, a directory and its volumes. Nothing runs yet."""

from __future__ import annotations

import os

from pyd.engine import describe, mountpoints, names, networking
from pyd.engine.options import ContainerOptions, Created
from pyd.errors import Conflict, InvalidArgument, from_os_error
from pyd.record import replace
from pyd.runtime import users
from pyd.store import ContainerRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine
    from pyd.store.images import Image

_NAME_ATTEMPTS = 20


def create(engine: Engine, options: ContainerOptions) -> Created:
    container_id = names.new_id()
    if options.name:
        options = replace(options, name=names.check_name(options.name))
    image = None if options.rootfs else engine.image(options.image, options.pull, options.platform)
    rootfs = parse_rootfs(options.rootfs) if options.rootfs else None
    defaults = image.config.defaults if image else None
    config = describe.config(options, defaults, container_id[:12])
    host, warnings = describe.host_config(options)
    if options.mac_address:
        config["MacAddress"] = options.mac_address
    _check_joins(engine, host)
    networking.check(config, host, options.hostname)
    _check_user(config["User"], options.groups)
    requests = mountpoints.requested(engine, options, list(config["Volumes"] or ()))
    mountpoints.check_binds(requests)
    points = mountpoints.ensure_volumes(engine, requests)
    # pyd's own part of HostConfig; `inspect` shows it in Docker's places
    host["pyd"] = {"mounts": points, "rootfs": rootfs, "platform": options.platform}
    record = ContainerRecord(
        id=container_id,
        name=options.name,
        image_ref=options.image or options.rootfs,
        image_id=str(image.id) if image else "",
        layers=tuple(str(layer) for layer in image.layers) if image else (),
        volumes=tuple(point["Name"] for point in points if point["Type"] == "volume"),
        config=config,
        host=host,
        auto_remove=options.remove,
    )
    record = insert(engine, record)
    try:
        _make_directory(engine, record)
        if points:
            mountpoints.populate(engine, points, _readable_layers(engine, image, rootfs))
    except BaseException:
        engine.discard(record)
        raise
    return Created(record.id, record.name, tuple(warnings))


def insert(engine: Engine, record: ContainerRecord) -> ContainerRecord:
    if record.name:
        engine.store.containers.insert(record)
        return record
    for attempt in range(_NAME_ATTEMPTS):
        record = replace(record, name=names.random_name(attempt))
        try:
            engine.store.containers.insert(record)
        except Conflict:
            if attempt == _NAME_ATTEMPTS - 1:
                raise
        else:
            return record
    raise AssertionError("not reached")


def _make_directory(engine: Engine, record: ContainerRecord) -> None:
    path = engine.config.paths.container(record.id)
    try:
        try:
            os.mkdir(path, 0o710)
        except FileNotFoundError:
            engine.config.paths.make()
            os.mkdir(path, 0o710)
        os.mkdir(f"{path}/diff", 0o755)
        os.mkdir(f"{path}/work", 0o700)
        if not record.auto_remove:
            # the row says that the directory is there: it must survive a power cut as the row does
            for directory in (path, engine.config.paths.containers):
                fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
    except OSError as error:
        raise from_os_error(error, f"making {path}") from error


def parse_rootfs(text: str) -> dict[str, Any]:
    """DIR[:O] to {"path", "overlay"}."""
    path, colon, mode = text.rpartition(":")
    if not colon or "/" in mode:
        path, mode = text, ""
    if mode not in ("", "O"):
        raise InvalidArgument(f"invalid --rootfs {text!r}: the only option is O (throw-away upper layer)")
    path = os.path.abspath(path)
    if not os.path.isdir(path):
        raise InvalidArgument(
            f"--rootfs {path}: no such directory", "give a directory that holds a root file system"
        )
    return {"path": path, "overlay": mode == "O"}


def _readable_layers(engine: Engine, image: Image | None, rootfs: dict[str, Any] | None) -> list[str]:
    if rootfs:
        return [rootfs["path"]]
    assert image is not None
    return engine.store.snapshots.lower_dirs(image.layers)


def _check_user(user: str, groups: tuple[str, ...]) -> None:
    """Refuse numbers out of range before anything is made; names are looked up at the start."""
    for part in (*user.split(":", 1), *groups):
        users.parse_id(part)


def _check_joins(engine: Engine, host: dict[str, Any]) -> None:
    """The containers of `container:x` exist; their ids are kept, since a name can go to another."""
    for key in ("NetworkMode", "PidMode"):
        if host[key].startswith("container:") and host[key] != "container:":
            host[key] = f"container:{engine.store.containers.get(host[key].partition(':')[2]).id}"
