"""What instructions do to a config, the commands of RUN, history, build arguments, .dockerignore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pyd.build import arguments, command, config, dockerignore, history
from pyd.build.durations import nanoseconds, written
from pyd.build.instructions import Arg, Cmd, Run, expand, interpret
from pyd.build.location import DockerfileError
from pyd.build.parser import parse
from pyd.build.ports import parse_exposed
from pyd.build.suggest import nearest
from pyd.engine import changes
from pyd.errors import InvalidArgument
from pyd.oci.platform import Platform


def applied(text: str, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config after these lines of a stage."""
    image: dict[str, Any] = dict(base or {})
    has_cmd = False
    for made in interpret(parse(f"FROM scratch\n{text}".encode())).stages[0].instructions:
        before = repr(image)
        new = config.apply(image, expand(made, {"X": "v"}), cmd_is_set=has_cmd)
        assert repr(image) == before  # the old one stays as it is
        image, has_cmd = new, has_cmd or isinstance(made, Cmd)
    return image


@pytest.mark.parametrize(
    ("text", "base", "expected"),
    [
        ("ENV A=1 B=$X\nENV A=2", {"Env": ["PATH=/bin"]}, {"Env": ["PATH=/bin", "A=2", "B=v"]}),
        ("ENV PATH=/x:$PATH", {"Env": ["A=1", "PATH=/b", "C=2"]}, {"Env": ["A=1", "PATH=/x:", "C=2"]}),
        ("LABEL a=1 b=2\nLABEL a=3", {"Labels": {"z": "0"}}, {"Labels": {"z": "0", "a": "3", "b": "2"}}),
        ("EXPOSE 80 53/UDP 8000-8001", {"ExposedPorts": {"1/tcp": {}}},
         {"ExposedPorts": {"1/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}, "80/tcp": {}}}),
        ("VOLUME /a /b", {"Volumes": None}, {"Volumes": {"/a": {}, "/b": {}}}),
        ("USER a:b", {}, {"User": "a:b"}),
        ("WORKDIR /a\nWORKDIR b/../c\nWORKDIR ./d/", {}, {"WorkingDir": "/a/c/d"}),
        ("WORKDIR a", {}, {"WorkingDir": "/a"}), ("WORKDIR ../..", {"WorkingDir": "/a"}, {"WorkingDir": "/"}),
        ("WORKDIR //a//b", {}, {"WorkingDir": "/a/b"}),
        ("WORKDIR $Y", {"WorkingDir": "/a"}, {"WorkingDir": "/a"}),
        ("CMD a  b", {}, {"Cmd": ["/bin/sh", "-c", "a  b"]}), ('CMD ["a"]', {}, {"Cmd": ["a"]}),
        ('SHELL ["/bin/bash", "-ec"]\nCMD a', {},
         {"Shell": ["/bin/bash", "-ec"], "Cmd": ["/bin/bash", "-ec", "a"]}),
        ("CMD []", {"Cmd": ["x"]}, {"Cmd": []}),
        ('ENTRYPOINT ["e"]', {"Cmd": ["of", "base"]}, {"Entrypoint": ["e"]}),
        ('CMD ["c"]\nENTRYPOINT ["e"]', {}, {"Cmd": ["c"], "Entrypoint": ["e"]}),
        ('ENTRYPOINT ["e"]\nCMD ["c"]', {"Cmd": ["b"]}, {"Cmd": ["c"], "Entrypoint": ["e"]}),
        ("ENTRYPOINT []", {"Entrypoint": ["e"], "Cmd": ["c"]}, {}),
        ("STOPSIGNAL SIGKILL", {}, {"StopSignal": "SIGKILL"}),
        ("HEALTHCHECK --interval=2s --retries=3 CMD a", {},
         {"Healthcheck": {"Test": ["CMD-SHELL", "a"], "Interval": 2_000_000_000, "Retries": 3}}),
        ("HEALTHCHECK NONE", {}, {"Healthcheck": {"Test": ["NONE"]}}),
        ("ONBUILD RUN a\nONBUILD USER b", {"OnBuild": ["ENV c=d"]},
         {"OnBuild": ["ENV c=d", "RUN a", "USER b"]}),
        ("RUN a\nCOPY a b\nARG a\nMAINTAINER x", {"User": "u"}, {"User": "u"}),
    ],
)  # fmt: skip
def test_config(text: str, base: dict[str, Any], expected: dict[str, Any]) -> None:
    assert applied(text, base) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("STOPSIGNAL x", "invalid signal: x"), ("EXPOSE x", "invalid containerPort: x"),
        ("EXPOSE 70000", "invalid containerPort: 70000"), ("EXPOSE 9-8", "invalid containerPort: 9-8"),
        ("EXPOSE 80/x", "invalid proto: x"), ("EXPOSE /tcp", "no port specified"),
        ("EXPOSE x:80:80", "invalid IP address: x"), ("EXPOSE x:80", "invalid hostPort: x"),
        ("EXPOSE 1-3:1-2", "invalid ranges specified"),
    ],
)  # fmt: skip
def test_what_no_config_takes(text: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message) as caught:
        applied(f"USER a\n{text}")
    assert caught.value.location.line == 3


@pytest.mark.parametrize("keyword", ["ENV", "LABEL"])
def test_many_large_values_are_refused(keyword: str) -> None:
    lines = "".join(f"{keyword} a{number}=b$X\n" for number in range(100))
    made = [
        expand(each, {"X": "v" * 100_000})
        for each in interpret(parse(f"FROM a\n{lines}".encode())).stages[0].instructions
    ]
    image: dict[str, Any] = {}
    with pytest.raises(DockerfileError, match="more than 8 MiB together") as caught:
        for each in made:
            image = config.apply(image, each)
    assert caught.value.location.line > 80


def test_ports_of_the_host_are_not_heeded() -> None:
    assert parse_exposed("127.0.0.1:8080:80").ports == ("80/tcp",) and parse_exposed("1-2:3/UDP").maps
    assert parse_exposed("[::1]:80:80/tcp") == parse_exposed("::1:80:80/tcp")


@pytest.mark.parametrize(
    ("text", "args", "script"),
    [
        ("RUN a  b", ("/bin/sh", "-c", "a  b"), None),
        ('RUN ["a", "b c"]', ("a", "b c"), None),
        ("RUN", ("/bin/sh", "-c", ""), None),
        ("RUN <<E\na\nb\nE", ("/bin/sh", "-c", "a\nb\n"), None),
        ("RUN <<-E\n\ta\n\t\tb\nE", ("/bin/sh", "-c", "a\nb\n"), None),
        (
            "RUN <<E\n#!/usr/bin/x\na\nE",
            ("/bin/sh", "-c", "/dev/pipes/E"),
            ("/dev/pipes/E", "#!/usr/bin/x\na\n"),
        ),
        ("RUN <<'a b'\n#!x\na b", ("/bin/sh", "-c", "'/dev/pipes/a b'"), ("/dev/pipes/a b", "#!x\n")),
        ("RUN <<E cat > /x\n#!a\nE", ("/bin/sh", "-c", "<<E cat > /x\n#!a\nE"), None),
        ("RUN cat <<A <<-B\na\nA\n\tb\nB", ("/bin/sh", "-c", "cat <<A <<-B\na\nA\n\tb\nB"), None),
        ("RUN <<A <<B\na\nA\nb\nB", ("/bin/sh", "-c", "<<A <<B\na\nA\nb\nB"), None),
    ],
)
def test_commands(text: str, args: tuple[str, ...], script: tuple[str, str] | None) -> None:
    (run,) = interpret(parse(f"FROM a\n{text}".encode())).stages[0].instructions
    assert isinstance(run, Run)
    assert command.execution(run, {}) == command.Execution(args, script)
    if run.shell_form:
        assert command.execution(run, {"Shell": ["/sh", "-e"]}).args[:2] == ("/sh", "-e")


def test_a_script_has_a_name_that_a_file_can_have() -> None:
    (run,) = interpret(parse(b"FROM a\nRUN <<../E\n#!x\n../E")).stages[0].instructions
    assert isinstance(run, Run)
    with pytest.raises(DockerfileError, match="cannot have the name"):
        command.execution(run, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ENV a=b c='d e'", "ENV a=b c=d e"), ("label a $X", "LABEL a=v"),
        ("COPY --chown=1 --chmod=755 --from=x a $X /", "COPY --chown=1 --chmod=755 a v / # buildkit"),
        ("COPY --parents <<E a /x\nt\nE", "COPY --parents a <<E /x # buildkit"),
        ("ADD a b", "ADD a b # buildkit"), ("WORKDIR a/", "WORKDIR /a"), ("USER $X", "USER v"),
        ("CMD a \"b\"", 'CMD ["/bin/sh" "-c" "a \\"b\\""]'),
        ('ENTRYPOINT ["a", "b\\n"]', 'ENTRYPOINT ["a" "b\\n"]'),
        ("ENTRYPOINT []", "ENTRYPOINT []"), ("EXPOSE 80 53/udp 5-6", "EXPOSE [5/tcp 6/tcp 53/udp 80/tcp]"),
        ("EXPOSE 1-60000", "EXPOSE 1-60000"), ("VOLUME /a /b", "VOLUME [/a /b]"),
        ('SHELL ["a","b"]', "SHELL [a b]"),
        ("STOPSIGNAL 9", "STOPSIGNAL 9"), ("MAINTAINER a b", "MAINTAINER a b"), ("ONBUILD RUN a", ""),
        ("HEALTHCHECK --interval=90s --retries=3 CMD a",
         'HEALTHCHECK &{["CMD-SHELL" "a"] "1m30s" "0s" "0s" "0s" \'\\x03\'}'),
    ],
)  # fmt: skip
def test_history(text: str, expected: str) -> None:
    (made,) = interpret(parse(f"FROM a\n{text}".encode())).stages[0].instructions
    made = expand(made, {"X": "v"})
    assert history.created_by(made, config.apply({}, made)) == expected


def test_history_of_run_and_arg() -> None:
    assert history.of_run(("/bin/sh", "-c", "a"), {}) == "RUN /bin/sh -c a # buildkit"
    assert history.of_run(("a",), {"B": "1", "C": "2"}) == "RUN |2 B=1 C=2 a # buildkit"
    assert history.of_arg([("a", None), ("b", "1")]) == "ARG a b=1"


HOST, ARM = Platform("linux", "amd64"), Platform("linux", "arm", "v7")


def test_predefined_arguments() -> None:
    assert arguments.predefined(HOST, ARM, "") == {
        "BUILDPLATFORM": "linux/amd64", "BUILDOS": "linux", "BUILDARCH": "amd64",
        "TARGETPLATFORM": "linux/arm/v7", "TARGETOS": "linux", "TARGETARCH": "arm", "TARGETVARIANT": "v7",
        "TARGETSTAGE": "default",
    }  # fmt: skip
    assert arguments.predefined(HOST, HOST, "s", {"TARGETARCH": "x"})["TARGETARCH"] == "x"


def test_scopes_of_arguments() -> None:
    script = interpret(
        parse(
            b"ARG V=1 W=$V-${TARGETARCH}\nARG N\nFROM a:$V\n"
            b"ARG V\nARG W=own U=$V$OTHER Z=$U N TARGETOS\nARG G=1"
        )
    )
    given = arguments.predefined(HOST, ARM, "")
    scope = arguments.global_scope(script, {"V": "2"}, given)
    assert scope.values["V"] == "2" and scope.values["W"] == "2-arm" and "N" not in scope.values
    assert scope.declared == {*given, "V", "W", "N"}
    env: dict[str, str] = {"PATH": "/bin"}
    found: dict[str, str | None] = {}
    unmatched: set[str] = set()
    for made in script.stages[0].instructions:
        assert isinstance(made, Arg)
        values = arguments.resolve(
            made, env, {"V": "2", "G": "given"}, scope.values, lambda e: unmatched.update(e.unmatched)
        )
        env |= {name: value for name, value in values if value is not None}
        found |= dict(values)
    assert found == {"V": "2", "W": "own", "U": "2", "Z": "2", "N": None, "TARGETOS": "linux", "G": "given"}
    assert unmatched == {"OTHER"} and "TARGETARCH" not in env  # it is in scope only where ARG asks for it


def test_a_default_that_is_not_used_may_be_wrong() -> None:
    script = interpret(parse(b"FROM a\nUSER x\nARG A=${B:?gone}"))
    arg = script.stages[0].instructions[1]
    assert isinstance(arg, Arg)
    assert arguments.resolve(arg, {}, {"A": "1"}, {}) == (("A", "1"),)
    with pytest.raises(DockerfileError, match="B: gone") as caught:
        arguments.resolve(arg, {}, {}, {})
    assert caught.value.location.line == 3


def test_proxies_and_arguments_that_nobody_asks_for() -> None:
    given = {
        "http_proxy": "p",
        "NO_PROXY": "n",
        "X": "1",
        "V": "2",
        "SOURCE_DATE_EPOCH": "3",
        "TARGETOS": "x",
    }
    assert arguments.proxies(given) == {
        "http_proxy": "p",
        "HTTP_PROXY": "p",
        "no_proxy": "n",
        "NO_PROXY": "n",
    }
    assert arguments.unconsumed(interpret(parse(b"ARG V\nFROM a")), given) == ["X"]


@pytest.mark.parametrize(
    ("data", "patterns"),
    [
        (b"", []), (b"# a\n\n  \n #b\na", ["#b", "a"]), (b"\xef\xbb\xbf# a\nb\r\n", ["b"]),
        (b"/a\n./b/\n../c\na/../b\na//b\n/\n.", ["a", "b", "../c", "b", "a/b", "/", "."]),
        (b"!a\n! /b\n!\n!!c", ["!a", "!b", "!", "!!c"]), (b" *.o \n**/x\n[a-z]?", ["*.o", "**/x", "[a-z]?"]),
        (b"/../a\na/..", ["a", "."]), (b"\xff", ["\udcff"]),
    ],
)  # fmt: skip
def test_dockerignore(data: bytes, patterns: list[str]) -> None:
    assert dockerignore.read(data) == patterns


@pytest.mark.parametrize("data", [b"a" * 70000, b"a\0", b"a\n" * 2_100_000])
def test_dockerignore_that_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"\.dockerignore"):
        dockerignore.read(data)


@pytest.mark.parametrize(
    ("text", "count", "again"),
    [
        ("0", 0, "0s"), ("1h", 3600 * 10**9, "1h0m0s"), ("1.5h", 5400 * 10**9, "1h30m0s"),
        ("90s", 90 * 10**9, "1m30s"),
        ("1m1.5s", 61_500_000_000, "1m1.5s"), ("500ms", 500_000_000, "500ms"), ("1.5ms", 1_500_000, "1.5ms"),
        ("2us", 2000, "2µs"), ("7ns", 7, "7ns"), (".5s", 500_000_000, "500ms"), ("-3s", -3 * 10**9, "-3s"),
        ("+1s", 10**9, "1s"),
    ],
)  # fmt: skip
def test_durations(text: str, count: int, again: str) -> None:
    assert nanoseconds(text) == count and written(count) == again


@pytest.mark.parametrize("text", ["", "1", "s", ".s", "1x", "1 s", "1s1", "9999999h", "-", "1e3s", "\u0661s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="time: "):
        nanoseconds(text)


def test_suggestions() -> None:
    assert (
        nearest("frm", ("from", "form")) == "from"
        and nearest("FORM", ("FROM", "RUN"), any_case=True) == "FROM"
    )
    assert nearest("xyzzy", ("from",)) == "" and nearest("from", ("from", "form")) == ""
    assert nearest("a" * 100, ("a" * 99,)) == ""


def test_changes_read_what_a_build_reads() -> None:
    settings: dict[str, Any] = {"Env": ["PATH=/bin"], "Cmd": ["old"], "WorkingDir": "/w"}
    changes.apply(
        settings, ["ENV PATH=$PATH:/x\nUSER y", 'ENTRYPOINT ["e"]', "workdir z", "EXPOSE 8000-8001/udp"]
    )
    assert settings == {
        "Env": ["PATH=/bin:/x"], "User": "y", "Entrypoint": ["e"], "WorkingDir": "/w/z",
        "ExposedPorts": {"8000/udp": {}, "8001/udp": {}},
    }  # fmt: skip
    for change in ("RUN a", "FROM a", "SHELL a", "ONBUILD FROM a", "USER", "", "ENV a=\ud800"):
        with pytest.raises(InvalidArgument):
            changes.apply(settings, [change])
