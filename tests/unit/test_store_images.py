"""Images in the store: what keeps what alive, and what is left after a kill."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tests.fakes.registry import MANIFEST, FakeImage, FakeRegistry, digest_of, serving

from pyd.engine.archive import message
from pyd.engine.images import Images
from pyd.errors import Conflict, CorruptData, ImageNotFound, InvalidArgument, PydError
from pyd.paths import Paths
from pyd.store import ContainerRecord, Store
from pyd.store.tar_index import TarIndex

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers keep their owners")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    store = Store(Paths(str(tmp_path / "data"), str(tmp_path / "run")))
    yield store
    store.close()


@pytest.fixture
def images(store: Store) -> Images:
    return Images(store)


def archive(files: Mapping[str, bytes]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    out.seek(0)
    return out


def docker_archive(image: FakeImage, *tags: str) -> dict[str, bytes]:
    """What `docker save` writes: plain layers, manifest.json last."""
    layers = {f"{number}/layer.tar": gzip.decompress(data) for number, data in enumerate(image.layers)}
    manifest = [{"Config": "config.json", "RepoTags": list(tags) or None, "Layers": list(layers)}]
    return {**layers, "config.json": image.config_bytes, "manifest.json": json.dumps(manifest).encode()}


def layout(image: FakeImage, name: str = "") -> dict[str, bytes]:
    blobs = [*image.layers, image.config_bytes, image.manifest_bytes]
    entry = {"mediaType": MANIFEST, "digest": digest_of(blobs[-1]), "size": len(blobs[-1])}
    if name:
        entry["annotations"] = {"io.containerd.image.name": name}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    return {"index.json": index, **{f"blobs/sha256/{digest_of(data)[7:]}": data for data in blobs}}


def load(images: Images, files: Mapping[str, bytes]) -> list[str]:
    return message(images.load(archive(files)))


IMAGE = FakeImage.of({"a": b"1"}, {"b": b"2" * 1000})


def test_load_says_what_docker_says(images: Images) -> None:
    assert load(images, docker_archive(IMAGE, "x:1", "y")) == ["Loaded image: x:1", "Loaded image: y:latest"]
    assert load(images, docker_archive(IMAGE)) == [f"Loaded image ID: {IMAGE.id}"]
    assert load(images, layout(IMAGE, "docker.io/library/z:2")) == ["Loaded image: z:2"]
    assert [row.id for row in images.list()] == [IMAGE.id] * 3


def test_load_tells_when_a_name_moves(images: Images) -> None:
    load(images, docker_archive(IMAGE, "x"))
    other = FakeImage.of({"c": b"3"})
    assert load(images, docker_archive(other, "x")) == [
        f"The image x:latest already exists, renaming the old one with ID {IMAGE.id} to empty string",
        "Loaded image: x:latest",
    ]


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: data])
def test_load_from_a_pipe(pack: object, images: Images) -> None:
    data = pack(archive(docker_archive(IMAGE, "x")).getvalue())  # type: ignore[operator]
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(data)
    with os.fdopen(reading, "rb") as stream:
        assert message(images.load(stream)) == ["Loaded image: x:latest"]


def bad_archives() -> dict[str, bytes]:
    good = docker_archive(IMAGE, "x")
    plain = archive(good).getvalue()
    wrong_layer = {**good, "0/layer.tar": good["1/layer.tar"]}
    escaping = json.loads(good["manifest.json"])
    escaping[0]["Config"] = "../../../../etc/passwd"
    missing = json.loads(good["manifest.json"])
    missing[0]["Layers"] = ["0/layer.tar"]
    return {
        "empty": b"",
        "not a tar": b"hello" * 1000,
        "truncated": plain[: len(plain) // 2],
        "truncated gzip": gzip.compress(plain)[:-20],
        "gzip with garbage": gzip.compress(plain) + b"garbage",
        "no image": archive({"x": b"y"}).getvalue(),
        "a layer is another one": archive(wrong_layer).getvalue(),
        "a path leads out": archive({**good, "manifest.json": json.dumps(escaping).encode()}).getvalue(),
        "a layer too few": archive({**good, "manifest.json": json.dumps(missing).encode()}).getvalue(),
        "manifest.json is no list": archive({**good, "manifest.json": b"{}"}).getvalue(),
        "manifest.json is deep": archive({**good, "manifest.json": b"[" * 100_000}).getvalue(),
        "a bad name": archive(docker_archive(IMAGE, "Not A Name")).getvalue(),
        "a blob that lies": archive(
            {**layout(IMAGE), f"blobs/sha256/{IMAGE.id[7:]}": IMAGE.config_bytes + b" "}
        ).getvalue(),
    }


@pytest.mark.parametrize("name", bad_archives())
def test_a_bad_archive_leaves_nothing(name: str, images: Images, store: Store) -> None:
    with pytest.raises(PydError) as caught:
        images.load(io.BytesIO(bad_archives()[name]))
    assert "\n" not in str(caught.value)
    assert store.images.list() == ()
    store.gc()
    for place in (store.paths.content, store.paths.snapshots, store.paths.trash):
        assert not os.path.isdir(place) or os.listdir(place) == []


def test_the_archive_reader_survives_any_damage() -> None:
    source = random.Random(7)
    good = archive({**docker_archive(IMAGE, "x"), "l" * 300: b"long name", "ü": b"pax"}).getvalue()
    assert TarIndex(io.BytesIO(good)).read("l" * 300, 100) == b"long name"
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(source.randint(1, 8)):
            data[source.randrange(len(data))] = source.randrange(256)
        try:
            TarIndex(io.BytesIO(bytes(data[: source.randint(0, len(data))])))
        except CorruptData:
            pass


def test_import_makes_an_image(images: Images, store: Store) -> None:
    changes = (
        'CMD ["/a", "b"]',
        "ENV A=1 B='2 3'",
        "EXPOSE 80 53/udp",
        "LABEL x=y",
        "USER 5",
        "WORKDIR /w",
        "VOLUME /v",
    )
    image_id = images.import_(archive({"f": b"1"}), name="mine:1", changes=changes, message="hello")
    config = images.inspect("mine:1")["Config"]
    assert config["Cmd"] == ["/a", "b"] and config["Env"] == ["A=1", "B=2 3"]
    assert config["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}} and config["Labels"] == {"x": "y"}
    assert (config["User"], config["WorkingDir"], config["Volumes"]) == ("5", "/w", {"/v": {}})
    assert images.history(image_id)[0].comment == "hello"
    (directory,) = store.snapshots.lower_dirs(store.images.resolve("mine:1").layers)
    assert Path(directory, "f").read_bytes() == b"1"


@pytest.mark.parametrize(
    "change",
    ["RUN x", "CMD", 'CMD ["a"', "EXPOSE 0", "EXPOSE x", "ENV", "ENV a", "HEALTHCHECK X", "LABEL 'a"],
)
def test_changes_that_make_no_sense(change: str, images: Images) -> None:
    with pytest.raises(InvalidArgument):
        images.import_(archive({"f": b"1"}), changes=[change])
    assert images.list() == []


def test_rmi_unties_and_deletes(images: Images, store: Store) -> None:
    load(images, docker_archive(IMAGE, "x", "y"))
    assert images.remove("x") == ["Untagged: x:latest"]
    lines = images.remove("y")
    assert lines[:2] == ["Untagged: y:latest", f"Deleted: {IMAGE.id}"] and len(lines) == 4
    assert os.listdir(store.paths.content) == os.listdir(store.paths.snapshots) == []
    with pytest.raises(ImageNotFound, match="No such image: y:latest"):
        images.remove("y")


def test_rmi_keeps_what_others_need(images: Images, store: Store) -> None:
    other = FakeImage.of({"a": b"1"}, {"c": b"3"})
    load(images, docker_archive(IMAGE, "x"))
    load(images, docker_archive(other, "z"))
    assert len(images.remove("x")) == 3  # its name, itself, its own layer
    assert len(os.listdir(store.paths.snapshots)) == 2
    assert store.images.resolve("z").id == other.id


def test_rmi_of_what_a_container_uses(images: Images, store: Store) -> None:
    load(images, docker_archive(IMAGE, "x"))
    image = store.images.resolve("x")
    user = ContainerRecord("c" * 64, "user", image_ref="x", image_id=image.id, layers=image.layers)
    store.containers.insert(user)
    short = image.id[7:19]
    with pytest.raises(Conflict) as caught:
        images.remove("x")
    assert str(caught.value) == (
        f'conflict: unable to remove repository reference "x" (must force) - container {"c" * 12} '
        f"is using its referenced image {short}"
    )
    with pytest.raises(
        Conflict, match=f"unable to delete {short} .must be forced. - image is being used by stopped"
    ):
        images.remove(short)
    store.containers.update(user.id, state="running")
    with pytest.raises(Conflict, match="cannot be forced"):
        images.remove(short, force=True)
    store.containers.update(user.id, state="exited")
    images.remove("x", force=True)
    store.gc()
    # the container still has its files
    assert all(os.path.isdir(directory) for directory in store.snapshots.lower_dirs(user.layers))
    store.containers.delete(user.id)
    store.gc()
    assert os.listdir(store.paths.snapshots) == []


def test_filters_and_prune(images: Images, store: Store) -> None:
    load(images, docker_archive(IMAGE, "x:1", "x:2", "reg.io/y:1"))
    old = FakeImage.of({"old": b"1"}, created="2020-01-01T00:00:00Z", config={"Labels": {"k": "v"}})
    load(images, docker_archive(old))

    def names(name: str = "", filters: Sequence[str] = ()) -> list[str]:
        return [f"{row.repository}:{row.tag}" for row in images.list(name=name, filters=filters)]

    assert names(name="x") == ["x:1", "x:2"] and names(name="x:2") == ["x:2"]
    assert names(filters=["dangling=true"]) == names(filters=["label=k=v"]) == ["<none>:<none>"]
    assert names(filters=["before=x:1"]) == names(filters=["until=2021-01-01"]) == ["<none>:<none>"]
    assert names(filters=["reference=reg.io/*"]) == ["reg.io/y:1"]
    assert names(filters=["label=k=v", "dangling=false"]) == []
    with pytest.raises(InvalidArgument, match="invalid filter 'nosuch'"):
        images.list(filters=["nosuch=1"])
    lines, freed = images.prune(filters=["until=2019-01-01"])
    assert (list(lines), freed) == ([], 0)
    lines, freed = images.prune()
    # of the disk: the directory, the file of one byte, the blobs
    assert freed > 1 and len(lines) == 2
    assert sorted(names()) == ["reg.io/y:1", "x:1", "x:2"]


def test_tags_are_checked(images: Images) -> None:
    load(images, docker_archive(IMAGE, "x"))
    images.tag("x", "a.b/c:d")
    images.tag(IMAGE.id[7:12], "e")
    assert {row.repository for row in images.list()} == {"x", "a.b/c", "e"}
    for target in ("Bad", "x@" + IMAGE.id, "a:b:c"):
        with pytest.raises(InvalidArgument):
            images.tag("x", target)
    with pytest.raises(ImageNotFound):
        images.tag("nosuch", "y")


PULL = """
import sys
from pyd.engine.images import Images
from pyd.paths import Paths
from pyd.store import Store
Images(Store(Paths(sys.argv[1], sys.argv[2]))).pull(sys.argv[3])
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_pull_that_is_killed_anywhere_leaves_nothing_half(how: signal.Signals, store: Store) -> None:
    layers = [{f"{number}/{name}": os.urandom(60_000) for name in range(30)} for number in range(4)]
    image = FakeImage.of(*layers)
    source = random.Random(3)
    with serving(FakeRegistry()) as registry:
        registry.add("a", image)
        name = f"{registry.host}/a"
        command = [sys.executable, "-c", PULL, store.paths.data_root, store.paths.run_root, name]
        for _ in range(6):
            started = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            time.sleep(source.uniform(0.15, 0.6))
            started.send_signal(how)
            started.wait(20)
            try:
                found = store.images.resolve(name)
            except ImageNotFound:
                continue
            assert all(os.path.isdir(each) for each in store.snapshots.lower_dirs(found.layers))
            Images(store).remove(name)
        Images(store).pull(name)
        (top, *_) = store.snapshots.lower_dirs(store.images.resolve(name).layers)
        assert {path.name for path in Path(top, "3").iterdir()} == {str(number) for number in range(30)}
        Images(store).remove(name)
    store.gc()
    store.trash.sweep(wait=True)
    for place in (store.paths.content, store.paths.snapshots, store.paths.trash):
        assert os.listdir(place) == []
    assert all(name.endswith(".partial") for name in os.listdir(store.paths.ingest))
    locks = os.listdir(f"{store.paths.run_root}/locks")
    assert all(name.startswith(("ingest", "layer-", "blob-")) for name in locks)


def test_what_a_killed_pull_unpacked_goes_with_the_next(store: Store, images: Images) -> None:
    store.paths.make()
    for name in (f"{'a' * 64}.tmp-1234", "b" * 64):
        Path(store.paths.snapshots, name, "fs").mkdir(parents=True)
    load(images, docker_archive(IMAGE, "x"))
    assert len(os.listdir(store.paths.snapshots)) == 2
    assert not [name for name in os.listdir(store.paths.snapshots) if name.startswith(("a" * 64, "b" * 64))]
