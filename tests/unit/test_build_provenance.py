"""Provenance: the fields that BuildKit documents, and nothing in them that should be secret."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pyd.build.attestations import SLSA_02, SLSA_1, purl
from pyd.build.attests import Attests, Provenance, parse
from pyd.build.provenance import Facts, predicate
from pyd.build.request import BuildRequest
from pyd.errors import InvalidArgument, NotSupported
from pyd.oci.digest import Digest
from pyd.oci.platform import Platform
from pyd.store.build_cache import BuildLayer, BuildStep

AMD64 = Platform("linux", "amd64")
ONE, TWO = Digest("sha256:" + "1" * 64), Digest("sha256:" + "2" * 64)
DOCKERFILE = "FROM alpine\nRUN git clone https://user:hunter2@example.com/x.git\nCOPY a /b\n"


def step(number: int, layer: Digest | None, **structure: Any) -> BuildStep:
    made = BuildLayer(layer, layer, None, 1024, 0) if layer else None
    return BuildStep(f"sha256:{number:064}", "", structure, made, {}, 0.0, 0.0)


def facts(**changes: Any) -> Facts:
    request = BuildRequest(
        build_args={"TOKEN": "canary-arg", "PROXY": "http://me:hunter2@proxy:3128"},
        labels={"who": "canary-label"},
        target="release",
        secrets=("id=deploy,src=/canary/file",),
        ssh=("default=/canary/socket",),
        build_contexts={"lib": "https://me:hunter2@example.com/lib.git"},
    )
    values: dict[str, Any] = {
        "request": request,
        "dockerfile": DOCKERFILE,
        "dockerfile_name": "sub/Dockerfile.prod",
        "remote": None,
        "materials": [
            ("docker-image://alpine", "sha256:" + "3" * 64),
            ("https://example.com/a.tar", "sha256:" + "4" * 64),
            ("https://example.com/x.git#main", "5" * 40),
        ],
        "steps": [
            step(
                0,
                ONE,
                kind="RUN",
                parent="",
                args=["/bin/sh", "-c", "git clone https://user:hunter2@example.com/x.git"],
                env={"A": "b"},
                build_args={"TOKEN": "canary-arg"},
                cwd="/w",
                network="default",
                mounts=[{"type": "secret", "target": "/run/secrets/deploy"}],
            ),
            step(1, TWO, kind="COPY", parent=str(ONE), sources=["a"], dest="/b"),
        ],
        "invocation": "abc",
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:00:01Z",
        **changes,
    }
    return Facts(**values)


def test_min_says_no_values() -> None:
    made = predicate(facts(), Provenance(), AMD64)
    assert (made.type, made.file) == (SLSA_02, "provenance.json")
    text = json.dumps(made.document)
    assert "canary" not in text and "hunter2" not in text
    document = made.document
    assert document["buildType"] == "https://mobyproject.org/buildkit@v1"
    assert document["builder"] == {"id": ""}
    assert document["materials"] == [
        {"uri": "https://example.com/a.tar", "digest": {"sha256": "4" * 64}},
        {"uri": "https://example.com/x.git#main", "digest": {"sha1": "5" * 40}},
        {"uri": "pkg:docker/alpine@latest?platform=linux%2Famd64", "digest": {"sha256": "3" * 64}},
    ]
    assert document["invocation"]["configSource"] == {"entryPoint": "Dockerfile.prod"}
    assert document["invocation"]["parameters"] == {
        "frontend": "dockerfile.v0",
        "args": {"context:lib": "https://xxxxx@example.com/lib.git", "target": "release"},
        "locals": [{"name": "context"}, {"name": "dockerfile"}],
    }
    assert document["metadata"]["completeness"] == {
        "parameters": False,
        "environment": True,
        "materials": False,
    }
    assert "buildConfig" not in document and document["metadata"]["buildStartedOn"] == "2026-01-01T00:00:00Z"


def test_max_says_everything_but_secrets() -> None:
    document = predicate(
        facts(), Provenance("max", builder_id="https://ci/1", reproducible=True), AMD64
    ).document
    text = json.dumps(document)
    assert "hunter2" not in text and "/canary/" not in text
    parameters = document["invocation"]["parameters"]
    assert parameters["args"]["build-arg:TOKEN"] == "canary-arg"
    assert parameters["args"]["build-arg:PROXY"] == "http://xxxxx@proxy:3128"
    assert parameters["args"]["label:who"] == "canary-label"
    assert (parameters["secrets"], parameters["ssh"]) == ([{"id": "deploy"}], [{"id": "default"}])
    run, copy = document["buildConfig"]["llbDefinition"]
    assert run["op"]["Op"]["exec"]["meta"]["cwd"] == "/w" and copy["inputs"] == ["step0:0"]
    assert document["metadata"]["reproducible"] is True and document["builder"]["id"] == "https://ci/1"
    info = document["metadata"]["https://mobyproject.org/buildkit@v1#metadata"]["source"]["infos"][0]
    source = base64.b64decode(info["data"]).decode()
    assert source == DOCKERFILE.replace("user:hunter2", "xxxxx")


def test_version_1() -> None:
    made = predicate(facts(), Provenance("max", "v1"), AMD64)
    assert made.type == SLSA_1
    definition, details = made.document["buildDefinition"], made.document["runDetails"]
    assert definition["externalParameters"]["configSource"] == {"path": "Dockerfile.prod"}
    assert len(definition["resolvedDependencies"]) == 3
    assert "llbDefinition" in definition["internalParameters"]["buildConfig"]
    assert details["metadata"]["invocationID"] == "abc"
    assert details["metadata"]["buildkit_completeness"] == {"request": True, "resolvedDependencies": False}
    assert "hunter2" not in json.dumps(made.document)


def test_a_remote_context_is_the_source() -> None:
    remote = ("https://example.com/app.git#v1", "a" * 40)
    offline = [step(0, ONE, kind="RUN", parent="", network="none", mounts=[])]
    document = predicate(facts(remote=remote, steps=offline), Provenance(), AMD64).document
    assert document["invocation"]["configSource"] == {
        "uri": remote[0],
        "digest": {"sha1": "a" * 40},
        "entryPoint": "Dockerfile.prod",
    }
    assert document["metadata"]["https://mobyproject.org/buildkit@v1#hermetic"] is True
    assert document["metadata"]["completeness"]["materials"] is True
    online = predicate(facts(remote=remote), Provenance(), AMD64).document
    assert "https://mobyproject.org/buildkit@v1#hermetic" not in online["metadata"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alpine:3.17", "pkg:docker/alpine@3.17?platform=linux%2Famd64"),
        ("user/app:1", "pkg:docker/user/app@1?platform=linux%2Famd64"),
        ("ghcr.io/a/b:v1", "pkg:docker/ghcr.io/a/b@v1?platform=linux%2Famd64"),
    ],
)
def test_purl(name: str, expected: str) -> None:
    assert purl(name, AMD64) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], Attests()),
        (["type=sbom"], Attests(sbom=True)),
        (["type=provenance,mode=max,version=v1"], Attests(Provenance("max", "v1"))),
        (["type=provenance,disabled=true", "type=sbom,disabled=false"], Attests(sbom=True)),
        (
            ["type=provenance,builder-id=x,inline-only=true,reproducible=true"],
            Attests(Provenance(builder_id="x", inline_only=True, reproducible=True)),
        ),
    ],
)
def test_attests(texts: list[str], expected: Attests) -> None:
    assert parse(texts) == expected and bool(expected) == (expected != Attests())


@pytest.mark.parametrize(
    "texts",
    [
        ["mode=max"],
        ["type=nosuch"],
        ["type=sbom", "type=sbom"],
        ["type=provenance,mode=some"],
        ["type=provenance,version=v2"],
        ["type=sbom,nosuch=1"],
    ],
)
def test_bad_attests(texts: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        parse(texts)


def test_a_generator_is_not_supported() -> None:
    with pytest.raises(NotSupported):
        parse(["type=sbom,generator=docker/scout-sbom-indexer"])
