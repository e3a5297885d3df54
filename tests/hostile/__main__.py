"""`python -m tests.hostile NAME`: campaigns at full count; exit status 1 on failures.

python -m tests.hostile manifests --count 10000
python -m tests.hostile dockerfiles --count 10000
python -m tests.hostile tars --count 50000 [--seed FIRST] [--workers N]
python -m tests.hostile registry [--only PART-OF-A-NAME]
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.hostile.campaigns import CAMPAIGNS
from tests.hostile.workers import run_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("campaign", choices=[*sorted(CAMPAIGNS), "registry"])
    parser.add_argument("--count", type=int, default=1000, help="rounds")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="misbehaviours with this in their name")
    options = parser.parse_args()
    if options.campaign == "registry":
        return registry(options.only)
    seeds = range(options.seed, options.seed + options.count)
    report = run_all(CAMPAIGNS[options.campaign], seeds, options.workers)
    print(f"{options.campaign}: {report}")
    return 1 if report.failures or report.rounds != options.count else 0


def registry(only: str) -> int:
    """Every misbehaviour once, in a network namespace of its own."""
    from tests.support.world import unshare_network

    unshare_network()
    from tests.hostile.registry import CASES
    from tests.hostile.registry.check import check

    failures, begun = [], time.monotonic()
    chosen = [case for name, case in CASES.items() if only in name]
    for case in chosen:
        try:
            check(case)
        except Exception as error:
            failures.append(f"{case.name}: {type(error).__name__}: {error}"[:600])
            print(failures[-1], flush=True)
    print(
        f"registry: {len(chosen)} misbehaviours, {len(failures)} failures, {time.monotonic() - begun:.0f} s"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
