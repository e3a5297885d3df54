"""The tables of docs/conformance.md, written by the run that measured them."""

from __future__ import annotations

import platform
import re
from collections import Counter
from pathlib import Path

from tests.conformance import build
from tests.conformance.cell import Outcome
from tests.conformance.verdict import CLEAN, Verdict

_BETWEEN = re.compile(r"(?<=<!-- tables -->\n).*(?=<!-- end of tables -->)", re.DOTALL)


def update(
    path: Path, versions: dict[str, str], results: dict[str, dict[str, tuple[Verdict, Outcome]]]
) -> None:
    """Replaces what is between the two marks in the file."""
    text = path.read_text()
    if not _BETWEEN.search(text):
        raise ValueError(f"{path} has no marks for the tables")
    path.write_text(_BETWEEN.sub(lambda _: _tables(versions, results), text))


def _tables(versions: dict[str, str], results: dict[str, dict[str, tuple[Verdict, Outcome]]]) -> str:
    names = list(versions)
    lines = [
        f"Linux {platform.release()}, runtime-tools {build.version()}; " + ", ".join(versions.values()) + ".",
        "",
        "| program | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for program, verdicts in results.items():
        lines.append(f"| {program} | " + " | ".join(_cell(verdicts[name][0]) for name in names) + " |")
    clean = [sum(v[name][0].word == CLEAN for v in results.values()) for name in names]
    lines.append("| **wholly clean** | " + " | ".join(f"**{n} of {len(results)}**" for n in clean) + " |")
    lines += [
        "",
        "Why the others of pyd-runtime are not clean:",
        "",
        "| program | problem | why |",
        "|---|---|---|",
    ]
    for program, verdicts in results.items():
        if names[0] in verdicts:
            for (text, why), count in Counter(verdicts[names[0]][0].explained).items():
                said = text.removeprefix(f"{program}: ")
                times = f" ({count} times)" if count > 1 else ""
                lines.append(f"| {program} | {_plain(said)}{times} | {why or '**not explained**'} |")
    return "\n".join(lines) + "\n"


def _cell(verdict: Verdict) -> str:
    if verdict.word == CLEAN:
        return f"clean ({verdict.passed})" if verdict.passed else "clean"
    return f"**{verdict.word}** ({verdict.passed} ok, {len(verdict.problems)} not)"


def _plain(text: str) -> str:
    """On one line, without what differs between two runs and what Markdown would take for its own."""
    text = re.sub(r"/\S*/bundles/\S*?(?=/|\s|$)", "<bundle>", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", text)
    text = re.sub(r'time="[^"]*" level=\w+ ', "", text)
    return "`" + text.replace("|", "\\|").replace("`", "'")[:200] + "`"
