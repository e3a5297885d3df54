"""The Rust crates' own tests, so that `pytest` is the one command that runs everything."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent


@pytest.mark.timeout(900)
def test_cargo_test() -> None:
    """Those that need root pass over themselves without it."""
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not installed")
    done = subprocess.run(
        ["cargo", "test", "--workspace", "--locked", "--no-fail-fast"],
        cwd=TOP,
        env=os.environ | {"RUST_BACKTRACE": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
