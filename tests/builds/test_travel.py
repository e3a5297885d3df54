"""What a build gives, all the way: caches that travel, attestations, several outputs at once."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyd import Engine
from tests.support.builds import Builder
from tests.support.registry import Registry

DOCKERFILE = """FROM busybox AS tools
RUN echo made > /tool
FROM tools
ARG GREETING=hello
RUN --mount=type=cache,target=/cache cat /cache/count 2>/dev/null; echo x >> /cache/count
RUN cp /tool /copied && echo $GREETING > /greeting
"""


@pytest.fixture
def elsewhere(builder: Builder, registry: Registry, tmp_path: Path) -> Iterator[Builder]:
    """Another machine with the same context and the same base."""
    engine = Engine(data_root=str(tmp_path / "elsewhere/data"), run_root=str(tmp_path / "elsewhere/run"))
    engine.images.pull(f"{registry.host}/busybox")
    engine.images.tag(f"{registry.host}/busybox", builder.image)
    yield Builder(engine, builder.directory, builder.image)
    engine.close()


@pytest.mark.parametrize("kind", ["registry", "local"])
def test_a_cache_saves_the_work_elsewhere(
    builder: Builder, elsewhere: Builder, registry: Registry, tmp_path: Path, kind: str
) -> None:
    place = f"type=registry,ref={registry.host}/travel/cache:1"
    to, source = (
        (place, place)
        if kind == "registry"
        else (f"type=local,dest={tmp_path}/c", f"type=local,src={tmp_path}/c")
    )
    options: dict[str, Any] = {"network": "none", "tags": ("travel",)}
    first = builder.build(DOCKERFILE, cache_to=(f"{to},mode=max",), **options)
    second = elsewhere.build(DOCKERFILE, cache_from=(source,), **options)
    assert second.id == first.id
    assert second.told.done == [] and second.told.warnings == []
    assert elsewhere.run("travel", "cat", "/copied", "/greeting") == "made\nhello\n"
    # what a cache mount holds has come along: the next step that uses it finds it
    third = elsewhere.build(DOCKERFILE.replace("echo x", "echo y"), cache_from=(source,), **options)
    assert "x" in third.told.text.split()


def test_outputs_with_attestations(builder: Builder, registry: Registry, tmp_path: Path) -> None:
    name = f"{registry.host}/travel/attested:1"
    done = builder.build(
        DOCKERFILE,
        network="none",
        tags=(name,),
        build_args={"GREETING": "hi"},
        outputs=("type=registry", f"type=oci,dest={tmp_path}/out.tar", f"type=local,dest={tmp_path}/files"),
        attests=("type=provenance,mode=max", "type=sbom"),
    )
    assert (tmp_path / "files/greeting").read_text() == "hi\n"
    provenance = json.loads((tmp_path / "files/provenance.json").read_text())
    said = done.result.metadata["buildx.build.provenance"]
    assert provenance["predicate"] == said
    assert said["invocation"]["parameters"]["args"]["build-arg:GREETING"] == "hi"
    assert any("busybox" in one["uri"] for one in said["materials"])
    sbom = json.loads((tmp_path / "files/sbom.spdx.json").read_text())
    assert sbom["predicate"]["spdxVersion"] == "SPDX-2.3"
    with tarfile.open(tmp_path / "out.tar") as tar:
        entry = json.load(tar.extractfile("index.json"))["manifests"][0]  # type: ignore[arg-type]
        index = json.load(tar.extractfile(f"blobs/sha256/{entry['digest'][7:]}"))  # type: ignore[arg-type]
    kinds = [one.get("annotations", {}).get("vnd.docker.reference.type") for one in index["manifests"]]
    assert kinds == [None, "attestation-manifest"]
    assert builder.run(name, "cat", "/greeting") == "hi\n"
    builder.engine.images.remove(name, force=True)


def test_inline_cache(builder: Builder, elsewhere: Builder, registry: Registry) -> None:
    name = f"{registry.host}/travel/inline:1"
    builder.build(
        DOCKERFILE,
        network="none",
        tags=(name,),
        outputs=("type=registry",),
        build_args={"BUILDKIT_INLINE_CACHE": "1"},
    )
    second = elsewhere.build(DOCKERFILE, network="none", tags=("x",), cache_from=(name,))
    assert [step for step in second.told.done if "greeting" in step] == []
    builder.engine.images.remove(name, force=True)
