"""Images between pyd, Docker and Podman by archives: the same ids, the same files to the last attribute."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archives import differences, picture
from tests.support.command import Pyd, wait_until
from tests.support.containerd import Containerd
from tests.support.dockerd import Docker
from tests.support.podman import Podman
from tests.support.registry import skopeo
from tests.support.world import World

WRITE = (
    "echo new >/new; ln /new /linked; mkdir -p /d/e /gone/deep /anew; mkfifo /d/fifo; mknod /d/zero c 1 5; "
    "echo old >/anew/old; echo o >/gone/deep/o; chmod 4755 /new; chown 70000:3000000 /d; rm /bin/acpid; "
    "ln -s /new /sym; touch -d @1000000000 /d/e; dd if=/dev/zero of=/sparse bs=1 count=1 seek=5000000; "
    "long=$(printf 'n%.0s' $(seq 120)); mkdir /$long; echo x >/$long/$long; cp /bin/busybox /capable"
)
AGAIN = "rm -r /gone /anew; mkdir /anew; echo new >/anew/new; rm /linked; echo more >>/new"
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


@pytest.fixture(scope="module")
def docker(world: World) -> Iterator[Docker]:
    made = Docker(
        world.directory / "dockerd", f"{world.cgroup_parent}-docker", "--storage-driver", "overlay2"
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def podman(world: World) -> Iterator[Podman]:
    made = Podman(world.directory / "podman", f"{world.cgroup_parent}-podman")
    yield made
    made.close()


def committed(pyd: Pyd, image: str) -> tuple[str, str]:
    """Ids of an image of three layers (whiteouts, an opaque directory, a capability), and of its parent."""
    pyd("run", "-d", "--name", "one", "--network", "none", image, "sh", "-c", f"{WRITE}; sleep 1000")
    capable = Path(f"/proc/{pyd.pid('one')}/root/capable")
    wait_until(capable.exists, 5)
    os.setxattr(capable, "security.capability", CAPABILITY)
    parent = pyd("commit", "one", "round:1").out
    pyd("run", "--name", "two", "--network", "none", "round:1", "sh", "-c", AGAIN)
    return pyd("commit", "-c", 'CMD ["cat", "/anew/new"]', "two", "round:2").out, parent


def exported(command: list[str]) -> dict[str, str]:
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return picture(io.BytesIO(done.stdout))


def test_between_pyd_docker_and_podman(
    busybox: str, pyd: Pyd, docker: Docker, podman: Podman, tmp_path: Path
) -> None:
    image, parent = committed(pyd, busybox)
    pyd("create", "--name", "here", "round:2")
    expected = exported([*pyd.base, "export", "here"])
    assert (
        expected["new"].startswith("b'0' 4755") and str(CAPABILITY[:1].hex()) and "gone/deep" not in expected
    )
    assert "anew/old" not in expected and "linked" not in expected
    archive = tmp_path / "pyd.tar"
    pyd("save", "-o", archive, "round", busybox)

    # pyd -> Docker
    loaded = docker("load", "-i", archive).lines
    assert {"Loaded image: round:1", "Loaded image: round:2", "Loaded image: busybox:latest"} <= set(loaded)
    assert docker.inspect("round:2")["Id"] == image and docker.inspect("round:1")["Id"] == parent
    docker("create", "--name", "there", "round:2")
    assert differences(expected, exported(docker.command("export", "there"))) == []
    # pyd -> Podman
    podman("load", "-i", archive)
    assert f"sha256:{json.loads(podman('image', 'inspect', 'round:2').stdout)[0]['Id']}" == image
    podman("create", "--name", "there", "round:2")
    assert differences(expected, exported(podman.command("export", "there"))) == []

    # and back: the same ids, and for Docker the same archive of files
    engines: tuple[Docker | Podman, ...] = (docker, podman)
    for number, engine in enumerate(engines):
        back = tmp_path / f"back-{number}.tar"
        with back.open("wb") as file:
            subprocess.run(engine.command("save", "round:2"), stdout=file, check=True, timeout=60)
        store = {
            "PYD_DATA_ROOT": str(tmp_path / f"data{number}"),
            "PYD_RUN_ROOT": str(tmp_path / f"run{number}"),
        }
        pyd("load", "-i", back, env=store)
        name = pyd("images", "--format", "{{.Repository}}:{{.Tag}}", env=store).out
        assert name.endswith("round:2")
        assert pyd("image", "inspect", "-f", "{{.Id}}", name, env=store).out == image
        pyd("create", "--name", "back", name, env=store)
        done = subprocess.run(
            [*pyd.base, "export", "back"], capture_output=True, check=True, env=os.environ | store, timeout=60
        )
        assert differences(expected, picture(io.BytesIO(done.stdout))) == []
        assert pyd("run", "--rm", "--network", "none", name, env=store).out == "new"
    docker("rm", "there")
    podman("rm", "there")
    pyd("rm", "-f", "one", "two", "here")
    pyd("rmi", "round:2", "round:1")


def test_containerd_and_skopeo_read_it(busybox: str, pyd: Pyd, world: World, tmp_path: Path) -> None:
    archive = tmp_path / "pyd.tar"
    pyd("tag", busybox, "second:tag")
    pyd("save", "-o", archive, busybox, "second:tag")
    image = pyd("image", "inspect", "-f", "{{.Id}}", busybox).out
    pyd("rmi", "second:tag")
    names = {"docker.io/library/busybox:latest", "docker.io/library/second:tag"}
    for name in names:
        for transport in ("docker-archive", "oci-archive"):
            config = skopeo("inspect", "--config", "--raw", f"{transport}:{archive}:{name}")
            assert f"sha256:{hashlib.sha256(config.encode()).hexdigest()}" == image, transport
    containerd = Containerd(world.directory / "containerd", f"{world.cgroup_parent}-containerd")
    try:
        containerd("image", "import", archive)
        assert names <= set(containerd("image", "ls", "-q").lines)
        containerd("image", "check")
    finally:
        containerd.close()


def test_diff_is_docker_s(busybox: str, pyd: Pyd, docker: Docker, tmp_path: Path) -> None:
    script = (
        f"{WRITE}; b=/capable; touch -d @5 /etc/group; chmod 700 /tmp; echo x >/t; rm /t; "
        "mv /etc/passwd /moved; $b rm -r /bin; $b mkdir /bin; echo n >/bin/n; $b ln -s /capable /bin/ls"
    )
    archive = tmp_path / "busybox.tar"
    pyd("save", "-o", archive, busybox)
    docker("load", "-i", archive)
    lists = []
    for engine in (pyd, docker):
        engine("run", "--name", "changed", "--network", "none", busybox, "sh", "-c", script, code=None)
        lists.append(sorted(engine("diff", "changed").lines))
        engine("rm", "changed")
    assert lists[0] == lists[1] and len(lists[0]) > 20
