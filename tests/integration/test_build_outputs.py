"""Outputs of builds: registries, archives, layouts, files; several platforms and attestations."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyd.build import annotations as noted
from pyd.build.attestations import SLSA_02, Predicate
from pyd.build.outputs import parse
from pyd.build.result import Built
from pyd.engine.build_outputs import Exported, Job, export
from pyd.engine.images import Images
from pyd.errors import InvalidArgument, PydError
from pyd.oci.platform import Platform
from pyd.paths import Paths
from pyd.store import Store
from tests.fakes.registry import FakeImage
from tests.support.built import AMD64, EPOCH, base_of, built, layer
from tests.support.registry import Registry, skopeo
from tests.unit.test_store_images import archive, docker_archive

ARM64 = Platform("linux", "arm64")
PREDICATES = {AMD64: (Predicate(SLSA_02, {"buildType": "test"}, "provenance.json"),)}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    store = Store(Paths(str(tmp_path / "data"), str(tmp_path / "run")))
    yield store
    store.close()


def fill(top: Path) -> None:
    (top / "bin").mkdir()
    (top / "bin/tool").write_bytes(b"tool")
    os.chown(top / "bin/tool", 7, 8)
    (top / "bin/tool").chmod(0o4755)
    os.link(top / "bin/tool", top / "bin/same")
    (top / "big").write_bytes(bytes(300_000) + b"end")
    (top / "way-out").symlink_to("/etc")
    os.mkfifo(top / "fifo")
    os.mknod(top / "null", 0o20666, os.makedev(1, 3))
    (top / ("long" * 40)).write_bytes(b"long")


def result(store: Store, *, platform: Platform = AMD64, text: bytes = b"x") -> Built:
    if not store.images.list():
        Images(store).load(archive(docker_archive(FakeImage.of({"base": b"b" * 5000}), "base")))
    layers, manifest = base_of(store, "base")
    layers = (*layers, layer(store, layers, fill))
    layers = (*layers, layer(store, layers, {"text": text}))
    return built(layers, platform=platform, base_manifest=manifest)


def run(store: Store, *texts: str, tags: tuple[str, ...] = (), **job: Any) -> Exported:
    builts = job.pop("builts", None) or (result(store),)
    return export(Job(store=store, builts=builts, epoch=EPOCH, **job), parse(texts, tags))


def raw(name: str) -> Any:
    return json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}"))


def blob(registry: Registry, repository: str, digest: str) -> bytes:
    path = registry.directory / "storage/docker/registry/v2/blobs/sha256" / digest[7:9] / digest[7:] / "data"
    return path.read_bytes()


def test_push_stores_what_it_pushes(store: Store, registry: Registry) -> None:
    name = f"{registry.host}/out/pushed:1"
    done = run(store, "type=registry", tags=(name, f"{registry.host}/out/again"))
    manifest = raw(name)
    assert raw(f"{registry.host}/out/again:latest") == manifest
    assert {one["mediaType"].rpartition(".")[2] for one in manifest["layers"][1:]} == {"tar+gzip"}
    image = store.images.resolve(name)
    assert (image.id, image.manifest) == (done.id, done.digest)
    assert f"{registry.host}/out/pushed@{done.digest}" in image.digests
    assert done.metadata["containerimage.digest"] == done.digest
    assert done.metadata["containerimage.config.digest"] == done.image_id == done.id
    assert done.metadata["containerimage.descriptor"]["digest"] == done.digest
    assert done.metadata["image.name"] == f"{name},{registry.host}/out/again:latest"
    # a second build of the same sends nothing and gives the same
    assert run(store, "type=registry", tags=(name,)).digest == done.digest


def test_push_by_digest_has_no_tag_and_no_image(store: Store, registry: Registry) -> None:
    repository = f"{registry.host}/out/untagged"
    done = run(store, f"type=image,push-by-digest=true,push=true,name={repository}")
    assert raw(f"{repository}@{done.digest}")["config"]["digest"] == done.id
    with pytest.raises(AssertionError, match="unknown"):
        raw(f"{repository}:latest")
    assert [image.references for image in store.images.list()] == [("docker.io/library/base:latest",)]


def test_forced_zstd_reaches_the_layers_of_the_base(store: Store, registry: Registry) -> None:
    name = f"{registry.host}/out/zstd:1"
    run(store, "type=registry,compression=zstd,compression-level=7,force-compression=true", tags=(name,))
    kinds = [one["mediaType"] for one in raw(name)["layers"]]
    assert kinds == ["application/vnd.oci.image.layer.v1.tar+zstd"] * 3
    skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{store.paths.data_root}/copied")


def test_platforms_and_attestations_make_an_index(store: Store, registry: Registry) -> None:
    name = f"{registry.host}/out/index:1"
    builts = (result(store, platform=ARM64, text=b"arm"), result(store))
    said = noted.parse(["index:a=1", "manifest-descriptor[linux/arm64]:b=2", "c=3"])
    done = run(store, "type=registry", tags=(name,), builts=builts, predicates=PREDICATES, annotations=said)
    index = raw(name)
    assert index["annotations"] == {"a": "1"}
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == [
        "arm64",
        "amd64",
        "unknown",
    ]
    assert index["manifests"][0]["annotations"] == {"b": "2"}
    attestation = index["manifests"][2]
    assert attestation["annotations"] == {
        "vnd.docker.reference.digest": index["manifests"][1]["digest"],
        "vnd.docker.reference.type": "attestation-manifest",
    }
    manifest = raw(f"{registry.host}/out/index@{attestation['digest']}")
    statement = json.loads(blob(registry, "out/index", manifest["layers"][0]["digest"]))
    assert manifest["layers"][0]["annotations"] == {"in-toto.io/predicate-type": SLSA_02}
    assert statement["subject"] == [
        {
            "name": f"pkg:docker/{registry.host}/out/index@1?platform=linux%2Famd64".replace(
                registry.host, registry.host.replace(":", "%3A")
            ),
            "digest": {"sha256": index["manifests"][1]["digest"][7:]},
        }
    ]
    # the image of this host runs; the index is what goes on to the next registry
    assert done.image_id == done.digest
    assert store.images.resolve(name).id == builts[1].id == done.id
    assert raw(f"{registry.host}/out/index@{index['manifests'][0]['digest']}")["annotations"] == {"c": "3"}
    other = f"{registry.host}/out/onwards:2"
    Images(store).tag(name, other)
    pushed = Images(store).push(other)
    assert pushed[0].digest == done.digest
    assert raw(other) == index


def test_other_statements_about_the_same_image_replace_the_first(store: Store, registry: Registry) -> None:
    name = f"{registry.host}/out/restated:1"
    run(store, "type=image", tags=(name,), predicates=PREDICATES)
    other = {AMD64: (Predicate(SLSA_02, {"buildType": "another"}, "provenance.json"),)}
    done = run(store, "type=image", tags=(name,), predicates=other)
    assert Images(store).push(name)[0].digest == done.digest
    plain = run(store, "type=image", tags=(name,))
    assert plain.id == done.id
    assert Images(store).push(name)[0].digest not in (done.digest, "")
    assert "manifests" not in raw(name)


def test_index_annotations_need_an_index(store: Store) -> None:
    with pytest.raises(PydError, match="single platform"):
        run(store, "type=image", annotations=noted.parse(["index:a=1"]))


def test_archives_and_layouts(store: Store, tmp_path: Path) -> None:
    places = {kind: tmp_path / kind for kind in ("oci.tar", "docker.tar", "layout")}
    done = run(
        store,
        f"type=oci,dest={places['oci.tar']}",
        f"type=docker,dest={places['docker.tar']}",
        f"type=oci,tar=false,dest={places['layout']}",
        tags=("a:1", "b"),
    )
    index = json.loads((places["layout"] / "index.json").read_text())
    names = [entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]]
    assert names == ["docker.io/library/a:1", "docker.io/library/b:latest"]
    assert [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]] == [
        "1",
        "latest",
    ]
    for source in (f"oci:{places['layout']}:1", f"oci-archive:{places['oci.tar']}:1"):
        assert skopeo("inspect", "--format", "{{.Digest}}", source).strip() == done.digest
    skopeo("inspect", f"docker-archive:{places['docker.tar']}:a:1")
    fresh = Store(Paths(str(tmp_path / "data2"), str(tmp_path / "run2")))
    with places["docker.tar"].open("rb") as file:
        Images(fresh).load(file)
    assert fresh.images.resolve("b").id == fresh.images.resolve("a:1").id == done.id
    fresh.close()
    # once more gives the same bytes, and replaces what is there
    before = {kind: place.read_bytes() for kind, place in places.items() if place.is_file()}
    run(
        store,
        f"type=oci,dest={places['oci.tar']}",
        f"type=oci,tar=false,dest={places['layout']}",
        tags=("a:1", "b"),
    )
    assert places["oci.tar"].read_bytes() == before["oci.tar"]
    assert json.loads((places["layout"] / "index.json").read_text()) == index
    assert not list(tmp_path.rglob("*.partial"))


def test_uncompressed_archive_holds_the_tars(store: Store, tmp_path: Path) -> None:
    place = tmp_path / "plain.tar"
    run(store, f"type=oci,dest={place},compression=uncompressed,force-compression=true")
    with tarfile.open(place) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
        digest = index["manifests"][0]["digest"][7:]
        manifest = json.load(tar.extractfile(f"blobs/sha256/{digest}"))  # type: ignore[arg-type]
        config = json.load(tar.extractfile(f"blobs/sha256/{manifest['config']['digest'][7:]}"))  # type: ignore[arg-type]
    assert [one["digest"] for one in manifest["layers"]] == config["rootfs"]["diff_ids"]


def test_files_are_the_callers(store: Store, tmp_path: Path) -> None:
    dest = tmp_path / "out"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    dest.mkdir()
    (dest / "bin").symlink_to(elsewhere)  # a link where the build has a directory
    (dest / "text").mkdir()  # and a directory where it has a file
    (dest / "text/old").write_text("old")
    (dest / "base").symlink_to(elsewhere / "base")
    (dest / "kept").write_text("kept")
    warnings: list[str] = []
    run(store, str(dest), warn=warnings.append)
    assert list(elsewhere.iterdir()) == []
    assert (dest / "base").read_bytes() == b"b" * 5000 and not (dest / "base").is_symlink()
    assert (dest / "kept").read_text() == "kept"
    assert (dest / "text").read_bytes() == b"x"
    tool = (dest / "bin/tool").stat()
    assert (tool.st_uid, tool.st_gid, stat.S_IMODE(tool.st_mode)) == (os.getuid(), os.getgid(), 0o755)
    assert int(tool.st_mtime) == EPOCH
    assert tool.st_ino == (dest / "bin/same").stat().st_ino
    assert (dest / "way-out").readlink() == Path("/etc")
    assert (dest / "big").read_bytes() == bytes(300_000) + b"end"
    assert stat.S_ISFIFO((dest / "fifo").stat().st_mode)
    assert not (dest / "null").exists() and "null is a device" in warnings[0]
    before = sorted(dest.rglob("*"))
    run(store, str(dest))  # over itself
    assert sorted(dest.rglob("*")) == before


def test_files_of_several_platforms_with_statements(store: Store, tmp_path: Path) -> None:
    builts = (result(store), result(store, platform=ARM64, text=b"arm"))
    dest, place = tmp_path / "out", tmp_path / "out.tar"
    run(
        store,
        f"type=local,dest={dest},attestation-prefix=v1.",
        f"type=tar,dest={place}",
        builts=builts,
        predicates=PREDICATES,
    )
    assert sorted(path.name for path in dest.iterdir()) == ["linux_amd64", "linux_arm64"]
    assert (dest / "linux_arm64/text").read_bytes() == b"arm"
    said = json.loads((dest / "linux_amd64/v1.provenance.json").read_text())
    digests = {one["name"]: one["digest"]["sha256"] for one in said["subject"]}
    assert digests["text"] == hashlib.sha256(b"x").hexdigest() and len(digests) == 6
    with tarfile.open(place) as tar:
        assert json.load(tar.extractfile("linux_amd64/provenance.json")) == said  # type: ignore[arg-type]
        assert tar.getmember("linux_arm64/bin/tool").mode == 0o4755
        assert tar.getmember(f"linux_amd64/{'long' * 40}").size == 4
        assert tar.extractfile("linux_arm64/bin/same").read() == b"tool"  # type: ignore[union-attr]
    with pytest.raises(InvalidArgument, match="cannot overwrite"):
        run(store, f"type=local,dest={dest},platform-split=false", builts=builts)


def test_a_tar_goes_to_stdout(store: Store) -> None:
    tars = []
    for _ in range(2):
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as out, os.fdopen(reading, "rb") as file:
            taken = io.BytesIO()
            taking = threading.Thread(target=lambda f=file, t=taken: t.write(f.read()))
            taking.start()
            run(store, "-", stdout=out)
            out.close()
            taking.join()
        tars.append(taken.getvalue())
    assert tars[0] == tars[1]
    with tarfile.open(fileobj=io.BytesIO(tars[0])) as tar:
        assert {"base", "bin/tool", "null", "text"} <= set(tar.getnames())
        assert tar.getmember("bin/tool").uid == 7
    with pytest.raises(InvalidArgument, match="refusing to write to console"):
        run(store, "-")


def test_files_that_still_have_the_times_of_the_context(store: Store, tmp_path: Path) -> None:
    """While the build is under way; what leaves has those of the image (pyd/build/late.py)."""
    before = run(store, f"type=oci,dest={tmp_path / 'before.tar'}", f"type=tar,dest={tmp_path / 'files.tar'}")
    one = result(store)
    top = Path(store.snapshots.path(one.layers[-1].chain_id))
    os.utime(top / "text")
    with store.db.write() as tx:
        tx.execute("UPDATE build_layers SET late = ? WHERE chain_id = ?", (EPOCH, one.layers[-1].chain_id))
        tx.execute("DELETE FROM compressed_layers")
    dest = tmp_path / "out"
    again = run(
        store,
        f"type=oci,dest={tmp_path / 'after.tar'},compression=gzip,compression-level=3",
        f"type=oci,dest={tmp_path / 'same.tar'}",
        f"type=tar,dest={tmp_path / 'same-files.tar'}",
        str(dest),
        builts=(one,),
    )
    assert again.digest == before.digest
    assert (tmp_path / "same.tar").read_bytes() == (tmp_path / "before.tar").read_bytes()
    assert (tmp_path / "same-files.tar").read_bytes() == (tmp_path / "files.tar").read_bytes()
    assert int((dest / "text").stat().st_mtime) == EPOCH < int((top / "text").stat().st_mtime)
    store.trash.sweep(wait=True)
    assert not [name for name in os.listdir(store.paths.snapshots) if ".tmp-" in name]


def test_nothing_at_all(store: Store, tmp_path: Path) -> None:
    """FROM scratch without a single file."""
    empty = built(())
    place = tmp_path / "empty.tar"
    done = run(
        store, "type=image", str(tmp_path / "out"), f"type=tar,dest={place}", tags=("empty",), builts=(empty,)
    )
    assert store.images.resolve("empty").id == done.id
    assert not list((tmp_path / "out").iterdir())
    with tarfile.open(place) as tar:
        assert tar.getnames() == []
