"""Mounts of a container stay the container's, whatever the host's mounts are like."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import Runtime

Spec = dict[str, Any]
HOLDER = "mount -t tmpfs host {shared} && mount --make-shared {shared} && echo ready && exec sleep 1000"


class SharedHost:
    """A mount namespace in which every mount is shared, as systemd makes them; `shared` is a tmpfs there."""

    def __init__(self, directory: Path) -> None:
        self.shared = directory / "shared"
        self.shared.mkdir()
        script = HOLDER.format(shared=self.shared)
        command = ["unshare", "--mount", "--propagation", "shared", "sh", "-c", script]
        self.holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "ready\n"
        self.enter = ("nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--")

    def table(self) -> list[str]:
        """Mount point, filesystem and propagation of every mount, without the kernel's numbers."""
        text = Path(f"/proc/{self.holder.pid}/mountinfo").read_text()
        return [" ".join(line.split()[3:]) for line in text.splitlines()]

    def leave(self) -> None:
        self.holder.kill()
        self.holder.communicate()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SharedHost]:
    made = SharedHost(tmp_path)
    yield made
    made.leave()


PROPAGATIONS = ["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable"]


def leaked(
    runtime: Runtime,
    host: SharedHost,
    propagation: str,
    volume: Path | None = None,
    more: Callable[[Spec, Spec], object] = lambda spec, bound: None,
) -> list[str]:
    """Mounts that appear on the host while a container is alive that has some and makes more. `more` changes
    the spec and the volume's mount.
    """

    def edit(spec: Spec) -> None:
        if propagation:
            spec["linux"]["rootfsPropagation"] = propagation
        spec["mounts"].append({"destination": "/inner", "type": "tmpfs", "source": "of the container"})
        if volume:
            bound = {"type": "bind", "source": str(volume), "options": ["rbind", "rprivate"]}
            more(spec, bound)
            inner = {"type": "tmpfs", "source": "of the container"}
            spec["mounts"] += [{"destination": "/volume", **bound}, {"destination": "/volume/inner", **inner}]

    before = host.table()
    bundle = runtime.bundle("a", ["/payload", "sleep", "1000"], edit)
    program = [*host.enter, *runtime.program]
    # The container keeps the standard streams, so none of them may be a pipe that is read to its end.
    call = partial(subprocess.run, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    created = call([*program, "create", "--bundle", str(bundle), "a"])
    during = host.table()
    started = call([*program, "start", "a"])
    during += host.table()
    call([*program, "delete", "--force", "a"])
    new = [line for line in [*during, *host.table()] if line not in before]
    assert new or created.returncode == started.returncode == 0
    return new


@pytest.mark.parametrize("propagation", PROPAGATIONS)
def test_mounts_stay_inside(runtime: Runtime, host: SharedHost, propagation: str) -> None:
    assert leaked(runtime, host, propagation, host.shared) == []


SAME = [{"containerID": 0, "hostID": 0, "size": 65536}]


def in_user_namespace(spec: Spec, bound: Spec) -> None:
    bound["options"] = ["rbind"]
    spec["linux"] |= {"uidMappings": SAME, "gidMappings": SAME}
    spec["linux"]["namespaces"].append({"type": "user"})


def id_mapped(_spec: Spec, bound: Spec) -> None:
    bound |= {"options": ["rbind", "idmap"], "uidMappings": SAME, "gidMappings": SAME}


# What is copied before the container's mount namespace exists
EARLY = [(in_user_namespace, name) for name in ("", "private", "rshared")] + [(id_mapped, "")]


@pytest.mark.parametrize(("more", "propagation"), EARLY)
def test_mounts_that_are_copied_early(
    runtime: Runtime, host: SharedHost, more: Callable[[Spec, Spec], None], propagation: str
) -> None:
    """The root and the volumes of a container with a user namespace, and id-mapped volumes of any."""
    assert leaked(runtime, host, propagation, host.shared, more) == []


@pytest.mark.parametrize("more", [in_user_namespace, id_mapped])
def test_control_of_mounts_that_are_copied_early(
    weakened: Callable[..., Runtime], host: SharedHost, more: Callable[[Spec, Spec], None]
) -> None:
    assert leaked(weakened("shared-with-the-host"), host, "", host.shared, more) != []


def test_control_of_mounts(weakened: Callable[..., Runtime], host: SharedHost) -> None:
    assert leaked(weakened("shared-with-the-host"), host, "", host.shared) != []


ROOTS = ["a directory", "a mount", "a link", "below a shared mount", "a shared mount"]


@pytest.mark.parametrize("no_pivot", [False, True], ids=["pivot", "no pivot"])
@pytest.mark.parametrize("kind", ROOTS)
def test_roots_of_all_kinds(runtime: Runtime, host: SharedHost, kind: str, no_pivot: bool) -> None:
    """The root directory of a bundle is a mount or is not, or a link to one, below mounts that are shared:
    the container starts, sees its root only, and nothing of it is left on the host.
    """
    bundle = runtime.bundle("a", ["/payload", "ls", "/"])
    root, elsewhere = bundle / "rootfs", host.shared / "root"
    script = {
        "a directory": "true",
        "a mount": f"mount --bind {root} {root}",
        "a link": f"mv {root} {root}.real && ln -s {root}.real {root}",
        "below a shared mount": f"cp -a {root} {elsewhere} && rm -r {root} && ln -s {elsewhere} {root}",
        "a shared mount": f"mount -t tmpfs t {root} && mount --make-shared {root} "
        f"&& cp {runtime.payload} {root}/payload",
    }[kind]
    subprocess.run([*host.enter, "sh", "-c", script], check=True)
    before = host.table()
    options = ["--no-pivot"] if no_pivot else []
    done = subprocess.run(
        [*host.enter, *runtime.program, "run", *options, "--bundle", str(bundle), "a"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"dev", "payload", "proc", "sys"}
    assert host.table() == before
    if kind == "a mount":
        subprocess.run([*host.enter, "umount", str(root)], check=True)
