"""python -m tests.vm [--cgroup v2|v1|hybrid] [--init systemd] [--rust] [--image NAME] -- PYTEST-ARGS

Boots the machine, runs pytest in it with the arguments, and ends with pytest's exit status. With `--rust` the
tests of the crate pyd-runtime run as well, with `--command` a shell command instead of pytest.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path

from tests.images.builder import cache_root
from tests.vm import image, machine, payload


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("--cgroup", choices=("v2", "v1", "hybrid"), default="v2")
    parser.add_argument(
        "--init", choices=("tiny", "systemd"), default="tiny", help="first process of the guest"
    )
    parser.add_argument("--rust", action="store_true", help="run the tests of pyd-runtime's crate too")
    parser.add_argument("--image", action="append", default=[], help="a test image besides busybox")
    parser.add_argument("--file", action="append", default=[], help="a file to have in /payload/files")
    parser.add_argument("--command", help="a shell command to run in place of pytest")
    parser.add_argument("--timeout", type=int, default=3600, help="seconds for the whole run")
    parser.add_argument("--memory", type=int, default=2048, help="MiB of the guest")
    parser.add_argument("--out", type=Path, help="directory for what the guest leaves in /out")
    parser.add_argument("pytest", nargs="*", metavar="PYTEST-ARGS")
    given = parser.parse_args(arguments)
    try:
        built = image.build()
        with tempfile.TemporaryDirectory(prefix="pyd-vm-", dir=cache_root()) as scratch:
            content = Path(scratch) / "payload"
            payload.fill(content, given.image, rust=given.rust, files=[Path(name) for name in given.file])
            command = given.command or payload.command(given.pytest, rust=given.rust)
            (content / ".command").write_text(command + "\n")
            return machine.run(
                built,
                content,
                given.out or Path(scratch) / "out",
                cgroup=given.cgroup,
                init=given.init,
                memory=given.memory,
                timeout=given.timeout,
            )
    except image.VmError as error:
        print(f"tests.vm: {error}", file=sys.stderr)
        return 125


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(f"tests.vm: needs root, to make the disk: sudo {shlex.join(sys.orig_argv)}")
    sys.exit(main(sys.argv[1:]))
