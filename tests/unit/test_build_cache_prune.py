"""builder du and prune, system df, prune and check on what builds keep."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyd import _native
from pyd.build.cache_mounts import lock_of
from pyd.cli import main as cli
from pyd.engine import build_cache
from pyd.engine.build_cache import Entry, Limits, chosen, entries, prunable
from pyd.errors import InvalidArgument
from pyd.oci.digest import Digest, chain_ids
from pyd.paths import Paths
from pyd.store import Store
from pyd.store.build_cache import BuildLayer, BuildStep
from pyd.store.gc import ingest_lock
from pyd.store.locks import acquire

HOUR = 3600


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("PYD_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("PYD_RUN_ROOT", str(tmp_path / "run"))
    made = Store(Paths())
    made.paths.make()
    yield made
    made.close()


def add_step(
    store: Store, text: str, size: int, *, below: BuildLayer | None = None, hours: float = 0, key: str = ""
) -> BuildLayer:
    """A step whose layer has one file of `size` random bytes, last used `hours` ago."""
    files = Path(store.paths.snapshots) / f"new-{os.urandom(4).hex()}"
    (files / "fs").mkdir(parents=True)
    (files / "fs/file").write_bytes(os.urandom(size))
    fd = os.open(os.devnull, os.O_WRONLY)
    diff_id = Digest(_native.pack_layer(fd, str(files / "fs"), compression="").diff_id)
    os.close(fd)
    chain = chain_ids([*([below.chain_id] if below else []), diff_id])[-1]
    files.rename(Path(store.paths.snapshots) / chain.hex)
    layer = BuildLayer(chain, diff_id, below.chain_id if below else None, size + 2048, size)
    at = time.time() - hours * HOUR
    structure = {"kind": "RUN", "args": ["/bin/sh", "-c", text.removeprefix("RUN ")]}
    store.build_cache.add(BuildStep(key or Digest.of(text.encode()), "place", structure, layer, {}, at, at))
    return layer


def add_mount(store: Store, name: str, size: int) -> Path:
    directory = Path(store.paths.build) / "mounts" / name
    directory.mkdir(parents=True)
    (directory / "data").write_bytes(os.urandom(size))
    store.build_cache.use_mount(name, f"/cache/{name}")
    return directory


def take_into_image(store: Store, layer: BuildLayer) -> str:
    """A row of an image that has the layer too."""
    config = "{}"
    image = Digest.of(config.encode())
    with store.db.write() as tx:
        tx.execute(
            "INSERT INTO images VALUES (?, ?, ?, 'linux/amd64', 1, '', '2020-01-01T00:00:00Z')",
            (image, image, config),
        )
        tx.execute(
            "INSERT INTO snapshots VALUES (?, ?, NULL, ?, '')", (layer.chain_id, layer.diff_id, layer.size)
        )
        tx.execute("INSERT INTO image_layers VALUES (?, 0, ?)", (image, layer.chain_id))
    return image


def du(store: Store) -> int:
    words = ["du", "-sx", "--block-size=1", store.paths.data_root]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[0])


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> list[str]:
    capsys.readouterr()
    assert cli.main(list(words)) == code
    return capsys.readouterr().out.splitlines()


def rows(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, int]]:
    found = json.loads("\n".join(run(capsys, "system", "df", "--json")))
    return {row["Type"]: row for row in found["Rows"]}


def test_an_empty_store(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "builder", "du") == [
        "ID   RECLAIMABLE   SIZE   LAST ACCESSED", "Reclaimable:   0B", "Total:         0B",
    ]  # fmt: skip
    assert run(capsys, "builder", "prune", "-f") == ["Total:\t0B"]
    assert rows(capsys)["Build Cache"] == {
        "Type": "Build Cache", "TotalCount": 0, "Active": 0, "Size": 0, "Reclaimable": 0,
    }  # fmt: skip


def test_du_and_df_agree(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    first = add_step(store, "RUN make", 300_000)
    add_step(store, "RUN make install", 100_000, below=first)
    add_mount(store, "m1", 50_000)
    contexts = Path(store.paths.build) / "contexts"
    contexts.mkdir()
    (contexts / "x").write_bytes(b"1" * 10_000)
    take_into_image(store, first)
    found = json.loads("\n".join(run(capsys, "buildx", "du", "--json")))
    assert sorted((one["Type"], one["Shared"], one["Description"]) for one in found) == [
        ("exec.cachemount", False, "cached mount /cache/m1"),
        ("regular", False, "RUN /bin/sh -c make install"),
        ("regular", True, "RUN /bin/sh -c make"),
        ("source.local", False, "digests of the files of build contexts"),
    ]
    counted = rows(capsys)
    own = sum(one["Size"] for one in found if not one["Shared"])
    assert counted["Build Cache"]["Size"] == counted["Build Cache"]["Reclaimable"] == own > 150_000
    assert counted["Build Cache"]["TotalCount"] == 4
    assert counted["Images"]["Size"] > 300_000
    # SQLite's files may change by the measuring itself
    assert sum(row["Size"] for row in counted.values()) == du(store)
    lines = run(capsys, "builder", "du")
    assert lines[0].split() == ["ID", "RECLAIMABLE", "SIZE", "LAST", "ACCESSED"]
    assert [line.split()[0] for line in lines[-4:]] == ["Shared:", "Private:", "Reclaimable:", "Total:"]
    assert lines[-3].split()[1] == lines[-2].split()[1]
    assert "m1*" in "\n".join(lines)
    verbose = run(capsys, "builder", "du", "--verbose")
    assert any(
        line.split() == ["Description:", "RUN", "/bin/sh", "-c", "make", "install"] for line in verbose
    )
    assert run(
        capsys, "build-cache", "ls", "--format", "{{.ID}} {{.Type}}", "--filter", "type=exec.cachemount"
    ) == ["m1* exec.cachemount"]
    assert "CACHE ID" in "\n".join(run(capsys, "system", "df", "-v"))


def test_what_is_promised_is_freed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    first = add_step(store, "RUN make", 300_000)
    add_step(store, "RUN make install", 100_000, below=first)
    add_mount(store, "m1", 50_000)
    take_into_image(store, first)
    dry = run(capsys, "builder", "prune", "--dry-run")
    assert dry[0] == "To be removed:" and len(dry) == 4
    assert len(entries(store)) == 3, "a dry run changes nothing"
    promised = rows(capsys)["Build Cache"]["Reclaimable"]
    done = run(capsys, "builder", "prune", "-f")
    assert done[-1].removeprefix("Total:\t") == dry[-1].removeprefix("Total reclaimable space: ")
    after = rows(capsys)["Build Cache"]
    assert (after["Size"], after["TotalCount"]) == (0, 1), f"{promised} bytes freed, the shared entry is left"
    assert os.listdir(store.paths.snapshots) == [first.chain_id.hex]
    assert not os.listdir(f"{store.paths.build}/mounts")
    assert run(capsys, "builder", "prune", "-f", "--all")[-1] == "Total:\t0B"
    assert not entries(store)
    assert os.path.isdir(store.snapshots.path(first.chain_id)), "the image has it still"


def test_without_a_yes_nothing_goes(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    add_step(store, "RUN make", 1000)
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    lines = run(capsys, "buildx", "prune")
    assert lines[0] == "WARNING! This will remove all dangling build cache."
    assert any("-c make" in line for line in lines)
    assert len(entries(store)) == 1


def test_a_mount_in_use_stays(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    add_mount(store, "busy", 1000)
    add_mount(store, "idle", 1000)
    fd = acquire(lock_of(store, "busy"), shared=True)
    try:
        assert {entry.id: entry.is_used for entry in entries(store)} == {"busy": True, "idle": False}
        run(capsys, "builder", "prune", "-f", "--all")
        assert os.listdir(f"{store.paths.build}/mounts") == ["busy"]
        # taken into use between the plan and its end
        entry = Entry(id="busy", kind=build_cache.MOUNT, description="", size=1, created=0, used=0, path="x")
        assert build_cache.remove(store, [entry]) == []
    finally:
        os.close(fd)
    run(capsys, "builder", "prune", "-f")
    assert not os.listdir(f"{store.paths.build}/mounts")


def test_layers_outlive_a_build_that_runs(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    layer = add_step(store, "RUN make", 1000)
    fd = acquire(ingest_lock(store), shared=True)
    try:
        capsys.readouterr()
        assert cli.main(["builder", "prune", "-f"]) == 0
        assert "a build or a pull is running" in capsys.readouterr().err
        assert os.path.isdir(store.snapshots.path(layer.chain_id))
    finally:
        os.close(fd)
    store.gc()
    assert not os.path.isdir(store.snapshots.path(layer.chain_id))


def test_what_images_and_cache_share_goes_with_both(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    first = add_step(store, "RUN make", 300_000)
    take_into_image(store, first)
    size = entries(store)[0].size
    assert (
        f"Total reclaimable space: {size / 1000:.4g}kB"
        in run(capsys, "system", "prune", "-a", "--dry-run")[-1]
    )
    # the image alone frees nothing of it
    assert run(capsys, "image", "prune", "-a", "--dry-run")[-1] == "Total reclaimable space: 0B"
    lines = run(capsys, "system", "prune", "-af")
    assert "Deleted build cache objects:" in lines
    assert not os.path.exists(store.snapshots.path(first.chain_id))


def test_system_prune_filters(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    add_step(store, "RUN old", 1000, hours=48)
    add_step(store, "RUN new", 1000, hours=1)
    text = "\n".join(run(capsys, "system", "prune", "--filter", "until=24h", "--dry-run"))
    assert "-c old" in text and "-c new" not in text
    assert run(capsys, "system", "prune", "--filter", "label=x", "--dry-run")[0] == "Nothing to remove"


def entry(name: str, hours: float, size: int, **fields: object) -> Entry:
    at = time.time() - hours * HOUR
    named = {
        "id": name,
        "kind": "regular",
        "description": f"RUN {name}",
        "size": size,
        "created": at,
        "used": at,
    }
    return Entry(**{**named, **fields})  # type: ignore[arg-type]


FOUND = [
    entry("a", 1, 100),
    entry("b", 30, 200, is_shared=True),
    entry("c", 50, 300, kind="exec.cachemount"),
    entry("d", 70, 400, is_used=True),
    entry("e", 90, 500, parent="abc"),
]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, "abcde"),
        ({"until": ["40h"]}, "cde"),
        ({"unused-for": ["40h"], "type": ["regular"]}, "de"),
        ({"id": ["c"]}, "c"),
        ({"description": ["RUN a"]}, "a"),
        ({"shared": ["true"]}, "b"),
        ({"private": ["1"]}, "acde"),
        ({"inuse": ["true"]}, "d"),
        ({"mutable": ["false"]}, "abde"),
        ({"parent": ["sha256:abc"]}, "e"),
    ],
)
def test_filters(filters: dict[str, list[str]], names: str) -> None:
    assert "".join(one.id for one in chosen(FOUND, filters)) == names


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"nonsense": ["1"]}, "invalid filter 'nonsense'"),
        ({"until": ["1h"], "unused-for": ["1h"]}, "conflicting filters"),
        ({"until": ["1h", "2h"]}, "takes one value"),
        ({"shared": ["maybe"]}, "must be true or false"),
        ({"until": ["soon"]}, "invalid time"),
    ],
)
def test_wrong_filters(filters: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        chosen(FOUND, filters)


@pytest.mark.parametrize(
    ("limits", "everything", "free", "names"),
    [
        (None, False, 0, "eca"),  # what was not used for longest goes first; what is used or shared stays
        (None, True, 0, "ecba"),
        (Limits(reserved=900), False, 0, "e"),  # 1300 own bytes: 800 are left
        (Limits(reserved=800), False, 0, "e"),
        (Limits(reserved=799), False, 0, "ec"),
        (Limits(most=1300), False, 0, ""),
        (Limits(most=1000), False, 0, "e"),
        (Limits(free=1000), False, 2000, ""),
        (Limits(free=1000), False, 900, "e"),
        (Limits(free=10_000, reserved=1000), False, 0, "e"),
        (Limits(free=10_000, most=700), False, 0, "eca"),
        (Limits(reserved=10_000), True, 0, ""),
    ],
)
def test_limits(limits: Limits | None, everything: bool, free: int, names: str) -> None:
    removed = prunable(FOUND, {}, everything=everything, limits=limits, free=free)
    assert "".join(one.id for one in removed) == names


def test_check_packs_layers_again(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, gone = (add_step(store, f"RUN {name}", 1000) for name in ("good", "bad", "gone"))
    unknown = Path(store.paths.snapshots) / ("c" * 64)
    unknown.mkdir()

    def harmed(*words: str, code: int = 1) -> set[tuple[str, str, str]]:
        lines = map(json.loads, run(capsys, "system", "check", "--json", *words, code=code))
        return {(one["State"], one["Kind"], one["Name"]) for one in lines}

    unused = ("unused", "file", str(unknown))
    assert harmed(code=0) == {unused}
    file = Path(store.snapshots.path(bad.chain_id)) / "file"
    file.write_bytes(b"x" + file.read_bytes()[1:])
    shutil.rmtree(Path(store.snapshots.path(gone.chain_id)).parent)
    missing = ("missing", "build layer", str(gone.chain_id))
    assert harmed() == {("damaged", "build layer", str(bad.chain_id)), missing, unused}
    assert harmed("--quick") == {missing, unused}
    run(capsys, "system", "check", "--repair")
    assert harmed(code=0) == set()
    assert [one.description for one in entries(store)] == ["RUN /bin/sh -c good"]
    assert os.listdir(store.paths.snapshots) == [good.chain_id.hex]
    # an image that has a damaged layer goes with it: the next build makes it
    take_into_image(store, good)
    (Path(store.snapshots.path(good.chain_id)) / "file").write_bytes(b"")
    said = "\n".join(run(capsys, "system", "check", "--repair"))
    assert "needed by" in said
    assert not entries(store) and not os.listdir(store.paths.snapshots)


@pytest.mark.parametrize(
    ("structure", "text"),
    [
        ({"kind": "RUN", "args": ["/bin/sh", "-c", "a\nb"]}, "RUN /bin/sh -c a b"),
        ({"kind": "COPY", "dest": "/x", "files": "sha256:1"}, "COPY … /x"),
        ({"kind": "ADD", "sources": ["a", "b"], "dest": "/x/"}, "ADD a b /x/"),
        ({"kind": "WORKDIR", "path": "/w"}, "WORKDIR /w"),
        ({"kind": "URL"}, "URL"),
        ({}, "step"),
    ],
)
def test_descriptions(structure: dict[str, object], text: str) -> None:
    assert build_cache._text(structure) == text
