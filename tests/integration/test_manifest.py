"""manifest create, annotate, inspect, push, rm: several platforms under one name, read by skopeo."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import FakeImage, FakeRegistry, serving
from tests.support.command import Pyd
from tests.support.registry import Registry, skopeo


@pytest.fixture
def store(tmp_path: Path) -> dict[str, str]:
    return {"PYD_DATA_ROOT": str(tmp_path / "data"), "PYD_RUN_ROOT": str(tmp_path / "run")}


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    """Two images of different platforms, at another registry than the list's."""
    with serving() as fake:
        for architecture in ("amd64", "arm64"):
            image = FakeImage.of({"hello": architecture.encode()}, architecture=architecture)
            fake.add(f"app-{architecture}", image)
        yield fake


def raw(reference: str) -> Any:
    return json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}"))


def test_a_list_from_creation_to_push(
    registry: Registry, fake: FakeRegistry, pyd: Pyd, store: dict[str, str]
) -> None:
    name = f"{registry.host}/team/listed:1"
    amd, arm = (f"{fake.host}/app-{one}" for one in ("amd64", "arm64"))
    assert pyd("manifest", "create", name, amd, env=store).out == f"Created manifest list {name}"
    refused = pyd("manifest", "create", name, arm, env=store, code=1)
    assert "refusing to amend an existing manifest list with no --amend flag" in refused.stderr
    pyd("manifest", "create", "--amend", name, arm, env=store)
    pyd("manifest", "annotate", "--variant", "v8", "--os-features", "x", name, arm, env=store)
    entries = json.loads(pyd("manifest", "inspect", name, env=store).out)["manifests"]
    assert [one["platform"] for one in entries] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "os.features": ["x"], "variant": "v8"},
    ]
    verbose = json.loads(pyd("manifest", "inspect", "-v", name, amd, env=store).out)
    assert verbose["Ref"] == f"{amd}:latest"
    assert json.loads(base64.b64decode(verbose["Raw"])) == verbose["OCIManifest"]
    lines = pyd("manifest", "push", "--purge", name, env=store).lines
    assert [line.startswith("Pushed ref ") for line in lines] == [True, True, False]
    assert raw(name)["manifests"] == entries
    for entry in entries:
        # an entry is an image by itself there, blobs and all
        assert raw(f"{registry.host}/team/listed@{entry['digest']}")["config"]
    assert (
        lines[-1]
        == skopeo(
            "inspect",
            "--override-arch=amd64",
            "--tls-verify=false",
            "--format",
            "{{.Digest}}",
            f"docker://{name}",
        ).strip()
    )
    # the local list is gone: what is shown now is the registry's
    assert json.loads(pyd("manifest", "inspect", name, env=store).out) == raw(name)
    assert [
        one["Descriptor"]["digest"] for one in pyd("manifest", "inspect", "-v", name, env=store).json()
    ] == [entry["digest"] for entry in entries]
    assert "No such manifest" in pyd("manifest", "rm", name, env=store, code=1).stderr
    pulled = pyd("pull", "-q", "--platform", "linux/amd64", name, env=store)
    assert pulled.out == name


def test_docker_lists_and_one_repository(
    registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str]
) -> None:
    reference = registry.push(layouts["busybox"], "one-repo", v2s2=True)
    name = f"{registry.host}/one-repo:list"
    pyd("manifest", "create", name, reference, env=store)
    # the image is in the list's own repository: only the list is pushed
    assert len(pyd("manifest", "push", name, env=store).lines) == 1
    assert raw(name)["mediaType"] == "application/vnd.docker.distribution.manifest.list.v2+json"
    pyd("manifest", "rm", name, env=store)


def test_what_is_no_list(registry: Registry, fake: FakeRegistry, pyd: Pyd, store: dict[str, str]) -> None:
    name = f"{registry.host}/no-list"
    result = pyd("manifest", "create", name, f"{fake.host}/nobody", env=store, code=1)
    assert f"no such manifest: {fake.host}/nobody:latest" in result.stderr
    result = pyd("manifest", "push", name, env=store, code=1)
    assert "No such manifest" in result.stderr
    image = FakeImage.of({"x": b"y"}, architecture="", os="")
    fake.add("nowhere", image)
    pyd("manifest", "create", name, f"{fake.host}/nowhere", env=store)
    result = pyd("manifest", "push", name, env=store, code=1)
    assert "must have an OS and Architecture" in result.stderr
    result = pyd("manifest", "annotate", "--os", "linux", name, f"{fake.host}/other", env=store, code=1)
    assert "does not exist in" in result.stderr
    pyd("manifest", "annotate", "--os", "linux", "--arch", "amd64", name, f"{fake.host}/nowhere", env=store)
    pyd("manifest", "push", name, env=store)
    result = pyd("manifest", "create", f"{name}:2", name, env=store, code=1)
    assert "is a manifest list" in result.stderr


def test_raw_and_remote(
    registry: Registry, layouts: dict[str, Path], fake: FakeRegistry, pyd: Pyd, store: dict[str, str]
) -> None:
    reference = registry.push(layouts["busybox"], "raw")
    data = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}")
    assert pyd("image", "inspect", "--remote", "--raw", reference, env=store).stdout == data
    assert "No such image" in pyd("image", "inspect", "--raw", reference, env=store, code=1).stderr
    remote = pyd("image", "inspect", "--remote", reference, env=store).json()[0]
    pyd("pull", "-q", reference, env=store)
    assert pyd("image", "inspect", "--raw", reference, env=store).stdout == data
    local = pyd("image", "inspect", reference, env=store).json()[0]
    for key in ("Id", "RepoTags", "RepoDigests", "Created", "Architecture", "Os", "RootFS"):
        assert remote[key] == local[key], key


def test_search(registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str]) -> None:
    registry.push(layouts["busybox"], "found/by-name")
    out = pyd("search", f"{registry.host}/found/by", env=store).lines
    assert out[0].split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert [line.split()[0] for line in out[1:]] == [f"{registry.host}/found/by-name"]
    assert "outside the range" in pyd("search", "--limit", "0", "x", env=store, code=1).stderr
    with serving() as fake:
        results = [
            {"name": "few", "description": "d" * 60 + "\x1b[31m", "star_count": 3, "is_official": False},
            {"name": "many", "description": "line\nbreak", "star_count": 9, "is_official": True},
        ]
        fake.faults.append(
            lambda handler: (
                handler.path.startswith("/v1/search")
                and handler.answer(200, json.dumps({"results": results}).encode())
            )
        )
        term = f"{fake.host}/any"
        rows = pyd(
            "search", "--format", "{{.Name}}|{{.Description}}|{{.StarCount}}|{{.IsOfficial}}", term
        ).lines
        assert rows == ["many|line break|9|[OK]", f"few|{'d' * 44}…|3|"]
        assert fake.asked("/v1/search")[0].path == "/v1/search?q=any&n=25"
        assert [
            pyd("search", "--filter", filter, "--format", "{{.Name}}", term).lines
            for filter in ("stars=5", "is-official=false", "stars=10")
        ] == [["many"], ["few"], []]
        assert "\x1b" not in pyd("search", "--no-trunc", term).stdout
        assert "invalid filter" in pyd("search", "--filter", "x=y", term, code=1).stderr
