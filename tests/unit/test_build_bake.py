"""Bake files: what buildx's documentation says that they give."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyd.build import bake
from pyd.build.bake import Plan
from pyd.errors import Forbidden, InvalidArgument, NotFound, NotSupported, PydError

Baked = Callable[..., Plan]


@pytest.fixture
def baked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Baked:
    """`baked(hcl, *targets, sets=[…], env={…}, files={name: text})`"""
    monkeypatch.chdir(tmp_path)

    def baked(
        text: str = "",
        *targets: str,
        sets: list[str] | None = None,
        env: dict[str, str] | None = None,
        name: str = "docker-bake.hcl",
        files: dict[str, str] | None = None,
        **options: Any,
    ) -> Plan:
        given = {name: text, **(files or {})} if text else files or {}
        for each, content in given.items():
            Path(each).write_text(content)
        return bake.read(list(given), sets or [], targets, env or {}, **options)

    return baked


def shown(plan: Plan) -> Any:
    """By way of JSON, as --print has it."""
    return json.loads(json.dumps(plan.document()))


REFERENCE = """
group "default" {
  targets = ["db", "webapp-dev"]
}

target "webapp-dev" {
  dockerfile = "Dockerfile.webapp"
  tags = ["docker.io/username/webapp"]
}

target "webapp-release" {
  inherits = ["webapp-dev"]
  platforms = ["linux/amd64", "linux/arm64"]
}

target "db" {
  dockerfile = "Dockerfile.db"
  tags = ["docker.io/username/db"]
}
"""
WEBAPP = {"context": ".", "dockerfile": "Dockerfile.webapp", "tags": ["docker.io/username/webapp"]}
DB = {"context": ".", "dockerfile": "Dockerfile.db", "tags": ["docker.io/username/db"]}


def test_reference(baked: Baked) -> None:
    assert shown(baked(REFERENCE)) == {
        "group": {"default": {"targets": ["db", "webapp-dev"]}},
        "target": {"webapp-dev": WEBAPP, "db": DB},
    }
    assert shown(baked(REFERENCE, "webapp-release")) == {
        "group": {"default": {"targets": ["webapp-release"]}},
        "target": {"webapp-release": WEBAPP | {"platforms": ["linux/amd64", "linux/arm64"]}},
    }
    assert list(baked(REFERENCE, "webapp-*").targets) == ["webapp-dev", "webapp-release"]
    with pytest.raises(NotFound, match="failed to find target none"):
        baked(REFERENCE, "none")
    with pytest.raises(InvalidArgument, match="could not find any target matching 'x\\*'"):
        baked(REFERENCE, "x*")


def test_the_same_in_json(baked: Baked) -> None:
    text = json.dumps(
        {
            "variable": {"TAG": {"default": "latest"}},
            "group": {"default": {"targets": ["db"]}},
            "target": {
                "webapp": {"tags": ["user/webapp:${TAG}"], "args": {"a": 1, "b": True, "c": None}},
                "db": {"inherits": ["webapp"], "dockerfile": "D"},
            },
        }
    )
    assert shown(baked(text, name="docker-bake.json", env={"TAG": "v1"}))["target"]["db"] == {
        "context": ".",
        "dockerfile": "D",
        "args": {"a": "1", "b": "true"},
        "tags": ["user/webapp:v1"],
    }


def test_what_is_printed_can_be_read(baked: Baked) -> None:
    text = (
        'target "default" {\n args = { a = "$${NOT}", b = "%%{ if }" }\n output = ["type=local,dest=x", "y"]'
        "\n"
        ' secret = ["id=a,src=b"]\n ssh = [{id = "default"}]\n cache-to = ["type=inline"]\n'
        ' attest = ["type=sbom"]\n labels = {"a.b" = 1.50}\n pull = true\n}'
    )
    first = shown(baked(text))
    assert first["target"]["default"]["args"] == {"a": "$${NOT}", "b": "%%{ if }"}
    assert first["target"]["default"]["output"] == [
        {"dest": "x", "type": "local"},
        {"dest": "y", "type": "local"},
    ]
    assert first["target"]["default"]["labels"] == {"a.b": "1.5"}
    assert shown(baked(json.dumps(first), name="docker-bake.json")) == first


def args(plan: Plan, name: str = "default") -> dict[str, str]:
    found = plan.targets[name].args
    assert found is not None
    return {key: value for key, value in found.items() if value is not None}


def test_variables(baked: Baked) -> None:
    text = """
variable "TAG" { default = "latest" }
variable "N" { default = 3 }
variable "IS" { default = true }
variable "LIST" { default = ["a"] }
variable "EMPTY" {}
variable "NULL" { default = null }
variable "TYPED" { type = string }
variable "LATER" { default = upper("${BASE}def") }
variable "BASE" { default = "abc" }
FIXED = "fixed-${TAG}"
target "default" {
  args = {
    tag = TAG, higher = N > 5 ? "yes" : "no"
    is = IS, list = join("+", LIST), empty = "(${EMPTY})"
    null = NULL
    typed = equal(TYPED, null), later = LATER
    fixed = FIXED
  }
}
"""
    assert args(baked(text)) == {
        "tag": "latest", "higher": "no", "is": "true", "list": "a", "empty": "()", "typed": "true",
        "later": "ABCDEF", "fixed": "fixed-latest",
    }  # fmt: skip
    env = {
        "TAG": "v2",
        "N": "5.1",
        "IS": "0",
        "LIST": "x,y",
        "NULL": "n",
        "BASE": "new",
        "FIXED": "no",
        "TYPED": "",
    }
    assert args(baked(text, env=env)) == {
        "tag": "v2", "higher": "yes", "is": "false", "list": "x+y", "empty": "()", "null": "n",
        "typed": "false", "later": "NEWDEF", "fixed": "fixed-v2",
    }  # fmt: skip
    assert args(baked(text, env={"TAG": "env"}, variables={"TAG": "flag"}))["tag"] == "flag"
    assert args(baked(text, env={"LIST_JSON": '["q"]'}))["list"] == "q"
    assert args(baked(text, env={"TAG": "x", "BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP": "1"}))["tag"] == "latest"
    for env, message in (
        ({"N": "NaN"}, "failed to parse N as number"),
        ({"IS": "maybe"}, "failed to parse IS as bool"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            baked(text, env=env)


def test_types_and_validation(baked: Baked) -> None:
    text = """
variable "PORT" {
  type = number
  default = "80"
  description = "where it listens"
  validation {
    condition = PORT > 0 && PORT < 65536
    error_message = "PORT must be from 1 to 65535, not ${PORT}."
  }
}
variable "NAMES" {
  type = list(string)
  default = ["a", 1]
}
variable "ITEM" {
  type = object({name = string, count = optional(number)})
  default = { name = "x" }
}
target "default" { args = { port = PORT + 1, names = join(",", NAMES), item = ITEM.name } }
"""
    assert args(baked(text)) == {"port": "81", "names": "a,1", "item": "x"}
    assert args(baked(text, env={"NAMES": "x,y", "ITEM_JSON": '{"name": "j"}'})) == {
        "port": "81", "names": "x,y", "item": "j",
    }  # fmt: skip
    with pytest.raises(
        InvalidArgument, match=r"docker-bake.hcl:7:.*PORT must be from 1 to 65535, not 70000\."
    ):
        baked(text, env={"PORT": "70000"})
    for wrong in ("list(number)", "tuple([string])", "wrong", "object({other = string})"):
        with pytest.raises(InvalidArgument):
            baked(f'variable "X" {{\n type = {wrong}\n default = ["a", "b"]\n}}\ntarget "default" {{}}')
    found = bake.load(["docker-bake.hcl"], {}) if Path("docker-bake.hcl").write_text(text) else None
    assert found is not None
    assert [(each.name, each.value, each.description) for each in found.variables][2] == (
        "PORT", 80, "where it listens",
    )  # fmt: skip


def test_cycles(baked: Baked) -> None:
    for text in (
        'variable "A" { default = B }\nvariable "B" { default = A }',
        "A = B\nB = A",
        'target "default" { context = target.default.context }',
        'target "default" { context = target.x.dockerfile }\n'
        'target "x" { dockerfile = target.default.context }',
        'function "f" {\n params = [x]\n result = f(x)\n}\nA = f(1)',
    ):
        with pytest.raises(InvalidArgument, match="cycle not allowed"):
            baked(text + '\ntarget "default" {}' if "default" not in text else text)


def test_functions_of_files(baked: Baked) -> None:
    text = """
variable "REPO" { default = "user/repo" }
function "tag" {
  params = [tag]
  result = ["${REPO}:${tag}"]
}
function "increment" {
  params = [number]
  result = number + 1
}
function "all" {
  params = [first]
  variadic_params = rest
  result = "${first}:${join("-", rest)}"
}
target "default" {
  tags = tag("v1")
  args = { n = increment(123), all = all("a", "b", "c"), none = all("a") }
}
"""
    found = baked(text).targets["default"]
    assert found.tags == ("user/repo:v1",)
    assert found.args == {"n": "124", "all": "a:b-c", "none": "a:"}
    with pytest.raises(InvalidArgument, match="increment takes 1 arguments, not 2"):
        baked(text + 'target "x" { args = { a = increment(1, 2) } }')
    with pytest.raises(InvalidArgument, match='undefined function "nosuch"'):
        baked('target "default" { context = nosuch(1) }')


def test_attributes_of_other_targets(baked: Baked) -> None:
    text = """
target "foo" {
  dockerfile = "xxx"
  context = target.bar.context
  target = target.foo.dockerfile
}
target "bar" {
  dockerfile = target.foo.dockerfile
  context = "yyy"
  target = target.bar.name
}
x = target.foo.dockerfile
target "default" { target = target.foo.network, context = x }
""".replace("target.foo.network, context = x", "target.foo.network\n  context = x")
    plan = baked(text, "foo", "bar", "default")
    assert [(each.dockerfile, each.context, each.target) for each in plan.targets.values()] == [
        ("xxx", "yyy", "xxx"),
        ("xxx", "yyy", "bar"),
        ("Dockerfile", "xxx", None),
    ]


def test_matrix(baked: Baked) -> None:
    text = """
target "app" {
  name = "app-${tgt}-${replace(version, ".", "-")}"
  matrix = {
    tgt = ["lint", "build"]
    version = ["1.20", "1.21"]
  }
  args = { GO_VERSION = version }
  target = tgt
}
target "items" {
  name = item.name
  matrix = { item = [{ name = "a", port = 1 }, { name = "b", port = 2 }] }
  args = { port = item.port }
}
group "default" { targets = ["app", "items"] }
"""
    plan = baked(text)
    assert list(plan.targets) == [
        "app-lint-1-20",
        "app-lint-1-21",
        "app-build-1-20",
        "app-build-1-21",
        "a",
        "b",
    ]
    assert args(plan, "app-build-1-21") == {"GO_VERSION": "1.21"} and args(plan, "b") == {"port": "2"}
    assert plan.groups["app"].targets == (
        "app-lint-1-20",
        "app-lint-1-21",
        "app-build-1-20",
        "app-build-1-21",
    )
    for wrong, message in {
        'name = "x"': "name requires matrix",
        "matrix = 1": "matrix must be a map",
        "matrix = {a = 1}": "matrix values must be a list",
        'matrix = {a = ["x y"]}\n name = a': "invalid name 'x y'",
        'matrix = {a = range(200), b = range(200)}\n name = "x-${a}-${b}"': "a matrix of more than 10000",
    }.items():
        with pytest.raises(InvalidArgument, match=message):
            baked(f'target "default" {{\n {wrong}\n}}')
    with pytest.raises(InvalidArgument, match="matrix is not supported for groups"):
        baked('group "default" {\n targets = []\n matrix = {}\n}')


def test_inheritance(baked: Baked) -> None:
    """Later bases come before earlier ones, the target's own values before all; lists replace or add."""
    text = """
target "a" {
  args = { one = "a", two = "a", gone = "x" }
  tags = ["a"]
  cache-from = ["user/a"]
  annotations = ["x=1"]
  platforms = ["linux/arm64"]
  secret = ["id=a"]
}
target "b" {
  args = { two = "b" }
  tags = ["b"]
  cache-from = ["type=local,src=b"]
  annotations = ["y=2"]
  secret = ["id=b,env=B"]
}
target "default" {
  inherits = ["a", "b"]
  args = { three = "c", gone = null }
  annotations = ["x=1"]
}
target "round" { inherits = ["trip"] }
target "trip" { inherits = ["round"] }
"""
    found = shown(baked(text))["target"]["default"]
    assert found == {
        "annotations": ["x=1", "y=2"],
        "context": ".",
        "dockerfile": "Dockerfile",
        "args": {"gone": "x", "one": "a", "three": "c", "two": "b"},
        "tags": ["b"],
        "cache-from": [{"ref": "user/a", "type": "registry"}, {"src": "b", "type": "local"}],
        "secret": [{"id": "a"}, {"id": "b", "env": "B"}],
        "platforms": ["linux/arm64"],
    }
    assert shown(baked(text, "round"))["target"]["round"] == {"context": ".", "dockerfile": "Dockerfile"}


def test_several_files(baked: Baked) -> None:
    """Targets of one name are one, the later file's values count; variables are those of all."""
    files = {
        "a.hcl": 'variable "X" { default = "1" }\n'
        'target "default" {\n tags = ["a"]\n args = { v1 = "pre-${X}" }\n}',
        "b.json": '{"target": {"default": {"tags": ["b"], "args": {"v2": "${X}-post"}}}}',
    }
    assert shown(baked(files=files, env={"X": "9"}))["target"]["default"] == {
        "context": ".",
        "dockerfile": "Dockerfile",
        "args": {"v1": "pre-9", "v2": "9-post"},
        "tags": ["b"],
    }


def test_default_files(baked: Baked, tmp_path: Path) -> None:
    assert bake.default_files({}) == []
    with pytest.raises(NotFound, match="couldn't find a bake definition"):
        bake.read(environ={})
    (tmp_path / "docker-bake.override.hcl").write_text('target "default" { tags = ["o"] }')
    (tmp_path / "docker-bake.hcl").write_text('target "default" { tags = ["h"] }')
    (tmp_path / "compose.yaml").write_text("services: {default: {build: ., image: c}}")
    assert bake.default_files({}) == ["compose.yaml", "docker-bake.hcl", "docker-bake.override.hcl"]
    assert bake.read(environ={}).targets["default"].tags == ("o",)
    assert bake.default_files({"BUILDX_BAKE_FILE": "x.hcl:y.hcl"}) == ["x.hcl", "y.hcl"]
    assert bake.read(["-"], environ={}, stdin=io.BytesIO(b'target "default" {}')).targets
    assert bake.read(["-"], environ={}, stdin=io.BytesIO(b"services: {default: {build: .}}")).targets
    with pytest.raises(NotFound, match=r"open nosuch\.hcl: no such file or directory"):
        bake.read(["nosuch.hcl"], environ={})


SETS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "argument": (["*.args.a=2"], {"args": {"a": "2"}}),
    "argument of the environment": (["app.args.a"], {"args": {"a": "env"}}),
    "argument that the environment has not": (["app.args.b"], {}),
    "context": (["app.context=dir"], {"context": "dir"}),
    "platforms": (
        ["app.platform=linux/arm64", "app.platform=linux/s390x"],
        {"platforms": ["linux/arm64", "linux/s390x"]},
    ),
    "tags": (["app.tags=x"], {"tags": ["x"]}),
    "tags added": (["app.tags+=x"], {"tags": ["t", "x"]}),
    "tags removed": (["app.tags="], {"tags": None}),
    "output": (["app.output=type=registry"], {"output": [{"type": "registry"}]}),
    "output added": (["app.output+=-"], {"output": [{"type": "docker"}, {"dest": "-", "type": "tar"}]}),
    "no cache": (["app.no-cache=true"], {"no-cache": True}),
    "push": (["app.push=true"], {"output": [{"type": "docker"}, {"push": "true", "type": "image"}]}),
    "load": (["app.load=true"], {}),
    "push of an image": (
        ["app.push=true", "app.output=type=image,name=x"],
        {"output": [{"name": "x", "push": "true", "type": "image"}]},
    ),
    "no push": (["app.output=type=registry", "app.push=false"], {"output": None}),
    "labels": (["app.labels.l=1"], {"labels": {"l": "1"}}),
    "contexts": (["app.contexts.base=docker-image://a"], {"contexts": {"base": "docker-image://a"}}),
    "secrets": (["app.secrets=id=s,type=env,src=S"], {"secret": [{"id": "s", "env": "S"}]}),
    "ssh": (["app.ssh=default"], {"ssh": [{"id": "default"}]}),
    "network": (["app.network=host"], {"network": "host", "entitlements": ["network.host"]}),
    "hosts": (["app.extra-hosts.h=::1"], {"extra-hosts": {"h": "::1"}}),
    "by pattern": (["a*.target=t"], {"target": "t"}),
}


@pytest.mark.parametrize("name", SETS)
def test_set(baked: Baked, name: str) -> None:
    sets, changes = SETS[name]
    text = 'target "app" {\n args = { a = "1" }\n tags = ["t"]\n output = ["type=docker"]\n}'
    base = {
        "context": ".",
        "dockerfile": "Dockerfile",
        "args": {"a": "1"},
        "tags": ["t"],
        "output": [{"type": "docker"}],
    }
    wanted = {key: value for key, value in (base | changes).items() if value is not None}
    assert shown(baked(text, "app", sets=sets, env={"a": "env"}))["target"]["app"] == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "invalid override key x, expected target.name"),
        ("app.tags", "expected target.name=value"),
        ("app.args=1", "args requires name"),
        ("app.nosuch=1", "unknown key: nosuch"),
        ("none.tags=1", "could not find any target matching 'none'"),
        ("app.no-cache=perhaps", "invalid value perhaps for boolean key no-cache"),
        ("app.tags.x=1", "unknown key: tags.x"),
    ],
)
def test_set_badly(baked: Baked, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        baked('target "app" {}', "app", sets=[text])


def test_linked_targets(baked: Baked) -> None:
    text = """
target "base" {
  dockerfile = "base.Dockerfile"
  platforms = ["linux/amd64", "linux/arm64"]
  network = "host"
}
target "app" {
  contexts = { base = "target:base", other = "docker-image://x" }
  platforms = ["linux/amd64", "linux/arm64"]
}
"""
    plan = baked(text, "app")
    assert plan.targets["base"].linked and not plan.targets["app"].linked
    assert shown(plan)["target"]["base"]["output"] == [{"type": "cacheonly"}]
    assert [target.name for target in plan.order()] == ["base", "app"]
    assert plan.entitlements() == ["network.host"] and plan.targets["app"].links == {"base": "base"}
    request = plan.targets["app"].request(allow=["network.host"], links={"base": "docker-image://made"})
    assert request.build_contexts == {"base": "docker-image://made", "other": "docker-image://x"}
    with pytest.raises(InvalidArgument, match="needs target base, which was not built"):
        plan.targets["app"].request(allow=["network.host"])
    with pytest.raises(Forbidden, match=r"target app wants the entitlement network\.host"):
        plan.targets["app"].request()
    assert not baked(text, "app", "base").targets["base"].linked
    for wrong, message in {
        'target "app" { contexts = { a = "target:app" } }': "cannot link to itself",
        'target "app" { contexts = { a = "target:b" } }\n'
        'target "b" { contexts = { c = "target:app" } }': "infinite loop",
        'target "app" { contexts = { a = "target:none" } }': "failed to find target none",
        text.replace(
            '["linux/amd64", "linux/arm64"]\n  network', '["linux/amd64", "linux/386"]\n  network'
        ): "not a subset",
    }.items():
        with pytest.raises(PydError, match=message):
            baked(wrong, "app")


def test_requests(baked: Baked) -> None:
    text = """
target "default" {
  context = "./dir"
  dockerfile = "sub/D"
  args = { A = "1", B = null }
  labels = { l = "v" }
  tags = ["t:1"]
  target = "stage"
  platforms = ["linux/amd64"]
  no-cache = true
  no-cache-filter = ["x"]
  pull = true
  cache-from = ["type=registry,ref=r"]
  cache-to = [{ type = "local", dest = "d" }]
  secret = [{ id = "s", src = "f" }]
  ssh = ["default", { id = "k", paths = ["a", "b"] }]
  output = ["type=local,\\"dest=a,b\\""]
  attest = ["type=sbom", { type = "provenance", mode = "max" }]
  annotations = ["k=v"]
  contexts = { src = "../x", img = "docker-image://a" }
  network = "none"
  extra-hosts = { h = "1.2.3.4" }
  shm-size = "64m"
  ulimits = ["nofile=1:2"]
  call = "check"
}
target "inline" { dockerfile-inline = "FROM scratch\\n" }
target "remote" {
  context = "https://h/x.git#main"
  dockerfile = "other"
}
target "cwd" {
  context = "${BAKE_CMD_CONTEXT}"
  dockerfile = "cwd://D"
}
target "stdin" { context = "-" }
"""
    plan = baked(text, "default", "inline", "remote", "cwd")
    request = plan.targets["default"].request()
    assert (request.context, request.dockerfile) == ("dir", "dir/sub/D")
    assert request.build_args == {"A": "1"} and request.labels == {"l": "v"}
    assert (request.tags, request.target, request.platforms) == (("t:1",), "stage", ("linux/amd64",))
    assert (request.no_cache, request.no_cache_filter, request.pull) == (True, ("x",), True)
    assert (request.cache_from, request.cache_to) == (("type=registry,ref=r",), ("type=local,dest=d",))
    assert (request.secrets, request.ssh) == (("id=s,src=f",), ("default", "k=a,b"))
    assert request.outputs == ('type=local,"dest=a,b"',)
    assert request.attests == ("type=sbom", "type=provenance,mode=max")
    assert (request.annotations, request.network) == (("k=v",), "none")
    assert request.build_contexts == {"src": "../x", "img": "docker-image://a"}
    assert (request.add_hosts, request.shm_size, request.ulimits) == (
        ("h=1.2.3.4",),
        64 << 20,
        ("nofile=1:2",),
    )
    assert plan.targets["default"].call == "check"
    assert plan.targets["inline"].request().text == b"FROM scratch\n"
    remote = plan.targets["remote"].request()
    assert (remote.context, remote.dockerfile) == ("https://h/x.git#main", "other")
    cwd = plan.targets["cwd"].request()
    assert (cwd.context, cwd.dockerfile) == (".", str(Path.cwd() / "D"))
    with pytest.raises(InvalidArgument, match="context from stdin not allowed in bake"):
        baked(text, "stdin").targets["stdin"].request()


COMPOSE = """
services:
  webapp:
    image: ${REGISTRY:-docker.io}/webapp:$TAG
    build:
      context: ./dir
      dockerfile: Dockerfile-alternate
      args:
        buildno: 123
        flag: no
        version: 1.10
        octal: 010
        from_service: null
        from_env:
      labels: [a=b, c]
      cache_from: [user/app:cache]
      cache_to: [type=inline]
      additional_contexts:
        base: service:my.db
      ssh: [default, key=/k]
      secrets: [tok, {source: env_tok}]
      extra_hosts: {h: 1.2.3.4}
      ulimits: {nproc: 65535, nofile: {soft: 1, hard: 2}}
      shm_size: 2gb
      network: none
      no_cache: true
      target: final
      platforms: [linux/amd64]
      sbom: true
      provenance: mode=max
      x-bake:
        tags: [other:1]
        output: type=docker
        no-cache-filter: stage
        contexts: {extra: ./extra}
    environment:
      from_service: service
    ports: ["80:80"]
  my.db:
    build: ./db
    image: db
  child:
    extends: my.db
    build: {target: t}
  none:
    image: nothing
secrets:
  tok: {file: ./token}
  env_tok: {environment: TOKEN}
"""


def test_compose(baked: Baked) -> None:
    env = {"TAG": "v1", "from_env": "env"}
    plan = baked(COMPOSE, name="compose.yaml", env=env)
    assert plan.groups["default"].targets == ("webapp", "my_db", "child")
    assert shown(plan)["target"]["webapp"] == {
        "attest": [{"mode": "max", "type": "provenance"}, {"type": "sbom"}],
        "context": "./dir",
        "contexts": {"base": "target:my_db", "extra": "./extra"},
        "dockerfile": "Dockerfile-alternate",
        "args": {
            "buildno": "123", "flag": "no", "version": "1.10", "octal": "10",
            "from_service": "service", "from_env": "env",
        },
        "labels": {"a": "b", "c": ""},
        "tags": ["other:1"],
        "cache-from": [{"ref": "user/app:cache", "type": "registry"}],
        "cache-to": [{"type": "inline"}],
        "target": "final",
        "secret": [{"id": "tok", "src": "./token"}, {"id": "env_tok", "env": "TOKEN"}],
        "ssh": [{"id": "default"}, {"id": "key", "paths": ["/k"]}],
        "platforms": ["linux/amd64"],
        "output": [{"type": "docker"}],
        "no-cache": True,
        "network": "none",
        "no-cache-filter": ["stage"],
        "shm-size": "2gb",
        "ulimits": ["nproc=65535:65535", "nofile=1:2"],
        "extra-hosts": {"h": "1.2.3.4"},
    }  # fmt: skip
    assert shown(plan)["target"]["my_db"] == {"context": "./db", "dockerfile": "Dockerfile", "tags": ["db"]}
    assert shown(plan)["target"]["child"]["target"] == "t"
    assert plan.targets["child"].context == "./db"
    assert list(baked(COMPOSE, "my.db", name="compose.yaml", env=env).targets) == ["my_db"]


def test_several_compose_files(baked: Baked, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('# x\nTAG=dot\nexport QUOTED="a $TAG" # no\nPLAIN = x # comment\n')
    files = {
        "compose.yaml": "services: {a: {build: ., image: 'i:$TAG'}}",
        "compose.override.yml": "services:\n  a:\n    build:\n"
        "      args: {q: '${QUOTED}', p: $PLAIN, d: $$D}\n",
        "docker-bake.hcl": 'target "a" { pull = true }',
    }
    found = baked(files=files).targets["a"]
    assert found.args == {"q": "a dot", "p": "x", "d": "$D"} and found.tags == ("i:dot",) and found.pull
    assert baked(files=files, env={"TAG": "env"}).targets["a"].tags == ("i:env",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services: [", "compose.yaml:1:12: invalid YAML"),
        ("[]", "must be a mapping"),
        ("a: 1", "empty compose file"),
        (
            "services: {a: {build: {context: '${X:?set it}'}}}",
            "required variable X is missing a value: set it",
        ),
        ("services: {'a b': {build: .}}", "invalid name 'a b'"),
        ("services: {a: {build: {ssh: 1}}}", "must be a mapping"),
        (
            "services: {a: {build: {secrets: [x]}}}\nsecrets: {x: {external: true}}",
            "unsupported external secret x",
        ),
        ("services: {a: {build: ., extends: {service: a}}}", "extends a"),
        ("services: {a: {build: {x-bake: {nosuch: 1}}}}", "x-bake: unknown key nosuch"),
        ("services: {a: {build: {tags: x}}}", "tags must be a list"),
        ("services: !!python/object/apply:os.system [x]", "invalid YAML"),
    ],
)
def test_bad_compose_files(baked: Baked, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        baked(text, name="compose.yaml")


def test_aliases_of_aliases(baked: Baked) -> None:
    """The billion laughs: few lines that stand for 10^9 values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for depth in range(1, 9):
        lines.append(f"a{depth}: &a{depth} [{', '.join([f'*a{depth - 1}'] * 10)}]")
    lines.append("services: {s: {build: {context: ., tags: *a8}}}")
    with pytest.raises(InvalidArgument, match="more than 100000 values"):
        baked("\n".join(lines), name="compose.yaml")


def test_unknown_things(baked: Baked) -> None:
    for text, message in {
        'target "default" { nosuch = 1 }': "hcl:1:1: target default: nosuch: unsupported argument",
        'group "default" {\n targets = []\n x = 1\n}': 'unsupported argument "x"',
        'thing "x" {}': 'unsupported block type "thing"',
        'target "a b" {}': "invalid name 'a b'",
        'target "a" "b" {}': "a target has one name, not 2",
        "target {}": "a target has one name, not 0",
        'target "default" { tags = "x" }': "tags: a list is needed, not a string",
        'target "default" { args = ["x"] }': "args: a map is needed, not a list",
        'target "default" { output = ["x=y"] }': "type is required for output",
        'target "default" {\n inner {}\n}': 'unsupported block type "inner"',
        'variable "X" { other = 1 }\ntarget "default" {}': 'unsupported argument "other"',
    }.items():
        with pytest.raises(InvalidArgument, match=message):
            baked(text)
    with pytest.raises(NotSupported, match="policy is not supported"):
        baked('target "default" { policy = ["x"] }')
