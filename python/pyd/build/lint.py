"""`build --check`: what is allowed in a Dockerfile and most often wrong. Nothing is executed.

The rules see the file as the build will: variables have the values that they would have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from pyd.build import lint_rules as rules
from pyd.build import words
from pyd.build.arguments import NOT_IN_ENVIRONMENT, Scope, global_scope, predefined
from pyd.build.instructions import Maintainer, Script, Stage
from pyd.build.kinds import Arg
from pyd.build.lint_rules import Finding, Options, Rule
from pyd.build.lint_stage import StageLinter, Start
from pyd.build.location import DockerfileError
from pyd.build.parser import Dockerfile, Node
from pyd.build.suggest import did_you_mean
from pyd.build.words import Expansion, ExpansionError
from pyd.errors import InvalidArgument
from pyd.oci.platform import Platform
from pyd.oci.reference import Reference

__all__ = ["Finding", "Options", "Start", "check", "failure", "options_of"]

_SUGGESTIONS = 50
_KNOWN = 2000
_RESERVED = ("context", "scratch")


def options_of(dockerfile: Dockerfile, build_args: Mapping[str, str] = {}) -> Options:
    """Of --build-arg BUILDKIT_DOCKERFILE_CHECK, else of `# check=`. Raises InvalidArgument."""
    given = build_args.get("BUILDKIT_DOCKERFILE_CHECK")
    return Options.parse(dockerfile.directives.get("check", "") if given is None else given)


def failure(findings: Sequence[Finding], options: Options) -> InvalidArgument | None:
    """The error of a build whose checks are errors (`error=true`) and found something."""
    if not options.returns_error or not findings:
        return None
    names = ", ".join(dict.fromkeys(finding.rule for finding in findings))
    return InvalidArgument(
        f"lint violation found for rules: {names}", "correct it, or write # check=skip=RULE in the first line"
    )


def check(
    dockerfile: Dockerfile,
    script: Script,
    build_args: Mapping[str, str] = {},
    *,
    options: Options | None = None,
    target: str = "",
    build_platform: Platform | None = None,
    target_platform: Platform | None = None,
    bases: Mapping[str, Start] = {},
    ignored: Callable[[str], bool] | None = None,
) -> list[Finding]:
    """In the order of the lines. Raises InvalidArgument for wrong options.

    `bases` tells what is known of images by the name in FROM; in a stage on an unknown one no variable is
    called undefined. `ignored` says whether .dockerignore excludes a path of the context: None when there is
    no such file or when it has exceptions. What cannot be expanded is an error of the build, not a finding.
    """
    options = options_of(dockerfile, build_args) if options is None else options
    build = build_platform or Platform.host()
    linter = _Linter(dockerfile, script, options)
    linter.form()
    given = predefined(build, target_platform or build, target, build_args)
    try:
        linter.bases_of_defaults(given)
        scope = global_scope(script, build_args, given)
        linter.stages(scope, build_args, bases, ignored)
    except DockerfileError:
        pass
    return sorted(linter.findings, key=lambda finding: (finding.location.line, finding.location.column))


class _Linter:
    def __init__(self, dockerfile: Dockerfile, script: Script, options: Options) -> None:
        self._dockerfile, self._script, self._options = dockerfile, script, options
        self.findings: list[Finding] = []
        self._suggestions = 0

    def report(self, rule: Rule, node: Node, *about: str, at: str = "", line: int = 0) -> None:
        if not self._options.wants(rule):
            return
        place = node.find(at)
        if line:
            place = type(place)(line, 1, line)
        message = re.sub(r"\{(\d?)\}", _filler(about), rule.text)
        self.findings.append(Finding(rule.name, rule.description, rule.url, message, place))

    def suggest(self, name: str, known: Iterable[str]) -> str:
        """For the first findings only: a comparison with all names is not cheap."""
        self._suggestions += 1
        return did_you_mean(name, sorted(known)[:_KNOWN]) if self._suggestions <= _SUGGESTIONS else ""

    def form(self) -> None:
        """What needs no values."""
        for node in self._dockerfile.nodes:
            if node.line.empty:
                self.report(rules.NO_EMPTY_CONTINUATION, node, line=node.line.empty[0])
        for arg in self._script.global_args:
            self._description(arg)
        for stage in self._script.stages:
            self._from(stage)
            for each in stage.instructions:
                if isinstance(each, Maintainer):
                    self.report(rules.MAINTAINER_DEPRECATED, each.node)
                elif isinstance(each, Arg):
                    self._description(each)
        self._names()
        self._casing()

    def _from(self, stage: Stage) -> None:
        node = stage.node
        if len(node.words) == 3:
            as_word, name = node.words[1:]
            if name != name.lower():
                self.report(rules.STAGE_NAME_CASING, node, name, at=name)
            written = node.written
            if (written.islower() and not as_word.islower()) or (written.isupper() and not as_word.isupper()):
                self.report(rules.FROM_AS_CASING, node, as_word, written, at=f" {as_word} ")
        if stage.name:
            self._described(node, "FROM", [stage.name])

    def _description(self, arg: Arg) -> None:
        self._described(arg.node, "ARG", [name for name, _ in arg.args])

    def _described(self, node: Node, keyword: str, names: list[str]) -> None:
        if node.comments and node.comments[-1].split(" ")[0] not in names:
            example = names[0] if len(names) == 1 else "<arg_key>"
            self.report(rules.INVALID_DEFINITION_DESCRIPTION, node, keyword, example)

    def _names(self) -> None:
        seen: set[str] = set()
        for stage in self._script.stages:
            if stage.name in _RESERVED:
                self.report(rules.RESERVED_STAGE_NAME, stage.node, stage.name)
            if stage.name and stage.name in seen:
                self.report(rules.DUPLICATE_STAGE_NAME, stage.node, stage.name)
            seen.add(stage.name)

    def _casing(self) -> None:
        nodes = [
            node
            for stage in self._script.stages
            for node in (stage.node, *(each.node for each in stage.instructions))
        ]
        lower = sum(node.written == node.written.lower() for node in nodes)
        upper = sum(node.written == node.written.upper() for node in nodes)
        wanted, casing = (str.lower, "lowercase") if lower > upper else (str.upper, "uppercase")
        for node in nodes:
            if node.written != wanted(node.written):
                self.report(rules.CONSISTENT_INSTRUCTION_CASING, node, node.written, casing)

    def bases_of_defaults(self, given: Mapping[str, str]) -> None:
        """The names of base images when no --build-arg is given."""
        scope = global_scope(self._script, {}, given)
        for stage in self._script.stages:
            try:
                Reference.parse(words.expand(stage.base, scope.values, stage.node.escape).text)
            except ExpansionError:
                return
            except InvalidArgument:
                self.report(rules.INVALID_DEFAULT_ARG_IN_FROM, stage.node, stage.base, at=stage.base)

    def stages(
        self,
        scope: Scope,
        build_args: Mapping[str, str],
        bases: Mapping[str, Start],
        ignored: Callable[[str], bool] | None,
    ) -> None:
        ends: dict[str, Start] = {}
        for stage in self._script.stages:
            base = self._base(stage, scope)
            if base is None:
                return
            start = ends.get(base.lower()) or bases.get(base)
            if start is None:
                start = Start() if base == "scratch" else Start(known=False)
            linter = StageLinter(self.report, self.suggest, start, scope, build_args, ignored)
            end = linter.run(stage)
            if stage.name:
                ends[stage.name] = end

    def _base(self, stage: Stage, scope: Scope) -> str | None:
        """The expanded name; None when it cannot be expanded."""
        node = stage.node
        try:
            name = words.expand(stage.base, scope.values, node.escape)
            platform = words.expand(stage.platform, scope.values, node.escape)
        except ExpansionError:
            return None
        for name_of in (*_undeclared(name, scope), *_undeclared(platform, scope)):
            hint = self.suggest(name_of, scope.declared)
            self.report(rules.UNDEFINED_ARG_IN_FROM, node, name_of, hint, at=f"${name_of}")
        if stage.platform:
            self._platform(stage, platform, scope)
        return name.text

    def _platform(self, stage: Stage, found: Expansion, scope: Scope) -> None:
        if found.used == {"TARGETPLATFORM"} and not found.unmatched:
            if found.text == scope.values["TARGETPLATFORM"]:
                self.report(rules.REDUNDANT_TARGET_PLATFORM, stage.node, stage.platform, at="--platform")
        elif not found.used and not found.unmatched:
            try:
                platform = Platform.parse(found.text)
            except InvalidArgument:
                return
            if platform.os not in stage.name and platform.architecture not in stage.name:
                self.report(
                    rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED, stage.node, found.text, at="--platform"
                )


def _undeclared(found: Expansion, scope: Scope) -> Iterable[str]:
    return sorted(found.unmatched - scope.declared - set(NOT_IN_ENVIRONMENT))


def _filler(about: Sequence[str]) -> Callable[[re.Match[str]], str]:
    """For {} and {0} in a text; what is put in is not looked at again."""
    rest = iter(about)
    return lambda match: about[int(match[1])] if match[1] else next(rest)
