"""Controls of the campaign with Dockerfiles: what it looks for, it finds."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from pyd.build.location import Location
from pyd.build.parser import parse
from pyd.record import replace
from tests.hostile.dockerfiles import campaign


def failures(count: int = 60) -> list[str]:
    return [outcome.failure for seed in range(count) if (outcome := campaign.run(seed)).failure]


def test_files_that_are_right_are_read() -> None:
    whole = [seed for seed in range(600) if not campaign.file_of(seed)[1]]
    assert len(whole) > 30
    assert {campaign.run(seed).fate for seed in whole} == {"accepted"}
    for data in campaign.corpus():  # nothing when the data is not there
        assert parse(data).nodes


def test_the_same_seed_is_the_same_file() -> None:
    assert [campaign.file_of(seed) for seed in range(40)] == [campaign.file_of(seed) for seed in range(40)]


def test_control_of_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> Any:
        raise IndexError("out of range")

    monkeypatch.setattr(campaign, "parse", broken)
    assert failures(3) == ["IndexError: out of range"] * 3


def test_control_of_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that knows no ENV refuses files that are right."""

    def stricter(data: bytes) -> Any:
        found = parse(data)
        for node in found.nodes:
            if node.keyword == "ENV":
                raise node.error("what is that")
        return found

    monkeypatch.setattr(campaign, "parse", stricter)
    assert any("a file that is right was refused" in text for text in failures(300))


def test_control_of_places(monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(data: bytes) -> Any:
        found = parse(data)
        nodes = (replace(n, location=Location(n.location.line, 2, n.location.end_line)) for n in found.nodes)
        return replace(found, nodes=tuple(nodes))

    monkeypatch.setattr(campaign, "parse", shifted)
    assert any(re.search("does not stand at", text) for text in failures())


def test_control_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "LONGEST", 0.05)

    def slow(data: bytes) -> Any:
        begun = time.process_time()
        while time.process_time() - begun < 0.06:
            pass
        return parse(data)

    monkeypatch.setattr(campaign, "parse", slow)
    assert any("seconds" in text for text in failures(5))
