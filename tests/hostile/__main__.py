"""`python -m tests.hostile manifests|tars [--count N] [--seed FIRST] [--workers N]`; status 1 on failures."""

from __future__ import annotations

import argparse
import os
import sys

from tests.hostile.campaigns import CAMPAIGNS
from tests.hostile.workers import run_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("campaign", choices=sorted(CAMPAIGNS))
    parser.add_argument("--count", type=int, default=1000, help="rounds")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.count)
    report = run_all(CAMPAIGNS[options.campaign], seeds, options.workers)
    print(f"{options.campaign}: {report}")
    return 1 if report.failures or report.rounds != options.count else 0


if __name__ == "__main__":
    sys.exit(main())
