"""The text of a Dockerfile to its nodes: one for each instruction, with its place."""

from __future__ import annotations

from pyd.build.forms import FORMS, FormError, arguments, split_command
from pyd.build.heredocs import Heredoc, heredocs_of
from pyd.build.lexer import Lexer, LogicalLine
from pyd.build.location import DockerfileError, Location, Source
from pyd.build.words import SPACES, ExpansionError
from pyd.record import Record, replace

MAX_INSTRUCTIONS = 10_000
_TAKE_HEREDOCS = ("ADD", "COPY", "RUN")
# the well-known frontends of Dockerfiles, which pyd implements itself; a name without host is on Docker Hub
_FRONTENDS = ("docker/dockerfile", "docker/dockerfile-upstream")
_HUB = ("docker.io/", "index.docker.io/", "registry-1.docker.io/")


class Node(Record):
    """One instruction.

    `keyword` is upper case, `written` as it stands. `original` is the logical line. `words` are the arguments
    as the form of the instruction splits them, quotes kept; with pairs (ENV, LABEL) name, value and "=" or ""
    for each. `json` is the JSON form. `child` is the instruction behind ONBUILD. `comments` are right above.
    """

    keyword: str
    written: str
    original: str
    flags: tuple[str, ...]
    args: str
    words: tuple[str, ...]
    json: bool
    heredocs: tuple[Heredoc, ...]
    comments: tuple[str, ...]
    location: Location
    line: LogicalLine
    source: Source
    escape: str
    child: Node | None = None

    def find(self, token: str) -> Location:
        """Where a part of the line stands; the keyword's place when it is not found as it is."""
        offset = self.line.text.find(token, self._after_keyword()) if token else -1
        return (
            self.location
            if offset < 0
            else replace(self.line.locate(offset), end_line=self.location.end_line)
        )

    def error(self, message: str, token: str = "", hint: str | None = None) -> DockerfileError:
        """To raise: the instruction, or the part of it that is `token`, is wrong."""
        return self.source.error(message, self.find(token), hint)

    def _after_keyword(self) -> int:
        return self.line.text.find(self.original) + len(self.written) if self.written else 0


class Dockerfile(Record):
    """`directives` are those of the head (syntax, escape, check) by name, `directive_lines` their lines.

    `empty_lines` are the numbers of empty lines inside instructions, which BuildKit warns of.
    """

    name: str
    source: Source
    directives: dict[str, str]
    directive_lines: dict[str, int]
    escape: str
    nodes: tuple[Node, ...]
    empty_lines: tuple[int, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        return self.source.lines


def parse(data: bytes, name: str = "Dockerfile") -> Dockerfile:
    """Raises DockerfileError, with the place."""
    lexer = Lexer(data, name)
    nodes: list[Node] = []
    empty: list[int] = []
    while (line := lexer.next()) is not None:
        if not nodes:
            _check_syntax(lexer)
        node = _with_heredocs(_node(line, lexer), line, lexer)
        if len(nodes) == MAX_INSTRUCTIONS:
            raise node.error(f"more than {MAX_INSTRUCTIONS} instructions")
        _check_text(node)
        nodes.append(node)
        empty += line.empty
    if not nodes:
        _check_syntax(lexer)
        raise lexer.source.error("file with no instructions", Location(1, 1, max(1, lexer.line)))
    return Dockerfile(
        name, lexer.source, lexer.directives, lexer.directive_lines, lexer.escape, tuple(nodes), tuple(empty)
    )


def _node(line: LogicalLine, lexer: Lexer) -> Node:
    written, flags, rest = split_command(line.text)
    keyword = written.upper()
    location = line.locate(len(line.text) - len(line.text.lstrip(SPACES)))

    def made(words: tuple[str, ...] = (), json: bool = False) -> Node:
        return Node(
            keyword, written, line.text, flags, rest, words, json, (), line.comments,
            location, line, lexer.source, lexer.escape,
        )  # fmt: skip

    if keyword == "ONBUILD":
        node = made()
        return replace(node, child=_child(node)) if rest else node
    try:
        return made(*arguments(keyword, rest, lexer.escape))
    except FormError as error:
        raise made().error(str(error), error.token) from None


def _child(node: Node) -> Node:
    """The instruction behind ONBUILD; one behind another ONBUILD is not looked into: it is refused."""
    written, flags, rest = split_command(node.args)
    child = replace(
        node, keyword=written.upper(), written=written, original=node.args, flags=flags, args=rest,
        location=node.find(node.args), comments=(),
    )  # fmt: skip
    if child.keyword == "ONBUILD":
        return child
    try:
        words, is_json = arguments(child.keyword, rest, node.escape)
    except FormError as error:
        raise child.error(str(error), error.token) from None
    return replace(child, words=words, json=is_json)


def _with_heredocs(node: Node, line: LogicalLine, lexer: Lexer) -> Node:
    """Reads the lines of the here-documents that the instruction announces."""
    taker = node.child or node
    if taker.keyword not in _TAKE_HEREDOCS or taker.json or "<<" not in line.text:
        return node
    try:
        announced = heredocs_of(line.text)
    except ExpansionError as error:
        raise node.error(error.message) from None
    heredocs = []
    for heredoc in announced:
        content = lexer.here_document(heredoc.name, trims_tabs=heredoc.trims_tabs)
        if content is None:
            mark = "<<-" if heredoc.trims_tabs else "<<"
            hint = f"end it with a line that is {heredoc.name} alone"
            raise node.error(f"unterminated heredoc ({mark}{heredoc.name})", mark, hint)
        heredocs.append(replace(heredoc, content=content))
    if not heredocs:
        return node
    location = replace(node.location, end_line=lexer.line)
    node = replace(node, heredocs=tuple(heredocs), location=location)
    if node.child is not None:
        place = replace(node.child.location, end_line=lexer.line)
        node = replace(node, child=replace(node.child, heredocs=node.heredocs, location=place))
    return node


def _check_text(node: Node) -> None:
    """Lone bytes that are no UTF-8 may stand in comments, not in what goes into an image's config."""
    for text in (node.original, *(heredoc.content for heredoc in node.heredocs)):
        if not text.isascii() and any("\udc80" <= char <= "\udcff" for char in text):
            raise node.error(
                f"{node.keyword if node.keyword in FORMS else 'the line'} is not UTF-8",
                hint="save the Dockerfile in UTF-8",
            )


def _check_syntax(lexer: Lexer) -> None:
    """`# syntax=` names an image that BuildKit would run to read the file; pyd runs none."""
    value = lexer.directives.get("syntax", "").split(" ")[0]
    if not value:
        return
    image = value.split("@")[0]
    for host in _HUB:
        image = image.removeprefix(host)
    if ":" in image.rsplit("/", 1)[-1]:
        image = image.rpartition(":")[0]
    if image not in _FRONTENDS:
        number = lexer.directive_lines["syntax"]
        column = lexer.source.lines[number - 1].find(value) + 1
        raise lexer.source.error(
            f"frontend {value} is not supported: pyd reads Dockerfiles itself and runs no other frontend",
            Location(number, max(1, column), number),
            "remove the line, or write # syntax=docker/dockerfile:1",
        )
