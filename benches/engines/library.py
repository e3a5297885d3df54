"""pyd as a library: in a process that has made a container before, and in one that begins with the import."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benches.engines.commands import Pyd
from benches.spawner import Lane, Timing

WHOLE = (
    "import sys; from pyd import Engine; "
    "sys.exit(Engine().run('busybox', ['true'], network='none', remove=True).exit_code)"
)


class Library(Pyd):
    name = "engine"
    level = "library"
    what = "`Engine.run` in a Python process that has made a container before, timed inside it"
    can = frozenset({"start", "exec", "parallel", "density"})

    def lane(self) -> Lane:
        self._lanes += 1
        top = Path(__file__).parents[2]
        path = ":".join(filter(None, [str(top), self.environment.get("PYTHONPATH", "")]))
        return Lane(
            [
                sys.executable,
                "-m",
                "benches.engines.library_worker",
                str(self.work / f"output-{self._lanes}"),
            ],
            self.environment | {"PYTHONPATH": path},
            self.work / f"output-{self._lanes}",
        )

    def start_command(self) -> list[str]:
        return ["run", "true"]

    def sleeper(self) -> tuple[str, Timing]:
        name = self.unique()
        return name, self.main.run(["sleep", name])

    def execute(self, name: str) -> Timing:
        return self.main.run(["exec", name])

    def remove(self, names: Sequence[str]) -> float:
        return self.main.run(["remove", *names]).seconds


class LibraryProcess(Pyd):
    name = "engine-process"
    level = "library"
    what = "a Python program that imports pyd, runs one container and ends"
    can = frozenset({"start"})

    def start_command(self) -> list[str]:
        return [sys.executable, "-c", WHOLE]
