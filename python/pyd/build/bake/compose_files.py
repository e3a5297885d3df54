"""Compose files as bake files: the `build` of each service is a target, all of them are the group "default".
Several files are merged, one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyd.build.bake.compose_yaml import replaced
from pyd.build.bake.definition import check_name
from pyd.build.bake.target import BakeTarget, from_fields
from pyd.errors import InvalidArgument, NotSupported

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
# what a service may hold that concerns no build is not looked at
_SERVICE = ("image", "build", "environment", "extends")
_SIMPLE = {
    "context": "context",
    "dockerfile": "dockerfile",
    "dockerfile_inline": "dockerfile-inline",
    "target": "target",
    "network": "network",
    "no_cache": "no-cache",
    "pull": "pull",
    "tags": "tags",
    "platforms": "platforms",
    "cache_from": "cache-from",
    "cache_to": "cache-to",
}


def targets(documents: Sequence[tuple[str, dict[str, Any]]], environ: Mapping[str, str]) -> list[BakeTarget]:
    """Of all (file name, document). Raises InvalidArgument, NotSupported."""
    whole: dict[str, Any] = {}
    for file, document in documents:
        needed = {key: document[key] for key in ("services", "secrets") if document.get(key)}
        services = _mapping(needed.get("services"), f"{file}: services")
        needed["services"] = {
            name: {key: service[key] for key in _SERVICE if key in service}
            for name, service in services.items()
            if isinstance(service, dict)
        }
        whole = _merged(whole, replaced(needed, environ, file))
    services = whole.get("services") or {}
    if not services:
        raise InvalidArgument("empty compose file")
    found = []
    for name in services:
        service = _extended(services, name, ())
        if service.get("build") is not None:
            found.append(_target(name, service, _mapping(whole.get("secrets"), "secrets"), environ))
    return found


def _merged(one: Any, other: Any) -> Any:
    """Mappings key by key, lists one after the other, everything else is replaced."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one | {key: _merged(one[key], value) if key in one else value for key, value in other.items()}
    if isinstance(one, list) and isinstance(other, list):
        return one + [each for each in other if each not in one]
    # build: ./dir and a mapping are the same thing
    if isinstance(one, str) and isinstance(other, dict):
        return _merged({"context": one}, other)
    return other


def _extended(services: Mapping[str, Any], name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    service: dict[str, Any] = dict(services[name])
    extends = service.pop("extends", None)
    if extends is None:
        return service
    base = extends if isinstance(extends, str) else str(_mapping(extends, "extends").get("service"))
    if isinstance(extends, dict) and extends.get("file"):
        raise NotSupported(f"service {name} extends one of another file", "name both files with --file")
    if base not in services or base in (*seen, name):
        raise InvalidArgument(f"service {name} extends {base}, which there is not or which extends it")
    merged = _merged(_extended(services, base, (*seen, name)), service)
    assert isinstance(merged, dict)
    return merged


def _target(
    service_name: str, service: Mapping[str, Any], secrets: Mapping[str, Any], environ: Mapping[str, str]
) -> BakeTarget:
    name = service_name.replace(".", "_")
    build = service["build"]
    where = f"services.{service_name}.build"
    build = {"context": build} if isinstance(build, str) else _mapping(build, where)
    check_name(name)
    values: dict[str, Any] = {
        field: build[key] for key, field in _SIMPLE.items() if build.get(key) not in (None, "", False)
    }
    for key in ("tags", "platforms", "cache_from", "cache_to"):
        if isinstance(build.get(key), str):
            raise InvalidArgument(f"{where}.{key} must be a list")
    known = _pairs(service.get("environment"), f"services.{service_name}.environment")
    own = {key: value for key, value in known.items() if value is not None}
    arguments = _pairs(build.get("args"), f"{where}.args")
    values["args"] = {
        key: own.get(key, environ.get(key)) if value is None else value for key, value in arguments.items()
    }
    values["labels"] = {
        key: value or "" for key, value in _pairs(build.get("labels"), f"{where}.labels").items()
    }
    values["contexts"] = {
        key: _linked(value or "")
        for key, value in _pairs(build.get("additional_contexts"), f"{where}.additional_contexts").items()
    }
    values["extra-hosts"] = _hosts(build.get("extra_hosts"), where)
    values["ssh"] = _ssh(build.get("ssh"), where)
    values["secret"] = [_secret(each, secrets, where) for each in _list(build.get("secrets"), where)]
    values["attest"] = [
        text for kind in ("provenance", "sbom") if (text := _attest(kind, build.get(kind))) is not None
    ]
    values["ulimits"] = _ulimits(build.get("ulimits"), where)
    if build.get("shm_size"):
        values["shm-size"] = build["shm_size"]
    for entitlement in _list(build.get("entitlements"), where):
        values.setdefault("entitlements", []).append(str(entitlement))
    if build.get("privileged"):
        raise NotSupported(f"{where}.privileged is not supported", "use RUN --security=insecure")
    _extension(values, _mapping(build.get("x-bake"), f"{where}.x-bake"))
    if not values.get("tags") and service.get("image"):
        values["tags"] = [service["image"]]
    return from_fields(name, {key: value for key, value in values.items() if value not in ([], {})})


def _extension(values: dict[str, Any], extra: Mapping[str, Any]) -> None:
    """x-bake: what Compose has no key for."""
    lists = ("tags", "cache-from", "cache-to", "secret", "ssh", "platforms", "output", "no-cache-filter")
    for key, value in extra.items():
        if key in lists:
            found = value.split() if isinstance(value, str) else _list(value, f"x-bake.{key}")
            before = values.get(key, [])
            values[key] = before + [each for each in found if each not in before]
        elif key in ("pull", "no-cache"):
            values[key] = value
        elif key == "contexts":
            named = {name: _linked(str(each)) for name, each in _mapping(value, "x-bake.contexts").items()}
            values["contexts"] = named | values["contexts"]
        else:
            raise InvalidArgument(f"x-bake: unknown key {key}")


def _linked(value: str) -> str:
    kind, colon, name = value.partition(":")
    return f"target:{name.replace('.', '_')}" if colon and kind in ("service", "target") else value


def _secret(given: Any, secrets: Mapping[str, Any], where: str) -> dict[str, str]:
    source = given if isinstance(given, str) else str(_mapping(given, where).get("source", ""))
    found = _mapping(secrets.get(source), f"secrets.{source}")
    if found.get("external"):
        raise InvalidArgument(f"unsupported external secret {source}")
    secret = {"id": source}
    if found.get("file"):
        secret["src"] = str(found["file"])
    if found.get("environment"):
        secret["env"] = str(found["environment"])
    return secret


def _ssh(given: Any, where: str) -> list[str]:
    pairs = _pairs(given, f"{where}.ssh") if not isinstance(given, str) else {given: None}
    return sorted(key if value is None else f"{key}={value}" for key, value in pairs.items())


def _attest(kind: str, value: Any) -> str | None:
    if value is None or value == "":
        return None
    if value is True or value == "true":
        return f"type={kind}"
    if value is False or value == "false":
        return f"type={kind},disabled=true"
    return f"type={kind},{value}"


def _ulimits(given: Any, where: str) -> list[str]:
    found = []
    for name, value in _mapping(given, f"{where}.ulimits").items():
        both = value if isinstance(value, dict) else {"soft": value, "hard": value}
        found.append(f"{name}={both.get('soft', 0)}:{both.get('hard', 0)}")
    return found


def _hosts(given: Any, where: str) -> dict[str, str]:
    if isinstance(given, dict):
        return {
            host: ",".join(map(str, value)) if isinstance(value, list) else str(value)
            for host, value in given.items()
        }
    found: dict[str, str] = {}
    for each in _list(given, f"{where}.extra_hosts"):
        match = re.fullmatch("([^=:]+)[=:](.+)", str(each))
        if match is None:
            raise InvalidArgument(f"{where}.extra_hosts: {each!r} is not host=address")
        found[match[1]] = f"{found[match[1]]},{match[2]}" if match[1] in found else match[2]
    return found


def _pairs(given: Any, where: str) -> dict[str, str | None]:
    """Of a mapping, or of a list of NAME=value."""
    if isinstance(given, list):
        split = (str(each).partition("=") for each in given)
        return {name: value if equals else None for name, equals, value in split}
    return {
        name: None if value is None else _scalar(value, where)
        for name, value in _mapping(given, where).items()
    }


def _scalar(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise InvalidArgument(f"{where} must hold simple values")


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArgument(f"{where} must be a mapping")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidArgument(f"{where} must be a list")
    return value
