"""A container that hunts for the runtime's processes while commands are started in it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.command import wait_until
from tests.support.oci import Edit, Furnish, Runtime, unedited

FULL = os.environ.get("PYD_TEST_FULL") == "1"
"""$PYD_TEST_FULL=1: as many rounds as SECURITY asks for, instead of what a few seconds allow."""

CANARY = os.environ | {"PYD_TEST_CANARY": "secret"}


def with_script(root: Path) -> None:
    """A script that is the runtime again."""
    (root / "tmp").mkdir()
    script = root / "evil"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)


def copy_libraries(root: Path, program: Path) -> None:
    """What a program that is not static needs in order to run in a container."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    for library in {word for word in done.stdout.split() if word.startswith("/")}:
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def patiently(words: list[str]) -> None:
    """Runs the command, again when its program is busy: for the moment in which the hunter was refused to
    write to it, the kernel counts it as being written to (docs/security.md, at its end).
    """
    for _ in range(100):
        try:
            subprocess.run(
                words, env=CANARY, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
            )
            return
        except OSError as error:
            if error.errno != errno.ETXTBSY:
                raise
            time.sleep(0.001)
    raise AssertionError(f"{words[0]} stays busy")


def hunted(
    runtime: Runtime,
    rounds: int,
    command: Sequence[str] = ("/payload", "cwd"),
    edit: Edit = unedited,
    furnish: Furnish = with_script,
) -> tuple[set[str], int]:
    """What the container got hold of during `rounds` execs of `command`, and how many of them it met."""
    bundle = runtime.bundle("hunter", ["/payload", "hunt", "600"], edit, furnish)
    told = bundle / "told"
    with told.open("w") as output:
        # Detached: while any process runs the runtime's program, nobody can open that for writing.
        words = [*runtime.program, "run", "--detach", "--bundle", str(bundle), "hunter"]
        subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=30, check=True)
    wait_until(lambda: "ready" in told.read_text())
    for _ in range(rounds):
        patiently([*runtime.program, "exec", "hunter", *command])
    (bundle / "rootfs/tmp/stop").touch()
    wait_until(lambda: "saw" in told.read_text(), 30)
    _ready, *found, last = told.read_text().splitlines()
    return set(found), int(last.removeprefix("saw "))


def grant(*names: str) -> Edit:
    """The capabilities `names` for the container, beside those it has."""

    def edit(spec: dict[str, Any]) -> None:
        for kind in ("bounding", "effective", "permitted"):
            spec["process"]["capabilities"].setdefault(kind, []).extend(names)

    return edit
