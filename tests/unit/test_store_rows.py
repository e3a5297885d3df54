"""The database: many processes, one truth."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyd.errors import (
    Conflict,
    ContainerNotFound,
    CorruptData,
    ImageNotFound,
    InvalidArgument,
    NotSupported,
    PydError,
    Unavailable,
    VolumeNotFound,
)
from pyd.paths import Paths
from pyd.store import ContainerRecord, NetworkRecord, Store, VolumeRecord


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "data"), str(tmp_path / "run"))


@pytest.fixture
def store(paths: Paths) -> Iterator[Store]:
    store = Store(paths)
    yield store
    store.close()


def record(letter: str, name: str = "", **fields: object) -> ContainerRecord:
    return ContainerRecord((letter * 64)[:64], name or f"name-{letter}", **fields)  # type: ignore[arg-type]


def test_a_container_comes_back_as_it_was(store: Store) -> None:
    store.volumes.ensure(VolumeRecord("v"))
    made = record("a", volumes=("v",), config={"Cmd": ["x"]}, host={"ü": None}, auto_remove=True, exit_code=3)
    store.containers.insert(made)
    assert store.containers.get(made.id) == made
    assert store.containers.get("/name-a") == made
    assert store.containers.get("aaa") == made
    assert store.containers.list() == (made,)


def test_prefixes_are_unique_or_an_error(store: Store) -> None:
    store.containers.insert(record("ab"))
    store.containers.insert(record("ac"))
    with pytest.raises(InvalidArgument, match="Multiple IDs found with provided prefix: a"):
        store.containers.get("a")
    for name in ("", "x", "f", "%", "a%", "_"):
        with pytest.raises(ContainerNotFound, match="No such container: "):
            store.containers.get(name)
    # a name beats the prefix of an id
    store.containers.insert(record("d", "ab"))
    assert store.containers.get("ab").id == "d" * 64


def test_a_name_is_taken_once(store: Store) -> None:
    store.containers.insert(record("a", "web"))
    with pytest.raises(Conflict, match='The container name "/web" is already in use by container "a'):
        store.containers.insert(record("b", "web"))
    store.containers.insert(record("b"))
    with pytest.raises(Conflict):
        store.containers.update("b" * 64, name="web")
    store.containers.update("a" * 64, name="web", state="running", pid=7)
    assert store.containers.get("web").state == "running"
    with pytest.raises(TypeError):
        store.containers.update("a" * 64, nonsense=1)
    with pytest.raises(ContainerNotFound):
        store.containers.update("f" * 64, pid=1)


def test_a_container_needs_its_layers_and_volumes(store: Store) -> None:
    with pytest.raises(ImageNotFound):
        store.containers.insert(record("a", layers=(f"sha256:{'1' * 64}",)))
    with pytest.raises(VolumeNotFound):
        store.containers.insert(record("a", volumes=("nosuch",)))
    assert store.containers.list() == ()


def test_a_volume_in_use_stays(store: Store) -> None:
    store.volumes.ensure(VolumeRecord("v", labels={"a": "b"}))
    Path(store.volumes.path("v"), "data").write_text("x")
    store.containers.insert(record("a", volumes=("v",)))
    with pytest.raises(Conflict, match=f"volume is in use - \\[{'a' * 64}\\]"):
        store.volumes.delete("v")
    store.containers.delete("a" * 64)
    store.volumes.delete("v")
    with pytest.raises(VolumeNotFound):
        store.volumes.get("v")
    store.volumes.ensure(VolumeRecord("v"))
    assert os.listdir(store.volumes.path("v")) == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "..", "-a", "a\n", "ä", "a" * 256])
def test_a_volumes_name_is_no_path(name: str, store: Store) -> None:
    with pytest.raises(InvalidArgument):
        store.volumes.ensure(VolumeRecord(name))


def test_a_directory_without_a_row_is_not_inherited(store: Store) -> None:
    store.db.query("SELECT 1")
    stale = Path(store.paths.volume("v"))
    stale.mkdir(parents=True)
    (stale / "secret").write_text("of somebody else")
    store.volumes.ensure(VolumeRecord("v"))
    assert os.listdir(store.volumes.path("v")) == []


def test_addresses_are_given_once(paths: Paths) -> None:
    store = Store(paths)
    network = store.networks.ensure(NetworkRecord("n" * 64, "bridge"))
    for letter in "abcdef":
        store.containers.insert(record(letter))
    got: list[str] = []

    def claim(letter: str) -> None:
        mine = Store(paths)
        got.append(mine.networks.claim(network.id, letter * 64, [f"10.0.0.{n}" for n in range(2, 8)]))
        mine.close()

    threads = [threading.Thread(target=claim, args=(letter,)) for letter in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [f"10.0.0.{n}" for n in range(2, 8)]
    store.containers.insert(record("9"))
    with pytest.raises(Unavailable):
        store.networks.claim(network.id, "9" * 64, ["10.0.0.2"])
    store.containers.delete("a" * 64)
    assert len(store.networks.addresses(network.id)) == 5
    store.close()


def test_a_newer_schema_is_left_alone(store: Store, paths: Paths) -> None:
    store.db.query("SELECT 1")
    with sqlite3.connect(paths.db) as connection:
        connection.execute("PRAGMA user_version=1000")
    connection.close()
    with pytest.raises(NotSupported, match="newer pyd"):
        Store(paths).containers.list()


def test_a_damaged_database_is_named(paths: Paths) -> None:
    paths.make()
    Path(paths.db).write_bytes(b"not a database" * 1000)
    with pytest.raises(CorruptData, match=r"pyd\.db is damaged"):
        Store(paths).containers.list()


def test_a_root_that_cannot_be_made_is_named() -> None:
    with pytest.raises(PydError, match="/proc/nosuch"):
        Store(Paths("/proc/nosuch", "/proc/nosuch")).containers.list()


WRITER = """
import sys
from pyd.paths import Paths
from pyd.store import ContainerRecord, Store
store = Store(Paths(sys.argv[1], sys.argv[2]))
for number in range(25):
    one = f"{int(sys.argv[3]):032x}{number:032x}"
    store.containers.insert(ContainerRecord(one, f"{sys.argv[3]}-{number}"))
    print(number, flush=True)
"""


def test_many_processes_write_at_once(paths: Paths) -> None:
    command = [sys.executable, "-c", WRITER, paths.data_root, paths.run_root]
    writers = [subprocess.Popen([*command, str(n)], stdout=subprocess.DEVNULL) for n in range(6)]
    assert [writer.wait() for writer in writers] == [0] * 6
    assert len(Store(paths).containers.list()) == 150


def test_what_was_acknowledged_survives_a_kill(paths: Paths) -> None:
    for round in range(4):
        command = [sys.executable, "-c", WRITER, paths.data_root, paths.run_root, str(round)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            acknowledged = [int(writer.stdout.readline()) for _ in range(3 + round)]
            writer.kill()
        names = {each.name for each in Store(paths).containers.list()}
        assert {f"{round}-{number}" for number in acknowledged} <= names


def test_a_lock_has_one_holder(store: Store) -> None:
    order: list[str] = []
    inside = threading.Event()

    def second() -> None:
        inside.wait()
        with store.lock("x", remove=True):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with store.lock("x", remove=True):
        inside.set()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert os.listdir(f"{store.paths.run_root}/locks") == []


def test_a_command_leaves_the_log_for_the_next(paths: Paths) -> None:
    """A log deleted at each end costs 7 ms of every `run`; what is in it must be there all the same."""
    for letter in "abc":
        store = Store(paths)
        store.containers.insert(record(letter))
        store.close()
        assert os.path.getsize(f"{paths.db}-wal") > 0
    first, second = Store(paths), Store(paths)
    assert len(first.containers.list()) == len(second.containers.list()) == 3
    first.close()
    second.containers.insert(record("d"))
    second.close()
    with sqlite3.connect(paths.db) as plain:
        assert plain.execute("SELECT count(*) FROM containers").fetchone() == (4,)
    plain.close()
    # nobody of us was left: SQLite could tidy up
    assert not os.path.exists(f"{paths.db}-wal")
