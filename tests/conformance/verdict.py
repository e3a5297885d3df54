"""What a program's run means: clean, failed, crashed, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.conformance import tap
from tests.conformance.cell import Outcome
from tests.conformance.reasons import explain

CLEAN, FAILED, CRASHED, SKIPPED, SILENT, STUCK = "clean", "failed", "crashed", "skipped", "silent", "stuck"


@dataclass(frozen=True)
class Verdict:
    """`word`: one of the constants above.

    clean: the program ended with 0 and everything that it asserted holds. failed: some assertion or
    complaint. crashed: it ended with another code and no assertion says why. skipped: nothing but skipped
    assertions. silent: it ended with 0 and has said nothing at all, so nothing was tested. stuck: stopped by
    the timeout.
    """

    word: str
    passed: int
    skipped: int
    problems: list[str]

    @property
    def explained(self) -> list[tuple[str, str]]:
        """Each problem with the reviewed reason why it is none of the runtime's, or ""."""
        return [(problem, explain(problem)) for problem in self.problems]


def judge(program: str, outcome: Outcome) -> Verdict:
    report = tap.parse(outcome.stdout)
    stderr = outcome.stderr.strip().splitlines()
    problems = [f"{program}: {_with_cause(a.text, stderr)}" for a in report.failed]
    problems += [f"{program}: {text.splitlines()[0]}" for text in report.complaints]
    planned = [plan for plan in report.plans if plan]
    if planned and sum(planned) != len(report.assertions):
        problems.append(f"{program}: {len(report.assertions)} of {sum(planned)} planned assertions")
    word = FAILED if problems else CLEAN
    if outcome.code is None:
        word, problems = STUCK, [*problems, f"{program}: stopped after {outcome.seconds:.0f} s"]
    elif outcome.code != 0:
        problems.append(f"{program}: exit {outcome.code}: {_cause(stderr)}")
        word = FAILED if word == FAILED else CRASHED
    elif not problems and report.assertions and report.skipped == len(report.assertions):
        word = SKIPPED
    elif not problems and not report.assertions and not report.plans and program not in ENDS_QUIETLY:
        # a container that wrote nothing: RuntimeInsideValidate copies its assertions from there
        word, problems = SILENT, [f"{program}: nothing was asserted"]
    return Verdict(word, report.passed, report.skipped, problems)


ENDS_QUIETLY = {"process_capabilities_fail", "process_rlimits_fail"}
"""They want the runtime to refuse, and say nothing when it does."""


def _with_cause(text: str, stderr: list[str]) -> str:
    """Some assertions are nothing but the exit code of the runtime, which has said more."""
    return f"{text}: {_cause(stderr)}" if re.search(r"exit status \d+$", text) else text


def _cause(lines: list[str]) -> str:
    """The line of stderr that says most: the runtime's or the panic's, not the program's own last words."""
    for line in lines:
        if line.startswith(("pyd-runtime:", "time=", "panic:")) or "level=error" in line:
            return line
    return lines[-1] if lines else "no word"
