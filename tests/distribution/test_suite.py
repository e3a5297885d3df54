"""The conformance suite of the OCI distribution spec passes against `pyd registry serve`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distribution import build, suite
from tests.support.served import Served
from tests.support.world import World

# the first run builds the programs
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def outcome(world: World, tmp_path_factory: pytest.TempPathFactory) -> suite.Outcome:
    try:
        programs = build.programs(world.host_prefix)
    except build.NotBuilt as error:
        pytest.skip(f"the suite cannot be built: {error}")
    place = tmp_path_factory.mktemp("distribution")
    served = Served(place / "registry")
    try:
        return suite.run(programs / "conformance", served.host, place / "results")
    finally:
        assert served.stop() == 0


@pytest.mark.parametrize("workflow", suite.WORKFLOWS)
def test_workflow(outcome: suite.Outcome, workflow: str) -> None:
    assert set(outcome.workflow(workflow).values()) == {"Pass"}, outcome.output


def test_nothing_failed_or_was_left_out(outcome: suite.Outcome) -> None:
    assert outcome.failures == []
    others = {name: word for name, word in outcome.data.items() if word != "Pass"}
    assert others == {"Sparse Manifests": "Disabled"}
    assert outcome.counts["Pass"] == outcome.counts["Total"] > 900


def test_a_failure_is_noticed(tmp_path: Path) -> None:
    """What reads the summary would see it."""
    text = "  Pass...: 5\n  FAIL...: 1\nAPI conformance:\n  Blob mount....:  FAIL\nData conformance:\n"
    outcome = suite.read(text)
    assert outcome.workflow("Push") == {"Blob mount": "FAIL"} and len(outcome.failures) == 2
    assert suite.read("panic").failures
