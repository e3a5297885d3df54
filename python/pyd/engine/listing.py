"""`ps`: the containers as rows, filtered as Docker filters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pyd.engine.filters import check_names, label_matches
from pyd.engine.inspect import mount, ports
from pyd.errors import InvalidArgument
from pyd.store import ContainerRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine

FILTERS = (
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
)
_STATES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")


def list_containers(
    engine: Engine, *, all: bool = False, last: int = 0, filters: Mapping[str, list[str]] | None = None
) -> list[dict[str, Any]]:
    """Rows, newest first. `last`: that many, running or not. Without `all` only those that run.

    Row: Id Names Image ImageID Command Created (RFC 3339) State ExitCode StartedAt FinishedAt Labels Mounts
    Networks Ports.
    """
    filters = filters or {}
    check_names(filters, FILTERS)
    tests = _tests(engine, filters)
    every = all or last > 0 or bool({"status", "exited", "before", "since"} & set(filters))
    rows = []
    records = list(engine.all_settled())
    engine.sweep_unknown({record.id for record in records})
    for record in records:
        if not every and record.state not in ("running", "paused"):
            continue
        if _passes(record, tests):
            rows.append(row(record))
            if last and len(rows) == last:
                break
    return rows


def _passes(record: ContainerRecord, tests: list[_Test]) -> bool:
    return all(test(record) for test in tests)


def row(record: ContainerRecord) -> dict[str, Any]:
    config = record.config
    return {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": record.image_ref or record.image_id,
        "ImageID": record.image_id,
        "Command": " ".join([*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]),
        "Created": record.created,
        "State": record.state,
        "ExitCode": record.exit_code,
        "StartedAt": record.started_at,
        "FinishedAt": record.finished_at,
        "Labels": config.get("Labels") or {},
        "Mounts": [mount(point) for point in record.host["pyd"]["mounts"]],
        "Networks": [record.host["NetworkMode"]],
        "Ports": ports(record),
    }


_Test = Callable[[ContainerRecord], bool]


def _tests(engine: Engine, filters: Mapping[str, list[str]]) -> list[_Test]:
    tests: list[_Test] = []
    for key, values in filters.items():
        if key in ("before", "since"):
            tests.append(_by_time(engine, key, values[-1]))
        elif key == "ancestor":
            tests.append(_by_image(engine, values))
        else:
            tests.append(_TESTS[key](values))
    return tests


def _by_time(engine: Engine, key: str, name: str) -> _Test:
    other = engine.store.containers.get(name)
    if key == "before":
        return lambda record: record.created < other.created
    return lambda record: record.created > other.created


def _by_image(engine: Engine, values: list[str]) -> _Test:
    from pyd.errors import PydError

    wanted: set[str] = set()
    layers: set[str] = set()
    for value in values:
        try:
            image = engine.store.images.resolve(value)
        except PydError:
            continue
        wanted.add(str(image.id))
        if image.layers:
            layers.add(str(image.layers[0]))
    return lambda record: record.image_id in wanted or bool(layers & set(record.layers))


def _name(values: list[str]) -> _Test:
    """A regular expression or substring, against the name with and without its slash."""
    try:
        patterns = [re.compile(value) for value in values]
    except re.error as error:
        raise InvalidArgument(f"invalid filter 'name': {error}") from None
    return lambda record: any(
        pattern.search(record.name) or pattern.search(f"/{record.name}") for pattern in patterns
    )


def _status(values: list[str]) -> _Test:
    for value in values:
        if value not in _STATES:
            raise InvalidArgument(f"invalid filter 'status={value}'", f"one of {', '.join(_STATES)}")
    return lambda record: record.state in values


def _exited(values: list[str]) -> _Test:
    try:
        codes = {int(value) for value in values}
    except ValueError:
        raise InvalidArgument(f"invalid filter 'exited={values[-1]}'") from None
    return lambda record: record.state == "exited" and record.exit_code in codes


def _port_keys(values: list[str], filter_name: str) -> set[str]:
    from pyd.network import ports

    keys: set[str] = set()
    for value in values:
        try:
            keys.update(ports.parse_expose(value))
        except InvalidArgument:
            raise InvalidArgument(f"invalid filter '{filter_name}={value}'") from None
    return keys


def _publish(values: list[str]) -> _Test:
    keys = _port_keys(values, "publish")
    return lambda record: any(bindings and key in keys for key, bindings in ports(record).items())


def _expose(values: list[str]) -> _Test:
    keys = _port_keys(values, "expose")
    return lambda record: bool(keys & set(record.config.get("ExposedPorts") or ()))


def _volume(values: list[str]) -> _Test:
    return lambda record: any(
        value in (point.get("Name"), point["Source"], point["Destination"])
        for point in record.host["pyd"]["mounts"]
        for value in values
    )


_TESTS: dict[str, Callable[[list[str]], _Test]] = {
    "id": lambda values: lambda record: any(record.id.startswith(value) for value in values),
    "name": _name,
    "label": lambda values: lambda record: label_matches(values, record.config.get("Labels") or {}),
    "status": _status,
    "exited": _exited,
    "volume": _volume,
    "network": lambda values: (
        lambda record: record.host["NetworkMode"] in values or record.network.get("id", "-") in values
    ),
    "publish": _publish,
    "expose": _expose,
    "health": lambda values: lambda record: "none" in values,  # no container has health checks yet
    "is-task": lambda values: lambda record: values[-1].lower() in ("0", "false"),
}
