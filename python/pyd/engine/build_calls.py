"""`build --call`: answers to questions about a Dockerfile, also as JSON in BuildKit's shape."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pyd.build import contexts, lint, outline
from pyd.build.instructions import interpret
from pyd.build.kinds import Script
from pyd.build.parser import Dockerfile, parse
from pyd.build.scratch import Scratch
from pyd.record import Record

if TYPE_CHECKING:
    from pyd.build.request import BuildRequest

Findings = Sequence[lint.Finding]
Outline = outline.Outline
Target = outline.Target


class Asked(Record):
    """The Dockerfile that was asked about, and what was found."""

    name: str
    lines: tuple[str, ...]
    data: bytes
    answer: Any


def check(request: BuildRequest) -> Asked:
    """`answer`: Findings, in the order of the lines. Raises DockerfileError."""
    with _opened(request) as (dockerfile, script, data):
        found = lint.check(dockerfile, script, request.build_args, target=request.target)
        return Asked(dockerfile.name, dockerfile.lines, data, found)


def describe(request: BuildRequest) -> Asked:
    """`answer`: the Outline of what would be built."""
    with _opened(request) as (dockerfile, script, data):
        found = outline.outline(script, request.target, request.build_args)
        return Asked(dockerfile.name, dockerfile.lines, data, found)


def targets(request: BuildRequest) -> Asked:
    """`answer`: a tuple of Target."""
    with _opened(request) as (dockerfile, script, data):
        return Asked(dockerfile.name, dockerfile.lines, data, outline.targets(script))


@contextmanager
def _opened(request: BuildRequest) -> Iterator[tuple[Dockerfile, Script, bytes]]:
    with (
        tempfile.TemporaryDirectory(prefix="pyd-call-") as scratch,
        contexts.opened(request, Scratch(scratch)) as found,
    ):
        dockerfile = parse(found.dockerfile, found.dockerfile_name)
        yield dockerfile, interpret(dockerfile), found.dockerfile


def check_document(asked: Asked) -> dict[str, Any]:
    return {
        "warnings": [
            {
                "ruleName": one.rule,
                "description": one.description,
                "url": one.url,
                "detail": one.message,
                "location": _location(one.location.line, one.location.end_line),
            }
            for one in asked.answer
        ],
        "sources": [_source(asked)],
    }


def outline_document(asked: Asked) -> dict[str, Any]:
    found: Outline = asked.answer
    document: dict[str, Any] = {"name": found.name, "description": found.description}
    document["args"] = [
        {
            "name": one.name,
            "description": one.description,
            "value": one.value,
            "location": _location(one.line),
        }
        for one in found.args
    ]
    for key, needs in (("secrets", found.secrets), ("ssh", found.ssh)):
        document[key] = [
            {"name": one.name, "required": one.is_required, "location": _location(one.line)} for one in needs
        ]
    document["cache"] = [{"ID": one.name, "location": _location(one.line)} for one in found.caches]
    document = {key: value for key, value in document.items() if value}
    return document | {"sources": [base64.b64encode(asked.data).decode()]}


def targets_document(asked: Asked) -> dict[str, Any]:
    return {
        "targets": [
            {
                **{
                    key: value
                    for key, value in (
                        ("name", one.name),
                        ("default", one.is_default),
                        ("description", one.description),
                        ("base", one.base),
                        ("platform", one.platform),
                    )
                    if value
                },
                "location": _location(one.line),
            }
            for one in asked.answer
        ],
        "sources": [base64.b64encode(asked.data).decode()],
    }


def target_names(context: str, file: str) -> list[str]:
    """For completion: the names of the stages; empty for what is no local Dockerfile that can be read."""
    from pyd.build.request import BuildRequest
    from pyd.errors import PydError

    if not os.path.isdir(context) or file == "-":
        return []
    try:
        found = targets(BuildRequest(context=context, dockerfile=file))
    except PydError:
        return []
    return [one.name for one in found.answer if one.name]


def argument_names(context: str, file: str) -> list[str]:
    """The same of the ARGs."""
    from pyd.build.request import BuildRequest
    from pyd.errors import PydError

    if not os.path.isdir(context) or file == "-":
        return []
    try:
        with _opened(BuildRequest(context=context, dockerfile=file)) as (_, script, _):
            return outline.argument_names(script)
    except PydError:
        return []


def _location(first: int, last: int = 0) -> dict[str, Any]:
    return {"ranges": [{"start": {"line": first}, "end": {"line": max(first, last)}}]}


def _source(asked: Asked) -> dict[str, Any]:
    data = base64.b64encode(asked.data).decode()
    return {"fileName": asked.name, "language": "Dockerfile", "data": data}
