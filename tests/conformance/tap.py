"""The Test Anything Protocol, as the validation programs write it (https://testanything.org).

Habits of theirs that are allowed for: one program may print several documents one after the other (each test
in it writes its own header and plan); the blocks of YAML below assertions hold JSON; and some programs assert
nothing at all but write a block with an "error" below no assertion when they are not content.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

_ASSERTION = re.compile(r"(not )?ok\b\s*(?P<number>\d+)?\s*(?:-\s*)?(?P<text>.*)")
_DIRECTIVE = re.compile(r"#\s*(?P<word>SKIP|TODO)\b", re.IGNORECASE)
_PLAN = re.compile(r"1\.\.(?P<count>\d+)")


@dataclass(frozen=True)
class Assertion:
    ok: bool
    text: str
    directive: str = ""  # "SKIP", "TODO" or nothing


@dataclass
class Report:
    """What one program said."""

    assertions: list[Assertion] = field(default_factory=list)
    plans: list[int] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """The "error" of each block that belongs to no assertion."""

    @property
    def failed(self) -> list[Assertion]:
        """A failed TODO counts as expected by whoever wrote the program."""
        return [a for a in self.assertions if not a.ok and a.directive != "TODO"]

    @property
    def passed(self) -> int:
        return sum(1 for a in self.assertions if a.ok and a.directive != "SKIP")

    @property
    def skipped(self) -> int:
        return sum(1 for a in self.assertions if a.directive == "SKIP")


def parse(text: str) -> Report:
    """The assertions and plans of `text`; what is neither (diagnostics, YAML, noise) is passed over."""
    report = Report()
    block: list[str] | None = None
    after_assertion = False
    for line in text.splitlines():
        stripped = line.strip()
        if block is not None:
            if stripped != "...":
                block.append(line)
                continue
            if not after_assertion:
                report.complaints += _error(block)
            block, after_assertion = None, False
        elif stripped == "---" and line != stripped:
            block = []
        elif plan := _PLAN.fullmatch(line.split("#")[0].strip()):
            report.plans.append(int(plan["count"]))
        elif found := _ASSERTION.fullmatch(line):
            directive = _DIRECTIVE.search(found["text"])
            word = directive["word"].upper() if directive else ""
            said = _DIRECTIVE.sub("", found["text"]).strip()
            report.assertions.append(Assertion(found[1] is None, said, word))
            after_assertion = True
    return report


def _error(block: list[str]) -> list[str]:
    """The block's "error", if it has one; their JSON went through a format function and may be spoilt."""
    try:
        content = json.loads("\n".join(block))
    except ValueError:
        content = {"error": " ".join(line.strip() for line in block)}
    said = content.get("error", "") if isinstance(content, dict) else ""
    return [str(said)] if said else []
