"""Starts commands and times them, one process per engine: `python -m benches.runner [UMOUNT...]`.

Timing happens here, around posix_spawn and wait, so that every engine is measured by the same few lines and
none pays for another's environment. Each runner has a mount namespace of its own, where the paths given are
unmounted first: crun refuses hosts whose cgroups are hybrid, and is shown a pure v1 tree this way.

Reads one JSON request per line, answers one JSON line:
    {"argv": [...], "cwd": DIR}              -> {"seconds": wall, "cpu": seconds, "code": n, "out": text}
    {"engine": "run", "argv": [...]}         -> the same, by pyd.Engine in this (warm) process
    {"engine": "detach", "argv": [...]}      -> starts a container and leaves it running
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
import time
from typing import Any

CLONE_NEWNS = 0x20000
MS_REC_PRIVATE = 0x4000 | 0x40000


def private_mounts(unmount: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS)")
    for path in unmount:
        libc.umount2(path.encode(), 2)


def command(argv: list[str], cwd: str | None = None) -> dict[str, Any]:
    if cwd:
        os.chdir(cwd)
    with tempfile.TemporaryFile() as out:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, out.fileno(), 2),
        ]
        start = time.perf_counter()
        pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - start
        out.seek(0)
        text = out.read().decode(errors="replace")
    return {
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "code": os.waitstatus_to_exitcode(status),
        "out": text,
    }


class WarmEngine:
    """pyd.Engine kept open: what a program that embeds pyd pays for a container."""

    def __init__(self) -> None:
        from pyd import ContainerOptions, Engine

        self._engine = Engine()
        self._options = ContainerOptions

    def run(self, argv: list[str]) -> dict[str, Any]:
        start = time.perf_counter()
        result = self._engine.run("busybox", argv, network="none", remove=True)
        return {"seconds": time.perf_counter() - start, "cpu": 0.0, "code": result.exit_code, "out": ""}

    def detach(self, argv: list[str]) -> dict[str, Any]:
        start = time.perf_counter()
        options = self._options(image="busybox", command=tuple(argv), network="none", detach=True)
        self._engine.containers.start_new(self._engine.containers.create(options))
        return {"seconds": time.perf_counter() - start, "cpu": 0.0, "code": 0, "out": ""}


def main() -> None:
    private_mounts(sys.argv[1:])
    engine: WarmEngine | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request.get("engine"):
                engine = engine or WarmEngine()
                answer = getattr(engine, request["engine"])(request["argv"])
            else:
                answer = command(request["argv"], request.get("cwd"))
        except Exception as error:
            answer = {"seconds": 0.0, "cpu": 0.0, "code": -1, "out": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
