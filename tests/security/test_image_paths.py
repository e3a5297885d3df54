"""Every path that an image names, or that the engine uses in one, behind links that lead to the host.

CVE-2025-9566, CVE-2026-55686, CVE-2024-9341, CVE-2022-23648: engines followed links of the image when they
made WORKDIR, filled a VOLUME, read /etc/passwd or mounted their own files.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pyd.errors import PydError
from pyd.runtime import copyup, users
from pyd.runtime.layered import LayeredRoot
from tests.support.command import Pyd
from tests.support.swap import swapping

SECRET = "a secret of the host"

# What becomes a link, and the options that make the engine use it. {} is a directory of the host's.
USES: dict[str, tuple[str, tuple[str, ...]]] = {
    "WORKDIR": ("link", ("-w", "/link")),
    "WORKDIR below": ("link", ("-w", "/link/made")),
    "volume": ("link", ("-v", "data:/link")),
    "volume below": ("link", ("-v", "/link/made")),
    "bind": ("link", ("-v", "{}:/link:ro")),
    "bind below": ("link", ("-v", "{}:/link/made/deep:ro")),
    "bind of a file": ("link", ("-v", "{}/file:/link/made:ro")),
    "tmpfs": ("link", ("--tmpfs", "/link")),
    "tmpfs below": ("link", ("--mount", "type=tmpfs,target=/link/made")),
    "device": ("link", ("--device", "/dev/null:/link/made/null")),
    "init": ("sbin", ("--init",)),
    "hosts": ("etc/hosts", ()),
    "hostname": ("etc/hostname", ()),
    "resolv.conf": ("etc/resolv.conf", ()),
    "all of etc": ("etc", ()),
    "mtab": ("etc/mtab", ()),
    "home": ("home", ("-u", "1000", "-e", "HOME=/home/made")),
    "proc": ("proc", ()),
    "sys": ("sys", ()),
    "dev": ("dev", ("-t",)),
    "passwd": ("etc/passwd", ("-u", "evil")),
    "group": ("etc/group", ("--group-add", "evil")),
}
KINDS = {
    "absolute": "{canary}",
    "relative": "../../../../../../../../../../../../../..{canary}",
    "dangling": "{canary}/missing/made",
}
SHOW = "cat /link/* /link/made/* /etc/passwd /etc/group /home/* /proc/secret /sys/secret; id"


class Host:
    def __init__(self, directory: Path) -> None:
        self.canary = directory / "canary"
        self.canary.mkdir()
        (self.canary / "secret").write_text(SECRET)
        # For links that take the place of a file: the entry would make anybody root.
        (self.canary / "passwd").write_text("evil:x:0:0::/:/bin/sh\n")
        (self.canary / "group").write_text("evil:x:777:\n")
        self.mounted = directory / "mounted"
        self.mounted.mkdir()
        (self.mounted / "file").write_text("to be mounted")
        self.before = self.look()

    def look(self) -> list[tuple[str, float, float]]:
        """Everything in the canary directory, with its times of change and of status change."""
        found = [self.canary, *self.canary.rglob("*")]
        return sorted((str(path), path.lstat().st_mtime, path.lstat().st_ctime) for path in found)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def hostile(rootfs: Path, tmp_path: Path, host: Host, link: str, kind: str) -> Path:
    """A copy of the busybox root in which `link` leads to the canary directory or a file in it."""
    root = tmp_path / "root"
    shutil.copytree(rootfs, root, symlinks=True)
    place = root / link
    target = KINDS[kind].format(canary=host.canary)
    if place.name in ("passwd", "group") and kind != "dangling":
        target += f"/{place.name}"
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.is_dir():
        place.rename(root / f"real-{place.name}")
    place.symlink_to(target)
    return root


def use(pyd: Pyd, host: Host, root: Path, words: tuple[str, ...], env: dict[str, str]) -> str:
    options = [word.format(host.mounted) for word in words]
    command = ["--rootfs", f"{root}:O", "/bin/busybox", "sh", "-c", SHOW]
    return str(pyd("run", "--rm", "--network", "none", *options, *command, code=None, env=env, timeout=30))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", USES)
def test_links_stay_inside(rootfs: Path, tmp_path: Path, pyd: Pyd, host: Host, name: str, kind: str) -> None:
    link, words = USES[name]
    root = hostile(rootfs, tmp_path, host, link, kind)
    shown = use(pyd, host, root, words, {})
    assert host.look() == host.before
    assert SECRET not in shown
    assert name != "passwd" or "uid=0" not in shown
    assert "777" not in shown


@pytest.mark.parametrize("name", ["WORKDIR below", "volume below", "bind below", "tmpfs below"])
def test_control_of_links(
    rootfs: Path,
    tmp_path: Path,
    pyd: Pyd,
    host: Host,
    weakened_program: Callable[..., Path],
    name: str,
) -> None:
    link, words = USES[name]
    root = hostile(rootfs, tmp_path, host, link, "absolute")
    use(pyd, host, root, words, {"PYD_RUNTIME": str(weakened_program("targets-by-name"))})
    assert host.look() != host.before


# Paths of VOLUME that lead out of the image by themselves, and through a link in it.
TRAVERSALS = ["/../../../../../../../..{canary}", "/link", "/link/../canary", "/a/../../../..{canary}/"]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_volume_of_an_image(pyd: Pyd, host: Host, rootfs: Path, tmp_path: Path, path: str) -> None:
    """CVE-2022-23648: the first contents of a volume came from the host."""
    root = hostile(rootfs, tmp_path, host, "link", "absolute")
    archive = tmp_path / "image.tar"
    subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
    volume = path.format(canary=host.canary)
    image = pyd("import", "--change", f'VOLUME ["{volume}"]', archive).out
    script = f"find / -xdev -name secret; cat /link/secret /link/* {volume}/* {host.canary}/*"
    shown = str(pyd("run", "--rm", "--network", "none", image, "/bin/busybox", "sh", "-c", script, code=None))
    pyd("rmi", "-f", image)
    assert SECRET not in shown and "/secret\n" not in shown
    assert host.look() == host.before


class ByName(LayeredRoot):
    """The engine's view of an image as it would be without care: names, and open(2)."""

    def read_text(self, path: str) -> str | None:
        return Path(f"{self.layers[0]}{path}").read_text()


def looked_up(root: LayeredRoot) -> int | None:
    try:
        return users.resolve("evil", root).uid
    except PydError:
        return None


@pytest.mark.parametrize("kind", ["absolute", "relative"])
def test_control_of_passwd(rootfs: Path, tmp_path: Path, host: Host, kind: str) -> None:
    root = hostile(rootfs, tmp_path, host, "etc/passwd", kind)
    assert looked_up(LayeredRoot([str(root)])) is None
    assert looked_up(ByName([str(root)])) == 0


def race(root: LayeredRoot, place: Path, target: Path, rounds: int) -> set[int | None]:
    """Looks a user up while /etc/passwd, or its directory, is exchanged with a link to the host's."""
    other = place.with_name("other")
    other.symlink_to(target)
    seen = set()
    with swapping(place, other):
        for _ in range(rounds):
            try:
                seen.add(looked_up(root))
            except OSError:
                continue
            if 0 in seen:
                break
    return seen


@pytest.mark.parametrize("name", ["etc/passwd", "etc"])
def test_passwd_is_exchanged(rootfs: Path, tmp_path: Path, host: Host, name: str) -> None:
    root = tmp_path / "root"
    shutil.copytree(rootfs, root, symlinks=True)
    target = host.canary if name == "etc" else host.canary / "passwd"
    assert race(LayeredRoot([str(root)]), root / name, target, 2000) == {None}


@pytest.mark.parametrize("name", ["etc/passwd", "etc"])
def test_control_of_passwd_is_exchanged(rootfs: Path, tmp_path: Path, host: Host, name: str) -> None:
    root = tmp_path / "root"
    shutil.copytree(rootfs, root, symlinks=True)
    target = host.canary if name == "etc" else host.canary / "passwd"
    assert 0 in race(ByName([str(root)]), root / name, target, 20000)


def filled(copy: Callable[[list[str], str, str], None], tmp_path: Path, host: Host) -> set[str]:
    """The texts of all files of volumes that were filled while the directory that is copied, and one in it,
    became links to the host's.
    """
    root = tmp_path / "root"
    (root / "data" / "deep").mkdir(parents=True)
    (root / "data" / "deep" / "file").write_text("of the image")
    (root / "data" / "link").symlink_to(host.canary)
    (root / "link").symlink_to(host.canary)
    texts: set[str] = set()
    with swapping(root / "data" / "deep", root / "data" / "link"), swapping(root / "data", root / "link"):
        for number in range(200):
            volume = tmp_path / f"volume-{number}"
            volume.mkdir()
            with suppress(PydError, OSError):
                copy([str(root)], "/data", str(volume))
            copied = [path for path in volume.rglob("*") if path.is_file() and not path.is_symlink()]
            texts |= {path.read_text() for path in copied}
    return texts


def test_volume_is_filled_under_exchange(tmp_path: Path, host: Host) -> None:
    undisturbed = tmp_path / "undisturbed"
    (undisturbed / "root/data/deep").mkdir(parents=True)
    (undisturbed / "root/data/deep/file").write_text("of the image")
    (undisturbed / "volume").mkdir()
    copyup.copy([str(undisturbed / "root")], "/data", str(undisturbed / "volume"))
    assert (undisturbed / "volume/deep/file").read_text() == "of the image"
    # each copy may meet a link and be refused; the host's text is in none
    assert filled(copyup.copy, tmp_path, host) <= {"of the image"}


def test_control_of_a_volume_under_exchange(tmp_path: Path, host: Host) -> None:
    def by_name(layers: list[str], path: str, target: str) -> None:
        shutil.copytree(layers[0] + path, target, dirs_exist_ok=True)

    assert SECRET in filled(by_name, tmp_path, host)


def bound_later(pyd: Pyd, host: Host, image: str, env: dict[str, str]) -> str:
    """What a container sees of a directory in a volume, which another one exchanges with a link to the host's
    after the first was made and before it is started.
    """
    pyd("volume", "create", "shared")
    pyd("run", "--rm", "-v", "shared:/v", image, "sh", "-c", "mkdir -p /v/sub; echo inside > /v/sub/secret")
    mount = "type=volume,source=shared,target=/d,volume-subpath=sub"
    pyd("create", "--name", "victim", "--mount", mount, image, "sh", "-c", "cat /d/secret")
    swap = f"mv /v/sub /v/old; ln -s {host.canary} /v/sub"
    shown = str(pyd("start", "-a", "victim", env=env))
    pyd("run", "--rm", "-v", "shared:/v", image, "sh", "-c", swap)
    shown += str(pyd("start", "-a", "victim", code=None, env=env))
    pyd("rm", "-f", "victim")
    pyd("volume", "rm", "shared")
    return shown


def test_directory_of_a_volume(pyd: Pyd, host: Host, busybox: str) -> None:
    """CVE-2021-25741: `volume-subpath` of a volume that an attacker has as well."""
    shown = bound_later(pyd, host, busybox, {})
    assert "inside" in shown and SECRET not in shown


def test_control_of_a_directory_of_a_volume(
    pyd: Pyd, host: Host, busybox: str, weakened_program: Callable[..., Path]
) -> None:
    env = {"PYD_RUNTIME": str(weakened_program("subpath-by-name"))}
    assert SECRET in bound_later(pyd, host, busybox, env)
