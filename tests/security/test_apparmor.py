"""The AppArmor profile of a container, where the kernel has AppArmor: `python -m tests.vm --
tests/security/test_apparmor.py` on a host without.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import find_program
from tests.support.oci import Runtime

PROFILE = """profile pyd-test-profile flags=(attach_disconnected,mediate_deleted) {
  file,
  capability,
  deny /forbidden r,
}
"""
Spec = dict[str, Any]

pytestmark = pytest.mark.skipif(
    not Path("/sys/kernel/security/apparmor/profiles").exists() or find_program("apparmor_parser") is None,
    reason="this kernel has no AppArmor",
)


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[str]:
    parser = find_program("apparmor_parser")
    assert parser is not None
    source = tmp_path / "profile"
    source.write_text(PROFILE)
    subprocess.run([parser, "--replace", "--skip-cache", str(source)], check=True)
    yield "pyd-test-profile"
    subprocess.run([parser, "--remove", str(source)], check=True)


def confined(profile: str, spec: Spec) -> None:
    spec["process"]["apparmorProfile"] = profile


def forbidden(root: Path) -> None:
    (root / "forbidden").write_text("what the profile forbids to read")


def test_label_of_the_first_process(runtime: Runtime, profile: str) -> None:
    """CVE-2019-16884: the label that was asked for is the one that the kernel knows."""
    words = ["/payload", "cat", "/proc/self/attr/current"]
    done = runtime.run("a", words, lambda spec: confined(profile, spec), furnish=forbidden)
    assert done.out == f"{profile} (enforce)"


def test_profile_is_enforced(runtime: Runtime, profile: str) -> None:
    words = ["/payload", "cat", "/forbidden"]
    done = runtime.run("a", words, lambda spec: confined(profile, spec), code=None, furnish=forbidden)
    assert done.code != 0 and "ermission denied" in done.stderr


def test_control_of_the_profile(runtime: Runtime) -> None:
    done = runtime.run("a", ["/payload", "cat", "/forbidden"], furnish=forbidden)
    assert "forbids" in done.stdout
