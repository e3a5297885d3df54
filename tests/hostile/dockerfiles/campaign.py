"""Damaged Dockerfiles by the thousand: refused with a place, or read whole; never a crash, nor a long wait.

A tenth are not damaged, and those must be read. What is accepted goes through everything that a build does
before it executes: stages, arguments, expansion, config, history, triggers, checks.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import cache
from random import Random

from pyd.build import arguments, command, config, history, lint
from pyd.build.instructions import Arg, Cmd, Instruction, OnBuild, Run, Script, expand, interpret, trigger
from pyd.build.kinds import Stage
from pyd.build.location import DockerfileError
from pyd.build.parser import Dockerfile, parse
from pyd.errors import InvalidArgument
from pyd.oci.platform import Platform
from tests.hostile.dockerfiles.damage import damaged
from tests.hostile.dockerfiles.grammar import Maker
from tests.support import build_data

LONGEST = 3.0  # seconds for one file
_BUILD_ARGS = {"version": "3", "a": "x y", "http_proxy": "p"}
_PLATFORM = Platform("linux", "amd64")


@dataclass(frozen=True)
class Outcome:
    """`failure` is empty when all is well."""

    fate: str  # refused, or accepted
    failure: str = ""
    classes: tuple[str, ...] = ()
    seconds: float = 0.0


@cache
def corpus() -> list[bytes]:
    """Files of BuildKit's tests, when they are there; it parses them all."""
    return build_data.dockerfiles()


def file_of(seed: int) -> tuple[bytes, bool]:
    """(text, whether it is damaged)"""
    random = Random(seed)
    known = corpus()
    data = random.choice(known) if known and random.random() < 0.3 else Maker(random).dockerfile()
    if random.random() < 0.1:
        return Maker(random).dockerfile(), False
    return damaged(data, random), True


def run(seed: int, place: object = None) -> Outcome:
    data, is_damaged = file_of(seed)
    begun = time.process_time()
    fate, failure = "accepted", ""
    try:
        dockerfile = parse(data)
        failure = _misplaced(dockerfile)
        script = interpret(dockerfile)
        _build(dockerfile, script)
    except DockerfileError as error:
        fate = "refused"
        failure = failure or _bad_error(error)
        if not is_damaged:
            failure = f"a file that is right was refused: {error}"
    except Exception as error:
        fate, failure = "refused", f"{type(error).__name__}: {error}"
    seconds = time.process_time() - begun
    if seconds > LONGEST:
        failure = failure or f"took {seconds:.1f} seconds"
    return Outcome(fate, failure, (), seconds)


def _misplaced(dockerfile: Dockerfile) -> str:
    """The place of an instruction is where its keyword stands; what follows another begins behind it."""
    last = 0
    for node in dockerfile.nodes:
        place = node.location
        if not last < place.line <= place.end_line <= len(dockerfile.lines):
            return f"{node.keyword} is said to be in the lines {place.line} to {place.end_line}"
        rest = dockerfile.lines[place.line - 1][place.column - 1 :]
        is_cut = node.written.startswith(rest.rstrip(" \t")[:-1])  # continued in the middle of the keyword
        if not rest.startswith(node.written) and not is_cut:
            return f"{node.written} does not stand at {place.line}:{place.column}"
        last = place.end_line
    return ""


def _bad_error(error: DockerfileError) -> str:
    place, lines = error.location, error.source.lines
    if not str(error).isprintable() or not error.render().replace("\n", "").isprintable():
        return f"an error that a terminal would obey: {error!r}"
    if lines and not (1 <= place.line <= len(lines) and 1 <= place.column <= len(lines[place.line - 1]) + 1):
        return f"an error outside the file: {error!r}"
    if len(str(error)) > 8000:
        return "an error of endless length"
    return ""


def _build(dockerfile: Dockerfile, script: Script) -> None:
    """What a build does before it executes anything. Raises DockerfileError."""
    given = arguments.predefined(_PLATFORM, _PLATFORM, "", _BUILD_ARGS)
    scope = arguments.global_scope(script, _BUILD_ARGS, given)
    for stage in script.stages:
        _stage(stage, scope)
    try:
        findings = lint.check(dockerfile, script, _BUILD_ARGS, ignored=lambda path: "x" in path)
    except DockerfileError:
        raise
    except InvalidArgument:
        return  # the options of the checks
    assert all(str(finding) for finding in findings)


def _stage(stage: Stage, scope: arguments.Scope) -> None:
    env: dict[str, str] = {"PATH": "/bin"}
    image: config.Config = {}
    has_cmd = False
    for instruction in stage.instructions:
        if isinstance(instruction, Arg):
            values = arguments.resolve(instruction, env, _BUILD_ARGS, scope.values)
            env |= {name: value for name, value in values if value is not None}
            _check_text(history.of_arg(values))
            continue
        made = expand(instruction, env)
        image = config.apply(image, made, cmd_is_set=has_cmd)
        has_cmd = has_cmd or isinstance(made, Cmd)
        env |= dict(entry.split("=", 1) for entry in image.get("Env", ()))
        _check_text(_history(made, image))
        if isinstance(made, OnBuild):
            try:
                trigger(made.expression, "base")
            except DockerfileError as error:  # the escape of the file is not that of the trigger
                assert not _bad_error(error), error
    json.dumps(image).encode()
    _check_text(*image.get("Env", ()))


def _history(made: Instruction, image: config.Config) -> str:
    if isinstance(made, Run):
        return history.of_run(command.execution(made, image).args, {})
    return history.created_by(made, image)


def _check_text(*texts: str) -> None:
    """What goes into a config can be written as UTF-8."""
    for text in texts:
        text.encode()
