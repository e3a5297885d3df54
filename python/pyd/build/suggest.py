""" "Did you mean": the known word that is nearest to an unknown one."""

from __future__ import annotations

from collections.abc import Iterable

_FARTHEST = 2  # edits, as BuildKit has it
_LONGEST = 64  # characters: what is longer is no typing error


def nearest(word: str, known: Iterable[str], *, any_case: bool = False) -> str:
    """The nearest within two edits; "" when there is none or `word` is known.

    With `any_case` the answer has the case of `word`.
    """
    if len(word) > _LONGEST:
        return ""
    wanted = word.lower() if any_case else word
    found, least = "", (_FARTHEST, True)
    for each in known:
        option = each.lower() if any_case else each
        if option == wanted:
            return ""
        if abs(len(option) - len(wanted)) > least[0]:
            continue
        # of two that are as near, the one that begins alike
        distance = (_distance(wanted, option), option[:1] != wanted[:1])
        if distance < least or (not found and distance == least):
            found, least = option, distance
    if any_case and word == word.upper():
        return found.upper()
    return found


def did_you_mean(word: str, known: Iterable[str], *, any_case: bool = False) -> str:
    """The end of a message: " (did you mean FROM?)", or ""."""
    found = nearest(word, known, any_case=any_case)
    return f" (did you mean {found}?)" if found else ""


def _distance(a: str, b: str) -> int:
    """Levenshtein's."""
    row = list(range(len(b) + 1))
    for i, ca in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, cb in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (ca != cb))
    return row[-1]
