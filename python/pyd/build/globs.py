"""Shell patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/text}`: `*`, `?` and literals.

BuildKit makes them regular expressions, which Go matches in linear time. Python's would backtrack, and
`*a*a*a*a*b` take for ever; so here a set of states, the bits of one integer, goes over the value once.
As there, `*` and `?` do not match a newline.
"""

from __future__ import annotations

from collections.abc import Iterator

_LONGEST = 4096  # characters of a pattern


class BadPattern(ValueError):
    pass


class Glob:
    """Bit i of a state: the first i characters of the pattern are matched."""

    def __init__(self, tokens: list[str | None], stars: set[int]) -> None:
        """`tokens` are characters, None for `?`; before token i of `stars` anything may stand."""
        self._tokens, self._stars = tokens, stars
        self._any = sum(1 << i for i, token in enumerate(tokens) if token is None)
        self._literal: dict[str, int] = {}
        for i, token in enumerate(tokens):
            if token is not None:
                self._literal[token] = self._literal.get(token, 0) | 1 << i
        self._loops = sum(1 << i for i in stars)
        self._done = 1 << len(tokens)

    @classmethod
    def parse(cls, pattern: str) -> Glob:
        r"""`\*`, `\?`, `\\` are literals; `\}`, `\/` are escaped for the braces around. Raises BadPattern."""
        if len(pattern) > _LONGEST:
            raise BadPattern(f"longer than {_LONGEST} characters")
        tokens: list[str | None] = []
        stars: set[int] = set()
        characters = iter(pattern)
        for char in characters:
            if char == "*":
                stars.add(len(tokens))
            elif char == "?":
                tokens.append(None)
            elif char == "\\":
                escaped = next(characters, "")
                if not escaped or escaped not in "*?\\}/":
                    raise BadPattern(f"invalid escape '\\{escaped}'")
                tokens.append(escaped)
            else:
                tokens.append(char)
        return cls(tokens, stars)

    def reversed(self) -> Glob:
        count = len(self._tokens)
        return Glob(self._tokens[::-1], {count - i for i in self._stars})

    def prefix(self, value: str, *, longest: bool, start: int = 0) -> int | None:
        """The end of the shortest or longest match that begins at `start`."""
        state, found = 1, None
        for at in range(start, len(value) + 1):
            if state & self._done:
                found = at
                if not longest:
                    break
            if at == len(value) or not state:
                break
            state = self._step(state, value[at])
        return found

    def suffix(self, value: str, *, longest: bool) -> int | None:
        """The begin of the shortest or longest match that ends where the value ends."""
        end = self.reversed().prefix(value[::-1], longest=longest)
        return None if end is None else len(value) - end

    def matches(self, value: str) -> Iterator[tuple[int, int]]:
        """(begin, end) of the leftmost and longest matches from left to right, none of them in another."""
        begins = self._begins(value)
        at, last = 0, -1
        while at <= len(value):
            begin = begins.find(1, at)
            if begin < 0:
                return
            end = self.prefix(value, longest=True, start=begin)
            assert end is not None
            if end > last or begin == 0:  # not the empty match right behind another
                yield begin, end
            last = end
            at = max(end, begin + 1)

    def _begins(self, value: str) -> bytearray:
        """1 at every place where a match begins: where one ends, read from behind."""
        backward, state = self.reversed(), 1
        begins = bytearray(len(value) + 1)
        for at in range(len(value), -1, -1):
            begins[at] = bool(state & backward._done)
            if at:
                state = backward._step(state, value[at - 1]) | 1
        return begins

    def _step(self, state: int, char: str) -> int:
        steps = self._literal.get(char, 0)
        if char == "\n":
            return (state & steps) << 1
        return (state & (steps | self._any)) << 1 | (state & self._loops)
