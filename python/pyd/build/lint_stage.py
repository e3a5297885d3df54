"""The rules of one stage, instruction by instruction, with the variables that are in scope at each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pyd.build import lint_rules as rules
from pyd.build.arguments import NOT_IN_ENVIRONMENT, Scope, resolve
from pyd.build.dockerignore import clean
from pyd.build.expansion import expand
from pyd.build.kinds import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    HealthCheck,
    Instruction,
    Label,
    Run,
    Shell,
    Stage,
    Transfer,
    Workdir,
)
from pyd.build.lint_rules import Rule
from pyd.build.location import DockerfileError
from pyd.build.parser import Node
from pyd.build.words import Expansion
from pyd.errors import InvalidArgument
from pyd.record import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object  # nothing here is checked at run time

# words of a name, between underscores
_SECRET = frozenset("apikey auth credential credentials key password pword passwd secret token".split())
_NO_SECRET = frozenset(("public", "file", "version"))
_REMOTE = ("http://", "https://", "git://", "ssh://", "git@")


class Start(Record):
    """What a stage begins with, and what the next one on it does; `known` is false for an unknown image."""

    env: dict[str, str] = field(default_factory=dict)
    args: frozenset[str] = frozenset()
    has_shell: bool = False
    has_workdir: bool = False  # of the Dockerfile, not of an image: that may change
    known: bool = True


class Report(Protocol):
    def __call__(self, rule: Rule, node: Node, *about: str, at: str = "", line: int = 0) -> None: ...


class StageLinter:
    def __init__(
        self,
        report: Report,
        suggest: Callable[[str, Iterable[str]], str],
        start: Start,
        scope: Scope,
        build_args: Mapping[str, str],
        ignored: Callable[[str], bool] | None,
    ) -> None:
        self._report, self._suggest, self._scope = report, suggest, scope
        self._build_args, self._ignored = build_args, ignored
        self._env = {"PATH": "", **start.env}  # PATH is always set
        self._args = set(start.args)
        self._has_shell, self._has_workdir = start.has_shell, start.has_workdir
        self._known = start.known
        self._last: dict[str, Node] = {}  # of what should be there once
        self._node: Node | None = None
        self._told: set[str] = set()

    def run(self, stage: Stage) -> Start:
        for instruction in stage.instructions:
            self._node = instruction.node
            self._told.clear()
            try:
                self._check(instruction)
            except DockerfileError:
                break  # the build says it
        return Start(dict(self._env), frozenset(self._args), self._has_shell, self._has_workdir, self._known)

    def _check(self, instruction: Instruction) -> None:
        node = instruction.node
        if isinstance(instruction, Arg):
            self._arg(instruction)
            return
        instruction = expand(instruction, self._env, self._watch)
        match instruction:
            case Env() | Label():
                if "" in node.words[2::3]:
                    self._report(rules.LEGACY_KEY_VALUE_FORMAT, node, node.written)
                if isinstance(instruction, Env):
                    for name, value in instruction.pairs:
                        self._secret(node, "ENV", name)
                        self._env[name] = value
            case Workdir():
                if not self._has_workdir and not instruction.path.startswith("/"):
                    self._report(rules.WORKDIR_RELATIVE_PATH, node, instruction.path)
                self._has_workdir = True
            case Cmd() | Entrypoint():
                self._once(node)
                if instruction.shell_form and not self._has_shell:
                    self._report(rules.JSON_ARGS_RECOMMENDED, node, node.written)
            case HealthCheck():
                self._once(node)
            case Shell():
                self._has_shell = True
            case Expose():
                self._ports(instruction)
            case Copy() | Add():
                self._sources(instruction)
            case Run():
                pass

    def _arg(self, arg: Arg) -> None:
        for name, _ in arg.args:
            self._secret(arg.node, "ARG", name)
        values = resolve(arg, self._env, self._build_args, self._scope.values, self._watch)
        for name, value in values:
            self._args.add(name)
            if value is not None and name not in NOT_IN_ENVIRONMENT:
                self._env[name] = value

    def _watch(self, expansion: Expansion) -> None:
        if not self._known or self._node is None:
            return
        for name in sorted(expansion.unmatched - self._args - self._told - set(NOT_IN_ENVIRONMENT)):
            suggestion = self._suggest(name, self._env).replace("mean ", "mean $")
            self._report(rules.UNDEFINED_VAR, self._node, name, suggestion, at=f"${name}")
            self._told.add(name)

    def _secret(self, node: Node, keyword: str, name: str) -> None:
        words = set(name.lower().split("_"))
        if words & _SECRET and not words & _NO_SECRET:
            self._report(rules.SECRETS_USED_IN_ARG_OR_ENV, node, keyword, name, at=name)

    def _once(self, node: Node) -> None:
        """Of several, it is the earlier one that is of no use."""
        before = self._last.get(node.keyword)
        if before is not None:
            self._report(rules.MULTIPLE_INSTRUCTIONS_DISALLOWED, before, node.written)
        self._last[node.keyword] = node

    def _ports(self, expose: Expose) -> None:
        from pyd.build.ports import parse_exposed

        for text in expose.ports:
            try:
                found = parse_exposed(text)
            except InvalidArgument:
                continue  # the build says it
            if found.protocol != found.protocol.lower():
                self._report(rules.EXPOSE_PROTO_CASING, expose.node, text, at=text)
            if found.maps:
                self._report(rules.EXPOSE_INVALID_FORMAT, expose.node, text, at=text)

    def _sources(self, copy: Transfer) -> None:
        if self._ignored is None or copy.from_:
            return
        verb = "Add" if isinstance(copy, Add) else "Copy"
        for source in copy.sources:
            path = clean(source)
            if path in (".", "/") or (verb == "Add" and source.lower().startswith(_REMOTE)):
                continue
            if self._ignored(path):
                self._report(rules.COPY_IGNORED_FILE, copy.node, verb, path, at=source)
