"""The reading of what the validation programs say: a run that was not clean must never pass for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance import document, tap
from tests.conformance.cell import Outcome
from tests.conformance.reasons import REASONS, explain
from tests.conformance.verdict import judge

GOOD = """TAP version 13
ok 1 - one
  ---
  {
    "error": "not ok, but of an assertion that holds"
  }
  ...
ok 2 # SKIP not here
not ok 3 # TODO later
1..3
"""


def outcome(stdout: str, code: int | None = 0, stderr: str = "") -> Outcome:
    return Outcome(code, stdout, stderr, 0.1)


def test_assertions_plans_directives_and_blocks() -> None:
    report = tap.parse(GOOD + GOOD + "not ok 4 - four\nokay, this is noise\n")
    assert (report.passed, report.skipped, report.plans) == (2, 2, [3, 3])
    assert [a.text for a in report.failed] == ["four"]
    assert report.complaints == []


@pytest.mark.parametrize(
    ("stdout", "code", "stderr", "word", "problem"),
    [
        (GOOD, 0, "", "clean", None),
        ("TAP version 13\n1..0\n", 0, "", "clean", None),
        (GOOD, 1, "first\npyd-runtime: cause\nlast\n", "crashed", "x: exit 1: pyd-runtime: cause"),
        (GOOD, 2, "panic: nil\n\ngoroutine 1\n", "crashed", "x: exit 2: panic: nil"),
        ("not ok 1 - bad\n1..1\n", 0, "", "failed", "x: bad"),
        (
            "not ok 1 - exit status 1\n1..1\n",
            0,
            "time=x msg=why\n",
            "failed",
            "x: exit status 1: time=x msg=why",
        ),
        ('  ---\n  {\n    "error": "hook"\n  }\n  ...\n1..0\n', 0, "", "failed", "x: hook"),
        ("  ---\n  {%!(NOVERB)\n  ...\n1..0\n", 0, "", "failed", "x: {%!(NOVERB)"),
        ("ok 1 - a\n1..2\n", 0, "", "failed", "x: 1 of 2 planned assertions"),
        ("ok 1 # SKIP other system\n1..1\n", 0, "", "skipped", None),
        ("", 0, "", "silent", "x: nothing was asserted"),
        (GOOD, None, "", "stuck", "x: stopped after 0 s"),
    ],
)
def test_verdicts(stdout: str, code: int | None, stderr: str, word: str, problem: str | None) -> None:
    verdict = judge("x", outcome(stdout, code, stderr))
    assert verdict.word == word
    assert verdict.problems == ([problem] if problem else [])


def test_a_program_that_wants_a_refusal_says_nothing_when_it_gets_it() -> None:
    assert judge("process_rlimits_fail", outcome("")).word == "clean"
    assert judge("process_rlimits_fail", outcome("", 1)).word == "crashed"


def test_reasons_are_for_what_they_name_only() -> None:
    assert explain("start: exit status 1: no word")
    assert not explain("start: exits")
    assert not explain("state: exit status 1: no word")
    assert not explain("linux_cgroups_blkio: exit 1: pyd-runtime: panicked")
    assert len({pattern for pattern, _ in REASONS}) == len(REASONS)


def test_the_document_gets_its_tables_between_the_marks(tmp_path: Path) -> None:
    path = tmp_path / "doc.md"
    path.write_text("before\n<!-- tables -->\nold\n<!-- end of tables -->\nafter\n")
    bad = outcome("not ok 1 - a | b\nnot ok 2 - a | b\n1..2\n")
    results = {"x": {"ours": (judge("x", bad), bad), "theirs": (judge("x", outcome(GOOD)), outcome(GOOD))}}
    document.update(path, {"ours": "ours 1", "theirs": "theirs 2"}, results)
    text = path.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| x | **failed** (0 ok, 2 not) | clean (1) |" in text
    assert "| **wholly clean** | **0 of 1** | **1 of 1** |" in text
    assert "| x | `a \\| b` (2 times) | **not explained** |" in text
    path.write_text("no marks")
    with pytest.raises(ValueError, match="no marks"):
        document.update(path, {}, {})
