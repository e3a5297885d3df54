"""Nodes to typed instructions and stages; variables in their fields; flags, mounts, triggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pyd.build.heredocs import Heredoc
from pyd.build.instructions import (
    Add,
    Arg,
    Copy,
    HealthCheck,
    Instruction,
    OnBuild,
    Run,
    Script,
    expand,
    interpret,
    trigger,
)
from pyd.build.kinds import Content, Device, Mount
from pyd.build.location import DockerfileError
from pyd.build.parser import parse
from pyd.build.words import Expansion


def script(text: str) -> Script:
    return interpret(parse(text.encode()))


def one(line: str, env: Mapping[str, str] | None = None) -> Any:
    """The only instruction of a stage, expanded when there is an environment."""
    (made,) = script(f"FROM scratch\n{line}").stages[0].instructions
    return made if env is None else expand(made, env)


def values(made: Instruction) -> dict[str, Any]:
    """The fields that do not have their default."""
    return {
        name: value
        for name, value in made.__dict__.items()
        if name != "node" and value != type(made)._defaults.get(name, object)
    }


def refusal(line: str, env: Mapping[str, str] | None = None) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        one(line, env)
    return caught.value


def test_stages() -> None:
    found = script(
        "ARG V=1 W\nFROM --platform=$BUILDPLATFORM a:$V AS Build\nRUN x\n"
        "# two is the second\nfrom build as two\nUSER y"
    )
    assert [arg.args for arg in found.global_args] == [(("V", "1"), ("W", None))]
    first, second = found.stages
    assert (first.name, first.index, first.base, first.platform) == ("build", 0, "a:$V", "$BUILDPLATFORM")
    assert (second.name, second.index, second.base, second.comment) == ("two", 1, "build", "is the second")
    assert [type(each).__name__ for each in (*first.instructions, *second.instructions)] == ["Run", "User"]
    assert second.location.line == 5


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("RUN a  b", {"command": ("a  b",), "shell_form": True}),
        ('RUN ["a", "$b"]', {"command": ("a", "$b"), "shell_form": False}),
        ("RUN", {"command": (), "shell_form": True}),
        ("RUN --network=none --security=insecure a",
         {"command": ("a",), "shell_form": True, "network": "none", "security": "insecure"}),
        ("RUN --device=v/c=x,required --device=name=y a",
         {"command": ("a",), "shell_form": True, "devices": (Device("v/c=x", True), Device("y"))}),
        ("RUN <<E cat\nx\nE\n",
         {"command": ("<<E cat",), "shell_form": True, "heredocs": (Heredoc("E", True, False, 0, "x\n"),)}),
        ("COPY a b $c", {"sources": ("a", "b"), "dest": "$c"}),
        ("COPY --from=x --chown=1:2 --chmod=755 --link --parents --exclude=a --exclude=b c d",
         {"sources": ("c",), "dest": "d", "from_": "x", "chown": "1:2", "chmod": "755", "link": True,
          "parents": True, "excludes": ("a", "b")}),
        ("COPY --link=false a b", {"sources": ("a",), "dest": "b"}),
        ('COPY ["a b", "<<c", "d"]', {"sources": ("a b", "<<c"), "dest": "d"}),
        ("COPY <<-a b <<'c' /d\n\t$x\na\ny\nc",
         {"sources": ("b",), "dest": "/d",
          "contents": (Content("a", "$x\n", True), Content("c", "y\n", False))}),
        ("ADD --checksum=sha256:x --keep-git-dir=false --unpack a b",
         {"sources": ("a",), "dest": "b", "checksum": "sha256:x", "keep_git_dir": False, "unpack": True}),
        ("ENV a=b c='d'", {"pairs": (("a", "b"), ("c", "'d'"))}),
        ("ENV a b c", {"pairs": (("a", "b c"),)}),
        ("LABEL a=", {"pairs": (("a", ""),)}),
        ("ARG a b= c=d", {"args": (("a", None), ("b", ""), ("c", "d"))}),
        ("EXPOSE 9 80/udp 8", {"ports": ("8", "80/udp", "9")}),
        ("VOLUME /a /b", {"paths": ("/a", "/b")}),
        ('VOLUME ["/a b"]', {"paths": ("/a b",)}),
        ("USER a b", {"user": "a b"}),
        ("WORKDIR /a b", {"path": "/a b"}),
        ('SHELL ["a", "-c"]', {"shell": ("a", "-c")}),
        ("STOPSIGNAL 9", {"signal": "9"}),
        ("MAINTAINER a b", {"maintainer": "a b"}),
        ("CMD a $b", {"command": ("a $b",), "shell_form": True}),
        ("CMD []", {"command": (), "shell_form": False}),
        ('ENTRYPOINT ["a"]', {"command": ("a",), "shell_form": False}),
        ("HEALTHCHECK none", {"test": ("NONE",)}),
        ("HEALTHCHECK --interval=1m30s --timeout=.5s --start-period=0 --start-interval=2s --retries=3 CMD a",
         {"test": ("CMD-SHELL", "a"), "interval": 90_000_000_000, "timeout": 500_000_000,
          "start_interval": 2_000_000_000, "retries": 3}),
        ('HEALTHCHECK CMD ["a"]', {"test": ("CMD", "a")}),
        ("ONBUILD  RUN a", {"expression": "RUN a"}),
        ("onbuild RUN <<E\nx\nE", {"expression": "RUN <<E\nx\nE"}),
    ],
)  # fmt: skip
def test_fields(line: str, expected: dict[str, Any]) -> None:
    assert values(one(line)) == expected


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("FORM a", 1, "unknown instruction: FORM (did you mean FROM?)"),
        ("entrypont a", 1, "unknown instruction: entrypont (did you mean entrypoint?)"),
        ("SOMETHING a", 1, "unknown instruction: SOMETHING"),
        ("COPY --frm=x a b", 6, "unknown flag: --frm (did you mean --from?)"),
        ("COPY --link --chwon=x a b", 13, "unknown flag: --chwon (did you mean --chown?)"),
        ("ADD --from=x a b", 5, "unknown flag: --from"),
        ("COPY --from a b", 6, "missing a value on flag: from"),
        ("COPY --from=a --from=b a b", 6, "duplicate flag specified: from"),
        ("COPY --link=x a b", 6, "expecting boolean value for flag link, not: x"),
        ("COPY --link= a b", 6, "missing a value on flag: link"),
        ("COPY --from=$X a b", 6, "'from' doesn't support variable expansion, define alias stage instead"),
        ("COPY a", 1, "COPY requires at least two arguments"),
        ("COPY a <<E\nx\nE", 8, "COPY cannot accept a heredoc as a destination"),
        ("COPY <<../E /x\nx\n../E", 6, "a here-document that becomes a file cannot have the name '../E'"),
        ("COPY << E /x\ny\nE", 6, "COPY uses only 0 of its here-documents"),
        ("HEALTHCHECK --retries=1 NONE", 1, "HEALTHCHECK NONE takes no arguments"),
        ("STOPSIGNAL --x 9", 12, "unknown flag: --x"),
        ("RUN --network=x a", 5, 'invalid network mode "x"'),
        ("RUN --security=x a", 5, 'security "x" is not valid'),
        ("RUN --mount=from=$X a", 13, "'from' doesn't support variable expansion"),
        ("ENV =b", 5, "ENV names can not be blank"),
        ("ENV", 1, "ENV requires at least one argument"),
        ("ARG =b", 5, "ARG names can not be blank"),
        ("ARG --required a", 5, "unknown flag: --required"),
        ("EXPOSE", 1, "EXPOSE requires at least one argument"),
        ('VOLUME [" "]', 1, "VOLUME specified can not be an empty string"),
        ("USER", 1, "USER requires exactly one argument"),
        ("SHELL a", 1, "SHELL requires the arguments to be in JSON form"),
        ("SHELL []", 1, "SHELL requires at least one argument"),
        ('RUN ["a\\u0000"]', 1, "RUN has a null byte"),
        ("WORKDIR /a\0b", 1, "WORKDIR has a null byte"),
        ("HEALTHCHECK", 1, "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE a", 1, "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK X a", 13, 'Unknown type "X" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK CMD", 1, "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK --interval=5 CMD a", 13, 'time: missing unit in duration "5"'),
        ("HEALTHCHECK --interval=x CMD a", 13, 'time: invalid duration "x"'),
        ("HEALTHCHECK --timeout=1us CMD a", 13, 'Interval "timeout" cannot be less than 1ms'),
        ("HEALTHCHECK --timeout=-1s CMD a", 13, 'Interval "timeout" cannot be less than 1ms'),
        ("HEALTHCHECK --interval=9999999999h CMD a", 13, "time: invalid duration"),
        ("HEALTHCHECK --retries=-1 CMD a", 13, "--retries cannot be negative (-1)"),
        ("HEALTHCHECK --retries=x CMD a", 13, "invalid number of retries: x"),
        ("ONBUILD", 1, "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN a", 1, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD FROM a", 1, "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD maintainer a", 1, "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD COPY a", 9, "COPY requires at least two arguments"),
        ("ONBUILD RNU a", 9, "unknown instruction: RNU (did you mean RUN?)"),
        ("FROM a b", 1, "FROM requires either one or three arguments"),
        ("FROM a AS 1b", 11, 'invalid name for build stage: "1b"'),
        ("FROM --platfrom=x a", 6, "unknown flag: --platfrom (did you mean --platform?)"),
    ],
)
def test_what_is_refused_has_its_place(line: str, column: int, message: str) -> None:
    error = refusal(line)
    assert error.reason.startswith(message), error
    assert (error.location.line, error.location.column) == (2, column)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RUN a", "no build stage in current context"),
        ("ARG a\nENV a=b\nFROM c", "no build stage in current context"),
        ("ARG a", "dockerfile contains no stages to build"),
    ],
)
def test_without_a_stage(text: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message):
        script(text)


ENV = {"X": "v", "N": "5", "S": "1 2", "T": "tmpfs"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ENV $X=a$X b='$X'", {"pairs": (("v", "av"), ("b", "$X"))}),
        ("LABEL a=\"$X\"", {"pairs": (("a", "v"),)}),
        ("COPY --chown=$N --chmod=$N --exclude=$X $X ${Y:-z} $X/",
         {"sources": ("v", "z"), "dest": "v/", "chown": "5", "chmod": "5", "excludes": ("v",)}),
        ("ADD --checksum=$X a b", {"sources": ("a",), "dest": "b", "checksum": "v"}),
        ("COPY <<a <<'b' /c\n'$X' \\$X \"\na\n$X\nb",
         {"sources": (), "dest": "/c",
          "contents": (Content("a", "'v' $X \"\n", True), Content("b", "$X\n", False))}),
        ("WORKDIR /$X", {"path": "/v"}), ("USER $X:$N", {"user": "v:5"}), ("STOPSIGNAL $N", {"signal": "5"}),
        ("VOLUME $X", {"paths": ("v",)}), ("EXPOSE $S 3", {"ports": ("1", "2", "3")}),
        ("RUN echo $X", {"command": ("echo $X",), "shell_form": True}),
        ("CMD $X", {"command": ("$X",), "shell_form": True}),
        ("ARG a=$X", {"args": (("a", "$X"),)}),
        ("ONBUILD RUN $X", {"expression": "RUN $X"}),
    ],
)  # fmt: skip
def test_what_is_expanded(line: str, expected: dict[str, Any]) -> None:
    assert values(one(line, ENV)) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ENV a=${X", "failed to process"), ("ENV $Y=1", "ENV names can not be blank"),
        ("LABEL $Y=1", "LABEL names"),
        ("VOLUME $Y", "VOLUME specified can not be an empty string"), ("USER ${Y:?gone}", "Y: gone"),
    ],
)  # fmt: skip
def test_what_cannot_be_expanded_has_its_place(line: str, message: str) -> None:
    error = refusal(line, ENV)
    assert message in error.reason and error.location.line == 2


def test_the_escape_of_the_file_is_that_of_its_words() -> None:
    (made,) = script("# escape=`\nFROM a\nENV p=C:\\x`$X").stages[0].instructions
    assert values(expand(made, ENV)) == {"pairs": (("p", "C:\\x$X"),)}


def test_expansions_are_told() -> None:
    told: list[Expansion] = []
    expand(one("COPY $X $Y /"), ENV, told.append)
    assert {name for each in told for name in each.unmatched} == {"Y"}
    assert {name for each in told for name in each.used} == {"X"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/a", Mount("", "bind", "/a")),
        ("type=bind,src=a,dst=/b,rw", Mount("", "bind", "/b", "a", readonly=False)),
        ("type=bind,from=x,source=a,destination=/b,ro=false",
         Mount("", "bind", "/b", "a", "x", readonly=False)),
        ("type=cache,target=/a", Mount("", "cache", "/a", readonly=False)),
        ("TYPE=CACHE,id=$X,target=/a,sharing=Locked,uid=1,gid=$N,mode=0700",
         Mount("", "cache", "/a", id="v", sharing="locked", readonly=False, uid=1, gid=5, mode=0o700)),
        ("type=$T,target=/a,size=1m", Mount("", "tmpfs", "/a", readonly=False, size=1 << 20)),
        ("type=secret,id=a,required,env=B", Mount("", "secret", "", id="a", required=True, env="B")),
        ("type=secret,src=a,required=false,mode=0444", Mount("", "secret", source="a", mode=0o444)),
        ("type=ssh,required=true", Mount("", "ssh", required=True)),
        ('type=bind,"source=a,b",target=/c', Mount("", "bind", "/c", "a,b")),
    ],
)  # fmt: skip
def test_mounts(text: str, expected: Mount) -> None:
    # quotes of the flag are taken away before those of the list are read
    (mount,) = one(f"RUN --mount='{text}' a", ENV).mounts
    assert mount == Mount(text, **{k: v for k, v in expected.__dict__.items() if k != "raw"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=bidn,target=/a", 'unsupported mount type "bidn" (did you mean bind?)'),
        ("tpye=bind", "unexpected key 'tpye' in 'tpye=bind' (did you mean type?)"),
        ("x", "invalid field 'x' must be a key=value pair"),
        ("type=cache,sharing=lock,target=/a", 'unsupported sharing value "lock"'),
        ("sharing=locked,target=/a", "invalid cache sharing set for bind mount"),
        ("required,target=/a", "unexpected key 'required' for mount type 'bind'"),
        ("size=1,target=/a", "unexpected key 'size' for mount type 'bind'"),
        ("type=tmpfs,size=x,target=/a", "invalid value for size: x"),
        ("uid=1,target=/a", 'uid not allowed for "bind" type mounts'),
        ("type=cache,uid=x,target=/a", "invalid value x for uid"),
        ("type=cache,uid=-1,target=/a", "invalid value -1 for uid"),
        ("type=cache,uid=4294967296,target=/a", "invalid value 4294967296 for uid"),
        ("type=cache,mode=8,target=/a", "invalid value 8 for mode"),
        ("ro=x,target=/a", "invalid value for ro: x"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,src=b", "both source and id can't be set"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret,id=a,sharing=shared", "secret mount should not define sharing"),
        ("type=cache,env=a,target=/a", "unexpected key 'env' for mount type 'cache'"),
        ('a"b', 'bare " in non-quoted-field'),
        ('"a', 'extraneous or missing " in quoted-field'),
        ('"a"b', 'extraneous or missing " in quoted-field'),
        ("", "failed to parse csv: it is empty"),
    ],
)
def test_mounts_that_are_refused(text: str, message: str) -> None:
    error = refusal(f"RUN --mount='{text}' a", ENV)
    assert message in error.reason and error.location.line == 2


def test_a_mount_says_before_the_expansion_what_it_needs() -> None:
    (mount,) = one("RUN --mount=type=cache,from=x,id=$X,target=/a,sharing=nonsense b").mounts
    assert (mount.type, mount.from_, mount.id, mount.target) == ("cache", "x", "", "/a")


def test_triggers() -> None:
    made = trigger("COPY --from=x a /b", "base:1")
    assert isinstance(made, Copy) and made.from_ == "x"
    assert isinstance(trigger("RUN <<E\nx\nE", "base:1"), Run)
    assert isinstance(trigger("ADD a b", "b"), Add) and isinstance(trigger("ARG a", "b"), Arg)
    assert isinstance(trigger("HEALTHCHECK NONE", "b"), HealthCheck)
    assert isinstance(one("ONBUILD USER x"), OnBuild)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("COPY a", "ONBUILD of base:1:1:1: COPY requires at least two arguments"),
        ("RUN a\nRUN b", "ONBUILD of base:1:2:1: onbuild trigger should be a single expression"),
        ("FROM a", "ONBUILD of base:1:1:1: FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD RUN a", "ONBUILD of base:1:1:1: Chaining ONBUILD via"),
        ("", "ONBUILD of base:1:1:1: file with no instructions"),
        ("RUN \ud800\udcff", "ONBUILD of base:1:1:1: "),
    ],
)
def test_triggers_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        trigger(text, "base:1")
    assert str(caught.value).startswith(message)
