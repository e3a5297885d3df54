"""What a RUN executes: its words behind the shell, and here-documents as BuildKit treats them."""

from __future__ import annotations

from collections.abc import Mapping

from pyd.build.config import shell
from pyd.build.heredocs import is_file_name, is_heredoc
from pyd.build.kinds import Run
from pyd.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCRIPTS = "/dev/pipes"  # where BuildKit shows a here-document with #! as a file


class Execution(Record):
    """`args` of the process. `script` (path, text) is a file to be there, read-only and with mode 0755."""

    args: tuple[str, ...]
    script: tuple[str, str] | None = None


def execution(run: Run, config: Mapping[str, Any]) -> Execution:
    """A here-document alone is the script itself, for its own interpreter when it begins with `#!`.

    Several, or one that is the input of a command, are left to the shell. Raises DockerfileError.
    """
    words = run.command
    if run.heredocs:
        (line,) = words
        first = run.heredocs[0]
        if is_heredoc(line) is None:
            documents = (f"\n{heredoc.content}{heredoc.name}" for heredoc in run.heredocs)
            words = (line + "".join(documents),)
        elif first.content.startswith("#!"):
            if not is_file_name(first.name):
                raise run.node.error(f"a here-document that is a script cannot have the name {first.name!r}")
            import shlex

            path = f"{SCRIPTS}/{first.name}"
            return Execution((*shell(config), shlex.quote(path)), (path, first.text))
        else:
            words = (first.text,)
    if not run.shell_form:
        return Execution(words)
    return Execution((*shell(config), " ".join(words)))


def summary(text: str) -> str:
    """The first line of a here-document, for a display."""
    lines = text.strip().splitlines() or [""]
    return lines[0] + ("..." if len(lines) > 1 else "")
