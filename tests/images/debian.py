"""Root file systems from the machine's own package mirror, made by mmdebstrap.

One base is bootstrapped once; each application is installed into an overlay over it, and the overlay's upper
directory is the application's layer. That is five times faster than five bootstraps, and gives real layers
with real whiteouts. Needs root, and runs in a mount namespace of its own so that a killed run leaves no
mount.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.images.recipes import MARKERS

# Documentation is half of a small rootfs and nothing here reads it.
TRIM = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale", "info")]

# A cluster made at install time would be in the image; the entry point makes one in the volume, as the
# official image does. Java's packages put links into a directory of manuals, which TRIM leaves out.
SETUP = (
    'mkdir -p "$1/etc/postgresql-common" "$1/usr/share/man/man1" && '
    'echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"'
)


class BuildError(Exception):
    """mmdebstrap failed; the message holds the end of its output."""


def suite_and_sources() -> tuple[str, list[str]]:
    """The distribution's code name, and the mirror arguments that make mmdebstrap use the mirror configured
    here.
    """
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    suite = release.get("VERSION_CODENAME", "stable").strip('"')
    name = release.get("ID", "debian").strip('"')
    for candidate in (f"/etc/apt/sources.list.d/{name}.sources", "/etc/apt/sources.list"):
        path = Path(candidate)
        if path.is_file() and any(not line.startswith("#") for line in path.read_text().split("\n") if line):
            return suite, [candidate]
    return suite, []


def _mmdebstrap(
    arguments: list[str], suite: str, target: Path, sources: list[str], prefix: list[str]
) -> None:
    command = [
        *prefix,
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        *TRIM,
        *arguments,
        suite,
        str(target),
        *sources,
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"mmdebstrap of {target} failed ({done.returncode}):\n{done.stderr[-2000:]}")


def bootstrap(target: Path, prefix: list[str]) -> None:
    """Makes the base rootfs in `target`. `prefix` is a command that enters the network of the host (see
    conftest).
    """
    suite, sources = suite_and_sources()
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    _mmdebstrap(["--variant=essential"], suite, partial, sources, [*prefix, "unshare", "-m"])
    for device in (partial / "dev").iterdir():
        # mmdebstrap makes nodes that an image does not have, and refuses to make them twice
        device.unlink() if not device.is_dir() or device.is_symlink() else shutil.rmtree(device)
    for name, text in MARKERS.items():
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    partial.rename(target)


def install(base: Path, packages: tuple[str, ...], scratch: Path, prefix: list[str]) -> Path:
    """Installs `packages` over `base` and returns the directory that holds what they added (an overlay
    upper).
    """
    suite, sources = suite_and_sources()
    upper, work, merged = scratch / "upper", scratch / "work", scratch / "merged"
    for directory in (upper, work, merged):
        directory.mkdir(parents=True)
    mount = f"mount -t overlay -o lowerdir={base},upperdir={upper},workdir={work} overlay {merged}"
    _mmdebstrap(
        [
            "--variant=custom",
            "--skip=check/empty",
            f"--include={','.join(packages)}",
            f"--setup-hook={SETUP}",
        ],
        suite,
        merged,
        sources,
        [*prefix, "unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh"],
    )
    shutil.rmtree(upper / "dev", ignore_errors=True)
    return upper
