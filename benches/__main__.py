"""`python -m benches start --engine pyd,crun,docker`: as root; every engine gets its own state, and the
host's is not used.
"""

from __future__ import annotations

import argparse
import sys

from benches import harness, report
from benches.scenarios import ALL, SCENARIOS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("scenario", choices=[*SCENARIOS, "report"])
    parser.add_argument(
        "--engine", type=lambda text: text.split(","), default=ALL, help=f"of {','.join(ALL)}"
    )
    parser.add_argument("--rounds", type=int, default=0, help="measurements per engine, after the warm-up")
    parser.add_argument("--count", type=int, default=100, help="density: number of containers")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="pull: size of the images, 1 is 0.8 to 1.1 GB"
    )
    parser.add_argument(
        "--work", help="directory for all state; a tmpfs takes the disk out of the measurement"
    )
    parser.add_argument(
        "--floor", metavar="PATH", help="start: a program that is the floor, measured beside the engines"
    )
    arguments = parser.parse_args()
    if arguments.scenario == "report":
        print(report.render())
        return 0
    unknown = set(arguments.engine) - set(ALL)
    if unknown:
        parser.error(f"unknown engine {', '.join(sorted(unknown))}")
    arguments.rounds = arguments.rounds or {"pull": 3}.get(arguments.scenario, 30)
    harness.isolate()
    path = harness.save(arguments.scenario, SCENARIOS[arguments.scenario](arguments))
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
