"""From bake files to the targets that are to be built."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from pyd.build.bake import compose_files, compose_yaml, hcl_parser, json_files
from pyd.build.bake.definition import Definition, Found, Variable
from pyd.build.bake.globs import is_pattern, matching
from pyd.build.bake.hcl_syntax import Body
from pyd.build.bake.hcl_values import to_list, to_text
from pyd.build.bake.overrides import Overrides
from pyd.build.bake.target import CWD, BakeTarget, from_fields, merged, normalized
from pyd.errors import InvalidArgument, NotFound, from_os_error
from pyd.oci.platform import Platform

DEFAULT = "default"
_NAMES = ("docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl")
_MOST = 8 << 20  # bytes of a file


@dataclass(frozen=True, slots=True)
class Group:
    targets: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """groups: those that were asked for, `default` among them
    targets: by name, whole: inherited, overridden, with those that others use as contexts
    """

    groups: Mapping[str, Group]
    targets: Mapping[str, BakeTarget]

    def document(self) -> dict[str, Any]:
        """What `bake --print` prints, ready for JSON."""
        groups = {
            name: {
                **({"description": group.description} if group.description else {}),
                "targets": list(group.targets),
            }
            for name, group in sorted(self.groups.items())
        }
        targets = {name: target.document() for name, target in sorted(self.targets.items())}
        return {**({"group": groups} if groups else {}), "target": targets}

    def order(self) -> list[BakeTarget]:
        """Each behind those that it uses as contexts."""
        done: dict[str, BakeTarget] = {}

        def visit(name: str) -> None:
            if name not in done:
                for linked in self.targets[name].links.values():
                    visit(linked)
                done[name] = self.targets[name]

        for name in self.targets:
            visit(name)
        return list(done.values())

    def entitlements(self) -> list[str]:
        """What the targets want and the user has to grant."""
        return sorted({each for target in self.targets.values() for each in target.entitlements or ()})


@dataclass(slots=True)
class Bake:
    """What the files say. `plan` chooses from it."""

    targets: dict[str, BakeTarget] = field(default_factory=dict)  # as written, in the order of the files
    groups: dict[str, Group] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)
    environ: Mapping[str, str] = field(default_factory=dict)

    def plan(self, targets: Sequence[str] = (), sets: Sequence[str] = ()) -> Plan:
        """Raises InvalidArgument, NotFound for a target that there is not."""
        wanted: list[str] = []
        for text in targets or (DEFAULT,):
            name = text.replace(".", "_")
            known = [*self.groups, *self.targets]
            wanted += matching(name, known, "target") if is_pattern(name) else [name]
        overrides = Overrides(sets, self.targets, self.environ)
        groups: dict[str, Group] = {}
        chosen: dict[str, BakeTarget] = {}
        for name in dict.fromkeys(wanted):
            for each in self._members(name, groups, ()):
                chosen.setdefault(each, self._resolved(each, overrides))
        if wanted != [DEFAULT] or DEFAULT not in groups:
            names = [*groups[DEFAULT].targets] if DEFAULT in groups else []
            names += [name for name in wanted if name != DEFAULT or DEFAULT not in groups]
            groups[DEFAULT] = Group(tuple(sorted(set(names))))
        for name in list(chosen):
            self._link(name, chosen, overrides, ())
        return Plan(groups, chosen)

    def _members(self, name: str, groups: dict[str, Group], seen: tuple[str, ...]) -> list[str]:
        """The targets of a group and of those in it. A group that a target has the name of comes first."""
        group = self.groups.get(name)
        if group is None or name in seen:
            return [name]
        groups[name] = group
        found: list[str] = []
        for each in group.targets:
            found += self._members(each, groups, (*seen, name)) if each != name else [each]
        return list(dict.fromkeys(found))

    def _resolved(self, name: str, overrides: Overrides) -> BakeTarget:
        target = self._inherited(name, overrides, ())
        context, dockerfile = target.context, target.dockerfile or "Dockerfile"
        return replace(
            target, inherits=None, context="." if context is None else context, dockerfile=dockerfile
        )

    def _inherited(self, name: str, overrides: Overrides, seen: tuple[str, ...]) -> BakeTarget:
        own = self.targets.get(name)
        if own is None:
            raise NotFound(f"failed to find target {name}")
        whole = BakeTarget(name=name)
        for base in own.inherits or ():
            if base not in (*seen, name):  # a circle adds nothing
                whole = merged(whole, self._inherited(base, overrides, (*seen, name)))
        return normalized(overrides.apply(merged(replace(whole, inherits=None), own)))

    def _link(
        self, name: str, chosen: dict[str, BakeTarget], overrides: Overrides, seen: tuple[str, ...]
    ) -> None:
        target = chosen[name]
        for linked in target.links.values():
            if linked == name:
                raise InvalidArgument(f"target {name} cannot link to itself")
            if linked in seen:
                raise InvalidArgument(f"infinite loop from {name} to {linked}")
            if linked not in chosen:
                found = self._resolved(linked, overrides)
                chosen[linked] = replace(found, output=({"type": "cacheonly"},), linked=True)
            self._link(linked, chosen, overrides, (*seen, name))
            other = chosen[linked]
            inherited = (*(chosen[name].entitlements or ()), *(other.entitlements or ()))
            if inherited:
                chosen[name] = replace(chosen[name], entitlements=tuple(dict.fromkeys(inherited)))
            mine, theirs = target.platforms or (), other.platforms or ()
            if len(mine) > 1 and len(theirs) > 1 and not set(mine) <= set(theirs):
                raise InvalidArgument(
                    f"target {linked} can't be used by {name} because its platforms "
                    f"{list(mine)} are not a subset of {list(theirs)}"
                )


def read(
    files: Sequence[str] = (),
    sets: Sequence[str] = (),
    targets: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    *,
    variables: Mapping[str, str] | None = None,
    stdin: BinaryIO | None = None,
) -> Plan:
    """files: as of --file, "-" for `stdin`; () for those with the usual names in the working directory
    sets: as of --set. targets: names of targets and groups, patterns too. variables: as of --var

    Raises InvalidArgument (with file, line and column where it stands in one), NotFound, NotSupported.
    """
    return load(files, environ, variables=variables, stdin=stdin).plan(targets, sets)


def default_files(environ: Mapping[str, str], directory: str = ".") -> list[str]:
    """The files that are read without --file: BUILDX_BAKE_FILE, else those of the usual names that exist."""
    given = environ.get("BUILDX_BAKE_FILE", "")
    if given:
        separator = environ.get("BUILDX_BAKE_PATH_SEPARATOR") or os.pathsep
        return [name for name in given.split(separator) if name]
    names = (*compose_files.NAMES, *_NAMES)
    return [name for name in names if os.path.lexists(os.path.join(directory, name))]


def load(
    files: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    *,
    variables: Mapping[str, str] | None = None,
    stdin: BinaryIO | None = None,
) -> Bake:
    environ = os.environ if environ is None else environ
    names = list(files) or default_files(environ)
    if not names:
        raise NotFound(
            "couldn't find a bake definition",
            "name one with --file, or make a docker-bake.hcl or compose.yaml",
        )
    if environ.get("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP", "").lower() in ("1", "t", "true"):
        environ = {}
    bodies: list[Body] = []
    documents: list[tuple[str, dict[str, Any]]] = []
    for name in names:
        kind, parsed = _parsed(_data(name, stdin), "stdin" if name == "-" else name)
        if kind == "compose":
            documents.append((name, parsed))
        else:
            bodies.append(parsed)
    bake = Bake(environ=environ)
    if documents:
        values = compose_yaml.environment(environ, os.getcwd()) | dict(variables or {})
        found = compose_files.targets(documents, values)
        for target in found:
            _add(bake, target)
        bake.groups[DEFAULT] = Group(tuple(target.name for target in found))
    if bodies:
        constants = {"BAKE_CMD_CONTEXT": CWD, "BAKE_LOCAL_PLATFORM": str(Platform.host())}
        _define(bake, Definition(bodies, environ=environ, given=variables or {}, constants=constants))
    return bake


def _define(bake: Bake, definition: Definition) -> None:
    definition.check()
    bake.variables = definition.variables()
    for found in definition.targets():
        try:
            _add(bake, from_fields(found.name, found.fields))
        except InvalidArgument as error:
            raise found.place.error(f"target {found.name}: {error.message}", error.hint) from None
    for found in definition.groups():
        _group(bake, found)


def _group(bake: Bake, found: Found) -> None:
    unknown = set(found.fields) - {"targets", "description"}
    if unknown:
        raise found.place.error(f'group {found.name}: unsupported argument "{min(unknown)}"')
    try:
        targets = [to_text(each) for each in to_list(found.fields.get("targets", []))]
        description = to_text(found.fields.get("description") or "")
    except ValueError as error:
        raise found.place.error(f"group {found.name}: {error}") from None
    before = bake.groups.get(found.name)
    # a later file says again what is in it
    names = targets or list(before.targets if before else ())
    bake.groups[found.name] = Group(tuple(dict.fromkeys(names)), description)


def _add(bake: Bake, target: BakeTarget) -> None:
    known = bake.targets.get(target.name)
    bake.targets[target.name] = target if known is None else merged(known, target)


def _parsed(data: bytes, name: str) -> tuple[str, Any]:
    """("compose", document) or ("hcl", body): by the name, else by the content."""
    lower = name.lower()
    if lower.endswith((".yml", ".yaml")):
        return "compose", compose_yaml.read(data, name)
    if lower.endswith(".json") or (not lower.endswith(".hcl") and data.lstrip().startswith(b"{")):
        return "hcl", json_files.parse(data, name)
    if lower.endswith(".hcl"):
        return "hcl", hcl_parser.parse(data, name)
    try:
        return "hcl", hcl_parser.parse(data, name)
    except InvalidArgument as error:
        try:
            document = compose_yaml.read(data, name)
        except InvalidArgument:
            raise error from None
        if not compose_yaml.is_compose(document):
            raise error from None
        return "compose", document


def _data(name: str, stdin: BinaryIO | None) -> bytes:
    if name == "-":
        if stdin is None:
            raise InvalidArgument("there is no standard input to read from", "name a file with --file")
        data = stdin.read(_MOST + 1)
    else:
        try:
            with open(name.removeprefix(CWD), "rb") as file:
                data = file.read(_MOST + 1)
        except FileNotFoundError:
            raise NotFound(f"open {name}: no such file or directory") from None
        except OSError as error:
            raise from_os_error(error, f"open {name}") from error
    if len(data) > _MOST:
        raise InvalidArgument(f"{name} is larger than {_MOST} bytes")
    return data


__all__ = ["Bake", "Group", "Plan", "default_files", "load", "read"]
