"""--format: the subset of Go's text/template."""

from __future__ import annotations

import pytest

from pyd.cli.template import Template, render
from pyd.errors import InvalidArgument, PydError

OBJECT: dict[str, object] = {
    "Name": "/web",
    "State": {"Status": "running", "Pid": 5, "Load": 1.5},
    "Config": {"Labels": {"a.b": "x", "c": "y"}, "Env": ["A=1", "B=2"], "Cmd": None},
    "Networks": {"bridge": {"Address": "1.2.3.4"}, "other": {"Address": "5.6.7.8"}},
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("{{.State.Status}} {{ .Name }}", "running /web"),
        ('{{index .Config.Labels "a.b"}}', "x"),
        ('{{index .Config.Labels "nosuch"}}', ""),
        ("{{index .Config.Env 1}}", "B=2"),
        ("{{.Config.Labels.nosuch}}", "<no value>"),
        ("{{.Config.Cmd}}", "<no value>"),
        ("{{.Config.Env}} {{.Config.Labels}}", "[A=1 B=2] map[a.b:x c:y]"),
        ("{{range .Config.Env}}[{{.}}]{{end}}", "[A=1][B=2]"),
        ("{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$e}}{{end}}", "A=1,B=2"),
        ("{{range $n, $v := .Networks}}{{$n}}={{$v.Address}};{{end}}", "bridge=1.2.3.4;other=5.6.7.8;"),
        ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
        ("{{range .Config.Env}}{{.}}{{break}}{{end}}", "A=1"),
        ("{{with .Config.Cmd}}x{{else}}none{{end}}{{with .Name}}<{{.}}>{{end}}", "none</web>"),
        ("{{if .Config.Cmd}}a{{else if .Name}}b{{else}}c{{end}}", "b"),
        ("{{if and .Name (not .Config.Cmd)}}yes{{end}}", "yes"),
        ("{{or .Config.Cmd .Name}}", "/web"),
        ('{{if eq .State.Status "exited" "running"}}yes{{end}}', "yes"),
        ("{{if and (ge .State.Pid 5) (lt .State.Pid 6) (ne .State.Pid 4)}}yes{{end}}", "yes"),
        ("{{$x := .State}}{{$x.Pid}}", "5"),
        ('{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}{{"s"}}{{`r`}}', "2sr"),
        ('{{.Name | upper | printf "%-6s|"}}', "/WEB  |"),
        (
            '{{printf "%d %s %q %v %5.1f%%" .State.Pid .Name .Name .State.Load .State.Load}}',
            '5 /web "/web" 1.5   1.5%',
        ),
        ('{{join .Config.Env ","}} {{len .Config.Env}} {{len .Name}}', "A=1,B=2 2 4"),
        ("{{json .Config}}", '{"Labels":{"a.b":"x","c":"y"},"Env":["A=1","B=2"],"Cmd":null}'),
        ('{{json "<é>"}}', '"<é>"'),
        ("{{lower `AB`}} {{title `ab cd`}} {{truncate `abcdef` 3}} {{pad `x` 1 2}}|", "ab Ab Cd abc  x  |"),
        ('{{index (split "a:b:c" ":") 1}} {{slice "abcdef" 1 3}}', "b bc"),
        ("{{println 1 2}}{{print 1 2 `x` 3}}", "1 2\n1 2x3"),
        ("a {{- 1 -}} b", "a1b"),
        ("{{/* note }} */}}x{{`}}`}}", "x}}"),
        ("{{true}} {{nil | printf `%v`}} {{0x10}} {{-3}}", "true <nil> 16 -3"),
        ("{{(index .Networks `bridge`).Address}}", "1.2.3.4"),
    ],
)
def test_renders_as_go(template: str, expected: str) -> None:
    assert render(template, OBJECT) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Nosuch}}", 'map has no entry for key "Nosuch"'),
        ("{{.State.Nosuch}}", 'map has no entry for key "Nosuch"'),
        ("{{.Config.Cmd.X}}", "nil pointer evaluating"),
        ("{{.Name.X}}", "can't evaluate field X in type string"),
        ("{{nosuch}}", 'function "nosuch" not defined'),
        ("{{.Name", "unclosed action"),
        ('{{"x}}', "unterminated quoted string"),
        ("{{if .Name}}x", "unexpected EOF"),
        ("{{end}}", "unexpected"),
        ("{{}}", "missing value for command"),
        ("{{(.Name}}", "unclosed left paren"),
        ("{{$x}}", "undefined variable"),
        ("{{index .Config.Env 7}}", "index out of range: 7"),
        ("{{.Name .Name}}", "can't give argument to non-function"),
        ("{{lt .Name 3}}", "error calling lt"),
        ("{{range .State.Load}}{{end}}", "range can't iterate"),
        ("{{template `x`}}", "not supported"),
        ("{{#}}", "unexpected '#'"),
    ],
)
def test_mistakes_are_named(template: str, message: str) -> None:
    with pytest.raises(PydError) as caught:
        render(template, OBJECT)
    assert message in str(caught.value)


def test_parsed_once_rendered_often() -> None:
    template = Template("{{range .L}}{{.}}{{end}}")
    assert [template.render({"L": list(range(n))}) for n in range(3)] == ["", "0", "01"]


def test_depth_and_junk_end_in_an_error() -> None:
    for text in ("{{" * 50, "{{if 1}}" * 50, "{{((((}}", "{{|}}", "{{.a.}}", "{{1 := 2}}"):
        with pytest.raises(InvalidArgument):
            render(text, {})
