"""A few of the cuts and kills of `python -m tests.cuts`."""

from __future__ import annotations

import os

import pytest

from tests.cuts import campaign

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers keep their owners")

CUTS = int(os.environ.get("PYD_TEST_CUTS", "40"))
KILLS = int(os.environ.get("PYD_TEST_KILLS", "3"))


@pytest.mark.usefixtures("world")
def test_a_cut_pull_goes_on_where_it_was() -> None:
    assert campaign.cuts(CUTS, 8).ratio <= campaign.MOST


@pytest.mark.usefixtures("world")
def test_a_killed_pull_goes_on_where_it_was() -> None:
    assert campaign.kills(KILLS, 8).ratio <= campaign.MOST
