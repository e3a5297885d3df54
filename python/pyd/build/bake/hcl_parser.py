"""HCL's native syntax, from text to bodies and expressions, by recursive descent."""

from __future__ import annotations

import re

from pyd.build.bake.hcl_scanner import Scanner
from pyd.build.bake.hcl_syntax import (
    Attribute,
    Binary,
    Block,
    Body,
    Call,
    Conditional,
    Expression,
    For,
    Index,
    ListOf,
    Literal,
    Name,
    ObjectOf,
    Place,
    Splat,
    Unary,
)
from pyd.build.bake.hcl_template import TemplateParser, names_of_for
from pyd.errors import InvalidArgument

_LEVELS = {"||": 0, "&&": 1, "==": 2, "!=": 2, ">=": 3, "<=": 3, ">": 3, "<": 3}
_LEVELS |= {"+": 4, "-": 4, "*": 5, "/": 5, "%": 5}
_OPERATOR = re.compile(r"\|\||&&|[=!<>]=|[<>+\-*%]|/(?![/*])")
_KEYWORDS = {"true": True, "false": False, "null": None}


def parse(data: bytes, file: str) -> Body:
    """Raises InvalidArgument with file, line and column."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidArgument(f"{file}: the file is not UTF-8") from None
    parser = _Parser(text, file)
    try:
        return parser.body(closed=False)
    except RecursionError:
        raise parser.scanner.place().error("too deeply nested") from None


def parse_template(text: str, place: Place) -> Expression:
    """A string of a JSON file: its places are not those of the file."""
    parser = _Parser(text, place.file)
    try:
        return parser.templates.whole()
    except RecursionError:
        raise place.error("too deeply nested") from None


def parse_expression(text: str, place: Place) -> Expression:
    """Text that is an expression as a whole, such as the type of a variable in a JSON file."""
    parser = _Parser(text, place.file)
    parser.scanner.skip(lines=True)
    found = parser.expression()
    parser.scanner.skip(lines=True)
    if not parser.scanner.ended:
        parser.scanner.fail("expected the end of the expression")
    return found


class _Parser:
    def __init__(self, text: str, file: str) -> None:
        self.scanner = Scanner(text, file)
        self.templates = TemplateParser(self.scanner, self._over_lines)
        self._brackets = 0  # inside of them an end of line is a space

    def body(self, *, closed: bool) -> Body:
        """Up to its `}` if it is `closed`, else to the end of the file."""
        scanner, body = self.scanner, Body()
        while True:
            scanner.skip(lines=True)
            if scanner.ended if not closed else scanner.sees("}"):
                return body
            place = scanner.place()
            name = scanner.name()
            if not name:
                scanner.fail("expected an attribute or a block")
            scanner.skip(lines=False)
            if scanner.sees("=") and not scanner.sees("=="):
                self._attribute(body, name, place)
            else:
                body.blocks.append(self._block(name, place))
            scanner.skip(lines=False)
            if not scanner.takes_line_end() and not (closed and scanner.sees("}")):
                scanner.fail("expected the end of the line")

    def _attribute(self, body: Body, name: str, place: Place) -> None:
        if name in body.attributes:
            raise place.error(f"the attribute {name!r} was already set at {body.attributes[name].place}")
        self.scanner.at += 1
        self.scanner.skip(lines=False)
        # brackets of an outer block do not make this attribute's lines one
        outer, self._brackets = self._brackets, 0
        body.attributes[name] = Attribute(name, self.expression(), place)
        self._brackets = outer

    def _block(self, type: str, place: Place) -> Block:
        scanner, labels = self.scanner, list[str]()
        while not scanner.sees("{"):
            label_place = scanner.place()
            if scanner.sees('"'):
                found = self.templates.quoted()
                if not isinstance(found, Literal) or not isinstance(found.value, str):
                    raise label_place.error("a block's label must not hold ${…}")
                labels.append(found.value)
            elif word := scanner.name():
                labels.append(word)
            else:
                scanner.fail("expected `=` for an attribute or `{` for a block")
            scanner.skip(lines=False)
        scanner.at += 1
        body = self.body(closed=True)
        scanner.need("}", "at the end of the block")
        return Block(type, tuple(labels), body, place)

    def expression(self) -> Expression:
        condition = self._binary(0)
        self._skip()
        place = self.scanner.place()
        if not self.scanner.takes("?"):
            return condition
        self._skip()
        then = self.expression()
        self._skip()
        self.scanner.need(":", "between the results of a condition")
        self._skip()
        return Conditional(place, condition, then, self.expression())

    def _over_lines(self) -> Expression:
        self._brackets += 1
        found = self.expression()
        self._brackets -= 1
        return found

    def _binary(self, least: int) -> Expression:
        """Operators of this level and stronger ones."""
        scanner, left = self.scanner, self._unary()
        while True:
            self._skip()
            match = _OPERATOR.match(scanner.text, scanner.at)
            if match is None or _LEVELS[match[0]] < least:
                return left
            place = scanner.place()
            scanner.at = match.end()
            self._skip()
            left = Binary(place, match[0], left, self._binary(_LEVELS[match[0]] + 1))

    def _unary(self) -> Expression:
        place = self.scanner.place()
        for operator in ("!", "-"):
            if self.scanner.sees(operator) and not self.scanner.sees("!="):
                self.scanner.at += 1
                self._skip()
                return Unary(place, operator, self._unary())
        return self._traversal(self._term())

    def _traversal(self, found: Expression) -> Expression:
        """What follows a term: .name [key] .* [*]"""
        scanner = self.scanner
        while True:
            place = scanner.place()
            if scanner.takes(".*"):
                return Splat(place, found, self._attributes(Name(place, "")))
            if scanner.takes("[*]"):
                return Splat(place, found, self._traversal(Name(place, "")))
            if scanner.sees(".") and not scanner.sees("..."):
                found = self._dotted(found)
            elif scanner.takes("["):
                found = Index(place, found, self._bracketed("]"))
            else:
                return found

    def _attributes(self, found: Expression) -> Expression:
        while self.scanner.sees(".") and not self.scanner.sees("..."):
            found = self._dotted(found)
        return found

    def _dotted(self, found: Expression) -> Expression:
        scanner, place = self.scanner, self.scanner.place()
        scanner.at += 1
        name = scanner.name()
        if name:
            return Index(place, found, Literal(place, name))
        digits = scanner.at
        while scanner.text[scanner.at : scanner.at + 1].isdecimal():
            scanner.at += 1
        if digits == scanner.at:
            scanner.fail("expected a name behind the dot")
        return Index(place, found, Literal(place, int(scanner.text[digits : scanner.at])))

    def _bracketed(self, end: str) -> Expression:
        self._brackets += 1
        self._skip()
        found = self.expression()
        self._skip()
        self._brackets -= 1
        self.scanner.need(end, "to close the bracket")
        return found

    def _term(self) -> Expression:
        scanner, place = self.scanner, self.scanner.place()
        if scanner.sees('"'):
            return self.templates.quoted()
        if scanner.sees("<<"):
            return self.templates.heredoc()
        if scanner.takes("("):
            return self._bracketed(")")
        if scanner.takes("["):
            return self._list(place)
        if scanner.takes("{"):
            return self._object(place)
        try:
            number = scanner.number()
        except ValueError as error:
            scanner.fail(str(error))
        if number is not None:
            return Literal(place, number)
        name = scanner.name()
        if not name:
            scanner.fail("expected an expression")
        if name in _KEYWORDS:
            return Literal(place, _KEYWORDS[name])
        if scanner.takes("("):
            return self._call(name, place)
        return Name(place, name)

    def _call(self, name: str, place: Place) -> Call:
        arguments, spread = list[Expression](), False
        self._brackets += 1
        self._skip()
        while not self.scanner.sees(")"):
            arguments.append(self.expression())
            self._skip()
            spread = self.scanner.takes("...")
            self._skip()
            if not self.scanner.takes(","):
                break
            self._skip()
        self._brackets -= 1
        self.scanner.need(")", "behind the arguments of a function")
        return Call(place, name, tuple(arguments), spread)

    def _list(self, place: Place) -> Expression:
        items = list[Expression]()
        self._brackets += 1
        self._skip()
        if self.scanner.peek_name() == "for":
            return self._for(place, "]")
        while not self.scanner.sees("]"):
            items.append(self.expression())
            self._skip()
            if not self.scanner.takes(","):
                break
            self._skip()
        self._brackets -= 1
        self.scanner.need("]", "at the end of the list")
        return ListOf(place, tuple(items))

    def _object(self, place: Place) -> Expression:
        scanner, items = self.scanner, list[tuple[Expression, Expression]]()
        outer, self._brackets = self._brackets, 0
        scanner.skip(lines=True)
        if scanner.peek_name() == "for":
            self._brackets = outer + 1
            return self._for(place, "}")
        while not scanner.sees("}"):
            key = self._key()
            scanner.skip(lines=False)
            if not scanner.takes("=") and not scanner.takes(":"):
                scanner.fail("expected `=` or `:` behind the key of an object")
            scanner.skip(lines=True)
            items.append((key, self.expression()))
            scanner.skip(lines=False)
            if not scanner.takes(",") and not scanner.takes_line_end() and not scanner.sees("}"):
                scanner.fail("expected a comma, a line end or `}` in an object")
            scanner.skip(lines=True)
        scanner.need("}", "at the end of the object")
        self._brackets = outer
        return ObjectOf(place, tuple(items))

    def _key(self) -> Expression:
        """A name is the text itself, an expression in parentheses is computed."""
        scanner, start = self.scanner, self.scanner.place()
        at = scanner.at
        name = scanner.name()
        scanner.skip(lines=False)
        if name and (scanner.sees("=") or scanner.sees(":")):
            return Literal(start, name)
        scanner.at = at
        return self._binary(0)

    def _for(self, place: Place, end: str) -> For:
        scanner = self.scanner
        scanner.name()
        key, value = names_of_for(scanner)
        collection = self.expression()
        self._skip()
        scanner.need(":", "behind the collection of a for")
        self._skip()
        result_key, grouped, condition = None, False, None
        result = self.expression()
        self._skip()
        if end == "}":
            scanner.need("=>", "between key and value of a for")
            self._skip()
            result_key, result = result, self.expression()
            self._skip()
            grouped = scanner.takes("...")
            self._skip()
        if scanner.peek_name() == "if":
            scanner.name()
            self._skip()
            condition = self.expression()
            self._skip()
        self._brackets -= 1
        scanner.need(end, "at the end of a for")
        return For(place, key, value, collection, result_key, result, grouped, condition)

    def _skip(self) -> None:
        self.scanner.skip(lines=self._brackets > 0)
