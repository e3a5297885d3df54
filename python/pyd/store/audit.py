"""Whether what is on disk is what the database says, and putting it right.

Blobs are hashed again, layers must have their directories with the bytes that were unpacked, every row must
have its file and every file its row. Repairing takes away what is damaged, so that the next pull brings
it again: never what is good, and never what cannot be pulled (volumes and what containers wrote).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyd import _native
from pyd.errors import PydError
from pyd.oci.digest import Digest
from pyd.store import audit_builds
from pyd.store.again import differences
from pyd.store.gc import ingest_lock
from pyd.store.locks import acquire, try_acquire

if TYPE_CHECKING:
    from pyd.store import Store

DAMAGED, MISSING, UNUSED = "damaged", "missing", "unused"
_HEX = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Finding:
    """`state`: damaged or missing, which is bad, or unused, which only takes space."""

    state: str
    kind: str  # database, blob, layer, build layer, image, container, volume, file
    name: str
    problem: str
    images: tuple[str, ...] = ()  # ids of those that need it
    repair: str = ""  # what --repair does about it; "" if it can do nothing


@dataclass(frozen=True, slots=True)
class Audit:
    findings: tuple[Finding, ...]
    checked: dict[str, int]  # kind -> how many
    hashed: int  # bytes

    @property
    def is_good(self) -> bool:
        return all(one.state == UNUSED for one in self.findings)


def audit(store: Store, *, quick: bool = False, deep: bool = False) -> Audit:
    """`quick`: sizes are compared, contents are not read. `deep`: each layer is unpacked again from its blob
    and compared, file by file. Layers of builds are packed again. Changes nothing.
    """
    findings: list[Finding] = []
    kinds = ("blobs", "layers", "build layers", "images", "containers", "volumes")
    checked = dict.fromkeys(kinds, 0)
    findings += _database(store)
    hashed = 0
    for digest, size, users in _blobs(store):
        checked["blobs"] += 1
        finding = _blob(store, digest, size, users, quick)
        hashed += 0 if quick or (finding and finding.state == MISSING) else size
        findings += [finding] if finding else []
    for chain_id, size, users in _layers(store):
        checked["layers"] += 1
        finding = _layer(store, chain_id, size, users, deep)
        findings += [finding] if finding else []
    for chain_id in audit_builds.chains(store):
        checked["build layers"] += 1
        finding = _build_layer(store, chain_id, quick)
        findings += [finding] if finding else []
    for row in store.db.query("SELECT id, config FROM images"):
        checked["images"] += 1
        if Digest.of(row["config"].encode()) != row["id"]:
            problem = "its configuration does not match its id"
            findings.append(
                Finding(DAMAGED, "image", row["id"], problem, (row["id"],), "remove the image: pull it again")
            )
    for record in store.containers.list():
        checked["containers"] += 1
        if not os.path.isdir(store.paths.container(record.id)):
            findings.append(Finding(MISSING, "container", record.id, f"{record.name} has no directory"))
    for volume in store.volumes.list():
        checked["volumes"] += 1
        if not os.path.isdir(store.volumes.path(volume.name)):
            findings.append(Finding(MISSING, "volume", volume.name, "it has no directory"))
    return Audit((*findings, *_unused(store)), checked, hashed)


def repair(store: Store, found: Audit) -> tuple[Finding, ...]:
    """Do what the findings say, each looked at again first; those that are put right.

    Waits for pulls that are under way, and keeps others waiting.
    """
    done = []
    fd = acquire(ingest_lock(store))
    try:
        # before anything is taken away, whose files are then of no row either: the next pull can use them
        unknown = {one.name for one in _unknown(store)}
        for one in found.findings:
            if one.repair and (one.name in unknown if one.state == UNUSED else _still(store, one)):
                _take_away(store, one)
                done.append(one)
    finally:
        os.close(fd)
    store.trash.sweep()
    return tuple(done)


def _database(store: Store) -> Iterator[Finding]:
    for row in store.db.query("PRAGMA integrity_check(20)"):
        if row[0] != "ok":
            yield Finding(DAMAGED, "database", store.paths.db, str(row[0]))
    for row in store.db.query("PRAGMA foreign_key_check"):
        problem = f"row {row[1]} of {row[0]} refers to something in {row[2]} that does not exist"
        yield Finding(DAMAGED, "database", store.paths.db, problem)


def _blobs(store: Store) -> list[tuple[str, int, tuple[str, ...]]]:
    """(digest, bytes, images)"""
    found: dict[str, tuple[int, list[str]]] = {}
    for row in store.db.query("SELECT digest, size, image FROM image_blobs ORDER BY digest"):
        found.setdefault(row["digest"], (row["size"], []))[1].append(row["image"])
    return [(digest, size, tuple(images)) for digest, (size, images) in found.items()]


def _blob(store: Store, digest: str, size: int, images: tuple[str, ...], quick: bool) -> Finding | None:
    again = "forget it: the next pull brings it again"
    actual = store.content.size(digest)
    if actual is None:
        return Finding(MISSING, "blob", digest, "its file does not exist", images, again)
    problem = ""
    if actual != size:
        problem = f"it has {actual} bytes, not {size}"
    elif not quick:
        try:
            if _native.hash_file(store.content.path(digest)) != digest:
                problem = "its content does not match its digest"
        except PydError as error:
            problem = error.message
    return Finding(DAMAGED, "blob", digest, problem, images, again) if problem else None


def _layers(store: Store) -> list[tuple[str, int, tuple[str, ...]]]:
    """(chainID, bytes, images)"""
    users: dict[str, list[str]] = {}
    for row in store.db.query("SELECT chain_id, image FROM image_layers"):
        users.setdefault(row["chain_id"], []).append(row["image"])
    rows = store.db.query("SELECT chain_id, size FROM snapshots ORDER BY chain_id")
    return [(row["chain_id"], row["size"], tuple(users.get(row["chain_id"], ()))) for row in rows]


def _layer(
    store: Store, chain_id: str, size: int, images: tuple[str, ...], deep: bool = False, locked: bool = False
) -> Finding | None:
    state, problem = DAMAGED, _lost(store, chain_id, size, deep, locked)
    if not os.path.isdir(store.snapshots.path(chain_id)):
        state, problem = MISSING, "its directory does not exist"
    if not problem:
        return None
    containers = store.db.query("SELECT container FROM container_layers WHERE chain_id = ?", (chain_id,))
    if containers:
        named = ", ".join(row["container"][:12] for row in containers)
        return Finding(state, "layer", chain_id, f"{problem}; container {named} needs it", images)
    return Finding(
        state, "layer", chain_id, problem, images, "remove the images that have it: pull them again"
    )


def _lost(store: Store, chain_id: str, size: int, deep: bool, locked: bool) -> str:
    """What is wrong with the files of a layer."""
    try:
        # Fewer may have a reason (an archive can have a file twice), and more (links that were copied up)
        if not deep and _native.tree_usage(store.snapshots.path(chain_id))[0] >= size:
            return ""
        found = differences(store, chain_id, locked=locked)
    except FileNotFoundError:
        return ""
    except PydError as error:
        return error.message
    if not found:
        return ""
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{', '.join(found[:3])}{more} {'is' if len(found) == 1 else 'are'} not as in the blob"


def _build_layer(store: Store, chain_id: str, quick: bool = False) -> Finding | None:
    found = audit_builds.problem(store, chain_id, quick=quick)
    if found is None:
        return None
    is_missing, problem = found
    images, containers = audit_builds.users(store, chain_id)
    cure = "forget its steps: the next build does them again"
    if containers:
        problem, cure = f"{problem}; container {', '.join(one[:12] for one in containers)} needs it", ""
    elif images:
        cure = "remove the images that have it, and forget its steps: build them again"
    return Finding(MISSING if is_missing else DAMAGED, "build layer", chain_id, problem, images, cure)


def _unused(store: Store) -> Iterator[Finding]:
    """Files that no row knows. While somebody pulls it may be his: then nothing is said about them."""
    fd = try_acquire(ingest_lock(store))
    if fd is None:
        return
    try:
        yield from list(_unknown(store))
    finally:
        os.close(fd)


def _unknown(store: Store) -> Iterator[Finding]:
    paths = store.paths
    layers = {chain_id[7:] for chain_id, _, _ in _layers(store)}
    layers |= {chain_id[7:] for chain_id in audit_builds.chains(store)}
    blobs = {digest[7:] for digest, _, _ in _blobs(store)}
    containers = {record.id for record in store.containers.list()}
    volumes = {record.name for record in store.volumes.list()}
    for room, known, what, cure in (
        (paths.snapshots, layers, "no image, container or build has this layer", "delete it"),
        (paths.content, blobs, "no image has this blob", "delete it"),
        (paths.containers, containers, "no container has this directory", "delete it"),
        # it may be all that is left of somebody's data
        (paths.volumes, volumes, "there is no volume of this name", ""),
    ):
        for name in _names(room):
            if name not in known:
                yield Finding(UNUSED, "file", f"{room}/{name}", what, (), cure)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def _still(store: Store, one: Finding) -> bool:
    """Whether it is as it was found: others have worked meanwhile."""
    if one.kind == "blob":
        return any(
            _blob(store, digest, size, images, False)
            for digest, size, images in _blobs(store)
            if digest == one.name
        )
    if one.kind == "layer":
        return any(
            (found := _layer(store, chain_id, size, images, True, True)) and found.repair
            for chain_id, size, images in _layers(store)
            if chain_id == one.name
        )
    if one.kind == "build layer":
        return (found := _build_layer(store, one.name)) is not None and bool(found.repair)
    return True


def _take_away(store: Store, one: Finding) -> None:
    """Rows first: whoever is killed in between leaves files that no row knows, for the collector."""
    verbs: dict[str, Callable[[], None]] = {
        "blob": lambda: _forget_blob(store, one.name),
        "layer": lambda: _forget_layer(store, one.name),
        "build layer": lambda: _forget_build_layer(store, one.name),
        "image": lambda: store.images.delete(one.name),
        "file": lambda: store.trash.take(one.name),
    }
    verbs[one.kind]()


def _forget_blob(store: Store, digest: str) -> None:
    with store.db.write() as tx:
        tx.execute("DELETE FROM image_blobs WHERE digest = ?", (digest,))
    store.trash.take(store.content.path(digest))


def _forget_build_layer(store: Store, chain_id: str) -> None:
    audit_builds.forget(store, chain_id)
    _forget_layer(store, chain_id)


def _forget_layer(store: Store, chain_id: str) -> None:
    """With the images that cannot be run without it. What else they have is kept for the next pull: the blobs
    are still there.
    """
    with store.db.write() as tx:
        tx.execute(
            "DELETE FROM images WHERE id IN (SELECT image FROM image_layers WHERE chain_id = ?)", (chain_id,)
        )
        tx.execute("DELETE FROM snapshots WHERE chain_id = ?", (chain_id,))
    store.trash.take(os.path.dirname(store.snapshots.path(chain_id)))
