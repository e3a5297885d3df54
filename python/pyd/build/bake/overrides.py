"""`--set target.key[.name][+]=value`: what the command line changes in targets. The target may be a
pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyd.build.bake import entries
from pyd.build.bake.entries import Entry
from pyd.build.bake.globs import matching
from pyd.build.bake.target import BakeTarget
from pyd.errors import InvalidArgument, NotSupported

# key -> field of a target
_TEXTS = {"context": "context", "dockerfile": "dockerfile", "target": "target", "call": "call"}
_TEXTS |= {"network": "network", "shm-size": "shm_size"}
_LISTS = {"tags": "tags", "platform": "platforms", "no-cache-filter": "no_cache_filter", "ulimits": "ulimits"}
_ADDED = {"annotations": "annotations", "entitlements": "entitlements"}  # with and without "+"
_ENTRIES = {"output": "output", "cache-from": "cache_from", "cache-to": "cache_to"}
_ENTRIES |= {"secrets": "secret", "ssh": "ssh", "attest": "attest"}
_MAPS = {"args": "args", "labels": "labels", "contexts": "contexts", "extra-hosts": "extra_hosts"}
_BOOLS = {"pull": "pull", "no-cache": "no_cache"}


@dataclass(slots=True)
class _Change:
    values: list[str]
    appends: bool


class Overrides:
    """Changes by target. Raises InvalidArgument for words that are none, and patterns that match nothing."""

    def __init__(self, texts: Sequence[str], names: Iterable[str], environ: Mapping[str, str]) -> None:
        known = list(names)
        self._changes: dict[str, dict[str, _Change]] = {}
        for text in texts:
            key, equals, value = text.partition("=")
            appends = key.endswith("+")
            pattern, _, rest = key.removesuffix("+").partition(".")
            if not rest:
                raise InvalidArgument(f"invalid override key {key}, expected target.name")
            word, _, inner = rest.partition(".")
            _check(word, inner, key)
            if not equals:
                # an argument without a value has that of the environment
                if word != "args":
                    raise InvalidArgument(f"invalid override {text}, expected target.name=value")
                if inner not in environ:
                    continue
                value = environ[inner]
            for name in matching(pattern, known, "target"):
                change = self._changes.setdefault(name, {}).setdefault(rest, _Change([], appends))
                change.values.append(value)
                change.appends = appends

    def apply(self, target: BakeTarget) -> BakeTarget:
        changes = self._changes.get(target.name, {})
        for key in sorted(changes, key=lambda key: key in ("push", "load")):  # after the outputs
            target = _applied(target, key, changes[key])
        return target


def _check(word: str, inner: str, key: str) -> None:
    if word == "policy":
        raise NotSupported("policy is not supported", "pyd has no source policies")
    if word in _MAPS:
        if not inner:
            raise InvalidArgument(f"invalid key {key}, {word} requires name")
    elif inner or word not in (*_TEXTS, *_LISTS, *_ADDED, *_ENTRIES, *_BOOLS, "push", "load"):
        raise InvalidArgument(f"unknown key: {word}{'.' if inner else ''}{inner}")


def _applied(target: BakeTarget, key: str, change: _Change) -> BakeTarget:
    word, _, inner = key.partition(".")
    last = change.values[-1]
    if word in _TEXTS:
        return _set(target, _TEXTS[word], last)
    if word in _BOOLS:
        return _set(target, _BOOLS[word], _bool(word, last))
    if word in _MAPS:
        return _set(target, _MAPS[word], {**(getattr(target, _MAPS[word]) or {}), inner: last})
    if word in _LISTS or word in _ADDED:
        field = _LISTS.get(word) or _ADDED[word]
        before = getattr(target, field) or () if change.appends or word in _ADDED else ()
        return _set(target, field, (*before, *change.values))
    if word in _ENTRIES:
        field = _ENTRIES[word]
        key = field.replace("_", "-")
        found = entries.of(key, change.values)
        if change.appends or word == "attest":
            found = entries.merged(key, list(getattr(target, field) or ()), found)
        return _set(target, field, tuple(found))
    outputs = list(target.output or ())
    flag = _bool(word, last)
    return _set(target, "output", tuple(_pushed(outputs, flag) if word == "push" else _loaded(outputs, flag)))


def _pushed(outputs: list[Entry], push: bool) -> list[Entry]:
    """Of images: those that are written elsewhere too stay as they are."""
    if not push:
        return [
            {**entry, "push": "false"} if entry["type"] == "image" else entry
            for entry in outputs
            if entry["type"] != "registry"
        ]
    found = [{**entry, "push": "true"} if entry["type"] == "image" else entry for entry in outputs]
    if all(entry["type"] == "docker" for entry in found):
        found.append({"type": "image", "push": "true"})
    return found


def _loaded(outputs: list[Entry], load: bool) -> list[Entry]:
    there = any(entry["type"] == "docker" and not entry.get("dest") for entry in outputs)
    images = all(entry["type"] in ("docker", "image", "registry", "oci") for entry in outputs)
    return [*outputs, {"type": "docker"}] if load and images and not there else outputs


def _bool(key: str, text: str) -> bool:
    if re.fullmatch("1|t|T|TRUE|true|True", text):
        return True
    if re.fullmatch("0|f|F|FALSE|false|False", text):
        return False
    raise InvalidArgument(f"invalid value {text} for boolean key {key}")


def _set(target: BakeTarget, field: str, value: Any) -> BakeTarget:
    return replace(target, **{field: value})
