"""imports: what a command of pyd costs before it does anything. Whole processes, in turn; pyd only."""

from __future__ import annotations

import sys

from benches.bench import Bench, Cases, Metrics, by_metric
from benches.engines.commands import Pyd
from benches.spawner import Failed


def measure(bench: Bench) -> Cases:
    rounds = bench.settings.rounds_or(20, 2)
    with bench.ready(["pyd"]) as engines:
        if not engines:
            return {}
        engine = engines[0]
        assert isinstance(engine, Pyd)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import pyd": [sys.executable, "-c", "import pyd"],
            "pyd version": [*engine.base, "version"],
            "pyd ps": [*engine.base, "ps"],
            "pyd ps --format": [*engine.base, "ps", "--format", "{{.ID}}"],
            "pyd --help": [*engine.base, "--help"],
        }
        found: dict[str, list[Metrics | None]] = {name: [] for name in commands}
        for number in range(rounds + 2):
            for name, argv in commands.items():
                value: Metrics | None = None
                try:
                    value = {"seconds": engine.main.run(argv).seconds}
                except Failed as error:
                    bench.fail("whole command", name, str(error))
                if number >= 2:
                    found[name].append(value)
    return {"whole command": {name: by_metric(values) for name, values in found.items() if any(values)}}
