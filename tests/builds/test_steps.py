"""What a Dockerfile's instructions make, and which of them are done again."""

from __future__ import annotations

import json
import threading

import pytest

from pyd.build.failure import BuildFailed
from pyd.build.location import DockerfileError
from pyd.errors import PydError
from tests.support.builds import Builder, Told

TWELVE = "FROM busybox\n" + "".join(f"RUN echo {number} >/f{number}\n" for number in range(4))


def test_an_image_with_files_and_settings(builder: Builder) -> None:
    builder.write("src/a.txt", "a\n")
    builder.write("src/sub/b.sh", "#!/bin/sh\n", 0o755)
    done = builder.build(
        """FROM busybox
ARG VERSION=7
ENV NAME=value DIR=/work
LABEL version=$VERSION "two words"=x
WORKDIR $DIR/app
COPY src/ ./
COPY src/a.txt renamed
RUN echo "$VERSION $NAME $(pwd)" >out
USER 1000:1000
EXPOSE 80 53/udp
VOLUME /data
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD true
ENTRYPOINT ["cat"]
CMD ["out"]
""",
        tags=("made:1",),
    )
    assert builder.run("made:1") == "7 value /work/app\n"
    listing = builder.run("made:1", entrypoint=("ls", "-ln", "/work/app"))
    assert "renamed" in listing and "-rwxr-xr-x    1 0        0" in builder.run(
        "made:1", entrypoint=("ls", "-ln", "/work/app/sub")
    )
    image = builder.engine.store.images.resolve(done.id)
    config = image.config.raw["config"]
    assert config["Env"][-2:] == ["NAME=value", "DIR=/work"]
    assert config["Labels"] == {"version": "7", "two words": "x"}
    assert config["WorkingDir"] == "/work/app" and config["User"] == "1000:1000"
    assert set(config["ExposedPorts"]) == {"80/tcp", "53/udp"}
    assert config["Volumes"] == {"/data": {}} and config["StopSignal"] == "SIGINT"
    assert config["Healthcheck"]["Test"] == ["CMD-SHELL", "true"]
    assert config["Entrypoint"] == ["cat"] and config["Cmd"] == ["out"]
    history = [entry.created_by for entry in image.config.history]
    assert any(text.startswith("RUN |1 VERSION=7 /bin/sh -c echo") for text in history)
    # one entry of the history for each layer
    assert len(image.config.diff_ids) == sum(not entry.empty_layer for entry in image.config.history)


def test_nothing_changed_nothing_done(builder: Builder) -> None:
    first = builder.build(TWELVE)
    again = builder.build(TWELVE)
    assert len(first.told.done) == 4 and again.told.done == []
    assert again.told.cached_steps == again.told.steps[1:]
    assert again.id == first.id


def test_what_is_done_again_and_gives_the_same_ends_there(builder: Builder) -> None:
    text = "FROM busybox\nCOPY file /in\nRUN wc -l </in >/count\nRUN cat /count >/copy\n"
    builder.write("file", "one\ntwo\n")
    builder.build("FROM busybox\nCOPY file /in\nRUN wc -l </in >/count && rm /in\nRUN cat /count >/copy\n")
    builder.write("file", "three\nfour\n")
    again = builder.build(text.replace(">/count\n", ">/count && rm /in\n"))
    # RUN gives another layer on top of another COPY; without what is below, it would be the same
    assert "COPY file /in" in again.told.done
    assert again.told.reasons["COPY file /in"].startswith("file has other contents")
    assert again.told.reasons["RUN cat /count >/copy"] == "line 3 gave other files"


def test_times_and_order_of_the_context_are_no_change(builder: Builder) -> None:
    import os

    for name in ("b", "a", "c"):
        builder.write(f"dir/{name}", name)
    text = "FROM busybox\nCOPY dir /dir\n"
    first = builder.build(text)
    for path in sorted(builder.directory.rglob("*")):
        os.utime(path, (1, 1))
    again = builder.build(text)
    assert again.told.done == [] and again.id == first.id


def test_stages_beside_each_other_and_unused_ones_never(builder: Builder) -> None:
    done = builder.build(
        """FROM busybox AS one
RUN sleep 0.6; echo one >/one
FROM busybox AS two
RUN sleep 0.6; echo two >/two
FROM busybox AS unused
RUN false
FROM busybox
COPY --from=one /one /
COPY --from=1 /two /
""",
        tags=("stages:1",),
    )
    (one_start, one_end), (two_start, two_end) = (
        done.told.spans[f"RUN sleep 0.6; echo {name} >/{name}"] for name in ("one", "two")
    )
    assert max(one_start, two_start) < min(one_end, two_end)
    assert builder.run("stages:1", "cat", "/one", "/two") == "one\ntwo\n"
    assert "RUN false" not in done.told.steps


def test_a_stage_that_comes_later_and_a_circle(builder: Builder) -> None:
    done = builder.build(
        "FROM busybox AS a\nCOPY --from=b /x /\nRUN cat /x\nFROM busybox AS b\nRUN echo later >/x\n",
        target="a",
    )
    assert "later" in done.told.text
    circle = "FROM busybox AS a\nCOPY --from=b /x /\nFROM busybox AS b\nCOPY --from=a /x /\n"
    with pytest.raises(PydError, match="circular dependency detected on stage"):
        builder.build(circle)


def test_steps_of_two_builds_at_once_are_done_once(builder: Builder) -> None:
    text = "FROM busybox\nRUN sleep 0.5; cat /proc/sys/kernel/random/uuid >/id\n"
    told = [Told(), Told()]
    threads = [threading.Thread(target=lambda one=one: builder.build(text, told=one)) for one in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(one.done) for one in told) == [0, 1]


def test_no_cache_and_its_filter(builder: Builder) -> None:
    text = "FROM busybox AS a\nRUN echo a >/a\nFROM busybox AS b\nCOPY --from=a /a /\nRUN echo b >/b\n"
    builder.build(text)
    assert len(builder.build(text, no_cache=True).told.done) == 3
    assert builder.build(text, no_cache_filter=("a",)).told.done == ["RUN echo a >/a"]


def test_a_result_that_was_not_synced_is_forgotten_with_its_boot(builder: Builder) -> None:
    text = "FROM busybox\nRUN echo kept >/kept\n"
    builder.build(text)
    with builder.engine.store.db.write() as tx:
        tx.execute("UPDATE build_steps SET boot = 'another'")
        tx.execute("UPDATE build_layers SET boot = 'another'")
    assert builder.build(text).told.done == ["RUN echo kept >/kept"]


def test_link_does_not_depend_on_what_is_below(builder: Builder) -> None:
    builder.write("file", "linked\n")
    first = builder.build("FROM busybox\nRUN echo 1 >/x\nCOPY --link file /a/b/\n", tags=("linked:1",))
    again = builder.build("FROM busybox\nRUN echo 2 >/x\nCOPY --link file /a/b/\n", tags=("linked:2",))
    assert "COPY --link file /a/b/" in first.told.done
    assert again.told.done == ["RUN echo 2 >/x"]
    assert builder.run("linked:2", "cat", "/a/b/file", "/x") == "linked\n2\n"


def test_triggers_of_a_base(builder: Builder) -> None:
    builder.write("file", "triggered\n")
    builder.build(
        "FROM busybox\nONBUILD COPY file /by/trigger\nONBUILD RUN cat /by/trigger\n", tags=("trigger:1",)
    )
    done = builder.build("FROM trigger:1\nRUN echo after\n")
    assert done.told.text == "triggered\nafter\n"
    assert not builder.engine.store.images.resolve(done.id).config.raw["config"].get("OnBuild")


def test_arguments_are_inherited_by_stages_on_a_stage(builder: Builder) -> None:
    done = builder.build(
        "ARG GLOBAL=g\nFROM busybox AS a\nARG GLOBAL\nARG LOCAL=l\nFROM a\nRUN echo $GLOBAL-$LOCAL-$OTHER\n",
        build_args={"OTHER": "not declared"},
    )
    assert done.told.text == "g-l-\n"


def test_a_failure_has_its_place(builder: Builder) -> None:
    with pytest.raises(BuildFailed) as failed:
        builder.build("FROM busybox\nRUN echo before\nRUN echo about to fail; \\\n  exit 3\n")
    error = failed.value
    assert str(error) == (
        'process "/bin/sh -c echo about to fail;   exit 3" did not complete successfully: exit code: 3'
    )
    assert (error.line, error.end_line, error.code, error.exit_code) == (3, 4, 3, 1)
    # what was done before it is not done again
    with pytest.raises(BuildFailed):
        told = Told()
        builder.build("FROM busybox\nRUN echo before\nRUN exit 4\n", told=told)
    assert told.cached_steps == ["RUN echo before"] and told.finished == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM busybox\nCOPY missing /x\n", '"/missing": not found'),
        ('FROM busybox\nRUN ["/no/such"]\n', "no such file or directory"),
        ("FROM busybox\nUSER nobody-here\nRUN true\n", "unable to find user nobody-here"),
        ("FROM busybox\nCOPY --from=nowhere.invalid:1/x:y /a /b\n", "nowhere.invalid"),
        ("FROM busybox AS x\nRUN --network=host true\n", "network.host is not allowed"),
        ("FROM busybox AS x\nRUN --security=insecure true\n", "security.insecure is not allowed"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_line(builder: Builder, text: str, said: str) -> None:
    with pytest.raises(BuildFailed) as failed:
        builder.build(text)
    assert said in str(failed.value)
    assert failed.value.line == len(text.splitlines())


def test_an_unknown_target_and_a_wrong_dockerfile(builder: Builder) -> None:
    with pytest.raises(PydError, match=r"target stage 'nope' could not be found"):
        builder.build("FROM busybox AS a\n", target="nope")
    with pytest.raises(DockerfileError, match=r"Dockerfile:2:1: unknown instruction: RUNN"):
        builder.build("FROM busybox\nRUNN x\n")


def test_scratch_and_nothing_else(builder: Builder) -> None:
    builder.write("only", "this\n")
    done = builder.build('FROM scratch\nCOPY only /\nCMD ["/only"]\n', tags=("scratch:1",))
    image = builder.engine.store.images.resolve(done.id)
    assert len(image.layers) == 1 and json.loads(image.config.raw["config"]["Cmd"][0].join('""')) == "/only"


def test_a_run_that_changes_no_file_makes_no_layer(builder: Builder) -> None:
    done = builder.build("FROM busybox\nRUN true\nRUN ls -R / >/dev/null\n")
    base = builder.engine.store.images.resolve(builder.image)
    assert builder.engine.store.images.resolve(done.id).layers == base.layers


def test_a_named_context_by_any_of_its_names(builder: Builder) -> None:
    builder.write("lib/file", "from the context\n")
    contexts = {"docker.io/library/base:latest": str(builder.directory / "lib")}
    done = builder.build("FROM busybox\nCOPY --from=base /file /got\nRUN cat /got\n", build_contexts=contexts)
    assert done.told.text == "from the context\n"


def test_a_volume_of_the_host_is_part_of_a_step(builder: Builder) -> None:
    places = [builder.write(f"{name}/file", f"{name}\n").parent for name in ("one", "two")]
    text = "FROM busybox\nRUN cat /v/file >/got; cat /got\n"
    found = [builder.build(text, volumes=(f"{place}:/v:ro",)).told.text for place in places]
    assert found == ["one\n", "two\n"]
