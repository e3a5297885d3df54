"""build --call=check|outline|targets and --check: what is said of a Dockerfile, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyd.cli import main as cli

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
