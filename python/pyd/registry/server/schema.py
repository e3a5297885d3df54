"""The tables of a registry, as a list of migrations. Never change one that was released.

The bytes of manifests lie here too, so that a manifest, its references and its tag appear in one transaction.
Blobs are files; their rows are written after the file is on disk, and removed before it is deleted.
"""

from __future__ import annotations

_FIRST = (
    """CREATE TABLE repositories (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT""",
    """CREATE TABLE blobs (
        digest TEXT PRIMARY KEY,
        size INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # Which blobs a repository shows. `linked` is when it was pushed, mounted or asked for: the collector's
    # grace
    """CREATE TABLE repository_blobs (
        repository INTEGER NOT NULL REFERENCES repositories(id) ON DELETE CASCADE,
        digest TEXT NOT NULL REFERENCES blobs(digest),
        linked REAL NOT NULL,
        PRIMARY KEY (repository, digest)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX repository_blobs_digest ON repository_blobs(digest)",
    """CREATE TABLE documents (
        digest TEXT PRIMARY KEY,
        data BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE manifests (
        repository INTEGER NOT NULL REFERENCES repositories(id) ON DELETE CASCADE,
        digest TEXT NOT NULL REFERENCES documents(digest),
        media_type TEXT NOT NULL,
        size INTEGER NOT NULL,
        artifact_type TEXT NOT NULL,    -- "" for none
        subject TEXT NOT NULL,          -- digest, "" for none
        annotations TEXT NOT NULL,      -- JSON object
        pushed REAL NOT NULL,
        PRIMARY KEY (repository, digest)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX manifests_subject ON manifests(repository, subject) WHERE subject <> ''",
    "CREATE INDEX manifests_digest ON manifests(digest)",
    # config and layers ("blob"), entries of an index ("manifest")
    """CREATE TABLE manifest_references (
        repository INTEGER NOT NULL,
        manifest TEXT NOT NULL,
        digest TEXT NOT NULL,
        kind TEXT NOT NULL,
        size INTEGER NOT NULL,
        PRIMARY KEY (repository, manifest, digest),
        FOREIGN KEY (repository, manifest) REFERENCES manifests(repository, digest) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX manifest_references_digest ON manifest_references(repository, digest)",
    """CREATE TABLE tags (
        repository INTEGER NOT NULL,
        name TEXT NOT NULL,
        digest TEXT NOT NULL,
        updated REAL NOT NULL,
        PRIMARY KEY (repository, name),
        FOREIGN KEY (repository, digest) REFERENCES manifests(repository, digest) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX tags_digest ON tags(repository, digest)",
)

MIGRATIONS = (_FIRST,)
