"""Kernel, modules and disk of the virtual machine, made once from Debian packages, kept in the tests' cache.

The disk holds nothing of pyd: the guest's scripts travel in the initial RAM disk of each run, the tests in a
tar on a second disk (`payload`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.images import debian
from tests.images.builder import cache_root

KERNEL = "linux-image-cloud-amd64"
# What the tests use (tests/apt-packages.txt), the init system, the peers that the runtime is compared with.
PACKAGES = (
    "python3,iproute2,procps,kmod,util-linux,strace,nftables,skopeo,docker-registry,busybox-static,"
    "systemd,systemd-sysv,dbus,dbus-user-session,uidmap,runc,crun,podman,apparmor"
)
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "cpio": "cpio",
    "busybox": "busybox-static",
}
# In the guest's initial RAM disk; everything else is loaded from the disk.
EARLY_MODULES = ("virtio_pci", "virtio_blk", "virtio_rng")
FORMAT = 1  # of the disk; raise it when its making changes and the packages do not


class VmError(Exception):
    """The machine cannot be made or started; the message says why and what helps."""


@dataclass(frozen=True)
class Image:
    """Files of one built machine."""

    kernel: Path
    disk: Path
    modules: Path  # the early modules, in the order of loading by the file `order`


def build() -> Image:
    """The machine, from the cache if it is there. Needs the network of the host for Debian's mirror."""
    if os.uname().machine != "x86_64":
        raise VmError("the virtual machine is for x86_64 hosts only")
    missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
    if missing:
        raise VmError(f"these Debian packages are missing: apt-get install {' '.join(missing)}")
    suite, sources = debian.suite_and_sources()
    key = hashlib.sha256(repr((FORMAT, suite, PACKAGES, EARLY_MODULES)).encode()).hexdigest()[:16]
    place = cache_root() / f"vm-{key}"
    cache_root().mkdir(parents=True, exist_ok=True, mode=0o700)
    with (cache_root() / "vm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            scratch = Path(tempfile.mkdtemp(prefix="vm-", suffix=".partial", dir=cache_root()))
            try:
                _build(scratch, suite, sources)
                scratch.rename(place)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return Image(place / "vmlinuz", place / "disk.img", place / "modules")


def _build(place: Path, suite: str, sources: list[str]) -> None:
    print("making the virtual machine (once, about a minute)", flush=True)
    root, kernel = place / "root", place / "kernel"
    _run("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *debian.TRIM, f"--include={PACKAGES}",
         suite, str(root), *sources)  # fmt: skip
    version = _unpack_kernel(place, kernel)
    shutil.copytree(kernel / "lib/modules" / version, root / "usr/lib/modules" / version, symlinks=True)
    shutil.copy(kernel / f"boot/vmlinuz-{version}", place / "vmlinuz")
    _run("chroot", str(root), "/sbin/depmod", version)
    _early_modules(root, version, place / "modules")
    # the package starts a registry on port 5000 at boot; the tests start their own
    (root / "etc/systemd/system/multi-user.target.wants/docker-registry.service").unlink(missing_ok=True)
    _run("truncate", "-s", "6G", str(place / "disk.img"))
    _run("mke2fs", "-q", "-t", "ext4", "-O", "verity", "-d", str(root), str(place / "disk.img"))
    shutil.rmtree(root)
    shutil.rmtree(kernel)


def _unpack_kernel(place: Path, target: Path) -> str:
    """The kernel's files, without installing them; gives its version."""
    depends = _run("apt-cache", "depends", KERNEL)
    names = [line.split()[-1] for line in depends.splitlines() if "Depends: linux-image-" in line]
    if not names:
        raise VmError(f"the package {KERNEL} is not known here: apt-get update")
    _run("apt-get", "download", "-q", names[0], directory=place)
    (package,) = place.glob("*.deb")
    _run("dpkg-deb", "-x", str(package), str(target))
    package.unlink()
    return names[0].removeprefix("linux-image-")


def _early_modules(root: Path, version: str, target: Path) -> None:
    target.mkdir()
    order: list[str] = []
    for module in EARLY_MODULES:
        shown = _run("chroot", str(root), "/sbin/modprobe", "-S", version, "--show-depends", module)
        for line in shown.splitlines():
            if line.startswith("insmod "):
                path = root / line.split()[1].lstrip("/")
                if path.name not in order:
                    shutil.copy(path, target / path.name)
                    order.append(path.name)
    (target / "order").write_text("".join(f"{name}\n" for name in order))


def _run(*command: str, directory: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise VmError(f"{' '.join(command[:2])} failed ({done.returncode}): {done.stderr[-2000:]}")
    return done.stdout
