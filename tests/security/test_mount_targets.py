"""Places in a container that the runtime mounts on or makes, behind links that lead to the host.

CVE-2021-30465, CVE-2024-45310: the target was resolved as a name, so a link of the image, or one that another
container puts there at the right moment, decided where it was. No test may find anything made or mounted in
its canary directory, which is what each link leads to.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import Runtime
from tests.support.swap import swapping

Spec = dict[str, Any]
ROUNDS = int(os.environ.get("PYD_TEST_RACES", "200"))
MOUNTED = "grep -q ' {canary}' /proc/self/mountinfo && touch {evidence}; exit 0"


def bind(source: Path, destination: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["bind"]}


def tmpfs(destination: str) -> dict[str, Any]:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs"}


class Host:
    """A directory on the host in which nothing may appear, and things to mount."""

    def __init__(self, directory: Path) -> None:
        self.canary = directory / "canary"
        self.canary.mkdir()
        self.file = directory / "file"
        self.file.write_text("a file of the host")
        self.directory = directory / "directory"
        self.directory.mkdir()
        self.evidence = directory / "evidence"

    def touched(self) -> bool:
        return bool(list(self.canary.iterdir())) or self.evidence.exists()

    def watch(self, spec: Spec) -> None:
        """Looks for a mount on the canary where it would be: in the container's mount namespace, while that
        still shows the host's tree.
        """
        script = MOUNTED.format(canary=self.canary, evidence=self.evidence)
        hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}
        spec["hooks"] = {"createContainer": [hook]}


# What the runtime makes or mounts at a path that begins with /link, a link of the image.
USES: dict[str, Callable[[Host, Spec], object]] = {
    "tmpfs": lambda host, spec: spec["mounts"].append(tmpfs("/link/made")),
    "directory": lambda host, spec: spec["mounts"].append(bind(host.directory, "/link/made")),
    "file": lambda host, spec: spec["mounts"].append(bind(host.file, "/link/made")),
    "file itself": lambda host, spec: spec["mounts"].append(bind(host.file, "/link")),
    "working directory": lambda host, spec: spec["process"].update(cwd="/link/made"),
    "device": lambda host, spec: spec["linux"].update(
        devices=[{"path": "/link/made/node", "type": "c", "major": 1, "minor": 3}]
    ),
}
LINKS: dict[str, Callable[[Host], str]] = {
    "absolute": lambda host: str(host.canary),
    "relative": lambda host: "../" * 30 + str(host.canary)[1:],
    "dangling": lambda host: str(host.canary / "missing"),
    "magic": lambda host: f"/proc/self/root{host.canary}",
}


def attack(runtime: Runtime, host: Host, use: str, link: str) -> None:
    def edit(spec: Spec) -> None:
        USES[use](host, spec)
        host.watch(spec)

    target = LINKS[link](host)
    runtime.run("a", ["/payload", "cwd"], edit, None, lambda root: (root / "link").symlink_to(target))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("use", USES)
def test_links_of_an_image_stay_inside(runtime: Runtime, host: Host, use: str, link: str) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    attack(runtime, host, use, link)
    assert not host.touched()
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.parametrize("link", ["absolute", "relative", "magic"])
@pytest.mark.parametrize("use", [use for use in USES if use != "file itself"])
def test_control_of_links(weakened: Callable[..., Runtime], host: Host, use: str, link: str) -> None:
    attack(weakened("targets-by-name", "devices-by-name"), host, use, link)
    assert host.touched()


def test_control_of_a_dangling_link(weakened: Callable[..., Runtime], host: Host) -> None:
    attack(weakened("targets-by-name"), host, "file itself", "dangling")
    assert host.touched()


def race(runtime: Runtime, host: Host, rounds: int) -> int:
    """Starts containers whose mounts lie in a volume in which a directory and a link are exchanged all the
    time; returns how many started. Ends as soon as the host was touched.
    """
    shared = host.directory
    (shared / "real").mkdir()
    (shared / "link").symlink_to(host.canary)

    def edit(spec: Spec) -> None:
        spec["mounts"] += [bind(shared, "/s"), tmpfs("/s/real/made"), bind(host.file, "/s/real/file")]
        spec["process"]["cwd"] = "/s/real/work"
        host.watch(spec)

    bundle = runtime.bundle("a", ["/payload", "exit", "0"], edit)
    started = 0
    with swapping(shared / "real", shared / "link"):
        for _ in range(rounds):
            started += runtime("run", "--bundle", bundle, "a", code=None).code == 0
            if host.touched():
                break
    return started


@pytest.mark.timeout(3600)
def test_exchanged_targets(runtime: Runtime, host: Host) -> None:
    """CVE-2021-30465, CVE-2024-45310. `PYD_TEST_RACES=10000` starts that many containers instead of 200."""
    before = Path("/proc/self/mountinfo").read_text()
    started = race(runtime, host, ROUNDS)
    assert not host.touched()
    assert Path("/proc/self/mountinfo").read_text() == before
    assert started > ROUNDS / 10, "the race was never run to its end"


def test_control_of_exchanged_targets(weakened: Callable[..., Runtime], host: Host) -> None:
    race(weakened("targets-by-name"), host, 200)
    assert host.touched()


def test_control_of_an_existing_target(weakened: Callable[..., Runtime], host: Host) -> None:
    """The mount alone is noticed, without anything being made."""
    work = host.canary / "made"
    work.mkdir()
    attack(weakened("targets-by-name"), host, "tmpfs", "absolute")
    assert host.evidence.exists()
