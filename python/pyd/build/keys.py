"""The key of a step: the digest of its structure, which holds everything that can change its result.

Parents take part by their results (chainIDs), files by their contents: a step that was done again and gave
the same bytes does not make the steps after it be done again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pyd.oci.digest import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
"""Part of every key; raised when the same structure comes to mean something else."""

Structure = Mapping[str, "Any"]


def key_of(structure: Structure) -> str:
    text = json.dumps(
        {"version": VERSION, **structure}, separators=(",", ":"), sort_keys=True, ensure_ascii=True
    )
    return str(Digest.of(text.encode()))
