"""Images in the database: reference -> image ID -> config, layers, blobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyd.errors import CorruptData, ImageNotFound, InvalidArgument
from pyd.oci.digest import Digest
from pyd.oci.image_config import ImageConfig
from pyd.oci.reference import Reference
from pyd.record import Record
from pyd.store import sqlite
from pyd.store.db import Database
from pyd.store.records import ZERO_TIME, BlobRecord, now
from pyd.store.snapshots import Snapshot

Names = list[str]
Chain = list[tuple[str, int]]


class Image(Record):
    """An image that is here completely: its layers are unpacked, its blobs verified."""

    id: Digest  # digest of the config
    manifest: Digest
    references: tuple[str, ...]  # canonical, with tag: docker.io/library/alpine:latest
    digests: tuple[str, ...]  # canonical, with digest, as registries gave them
    platform: str  # linux/amd64
    size: int  # bytes, unpacked
    created: str
    layers: tuple[Digest, ...]  # chainIDs, top first: as ContainerRecord.layers and overlayfs want them
    config: ImageConfig


class ImageSummary(Record):
    """What listing images needs, without parsing their configs."""

    id: Digest
    references: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    created: str
    containers: int  # how many use it


class NewImage(Record):
    """All that is committed at once when an image has arrived."""

    id: Digest
    manifest: Digest
    config: bytes  # JSON, whose digest is `id`
    blobs: tuple[BlobRecord, ...]
    snapshots: tuple[Snapshot, ...]  # all layers, bottom first; those known already are left alone
    references: tuple[str, ...]  # canonical names, tags and digests, that point here from now on


class Images:
    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    def resolve(self, name: str) -> Image:
        """By reference, full or short id (with or without `sha256:`).

        A name wins over an id prefix, as in Docker. Raises ImageNotFound, or InvalidArgument if the prefix is
        ambiguous.
        """
        with self._db.snapshot():
            return self._load(self.resolve_id(name))

    def resolve_id(self, name: str) -> Digest:
        try:
            key = Reference.parse(name).with_default_tag().canonical
        except InvalidArgument:
            key = ""
        rows = self._db.query("SELECT image FROM image_references WHERE name = ?", (key,)) if key else []
        if not rows:
            prefix = name.removeprefix("sha256:")
            if 0 < len(prefix) <= 64 and all(digit in "0123456789abcdef" for digit in prefix):
                low = f"sha256:{prefix}"
                rows = self._db.query(
                    "SELECT id FROM images WHERE id >= ? AND id < ? LIMIT 2", (low, low + "g")
                )
        if not rows:
            raise ImageNotFound(f"No such image: {_with_tag(name)}")
        if len(rows) > 1:
            raise InvalidArgument(f"image id {name!r} is ambiguous", "give more digits of the id")
        return Digest(rows[0][0])

    def find(self, reference: Reference) -> Digest | None:
        """Image ID behind a reference."""
        key = reference.with_default_tag().canonical
        rows = self._db.query("SELECT image FROM image_references WHERE name = ?", (key,))
        return Digest(rows[0]["image"]) if rows else None

    def list(self) -> tuple[ImageSummary, ...]:
        """Newest first."""
        with self._db.snapshot():
            names = self._names()
            rows = self._db.query(
                "SELECT id, size, created, (SELECT count(*) FROM containers WHERE image_id = images.id) "
                "AS containers FROM images ORDER BY created DESC, id"
            )
        return tuple(
            ImageSummary(
                Digest(row["id"]),
                *_split(names.get(row["id"], [])),
                row["size"],
                row["created"],
                row["containers"],
            )
            for row in rows
        )

    def add(self, image: NewImage) -> dict[str, str]:
        """Commit an image whose blobs and snapshot directories are on disk already.

        Returns the references that pointed at another image before, with that image's id.
        """
        config = ImageConfig.parse(image.config)
        moved: dict[str, str] = {}
        with self._db.write() as tx:
            for snapshot in image.snapshots:
                tx.execute(
                    "INSERT OR IGNORE INTO snapshots VALUES (?, ?, ?, ?, ?)",
                    (snapshot.chain_id, snapshot.diff_id, snapshot.parent, snapshot.size, snapshot.created),
                )
            platform = "/".join(part for part in (config.os, config.architecture, config.variant) if part)
            size = _size_of(tx, [snapshot.chain_id for snapshot in image.snapshots])
            tx.execute(
                "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET manifest = excluded.manifest",
                (image.id, image.manifest, image.config.decode(), platform, size, config.created, now()),
            )
            tx.executemany(
                "INSERT OR IGNORE INTO image_layers VALUES (?, ?, ?)",
                [
                    (image.id, position, snapshot.chain_id)
                    for position, snapshot in enumerate(image.snapshots)
                ],
            )
            tx.executemany(
                "INSERT OR IGNORE INTO image_blobs VALUES (?, ?, ?, ?)",
                [(image.id, blob.digest, blob.size, blob.media_type) for blob in image.blobs],
            )
            for name in image.references:
                before = _point(tx, name, image.id)
                if before is not None:
                    moved[name] = before
        return moved

    def add_again(
        self, image_id: str, manifest: str, blobs: Sequence[BlobRecord], references: Sequence[str]
    ) -> bool:
        """For an image that may be here, with all these blobs and names, already: then only the times of the
        names change, which need no sync. False if it is not; then nothing was changed, and `add` is needed.
        """
        with self._db.write(durable=False) as tx:
            row = tx.execute("SELECT manifest FROM images WHERE id = ?", (image_id,)).fetchone()
            if row is None or row["manifest"] != manifest:
                return False
            rows = tx.execute("SELECT digest, media_type FROM image_blobs WHERE image = ?", (image_id,))
            known = {(row["digest"], row["media_type"]) for row in rows}
            if any((blob.digest, blob.media_type) not in known for blob in blobs):
                return False
            rows = tx.execute("SELECT name FROM image_references WHERE image = ?", (image_id,))
            if set(references) - {row["name"] for row in rows}:
                return False
            times = [(now(), name) for name in references]
            tx.executemany("UPDATE image_references SET tagged = ? WHERE name = ?", times)
        return True

    def tag(self, image_id: str, name: str) -> None:
        """Let the canonical reference `name` point at the image."""
        with self._db.write() as tx:
            if not tx.execute("SELECT 1 FROM images WHERE id = ?", (image_id,)).fetchone():
                raise ImageNotFound(f"No such image: {image_id}")
            _point(tx, name, image_id)

    def untag(self, names: Iterable[str]) -> None:
        with self._db.write() as tx:
            tx.executemany("DELETE FROM image_references WHERE name = ?", [(name,) for name in names])

    def delete(self, image_id: str) -> None:
        """Remove the image and all its names. Its blobs and snapshots go with the next collection."""
        with self._db.write() as tx:
            tx.execute("DELETE FROM images WHERE id = ?", (image_id,))

    def users(self, image_id: str) -> tuple[tuple[str, str], ...]:
        """(id, state) of the containers made from it."""
        rows = self._db.query(
            "SELECT id, state FROM containers WHERE image_id = ? ORDER BY created", (image_id,)
        )
        return tuple((row["id"], row["state"]) for row in rows)

    def blobs(self, image_id: str) -> tuple[BlobRecord, ...]:
        rows = self._db.query("SELECT digest, size, media_type FROM image_blobs WHERE image = ?", (image_id,))
        return tuple(BlobRecord(row["digest"], row["size"], row["media_type"]) for row in rows)

    def chain(self, image_id: str) -> tuple[tuple[Digest, int], ...]:
        """(chainID, bytes of that layer), bottom first."""
        rows = self._db.query(
            "SELECT chain_id, size FROM image_layers JOIN snapshots USING (chain_id) "
            "WHERE image = ? ORDER BY position",
            (image_id,),
        )
        return tuple((Digest(row["chain_id"]), row["size"]) for row in rows)

    def tagged(self, image_id: str) -> str:
        """When it got its last tag here, RFC 3339; Docker's "never" if it has none."""
        rows = self._db.query(
            "SELECT max(tagged) AS tagged FROM image_references WHERE image = ? AND instr(name, '@') = 0",
            (image_id,),
        )
        return rows[0]["tagged"] or ZERO_TIME

    def chains(self) -> dict[str, Chain]:
        """(chainID, bytes of that layer) of all images, bottom first."""
        found: dict[str, Chain] = {}
        for row in self._db.query(
            "SELECT image, chain_id, size FROM image_layers JOIN snapshots USING (chain_id) "
            "ORDER BY image, position"
        ):
            found.setdefault(row["image"], []).append((row["chain_id"], row["size"]))
        return found

    def _load(self, image_id: Digest) -> Image:
        rows = self._db.query("SELECT * FROM images WHERE id = ?", (image_id,))
        if not rows:
            raise ImageNotFound(f"No such image: {image_id}")
        row = rows[0]
        layers = self._db.query(
            "SELECT chain_id FROM image_layers WHERE image = ? ORDER BY position DESC", (image_id,)
        )
        try:
            config = ImageConfig.parse(row["config"].encode())
        except CorruptData as error:
            raise CorruptData(f"image {image_id.short} in the database: {error}") from error
        references, digests = _split(self._names(image_id).get(image_id, []))
        return Image(
            id=image_id,
            manifest=Digest(row["manifest"]),
            references=references,
            digests=digests,
            platform=row["platform"],
            size=row["size"],
            created=row["created"],
            layers=tuple(Digest(layer["chain_id"]) for layer in layers),
            config=config,
        )

    def _names(self, image_id: str | None = None) -> dict[str, Names]:
        where, values = (" WHERE image = ?", (image_id,)) if image_id else ("", ())
        names: dict[str, Names] = {}
        for row in self._db.query(f"SELECT name, image FROM image_references{where} ORDER BY name", values):
            names.setdefault(row["image"], []).append(row["name"])
        return names


def _split(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(name for name in names if "@" not in name), tuple(name for name in names if "@" in name)


def _with_tag(name: str) -> str:
    # Docker adds the tag in this message, and scripts match on it
    try:
        return name if "@" in name else Reference.parse(name).with_default_tag().familiar
    except InvalidArgument:
        return name


def _point(tx: sqlite.Connection, name: str, image_id: str) -> str | None:
    """Set the reference; the image that it pointed at before if that was another."""
    row = tx.execute("SELECT image FROM image_references WHERE name = ?", (name,)).fetchone()
    tx.execute(
        "INSERT INTO image_references (name, image, tagged) VALUES (?, ?, ?) "
        "ON CONFLICT (name) DO UPDATE SET image = excluded.image, tagged = excluded.tagged",
        (name, image_id, now()),
    )
    return row["image"] if row and row["image"] != image_id else None


def _size_of(tx: sqlite.Connection, chain: Sequence[str]) -> int:
    return sum(
        tx.execute("SELECT size FROM snapshots WHERE chain_id = ?", (chain_id,)).fetchone()["size"]
        for chain_id in chain
    )
