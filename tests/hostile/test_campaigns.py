"""The first rounds of every campaign; $PYD_HOSTILE_ROUNDS says how many (the commands: tens of thousands)."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import replace

import pytest

from pyd.oci.document import Fields
from tests.hostile import workers
from tests.hostile.campaigns import CAMPAIGNS
from tests.hostile.tars import campaign as tars
from tests.hostile.tars import readings
from tests.hostile.workers import Campaign, run_all

ROUNDS = int(os.environ.get("PYD_HOSTILE_ROUNDS", "400"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers keep their owners")
@pytest.mark.skipif(not shutil.which("tar"), reason="needs GNU tar")
@pytest.mark.parametrize("name", CAMPAIGNS)
def test_nothing_goes_wrong(name: str) -> None:
    report = run_all(CAMPAIGNS[name], range(ROUNDS))
    assert not report.failures, str(report)
    assert report.rounds == ROUNDS
    # what is always refused, or always taken, tests little
    assert all(count > ROUNDS // 10 for count in report.fates.values()) and len(report.fates) == 2, str(
        report
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers keep their owners")
def test_control_of_the_canary() -> None:
    """A file beside the canary, and a canary that was touched, are noticed."""
    place = tars.Place()
    try:
        assert place.is_untouched()
        with open(f"{place.root}/foreign", "w"):
            pass
        assert not place.is_untouched()
        os.unlink(f"{place.root}/foreign")
        os.utime(f"{place.out}/canary", (0, 0))
        assert not place.is_untouched()
    finally:
        place.close()


def test_control_of_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pyd that knows only one spelling of a key reads other documents than Go does (CVE-2021-41190)."""
    monkeypatch.setattr(Fields, "_find", lambda fields, key: fields._document.get(key))
    failures = run_all(CAMPAIGNS["manifests"], range(1000)).failures
    assert any("Go read" in text or ", Go " in text or "Go does not" in text for _, text in failures)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers keep their owners")
def test_control_of_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that loses the last entry is another reading."""
    monkeypatch.setattr(tars, "by_python", lambda archive: readings.by_python(archive)[:-1])
    assert run_all(CAMPAIGNS["tars"], range(60)).failures


def test_control_of_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crashes, hangs and bloats are failures with their seed, and the rounds after them are run."""
    monkeypatch.setattr(workers, "SILENCE", 0.5)

    def run(seed: int, place: object) -> tars.Outcome:
        if seed == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if seed == 5:
            time.sleep(60)
        return tars.Outcome("unpacked", "wrong" if seed == 7 else "", seconds=9 if seed == 8 else 0)

    report = run_all(Campaign(run), range(10))
    assert report.rounds == 10
    found = dict(report.failures)
    assert found.keys() == {3, 5, 7, 8}
    assert (found[3], found[5], found[7]) == ("the process ended with -9", "hangs", "wrong")
    report = run_all(replace(CAMPAIGNS["manifests"], memory=1), range(1))
    assert "MB were resident" in report.failures[0][1]


def test_the_same_seed_is_the_same_archive() -> None:
    assert [tars.archive_of(seed) for seed in range(50)] == [tars.archive_of(seed) for seed in range(50)]
