"""The language of bake files: values, templates, operators, functions, and what is no HCL."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyd.build.bake import hcl_functions
from pyd.build.bake.definition import Definition
from pyd.build.bake.hcl_parser import parse
from pyd.errors import InvalidArgument, NotSupported, PydError


def value(text: str, **names: Any) -> Any:
    """Of an expression."""
    body = parse(f"result = {text}\n".encode(), "f.hcl")
    definition = Definition([body], environ={}, given={}, constants=names)
    return definition._find("result")


EXPRESSIONS: dict[str, Any] = {
    "1 + 2 * 3": 7,
    "(1 + 2) * 3": 9,
    "7 / 2": "3.5",
    "7 % 4 - -1": 4,
    "1e3": 1000,
    "0.1 + 0.2": "0.3",
    '"${0.1 + 0.2}"': "0.3",
    "1 == 1.0 && 1 != 2": True,
    '1 == "1"': False,
    "!true || 2 >= 2": True,
    "[1, 2] == [1, 2]": True,
    "true ? 1 : 2": 1,
    "false ? 1 : true ? 2 : 3": 2,
    '{a = 1, b: 2, "c d" = 3, ("e${1}") = 4}': {"a": 1, "b": 2, "c d": 3, "e1": 4},
    "{\n a = 1\n b = 2 # two\n}": {"a": 1, "b": 2},
    "[\n 1, // one\n 2,\n]": [1, 2],
    "[1, 2, 3][1]": 2,
    '{a = [{b = "x"}]}.a[0].b': "x",
    '{a = [{b = "x"}]}["a"].0.b': "x",
    "[{n = 1}, {n = 2}][*].n": [1, 2],
    "[{n = 1}, {n = 2}].*.n": [1, 2],
    "[for x in [1, 2, 3]: x * 2 if x > 1]": [4, 6],
    '[for k, v in {b = 2, a = 1}: "${k}${v}"]': ["a1", "b2"],
    '{for i, x in ["a", "b"]: x => i}': {"a": 0, "b": 1},
    '{for x in ["ab", "ac"]: substr(x, 0, 1) => x...}': {"a": ["ab", "ac"]},
    "max([1, 5, 3]...)": 5,
    '"a${1}b${true}"': "a1btrue",
    '"${[1]}"': [1],
    '"$${x} %%{y} $x 100%"': "${x} %{y} $x 100%",
    r'"\"\\\n\t\u00e9\U0001F600"': '"\\\n\té😀',
    '"%{ if true }yes%{ else }no%{ endif }"': "yes",
    '"%{ if false }yes%{ endif }"': "",
    '"%{ for x in [1, 2] }${x},%{ endfor }"': "1,2,",
    '"a ${~ 1 ~} b"': "a1b",
    "<<EOT\na ${1 + 1}\n  b\nEOT": "a 2\n  b\n",
    "<<-EOT\n    a\n      b\n    ${1}\n  EOT": "a\n  b\n1\n",
    "a-b": 9,
    "null": None,
    "/* c */ 1": 1,
    "8 // 2": 8,
    "8 /* x */ / 2 # y": 4,
    "1 - 2 - 3": -4,
    "1 < 2 == true": True,
    "-name": -3,
    "try(1 / 0, nosuch(), 5)": 5,
    "can(1 / 0)": False,
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions(text: str) -> None:
    found = value(text, **{"a-b": 9, "name": 3})
    wanted = EXPRESSIONS[text]
    assert (str(found) if isinstance(wanted, str) and not isinstance(found, list) else found) == wanted
    assert isinstance(found, bool) == isinstance(wanted, bool)


FUNCTIONS: dict[str, Any] = {
    "absolute(-3)": 3,
    "add(1, 2)": 3,
    "and(true, false)": False,
    'base64decode(base64encode("é"))': "é",
    'basename("/a/b.c")': "b.c",
    'byteslen("é")': 2,
    "ceil(1.1)": 2,
    'chomp("a\\n\\n")': "a",
    "chunklist([1, 2, 3], 2)": [[1, 2], [3]],
    'cidrhost("10.0.0.0/8", 5)': "10.0.0.5",
    'cidrnetmask("10.0.0.0/20")': "255.255.240.0",
    'cidrsubnet("10.0.0.0/8", 8, 2)': "10.2.0.0/16",
    'coalesce(null, "", "a")': "a",
    "coalescelist([], [1])": [1],
    'compact(["a", "", null])': ["a"],
    "concat([1], [2, 3])": [1, 2, 3],
    'contains(["a"], "a")': True,
    'csvdecode("a,b\\n1,2")': [{"a": "1", "b": "2"}],
    'dirname("/a/b")': "/a",
    "distinct([1, 1, 2])": [1, 2],
    "divide(6, 3)": 2,
    "element([1, 2, 3], 4)": 2,
    'equal("a", "a")': True,
    "flatten([1, [2, [3]]])": [1, 2, 3],
    "floor(1.9)": 1,
    'format("%s-%03d-%.2f-%q-%v-%%", "a", 7, 1.5, "q", true)': 'a-007-1.50-"q"-true-%',
    'format("%[2]s%[1]s|%5s|%-5s|", "a", "b", "c")': "ba|    b|c    |",
    'formatdate("YYYY-MM-DD\'T\'hh:mm:ssZ", "2024-01-02T03:04:05Z")': "2024-01-02T03:04:05Z",
    'formatdate("EEE, D MMM YY", "2024-01-02T03:04:05Z")': "Tue, 2 Jan 24",
    'formatlist("%s:%s", "a", ["1", "2"])': ["a:1", "a:2"],
    "greaterthan(2, 1)": True,
    "hasindex([1], 1)": False,
    'indent(2, "a\\nb")': "a\n  b",
    'index({a = 1}, "a")': 1,
    'indexof(["a", "b"], "b")': 1,
    "int(1.7)": 1,
    'join("-", ["a", "b"])': "a-b",
    'jsondecode("{\\"a\\": [1.5, null]}").a[1]': None,
    'jsonencode({b = 1, a = [true, "<"]})': '{"a":[true,"\\u003c"],"b":1}',
    "keys({b = 1, a = 2})": ["a", "b"],
    "length([1, 2])": 2,
    "lessthanorequalto(1, 1)": True,
    'lookup({a = 1}, "b", 2)': 2,
    'lower("ABC")': "abc",
    'md5("a")': "0cc175b9c0f1b6a831c399e269772661",
    "merge({a = 1}, {a = 2, b = 3})": {"a": 2, "b": 3},
    "min(2, 1)": 1,
    "modulo(7, 4)": 3,
    "multiply(2, 3)": 6,
    "negate(1)": -1,
    "not(true)": False,
    'notequal("a", "b")': True,
    "or(true, false)": True,
    'parseint("ff", 16)': 255,
    "pow(2, 10)": 1024,
    "range(3)": [0, 1, 2],
    "range(5, 1, -2)": [5, 3],
    'regex("[a-z]+", "12ab")': "ab",
    'regex("(\\\\d)(\\\\w)", "1a")': ["1", "a"],
    'regexall("\\\\d", "1a2")': ["1", "2"],
    'regex_replace("v1.2", "v(\\\\d+)", "${BR}x$1")': "x1.2",
    'replace("a.b.c", ".", "-")': "a-b-c",
    'reverse("abc")': "cba",
    "reverselist([1, 2])": [2, 1],
    'sanitize("a.b/c")': "a_b_c",
    'setintersection(["a", "b"], ["b"])': ["b"],
    'setproduct(["a"], ["b", "c"])': [["a", "b"], ["a", "c"]],
    'setsubtract(["a", "b"], ["b"])': ["a"],
    'setsymmetricdifference(["a", "b"], ["b", "c"])': ["a", "c"],
    'setunion(["b"], ["a"])': ["a", "b"],
    'sha1("a")': "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8",
    'strlen(sha256("a"))': 64,
    'strlen(sha512("a"))': 128,
    "signum(-5)": -1,
    "slice([1, 2, 3], 1, 2)": [2],
    'sort(["b", "a"])': ["a", "b"],
    'split(",", "a,b")': ["a", "b"],
    'strlen("é")': 1,
    'substr("hello", 1, 3)': "ell",
    'substr("hello", -2, -1)': "lo",
    "subtract(3, 1)": 2,
    'timeadd("2024-01-01T00:00:00Z", "1h30m")': "2024-01-01T01:30:00Z",
    'title("hello world")': "Hello World",
    'trim("xxaxx", "x")': "a",
    'trimprefix("ab", "a")': "b",
    'trimspace(" a ")': "a",
    'trimsuffix("ab", "b")': "a",
    'upper("abc")': "ABC",
    'urlencode("a b&c")': "a+b%26c",
    "values({b = 1, a = 2})": [2, 1],
    'zipmap(["a"], [1])': {"a": 1},
    "strlen(timestamp())": 20,
    "strlen(uuidv4())": 36,
    "log(8, 2)": 3,
    "sethaselement([1], 2)": False,
    "greaterthanorequalto(1, 2)": False,
    "lessthan(1, 2)": True,
}


@pytest.mark.parametrize("text", FUNCTIONS)
def test_functions(text: str) -> None:
    assert value(text, BR="") == FUNCTIONS[text]


def test_every_function_is_tried() -> None:
    tried = {text.partition("(")[0] for text in FUNCTIONS} | {
        "sha256",
        "sha512",
        "timestamp",
        "uuidv4",
        "max",
    }
    tried |= {"base64encode"}
    assert set(hcl_functions.FUNCTIONS) <= tried, set(hcl_functions.FUNCTIONS) - tried


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "f.hcl:1:12: division by zero"),
        ("nosuch", 'f.hcl:1:10: undefined variable "nosuch"'),
        ("[1][5]", "there is no element 5 in a list of 1"),
        ("{a = 1}.b", 'does not have an attribute named "b"'),
        ('"a" + 1', "a number is needed"),
        ('"x${null}"', "a template cannot hold null"),
        ('"x${[1]}"', "a string is needed, not a list"),
        ("[1] ? 1 : 2", "a bool is needed, not a list"),
        ("upper()", "upper takes 1 arguments, not 0"),
        ("upper(1, 2)", "upper takes 1 arguments, not 2"),
        ("range(1, 10, -1)", "the step leads nowhere"),
        ("range(100000000)", "more than 1024 elements"),
        ('regex("(", "a")', "invalid regular expression"),
        ('format("%s")', "not enough arguments"),
        ('format("x", 1)', "too many arguments"),
        ('jsondecode("{")', "Expecting"),
        ('timeadd("yesterday", "1h")', "not a valid RFC3339 timestamp"),
        ('{for x in [1, 1]: "a" => x}', "two values for the key"),
        ("sort([{}])", "a string is needed, not a map"),
        ("1e999999999", "not a number that can be worked with"),
        ("pow(10, 308) * pow(10, 308)", "not a number that can be worked with"),
        ("[for a in range(1000): [for b in range(1000): b]]", "this takes too long"),
        (
            'join("", [for a in range(1000): join("", [for b in range(50): indent(1000, "\\n")])])',
            "a string of more than",
        ),
    ],
)
def test_errors_of_values(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        value(text)
    assert message in caught.value.message


def test_functions_that_are_missing() -> None:
    with pytest.raises(NotSupported, match="the function bcrypt of bake files is not supported"):
        value('bcrypt("x")')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = ", "f.hcl:1:5: expected an expression"),
        ("a = 1 2", "f.hcl:1:7: expected the end of the line"),
        ("a = 1\na = 2", "f.hcl:2:1: the attribute 'a' was already set at f.hcl:1:1"),
        ('a = "x', "unterminated string"),
        ('a = "x\ny"', "unterminated string"),
        ('a = "${1"', "expected '}'"),
        ("a = [1, 2", "expected ']'"),
        ("a = {b = 1 c = 2}", "expected a comma, a line end or `}`"),
        ("a = <<EOT\nx", "there is no line EOT"),
        ("t {", "expected an attribute or a block"),
        ('t "a${1}" {}', "must not hold"),
        ("= 1", "expected an attribute or a block"),
        (r'a = "\q"', "invalid escape \\q"),
        ('a = "%{ if true }"', "without %{ endif }"),
        ('a = "%{ endif }"', "unexpected template directive 'endif'"),
        ('a = "%{ what }"', "unknown template directive 'what'"),
        ("a = f(1", "expected ')'"),
        ("a = [for x in]", "expected an expression"),
        ("a = x.", "expected a name behind the dot"),
        ("a = " + "[" * 5000, "too deeply nested"),
        ("a = " + "-" * 50000 + "1", "too deeply nested"),
        ("a" * 10 + "\0 = 1", "expected"),
    ],
)
def test_errors_of_the_text(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text.encode(), "f.hcl")
    assert message in caught.value.message


def test_not_utf8() -> None:
    with pytest.raises(InvalidArgument, match="not UTF-8"):
        parse(b"a = \xff", "f.hcl")


PIECES = [
    "a",
    "=",
    '"',
    "${",
    "}",
    "{",
    "[",
    "]",
    "(",
    ")",
    "\n",
    "<<E\n",
    "E\n",
    "1",
    ".",
    "*",
    "~",
    "%{if ",
    "#",
    " ",
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([*PIECES, "for x in ", "target ", "=> ", "?", ":", ",", "\\", "é", "endif", "else"]),
        max_size=40,
    )
)
def test_no_text_is_more_than_an_error(pieces: list[str]) -> None:
    text = "".join(pieces)
    start = time.monotonic()
    try:
        body = parse(text.encode(), "f")
        Definition([body], environ={}, given={}, constants={}).check()
    except PydError:
        pass
    assert time.monotonic() - start < 5


def test_large_files_take_linear_time() -> None:
    text = "".join(
        f'target "t{index}" {{\n  args = {{ a = "${{x}}-{index}" }}\n}}\n' for index in range(1500)
    )
    start = time.monotonic()
    assert len(parse(text.encode(), "f").blocks) == 1500
    assert time.monotonic() - start < 10
