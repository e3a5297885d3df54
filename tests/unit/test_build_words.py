"""Variables, quotes, escapes and patterns in words, and the bounds of what they may become."""

from __future__ import annotations

import re
import time
from random import Random

import pytest
from tests.support import build_data

from pyd.build.globs import BadPattern, Glob
from pyd.build.words import LONGEST, ExpansionError, expand, expand_words

ENV = {"X": "value", "EMPTY": "", "P": "/a/b/a.tar.gz", "S": "one  two", "L": "a\nb"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"), ("$X", "value"), ("a${X}b", "avalueb"), ("$Xy", ""), ("${X}y", "valuey"),
        ("$NO.", "."), ("$", "$"), ("a$ b", "a$ b"), ("$$", ""), ("$1", ""), ("$12x", "x"), ("$@@", "@"),
        ("'$X'", "$X"), ('"$X"', "value"), ("\\$X", "$X"), ('"\\$X"', "$X"), ('"\\a"', "\\a"), ("\\a", "a"),
        ("a\\", "a"), ("'a\\'", "a\\"), ("''", ""), ('"a b"c', "a bc"), ('"\'"', "'"), ("'\"'", '"'),
        ("${X:-d}", "value"), ("${NO:-d}", "d"), ("${NO-d}", "d"), ("${EMPTY:-d}", "d"), ("${EMPTY-d}", ""),
        ("${X:+d}", "d"), ("${NO:+d}", ""), ("${NO+d}", ""), ("${EMPTY:+d}", ""), ("${EMPTY+d}", "d"),
        ("${X?no}", "value"), ("${X:?no}", "value"), ("${EMPTY?no}", ""),
        ("${NO:-${NO2:-$X}}", "value"), ("${NO:-a b}", "a b"), ("${NO:-'a}'}", "a}"), ("${NO:-\"}\"}", "}"),
        ("${P#*/}", "a/b/a.tar.gz"), ("${P##*/}", "a.tar.gz"), ("${P%.*}", "/a/b/a.tar"),
        ("${P%%.*}", "/a/b/a"),
        ("${P#/a}", "/b/a.tar.gz"), ("${P#x}", "/a/b/a.tar.gz"), ("${P%z}", "/a/b/a.tar.g"), ("${P##*}", ""),
        ("${P#*}", "/a/b/a.tar.gz"), ("${P%%*}", ""), ("${P#????}", "/a.tar.gz"), ("${X%\\*}", "value"),
        ("${P/a/X}", "/X/b/a.tar.gz"), ("${P//a/X}", "/X/b/X.tXr.gz"), ("${P//\\//_}", "_a_b_a.tar.gz"),
        ("${P//[/x}", "/a/b/a.tar.gz"), ("${P/*/x}", "x"), ("${P//*/x}", "x"),
        ("${P//a*/x}", "/x"), ("${P//?/x}", "x" * 13),
        ("${P/a/}", "//b/a.tar.gz"), ("${NO/a/b}", ""), ("${X//l/$EMPTY}", "vaue"), ("${L#*b}", "a\nb"),
        ("${X/#/y}", "value"), ("${X//u/\\1}", "val\\1e"),
        ("é$X", "évalue"), ("${é}", ""), ("$é", ""), ("a<<b", "a<<b"),
    ],
)  # fmt: skip
def test_expand(text: str, expected: str) -> None:
    assert expand(text, ENV).text == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${", "missing '}'"), ("${X", "unsupported modifier ()"), ("${}", "bad substitution"),
        ("${:-a}", "bad substitution"), ("${{X}}", "bad substitution"),
        ("${X:=a}", "unsupported modifier (:=)"),
        ("${X=a}", "unsupported modifier (=)"), ("${X:-a", "missing '}'"), ("${X/a}", "missing '/' in ${}"),
        ("${X/a/b", "missing '}'"), ("'a", "matching single-quote"), ('"a', "matching double-quote"),
        ('"a\\"', "matching double-quote"), ("${NO?}", "NO: is not allowed to be unset"),
        ("${NO:?m}", "NO: m"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"), ("${X#\\a}", "invalid pattern (\\a)"),
        ("${X#" + "a" * 5000 + "}", "longer than 4096"), ("${X:-" * 100 + "}" * 100, "more than 64 deep"),
        ("${X:+" * 100, "more than 64 deep"),
    ],
)  # fmt: skip
def test_what_cannot_be_expanded(text: str, message: str) -> None:
    with pytest.raises(ExpansionError, match=re.escape(message)):
        expand(text, ENV)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b", ["a", "b"]), ("$S", ["one", "two"]), ('"$S"', ["one  two"]), ("a$S", ["aone", "two"]),
        ("a\\ b", ["a b"]), ("'a b'c d", ["a bc", "d"]), ("''", []), (" a ", ["a"]), ("$NO", []), ("", []),
    ],
)  # fmt: skip
def test_words(text: str, words: list[str]) -> None:
    assert expand_words(text, ENV) == words


def test_the_other_escape() -> None:
    assert expand("a`$X \\$X", ENV, "`").text == "a$X \\value"
    assert expand("C:\\x", {}, "`").text == "C:\\x"


def test_what_can_be_kept() -> None:
    assert expand("$NO ${NO} ${NO:-a} $X", ENV, keep_unset=True).text == "$NO ${NO} ${NO:-a} value"
    assert expand("'a' \"b\"", ENV, keep_quotes=True).text == "'a' \"b\""
    assert expand("a\\b '\\'", ENV, keep_escapes=True, keep_quotes=True).text == "a\\b '\\'"
    assert expand('it\'s "$X" \\$X', ENV, ignore_quotes=True).text == 'it\'s "value" $X'


def test_names_that_were_used_and_not_found() -> None:
    found = expand("$X ${NO:-$NO2} '$Q' ${EMPTY:+a}", ENV)
    assert found.used == {"X", "EMPTY"} and found.unmatched == {"NO", "NO2"}


def test_a_chain_that_doubles_stops() -> None:
    env = {"a": "x" * 64}
    with pytest.raises(ExpansionError, match=f"more than {LONGEST} characters"):
        for _ in range(40):
            env["a"] = expand("$a$a", env).text
    with pytest.raises(ExpansionError, match="characters"):
        expand("${a//x/" + "y" * 5000 + "}", env)
    assert len(expand("${a//?/yy}", {"a": "x" * 1000}).text) == 2000


def _python(pattern: str, stars: str) -> str:
    """The same pattern for re; what is behind a backslash in ours is a literal."""
    return "".join(stars if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)


def test_patterns_match_what_regular_expressions_match() -> None:
    random = Random(7)
    for _ in range(3000):
        pattern = "".join(random.choice("ab*?c") for _ in range(random.randrange(6)))
        value = "".join(random.choice("abcab\n") for _ in range(random.randrange(9)))
        glob = Glob.parse(pattern)
        for longest, stars in ((True, ".*"), (False, ".*?")):
            match = re.match(_python(pattern, stars), value)
            assert glob.prefix(value, longest=longest) == (match.end() if match else None), (pattern, value)
            match = re.match(_python(pattern[::-1], stars), value[::-1])
            begin = len(value) - match.end() if match else None
            assert glob.suffix(value, longest=longest) == begin, (pattern, value)
        if pattern.strip("*"):  # the rules for empty matches are Go's, not those of re
            spans = [match.span() for match in re.finditer(_python(pattern, ".*"), value)]
            assert list(glob.matches(value)) == spans, (pattern, value)


@pytest.mark.parametrize(("pattern", "spans"), [("", [(0, 0), (1, 1), (2, 2)]), ("*", [(0, 2)])])
def test_empty_matches_are_those_of_go(pattern: str, spans: list[tuple[int, int]]) -> None:
    assert list(Glob.parse(pattern).matches("ab")) == spans


def test_no_pattern_takes_for_ever() -> None:
    """A regular expression with backtracking is at this for longer than anyone waits."""
    begun = time.process_time()
    value = "a" * 20_000
    assert expand("${x##" + "*a" * 60 + "*b}", {"x": value}).text == value
    assert expand("${x//" + "*a" * 60 + "*b/y}", {"x": value}).text == value
    assert expand("${x//a*a/y}", {"x": value}).text == "y"
    assert time.process_time() - begun < 5


def test_bad_patterns() -> None:
    for pattern in ("\\", "a\\b"):
        with pytest.raises(BadPattern):
            Glob.parse(pattern)


def test_all_words_of_buildkits_own_tests() -> None:
    """envVarTest: platform | text | what it is expanded to."""
    lines = (build_data.needed("buildkit-shell") / "envVarTest").read_text().splitlines()
    env = {"PWD": "/home", "SHELL": "bash", "KOREAN": "한국어", "NULL": ""}
    count = 0
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        platform, text, expected = (part.strip() for part in line.split("|"))
        if platform not in ("A", "U"):
            continue
        count += 1
        try:
            found = expand(text, env).text
        except ExpansionError:
            found = "error"
        assert found == expected, line
    assert count > 200


def test_all_splits_of_buildkits_own_tests() -> None:
    env: dict[str, str] = {}
    count = 0
    for line in (build_data.needed("buildkit-shell") / "wordsTest").read_text().splitlines():
        if line.startswith("ENV "):
            name, _, value = line[4:].partition("=")
            env[name] = value
        elif line.strip() and not line.startswith("#"):
            text, expected = line.split("|")
            count += 1
            try:
                found = ",".join(expand_words(text.strip(), env))
            except ExpansionError:
                found = "error"
            assert found == expected.lstrip(), line
    assert count > 20
