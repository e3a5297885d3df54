"""python -m tests.dockerfiles [NAME...] [--engine pyd,docker,buildah] [--fast]"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.dockerfiles import __doc__ as purpose
from tests.dockerfiles.allowed import QUIRKS
from tests.dockerfiles.archive import Image
from tests.dockerfiles.case import Case, load, names
from tests.dockerfiles.compare import differences, split
from tests.dockerfiles.engines import BUILDERS, Failed
from tests.dockerfiles.site import Site

SHOWN = 40
"""Differences of one case that are printed."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.dockerfiles",
        description=purpose,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="*", help="of cases; all without any")
    parser.add_argument(
        "--engine",
        default="pyd,docker",
        help="the first is compared with each other; a name twice: with a second build of its own",
    )
    parser.add_argument("--fast", action="store_true", help="only the cases that the test suite builds")
    parser.add_argument("--list", action="store_true", help="the cases, and what they are")
    parser.add_argument("--allowed", action="store_true", help="also print the differences that are allowed")
    arguments = parser.parse_args()
    engines = arguments.engine.split(",")
    if set(engines) - BUILDERS.keys():
        parser.error(f"there are {', '.join(BUILDERS)}")
    if set(arguments.name) - set(names()):
        parser.error(f"unknown case {', '.join(sorted(set(arguments.name) - set(names())))}")
    cases = [load(name) for name in arguments.name or names()]
    cases = [case for case in cases if case.fast or not arguments.fast]
    if arguments.list:
        for case in cases:
            print(f"{case.name:24}{'fast  ' if case.fast else '      '}{case.about}")
        return 0
    if os.geteuid() != 0:
        parser.error("needs root: containers are made with the kernel's own calls (run it with sudo)")
    return _run(cases, engines, arguments.allowed)


def _run(cases: Sequence[Case], engines: Sequence[str], show_allowed: bool) -> int:
    directory = Path(tempfile.mkdtemp(prefix="pyd-corpus-"))
    # the user's own would bring credentials and proxies along
    os.environ["DOCKER_CONFIG"] = str(directory / "docker-config")
    site = Site(directory / "site", f"/pyd-corpus-{os.getpid()}")
    bad = 0
    try:
        for case in cases:
            problems = _case(site, case, engines, show_allowed)
            bad += bool(problems)
            for problem in problems[:SHOWN]:
                print(f"    {problem}", flush=True)
            if len(problems) > SHOWN:
                print(f"    and {len(problems) - SHOWN} more", flush=True)
    finally:
        site.close()
        shutil.rmtree(directory, ignore_errors=True)
    print(f"{len(cases) - bad} passed, {bad} failed")
    return 1 if bad else 0


def _case(site: Site, case: Case, engines: Sequence[str], show_allowed: bool) -> list[str]:
    """Builds it by all engines and says in a line how that went; gives what is wrong."""
    problems: list[str] = []
    images: list[tuple[str, Image]] = []
    words = []
    for number, engine in enumerate(engines):
        if case.only and engine != "pyd" and engine not in case.only:
            words.append(f"{engine} cannot")
            continue
        again = engine in engines[:number]
        try:
            built = site.build(case, engine, again=again)
            site.check_output(case, engine, built)
            image = site.image(case, engine, built)
        except (Failed, AssertionError) as error:
            problems.append(f"{engine}: {error}")
            words.append(f"{engine} failed")
            continue
        images.append((engine, image))
        words.append(f"{engine} {built.seconds:.1f} s, {image.layers} layers")
    allowed = []
    for engine, image in images[1:]:
        excuses = (*case.allow, *QUIRKS.get(images[0][0], ()), *QUIRKS.get(engine, ()))
        found, excused = split(differences(images[0][1], image), excuses)
        problems += [f"{images[0][0]} and {engine}: {difference}" for difference in found]
        allowed += [f"allowed: {images[0][0]} and {engine}: {difference}" for difference in excused]
    print(
        f"{'FAILED' if problems else 'ok    '}  {case.name:24}{'; '.join(words)}; {len(allowed)} allowed",
        flush=True,
    )
    if show_allowed:
        for line in allowed:
            print(f"    {line}", flush=True)
    return problems


if __name__ == "__main__":
    sys.exit(main())
