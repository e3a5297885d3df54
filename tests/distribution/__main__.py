"""Runs the conformance suite of the OCI distribution spec: `python -m tests.distribution`.

Against `pyd registry serve` on loopback, or against any registry with --host. Prints a line for each API and
each kind of data, and exits with 1 when anything failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.distribution import build, suite
from tests.support.served import Served


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.distribution", description=__doc__)
    parser.add_argument("--host", metavar="HOST:PORT", help="a registry that speaks plain HTTP")
    parser.add_argument("--results", type=Path, metavar="DIR", help="keep the suite's reports there")
    args = parser.parse_args()
    try:
        program = build.programs() / "conformance"
    except build.NotBuilt as error:
        sys.exit(f"the suite cannot be built: {error}")
    with tempfile.TemporaryDirectory(prefix="pyd-distribution-") as place:
        served = None if args.host else Served(Path(place) / "registry", "--access-log=false")
        try:
            host = args.host or served.host  # type: ignore[union-attr]
            outcome = suite.run(program, host, args.results or Path(place) / "results")
        finally:
            if served is not None:
                served.stop()
    for title in suite.WORKFLOWS:
        print(f"{title}:")
        for api, word in outcome.workflow(title).items():
            print(f"  {api:32} {word}")
    print("Data:")
    for name, word in outcome.data.items():
        print(f"  {name:32} {word}")
    print(f"{build.SUITE} {build.version()}: {outcome.counts}")
    for failure in outcome.failures:
        print(f"failed: {failure}")
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
