"""Secrets stay where they belong (S11), and what is root's is closed to other users of the host (S12)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.command import Pyd
from tests.support.world import World

CANARY = "canary-d1f0c9"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def holders(world: World) -> dict[str, int]:
    """Files of pyd that hold the canary, with their modes; `argv` for a command line of any process."""
    found = {}
    for top in (world.data_root, world.run_root):
        for directory, _, names in os.walk(top):
            for name in names:
                path = Path(directory) / name
                if path.is_file() and not path.is_symlink() and CANARY.encode() in path.read_bytes():
                    found[str(path.relative_to(top))] = path.stat().st_mode & 0o777
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if CANARY.encode() in words and (b"pyd-runtime" in words or b"shim" in words):
            found["argv"] = 0
    return found


def test_environment_of_a_container(world: World, busybox: str, pyd: Pyd) -> None:
    """S11: a secret in -e is in the container's configuration, which is root's, and nowhere else."""
    variable = ("-e", f"TOKEN={CANARY}")
    container = pyd("run", "-d", "--network", "none", *variable, busybox, "sleep", "1000").out
    pyd("exec", "-e", f"OTHER={CANARY}", container, "true")
    pyd("logs", container)
    assert pyd("exec", container, "nosuch", code=None).code == 127
    found = holders(world)
    # The database keeps it for the next start and for inspect; the bundle for the running container.
    allowed = {"pyd.db", "pyd.db-wal", f"containers/{container}/config.json"}
    assert set(found) <= allowed and f"containers/{container}/config.json" in found, found
    for name in found:
        top = world.run_root if name.startswith("containers/") else world.data_root
        done = subprocess.run([*NOBODY, "cat", str(top / name)], capture_output=True, check=False)
        assert done.returncode != 0 and CANARY.encode() not in done.stdout
    pyd("rm", "-f", container)
    assert set(holders(world)) <= {"pyd.db", "pyd.db-wal"}


def test_control_of_the_search(world: World) -> None:
    """What is written in a log is found."""
    place = world.data_root / "canary-in-a-log"
    place.write_text(f"password={CANARY}")
    try:
        assert "canary-in-a-log" in holders(world)
    finally:
        place.unlink()


def test_registry_password(world: World, pyd: Pyd, tmp_path: Path) -> None:
    """S11: a password of config.json that is sent to a registry, and a pull that fails, leave no trace."""
    import base64
    import json

    secret = base64.b64encode(f"user:{CANARY}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"127.0.0.1:9": {"auth": secret}}}))
    (tmp_path / "config.json").chmod(0o600)
    failed = pyd("pull", "127.0.0.1:9/x:1", env={"DOCKER_CONFIG": str(tmp_path)}, code=None)
    assert failed.code != 0 and failed.stderr
    for text in (CANARY, secret):
        assert text not in failed.stdout + failed.stderr
    assert holders(world).keys() <= {"pyd.db", "pyd.db-wal"}


def reachable(top: Path) -> list[str]:
    """What an ordinary user of the host sees below `top`."""
    done = subprocess.run(
        [*NOBODY, "find", str(top), "-mindepth", "1"], capture_output=True, text=True, check=False
    )
    return done.stdout.splitlines()


def test_an_ordinary_user_sees_nothing(world: World, busybox: str, pyd: Pyd) -> None:
    """S12, CVE-2021-41091: no setuid program of a layer, no database, no socket is within reach."""
    pyd(
        "run", "-d", "--network", "none", busybox, "sh", "-c", "cp /bin/busybox /s; chmod 4755 /s; sleep 1000"
    )
    assert list(world.data_root.rglob("snapshots/*/fs/bin/busybox")), "there is something to be seen"
    world.directory.chmod(0o755)
    try:
        for top in (world.data_root, world.run_root):
            inner = [path for path in reachable(top) if Path(path).is_file() or Path(path).is_socket()]
            assert inner == [], inner[:5]
    finally:
        world.directory.chmod(0o700)


def test_control_of_the_ordinary_user(tmp_path: Path, rootfs: Path) -> None:
    directory = Path("/tmp") / f"pyd-test-open-{os.getpid()}"
    directory.mkdir(mode=0o755)
    try:
        (directory / "seen").touch()
        assert reachable(directory) == [str(directory / "seen")]
    finally:
        (directory / "seen").unlink()
        directory.rmdir()
