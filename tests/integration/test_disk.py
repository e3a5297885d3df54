"""system df against du(1), prunes against what they said they would do, system check against harm, rmi."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import FakeImage, FakeRegistry, serving
from tests.integration.test_explore import docker_archive
from tests.support.command import Pyd, wait_until


@pytest.fixture
def store(tmp_path: Path) -> dict[str, str]:
    """An environment with a store of its own."""
    return {"PYD_DATA_ROOT": str(tmp_path / "data"), "PYD_RUN_ROOT": str(tmp_path / "run")}


@pytest.fixture
def filled(tmp_path: Path, pyd: Pyd, store: dict[str, str], rootfs: Path) -> dict[str, str]:
    """Everything that takes space: images that share layers, one without a name, containers with logs and
    files, volumes of both kinds, a download, trash.
    """
    archive = tmp_path / "root.tar"
    subprocess.run(["tar", "-C", rootfs, "-cf", archive, "."], check=True)
    pyd("import", archive, "busybox", env=store)
    base, source = {"base": os.urandom(300_000)}, random.Random(1)
    images = {
        f"img{number}:1": FakeImage.of(base, {f"f{number}": source.randbytes(100_000 * number)})
        for number in (1, 2)
    }
    pyd("load", "-q", "-i", docker_archive(tmp_path / "images.tar", images), env=store)
    # the name moves to another image: the first has none then
    other = {"img2:1": FakeImage.of({"own": source.randbytes(200_000)})}
    pyd("load", "-q", "-i", docker_archive(tmp_path / "other.tar", other), env=store)
    run = ("run", "--network", "none")
    pyd(*run, "-d", "--name", "up", "-v", "kept:/k", "busybox", "sh", "-c", "echo up; sleep 1000", env=store)
    script = "head -c 400000 /dev/urandom > /v/x; head -c 250000 /dev/urandom > /y; seq 30000"
    pyd(*run, "--name", "down", "-v", "/v", "--label", "k=v", "busybox", "sh", "-c", script, env=store)
    pyd(*run, "-d", "--name", "anon", "-v", "/v", "busybox", "sh", "-c", "echo 1 > /v/x", env=store)
    pyd("wait", "anon", env=store)
    pyd("volume", "create", "named", env=store)
    Path(store["PYD_DATA_ROOT"], "volumes/named/_data/z").write_bytes(os.urandom(70_000))
    (Path(store["PYD_DATA_ROOT"]) / "ingest" / f"{'a' * 64}.partial").write_bytes(os.urandom(123_456))
    # as `pyd registry serve` shares blobs with the images
    blob = max(
        (Path(store["PYD_DATA_ROOT"]) / "content/sha256").iterdir(), key=lambda path: path.stat().st_size
    )
    (Path(store["PYD_DATA_ROOT"]) / "registry").mkdir()
    os.link(blob, Path(store["PYD_DATA_ROOT"]) / "registry/shared")
    os.sync()
    return store


@pytest.fixture(autouse=True)
def emptied(pyd: Pyd, store: dict[str, str]) -> Any:
    yield
    left = Path(store["PYD_DATA_ROOT"], "containers")
    if left.is_dir() and os.listdir(left):
        pyd("rm", "-f", *os.listdir(left), env=store, code=None)


def du(store: dict[str, str]) -> int:
    words = ["du", "-sx", "--block-size=1", store["PYD_DATA_ROOT"]]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[0])


def df(pyd: Pyd, store: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = pyd("system", "df", "--json", env=store).json()
    return found


def swept(store: dict[str, str]) -> None:
    trash = Path(store["PYD_DATA_ROOT"], "trash")
    wait_until(lambda: not os.listdir(trash), 30, "the trash is emptied")


def database(pyd: Pyd, store: dict[str, str]) -> int:
    return next(int(row["Size"]) for row in df(pyd, store)["Rows"] if row["Type"] == "Database")


def test_df_adds_up_to_du(filled: dict[str, str], pyd: Pyd) -> None:
    found = df(pyd, filled)
    assert found["Total"] == du(filled) == sum(row["Size"] for row in found["Rows"])
    rows = {row["Type"]: row for row in found["Rows"]}
    assert list(rows)[:4] == ["Images", "Containers", "Local Volumes", "Build Cache"]
    counts = {kind: (row["TotalCount"], row["Active"]) for kind, row in rows.items()}
    assert counts["Images"] == (4, 1)
    assert counts["Containers"] == (3, 1)
    assert counts["Local Volumes"] == (4, 3)
    assert rows["Containers"]["Reclaimable"] > 250_000
    assert rows["Container Logs"]["Size"] > 30_000 * 5
    assert rows["Downloads"]["Size"] >= 123_456 and rows["Downloads"]["Reclaimable"] == 0
    # each layer and blob once, and each again in what is shared
    shared = {image["SharedSize"] for image in found["Images"]}
    assert max(shared) > 300_000
    unique = sum(image["UniqueSize"] for image in found["Images"])
    once = rows["Images"]["Size"] + rows["Image Blobs"]["Size"]
    assert once == unique + max(shared), "two images share one layer and its blob"
    lines = pyd("system", "df", env=filled).lines
    assert lines[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert lines[4].split() == ["Build", "Cache", "0", "0", "0B", "0B"]
    verbose = pyd("system", "df", "-v", env=filled).stdout
    for title in ("Images space usage:", "Containers space usage:", "Local Volumes space usage:"):
        assert title in verbose
    assert "SHARED SIZE   UNIQUE SIZE   CONTAINERS" in verbose
    assert pyd("system", "df", "--format", "{{.Type}}={{.TotalCount}}", env=filled).lines[0] == "Images=4"
    assert json.loads(pyd("system", "df", "--format", "json", env=filled).lines[0])["Type"] == "Images"


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (("container",), ("Containers", "Container Logs")),
        (("image", "-a"), ("Images", "Image Blobs")),
        (("volume", "-a"), ("Local Volumes",)),
        (("system", "-a", "--volumes"), None),
    ],
)
def test_what_is_reclaimable_is_freed(
    filled: dict[str, str], pyd: Pyd, words: tuple[str, ...], rows: tuple[str, ...] | None
) -> None:
    command = (words[0], "prune", *words[1:])
    before = df(pyd, filled)
    promised = (
        sum(row["Reclaimable"] for row in before["Rows"] if row["Type"] in rows)
        if rows
        else before["Reclaimable"]
    )
    shown = pyd(*command, "--dry-run", env=filled)
    assert df(pyd, filled)["Rows"] == before["Rows"], "a dry run changes nothing"
    assert promised > 0
    disk, log = du(filled), database(pyd, filled)
    done = pyd(*command, "-f", env=filled)
    swept(filled)
    # the database grows by the writing of it
    freed = disk - du(filled) + database(pyd, filled) - log
    assert freed == promised
    total = shown.lines[-1].removeprefix("Total reclaimable space: ")
    assert done.lines[-1] == f"Total reclaimed space: {total}"
    listed = {line.split()[2] for line in shown.lines[1:-1]}
    removed = " ".join(done.stdout.split())
    assert listed and all(one in removed for one in listed), (shown, done)
    assert pyd(*command, "--dry-run", env=filled).lines[0] == "Nothing to remove"


def test_filters(filled: dict[str, str], pyd: Pyd) -> None:
    def would(*words: str) -> list[str]:
        lines = pyd(*words, "--dry-run", env=filled).lines
        return sorted(line.split(maxsplit=3)[3].split()[0] for line in lines[1:-1])

    assert would("container", "prune") == ["anon", "down"]
    assert would("container", "prune", "--filter", "label=k=v") == ["down"]
    assert would("container", "prune", "--filter", "label!=k=v") == ["anon"]
    assert would("container", "prune", "--filter", "until=1h") == []
    # what was img2:1 has no name any more
    assert would("image", "prune", "-a") == ["<none>", "img1:1", "img2:1"]
    assert would("image", "prune") == ["<none>"]
    assert would("image", "prune", "-a", "--filter", "until=2020-01-01T00:00:00Z") == []
    result = pyd("system", "prune", "--volumes", "--filter", "until=1h", code=1, env=filled)
    assert 'The "until" filter is not supported with "--volumes"' in result.stderr
    assert "invalid filter 'x'" in pyd("container", "prune", "--filter", "x=1", code=1, env=filled).stderr


def test_the_question_shows_what_it_is_about(filled: dict[str, str], pyd: Pyd) -> None:
    asked = pyd("system", "prune", "-a", "--volumes", "--filter", "label!=zz", input="n\n", env=filled)
    for line in (
        "WARNING! This will remove:",
        "  - all stopped containers",
        "  - all networks not used by at least one container",
        "  - all anonymous volumes not used by at least one container",
        "  - all images without at least one container associated to them",
        "  - all build cache",
        "  Items to be pruned will be filtered with:",
        "  - label!=zz",
    ):
        assert line in asked.lines, asked
    assert asked.stdout.endswith("Are you sure you want to continue? [y/N] ")
    assert any("down (busybox, exited)" in line for line in asked.lines)
    assert len(pyd("ps", "-aq", env=filled).lines) == 3, "no is no"
    said = pyd("container", "prune", input="y\n", env=filled)
    assert "WARNING! This will remove all stopped containers." in said.stdout
    assert "Deleted Containers:\n" in said.stdout and len(pyd("ps", "-aq", env=filled).lines) == 1
    pruned = pyd("image", "prune", "-a", "-f", env=filled).stdout
    assert "Deleted Images:\n" in pruned and "untagged: img1:1\n" in pruned and "deleted: sha256:" in pruned
    assert "Nothing to remove" in pyd("network", "prune", "--dry-run", env=filled).stdout


# ---- system check


def harmed(pyd: Pyd, store: dict[str, str], *words: str) -> set[tuple[str, str]]:
    lines = pyd("system", "check", "--json", *words, env=store, code=None).lines
    return {(json.loads(line)["State"], json.loads(line)["Kind"]) for line in lines}


def test_check_finds_harm_and_repairs_it(tmp_path: Path, pyd: Pyd, store: dict[str, str]) -> None:
    layers = [{f"{number}/file": os.urandom(50_000)} for number in range(3)]
    image, good = FakeImage.of(*layers), FakeImage.of({"good": b"1"})
    with serving(FakeRegistry()) as registry:
        registry.add("a", image)
        registry.add("b", good)
        name, other = f"{registry.host}/a", f"{registry.host}/b"
        pyd("pull", "-q", name, env=store)
        pyd("pull", "-q", other, env=store)
        data = Path(store["PYD_DATA_ROOT"])
        assert harmed(pyd, store) == set() == harmed(pyd, store, "--deep")

        def blob(digest: str) -> Path:
            return data / "content/sha256" / digest[7:]

        config = blob(image.id)
        content = config.read_bytes()
        harms: list[tuple[bytes | None, bool]] = [
            (content[:-1] + b"!", False),
            (content + b"!", True),
            (None, True),
        ]
        for harm, is_quickly_seen in harms:
            if harm is None:
                config.unlink()
            else:
                config.write_bytes(harm)
            kind = "damaged" if harm else "missing"
            assert harmed(pyd, store, "--quick") == ({(kind, "blob")} if is_quickly_seen else set())
            assert pyd("system", "check", env=store, code=1).stdout.count("\n") >= 3
            pyd("system", "check", "--repair", env=store)
            assert harmed(pyd, store) == set()
            pyd("pull", "-q", name, env=store)
            assert config.exists() and harmed(pyd, store) == set()

        (file,) = data.glob("snapshots/*/fs/1/file")
        content = file.read_bytes()
        file.write_bytes(content[:-1] + b"!")
        assert harmed(pyd, store) == set() and harmed(pyd, store, "--deep") == {("damaged", "layer")}
        file.write_bytes(content[:-1])
        assert harmed(pyd, store) == {("damaged", "layer")}
        said = pyd("system", "check", "--repair", env=store).stdout
        assert f"needed by {name}:latest" in said and "/1/file is not as in the blob" in said
        assert pyd("images", "--format", "{{.Repository}}", env=store).lines == [other]
        pyd("pull", "-q", name, env=store)
        assert harmed(pyd, store, "--deep") == set()
        shutil.rmtree(file.parent.parent.parent)
        assert harmed(pyd, store) == {("missing", "layer")}
        # what a container needs is not taken from it
        container = pyd("create", name, env=store).out
        assert f"container {container[:12]} needs it" in pyd("system", "check", env=store, code=1).stdout
        pyd("system", "check", "--repair", env=store, code=1)
        pyd("rm", container, env=store)
        pyd("system", "check", "--repair", env=store)
        pyd("pull", "-q", name, env=store)

    for unknown in ("content/sha256/junk", f"snapshots/{'b' * 64}", f"volumes/{'c' * 64}"):
        (data / unknown).mkdir()
    assert harmed(pyd, store) == {("unused", "file")}
    pyd("system", "check", "--repair", env=store)
    assert (data / f"volumes/{'c' * 64}").is_dir(), "data of a volume is nobody's to delete"
    assert not (data / "content/sha256/junk").exists() and not (data / f"snapshots/{'b' * 64}").exists()
    assert len(pyd("images", "-q", env=store).lines) == 2


# ---- rmi: renamed at once, deleted by somebody else


def many_files(tmp_path: Path, pyd: Pyd, store: dict[str, str], count: int) -> None:
    tree = tmp_path / "many"
    for number in range(count // 500):
        (tree / str(number)).mkdir(parents=True)
        for name in range(500):
            (tree / str(number) / str(name)).write_bytes(b"")
    deep = tree / "deep"
    deep.mkdir()
    script = "for i in $(seq 1200); do mkdir d && cd -P d || exit 1; done"
    subprocess.run(["sh", "-c", script], cwd=deep, check=True)
    archive = tmp_path / "many.tar"
    subprocess.run(["tar", "-C", tree, "-cf", archive, "."], check=True)
    pyd("import", archive, "many", env=store)
    # the standard library, by which pytest tidies up, cannot remove a tree as deep
    subprocess.run(["rm", "-rf", str(tree)], check=True)


def sweepers(store: dict[str, str]) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(word.endswith("/sweeper.py") for word in words) and f"{store['PYD_DATA_ROOT']}/trash" in words:
            found.append(int(path.parent.name))
    return found


def test_rmi_deletes_behind_our_back(tmp_path: Path, pyd: Pyd, store: dict[str, str]) -> None:
    count = int(os.environ.get("PYD_TEST_RMI_FILES", "3000"))
    trash = Path(store["PYD_DATA_ROOT"], "trash")
    many_files(tmp_path, pyd, store, count)
    began = time.monotonic()
    answer = pyd("rmi", "many", env=store)
    took = time.monotonic() - began
    assert answer.lines[0] == "Untagged: many:latest" and answer.lines[1].startswith("Deleted: sha256:")
    assert took < 5, f"{took:.1f} s for {count} files"
    assert os.listdir(Path(store["PYD_DATA_ROOT"], "snapshots")) == []
    pids = sweepers(store)
    if pids:  # on a fast disk it may have ended already
        assert len(pids) == 1
        # killed: the next command that has something to delete goes on
        os.kill(pids[0], signal.SIGKILL)
        wait_until(lambda: not sweepers(store), 5)
        pyd("image", "prune", "-f", env=store)
    swept(store)
    assert os.listdir(trash) == []


def test_sweepers_do_not_fight(tmp_path: Path) -> None:
    """Four at once on one trash, and more comes meanwhile: one works, all is gone, none is left."""
    trash = tmp_path / "trash"
    trash.mkdir()

    def add(name: str) -> None:
        for number in range(20):
            (tmp_path / name / str(number)).mkdir(parents=True)
            for file in range(50):
                (tmp_path / name / str(number) / str(file)).write_bytes(b"")
        (tmp_path / name).rename(trash / name)  # whole, as all comes there

    import pyd as package

    add("first")
    script = Path(package.__file__).parent / "store/sweeper.py"
    command = [sys.executable, "-I", "-S", str(script), str(trash)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    add("second")
    started.append(subprocess.Popen(command, stderr=subprocess.PIPE))
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0 and not errors, errors
    assert os.listdir(trash) == []


def test_rmi_in_dockers_words(pyd: Pyd, images: Callable[[str], str]) -> None:
    name, other = images("busybox"), "nobody/else:1"
    image = pyd("images", "-q", "--no-trunc", name).out
    short = image[7:19]
    pyd("tag", name, other)
    container = pyd("create", "--network", "none", name, "sleep", "100").out
    try:
        assert "is using its referenced image" not in pyd("rmi", other).stderr, "it has another name"
        stopped = pyd("rmi", image[7:20], code=1).stderr
        assert f"unable to delete {short} (must be forced)" in stopped
        assert f"image is being used by stopped container {container[:12]}" in stopped
        pyd("start", container)
        running = pyd("rmi", "-f", image[7:20], code=1).stderr
        assert (
            f"unable to delete {short} (cannot be forced) - image is being used by running container"
            in running
        )
    finally:
        pyd("rm", "-f", container)
    assert "No such image: nosuch:latest" in pyd("rmi", "nosuch", name + "x", code=1).stderr
    assert pyd("images", "-q", "--no-trunc", name).out == image
