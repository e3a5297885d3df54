"""Runs the validation programs of the OCI runtime-tools: `python -m tests.conformance`. As root.

Each program runs against each runtime in a cell of its own (cell.py). Prints a table, writes JSON when asked,
and exits with 1 when pyd-runtime has a problem that reasons.py does not explain, or fewer clean programs than
runc.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyd
from tests.conformance import build, cell, document
from tests.conformance.verdict import CLEAN, Verdict, judge
from tests.support.command import find_program

OURS = "pyd-runtime"
RACES = {"pidfile": 5, "poststart": 5}
"""Programs that race with the runtime, and how often each runtime may try (see reasons.py)."""
Results = dict[str, dict[str, tuple[Verdict, cell.Outcome]]]


def main() -> int:
    args = _arguments()
    if os.geteuid() != 0:
        sys.exit("needs root: runtimes make containers with the kernel's own calls")
    try:
        directory = build.programs()
    except build.NotBuilt as error:
        sys.exit(f"the validation programs cannot be built: {error}")
    runtimes = dict(_named(path) for path in args.runtime) or _installed()
    programs = [name for name in build.names(directory) if not args.only or name in args.only]
    results: Results = {}
    with ThreadPoolExecutor(args.jobs) as pool:

        def run(program: str) -> None:
            # one runtime after the other, so that they meet the same machine
            results[program] = {}
            for name, path in runtimes.items():
                for _ in range(RACES.get(program, 1)):
                    outcome = cell.run(directory / program, [path], args.timeout)
                    verdict = judge(program, outcome)
                    results[program][name] = verdict, outcome
                    if verdict.word == CLEAN:
                        break
            print(_line(program, results[program]), flush=True)

        list(pool.map(run, programs))
    results = {program: results[program] for program in programs}
    totals = {name: _count(results, name) for name in runtimes}
    for name, count in totals.items():
        print(f"{name}: {count[CLEAN]} of {len(programs)} clean; {dict(count)}")
    if args.json:
        args.json.write_text(json.dumps(_facts(runtimes, results), indent=1) + "\n")
    if args.markdown:
        document.update(args.markdown, _versions(runtimes), results)
    return _complain(results, totals)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument(
        "--runtime", action="append", default=[], metavar="[NAME=]PATH", help="default: pyd-runtime and runc"
    )
    parser.add_argument("--only", action="append", default=[], metavar="PROGRAM", help="this program")
    parser.add_argument(
        "--jobs", type=int, default=1, help="programs at a time; some are about time (default: 1)"
    )
    parser.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="for each program")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was seen")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the tables into docs/conformance.md"
    )
    return parser.parse_args()


def _named(word: str) -> tuple[str, str]:
    name, _, path = word.rpartition("=")
    return name or Path(path).name, str(Path(path).resolve())


def _installed() -> dict[str, str]:
    found = {OURS: str(Path(str(pyd.__file__)).parent / "_bin" / "pyd-runtime")}
    if runc := find_program("runc"):
        found["runc"] = runc
    else:
        print("runc is not installed: no comparison")
    return found


def _versions(runtimes: dict[str, str]) -> dict[str, str]:
    def first_line(path: str) -> str:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        return (done.stdout.splitlines() or ["version unknown"])[0]

    return {name: first_line(path) for name, path in runtimes.items()}


def _count(results: Results, runtime: str) -> Counter[str]:
    return Counter(verdicts[runtime][0].word for verdicts in results.values())


def _line(program: str, verdicts: dict[str, tuple[Verdict, cell.Outcome]]) -> str:
    cells = [f"{name}: {v.word} ({v.passed} ok, {len(v.problems)} not)" for name, (v, _) in verdicts.items()]
    return f"{program:34} " + "   ".join(f"{text:44}" for text in cells).rstrip()


def _facts(runtimes: dict[str, str], results: Results) -> dict[str, object]:
    return {
        "kernel": platform.release(),
        "runtime_tools": build.version(),
        "runtimes": _versions(runtimes),
        "programs": {
            program: {
                name: {
                    "verdict": verdict.word,
                    "passed": verdict.passed,
                    "skipped": verdict.skipped,
                    "problems": [{"text": text, "why": why} for text, why in verdict.explained],
                    "seconds": round(outcome.seconds, 2),
                    "exit": outcome.code,
                    "left": outcome.cgroups,
                }
                for name, (verdict, outcome) in verdicts.items()
            }
            for program, verdicts in results.items()
        },
    }


def _complain(results: Results, totals: dict[str, Counter[str]]) -> int:
    if OURS not in totals:
        return 0
    unexplained = [
        text for verdicts in results.values() for text, why in verdicts[OURS][0].explained if not why
    ]
    for text in unexplained:
        print(f"not explained: {text}")
    fewer = "runc" in totals and totals[OURS][CLEAN] < totals["runc"][CLEAN]
    if fewer:
        print(f"{OURS} has fewer clean programs than runc")
    return 1 if unexplained or fewer else 0


if __name__ == "__main__":
    sys.exit(main())
