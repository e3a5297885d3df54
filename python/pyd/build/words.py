"""Variables and quotes in the words of a Dockerfile: `$name`, `${name:-text}`, `'...'`, `"..."` and escapes.

The rules are those of BuildKit's shell lexer (frontend/dockerfile/shell/lex.go), which are not quite a
shell's. What it leaves without a bound has one here: the depth of `${a:-${b:-...}}` and the length of a
result, which a chain of ENV x=$y$y doubles with every line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyd.build.globs import BadPattern, Glob
from pyd.errors import InvalidArgument
from pyd.record import Record

# what Go's unicode.IsSpace takes for space; str.isspace has \x1c to \x1f too
SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))

_SPECIAL = "@*#?-$!0"  # parameters of a shell, never set here
_DEEPEST = 64
_NONE: frozenset[str] = frozenset()
LONGEST = 1 << 17  # characters; execve(2) takes no string of more than 128 KiB (MAX_ARG_STRLEN)
MOST = 8 << 20  # characters of all variables together; no process can have more than 6 MiB (execve(2))


class ExpansionError(InvalidArgument):
    """The text cannot be expanded; it has no place, see `instructions.expand`."""


class _TooMuch(ExpansionError):
    """A bound is passed: nothing that a missing brace explains."""


class Expansion(Record):
    """`used` and `unmatched` are the names that were looked up: found, and not found.

    `words` is empty unless they were asked for.
    """

    text: str
    used: frozenset[str]
    unmatched: frozenset[str]
    words: tuple[str, ...] = ()


def expand(
    text: str,
    env: Mapping[str, str],
    escape: str = "\\",
    *,
    keep_quotes: bool = False,
    keep_escapes: bool = False,
    keep_unset: bool = False,
    ignore_quotes: bool = False,
    split: bool = False,
    limit: int = LONGEST,
) -> Expansion:
    """The text with its variables replaced and quotes and escapes removed. Raises ExpansionError.

    `keep_unset` leaves variables without a value as they stand. With `ignore_quotes` quotes are
    characters like others (the contents of here-documents). `split` asks for the words as well.
    """
    if not split and not any(char in text for char in ("$", "'", '"', escape)):
        if len(text) > limit:
            raise ExpansionError(_too_long(limit))
        return Expansion(text, _NONE, _NONE)
    lexer = _Lexer(text, env, escape, keep_quotes, keep_escapes, keep_unset, ignore_quotes, split, limit)
    try:
        result, words = lexer.until("", keep_escapes)
    except ExpansionError as error:
        shown = text if len(text) <= 200 else f"{text[:200]}..."
        raise ExpansionError(f"failed to process {_quoted(shown)}: {error.message}", error.hint) from None
    return Expansion(result, frozenset(lexer.used), frozenset(lexer.unmatched), tuple(words))


def expand_words(text: str, env: Mapping[str, str], escape: str = "\\") -> list[str]:
    """Expanded, then split at spaces that are not quoted, those of values too. Raises ExpansionError."""
    return list(expand(text, env, escape, split=True).words)


def _too_long(limit: int) -> str:
    return f"the result has more than {limit} characters"


def check_total(texts: Iterable[str], what: str) -> None:
    """Ten thousand lines ENV x1=a$big would each be allowed. Raises ExpansionError."""
    if sum(map(len, texts)) > MOST:
        raise ExpansionError(f"{what} have more than {MOST >> 20} MiB together")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Words:
    """What has been read, in words."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self._word: list[str] = []

    def add(self, text: str) -> None:
        """Unquoted: spaces end the word."""
        for char in text:
            if char in SPACES:
                self.end()
            else:
                self._word.append(char)

    def add_raw(self, text: str) -> None:
        if text:
            self._word.append(text)

    def end(self) -> None:
        if self._word:
            self.done.append("".join(self._word))
            self._word.clear()


class _NoWords(_Words):
    """When nobody asks for them."""

    def add(self, text: str) -> None:
        pass

    def add_raw(self, text: str) -> None:
        pass


class _Lexer:
    def __init__(
        self,
        text: str,
        env: Mapping[str, str],
        escape: str,
        keep_quotes: bool,
        keep_escapes: bool,
        keep_unset: bool,
        ignore_quotes: bool,
        split: bool,
        limit: int,
    ) -> None:
        self._text, self._env, self._escape = text, env, escape
        self._keep_quotes, self._keep_escapes, self._keep_unset = keep_quotes, keep_escapes, keep_unset
        self._special = "$" if ignore_quotes else "$'\""
        self._words: type[_Words] = _Words if split else _NoWords
        self._limit = limit
        self._at = 0
        self._depth = 0
        self.used: set[str] = set()
        self.unmatched: set[str] = set()

    def _peek(self) -> str:
        """The next character; "" at the end."""
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._text[self._at : self._at + 1]
        self._at += 1
        return char

    def until(self, stop: str, keep_escapes: bool) -> tuple[str, list[str]]:
        """Read up to the character `stop`, or to the end when it is ""."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _TooMuch(f"substitutions are nested more than {_DEEPEST} deep")
        before, self._keep_escapes = self._keep_escapes, keep_escapes
        try:
            return self._until(stop)
        finally:
            self._keep_escapes = before
            self._depth -= 1

    def _until(self, stop: str) -> tuple[str, list[str]]:
        result: list[str] = []
        words = self._words()
        size = 0
        while char := self._peek():
            if char == stop:
                self._at += 1
                words.end()
                return "".join(result), words.done
            if char in self._special:
                piece = self._dollar() if char == "$" else self._quotes(char)
                (words.add if char == "$" else words.add_raw)(piece)
            elif char == "<" and self._text.startswith("<<", self._at):
                piece = self._heredoc_mark()
                words.add_raw(piece)
            else:
                self._at += 1
                piece = char
                if char == self._escape:
                    if self._keep_escapes:
                        words.add_raw(char)
                        result.append(char)
                    piece = self._next()
                    if not piece:  # at the end there is nothing to escape
                        break
                    words.add_raw(piece)
                else:
                    words.add(char)
            size += len(piece)
            self._check(size)
            result.append(piece)
        if stop:
            raise ExpansionError(f"unexpected end of statement while looking for matching {stop}")
        words.end()
        return "".join(result), words.done

    def _heredoc_mark(self) -> str:
        """`<<` and the spaces behind it: in `RUN << EOF` they are one word with the name."""
        start = self._at
        self._at += 2
        while (char := self._peek()) and char in SPACES:
            self._at += 1
        return self._text[start : self._at]

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise _TooMuch(_too_long(self._limit))

    def _quotes(self, quote: str) -> str:
        return self._single_quotes() if quote == "'" else self._double_quotes()

    def _single_quotes(self) -> str:
        """Everything up to the next quote, which cannot be escaped."""
        end = self._text.find("'", self._at + 1)
        if end < 0:
            self._at = len(self._text)
            raise ExpansionError("unexpected end of statement while looking for matching single-quote")
        inside = self._text[self._at + 1 : end]
        self._at = end + 1
        return f"'{inside}'" if self._keep_quotes else inside

    def _double_quotes(self) -> str:
        """Variables are replaced; only the quote, `$` and the escape itself can be escaped."""
        kept = '"' if self._keep_quotes else ""
        result = [kept]
        size = 0
        self._at += 1
        while char := self._peek():
            if char == '"':
                self._at += 1
                return "".join([*result, kept])
            if char == "$":
                piece = self._dollar()
            else:
                self._at += 1
                piece = char
                if char == self._escape:
                    if self._keep_escapes:
                        result.append(char)
                    following = self._peek()
                    if not following:
                        break
                    if following in f'"${self._escape}':
                        piece = self._next()
            size += len(piece)
            self._check(size)
            result.append(piece)
        raise ExpansionError("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._value(name)
            return f"${name}" if value is None and self._keep_unset else value or ""
        self._at += 1
        if not self._peek():
            raise ExpansionError("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise ExpansionError("syntax error: bad substitution")
        name = self._name()
        modifier = self._next()
        if modifier == "}":
            value = self._value(name)
            return f"${{{name}}}" if value is None and self._keep_unset else value or ""
        if modifier == "/":
            return self._replaced(name)
        colon = ""
        if modifier == ":":
            colon, modifier = ":", self._next()
        elif not modifier or modifier not in "+-?#%":
            raise ExpansionError(f"unsupported modifier ({modifier}) in substitution")
        word = self._part("}", "}", keep_escapes=modifier in ("#", "%"))
        value = self._value(name)
        if value is None and self._keep_unset:
            return f"${{{name}{colon}{modifier}{word}}}"
        return self._modified(name, value, colon, modifier, word)

    def _part(self, stop: str, missing: str, *, keep_escapes: bool) -> str:
        """A part of what stands between the braces."""
        try:
            return self.until(stop, keep_escapes)[0]
        except _TooMuch:
            raise
        except ExpansionError:
            if not self._peek():
                where = " in ${}" if missing == "/" else ""
                raise ExpansionError(f"syntax error: missing '{missing}'{where}") from None
            raise

    def _modified(self, name: str, value: str | None, colon: str, modifier: str, word: str) -> str:
        counts = value is not None and not (colon and not value)  # an empty value counts without the colon
        match modifier:
            case "-":
                return value or "" if counts else word
            case "+":
                return word if counts else ""
            case "?":
                if not counts:
                    default = "is not allowed to be " + ("unset" if value is None else "empty")
                    raise ExpansionError(f"{name}: {word or default}")
                return value or ""
            case "#" | "%":
                return self._trimmed(value or "", modifier, word)
        raise ExpansionError(f"unsupported modifier ({colon}{modifier}) in substitution")

    def _trimmed(self, value: str, modifier: str, pattern: str) -> str:
        longest = pattern.startswith(modifier)
        glob = self._glob(pattern[1:] if longest else pattern, value)
        if modifier == "#":
            end = glob.prefix(value, longest=longest)
            return value if end is None else value[end:]
        begin = glob.suffix(value, longest=longest)
        return value if begin is None else value[:begin]

    def _replaced(self, name: str) -> str:
        everywhere = self._peek() == "/"
        if everywhere:
            self._at += 1
        pattern = self._part("/", "/", keep_escapes=True)
        text = self._part("}", "}", keep_escapes=True)
        value = self._value(name)
        if value is None and self._keep_unset:
            return f"${{{name}/{'/' if everywhere else ''}{pattern}/{text}}}"
        value = value or ""
        pieces, last, size = [], 0, len(value)
        for begin, end in self._glob(pattern, value).matches(value):
            size += len(text) - (end - begin)
            self._check(size - (len(value) - end))  # what is sure to be in the result
            pieces += [value[last:begin], text]
            last = end
            if not everywhere:
                break
        return "".join([*pieces, value[last:]])

    def _glob(self, pattern: str, value: str) -> Glob:
        self._check(len(value))
        try:
            return Glob.parse(pattern)
        except BadPattern as error:
            raise ExpansionError(f"invalid pattern ({pattern[:100]}) in substitution: {error}") from None

    def _name(self) -> str:
        """Letters, digits and `_`; only digits when it begins with one; one special parameter."""
        start = self._at
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self._at += 1
        elif first and first in _SPECIAL:
            self._at += 1
        else:
            while (char := self._peek()) and (char == "_" or char.isalpha() or char.isdecimal()):
                self._at += 1
        return self._text[start : self._at]

    def _value(self, name: str) -> str | None:
        value = self._env.get(name)
        (self.unmatched if value is None else self.used).add(name)
        return value
