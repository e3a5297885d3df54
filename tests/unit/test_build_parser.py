"""Dockerfiles to nodes: lines, comments, continuations, directives, here-documents, forms, places."""

from __future__ import annotations

import time

import pytest
from tests.support import build_data

from pyd.build import parser
from pyd.build.location import DockerfileError
from pyd.build.parser import Dockerfile, Node, parse


def nodes(text: str | bytes) -> tuple[Node, ...]:
    return parse(text if isinstance(text, bytes) else text.encode()).nodes


def dump(node: Node) -> str:
    """The form in which BuildKit's tests write a tree (parser.go, Node.Dump)."""
    text = node.keyword.lower()
    if node.flags:
        text += f" [{' '.join(map(quoted, node.flags))}]"
    if node.child is not None:
        text += f" ({dump(node.child)})"
    return " ".join((text, *map(quoted, node.words)))


def quoted(text: str) -> str:
    """Go's strconv.Quote."""
    named = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
    named |= {'"': '\\"', "\\": "\\\\"}
    made = (named.get(c) or (c if c.isprintable() else f"\\x{ord(c):02x}") for c in text)
    return f'"{"".join(made)}"'


def refusal(text: str | bytes) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        nodes(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("from a", '(from "a")'),
        ("FROM\ta  AS\tb ", '(from "a" "AS" "b")'),
        ("RUN  a   b  ", '(run "a   b")'),
        ('RUN ["a", "b c"]', '(run "a" "b c")'),
        ('RUN ["a"] b', '(run "[\\"a\\"] b")'),
        ("RUN ['a']", "(run \"['a']\")"),
        ('CMD ["\\u00e4\\ud83d\\ude00"]', '(cmd "ä😀")'),
        ('CMD ["\\ud800"]', '(cmd "\ufffd")'),
        ("CMD [NaN]", '(cmd "[NaN]")'),
        ("CMD [1e999]", '(cmd "[1e999]")'),
        ("CMD []", "(cmd)"),
        ("CMD", "(cmd)"),
        ("COPY a  b /c", '(copy "a" "b" "/c")'),
        ('COPY ["a b", "/c"]', '(copy "a b" "/c")'),
        ("COPY --from=x --chown='1 2' a b", '(copy ["--from=x" "--chown=1 2"] "a" "b")'),
        ("COPY --a\\ b -- --c d", '(copy ["--a b"] "--c" "d")'),
        ("COPY --x", '(copy ["--x"])'),
        ("RUN --mount=type=cache make --x", '(run ["--mount=type=cache"] "make --x")'),
        ("ENV a b  c", '(env "a" "b  c" "")'),
        ("ENV a=b c='d e' f=\"g\"", '(env "a" "b" "=" "c" "\'d e\'" "=" "f" "\\"g\\"" "=")'),
        ("ENV a=b\\ c d=", '(env "a" "b\\\\ c" "=" "d" "" "=")'),
        ("ENV a='b\\' c=d", '(env "a" "\'b\\\\\'" "=" "c" "d" "=")'),
        ("ARG a b=c d", '(arg "a" "b=c" "d")'),
        ("LABEL a=b", '(label "a" "b" "=")'),
        ("HEALTHCHECK --interval=5s  CMD  a b", '(healthcheck ["--interval=5s"] "CMD" "a b")'),
        ('HEALTHCHECK CMD ["a","b"]', '(healthcheck "CMD" "a" "b")'),
        ("HEALTHCHECK NONE", '(healthcheck "NONE")'),
        ("ONBUILD RUN a b", '(onbuild (run "a b"))'),
        ("ONBUILD COPY --from=x a b", '(onbuild (copy ["--from=x"] "a" "b"))'),
        ("EXPOSE 80 81/udp", '(expose "80" "81/udp")'),
        ("WORKDIR /a b", '(workdir "/a b")'),
        ("FORM a", "(form)"),
        ("RUN a \\\nb", '(run "a b")'),
        ("RUN a \\ \t\n  b", '(run "a   b")'),
        ("RUN a \\\\\nUSER x", '(run "a \\\\\\\\")\n(user "x")'),
        ("RUN a \\\n# not this\n  # nor this\n\n   \nb", '(run "a b")'),
        ("RUN a \\", '(run "a")'),
        ("RUN a \\\n# x", '(run "a")'),
        ("RUN a # b", '(run "a # b")'),
        ("  RUN a", '(run "a")'),
        ("RUN a\r\nUSER b\r\n", '(run "a")\n(user "b")'),
        ("RUN a \\\r\n b\r\n", '(run "a  b")'),
        ("\ufeffRUN a", '(run "a")'),
        ("# escape=`\nRUN a `\nb", '(run "a b")'),
        ("# escape=`\nENV a=b` c", '(env "a" "b` c" "=")'),
        ("# x\n# escape=`\nRUN a `\nUSER b", '(run "a `")\n(user "b")'),
        ("\n# escape=`\nRUN a `\nUSER b", '(run "a `")\n(user "b")'),
        ("#!/usr/bin/x\n# escape=`\nRUN a `\nUSER b", '(run "a `")\n(user "b")'),
        ("# Escape = ` \nRUN a `\nb", '(run "a b")'),
        ("RUN \u00a0a\u3000", '(run "a")'),
        ("RUN a\x1c", '(run "a\\x1c")'),
    ],
)
def test_the_tree_is_that_of_buildkit(text: str, tree: str) -> None:
    assert "\n".join(f"({dump(node)})" for node in nodes(text)) == tree


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("RUN <<EOF\na\n # b\nEOF\n", [("EOF", "a\n # b\n", True, False)]),
        ("RUN <<EOF\nEOF", [("EOF", "", True, False)]),
        ("RUN <<-EOF\n\ta\n\tEOF\n", [("EOF", "\ta\n", True, True)]),
        ("RUN <<'EOF'\n$a\nEOF\n", [("EOF", "$a\n", False, False)]),
        ('RUN <<"E F"\nx\nE F\n', [("E F", "x\n", False, False)]),
        ("RUN <<E'O'F\nx\nEOF\n", [("EOF", "x\n", False, False)]),
        ("RUN <<E\\'F\nx\nE'F\n", [("E'F", "x\n", True, False)]),
        ("RUN << EOF\nx\nEOF\n", [("EOF", "x\n", True, False)]),
        ("RUN <<$E\nx\n$E\n", [("$E", "x\n", True, False)]),
        ("RUN 3<<E cat\nx\nE\n", [("E", "x\n", True, False)]),
        ("COPY <<a <<b /c\nb\na\na\nb\n", [("a", "b\n", True, False), ("b", "a\n", True, False)]),
        ("ONBUILD RUN <<E\nx\nE\n", [("E", "x\n", True, False)]),
        ("RUN <<E\r\nx\r\nE\r\n", [("E", "x\r\n", True, False)]),
        ("RUN '<<E'", []),
        ('RUN ["<<E"]', []),
        ("RUN <<<E", []),
        ("RUN a <<", []),
        ("RUN it's <<E", []),  # a quote that does not end: the shell's affair
        ("USER <<E", []),
    ],
)
def test_heredocs(text: str, documents: list[tuple[str, str, bool, bool]]) -> None:
    (node,) = nodes(text)
    assert [(h.name, h.content, h.expands, h.trims_tabs) for h in node.heredocs] == documents


def test_the_lines_of_a_heredoc_are_not_instructions() -> None:
    found = nodes("FROM a\nRUN <<E \\\n cat\nRUN x \\\n# y\n\nE\nUSER z")
    assert [node.keyword for node in found] == ["FROM", "RUN", "USER"]
    assert found[1].heredocs[0].content == "RUN x \\\n# y\n\n"
    assert (found[1].location.line, found[1].location.end_line, found[2].location.line) == (2, 7, 8)


def test_places_go_through_continuations() -> None:
    node = nodes("FROM a\n\n  RUN x \\\n# no\n\n    yy \\\n zz")[1]
    assert node.original == "RUN x     yy  zz"
    assert (node.location.line, node.location.column, node.location.end_line) == (3, 3, 7)
    assert [(node.find(t).line, node.find(t).column) for t in ("x", "yy", "zz")] == [(3, 7), (6, 5), (7, 2)]
    assert node.line.empty == (5,)


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "file with no instructions"),
        ("\n# only this\n", 1, 1, "file with no instructions"),
        ("FROM a\nENV b", 2, 5, "ENV must have two arguments"),
        ("FROM a\nENV a=b c", 2, 9, 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
        ("CMD [1]", 1, 5, "when using JSON array syntax, arrays must be comprised of strings only"),
        ('CMD ["a", ["b"]]', 1, 5, "when using JSON array syntax, arrays must be comprised of strings only"),
        ("CMD " + "[" * 5000 + "]" * 5000, 1, 5, "when using JSON array syntax"),
        ("FROM a\nRUN <<-E\nx\n", 2, 5, "unterminated heredoc (<<-E)"),
        ("FROM a\nCOPY <<a <<b /c\na\nx\n", 2, 6, "unterminated heredoc (<<b)"),
        ("# escape=x\nFROM a", 1, 1, "invalid escape token 'x' does not match ` or \\"),
        ("# syntax=docker/dockerfile:1\n #syntax=a", 2, 2, "only one syntax parser directive can be used"),
        ("# syntax=example.com/front:1\nFROM a", 1, 10, "frontend example.com/front:1 is not supported"),
        ("#!x\n#syntax=a/b\nFROM a", 2, 9, "frontend a/b is not supported"),
        (b"FROM a\nENV b=\xff", 2, 1, "ENV is not UTF-8"),
        (b"FROM a\nRUN <<E\n\xff\nE\n", 2, 1, "RUN is not UTF-8"),
        (b"FROM a\nRUN " + b"x" * 70000, 2, 1, "dockerfile line greater than max allowed size of 65535"),
        (b"#" * 5_000_000, 1, 1, "Dockerfile is larger than 4 MiB"),
    ],
)
def test_what_is_refused_has_its_place(text: str | bytes, line: int, column: int, message: str) -> None:
    error = refusal(text)
    assert (error.location.line, error.location.column) == (line, column)
    assert error.reason.startswith(message) and str(error).startswith(f"Dockerfile:{line}:{column}: ")
    assert "\n" not in str(error)


def test_the_excerpt_marks_the_lines() -> None:
    error = (
        parse(b"FROM a\nRUN b\nRUN c \\\n\t\x1b[31md\nUSER e\nUSER f\nUSER g", "x/Dockerfile")
        .nodes[2]
        .error("no")
    )
    assert error.render().splitlines() == [
        "x/Dockerfile:3",
        "--------------------",
        "   1 |     FROM a",
        "   2 |     RUN b",
        "   3 | >>> RUN c \\",
        "   4 | >>>     \\x1b[31md",
        "   5 |     USER e",
        "   6 |     USER f",
        "--------------------",
    ]


@pytest.mark.parametrize(
    "syntax",
    ["docker/dockerfile", "docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs",
     "docker/dockerfile-upstream:master", f"docker/dockerfile:1@sha256:{'a' * 64}", "docker/dockerfile:1 x"],
)  # fmt: skip
def test_the_known_frontends_are_not_fetched(syntax: str) -> None:
    dockerfile = parse(f"# syntax={syntax}\n# check=skip=all\nFROM a".encode())
    assert dockerfile.directives == {"syntax": syntax, "check": "skip=all"}
    assert dockerfile.directive_lines == {"syntax": 1, "check": 2}


def test_comments_describe_what_is_right_below() -> None:
    found = nodes(b"# a\n\n# b\n# c\nFROM x\n# d\n#\n# e\nARG f\n# \xff latin\nUSER g")
    assert [node.comments for node in found][:2] == [("b", "c"), ("e",)]


def test_the_number_of_instructions_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "MAX_INSTRUCTIONS", 5)
    assert refusal("USER a\n" * 6).reason == "more than 5 instructions"
    assert len(nodes("USER a\n" * 5)) == 5


@pytest.mark.parametrize(
    "piece",
    ["RUN a b c --d $e \\\n  && f\n", "ENV a=b c='d e'\n", "COPY <<E /x\n$y\nE\n", "RUN \\\n",
     "RUN " + "\\ " * 500 + "\n",
     "COPY " + "--x " * 300 + "a b\n", "ENV a=" + "'" * 400 + "\n", "RUN " + "<<" * 400 + "\n", "#\n", "\n"],
)  # fmt: skip
def test_time_is_linear_in_the_size(piece: str) -> None:
    def seconds(size: int) -> float:
        data = ("FROM a\n" + piece * (size // len(piece))).encode()
        best = 9.0
        for _ in range(2):
            begun = time.process_time()
            parse(data)
            best = min(best, time.process_time() - begun)
        return best

    assert seconds(48_000) < 24 * seconds(6_000) + 0.03  # eight times the size


def test_all_trees_of_buildkits_own_tests() -> None:
    directory = build_data.needed("buildkit-parser")
    files = sorted(directory.glob("testfiles/*/Dockerfile"))
    assert len(files) > 20
    for file in files:
        tree = "\n".join(f"({dump(node)})" for node in nodes(file.read_bytes()))
        assert tree == (file.parent / "result").read_text().rstrip("\n"), file
    for file in directory.glob("testfiles-negative/*/Dockerfile"):
        with pytest.raises(DockerfileError):
            parse(file.read_bytes())


def test_lines_of_buildkits_own_test() -> None:
    """TestParseIncludesLineNumbers of parser_test.go names these."""
    found: Dockerfile = parse(
        (build_data.needed("buildkit-parser") / "testfile-line/Dockerfile").read_bytes()
    )
    assert [(node.location.line, node.line.end_line) for node in found.nodes] == [(5, 5), (11, 12), (17, 31)]
