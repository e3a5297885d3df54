"""Caches of builds that travel: in a registry, in a directory, in the image; and what hostile ones do."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pyd.build import cache_mounts
from pyd.build.cache_document import CONFIG, INLINE
from pyd.build.cache_options import CacheTarget, sources, targets
from pyd.build.events import Step, Watcher
from pyd.build.keys import key_of
from pyd.build.result import Built, State
from pyd.build.steps import Outcome, Steps
from pyd.engine import build_caches
from pyd.engine.build_caches import CacheJob, opened, with_inline
from pyd.engine.build_outputs import Job, export
from pyd.engine.transports.layout import LAYOUT_FILE
from pyd.errors import InvalidArgument, NotSupported, PydError
from pyd.oci.digest import Digest
from pyd.paths import Paths
from pyd.store import Store
from pyd.store.build_cache import BuildLayer
from pyd.store.fetching import fetching
from tests.support.built import AMD64, built, layer
from tests.support.registry import Registry
from tests.support.served import Served


class Told(Watcher):
    def __init__(self) -> None:
        self.hits = 0
        self.warnings: list[str] = []

    def cached(self, step: Step) -> None:
        self.hits += 1

    def warns(self, text: str, line: int = 0) -> None:
        self.warnings.append(text)


class Machine:
    """A store of its own, and the one build that is done everywhere: two layers and a step without one."""

    def __init__(self, directory: Path) -> None:
        self.store = Store(Paths(str(directory / "data"), str(directory / "run")))
        self.told = Told()
        self.steps = Steps(self.store, self.told)
        self.executed: list[str] = []

    def build(self, *caches: str) -> Built:
        with fetching(self.store):
            self.steps.remotes += opened(self.store, sources(caches), self.told.warnings.append)
            state = State(AMD64)
            for name, files in (
                ("a", {"one": b"1" * 9000}),
                ("nothing", None),
                ("b", {"two/inner": b"2", "one": b"changed"}),
            ):
                state = self.step(state, name, files)
            self.mount()
            for remote in self.steps.remotes:
                remote.close()  # type: ignore[attr-defined]
        return built(state.layers)

    def step(self, state: State, name: str, files: dict[str, bytes] | None) -> State:
        def execute() -> Outcome:
            self.executed.append(name)
            if files is None:
                return Outcome(None, {"said": "nothing"})
            made = layer(self.store, state.layers, files)
            parent = state.layers[-1].chain_id if state.layers else None
            return Outcome(BuildLayer(made.chain_id, made.diff_id, parent, made.plain_size, made.size), {})

        structure: dict[str, Any] = {
            "kind": "RUN",
            "args": [name],
            "parent": state.chain_id,
            "env": {"SECRET": "hidden"},
        }
        structure["mounts"] = [{"type": "cache", "id": "go", "base": ""}]
        outcome, _ = self.steps.do(Step(1, name), f"place {name}", state, lambda: structure, execute)
        if outcome.layer is None:
            assert outcome.value == {"said": "nothing"}
            return state
        kept = outcome.layer
        return State(AMD64, state.with_layer(kept.diff_id, kept.plain_size, kept.size))

    def mount(self) -> None:
        with ExitStack() as stack:
            directory = cache_mounts.opened(
                self.store,
                "go",
                sharing="shared",
                mode=0o700,
                uid=3,
                gid=4,
                base=None,
                source="",
                stack=stack,
                restore=self.steps.restore_mount,
            )
            self.kept = Path(directory)
            if not (self.kept / "kept").exists():
                self.executed.append("mount")
                (self.kept / "kept").write_text("kept")

    def export(self, result: Built, text: str) -> Digest | None:
        job = CacheJob(
            store=self.store,
            steps=self.steps.used,
            builts=[result],
            warn=self.told.warnings.append,
        )
        with fetching(self.store):
            return build_caches.export(job, targets([text])[0])

    def tops(self, result: Built) -> list[Path]:
        return [Path(self.store.snapshots.path(one.chain_id)) for one in result.layers]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Machine]]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    made: list[Machine] = []

    def make() -> Machine:
        made.append(Machine(tmp_path / str(len(made))))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


@pytest.mark.parametrize(
    ("kind", "compression"),
    [
        ("registry", ""),
        ("registry", ",compression=zstd"),
        ("pyd", ""),
        ("local", ""),
        ("local", ",compression=uncompressed"),
    ],
)
def test_another_machine_does_nothing_again(
    machine: Callable[[], Machine], registry: Registry, tmp_path: Path, kind: str, compression: str
) -> None:
    first, second = machine(), machine()
    result = first.build()
    assert first.executed == ["a", "nothing", "b", "mount"]
    place = tmp_path / "cache"
    served = Served(tmp_path / "served") if kind == "pyd" else None
    host = served.host if served else registry.host
    to = f"type=registry,ref={host}/cache:v1" if kind != "local" else f"type=local,dest={place}"
    digest = first.export(result, f"{to},mode=max{compression}")
    assert second.build(to.replace("dest=", "src=")) == result
    assert second.executed == [] and second.told.hits == 3 and second.told.warnings == []
    assert (second.tops(result)[1] / "two/inner").read_bytes() == b"2"
    assert (second.kept / "kept").read_text() == "kept"
    found = second.kept.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (3, 4, 0o700)
    # it is known there as if it had been done there: also without the remote, and to the next that exports
    again = Steps(second.store, second.told)
    second.steps, used = again, second.steps
    assert second.build() == result and second.executed == []
    second.steps = used
    assert second.export(result, f"{to},mode=max{compression}") == digest
    # and the image can leave
    done = export(Job(store=second.store, builts=[result]), _outputs(f"type=oci,dest={tmp_path / 'out.tar'}"))
    assert done.digest
    if served:
        served.stop()


def _outputs(text: str) -> Any:
    from pyd.build.outputs import parse

    return parse([text])


def test_no_input_of_a_step_is_in_the_cache(machine: Callable[[], Machine], tmp_path: Path) -> None:
    first = machine()
    first.export(first.build(), f"type=local,dest={tmp_path / 'cache'},mode=max,compression=uncompressed")
    everything = b"".join(path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert b"hidden" not in everything and b"changed" in everything


def test_min_is_what_leads_to_the_result(machine: Callable[[], Machine], tmp_path: Path) -> None:
    first, second = machine(), machine()
    result = first.build()
    with fetching(first.store):
        first.step(State(AMD64), "elsewhere", {"stage": b"another"})
    first.executed.clear()
    first.export(result, f"type=local,dest={tmp_path / 'cache'}")
    assert second.build(f"type=local,src={tmp_path / 'cache'}") == result
    assert second.executed == ["mount"]
    with fetching(second.store):
        second.step(State(AMD64), "elsewhere", {"stage": b"another"})
    assert second.executed == ["mount", "elsewhere"]


def test_inline(machine: Callable[[], Machine], registry: Registry) -> None:
    first, second = machine(), machine()
    result = first.build()
    inlined = with_inline([result], first.steps.used)
    assert inlined[0].id != result.id and INLINE in json.loads(inlined[0].config)
    name = f"{registry.host}/cache/inline:1"
    with fetching(first.store):
        export(
            Job(store=first.store, builts=inlined),
            _outputs(f"type=image,name={name},push=true"),
        )
    assert second.build(name) == result
    assert second.executed == ["mount"]


def test_a_cache_that_is_not_there_is_a_warning(machine: Callable[[], Machine], tmp_path: Path) -> None:
    one = machine()
    one.build("127.0.0.1:1/nobody/here", f"type=local,src={tmp_path}/nothing")
    assert one.executed == ["a", "nothing", "b", "mount"]
    assert [text.partition(": ")[0] for text in one.told.warnings] == [
        "failed to import cache from 127.0.0.1:1/nobody/here:latest",
        f"failed to import cache from {tmp_path}/nothing",
    ]


def test_an_export_that_fails(machine: Callable[[], Machine]) -> None:
    one = machine()
    result = one.build()
    with pytest.raises(PydError):
        one.export(result, "type=registry,ref=127.0.0.1:1/nobody/here")
    assert one.export(result, "type=registry,ref=127.0.0.1:1/nobody/here,ignore-error=true") is None
    assert "failed to export cache" in one.told.warnings[0]


# Hostile ones


def tar(name: str = "file", content: bytes = b"x", **more: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        for key, value in more.items():
            setattr(member, key, value)
        file.addfile(member, io.BytesIO(content))
    return out.getvalue()


def packed(content: bytes) -> bytes:
    """What pyd's own packer makes of one file."""
    import tempfile

    from pyd import _native

    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "fs").mkdir(0o755)
        (Path(directory) / "fs/file").write_bytes(content)
        with (Path(directory) / "out").open("wb") as out:
            _native.pack_layer(out.fileno(), Path(directory) / "fs", compression="")
        return (Path(directory) / "out").read_bytes()


STRUCTURE = {"kind": "RUN", "args": ["x"], "parent": ""}
KEY = key_of(STRUCTURE)


def write(place: Path, plain: bytes, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """A layout with a cache of one step; `change` gets config and manifest before they are sealed."""
    blobs = place / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict[str, Any]:
        digest = Digest.of(data)
        (blobs / digest.hex).write_bytes(data)
        return {"digest": digest, "size": len(data)}

    squeezed = put(gzip.compress(plain, mtime=0))
    config: dict[str, Any] = {
        "version": 1,
        "layers": [{"diff_id": Digest.of(plain), "plain_size": len(plain)}],
        "steps": [{"key": KEY, "layer": 0}],
    }
    kind = "application/vnd.oci.image.layer.v1.tar+gzip"
    manifest: dict[str, Any] = {"schemaVersion": 2, "layers": [{"mediaType": kind, **squeezed}]}
    change(config, manifest)
    manifest.setdefault("config", {"mediaType": CONFIG, **put(json.dumps(config).encode())})
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", **put(json.dumps(manifest).encode())}
    (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (place / "oci-layout").write_bytes(LAYOUT_FILE)


def unchanged(config: dict[str, Any], manifest: dict[str, Any]) -> None:
    pass


def hostile() -> dict[str, tuple[bytes, Callable[[dict[str, Any], dict[str, Any]], object]]]:
    good = packed(b"x")
    other = "sha256:" + "0" * 64
    return {
        "a blob that is another": (good, lambda c, m: m["layers"][0].update(digest=other)),
        "a size that lies": (good, lambda c, m: m["layers"][0].update(size=5)),
        "a tar that is another": (good, lambda c, m: c["layers"][0].update(diff_id=other)),
        "a bomb": (packed(bytes(8 << 20)), lambda c, m: c["layers"][0].update(plain_size=10_240)),
        "a tar that cannot be made again": (tar(mtime=5, uname="nobody"), unchanged),
        "a path that leads out": (tar("../../../escaped"), unchanged),
        "a device that is a name": (tar(".wh..wh..opq/x"), unchanged),
        "a layer that is not there": (good, lambda c, m: c["steps"][0].update(layer=1)),
        "a negative layer": (good, lambda c, m: c["steps"][0].update(layer=-1)),
        "a layer that is a text": (good, lambda c, m: c["steps"][0].update(layer="0")),
        "too few layers": (good, lambda c, m: c.update(layers=[])),
        "too many steps": (good, lambda c, m: c.update(steps=[{"key": KEY}] * 200_000)),
        "many layers": (good, lambda c, m: m.update(layers=m["layers"] * 11_000)),
        "a key that is a path": (good, lambda c, m: c["steps"][0].update(key="../../etc/passwd")),
        "a mount that is a path": (good, lambda c, m: c.update(mounts=[{"name": "../x", "layer": 0}])),
        "a value that is a list": (good, lambda c, m: c["steps"][0].update(value=[1])),
        "a huge value": (good, lambda c, m: c["steps"][0].update(value={"x": "y" * 100_000})),
        "another version": (good, lambda c, m: c.update(version=99)),
        "no config": (good, lambda c, m: m.update(config={"mediaType": "x/y", "digest": other, "size": 1})),
        "a config that is huge": (
            good,
            lambda c, m: m.update(config={"mediaType": CONFIG, "digest": other, "size": 1 << 40}),
        ),
        "a config that is not there": (
            good,
            lambda c, m: m.update(config={"mediaType": CONFIG, "digest": other, "size": 10}),
        ),
        "both a manifest and an index": (good, lambda c, m: m.update(manifests=[])),
        "a layer of another kind": (good, lambda c, m: m["layers"][0].update(mediaType="text/html")),
    }


@pytest.mark.parametrize("name", ["nothing wrong", *hostile()])
def test_a_hostile_cache(machine: Callable[[], Machine], tmp_path: Path, name: str) -> None:
    plain, change = hostile().get(name, (packed(b"x"), unchanged))
    write(tmp_path / "cache", plain, change)
    one = machine()
    one.store.paths.make()
    before = set(os.listdir(one.store.paths.snapshots))
    with fetching(one.store):
        one.steps.remotes += opened(one.store, sources([f"type=local,src={tmp_path}/cache"]), one.told.warns)
        outcome, _ = one.steps.do(
            Step(1, "x"), "place", State(AMD64), lambda: STRUCTURE, lambda: Outcome(None, {"was": "executed"})
        )
    if name == "nothing wrong":
        assert outcome.layer is not None and one.told.warnings == []
        return
    assert outcome == Outcome(None, {"was": "executed"})
    assert len(one.told.warnings) == 1 and "\n" not in one.told.warnings[0]
    one.store.trash.sweep(wait=True)
    assert set(os.listdir(one.store.paths.snapshots)) == before
    assert os.listdir(one.store.paths.ingest) == [] and os.listdir(one.store.paths.content) == []
    assert not list(tmp_path.rglob("escaped"))


def test_a_hostile_mount_leaves_an_empty_directory(machine: Callable[[], Machine], tmp_path: Path) -> None:
    one = machine()
    name = cache_mounts.name_of("go")

    def change(config: dict[str, Any], manifest: dict[str, Any]) -> None:
        config["mounts"] = [{"name": name, "layer": 0}]
        config["layers"][0]["diff_id"] = "sha256:" + "0" * 64

    write(tmp_path / "cache", packed(b"x" * 100_000), change)
    one.build(f"type=local,src={tmp_path}/cache")
    assert one.executed == ["a", "nothing", "b", "mount"]
    assert [path.name for path in one.kept.iterdir()] == ["kept"]
    assert "could not be restored" in one.told.warnings[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b", CacheTarget(type="registry", place="docker.io/a/b:latest")),
        ("type=inline", CacheTarget(type="inline")),
        ("type=local,dest=x,tag=t", CacheTarget(type="local", place="x", tag="t")),
        (
            "type=registry,ref=h:1/a,mode=max,ignore-error=true",
            CacheTarget(type="registry", place="h:1/a:latest", mode="max", mounts=True, ignore_error=True),
        ),
        (
            "type=local,dest=x,mode=max,mounts=false,compression=zstd,compression-level=9",
            CacheTarget(type="local", place="x", mode="max", compression="zstd", level=9),
        ),
    ],
)
def test_targets(text: str, expected: CacheTarget) -> None:
    assert targets([text]) == (expected,)


@pytest.mark.parametrize(
    "text",
    ["type=local", "type=registry", "mode=max", "type=nosuch,x=y", "type=local,dest=a,nosuch=1", "A B"],
)
def test_bad_options(text: str) -> None:
    with pytest.raises(InvalidArgument):
        targets([text])
    with pytest.raises(InvalidArgument):
        sources([text])


def test_caches_of_services_say_so() -> None:
    for text in ("type=gha,scope=x", "type=s3,bucket=y", "type=azblob,name=z"):
        with pytest.raises(NotSupported):
            targets([text])
