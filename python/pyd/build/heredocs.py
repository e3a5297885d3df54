"""Here-documents: `<<EOF`, `<<-EOF` and `<<"EOF"` in RUN, COPY and ADD."""

from __future__ import annotations

import re

from pyd.build.words import ExpansionError, expand
from pyd.record import Record

_MARK = r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)"
MOST = 1000  # of one instruction


class Heredoc(Record):
    """`content` is as it stands in the file; `trims_tabs` (<<-) means that it is used without leading tabs.

    `expands` is false when a part of the name was quoted. `fd` is the number before <<.
    """

    name: str
    expands: bool
    trims_tabs: bool
    fd: int = 0
    content: str = ""

    @property
    def text(self) -> str:
        """The content as it is meant."""
        return re.sub(r"^\t+", "", self.content, flags=re.MULTILINE) if self.trims_tabs else self.content


def parse_heredoc(word: str) -> Heredoc | None:
    """None when the word is no here-document. Raises ExpansionError for quotes that do not end."""
    match = re.fullmatch(_MARK, word) if "<<" in word else None
    if match is None or not match[3]:
        return None
    plain = expand(match[3], {}, keep_unset=True, split=True).words
    if len(plain) != 1:
        return None
    quoted = expand(match[3], {}, keep_unset=True, keep_quotes=True, split=True).words
    expands = len(quoted) == 1 and _quotes(plain[0]) == _quotes(quoted[0])
    # a number that no descriptor has is none: the shell says so
    return Heredoc(plain[0], expands, match[2] == "-", int(match[1][:9] or 0))


def is_heredoc(word: str) -> Heredoc | None:
    """As parse_heredoc, but broken quotes are no here-document."""
    try:
        return parse_heredoc(word)
    except ExpansionError:
        return None


def heredocs_of(line: str) -> list[Heredoc]:
    """Those that a logical line announces, without their contents. Raises ExpansionError."""
    try:
        words = expand(
            line, {}, keep_unset=True, keep_quotes=True, keep_escapes=True, split=True, limit=len(line) + 1
        ).words
    except ExpansionError:
        return []  # quotes that only the shell understands: none is looked for, as BuildKit does
    found = [heredoc for word in words if (heredoc := parse_heredoc(word)) is not None]
    if len(found) > MOST:
        raise ExpansionError(f"more than {MOST} here-documents in one instruction")
    return found


def is_file_name(name: str) -> bool:
    """Whether a file in a directory can have the name of a here-document."""
    return "/" not in name and name not in (".", "..") and len(name.encode("utf-8", "replace")) <= 255


def _quotes(word: str) -> int:
    return word.count("'") + word.count('"')
