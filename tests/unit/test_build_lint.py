"""The rules of `build --check`: what each finds with BuildKit's words, and what it lets pass."""

from __future__ import annotations

from typing import Any

import pytest

from pyd.build import lint
from pyd.build.instructions import interpret
from pyd.build.lint import Finding, Options, Start, check, failure, options_of
from pyd.build.parser import parse
from pyd.errors import InvalidArgument
from pyd.oci.platform import Platform


def findings(text: str, build_args: dict[str, str] | None = None, **known: Any) -> list[Finding]:
    dockerfile = parse(text.encode())
    known.setdefault("build_platform", Platform("linux", "amd64"))
    return check(dockerfile, interpret(dockerfile), build_args or {}, **known)


def found(text: str, build_args: dict[str, str] | None = None, **known: Any) -> list[str]:
    return [str(finding) for finding in findings(text, build_args, **known)]


def names(text: str, build_args: dict[str, str] | None = None, **known: Any) -> set[str]:
    return {finding.rule for finding in findings(text, build_args, **known)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a AS Bee", "StageNameCasing: Stage name 'Bee' should be lowercase (line 1)"),
        ("FROM a as b", "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"),
        ("FROM a\nRUN b \\\n\n c", "NoEmptyContinuation: Empty continuation line (line 3)"),
        (
            "FROM a\nRUN b\nrun c",
            "ConsistentInstructionCasing: Command 'run' should match the case of the command "
            "majority (uppercase) (line 3)",
        ),
        (
            "from a\nrun b\nRun c",
            "ConsistentInstructionCasing: Command 'Run' should match the case of the command "
            "majority (lowercase) (line 3)",
        ),
        (
            "FROM a AS b\nFROM c AS b",
            'DuplicateStageName: Duplicate stage name "b", stage names should be unique (line 2)',
        ),
        (
            "FROM a AS scratch",
            'ReservedStageName: Stage name should not use the same name as reserved stage "scratch" (line 1)',
        ),
        (
            "FROM a\nCMD b",
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior "
            "related to OS signals (line 2)",
        ),
        (
            "FROM a\nMAINTAINER b",
            "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)",
        ),
        (
            "ARG VERSION=1\nFROM a${VERSIN}",
            "UndefinedArgInFrom: FROM argument 'VERSIN' is not declared (did you mean VERSION?) (line 2)",
        ),
        (
            "FROM a\nWORKDIR b",
            'WorkdirRelativePath: Relative workdir "b" can have unexpected results if the base '
            "image changes (line 2)",
        ),
        (
            "FROM scratch\nENV ABLE=1\nCOPY $ABEL /",
            "UndefinedVar: Usage of undefined variable '$ABEL' (did you mean $ABLE?) (line 3)",
        ),
        ("FROM scratch\nUSER $zzzzzz", "UndefinedVar: Usage of undefined variable '$zzzzzz' (line 2)"),
        (
            'FROM a\nCMD ["b"]\nCMD ["c"]',
            "MultipleInstructionsDisallowed: Multiple CMD instructions should not be "
            "used in the same stage because only the last one will be used (line 2)",
        ),
        (
            "FROM a\nENV b c",
            'LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key '
            'value" format (line 2)',
        ),
        (
            "FROM --platform=$TARGETPLATFORM a",
            "RedundantTargetPlatform: Setting platform to predefined "
            "$TARGETPLATFORM in FROM is redundant as this is the default behavior (line 1)",
        ),
        (
            "FROM a\nARG DB_PASSWORD",
            "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data "
            '(ARG "DB_PASSWORD") (line 2)',
        ),
        (
            "ARG TAG\nFROM a:$TAG",
            "InvalidDefaultArgInFrom: Default value for ARG a:$TAG results in empty or "
            "invalid base image name (line 2)",
        ),
        (
            "FROM --platform=linux/arm64 a AS b",
            "FromPlatformFlagConstDisallowed: FROM --platform flag should not "
            'use constant value "linux/arm64" (line 1)',
        ),
        (
            "# check=experimental=InvalidDefinitionDescription\n# what\nFROM a AS b",
            "InvalidDefinitionDescription: "
            "Comment for FROM should follow the format: `# b <description>` (line 3)",
        ),
        (
            "FROM a\nEXPOSE 80/TCP",
            "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 2)",
        ),
        (
            "FROM a\nEXPOSE 1:80",
            "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or "
            "host-port mapping, found '1:80' (line 2)",
        ),
    ],
)
def test_each_rule_finds(text: str, message: str) -> None:
    assert found(text) == [message]


def test_files_that_are_not_in_the_context() -> None:
    text = "FROM a AS b\nCOPY x/../y z/ . /\nADD https://y /\nCOPY --from=b y /\nADD y /"
    assert found(text, ignored=lambda path: path == "y") == [
        'CopyIgnoredFile: Attempting to Copy file "y" that is excluded by .dockerignore (line 2)',
        'CopyIgnoredFile: Attempting to Add file "y" that is excluded by .dockerignore (line 5)',
    ]
    assert found(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "from a as b\nrun c", "FROM a AS b", "FROM a\nRUN b \\\n# c\n d", 'FROM a\nSHELL ["x"]\nCMD b',
        "FROM a\nRUN b", "ARG V\nFROM ${V:-a}", "FROM a\nWORKDIR /b\nWORKDIR c",
        "FROM a AS x\nWORKDIR /b\nFROM x\nWORKDIR c",
        "FROM scratch\nARG a\nUSER $a", "FROM scratch AS a\nENV b=1\nFROM a\nUSER $b",
        "FROM scratch\nUSER $PATH",
        "FROM a\nUSER $unknown", 'FROM a\nCMD ["b"]\nFROM c\nCMD ["d"]',
        "FROM a\nENV PUBLIC_KEY=1 TOKEN_FILE=2 monkey=3",
        "FROM --platform=$BUILDPLATFORM a", "FROM --platform=linux/arm64 a AS b-arm64",
        "# about the image\nFROM a AS b", "FROM a\nEXPOSE 80/tcp", "FROM scratch\nRUN $x",
        "FROM scratch\nENV A='$x'",
        "FROM scratch\nCOPY <<'E' /a\n$x\nE", "ARG A=1\nFROM scratch\nARG A\nUSER $A",
        "FROM scratch\nARG TARGETOS\nUSER $TARGETOS",
        "FROM scratch\nARG BUILDKIT_SBOM_SCAN_STAGE=1\nUSER x", 'FROM a\nHEALTHCHECK NONE\nENTRYPOINT ["a"]',
    ],
)  # fmt: skip
def test_what_is_let_pass(text: str) -> None:
    assert found(text) == []


def test_values_are_those_of_the_build() -> None:
    text = "ARG V\nFROM a:$V AS b\nFROM scratch\nARG C\nUSER $C"
    assert names(text) == {"InvalidDefaultArgInFrom"}
    assert names("FROM scratch\nUSER $C", {"C": "1"}) == {"UndefinedVar"}
    assert names("FROM a\nUSER $C", bases={"a": Start({"C": "1"})}) == set()
    assert names("FROM a\nUSER $D", bases={"a": Start({"C": "1"})}) == {"UndefinedVar"}
    assert names("FROM a\nCMD b", bases={"a": Start(has_shell=True)}) == set()
    assert names("FROM --platform=$TARGETPLATFORM a", target_platform=Platform("linux", "arm64")) == {
        "RedundantTargetPlatform"
    }


def test_the_place_is_that_of_the_word() -> None:
    (finding,) = findings("FROM scratch\nCOPY a \\\n  $bee /")
    assert (finding.location.line, finding.location.column) == (3, 3)
    assert finding.url == "https://docs.docker.com/go/dockerfile/rule/undefined-var/"


def test_what_cannot_be_expanded_ends_the_stage_and_not_the_check() -> None:
    assert names("FROM a\nUSER ${x\nCMD b\nFROM c\nCMD d") == {"JSONArgsRecommended"}
    assert names("FROM ${x\nMAINTAINER a") == {"MaintainerDeprecated"}
    assert names("ARG a=${x\nFROM b\nMAINTAINER a") == {"MaintainerDeprecated"}


def test_options() -> None:
    text = "FROM a AS B\nMAINTAINER c"
    assert names(f"# check=skip=StageNameCasing\n{text}") == {"MaintainerDeprecated"}
    assert names(f"# check=skip=StageNameCasing, MaintainerDeprecated;error=true\n{text}") == set()
    assert names(f"# check=skip=all\n{text}") == set()
    given = {"BUILDKIT_DOCKERFILE_CHECK": "skip=MaintainerDeprecated"}
    assert names(f"# check=skip=all\n{text}", given) == {"StageNameCasing"}
    assert options_of(parse(f"#!x\n# check=error=true\n{text}".encode())).returns_error
    everything = Options.parse("experimental=all; error=1")
    assert everything.all_experimental and everything.returns_error
    assert names("# hm\nFROM a AS b", options=everything) == {"InvalidDefinitionDescription"}


@pytest.mark.parametrize("text", ["skip", "skip=a;x=b", "error=maybe", ";"])
def test_options_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="check option"):
        Options.parse(text)


def test_findings_can_be_an_error() -> None:
    some = findings("FROM a AS B\nMAINTAINER c\nMAINTAINER d")
    assert failure(some, Options()) is None and failure([], Options(returns_error=True)) is None
    error = failure(some, Options(returns_error=True))
    assert str(error) == "lint violation found for rules: StageNameCasing, MaintainerDeprecated"


def test_names_in_messages_are_text() -> None:
    assert found("FROM scratch\nUSER ${{}".replace("${{}", "$a_{}")) == [
        "UndefinedVar: Usage of undefined variable '$a_' (line 2)"
    ]
    assert found("FROM a\nEXPOSE 1:80\nWORKDIR {0}{}")[-1].startswith(
        'WorkdirRelativePath: Relative workdir "{0}{}"'
    )


def test_many_findings_take_no_endless_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(name: str, known: list[str]) -> str:
        asked.append(name)
        return ""

    monkeypatch.setattr(lint, "did_you_mean", counted)
    many = "".join(f"ENV a{number}=$b{number}\n" for number in range(200))
    assert len(found(f"FROM scratch\n{many}")) == 200 and len(asked) == 50
