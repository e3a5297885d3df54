"""Everything static, in one command: `python -m tests.check`. It stops at nothing and names what failed.

Also the Rust tests, with `python -m tests.check --rust-tests` (some of them make namespaces: as root).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).parent.parent
PYTHON = sys.executable

CHECKS: dict[str, list[str]] = {
    "ruff check": [PYTHON, "-m", "ruff", "check", "python", "tests", "benches"],
    "ruff format": [PYTHON, "-m", "ruff", "format", "--check", "python", "tests", "benches"],
    "mypy --strict": [PYTHON, "-m", "mypy", "--strict"],
    "stubtest": [PYTHON, "-m", "mypy.stubtest", "pyd._native"],
    "import direction": [
        PYTHON,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/test_import_direction.py",
    ],
    "cargo fmt": ["cargo", "fmt", "--all", "--check"],
    "cargo clippy": [
        "cargo",
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ],
}
RUST_TESTS = {"cargo test": ["cargo", "test", "--quiet", "--workspace", "--locked"]}


def environment(name: str) -> dict[str, str]:
    environ = dict(os.environ)
    if name == "stubtest" and not _installed():
        environ["PYTHONPATH"] = str(TOP / "python")
    environ["MYPYPATH"] = str(TOP / "python")
    return environ


def _installed() -> bool:
    """Whether `pyd` is importable without the source tree's help."""
    command = [PYTHON, "-c", "import pyd._native"]
    return subprocess.run(command, cwd="/", capture_output=True, check=False).returncode == 0


def run(name: str, command: list[str]) -> bool:
    start = time.monotonic()
    if shutil.which(command[0]) is None:
        print(f"FAILED  {name}: {command[0]} is not installed")
        return False
    done = subprocess.run(
        command, cwd=TOP, env=environment(name), capture_output=True, text=True, check=False
    )
    seconds = f"{time.monotonic() - start:.1f} s"
    print(f"{'ok    ' if done.returncode == 0 else 'FAILED'}  {name}  {seconds}", flush=True)
    if done.returncode:
        print(done.stdout + done.stderr, flush=True)
    return done.returncode == 0


def main() -> int:
    checks = CHECKS | (RUST_TESTS if "--rust-tests" in sys.argv[1:] else {})
    results = [run(name, command) for name, command in checks.items()]
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
