"""Parser of the subset of Go's text/template that --format takes: text to a tree of tuples.

Nodes (lists of them are bodies):
    ("text", str)
    ("action", pipe)
    ("if" | "with", pipe, body, else_body)
    ("range", pipe, body, else_body)
    ("break",) ("continue",)
pipe:    (variables: tuple[str, ...], declares: bool, commands: list[command])
command: list of operands; the first may be ("func", name)
operand: ("dot",) ("var", name) ("const", value) ("nil",) ("func", name) ("pipe", pipe) ("field", operand,
[names])
"""

from __future__ import annotations

import re
from typing import Any

from pyd import errors

Node = tuple[Any, ...]
Pipe = tuple[tuple[str, ...], bool, list[list[Node]]]

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\\n]|\\.)*") | (?P<raw>`[^`]*`) | (?P<char>'(?:[^'\\]|\\.)')
    | (?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|\d+\.\d*(?:[eE][+-]?\d+)?|\d+))
    | (?P<field>(?:\.[A-Za-z_]\w*)+) | (?P<var>\$\w*) | (?P<dot>\.)
    | (?P<word>[A-Za-z_]\w*) | (?P<op>:=|=|\||\(|\)|,)
    )""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def fail(message: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(f"template parsing error: template: :1: {message}")


def parse(text: str) -> list[Node]:
    """The body of a whole template."""
    pieces = _split(text)
    body, stop = _body(pieces)
    if stop:
        raise fail(f"unexpected {{{{{stop[0]}}}}}")
    return body


def _split(text: str) -> list[tuple[str, str]]:
    """[("text", …) | ("action", inside of {{ }})] in order; trim markers are already applied."""
    pieces: list[tuple[str, str]] = []
    position = 0
    trim_next = False
    while True:
        start = text.find("{{", position)
        literal = text[position:] if start < 0 else text[position:start]
        if trim_next:
            literal = literal.lstrip(" \t\r\n")
        trim_next = False
        if start < 0:
            if literal:
                pieces.append(("text", literal))
            return pieces
        begin = start + 2
        if text[begin : begin + 1] == "-" and text[begin + 1 : begin + 2].isspace():
            begin += 1
            literal = literal.rstrip(" \t\r\n")
        if literal:
            pieces.append(("text", literal))
        end = _end_of_action(text, begin)
        inside = text[begin:end]
        if inside.endswith("-") and inside[-2:-1].isspace():
            inside = inside[:-1]
            trim_next = True
        if not (inside.strip().startswith("/*") and inside.strip().endswith("*/")):
            pieces.append(("action", inside))
        position = end + 2


def _end_of_action(text: str, begin: int) -> int:
    """Index of the }} that closes the action; one inside a string or comment does not count."""
    index = begin
    while index < len(text):
        if text.startswith("}}", index):
            return index
        if text.startswith("/*", index):
            index = text.find("*/", index)
            if index < 0:
                raise fail("unclosed comment")
            index += 2
            continue
        character = text[index]
        if character in "\"`'":
            index += 1
            while index < len(text) and text[index] != character:
                index += 2 if text[index] == "\\" and character != "`" else 1
            if index >= len(text):
                raise fail("unterminated quoted string")
        index += 1
    raise fail("unclosed action")


def _body(pieces: list[tuple[str, str]]) -> tuple[list[Node], list[str]]:
    """Nodes up to {{end}} or {{else …}} (given back as its words and rest), or up to the end of the text."""
    body: list[Node] = []
    while pieces:
        kind, value = pieces.pop(0)
        if kind == "text":
            body.append(("text", value))
            continue
        words = value.split(None, 1)
        if not words:
            raise fail("missing value for command")
        head, rest = words[0], words[1] if len(words) > 1 else ""
        if head in ("end", "else"):
            return body, [head, rest.strip()]
        if head in ("if", "with", "range"):
            body.append(_block(head, rest, pieces))
        elif head in ("break", "continue") and not rest:
            body.append((head,))
        elif head in ("define", "template", "block"):
            raise errors.NotSupported(f"template: {{{{{head}}}}} is not supported in --format")
        else:
            body.append(("action", _Pipeline(value).whole()))
    return body, []


def _block(head: str, condition: str, pieces: list[tuple[str, str]]) -> Node:
    pipe = _Pipeline(condition).whole()
    body, stop = _body(pieces)
    otherwise: list[Node] = []
    if stop and stop[0] == "else":
        follow = stop[1].split(None, 1)
        if follow and follow[0] in ("if", "with"):
            otherwise = [_block(follow[0], follow[1] if len(follow) > 1 else "", pieces)]
            return (head, pipe, body, otherwise)
        otherwise, stop = _body(pieces)
    if not stop or stop[0] != "end":
        raise fail(f"unexpected EOF: {{{{{head}}}}} without {{{{end}}}}")
    return (head, pipe, body, otherwise)


class _Pipeline:
    """Recursive descent over the tokens of one action."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str, bool]] = []  # kind, text, space before it
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise fail(f"unexpected {text[position:].strip()[:1]!r} in command")
            value = match.group(match.lastgroup)
            self.tokens.append((match.lastgroup, value, match.start(match.lastgroup) > position))
            position = match.end()
        self.index = 0

    def peek(self) -> tuple[str, str, bool]:
        return self.tokens[self.index] if self.index < len(self.tokens) else ("end", "", False)

    def take(self) -> tuple[str, str, bool]:
        token = self.peek()
        self.index += 1
        return token

    def whole(self) -> Pipe:
        pipe = self.pipe()
        if self.peek()[0] != "end":
            raise fail(f"unexpected {self.peek()[1]!r} in command")
        return pipe

    def pipe(self) -> Pipe:
        variables, declares = self.declaration()
        commands = [self.command()]
        while self.peek()[1] == "|":
            self.take()
            commands.append(self.command())
        return variables, declares, commands

    def declaration(self) -> tuple[tuple[str, ...], bool]:
        """`$x :=`, `$x =` or `$i, $x :=` at the start of a pipeline."""
        names: list[str] = []
        index = self.index
        while index < len(self.tokens) and self.tokens[index][0] == "var":
            names.append(self.tokens[index][1])
            operator = self.tokens[index + 1][1] if index + 1 < len(self.tokens) else ""
            if operator in (":=", "="):
                self.index = index + 2
                return tuple(names), operator == ":="
            if operator != ",":
                break
            index += 2
        return (), False

    def command(self) -> list[Node]:
        operands: list[Node] = []
        while self.peek()[0] != "end" and self.peek()[1] not in ("|", ")", ",", ":=", "="):
            operands.append(self.operand())
        if not operands:
            raise fail("missing value for command")
        return operands

    def operand(self) -> Node:
        kind, value, _ = self.take()
        node: Node
        if kind == "field":
            return ("field", ("dot",), value[1:].split("."))
        if kind == "dot":
            node = ("dot",)
        elif kind == "var":
            node = ("var", value)
        elif kind == "string":
            return ("const", re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), value[1:-1]))
        elif kind == "raw":
            return ("const", value[1:-1])
        elif kind == "char":
            return ("const", ord(re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), value[1:-1])))
        elif kind == "number":
            return ("const", float(value) if "." in value else int(value, 0))
        elif kind == "word":
            if value in ("true", "false"):
                return ("const", value == "true")
            return ("nil",) if value == "nil" else ("func", value)
        elif value == "(":
            node = ("pipe", self.pipe())
            if self.take()[1] != ")":
                raise fail("unclosed left paren")
        else:
            raise fail(f"unexpected {value!r} in operand")
        # `$x.Name` and `(…).Name`: only without a space between
        follow, names, spaced = self.peek()
        if follow == "field" and not spaced:
            self.take()
            return ("field", node, names[1:].split("."))
        return node
