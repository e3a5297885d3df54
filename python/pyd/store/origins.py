"""What is known of blobs beyond their bytes: where else they are, what plain layers were compressed to."""

from __future__ import annotations

from pyd.oci.descriptor import Descriptor
from pyd.oci.digest import Digest
from pyd.oci.reference import Reference
from pyd.store.db import Database


def repositories(db: Database, digest: str, domain: str) -> list[str]:
    """Paths of the repositories of the registry `domain` that the blob was pulled from or pushed to.

    No table of its own is kept: an image keeps the digest under which each repository has it, and keeps its
    blobs. So nothing has to be collected, and what is forgotten costs an upload.
    """
    rows = db.query(
        "SELECT DISTINCT name FROM image_references JOIN image_blobs USING (image) "
        "WHERE digest = ? AND instr(name, '@') > 0 ORDER BY name",
        (digest,),
    )
    found = [Reference.parse(row["name"]) for row in rows]
    return list(dict.fromkeys(reference.path for reference in found if reference.domain == domain))


def compressed(db: Database, diff_id: str) -> Descriptor | None:
    """The blob that a plain layer was compressed to when it was pushed before."""
    rows = db.query("SELECT * FROM compressed_layers WHERE diff_id = ?", (diff_id,))
    if not rows:
        return None
    return Descriptor(rows[0]["media_type"], Digest(rows[0]["digest"]), rows[0]["size"])


def remember(db: Database, diff_id: str, blob: Descriptor) -> None:
    """Let `compressed` find the blob, which is in the content store."""
    with db.write() as tx:
        tx.execute(
            "INSERT OR REPLACE INTO compressed_layers VALUES (?, ?, ?, ?)",
            (diff_id, blob.digest, blob.size, blob.media_type),
        )
