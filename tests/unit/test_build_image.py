"""Builds from Python: what an Image is written as, and that it means what was given."""

from __future__ import annotations

import pytest

from pyd.build import Image, agent, bind, cache, secret, tmpfs
from pyd.build.expansion import expand
from pyd.build.instructions import interpret
from pyd.build.kinds import Copy, Env, Instruction, Label, Run
from pyd.build.mounts import parse_mount
from pyd.build.parser import parse
from pyd.errors import InvalidArgument

NASTY = [
    "plain",
    "a b",
    'quo"te',
    "$HOME",
    "${x:-y}",
    "back\\slash",
    "{0} {name} }{",
    "#no comment",
    "é",
    "<<E",
    "[1]",
]


def instructions(image: Image) -> list[Instruction]:
    """Of its last stage, as a build reads them."""
    script = interpret(parse(image.dockerfile().encode()))
    return [expand(one, {"HOME": "/wrong", "x": "wrong"}) for one in script.stages[-1].instructions]


def test_every_method_makes_an_instruction() -> None:
    tool = Image.from_("tool").run("make")
    image = (
        Image.from_("debian", platform="linux/arm64")
        .arg("VERSION", "1 2")
        .env(A="x", B="y z")
        .label({"org.example": "v"})
        .workdir("/w")
        .user("me")
        .copy(["a", "b c"], "/dest/", chown="1:2", chmod="u+x", link=True, parents=True, exclude=["*.o"])
        .copy("/usr/bin/tool", "/bin/", from_=tool)
        .add("https://example.com/x", "/x", checksum="sha256:" + "0" * 64)
        .write("/etc/file", "text\n")
        .run(["make", "all"], network="none", security="sandbox")
        .expose(80, "53/udp")
        .volume("/data")
        .shell("/bin/bash", "-c")
        .stop_signal("SIGINT")
        .healthcheck("curl x", interval="5s", retries=2)
        .entrypoint(["/app"])
        .cmd("serve")
    )
    keywords = [one.keyword for one in instructions(image)]
    assert (
        keywords
        == (
            "ARG ENV LABEL WORKDIR USER COPY COPY ADD COPY RUN EXPOSE VOLUME SHELL STOPSIGNAL HEALTHCHECK "
            "ENTRYPOINT CMD"
        ).split()
    )
    assert image.dockerfile().startswith(
        "FROM tool AS image-1\nRUN make\n\nFROM --platform=linux/arm64 debian"
    )


@pytest.mark.parametrize("text", NASTY)
def test_text_is_taken_as_it_is(text: str) -> None:
    image = Image.from_("x").env({"NAME": text}).label({"l": text}).copy(text, f"/{text}/").write("/f", text)
    env, label, copy, written = instructions(image)
    assert isinstance(env, Env) and dict(env.pairs) == {"NAME": text}
    assert isinstance(label, Label) and dict(label.pairs) == {"l": text}
    assert isinstance(copy, Copy) and (copy.sources, copy.dest) == ((text,), f"/{text}/")
    assert isinstance(written, Copy) and written.contents[0].text == f"{text}\n"


@pytest.mark.parametrize("command", [*NASTY, "one\ntwo $x\n", "cat <<EOF\nEOF\n", "echo \\\\"])
def test_commands_reach_the_shell_as_they_are(command: str) -> None:
    from pyd.build.command import execution

    (run,) = instructions(Image.from_("x").run(command))
    assert isinstance(run, Run)
    *shell, line = execution(run, {}).args
    assert shell == ["/bin/sh", "-c"] and line.strip("\n") == command.strip("\n")
    (listed,) = instructions(Image.from_("x").run([command, "b"]))
    assert isinstance(listed, Run) and execution(listed, {}).args == (command, "b")


def test_mounts() -> None:
    tool = Image.from_("tool")
    image = Image.from_("x").run(
        "true",
        mounts=[
            bind("src", "/src", readwrite=True),
            bind("/opt", "/opt", from_=tool),
            cache("/c", id="name", sharing="locked", uid=1, gid=2, mode=0o700, from_="busybox"),
            tmpfs("/t", size=4096),
            secret("token", env="TOKEN", required=False),
            agent(),
        ],
    )
    (run,) = instructions(image)
    assert isinstance(run, Run)
    found = [parse_mount(mount.raw, lambda text: text) for mount in run.mounts]
    assert [(one.type, one.target, one.from_) for one in found] == [
        ("bind", "/src", ""), ("bind", "/opt", "image-1"), ("cache", "/c", "busybox"), ("tmpfs", "/t", ""),
        ("secret", "", ""), ("ssh", "", ""),
    ]  # fmt: skip
    assert not found[0].readonly and (found[2].mode, found[2].sharing) == (0o700, "locked")
    assert found[4].env == "TOKEN" and not found[4].required and found[5].required


def test_a_stage_that_is_used_twice_is_written_once() -> None:
    shared = Image.from_("x").run("shared")
    image = Image.from_(shared).copy("/a", "/a", from_=shared).copy("/b", "/b", from_=shared)
    assert image.dockerfile().count("RUN shared") == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Image.from_("two words"),
        lambda: Image.from_("x").env(A="line\nbreak"),
        lambda: Image.from_("x").run(""),
        lambda: Image.from_("x").cmd("ends with a backslash\\"),
        lambda: Image.from_("x").cmd("two\nlines"),
        lambda: Image.from_("x").copy("a", "/a", chown="a b"),
        lambda: Image.from_("x").run("true", mounts=[cache("/with blank ")]),
        lambda: Image.from_("x").request(target="other"),
    ],
)
def test_what_cannot_be_said_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(InvalidArgument):
        make()


def test_a_request_takes_lists(tmp_path: object) -> None:
    request = Image.scratch().request(str(tmp_path), tags=["a:1"], build_args={"X": "1"})
    assert request.tags == ("a:1",) and request.text == b"FROM scratch AS image-1\n"
