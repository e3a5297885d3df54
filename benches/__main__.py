"""Measures pyd beside other engines, in turn and in one run. As root; see docs/benchmarks.md.

python -m benches all              every scenario, then the report into README.md and docs/
python -m benches start --quick    one scenario, a few rounds
python -m benches exec --engine pyd-runtime,crun,runc
python -m benches report           the newest results as Markdown; --readme writes them into the documents
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from benches import isolation, machine, results
from benches.bench import Bench, Settings
from benches.engines import ENGINES, Place
from benches.programs import Unavailable
from benches.report import documents, goals, markdown
from benches.scenarios import PURPOSE, SCENARIOS


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.scenario == ["report"]:
        return _report(arguments.readme)
    if "report" in arguments.scenario:
        parser.error("report comes alone")
    levels = {engine.level for engine in ENGINES.values()}
    unknown = set(arguments.engine) - ENGINES.keys() - levels
    if unknown:
        parser.error(f"unknown engine {', '.join(sorted(unknown))}; there are {', '.join(ENGINES)}")
    arguments.engine = tuple(
        name for name, engine in ENGINES.items() if {name, engine.level} & set(arguments.engine)
    )
    if os.geteuid() != 0:
        parser.error("needs root: containers are made with the kernel's own calls (run it with sudo)")
    inside = isolation.inner()
    if inside is None:
        begin = time.time()
        status = isolation.run_inner(sys.argv[1:], arguments.work)
        # into the documents only what is whole: every scenario, every engine, all rounds, on a tmpfs
        whole = "all" in arguments.scenario and not (arguments.quick or arguments.engine or arguments.work)
        return _report(True, begin) or status if whole and status in (0, 1) else status
    isolation.raise_loopback()
    try:
        return _measure(arguments, *inside)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    scenarios = "\n".join(f"  {purpose}" for purpose in PURPOSE.values())
    engines = "\n".join(
        f"  {name.ljust(20)}{engine.level.ljust(9)}{engine.what}" for name, engine in ENGINES.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m benches",
        description=__doc__,
        formatter_class=form,
        epilog=f"scenarios:\n{scenarios}\n\nengines:\n{engines}",
    )
    add = parser.add_argument
    add("scenario", nargs="+", choices=[*SCENARIOS, "all", "report"], metavar="SCENARIO")
    add(
        "--engine",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="NAME,...",
        help="of the list below, or one of its kinds: runtime, v2, command, library",
    )
    add("--quick", action="store_true", help="a few rounds: whether it works, not how fast")
    add(
        "--rounds",
        type=int,
        default=0,
        help="measurements per engine after the warm-up (pull: five times as many of the small image)",
    )
    add("--count", type=int, default=0, help="density: number of containers (100)")
    add("--scale", type=float, default=0.0, help="size of the images (1 is 0.8 to 1.1 GB; all: 0.5)")
    add("--seed", type=int, default=1, help="of the order of the engines in each round")
    add("--work", metavar="DIR", help="keep all state below DIR, not on a tmpfs: the disk is measured too")
    add("--readme", action="store_true", help="report: into README.md and docs/")
    return parser


def _measure(arguments: argparse.Namespace, tag: str, work: Path) -> int:
    """The exit status is 1 when something failed; what is left out is no failure."""
    from tests.images.builder import busybox_tree

    everything = "all" in arguments.scenario
    names = list(SCENARIOS) if everything else arguments.scenario
    settings = Settings(
        engines=arguments.engine,
        quick=arguments.quick,
        rounds=arguments.rounds,
        count=arguments.count,
        scale=arguments.scale or (0.5 if everything else 1.0),
        seed=arguments.seed,
    )
    rootfs = work / "rootfs"
    rootfs.mkdir()
    busybox_tree(rootfs)
    for name in ("resolv.conf", "hostname", "hosts"):
        (rootfs / "etc" / name).touch()  # mounted over: the first engine is not to make them for the others
    on_disk = machine.filesystem(work, Path("/proc/self/mountinfo").read_text()) != "tmpfs"
    place = Place(tag, work, rootfs, on_disk)
    failed = False
    for name in names:
        begin = time.monotonic()
        bench = Bench(settings, place)
        facts = machine.facts(work)
        _warn(facts)
        try:
            cases = SCENARIOS[name](bench)
        except Unavailable as error:
            bench.leave_out(name, str(error))
            cases = {}
        result = results.Result.of(name, facts, bench, cases)
        path = results.save(result)
        print(markdown.scenario(result))
        print(f"{path} ({time.monotonic() - begin:.0f} s)", flush=True)
        nothing = not any(cases.values()) and name not in bench.left_out
        failed = failed or bool(bench.failures) or nothing
    return 1 if failed else 0


def _warn(facts: dict[str, object]) -> None:
    pyd = facts["pyd"]
    assert isinstance(pyd, dict)
    if pyd.get("build") == "development":
        print(f"warning: {pyd['runtime']} is a development build: pip install .", file=sys.stderr)
    if pyd.get("stale"):
        print(f"warning: {pyd['runtime']} is older than this source tree: pip install .", file=sys.stderr)
    load = facts["load"]
    assert isinstance(load, float)
    if load > 1:
        print(f"warning: the load average is {load:.1f}: figures of a busy machine", file=sys.stderr)


def _report(into_documents: bool, since: float = 0) -> int:
    found = results.newest(since=since)
    if not found:
        print("no results yet: python -m benches all", file=sys.stderr)
        return 1
    if into_documents:
        for path in documents.write(found):
            print(path)
    else:
        print(goals.table(found), markdown.whole(found), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
