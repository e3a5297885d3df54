"""An OCI image layout (OCI image spec, image-layout.md) as source and as sink of a copy."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pyd.engine.transports.checked import Checked
from pyd.errors import CorruptData, ImageNotFound, InvalidArgument, from_os_error
from pyd.oci.descriptor import OCI_INDEX, Descriptor
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST, parse
from pyd.oci.manifest import Index, parse_manifest
from pyd.oci.reference import Reference
from pyd.registry.push import EXISTS, PUSHED
from pyd.registry.served import Served
from pyd.registry.upload import Sent
from pyd.store.content import fsync_dir
from pyd.store.locks import exclusive

if TYPE_CHECKING:
    from pyd.engine.transports import Source

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
_CHUNK = 1 << 20
Entries = Callable[[Served], list[dict[str, Any]]]
"""What index.json says of a root: an entry for each of its names."""


class Files(Protocol):
    """The files of a layout, in a directory or in an archive."""

    name: str

    def small(self, path: str) -> bytes:
        """At most MAX_MANIFEST bytes. Raises CorruptData for a file that is not there."""

    def chunks(self, path: str, offset: int) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class Directory:
    def __init__(self, path: str) -> None:
        self.name = path
        if not os.path.isdir(path):
            raise ImageNotFound(f"no OCI image layout at {path}")

    def small(self, path: str) -> bytes:
        try:
            with open(f"{self.name}/{path}", "rb") as file:
                data = file.read(MAX_MANIFEST + 1)
        except OSError as error:
            raise from_os_error(error, f"reading {self.name}/{path}") from error
        if len(data) > MAX_MANIFEST:
            raise CorruptData(f"{self.name}/{path} is larger than {MAX_MANIFEST} bytes")
        return data

    def chunks(self, path: str, offset: int) -> Iterator[bytes]:
        try:
            with open(f"{self.name}/{path}", "rb", buffering=0) as file:
                file.seek(offset)
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise from_os_error(error, f"reading {self.name}/{path}") from error

    def close(self) -> None: ...


class LayoutSource:
    """`name`: of the entry of index.json, a tag or a digest; "" when there is only one."""

    def __init__(self, files: Files, name: str) -> None:
        self._files = files
        self._name = name

    def root(self) -> Served:
        index = parse_manifest(self._files.small("index.json"), OCI_INDEX)
        if not isinstance(index, Index):
            raise CorruptData(f"index.json of {self._files.name} is no index")
        found = [entry for entry in index.manifests if not self._name or self._name in names_of(entry)]
        if len(found) == 1:
            return self.manifest(found[0])
        known = sorted(name for entry in index.manifests for name in names_of(entry))
        hint = f"it has: {', '.join(known)[:500]}" if known else None
        if not found:
            raise ImageNotFound(f"{self._files.name} has no image {self._name or 'at all'}", hint)
        raise InvalidArgument(f"{self._files.name} has {len(found)} images: say which", hint)

    def manifest(self, entry: Descriptor) -> Served:
        data = self._files.small(blob_path(entry.digest))
        if Digest.of(data) != entry.digest or len(data) != entry.size:
            raise CorruptData(f"manifest {entry.digest} of {self._files.name} is not what its name says")
        return Served(data, entry.media_type, entry.digest)

    def read(self, blob: Descriptor, offset: int) -> Iterator[bytes]:
        return self._files.chunks(blob_path(blob.digest), offset)

    def repositories(self, blob: Descriptor, domain: str) -> Sequence[str]:
        return ()

    def stop(self) -> None:
        """Reading a file does not wait for anybody."""

    def close(self) -> None:
        self._files.close()


class LayoutSink:
    """Other images of the layout stay; one of the same name is replaced. Every file is durable before the
    index names it.
    """

    workers = 2

    def __init__(self, path: str, name: str, entries: Entries | None = None) -> None:
        self._path = path
        self._name = name
        self._entries = entries
        self._blobs = f"{path}/blobs/sha256"
        try:
            os.makedirs(self._blobs, exist_ok=True)
        except OSError as error:
            raise from_os_error(error, f"making {self._blobs}") from error

    def send(self, blob: Descriptor, source: Source, sent: Sent) -> str:
        path = f"{self._blobs}/{blob.digest.hex}"
        if os.path.exists(path) and os.path.getsize(path) == blob.size:
            return EXISTS
        write_file(path, Checked(source, blob)(0), sent)
        return PUSHED

    def put(self, served: Served) -> None:
        write_file(f"{self._blobs}/{served.digest.hex}", iter((served.data,)))

    def finish(self, root: Served, source: Source) -> None:
        self.put(root)
        fsync_dir(self._blobs)
        fsync_dir(f"{self._path}/blobs")
        with exclusive(f"{self._path}/.index.lock", remove=True):
            document = self._index()
            for entry in self._entries(root) if self._entries else [index_entry(root, self._name)]:
                document["manifests"] = [
                    *(old for old in document["manifests"] if not _replaced(old, entry)),
                    entry,
                ]
            write_file(f"{self._path}/oci-layout", iter((LAYOUT_FILE,)))
            write_file(f"{self._path}/index.json", iter((encode(document),)))
            fsync_dir(self._path)

    def stop(self) -> None: ...

    def close(self) -> None: ...

    def _index(self) -> dict[str, Any]:
        try:
            with open(f"{self._path}/index.json", "rb") as file:
                document = parse(file.read(MAX_MANIFEST + 1), f"{self._path}/index.json")
        except FileNotFoundError:
            return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        except OSError as error:
            raise from_os_error(error, f"reading {self._path}/index.json") from error
        if not isinstance(document.get("manifests"), list):
            raise CorruptData(f"{self._path}/index.json is no index")
        return document


def write_file(path: str, chunks: Iterator[bytes], sent: Sent | None = None) -> None:
    """Write it whole and durable, or leave nothing."""
    partial = f"{path}.{os.urandom(6).hex()}.partial"
    try:
        with open(partial, "xb", buffering=0) as file:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view) or 0 :]
                if sent is not None:
                    sent.done += len(chunk)
            os.fsync(file.fileno())
        os.rename(partial, path)
    except BaseException as error:
        if os.path.lexists(partial):
            os.unlink(partial)
        if isinstance(error, OSError):
            raise from_os_error(error, f"writing {path}") from error
        raise


def blob_path(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def names_of(entry: Descriptor) -> set[str]:
    """All that an entry may be called by."""
    annotations = dict(entry.annotations)
    names = {entry.digest, f"@{entry.digest}"}
    for key in (REF_NAME, CONTAINERD_NAME):
        if annotations.get(key):
            names.add(annotations[key])
    return names


def index_entry(root: Served, name: str) -> dict[str, Any]:
    """An entry of index.json. A name that is a whole reference is said containerd's way too."""
    annotations = {}
    if name:
        annotations[REF_NAME] = name
        if ":" in name:
            annotations[CONTAINERD_NAME] = Reference.parse(name).canonical
    return {
        "mediaType": root.media_type,
        "digest": root.digest,
        "size": len(root.data),
        **({"annotations": annotations} if annotations else {}),
    }


def encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _replaced(old: Any, new: dict[str, Any]) -> bool:
    """Whether they are called the same; of entries without a name, whether they are the same."""
    if not isinstance(old, dict):
        return False
    names = [_named(one) for one in (old, new)]
    if not names[1]:
        return bool(old.get("digest") == new["digest"] and not names[0])
    return names[0] == names[1]


def _named(entry: dict[str, Any]) -> list[Any]:
    annotations = entry.get("annotations")
    known = annotations if isinstance(annotations, dict) else {}
    return [known.get(key) for key in (REF_NAME, CONTAINERD_NAME) if known.get(key)]
