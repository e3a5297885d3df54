"""One run of the virtual machine: payload in on a disk, results out on another, console to our stdout."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.vm.image import Image, VmError

GUEST = Path(__file__).parent / "guest"
RESULT_SIZE = 64 << 20
# systemd's own switches for what the tiny init reads from pyd.cgroup
SYSTEMD = {
    "v2": "systemd.unified_cgroup_hierarchy=1",
    "v1": "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=yes",
    "hybrid": "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=no",
}


def run(image: Image, payload: Path, out: Path, *, cgroup: str, init: str, memory: int, timeout: int) -> int:
    """Boots, runs /payload/.command, gives its exit status; what it left in /out is in `out`."""
    scratch = payload.parent
    initrd = _initrd(image, scratch)
    disk = scratch / "payload.tar"
    with tarfile.open(disk, "w") as tar:
        tar.add(payload, ".")
    _round_up(disk)
    result = scratch / "result.tar"
    with result.open("wb") as file:
        file.truncate(RESULT_SIZE)
    words = "console=ttyS0 quiet loglevel=3 mitigations=off random.trust_cpu=1 psi=1 tsc=reliable"
    command = [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"),
        *("-m", str(memory), "-smp", "2", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-serial", "stdio", "-kernel", str(image.kernel), "-initrd", str(initrd)),
        *(
            "-append",
            f"{words} {SYSTEMD[cgroup]} apparmor=1 security=apparmor pyd.cgroup={cgroup} pyd.init={init}",
        ),
        *_drive("root", image.disk, "snapshot=on,cache=unsafe"),
        *_drive("payload", disk, "readonly=on"),
        *_drive("result", result, "cache=unsafe"),
        *("-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"),
    ]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise VmError(f"the machine was not done after {timeout} seconds (--timeout)") from None
    except subprocess.CalledProcessError as error:
        raise VmError(f"QEMU ended with status {error.returncode}") from None
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(result) as tar:
            tar.extractall(out, filter="data")
        return int((out / "status").read_text())
    except (tarfile.TarError, OSError, ValueError):
        raise VmError("the guest gave no result: its console is above") from None


def _initrd(image: Image, scratch: Path) -> Path:
    """busybox, the early modules and the guest's scripts."""
    tree = scratch / "initrd"
    for name in ("bin", "dev", "proc", "new"):
        (tree / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", tree / "bin/busybox")
    shutil.copytree(image.modules, tree / "modules")
    shutil.copytree(GUEST, tree / "guest")
    shutil.copy(GUEST / "initrd.sh", tree / "init")
    (tree / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    target = scratch / "initrd.cpio"
    with target.open("wb") as file:
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=names.encode(), stdout=file, check=True
        )
    return target


def _drive(name: str, file: Path, options: str) -> list[str]:
    return [
        *("-drive", f"file={file},if=none,id={name},format=raw,{options}"),
        *("-device", f"virtio-blk-pci,drive={name}"),
    ]


def _round_up(file: Path) -> None:
    """To whole sectors: the last one would be cut off."""
    size = file.stat().st_size
    with file.open("r+b") as open_file:
        open_file.truncate(-(-size // 512) * 512)
