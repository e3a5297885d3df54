"""What is said about samples: medians with quartiles, and ratios with a bootstrap interval.

Samples of engines belong together by round: what drifts on the machine drifts for all of a round. So a
ratio's interval resamples rounds, not values.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 1000
CONFIDENCE = 0.95

Samples = Sequence[float | None]
"""One value per round; None where the round failed."""


@dataclass(frozen=True)
class Summary:
    median: float
    lower: float
    """First quartile."""
    upper: float
    """Third quartile."""
    least: float
    count: int
    failed: int


@dataclass(frozen=True)
class Ratio:
    """Of two medians, with the bounds of its interval."""

    value: float
    low: float
    high: float


def quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between the two nearest of sorted values."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def summary(samples: Samples) -> Summary | None:
    """None when no round succeeded."""
    values = sorted(value for value in samples if value is not None)
    if not values:
        return None
    return Summary(
        median=quantile(values, 0.5),
        lower=quantile(values, 0.25),
        upper=quantile(values, 0.75),
        least=values[0],
        count=len(values),
        failed=len(samples) - len(values),
    )


def ratio(subject: Samples, other: Samples, seed: int = 0) -> Ratio | None:
    """Median of `subject` over median of `other`, from the rounds in which both succeeded.

    A percentile bootstrap over rounds; the seed is fixed, so that the same samples give the same interval.
    None without a common round, or when `other`'s median is 0.
    """
    pairs = [(a, b) for a, b in zip(subject, other, strict=False) if a is not None and b is not None]
    value = _of_medians(pairs)
    if value is None:
        return None
    source = random.Random(seed)
    found = sorted(
        again
        for again in (_of_medians(source.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
        if again is not None
    )
    tail = (1 - CONFIDENCE) / 2
    return Ratio(value, quantile(found, tail), quantile(found, 1 - tail)) if found else None


def _of_medians(pairs: Sequence[tuple[float, float]]) -> float | None:
    if not pairs:
        return None
    below = statistics.median(b for _, b in pairs)
    return statistics.median(a for a, _ in pairs) / below if below else None
