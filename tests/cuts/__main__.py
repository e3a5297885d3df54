"""Cuts and kills in full numbers: `python -m tests.cuts [--cuts 1000] [--kills 200]`. As root.

Prints the figures; exits with 1 when more than 1.1 times an image was fetched on average, a file is wrong or
something is left in the store.
"""

from __future__ import annotations

import argparse
import os
import sys

from tests.cuts import campaign
from tests.support.world import unshare_network


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cuts", description=__doc__)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=40, help="of the image, uncompressed")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root: layers keep their owners")
    unshare_network()
    failed = False
    for count, run in ((arguments.cuts, campaign.cuts), (arguments.kills, campaign.kills)):
        if count:
            try:
                print(run(count, arguments.megabytes, arguments.seed), flush=True)
            except AssertionError as error:
                print(f"failed: {error}", flush=True)
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
