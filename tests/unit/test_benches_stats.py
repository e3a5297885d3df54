"""What the benchmarks say about their samples."""

from __future__ import annotations

import random

import pytest
from benches.bench import by_metric
from benches.stats import quantile, ratio, summary


def test_quantiles_are_linear_between_values() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5
    assert quantile([1.0, 2.0, 3.0, 4.0, 5.0], 0.25) == 2.0
    assert quantile([7.0], 0.75) == 7.0


def test_failed_rounds_are_counted_and_not_measured() -> None:
    found = summary([3.0, None, 1.0, 2.0])
    assert found is not None
    assert (found.median, found.least, found.count, found.failed) == (2.0, 1.0, 3, 1)
    assert summary([None, None]) is None


def test_a_ratio_of_equals_is_one_and_its_interval_is_narrow() -> None:
    values = [1.0 + index / 1000 for index in range(50)]
    found = ratio(values, values)
    assert found is not None
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_the_interval_holds_the_true_ratio_of_noisy_samples() -> None:
    source = random.Random(7)
    subject = [source.gauss(3, 0.3) for _ in range(60)]
    other = [source.gauss(10, 1) for _ in range(60)]
    found = ratio(subject, other)
    assert found is not None
    assert found.low < 0.3 < found.high
    assert found.high - found.low < 0.06
    assert found == ratio(subject, other)  # the same samples, the same interval


def test_drift_that_both_share_does_not_widen_the_interval() -> None:
    """Rounds are drawn whole: a machine that slows down slows both."""
    drift = [1 + index / 10 for index in range(40)]
    found = ratio([2 * value for value in drift], [4 * value for value in drift])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))


def test_rounds_in_which_one_failed_do_not_count_for_a_ratio() -> None:
    found = ratio([1.0, None, 1.0], [2.0, 50.0, 2.0])
    assert found is not None
    assert found.value == 0.5
    assert ratio([None, 1.0], [1.0, None]) is None
    assert ratio([1.0], [0.0]) is None


def test_rounds_of_metrics_become_metrics_of_rounds() -> None:
    assert by_metric([{"a": 1.0, "b": 2.0}, None, {"a": 3.0, "b": 4.0}]) == {
        "a": [1.0, None, 3.0],
        "b": [2.0, None, 4.0],
    }
