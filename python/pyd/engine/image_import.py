"""`import`: a file system in a tar archive becomes an image of one layer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from pyd.engine.changes import apply
from pyd.engine.image_pull import Watcher, wanted_platform
from pyd.errors import InvalidArgument, from_os_error
from pyd.oci.descriptor import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor
from pyd.oci.digest import Digest
from pyd.oci.reference import Reference
from pyd.store.fetching import fetching
from pyd.store.images import NewImage
from pyd.store.intake import take_in
from pyd.store.records import BlobRecord, now
from pyd.store.snapshots import Snapshot
from pyd.store.spool import CHUNK, spooled

if TYPE_CHECKING:
    from pyd.store import Store


def import_image(
    store: Store,
    chunks: Iterable[bytes],
    *,
    name: str = "",
    source: str = "-",
    changes: Sequence[str] = (),
    message: str = "",
    platform: str = "",
) -> Digest:
    """The id of the new image. `chunks`: the archive, plain, gzip, bzip2, xz or zstd; `source` is noted in
    the history.
    """
    reference = Reference.parse(name).with_default_tag() if name else None
    if reference and reference.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    defaults: dict[str, Any] = {}
    apply(defaults, changes)
    wanted = wanted_platform(platform)
    with fetching(store), spooled(store.paths, chunks) as (file, hexadecimal):
        size = file.seek(0, 2)
        if not size:
            raise InvalidArgument("the archive to import is empty")
        diff_id = Digest(f"sha256:{hexadecimal}")
        created = now()
        config = {
            "created": created,
            "architecture": wanted.architecture,
            **({"variant": wanted.variant} if wanted.variant else {}),
            "os": wanted.os,
            "config": defaults,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": created, "comment": message or f"Imported from {source}"}],
        }
        data = _encode(config)
        layer = Descriptor(OCI_LAYER, diff_id, size)
        manifest = _encode(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": OCI_CONFIG, "digest": Digest.of(data), "size": len(data)},
                "layers": [{"mediaType": OCI_LAYER, "digest": diff_id, "size": size}],
            }
        )
        blobs = (
            BlobRecord(store.content.put(data), len(data), OCI_CONFIG),
            BlobRecord(store.content.put(manifest), len(manifest), OCI_MANIFEST),
        )

        def make(snapshots: tuple[Snapshot, ...]) -> NewImage:
            kept = store.content.size(diff_id) == size
            return NewImage(
                id=Digest.of(data),
                manifest=Digest.of(manifest),
                config=data,
                blobs=(*blobs, BlobRecord(diff_id, size, OCI_LAYER)) if kept else blobs,
                snapshots=snapshots,
                references=(reference.canonical,) if reference else (),
            )

        take_in(store, [layer], [diff_id], _File(file), Watcher(), make)
    return Digest.of(data)


@contextmanager
def opened(source: str | BinaryIO | Iterable[bytes]) -> Iterator[tuple[Iterable[bytes], str]]:
    """(chunks, what to call it) of an http(s) URL, a path, a file or chunks."""
    if not isinstance(source, str):
        read = getattr(source, "read", None)
        yield (iter(lambda: read(CHUNK), b""), "-") if read else (source, "-")
    elif source.startswith(("http://", "https://")):
        from pyd.registry.download import download

        yield download(source), source
    else:
        try:
            file = open(source, "rb")  # noqa: SIM115
        except OSError as error:
            raise from_os_error(error, f"opening {source}") from error
        with file:
            yield iter(lambda: file.read(CHUNK), b""), os.path.basename(source)


class _File:
    """The spooled archive as the source of the only layer."""

    def __init__(self, file: BinaryIO) -> None:
        self._fd = file.fileno()

    def read(self, layer: Descriptor, offset: int) -> Iterator[bytes]:
        while chunk := os.pread(self._fd, CHUNK, offset):
            offset += len(chunk)
            yield chunk

    def stop(self) -> None:
        """Reading a file does not wait for anybody."""


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
