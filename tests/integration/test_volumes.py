"""Bind mounts, named and anonymous volumes, tmpfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Pyd


@pytest.fixture
def volume(pyd: Pyd, name: str) -> str:
    return f"v-{name}"[:40]


def test_bind(busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from the host\n")
    out = pyd(
        "run", "--rm", "-v", f"{tmp_path}:/data", busybox, "sh", "-c", "cat /data/in; echo x > /data/out"
    ).stdout
    assert out == "from the host\n"
    assert (tmp_path / "out").read_text() == "x\n"


def test_bind_read_only(busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    assert (
        "Read-only" in pyd("run", "--rm", "-v", f"{tmp_path}:/d:ro", busybox, "touch", "/d/x", code=1).stderr
    )


def test_bind_of_a_file(busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one file\n")
    assert (
        pyd("run", "--rm", "-v", f"{tmp_path}/f:/etc/deep/er/f", busybox, "cat", "/etc/deep/er/f").out
        == "one file"
    )


def test_v_makes_a_missing_source_and_mount_does_not(busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    pyd("run", "--rm", "-v", f"{tmp_path}/made:/d", busybox, "true")
    assert (tmp_path / "made").is_dir()
    result = pyd(
        "run", "--rm", "--mount", f"type=bind,src={tmp_path}/absent,dst=/d", busybox, "true", code=125
    )
    assert "bind source path does not exist" in result.stderr


def test_named_volume_survives(busybox: str, pyd: Pyd, volume: str) -> None:
    pyd("run", "--rm", "-v", f"{volume}:/d", busybox, "sh", "-c", "echo kept > /d/f")
    assert pyd("run", "--rm", "-v", f"{volume}:/d", busybox, "cat", "/d/f").out == "kept"
    assert volume in pyd("volume", "ls", "-q").lines
    assert Path(pyd("volume", "inspect", "-f", "{{.Mountpoint}}", volume).out, "f").read_text() == "kept\n"
    assert pyd("volume", "rm", volume).out == volume


def test_named_volume_is_filled_from_the_image(busybox: str, pyd: Pyd, volume: str) -> None:
    first = pyd("run", "--rm", "-v", f"{volume}:/etc", busybox, "cat", "/etc/group").stdout
    assert "www-data" in first
    pyd("run", "--rm", "-v", f"{volume}:/etc", busybox, "rm", "/etc/group")
    assert (
        "No such file"
        in pyd("run", "--rm", "-v", f"{volume}:/etc", busybox, "cat", "/etc/group", code=1).stderr
    )
    pyd("volume", "rm", volume)


def test_volume_in_use(busybox: str, pyd: Pyd, volume: str, name: str) -> None:
    pyd("create", "--name", name, "-v", f"{volume}:/d", busybox)
    assert "volume is in use" in pyd("volume", "rm", volume, code=1).stderr
    pyd("rm", name)
    pyd("volume", "rm", volume)


def test_anonymous_volume_goes_with_rm(busybox: str, pyd: Pyd, name: str) -> None:
    before = pyd("volume", "ls", "-q").lines
    pyd("run", "--rm", "-v", "/d", busybox, "touch", "/d/x")
    pyd("run", "--name", name, "-v", "/d", busybox, "touch", "/d/x")
    (kept,) = set(pyd("volume", "ls", "-q").lines) - set(before)
    pyd("rm", "-v", name)
    assert kept not in pyd("volume", "ls", "-q").lines


def test_tmpfs(busybox: str, pyd: Pyd) -> None:
    out = pyd(
        "run",
        "--rm",
        "--tmpfs",
        "/t:size=4m,mode=700",
        busybox,
        "sh",
        "-c",
        "df -k /t | tail -1; stat -c %a /t",
    ).lines
    assert out[0].split()[0] == "tmpfs" and out[0].split()[1] == "4096"
    assert out[1] == "700"


def test_mount_syntax(busybox: str, pyd: Pyd, tmp_path: Path, volume: str) -> None:
    out = pyd(
        *("run", "--rm", "--mount", f"type=bind,source={tmp_path},target=/a,readonly"),
        *(
            "--mount",
            f"type=volume,src={volume},dst=/b",
            "--mount",
            "type=tmpfs,destination=/c,tmpfs-size=1m",
        ),
        *(busybox, "cat", "/proc/self/mountinfo"),
    ).lines
    found = {line.split()[4]: line for line in out}
    assert " ro," in found["/a"]
    assert "/b" in found and "size=1024k" in found["/c"]
    pyd("volume", "rm", volume)


def test_mounts_inside_the_container_stay_there(busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    pyd("run", "-d", "-v", f"{tmp_path}:/d", busybox, "sleep", "1000")
    assert Path("/proc/self/mountinfo").read_text() == before


def test_volume_over_a_path_of_the_image_with_symlinks(busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    """A target is resolved inside the container's root: /bin/../escape and links stay in there."""
    (tmp_path / "f").write_text("inside\n")
    script = "cat /escape/f; cat /bin/../escape/f"
    assert (
        pyd("run", "--rm", "-v", f"{tmp_path}:/../../escape", busybox, "sh", "-c", script).lines
        == ["inside"] * 2
    )
    assert not Path("/escape").exists()


@pytest.mark.parametrize(
    "value", ["", ":", "a:b:c:d", "relative:relative", "/a:/b:nonsense", "/a:", "name:with/slash", "../up:/x"]
)
def test_senseless_volumes(busybox: str, pyd: Pyd, value: str) -> None:
    assert pyd("run", "--rm", "-v", value, busybox, "true", code=125).stderr.count("\n") <= 3


def test_volumes_from(busybox: str, pyd: Pyd, name: str, volume: str) -> None:
    pyd("create", "--name", name, "-v", f"{volume}:/shared", busybox)
    pyd("run", "--rm", "--volumes-from", name, busybox, "sh", "-c", "echo x > /shared/f")
    assert pyd("run", "--rm", "--volumes-from", f"{name}:ro", busybox, "cat", "/shared/f").out == "x"
    pyd("rm", name)
    pyd("volume", "rm", volume)
