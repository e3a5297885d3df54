"""`RUN --mount`: what a step sees, what it keeps, and what stays in no layer."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from pyd.build.failure import BuildFailed
from tests.support.builds import Builder, Told
from tests.support.canaries import Canaries
from tests.support.world import World

SECRET = "a-secret-that-nobody-may-find-4711"


def test_a_cache_is_kept_and_in_no_layer(builder: Builder) -> None:
    text = "FROM busybox\nARG N\nRUN --mount=type=cache,target=/cache echo $N >>/cache/all; cat /cache/all\n"
    builder.build(text, build_args={"N": "1"})
    again = builder.build(text, build_args={"N": "2"}, tags=("cached:1",))
    assert again.told.text == "1\n2\n"
    assert "cache" not in builder.run("cached:1", "ls", "/").split()


def test_a_cache_with_an_owner_a_base_and_sharing(builder: Builder) -> None:
    mount = "--mount=type=cache,target=/c,id=own,uid=7,gid=8,mode=0700,from=a,source=/start"
    done = builder.build(
        f"FROM busybox AS a\nRUN mkdir /start; echo begun >/start/x\n"
        f"FROM busybox\nRUN {mount} stat -c '%u %g %a' /c; cat /c/x\n"
    )
    assert done.told.text == "7 8 700\nbegun\n"


@pytest.mark.parametrize(("sharing", "together"), [("shared", True), ("private", True), ("locked", False)])
def test_sharing(builder: Builder, sharing: str, together: bool) -> None:
    mount = f"--mount=type=cache,target=/c,id={sharing},sharing={sharing}"
    texts = [f"FROM busybox\nRUN {mount} echo {n} >>/c/n; sleep 0.4; cat /c/n\n" for n in (1, 2)]
    told = [Told(), Told()]
    threads = [
        threading.Thread(target=lambda text=text, one=one: builder.build(text, told=one))
        for text, one in zip(texts, told, strict=True)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    (_, first_end), (second_start, second_end) = (
        next(span for name, span in one.spans.items() if name.startswith("RUN")) for one in told
    )
    assert second_start < first_end
    if together:
        assert second_end - first_end < 0.35
    else:
        assert second_end - first_end > 0.35
    expected = {"shared": "1\n2\n", "private": "2\n", "locked": "1\n2\n"}
    assert told[1].text == expected[sharing]


def test_a_bind_shows_the_context_and_writes_go_nowhere(builder: Builder) -> None:
    builder.write("src/file", "here\n")
    builder.write("src/hidden", "not here\n")
    builder.write(".dockerignore", "**/hidden\n")
    done = builder.build(
        """FROM busybox
RUN --mount=target=/src ls /src/src; (echo x >/src/src/new) 2>&1 | grep -o 'Read-only file system'
RUN --mount=source=src/file,target=/one cat /one
RUN --mount=source=src,target=/two,rw echo y >/two/new; ls /two
""",
        tags=("bound:1",),
    )
    assert done.told.text == "file\nRead-only file system\nhere\nfile\nnew\n"
    assert not (builder.directory / "src" / "new").exists()
    assert not {"src", "one", "two"} & set(builder.run("bound:1", "ls", "/").split())


def test_a_bind_of_a_stage_and_of_an_image(builder: Builder) -> None:
    done = builder.build(
        f"""FROM busybox AS tool
RUN mkdir -p /opt/x; echo tool >/opt/x/t; ln -s /etc/passwd /opt/leak; rm /etc/group
FROM busybox
RUN --mount=from=tool,source=/opt/x,target=/x cat /x/t
RUN --mount=from=tool,target=/all ls /all/etc/group 2>&1 | grep -o 'No such file.*'
RUN --mount=from={builder.image},source=/bin/busybox,target=/busybox /busybox echo from the image
"""
    )
    assert done.told.text == "tool\nNo such file or directory\nfrom the image\n"


def test_a_tmpfs(builder: Builder) -> None:
    done = builder.build(
        "FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=1048576 "
        "grep ' /t ' /proc/mounts; (dd if=/dev/zero of=/t/x bs=1M count=3 2>&1) | grep -o 'No space'\n"
    )
    assert "size=1024k" in done.told.text and "No space" in done.told.text


def test_a_secret_is_there_and_nowhere_else(builder: Builder, world: World, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    os.environ["BUILD_TEST_SECRET"] = f"{SECRET}-env"
    try:
        done = builder.build(
            """FROM busybox
RUN --mount=type=secret,id=file cut -c 1-8 /run/secrets/file; stat -c '%a %u' /run/secrets/file
RUN --mount=type=secret,id=file,target=/a/b,mode=0444,uid=5 stat -c '%a %u' /a/b; cp /a/b /dev/shm/x
RUN --mount=type=secret,id=var,env=TOKEN echo ${#TOKEN}; test ! -e /run/secrets/var
RUN --mount=type=secret,id=missing test ! -e /run/secrets/missing; ls /run /a 2>/dev/null; true
""",
            secrets=(f"id=file,src={file}", "id=var,env=BUILD_TEST_SECRET"),
            tags=("secret:1",),
        )
    finally:
        del os.environ["BUILD_TEST_SECRET"]
    assert done.told.text.splitlines()[:4] == [SECRET[:8], "400 0", "444 5", str(len(SECRET) + 4)]
    assert not {"a", "run"} & set(builder.run("secret:1", "ls", "/").split())
    canaries = Canaries(SECRET)
    assert canaries.in_files([world.data_root, world.run_root]) == {}
    # the control: what a RUN writes into a layer is found
    builder.build(
        "FROM busybox\nRUN --mount=type=secret,id=file cp /run/secrets/file /leaked\n",
        secrets=(f"id=file,src={file}",),
    )
    assert canaries.in_files([world.data_root]) != {}
    with pytest.raises(BuildFailed, match="missing"):
        builder.build("FROM busybox\nRUN --mount=type=secret,id=missing,required true\n")


def test_networks_hosts_and_limits(builder: Builder) -> None:
    done = builder.build(
        """FROM busybox
RUN --network=none ls /sys/class/net
RUN grep -c known.example /etc/hosts; ls /sys/class/net | grep -c eth0
RUN df /dev/shm | tail -1; ulimit -n
""",
        add_hosts=("known.example:192.0.2.9",),
        shm_size=8 << 20,
        ulimits=("nofile=123:456",),
    )
    lines = done.told.text.splitlines()
    assert lines[:3] == ["lo", "1", "1"]
    assert "8192" in lines[3] and lines[4] == "123"
    assert "etc/hosts" not in builder.run(done.id, "find", "/", "-newer", "/proc/1", "-name", "hosts")


def test_insecure_needs_to_be_allowed(builder: Builder) -> None:
    caps = "grep CapEff /proc/self/status"
    text = f"FROM busybox\nRUN --security=insecure {caps}\nRUN {caps}\n"
    done = builder.build(text, allow=("security.insecure",))
    first, second = done.told.text.splitlines()
    assert int(first.split()[1], 16) > int(second.split()[1], 16)


def test_sources_keep_their_times_for_a_cache_until_the_end(builder: Builder) -> None:
    """make and cargo compare them with what the cache has kept; the layer says 1980 all the same."""
    path = builder.write("main.c", "int main;\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    text = "FROM busybox\nCOPY main.c /\nRUN --mount=type=cache,target=/c stat -c %Y /main.c\n"
    done = builder.build(text, tags=("late:1",))
    assert done.told.text == "1700000000\n"
    assert builder.run("late:1", "stat", "-c", "%Y", "/main.c") == "315532800\n"
    assert builder.engine.store.build_cache.late_layers() == []
    plain = builder.build("FROM busybox\nCOPY main.c /\nRUN stat -c %Y /main.c\n")
    assert plain.told.text == "315532800\n"
