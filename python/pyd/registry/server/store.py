"""What a registry keeps below its root, and the verbs on it. No HTTP here.

ROOT/
  registry.db         repositories, tags, manifests, and which repository shows which blob
  blobs/<algorithm>/  the bytes of blobs
  uploads/            what is on its way in
  token.key           signs tokens
  serve.lock          held by the server

Functions that take a Transaction change something; they run in one, on the writer's thread.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from pyd.errors import Conflict, NotFound, from_os_error
from pyd.registry.server.database import Database, Transaction
from pyd.registry.server.document import BLOB, MANIFEST, Document, invalid
from pyd.registry.server.files import Files
from pyd.registry.server.problem import Problem, blob_unknown, manifest_unknown, name_unknown
from pyd.registry.server.quota import Quota
from pyd.store.locks import try_acquire

_REPOSITORY = "(SELECT id FROM repositories WHERE name = ?)"


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest as it was pushed."""

    digest: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Referrer:
    digest: str
    media_type: str
    size: int
    artifact_type: str
    annotations: str  # JSON object


class Store:
    """`shared`: see `Files`. `create`: make what is missing; without, NotFound is raised."""

    def __init__(self, root: str, shared: str | None = None, *, create: bool = True) -> None:
        self.root = os.path.abspath(root)
        self.files = Files(self.root, shared)
        self.quota = Quota()
        if not create and not os.path.isfile(f"{self.root}/registry.db"):
            raise NotFound(f"there is no registry in {self.root}", "start one: pyd registry serve --root DIR")
        try:
            os.makedirs(self.root, mode=0o700, exist_ok=True)
            self.files.make()
        except OSError as error:
            raise from_os_error(error, f"making {self.root}") from error
        self.db = Database(f"{self.root}/registry.db")
        self.db.query("SELECT 1")
        os.chmod(self.db.path, 0o600)

    def lock(self) -> int:
        """The descriptor that makes this process the one server of the root. Raises Conflict."""
        fd = try_acquire(f"{self.root}/serve.lock")
        if fd is None:
            raise Conflict(f"another process serves {self.root}")
        return fd

    # What is here

    def one(self, sql: str, values: tuple[object, ...] = ()) -> Any:
        """The first row, or None."""
        rows = self.db.query(sql, values)
        return rows[0] if rows else None

    def has_repository(self, name: str) -> bool:
        return bool(self.db.query("SELECT 1 FROM repositories WHERE name = ?", (name,)))

    def repositories(self, after: str, limit: int) -> list[str]:
        """Names with at least one manifest, in order, those behind `after`."""
        rows = self.db.query(
            "SELECT name FROM repositories r WHERE name > ? "
            "AND EXISTS (SELECT 1 FROM manifests WHERE repository = r.id) ORDER BY name LIMIT ?",
            (after, limit),
        )
        return [row[0] for row in rows]

    def tags(self, name: str, after: str, limit: int) -> list[str]:
        rows = self.db.query(
            f"SELECT name FROM tags WHERE repository = {_REPOSITORY} AND name > ? ORDER BY name LIMIT ?",
            (name, after, limit),
        )
        return [row[0] for row in rows]

    def blob_size(self, name: str, digest: str) -> int | None:
        """Bytes of a blob that the repository shows."""
        rows = self.db.query(
            "SELECT size FROM repository_blobs JOIN blobs USING (digest) "
            f"WHERE repository = {_REPOSITORY} AND digest = ?",
            (name, digest),
        )
        return rows[0][0] if rows else None

    def is_forgotten(self, name: str, digest: str, before: float) -> bool:
        """Whether the collector may soon take the blob: no manifest needs it, and its link is older."""
        return bool(
            self.db.query(
                f"SELECT 1 FROM repository_blobs l WHERE repository = {_REPOSITORY} AND digest = ? "
                "AND linked < ? AND NOT EXISTS (SELECT 1 FROM manifest_references "
                "WHERE repository = l.repository AND digest = l.digest)",
                (name, digest, before),
            )
        )

    def holders(self, digest: str) -> list[str]:
        """Repositories that show the blob."""
        rows = self.db.query(
            "SELECT name FROM repository_blobs JOIN repositories r ON r.id = repository WHERE digest = ?",
            (digest,),
        )
        return [row[0] for row in rows]

    def expected_size(self, name: str, digest: str) -> int | None:
        """What the repository's manifests say about a blob that may not be here."""
        rows = self.db.query(
            f"SELECT size FROM manifest_references WHERE repository = {_REPOSITORY} AND digest = ? LIMIT 1",
            (name, digest),
        )
        return rows[0][0] if rows else None

    def tag(self, name: str, tag: str) -> tuple[str, float] | None:
        """(digest, when it was set)"""
        rows = self.db.query(
            f"SELECT digest, updated FROM tags WHERE repository = {_REPOSITORY} AND name = ?", (name, tag)
        )
        return (rows[0][0], rows[0][1]) if rows else None

    def manifest(self, name: str, digest: str) -> Stored | None:
        rows = self.db.query(
            "SELECT digest, media_type, data FROM manifests JOIN documents USING (digest) "
            f"WHERE repository = {_REPOSITORY} AND digest = ?",
            (name, digest),
        )
        return Stored(*rows[0]) if rows else None

    def referrers(
        self, name: str, subject: str, artifact_type: str | None, after: str, limit: int
    ) -> list[Referrer]:
        """In the order of their digests, those behind `after`; None for all types."""
        rows = self.db.query(
            "SELECT digest, media_type, size, artifact_type, annotations FROM manifests "
            f"WHERE repository = {_REPOSITORY} AND subject = ? AND subject <> '' "
            "AND (?3 IS NULL OR artifact_type = ?3) AND digest > ?4 ORDER BY digest LIMIT ?5",
            (name, subject, artifact_type, after, limit),
        )
        return [Referrer(*row) for row in rows]

    # What changes it

    def add_blob(
        self, tx: Transaction, name: str, digest: str, size: int, verified: str | None, *, quota: bool = True
    ) -> None:
        """Show the blob in the repository. `verified`: its bytes, checked and synced; None when a repository
        has it already (a mount), which is looked at again here: the collector may just have taken it.
        """
        is_known = tx.one("SELECT 1 FROM blobs WHERE digest = ?", (digest,)) is not None
        is_here = is_known and self.files.size(digest) == size
        if not is_here and verified is None:
            raise blob_unknown(digest)
        linked = tx.one(
            f"SELECT 1 FROM repository_blobs WHERE repository = {_REPOSITORY} AND digest = ?", (name, digest)
        )
        if quota and linked is None:
            self.quota.check(name, size, tx.one, is_new=not is_known)
        if not is_here and verified is not None:
            self.files.publish(verified, digest)
            tx.renamed_in.add(self.files.directory(digest))
            tx.run("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (digest, size))
        repository = self._repository(tx, name)
        tx.run("INSERT OR REPLACE INTO repository_blobs VALUES (?, ?, ?)", (repository, digest, time.time()))

    def add_shared(self, tx: Transaction, name: str, digest: str) -> bool:
        """Show a blob of pyd's own content store in the repository; False if it is not there."""
        source = self.files.shared_path(digest)
        if source is None or not self.files.link_shared(digest):
            return False
        size = self.files.size(digest)
        assert size is not None
        tx.renamed_in.add(self.files.directory(digest))
        is_known = tx.one("SELECT 1 FROM blobs WHERE digest = ?", (digest,)) is not None
        self.quota.check(name, size, tx.one, is_new=not is_known)
        tx.run("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (digest, size))
        repository = self._repository(tx, name)
        tx.run("INSERT OR REPLACE INTO repository_blobs VALUES (?, ?, ?)", (repository, digest, time.time()))
        return True

    def touch_blob(self, tx: Transaction, name: str, digest: str) -> None:
        """Somebody was told that the blob is here and will not send it again."""
        tx.run(
            f"UPDATE repository_blobs SET linked = ? WHERE repository = {_REPOSITORY} AND digest = ?",
            (time.time(), name, digest),
        )

    def add_manifest(
        self, tx: Transaction, name: str, digest: str, document: Document, tags: tuple[str, ...], check: bool
    ) -> None:
        """Raises Problem when something that it needs is missing (not asked for with `check=False`: a mirror
        fetches blobs when they are wanted).
        """
        repository = self._repository(tx, name)
        if check:
            self._check_needs(tx, repository, document)
        tx.run("INSERT OR IGNORE INTO documents VALUES (?, ?)", (digest, document.data))
        known = tx.one("SELECT 1 FROM manifests WHERE repository = ? AND digest = ?", (repository, digest))
        if known is None:
            tx.run(
                "INSERT INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    repository,
                    digest,
                    document.media_type,
                    len(document.data),
                    document.artifact_type,
                    document.subject,
                    document.annotations,
                    time.time(),
                ),
            )
            for need in document.needs:
                tx.run(
                    "INSERT INTO manifest_references VALUES (?, ?, ?, ?, ?)",
                    (repository, digest, need.digest, need.kind, need.size),
                )
        else:
            tx.run(
                "UPDATE manifests SET media_type = ?, pushed = ? WHERE repository = ? AND digest = ?",
                (document.media_type, time.time(), repository, digest),
            )
        for tag in tags:
            tx.run("INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?)", (repository, tag, digest, time.time()))

    def _check_needs(self, tx: Transaction, repository: int, document: Document) -> None:
        for need in document.needs:
            found = None
            if need.kind == BLOB:
                found = tx.one(
                    "SELECT size FROM repository_blobs JOIN blobs USING (digest) "
                    "WHERE repository = ? AND digest = ?",
                    (repository, need.digest),
                )
            if found is None:
                found = tx.one(
                    "SELECT size FROM manifests WHERE repository = ? AND digest = ?",
                    (repository, need.digest),
                )
            if found is None and not need.optional:
                code = "MANIFEST_BLOB_UNKNOWN" if need.kind == BLOB else "MANIFEST_UNKNOWN"
                # 404 would read as "no such repository" to clients
                raise Problem(
                    400,
                    code,
                    f"the manifest refers to a {need.kind} that is not here",
                    {"digest": need.digest},
                )
            if found is not None and found[0] != need.size:
                raise invalid(f"{need.digest} has {found[0]} bytes, the manifest says {need.size}")

    def remove_manifest(self, tx: Transaction, name: str, digest: str) -> None:
        """The manifest and its tags. Refused while an index of the repository refers to it."""
        row = tx.one(
            "SELECT r.id FROM manifests JOIN repositories r ON r.id = repository "
            "WHERE name = ? AND digest = ?",
            (name, digest),
        )
        if row is None:
            raise manifest_unknown(name, digest)
        user = tx.one(
            "SELECT manifest FROM manifest_references WHERE repository = ? AND digest = ? AND kind = ? "
            "AND manifest <> ?2 LIMIT 1",
            (row[0], digest, MANIFEST),
        )
        if user is not None:
            raise Problem(
                409, "DENIED", "an index refers to this manifest: delete that first", {"index": user[0]}
            )
        tx.run("DELETE FROM manifests WHERE repository = ? AND digest = ?", (row[0], digest))
        self.drop_documents(tx, digest)

    def remove_tag(self, tx: Transaction, name: str, tag: str) -> None:
        if not tx.run(
            f"DELETE FROM tags WHERE repository = {_REPOSITORY} AND name = ?", (name, tag)
        ).rowcount:
            raise manifest_unknown(name, tag)

    def remove_blob(self, tx: Transaction, name: str, digest: str) -> None:
        """Show the blob no more. Refused while a manifest of the repository needs it."""
        user = tx.one(
            f"SELECT manifest FROM manifest_references WHERE repository = {_REPOSITORY} "
            "AND digest = ? LIMIT 1",
            (name, digest),
        )
        if user is not None and self.blob_size(name, digest) is not None:
            raise Problem(
                409, "DENIED", "a manifest needs this blob: delete that first", {"manifest": user[0]}
            )
        if not tx.run(
            f"DELETE FROM repository_blobs WHERE repository = {_REPOSITORY} AND digest = ?", (name, digest)
        ).rowcount:
            raise blob_unknown(digest)

    def remove_repository(self, tx: Transaction, name: str) -> None:
        """The repository with all that it shows; the collector frees the space."""
        if not tx.run("DELETE FROM repositories WHERE name = ?", (name,)).rowcount:
            raise name_unknown(name)
        self.drop_documents(tx)

    @staticmethod
    def drop_documents(tx: Transaction, digest: str | None = None) -> None:
        """Forget the bytes of manifests that no repository has."""
        unused = "NOT EXISTS (SELECT 1 FROM manifests m WHERE m.digest = documents.digest)"
        if digest is None:
            tx.run(f"DELETE FROM documents WHERE {unused}")
        else:
            tx.run(f"DELETE FROM documents WHERE digest = ? AND {unused}", (digest,))

    @staticmethod
    def _repository(tx: Transaction, name: str) -> int:
        tx.run("INSERT OR IGNORE INTO repositories (name) VALUES (?)", (name,))
        return int(tx.one("SELECT id FROM repositories WHERE name = ?", (name,))[0])
