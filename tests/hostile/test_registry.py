"""A pull from a registry that misbehaves, for its misbehaviours one by one (tests/hostile/registry/check.py).

Every third one is run here; $PYD_HOSTILE_ALL=1 and `python -m tests.hostile registry` run them all.
"""

from __future__ import annotations

import os

import pytest

from pyd.registry import transport
from tests.hostile.registry import CASES
from tests.hostile.registry import check as checks
from tests.hostile.registry.case import Case, Scene
from tests.hostile.registry.check import check

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers keep their owners")

NAMES = list(CASES)
CHOSEN = NAMES if os.environ.get("PYD_HOSTILE_ALL") else [n for n in NAMES[::3] if not CASES[n].long]


def test_there_are_enough() -> None:
    assert len(CASES) >= 450
    assert len(CHOSEN) >= 150


@pytest.mark.parametrize("name", CHOSEN)
def test_misbehaviour(name: str) -> None:
    check(CASES[name])


def honest(scene: Scene) -> None:
    pass


def fails(case: Case, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        check(case)


def test_control_of_what_is_expected() -> None:
    """A pull that comes where it must not, and one that does not say what it must."""
    check(Case("honest", honest, "", comes=True))
    fails(Case("honest", honest, "anything"), "code=0")
    fails(Case("missing", lambda scene: scene.registry.blobs.clear(), "another reason"), "does not say")
    fails(Case("slow", honest, "", comes=True, seconds=0.0), "took")


def test_control_of_the_store() -> None:
    """A blob under a wrong name, a file outside, a canary that is gone."""

    def unverified(scene: Scene) -> None:
        content = scene.data / "content" / "sha256"
        content.mkdir(parents=True)
        (content / ("0" * 64)).write_bytes(b"anything")

    def foreign(scene: Scene) -> None:
        (scene.directory / "foreign").write_bytes(b"")

    fails(Case("unverified", unverified, "", comes=True), "unverified")
    fails(Case("foreign", foreign, "", comes=True), "foreign")
    fails(
        Case("killed", lambda scene: (scene.directory / "canary" / "file").unlink(), "", comes=True), "canary"
    )


def test_control_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message with an escape in it."""
    said = checks.Ran(1, "", "Error response from daemon: \x1b[2J\n")
    monkeypatch.setattr(checks, "run", lambda *arguments: said)
    fails(Case("escape", honest, "2J"), "steers a terminal")


def test_control_of_the_victims(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the rules for redirects somebody is asked who may not be (CVE-2020-15157)."""
    monkeypatch.setattr(transport, "check_redirect", lambda source, target: None)
    fails(CASES["redirect: to loopback"], "somebody was asked")
