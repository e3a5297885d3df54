"""Answers like spawner/spawn.c, but does the work in this process through `pyd.Engine`.

python -m benches.engines.library_worker OUTPUT      requests: run true | sleep NAME | exec NAME | remove
NAME...
"""

from __future__ import annotations

import resource
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pyd import ContainerOptions, Engine


class Worker:
    def __init__(self) -> None:
        self._engine = Engine()

    def run(self, *command: str) -> int:
        return self._engine.run("busybox", list(command), network="none", remove=True).exit_code

    def sleep(self, name: str) -> int:
        containers = self._engine.containers
        options = ContainerOptions(
            image="busybox", command=("sleep", "10000"), name=name, network="none", detach=True
        )
        containers.start_new(containers.create(options))
        return 0

    def exec(self, name: str) -> int:
        return self._engine.containers.exec(name, ["true"]).exit_code

    def remove(self, *names: str) -> int:
        for name in names:
            self._engine.containers.remove(name, force=True)
        return 0


def answer(action: Callable[..., int], arguments: list[str], output: Path) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.monotonic_ns()
    try:
        code = action(*arguments)
    except Exception as error:  # whatever it is, the suite reports it and goes on
        output.write_text(f"{type(error).__name__}: {error}")
        code = 1
    end = time.monotonic_ns()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{begin} {end} {int(cpu * 1e6)} {after.ru_maxrss} {code << 8}"


def main() -> None:
    worker = Worker()
    output = Path(sys.argv[1])
    actions: dict[str, Callable[..., int]] = {
        "run": worker.run,
        "sleep": worker.sleep,
        "exec": worker.exec,
        "remove": worker.remove,
    }
    while head := sys.stdin.buffer.read(4):
        words = sys.stdin.buffer.read(struct.unpack("=I", head)[0]).decode().split("\0")[:-1]
        if words[0] == "until":
            begin = time.monotonic_ns()
            time.sleep(max(0.0, (int(words[1]) - begin) / 1e9))
            print(begin, time.monotonic_ns(), 0, 0, 0, flush=True)
            continue
        assert words[0] == "run"  # what Lane.run sends
        print(answer(actions[words[1]], words[2:], output), flush=True)


if __name__ == "__main__":
    main()
