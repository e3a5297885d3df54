"""Templates of HCL: quoted strings, heredocs, and the strings of JSON files.

`${…}` is an expression, `%{ if }` and `%{ for }` are directives, `$${` and `%%{` stand for themselves, and
`~` inside of a brace removes the spaces and one line end beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pyd.build.bake.hcl_scanner import Scanner
from pyd.build.bake.hcl_syntax import Choice, Expression, Literal, Loop, Place, Template

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_PLAIN = re.compile(r'[^"\\$%\n]+')
_HEREDOC = re.compile(r"<<(-?)([^\W\d][\w-]*)[ \t]*\r?\n")


@dataclass(slots=True)
class _Piece:
    """Text, an expression or a directive, in the order of the text."""

    place: Place
    text: str | None = None
    value: Expression | None = None
    word: str = ""  # if else endif for endfor
    names: tuple[str, str] = ("", "")
    strips_left: bool = False
    strips_right: bool = False


class TemplateParser:
    """`expression` parses one at the scanner's place, over several lines."""

    def __init__(self, scanner: Scanner, expression: Callable[[], Expression]) -> None:
        self._scanner = scanner
        self._expression = expression

    def quoted(self) -> Expression:
        """At the opening quote."""
        scanner, start = self._scanner, self._scanner.place()
        scanner.need('"', "to begin a string")
        pieces = self._pieces('"')
        scanner.need('"', "at the end of the string")
        return _built(start, pieces)

    def heredoc(self) -> Expression:
        """At `<<`. Its lines are a text of their own, with escapes of `${` only."""
        scanner, start = self._scanner, self._scanner.place()
        match = _HEREDOC.match(scanner.text, scanner.at)
        if not match:
            scanner.fail("a heredoc begins with <<NAME and a line end")
        closing = re.compile(rf"^[ \t]*{re.escape(match[2])}[ \t]*$", re.M)
        end = closing.search(scanner.text, match.end())
        if end is None:
            scanner.fail(f"unterminated heredoc: there is no line {match[2]}")
        scanner.at = match.end()
        pieces = self._pieces("", stop=end.start())
        scanner.at = end.end()
        if match[1]:
            _outdent(pieces)
        return _built(start, pieces)

    def whole(self) -> Expression:
        """All of the scanner's text."""
        start = self._scanner.place()
        return _built(start, self._pieces("", stop=len(self._scanner.text)))

    def _pieces(self, quote: str, stop: int = -1) -> list[_Piece]:
        scanner, pieces, text = self._scanner, list[_Piece](), list[str]()
        begun = scanner.place()

        def flush() -> None:
            nonlocal begun
            if text:
                pieces.append(_Piece(begun, text="".join(text)))
                text.clear()
            begun = scanner.place()

        while scanner.at != stop and not (quote and scanner.sees(quote)):
            if scanner.ended or (quote and scanner.sees("\n")):
                scanner.fail("unterminated string")
            if scanner.takes("$${"):
                text.append("${")
            elif scanner.takes("%%{"):
                text.append("%{")
            elif scanner.sees("${") or scanner.sees("%{"):
                flush()
                pieces.append(self._sequence())
                begun = scanner.place()
            elif quote and scanner.takes("\\"):
                text.append(self._escape())
            else:
                plain = _PLAIN.match(scanner.text, scanner.at, stop if stop >= 0 else len(scanner.text))
                end = plain.end() if plain else scanner.at + 1
                text.append(scanner.text[scanner.at : end])
                scanner.at = end
        flush()
        return pieces

    def _sequence(self) -> _Piece:
        scanner = self._scanner
        piece = _Piece(scanner.place())
        directive = scanner.sees("%{")
        scanner.at += 2
        piece.strips_left = scanner.takes("~")
        scanner.skip(lines=True)
        if directive:
            self._directive(piece)
        else:
            piece.value = self._expression()
        scanner.skip(lines=True)
        piece.strips_right = scanner.takes("~")
        scanner.need("}", "at the end of a template sequence")
        return piece

    def _directive(self, piece: _Piece) -> None:
        scanner = self._scanner
        piece.word = scanner.name()
        if piece.word == "if":
            scanner.skip(lines=True)
            piece.value = self._expression()
        elif piece.word == "for":
            first, second = names_of_for(scanner)
            piece.names = (first, second)
            piece.value = self._expression()
        elif piece.word not in ("else", "endif", "endfor"):
            scanner.fail(f"unknown template directive {piece.word!r}")

    def _escape(self) -> str:
        scanner = self._scanner
        letter = scanner.text[scanner.at : scanner.at + 1]
        digits = {"u": 4, "U": 8}.get(letter)
        if digits:
            code = scanner.text[scanner.at + 1 : scanner.at + 1 + digits]
            if not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", code) or int(code, 16) > 0x10FFFF:
                scanner.fail(f"invalid escape \\{letter}{code}")
            scanner.at += 1 + digits
            return chr(int(code, 16))
        if letter not in _ESCAPES:
            scanner.fail(f"invalid escape \\{letter}")
        scanner.at += 1
        return _ESCAPES[letter]


def names_of_for(scanner: Scanner) -> tuple[str, str]:
    """("key", "value") of `for key, value in`, "" for a key that is not named; the cursor is behind `in`."""
    scanner.skip(lines=True)
    key, value = "", scanner.name()
    scanner.skip(lines=True)
    if scanner.takes(","):
        scanner.skip(lines=True)
        key, value = value, scanner.name()
        scanner.skip(lines=True)
    if not value or scanner.name() != "in":
        scanner.fail("expected `for name in` or `for key, value in`")
    scanner.skip(lines=True)
    return key, value


def _outdent(pieces: list[_Piece]) -> None:
    """`<<-`: without the spaces that all lines begin with."""
    starts = [0]
    fresh = True
    for piece in pieces:
        for index, line in enumerate(re.split("(?<=\n)", piece.text)) if piece.text is not None else ():
            if (fresh if index == 0 else True) and line.strip(" \t\r\n"):
                starts.append(len(line) - len(line.lstrip(" \t")))
        if piece.text is None and fresh:
            starts.append(0)
        fresh = piece.text is not None and piece.text.endswith("\n")
    least = min(starts[1:], default=0)
    fresh = True
    for piece in pieces:
        if piece.text is not None:
            lines = re.split("(?<=\n)", piece.text)
            for index in range(0 if fresh else 1, len(lines)):
                spaces = len(lines[index]) - len(lines[index].lstrip(" \t"))
                lines[index] = lines[index][min(least, spaces) :]
            fresh = piece.text.endswith("\n")
            piece.text = "".join(lines)
        else:
            fresh = False


def _built(start: Place, pieces: list[_Piece]) -> Expression:
    _strip(pieces)
    parts, rest = _sequence_of(pieces, 0, ())
    if rest < len(pieces):
        raise pieces[rest].place.error(f"unexpected template directive {pieces[rest].word!r}")
    if not parts:
        return Literal(start, "")
    if len(parts) == 1 and isinstance(parts[0], Literal):
        return parts[0]
    return Template(start, tuple(parts))


def _strip(pieces: list[_Piece]) -> None:
    for index, piece in enumerate(pieces):
        before, after = pieces[index - 1] if index else None, pieces[index + 1 : index + 2]
        if piece.strips_left and before is not None and before.text is not None:
            before.text = before.text.rstrip(" \t\r\n")
        if piece.strips_right and after and after[0].text is not None:
            after[0].text = after[0].text.lstrip(" \t\r\n")


def _sequence_of(pieces: list[_Piece], at: int, ends: tuple[str, ...]) -> tuple[list[Expression], int]:
    """(parts up to the directive of `ends`, its index)"""
    parts: list[Expression] = []
    while at < len(pieces) and pieces[at].word not in (*ends, "else", "endif", "endfor"):
        piece = pieces[at]
        if piece.text is not None:
            if piece.text:
                parts.append(Literal(piece.place, piece.text))
        elif piece.word == "if":
            part, at = _choice(pieces, at)
            parts.append(part)
        elif piece.word == "for":
            body, end = _inner(pieces, at + 1, ("endfor",))
            assert piece.value is not None
            parts.append(Loop(piece.place, *piece.names, piece.value, body))
            at = end
        else:
            assert piece.value is not None
            parts.append(piece.value)
        at += 1
    return parts, at


def _choice(pieces: list[_Piece], at: int) -> tuple[Choice, int]:
    piece = pieces[at]
    then, end = _inner(pieces, at + 1, ("else", "endif"))
    otherwise = Template(piece.place, ())
    if pieces[end].word == "else":
        otherwise, end = _inner(pieces, end + 1, ("endif",))
    assert piece.value is not None
    return Choice(piece.place, piece.value, then, otherwise), end


def _inner(pieces: list[_Piece], at: int, ends: tuple[str, ...]) -> tuple[Template, int]:
    parts, end = _sequence_of(pieces, at, ends)
    if end >= len(pieces) or pieces[end].word not in ends:
        raise pieces[at - 1].place.error(f"%{{ {pieces[at - 1].word} }} without %{{ {ends[-1]} }}")
    return Template(pieces[at - 1].place, tuple(parts)), end
