"""One target: its fields, how one inherits from another, what --set changes, and the build that it asks
for.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pyd.build import git, urls
from pyd.build.bake import entries
from pyd.build.bake.entries import Entry
from pyd.build.bake.hcl_syntax import Value
from pyd.build.bake.hcl_values import to_bool, to_list, to_map, to_text
from pyd.build.request import BuildRequest
from pyd.errors import Forbidden, InvalidArgument, NotSupported
from pyd.sizes import parse_size

CWD = "cwd://"
TARGET = "target:"

Texts = tuple[str, ...]
Entries = tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeTarget:
    """None is what no file has set. `linked`: built because another target uses it as a context."""

    name: str
    linked: bool = False
    # in the order in which buildx prints them
    description: str | None = None
    inherits: Texts | None = None
    annotations: Texts | None = None
    attest: Entries | None = None
    context: str | None = None
    contexts: Mapping[str, str] | None = None
    dockerfile: str | None = None
    dockerfile_inline: str | None = None
    args: Mapping[str, str | None] | None = None
    labels: Mapping[str, str | None] | None = None
    tags: Texts | None = None
    cache_from: Entries | None = None
    cache_to: Entries | None = None
    target: str | None = None
    secret: Entries | None = None
    ssh: Entries | None = None
    platforms: Texts | None = None
    output: Entries | None = None
    pull: bool | None = None
    no_cache: bool | None = None
    network: str | None = None
    no_cache_filter: Texts | None = None
    shm_size: str | None = None
    ulimits: Texts | None = None
    call: str | None = None
    entitlements: Texts | None = None
    extra_hosts: Mapping[str, str | None] | None = None

    @property
    def links(self) -> dict[str, str]:
        """Name of a context -> the target that it is."""
        contexts = self.contexts or {}
        return {
            name: value.removeprefix(TARGET) for name, value in contexts.items() if value.startswith(TARGET)
        }

    def document(self) -> dict[str, Any]:
        """As `bake --print` shows it: ready to be JSON, and to be read again."""
        found: dict[str, Any] = {}
        for each in fields(self)[2:]:
            value, key = getattr(self, each.name), each.name.replace("_", "-")
            if value is None or value == () or value == {} or (value == "" and key == "description"):
                continue
            if key in entries.PARSERS:
                value = [entries.shown(key, entry) for entry in value]
            elif isinstance(value, Mapping):
                value = {name: _escaped(key, value[name]) for name in sorted(value)}
            elif isinstance(value, tuple):
                value = [_escaped(key, each) for each in value]
            else:
                value = _escaped(key, value)
            found[key] = value
        return found

    def request(self, *, allow: Collection[str] = (), links: Mapping[str, str] | None = None) -> BuildRequest:
        """allow: entitlements that the user has granted: a file cannot grant them itself
        links: for each linked target what stands for it, such as "docker-image://sha256:…"

        Raises Forbidden for an entitlement that is not granted.
        """
        missing = sorted(set(self.entitlements or ()) - set(allow))
        if missing:
            raise Forbidden(
                f"target {self.name} wants the entitlement {missing[0]}",
                f"if you trust the bake file, allow it: --allow {missing[0]}",
            )
        context = _path(self.context or ".")
        contexts = {}
        for name, value in (self.contexts or {}).items():
            linked = value.removeprefix(TARGET)
            if linked != value and (links is None or linked not in links):
                raise InvalidArgument(f"target {self.name} needs target {linked}, which was not built")
            contexts[name] = links[linked] if links and linked != value else _path(value)
        return BuildRequest(
            context=context,
            dockerfile="" if self.dockerfile_inline is not None else self._dockerfile(context),
            text=self.dockerfile_inline.encode() if self.dockerfile_inline is not None else None,
            tags=self.tags or (),
            target=self.target or "",
            build_args=_set_ones(self.args),
            labels=_set_ones(self.labels),
            annotations=self.annotations or (),
            platforms=self.platforms or (),
            no_cache=bool(self.no_cache),
            no_cache_filter=self.no_cache_filter or (),
            pull=bool(self.pull),
            cache_from=_texts("cache-from", self.cache_from),
            cache_to=_texts("cache-to", self.cache_to),
            secrets=_texts("secret", self.secret),
            ssh=_texts("ssh", self.ssh),
            build_contexts=contexts,
            allow=self.entitlements or (),
            outputs=_texts("output", self.output),
            attests=_texts("attest", self.attest),
            network=self.network or "default",
            add_hosts=tuple(f"{host}={address}" for host, address in _set_ones(self.extra_hosts).items()),
            shm_size=self._shm_size(),
            ulimits=self.ulimits or (),
        )

    def _dockerfile(self, context: str) -> str:
        """Relative to a context that is a directory, as in buildx; of a remote one its own."""
        given = self.dockerfile or "Dockerfile"
        if given.startswith(CWD):
            return os.path.abspath(posixpath.normpath(given.removeprefix(CWD)))
        if urls.is_http(given) or os.path.isabs(given) or is_remote(context):
            return given
        return posixpath.join(context, posixpath.normpath(given))

    def _shm_size(self) -> int | None:
        if not self.shm_size:
            return None
        try:
            return parse_size(self.shm_size)
        except ValueError as error:
            raise InvalidArgument(f"target {self.name}: shm-size: {error}") from None


_TEXT = ("description", "context", "dockerfile", "dockerfile-inline", "target", "network", "shm-size", "call")
_BOOL = ("pull", "no-cache")
_LIST = ("inherits", "annotations", "tags", "platforms", "no-cache-filter", "ulimits", "entitlements")
_MAP = ("contexts", "args", "labels", "extra-hosts")
_APPENDED = ("annotations", "no-cache-filter", "ulimits", "entitlements", "inherits")
_APPENDED_ENTRIES = ("attest", "secret", "ssh", "cache-from")
_ESCAPED = ("annotations", "dockerfile-inline", "labels", "args", "extra-hosts")


def from_fields(name: str, values: Mapping[str, Value]) -> BakeTarget:
    """Of the attributes of a block. Raises InvalidArgument for unknown ones and values that do not fit."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        try:
            found[key.replace("-", "_")] = _converted(key, value)
        except ValueError as error:
            raise InvalidArgument(f"{key}: {error}") from None
    return BakeTarget(name=name, **found)


def _converted(key: str, value: Value) -> Any:
    if key == "policy":
        raise NotSupported("policy is not supported", "remove it: pyd has no source policies")
    if key not in (*_TEXT, *_BOOL, *_LIST, *_MAP, *entries.PARSERS):
        raise ValueError("unsupported argument")
    if value is None:
        return None
    if key in _TEXT:
        return to_text(value)
    if key in _BOOL:
        return to_bool(value)
    if key in _LIST:
        return tuple(to_text(each) for each in to_list(value) if each is not None)
    if key in _MAP:
        return {name: None if each is None else to_text(each) for name, each in to_map(value).items()}
    return tuple(entries.of(key, to_list(value)))


def merged(one: BakeTarget, other: BakeTarget) -> BakeTarget:
    """`one` with what `other` sets: lists of places and names replace, others are added."""
    changes: dict[str, Any] = {}
    for each in fields(other):
        value, before = getattr(other, each.name), getattr(one, each.name)
        key = each.name.replace("_", "-")
        if value is None or key in ("name", "linked"):
            continue
        if key in _MAP:
            value = {**(before or {}), **{name: text for name, text in value.items() if text is not None}}
        elif key in _APPENDED:
            value = (*(before or ()), *value)
        elif key in _APPENDED_ENTRIES:
            value = tuple(entries.merged(key, list(before or ()), list(value)))
        changes[each.name] = value
    return replace(one, **changes)


def normalized(target: BakeTarget) -> BakeTarget:
    """Without what is there twice, and without contexts that were set to nothing."""
    changes: dict[str, Any] = {}
    for key in _LIST:
        value = getattr(target, key.replace("-", "_"))
        if value is not None:
            changes[key.replace("-", "_")] = tuple(dict.fromkeys(each for each in value if each))
    for key in entries.PARSERS:
        value = getattr(target, key.replace("-", "_"))
        if value is not None:
            changes[key.replace("-", "_")] = tuple(entries.merged(key, list(value), []))
    if target.network == "host":
        changes["entitlements"] = tuple(dict.fromkeys([*(target.entitlements or ()), "network.host"]))
    if target.contexts is not None:
        changes["contexts"] = {name: value for name, value in target.contexts.items() if value} or None
    return replace(target, **changes)


def is_remote(text: str) -> bool:
    return urls.is_http(text) or git.parse(text, local_looking=True) is not None


def _path(text: str) -> str:
    """Of a context: relative paths are the working directory's."""
    if text.startswith(CWD):
        return posixpath.normpath(text.removeprefix(CWD))
    if text == "-":
        raise InvalidArgument("context from stdin not allowed in bake")
    if is_remote(text) or "://" in text:
        return text
    return posixpath.normpath(text)


def _set_ones(values: Mapping[str, str | None] | None) -> dict[str, str]:
    return {name: value for name, value in (values or {}).items() if value is not None}


def _texts(key: str, values: Sequence[Entry] | None) -> tuple[str, ...]:
    return tuple(entries.text(key, entry) for entry in values or ())


def _escaped(key: str, value: Any) -> Any:
    """What is printed can be read as a bake file: its text is no template."""
    if key in _ESCAPED and isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    return value


__all__ = ["BakeTarget", "from_fields", "is_remote", "merged", "normalized"]
