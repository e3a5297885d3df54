"""The grammar of the command line, as Docker's."""

from __future__ import annotations

import pytest

from pyd.cli import main
from pyd.cli.command import Args, HelpWanted, UsageError, parse
from pyd.cli.options import container_options
from pyd.errors import NotSupported
from pyd.sizes import binary_size, decimal_size, parse_seconds, parse_size


def read(*words: str) -> Args:
    command, path, rest = main.find(list(words))
    assert command is not None
    return parse(command, rest, path)


def test_parsing_stops_at_the_image() -> None:
    args = read("run", "--rm", "-it", "busybox", "ls", "-l", "--rm=false", "--", "x")
    assert args.rest == ["busybox", "ls", "-l", "--rm=false", "--", "x"]
    assert args.flag("rm") and args.flag("interactive") and args.flag("tty")


@pytest.mark.parametrize(
    "words",
    [
        ("-itde", "A=1", "x"),
        ("-i", "-t", "-d", "-eA=1", "x"),
        ("-itde=A=1", "x"),
        ("--interactive", "--tty=true", "--detach", "--env=A=1", "x"),
        ("-it", "--detach=1", "--env", "A=1", "--", "x"),
    ],
)
def test_ways_to_write_the_same(words: tuple[str, ...]) -> None:
    args = read("run", *words)
    assert args.flag("interactive") and args.flag("tty") and args.flag("detach")
    assert (args.all("env"), args.rest) == (["A=1"], ["x"])


def test_options_may_follow_elsewhere() -> None:
    assert read("stop", "a", "-t", "3", "b").rest == ["a", "b"]
    assert read("container", "stop", "a", "-t3").int("time") == 3


def test_booleans_can_be_false() -> None:
    assert not read("run", "--rm=false", "x").flag("rm")
    assert not read("run", "--sig-proxy=false", "x").flag("sig-proxy")
    assert read("run", "x").flag("sig-proxy")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--nonsense", "x"), "unknown flag: --nonsense"),
        (("run", "-Z", "x"), "unknown shorthand flag: 'Z' in -Z"),
        (("run", "--name"), "flag needs an argument: --name"),
        (("run", "-e"), "flag needs an argument: 'e' in -e"),
        (("run", "--rm=maybe", "x"), 'invalid argument "maybe" for "--rm" flag'),
        (("run", "-m", "much", "x"), 'invalid argument "much" for "-m, --memory" flag: invalid size'),
        (("run", "--cpus", "nan", "x"), "must be a finite number"),
        (("run", "--pids-limit", "٣", "x"), "must be a whole number"),
        (("run",), '"pyd run" requires at least 1 argument.'),
        (("rename", "a"), '"pyd rename" requires exactly 2 arguments.'),
        (("ps", "a"), '"pyd ps" accepts no arguments.'),
        (("logs", "a", "b"), "requires exactly 1 argument"),
        (("inspect", "--type", "nonsense", "a"), "must be one of container, image, volume"),
        (("nonsense",), "'nonsense' is not a pyd command"),
        (("container", "nonsense"), "'container nonsense' is not a pyd command"),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert message in caught.value.message


@pytest.mark.parametrize(
    "flag", ["--restart=no", "--health-cmd=x", "--ip=1.2.3.4", "--network-alias=x", "--gpus=all"]
)
def test_what_comes_later_says_so(flag: str) -> None:
    with pytest.raises(NotSupported, match="is not supported yet: "):
        read("run", flag, "x")


def test_help_is_asked_for() -> None:
    for words in (("run", "--help"), ("ps", "-h"), ("container", "rm", "--help")):
        with pytest.raises(HelpWanted):
            read(*words)
    assert read("run", "-h", "name", "x").text("hostname") == "name"


def test_every_command_has_a_table() -> None:
    for name, module in main.TOP.items():
        assert main.load(module, name).help
    for group, (_, commands) in main.GROUPS.items():
        for name, module in commands.items():
            command = main.load(module, f"{group} {name}")
            assert command.help and command.options is not None
            shorts = [option.short for option in command.options if option.short]
            names = [option.name for option in command.options]
            assert len(set(shorts)) == len(shorts) and len(set(names)) == len(names), name


def test_options_of_run() -> None:
    args = read(
        "run",
        "--entrypoint",
        "",
        "-m",
        "64m",
        "--cpus=.5",
        "-l",
        "a=b",
        "-l",
        "c",
        "-p",
        "80:80",
        "img",
        "cmd",
        "x",
    )
    options = container_options(args)
    assert (options.image, options.command, options.entrypoint) == ("img", ("cmd", "x"), ())
    assert (options.memory, options.cpus, options.labels) == (64 << 20, 0.5, {"a": "b", "c": ""})
    assert container_options(read("run", "--rootfs", "/:O", "sh")).rootfs == "/:O"
    assert container_options(read("run", "--entrypoint", "a b", "img")).entrypoint == ("a b",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("100", 100),
        ("1b", 1),
        ("1k", 1024),
        ("1kb", 1024),
        ("64M", 64 << 20),
        ("1.5g", 3 << 29),
        ("1GiB", 1 << 30),
        ("-1", -1),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "b", "m", "-2", "1x", "1.2.3", "1 2", "٣", "+1", "9999999p"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="invalid size"):
        parse_size(text)


def test_durations() -> None:
    assert [parse_seconds(text) for text in ("10", "1.5s", "1h30m", "100ms")] == [10, 1.5, 5400, 0.1]
    with pytest.raises(ValueError, match="invalid duration"):
        parse_seconds("soon")


def test_human_sizes() -> None:
    assert [decimal_size(n) for n in (0, 999, 1000, 4_560_000)] == ["0B", "999B", "1kB", "4.56MB"]
    assert [binary_size(n) for n in (0, 1536, 3 << 29)] == ["0B", "1.5KiB", "1.5GiB"]


@pytest.mark.parametrize("words", [["run"], ["create"], ["pull"]])
def test_a_signature_is_not_asked_for_in_vain(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([*words, "--disable-content-trust=false", "busybox"]) == 125
    assert "no signatures" in capsys.readouterr().err
