"""commit, diff, export: what a container has written, as a layer, a list and an archive."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.archives import differences, picture
from tests.support.command import Pyd, wait_until
from tests.support.world import World

WRITE = (
    "echo new >/new; ln /new /linked; mkdir -p /d/e; mkfifo /d/fifo; mknod /d/zero c 1 5; chmod 4755 /new; "
    "chown 70000:3000000 /d; rm /bin/acpid; rm -r /root; ln -s /new /sym; echo >>/etc/group x:x:9:"
)


@pytest.fixture
def written(busybox: str, pyd: Pyd, name: str) -> str:
    """A stopped container that has written a little of everything."""
    pyd("run", "--name", name, "--network", "none", busybox, "sh", "-c", WRITE)
    return name


def up(pyd: Pyd, name: str, image: str, script: str = "true") -> None:
    pyd("run", "-d", "--name", name, "--network", "none", image, "sh", "-c", f"{script}; sleep 1000")


def out(pyd: Pyd, *command: str) -> bytes:
    return subprocess.run([*pyd.base, *command], capture_output=True, check=True, timeout=60).stdout


def test_diff(written: str, pyd: Pyd, busybox: str) -> None:
    added = [f"A {path}" for path in ("/d", "/d/e", "/d/fifo", "/d/zero", "/linked", "/new", "/sym")]
    changed = ["C /bin", "C /etc", "C /etc/group", "D /bin/acpid", "D /root"]
    assert pyd("diff", written).lines == sorted([*added, *changed], key=lambda line: line[2:])
    # what the runtime makes for its mounts is nobody's change
    pyd("run", "--name", f"{written}-2", "--network", "none", busybox, "true")
    assert pyd("diff", f"{written}-2").stdout == ""
    assert "No such container" in pyd("diff", "nobody", code=1).stderr


def test_commit_runs_with_what_was_written(written: str, pyd: Pyd) -> None:
    image = pyd("commit", "-m", "why", "-a", "who", written, "committed:1").out
    assert image.startswith("sha256:") and len(image) == 71
    shown = pyd(
        "run", "--rm", "--network", "none", "committed:1", "sh", "-c", "cat /linked; ls -n / /d"
    ).stdout
    assert shown.startswith("new\n") and "70000" in shown and "3000000" in shown
    # the layer over its parent is what the container saw
    pyd("create", "--name", f"{written}-2", "committed:1")
    one, other = (picture(io.BytesIO(out(pyd, "export", name))) for name in (written, f"{written}-2"))
    assert differences(one, other) == []
    top = pyd("history", "--no-trunc", "--format", "{{.ID}} {{.Comment}}", "committed:1").lines[0]
    assert top == f"{image} why"
    document = pyd("image", "inspect", "committed:1").json()[0]
    assert document["Author"] == "who" and len(document["RootFS"]["Layers"]) == 2
    pyd("rm", written, f"{written}-2")
    pyd("rmi", "committed:1")


def test_changes_of_a_commit(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("create", "--name", name, "-e", "A=1", "-e", "B=2", "-w", "/tmp", "-l", "x=y", busybox, "sleep", "5")
    words = ["ENV B=3", "EXPOSE 80", "USER 7", "LABEL z=1", "VOLUME /v", "STOPSIGNAL 9", "ONBUILD RUN x"]
    changes = [word for text in words for word in ("-c", text)]
    pyd("commit", *changes, name, "changed:1")
    config = pyd("image", "inspect", "changed:1").json()[0]["Config"]
    assert {"A=1", "B=3"} <= set(config["Env"]) and "B=2" not in config["Env"]
    assert (config["User"], config["WorkingDir"], config["Cmd"]) == ("7", "/tmp", ["sleep", "5"])
    assert config["Labels"] == {"x": "y", "z": "1"} and config["ExposedPorts"] == {"80/tcp": {}}
    assert config["Volumes"] == {"/v": {}} and config["StopSignal"] == "9"
    # an entrypoint resets the command, unless that was set first
    for given, expected in (
        (['ENTRYPOINT ["/e"]'], (["/e"], None)),
        (['CMD ["c"]', 'ENTRYPOINT ["/e"]'], (["/e"], ["c"])),
        (['ENTRYPOINT ["/e"]', 'CMD ["c"]'], (["/e"], ["c"])),
        (["CMD []"], (None, ["sleep", "5"])),
    ):
        pyd("commit", *(word for text in given for word in ("-c", text)), name, "changed:1")
        config = pyd("image", "inspect", "changed:1").json()[0]["Config"]
        assert (config["Entrypoint"], config["Cmd"]) == expected, given
    assert "is not a valid change command" in pyd("commit", "-c", "RUN x", name, code=1).stderr
    pyd("rm", name)
    pyd("rmi", "-f", "changed:1")


def test_nothing_changed_is_no_layer(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "--name", name, "--network", "none", busybox, "true")
    pyd("commit", name, "same:1")
    layers = "{{len .RootFS.Layers}}"
    assert pyd("image", "inspect", "-f", layers, "same:1").out == "1"
    assert len(pyd("history", "-q", "same:1").lines) == 2
    pyd("rm", name)
    pyd("rmi", "same:1")


def test_a_container_on_a_directory(rootfs: Path, pyd: Pyd, name: str, world: World) -> None:
    pyd("run", "--name", name, "--network", "none", "--rootfs", f"{rootfs}:O", "sh", "-c", "echo x >/x")
    assert pyd("diff", name).lines == ["A /x"]
    pyd("commit", "-c", 'CMD ["cat", "/x"]', name, "ofdir:1")
    assert pyd("run", "--rm", "--network", "none", "ofdir:1").out == "x"
    pyd("create", "--name", f"{name}-2", "--rootfs", str(rootfs), "true")
    assert "nothing that it differs from" in pyd("diff", f"{name}-2", code=1).stderr
    pyd("rm", name, f"{name}-2")
    pyd("rmi", "ofdir:1")


def test_it_is_frozen_meanwhile_and_thawed_whatever_happens(
    busybox: str, pyd: Pyd, name: str, world: World
) -> None:
    up(pyd, name, busybox)

    def frozen() -> bool:
        script = (
            "import sys; from pyd.engine.engine import Engine\n"
            "engine = Engine(); print(engine.task(engine.settled(sys.argv[1])).call('state')['status'])"
        )
        return out_python(script, name) == "paused"

    ends = {
        "normal": "pass",
        "error": "raise SystemExit(3)",
        "killed": "os.kill(os.getpid(), 9)",
    }
    for end in ends.values():
        script = (
            "import os, sys; from pyd.engine.engine import Engine; from pyd.engine import commit\n"
            "engine = Engine(); record = engine.settled(sys.argv[1])\n"
            "with commit._frozen(engine, record):\n"
            "    print(engine.task(record).call('state')['status'], flush=True)\n"
            f"    {end}"
        )
        assert out_python(script, name) == "paused"
        wait_until(lambda: not frozen(), 5)
        assert pyd("exec", name, "echo", "alive").out == "alive"
    # one that its user has paused stays paused
    pyd("pause", name)
    pyd("commit", name, "paused:1")
    assert frozen()
    pyd("unpause", name)
    before = set((world.data_root / "ingest").iterdir())
    assert "invalid reference format" in pyd("commit", name, "BAD NAME", code=1).stderr
    assert set((world.data_root / "ingest").iterdir()) == before
    pyd("rm", "-f", name)
    pyd("rmi", "paused:1")


def out_python(script: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *args], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode in (0, 3, -signal.SIGKILL), done.stderr
    return done.stdout.strip()


def test_capabilities_and_attributes_are_committed(busybox: str, pyd: Pyd, name: str) -> None:
    up(pyd, name, busybox, "cp /bin/busybox /capable")
    pid = pyd.pid(name)
    capable = Path(f"/proc/{pid}/root/capable")
    wait_until(capable.exists, 5)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(capable, "security.capability", capability)
    pyd("commit", name, "capable:1")
    pyd("rm", "-f", name)
    up(pyd, name, "capable:1")
    found = os.getxattr(f"/proc/{pyd.pid(name)}/root/capable", "security.capability")
    assert found == capability
    pyd("rm", "-f", name)
    pyd("rmi", "capable:1")


def test_export_is_the_merged_root_without_volumes(busybox: str, pyd: Pyd, name: str, tmp_path: Path) -> None:
    (tmp_path / "mounted").write_text("not of the container")
    pyd(
        *("run", "-d", "--name", name, "--network", "none", "-v", f"{tmp_path}:/volume", "-v", "/anonymous"),
        *(busybox, "sh", "-c", "echo x >/x; rm /bin/acpid; echo y >/anonymous/y; touch /ready; sleep 1000"),
    )
    wait_until(lambda: "/ready" in pyd("diff", name).stdout, 10)
    archive = tmp_path / "running.tar"
    pyd("export", "-o", archive, name)
    assert archive.stat().st_mode & 0o777 == 0o600
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
    assert {"x", "bin/busybox", "volume", "anonymous"} <= names
    assert not names & {"bin/acpid", "volume/mounted", "anonymous/y"} and not any(".wh." in n for n in names)
    pyd("kill", name)
    assert out(pyd, "export", name) == archive.read_bytes()
    # and back
    image = pyd("import", "-c", 'CMD ["cat", "/x"]', archive, "exported:1").out
    assert pyd("run", "--rm", "--network", "none", image).out == "x"
    pyd("rm", "-v", name)
    pyd("rmi", "exported:1")


def test_refusals(written: str, pyd: Pyd, tmp_path: Path) -> None:
    terminal = pyd.terminal("export", written)
    terminal.expect("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    assert terminal.close() == 1
    missing = tmp_path / "missing" / "out.tar"
    message = pyd("export", "-o", missing, written, code=1).stderr
    assert f'invalid output path: directory "{missing.parent}" does not exist' in message
    assert "No such container" in pyd("export", "-o", tmp_path / "x.tar", "nobody", code=1).stderr
    assert "No such container" in pyd("commit", "nobody", code=1).stderr
    assert list(tmp_path.iterdir()) == []
