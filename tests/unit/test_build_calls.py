"""build --call=check|outline|targets and --check: what is said of a Dockerfile, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyd.build.events import Watcher
from pyd.build.instructions import interpret
from pyd.build.parser import parse
from pyd.build.request import BuildRequest
from pyd.cli import main as cli
from pyd.engine import build_checks
from pyd.errors import InvalidArgument

DOCKERFILE = """\
# syntax=docker/dockerfile:1
ARG BASE=alpine
ARG UNUSED=1
# base has what all need
FROM ${BASE}:3 AS base
# VERSION of the tool
ARG VERSION=2
ARG TARGETARCH
FROM base AS tools
RUN --mount=type=secret,id=token,required --mount=type=ssh --mount=type=cache,target=/c make
# release is what people get
FROM scratch AS release
ARG NAME
COPY --from=tools /x /x
FROM busybox AS other
ARG OTHER=x
FROM release
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return tmp_path


def called(capfd: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    assert cli.main(["build", *map(str, words)]) == code
    return capfd.readouterr().out


def test_targets(context: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert called(capfd, "--call=targets", context).splitlines() == [
        "TARGET    DESCRIPTION",
        "base      has what all need",
        "tools",
        "release   is what people get",
        "other",
        "default",
    ]
    document = json.loads(called(capfd, "--call", "targets,format=json", context))
    assert document["targets"][2] == {
        "name": "release",
        "description": "is what people get",
        "base": "scratch",
        "location": {"ranges": [{"start": {"line": 12}, "end": {"line": 12}}]},
    }
    assert document["targets"][-1]["default"] is True


def test_outline(context: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("--call=outline", "--target", "release", "--build-arg", "VERSION=3", context)
    assert called(capfd, *words).splitlines() == [
        "TARGET:        release",
        "DESCRIPTION:   is what people get",
        "",
        "BUILD ARG   VALUE    DESCRIPTION",
        "BASE        alpine",
        "VERSION     3        of the tool",
        "NAME",
        "",
        "SECRET   REQUIRED",
        "token    true",
        "",
        "SSH       REQUIRED",
        "default   false",
        "",
        "CACHE MOUNT",
        "/c",
    ]
    document = json.loads(called(capfd, "--call=outline,format=json", "--target=other", context))
    assert [one["name"] for one in document["args"]] == ["OTHER"]
    assert "secrets" not in document


def test_unknown_target(context: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", "--call=outline", "--target=nonsense", str(context)]) == 1
    assert capfd.readouterr().err == (
        'ERROR: failed to build: failed to solve: target stage "nonsense" could not be found\n'
    )


def test_check(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM scratch\nCOPY a /a\n")
    assert called(capfd, "--check", tmp_path) == "Check complete, no warnings found.\n"
    file.write_text("FROM scratch AS Name\nCOPY a /a\nMAINTAINER me\nCMD a b\n")
    text = called(capfd, "--check", tmp_path, code=1)
    assert text.startswith("Check complete, 3 warnings have been found!\n\nWARNING: JSONArgsRecommended")
    assert (
        "WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\n"
        "Stage name 'Name' should be lowercase\n"
        "Dockerfile:1\n"
        "--------------------\n"
        "   1 | >>> FROM scratch AS Name\n"
    ) in text
    assert called(capfd, "--call=check,ignorestatus=true", tmp_path) == text
    document = json.loads(called(capfd, "--call=lint,format=json", tmp_path, code=1))
    assert {one["ruleName"] for one in document["warnings"]} == {
        "StageNameCasing", "MaintainerDeprecated", "JSONArgsRecommended",
    }  # fmt: skip
    assert document["sources"][0]["fileName"] == "Dockerfile"


def test_a_wrong_dockerfile(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOYP a b\n")
    for words in (["--check"], ["--call=targets"]):
        assert cli.main(["build", *words, str(tmp_path)]) == 1
        error = capfd.readouterr().err
        assert "   2 | >>> COYP a b\n" in error
        assert "ERROR: failed to build: failed to solve: Dockerfile:2:1: unknown instruction: COYP" in error


def test_a_dockerfile_on_standard_input(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import io
    import sys

    class Input:
        buffer = io.BytesIO(b"FROM scratch AS x\n")

    monkeypatch.setattr(sys, "stdin", Input())
    assert called(capfd, "--call=targets", "-").splitlines()[1].split() == ["x", "(default)"]


class Told(Watcher):
    def __init__(self) -> None:
        self.warnings: list[tuple[str, int]] = []

    def warns(self, text: str, line: int = 0) -> None:
        self.warnings.append((text, line))


def warned(text: str, **build_args: str) -> list[tuple[str, int]]:
    dockerfile, told = parse(text.encode()), Told()
    build_checks.warn(dockerfile, interpret(dockerfile), BuildRequest(build_args=build_args), told)
    return told.warnings


def test_a_build_warns() -> None:
    assert warned("FROM scratch\nARG A\nCOPY $A /a\n", A="1", HTTP_PROXY="x") == []
    assert warned("FROM scratch AS Up\nCMD x\n", FOO="1", BAR="2") == [
        ("StageNameCasing: Stage name 'Up' should be lowercase", 1),
        (
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related "
            "to OS signals",
            2,
        ),
        ("One or more build-args [BAR FOO] were not consumed", 0),
    ]


def test_warnings_that_are_errors() -> None:
    with pytest.raises(InvalidArgument, match="lint violation found for rules: StageNameCasing"):
        warned("# check=error=true\nFROM scratch AS Up\n")
    assert warned("# check=skip=all\nFROM scratch AS Up\n") == []
