"""What goes into the guest: the installed package, the tests, and the Python packages that both use."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pyd
from tests.images import builder
from tests.vm.image import VmError

TOP = Path(__file__).parent.parent.parent
# What pyd and its tests import; linters and builders stay out.
DISTRIBUTIONS = ("typer", "httpx", "tqdm", "pytest", "pytest-timeout", "hypothesis")
RUST_TESTS = ("cargo", "test", "--no-run", "--locked", "-p", "pyd-runtime", "--message-format=json")


def fill(place: Path, images: Iterable[str], *, rust: bool, files: Iterable[Path]) -> None:
    """Fills the directory that becomes /payload in the guest."""
    package = Path(str(pyd.__file__)).parent
    for needed in ("_bin/pyd-runtime", "_native.abi3.so"):
        if not (package / needed).exists():
            raise VmError(f"{package / needed} is missing: pip install '.[test]' builds it")
    site = place / "site"
    site.mkdir(parents=True)
    shutil.copytree(package, site / "pyd", ignore=shutil.ignore_patterns("__pycache__"))
    _distributions(site)
    shutil.copytree(TOP / "tests", place / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        TOP / "benches", place / "benches", ignore=shutil.ignore_patterns("__pycache__", "results")
    )
    if (TOP / "target/benches").exists():  # their C programs: the guest has no compiler
        shutil.copytree(TOP / "target/benches", place / "target/benches")
    shutil.copy(TOP / "pyproject.toml", place)
    for layout in builder.layouts(sorted({"busybox", *images})).values():
        shutil.copytree(layout, place / "cache/pyd-tests" / layout.name)
    shutil.copy(_static_payload(), place / "pyd-payload")
    (place / "files").mkdir()
    for file in files:
        shutil.copy(file, place / "files")
    if rust:
        _rust_tests(place / "rust")


def command(arguments: list[str], *, rust: bool) -> str:
    """The shell command of the guest. Exit status: pytest's, or that of the first Rust test that failed."""
    lines = [
        "export PYTHONPATH=/payload/site:/payload XDG_CACHE_HOME=/payload/cache TMPDIR=/payload/tmp",
        "export PYD_TEST_PAYLOAD=/payload/pyd-payload PYTHONDONTWRITEBYTECODE=1",
        "mkdir -p $TMPDIR; cd /payload; status=0",
    ]
    if rust:
        lines.append("sh rust/run || status=$?")
    if arguments:
        # 8 to 12 times slower than the host, and so are the tests' own limits of time
        words = [
            "python3",
            "-m",
            "pytest",
            "--color=no",
            "-p",
            "no:cacheprovider",
            "-o",
            "timeout=600",
            *arguments,
        ]
        lines.append(f"{shlex.join(words)} || status=$?")
    lines.append("exit $status")
    return "\n".join(lines)


def _distributions(site: Path) -> None:
    """Copies the distributions and what they require, from the environment that this runs in."""
    waiting, seen = list(DISTRIBUTIONS), set[str]()
    while waiting:
        name = waiting.pop()
        if name.lower() in seen:
            continue
        seen.add(name.lower())
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name in DISTRIBUTIONS:
                raise VmError(f"the Python package {name} is missing: pip install '.[test]'") from None
            continue  # a requirement for another platform or version of Python
        for requirement in distribution.requires or []:
            found = re.match(r"[\w.-]+", requirement)
            if found and "extra ==" not in requirement:
                waiting.append(found[0])
        for file in distribution.files or []:
            if ".." not in file.parts and file.suffix != ".pyc":
                target = site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)


def _static_payload() -> Path:
    subprocess.run(
        [
            *("cargo", "build", "--quiet", "--release", "--locked", "-p", "pyd-payload"),
            *("--target", "x86_64-unknown-linux-gnu", "--target-dir", str(TOP / "target/payload")),
        ],
        cwd=TOP,
        env=os.environ | {"RUSTFLAGS": "-C target-feature=+crt-static"},
        check=True,
    )
    return TOP / "target/payload/x86_64-unknown-linux-gnu/release/pyd-payload"


def _rust_tests(place: Path) -> None:
    """The test programs and the runtime that they were built with, to be found where cargo had made them."""
    built = subprocess.run(RUST_TESTS, cwd=TOP, stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        raise VmError("cargo test --no-run failed")
    place.mkdir(parents=True)
    script = ["status=0"]
    for line in built.stdout.splitlines():
        message = json.loads(line)
        program = message.get("executable")
        if not program:
            continue
        shutil.copy(program, place)
        name = Path(program).name
        if message["profile"]["test"]:
            # the programs of tests/ in the crate's own directory, as cargo does it
            script.append(
                f"echo '== {name}'; (cd /payload && /payload/rust/{name} --test-threads 2) || status=$?"
            )
        else:
            # its path is compiled into the tests
            script.insert(0, f"mkdir -p {Path(program).parent}; ln -sf /payload/rust/{name} {program}")
    (place / "run").write_text("\n".join([*script, "exit $status", ""]))
