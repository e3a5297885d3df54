"""A registry's misbehaviours by name, and what a pull makes of each: see check.py."""

from tests.hostile.registry import (
    blobs,
    challenges,
    configs,
    digests,
    disks,
    documents,
    indexes,
    layers,
    redirects,
    statuses,
    wire,
)
from tests.hostile.registry.case import CASES

MODULES = (
    blobs,
    challenges,
    configs,
    digests,
    disks,
    documents,
    indexes,
    layers,
    redirects,
    statuses,
    wire,
)

__all__ = ["CASES", "MODULES"]
