"""Tar archives as source and as sink of a copy: an OCI layout in one file, and what `docker save` writes.

What is written is both at once, as Docker has done it since 25: an OCI layout with Docker's manifest.json.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from hashlib import sha256
from typing import TYPE_CHECKING, Any, BinaryIO

from pyd.engine.transports.checked import Checked
from pyd.engine.transports.layout import (
    LAYOUT_FILE,
    Entries,
    LayoutSource,
    blob_path,
    encode,
    index_entry,
)
from pyd.errors import CorruptData, ImageNotFound, InvalidArgument, from_os_error
from pyd.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST, Fields
from pyd.oci.image_config import ImageConfig
from pyd.oci.manifest import Manifest, parse_manifest
from pyd.oci.reference import Reference
from pyd.registry.push import EXISTS, PUSHED
from pyd.registry.served import Served
from pyd.registry.upload import Sent
from pyd.store.content import fsync_dir
from pyd.store.spool import CHUNK, is_plain, spooled
from pyd.store.tar_index import TarIndex

if TYPE_CHECKING:
    from pyd.engine.transports import Source
    from pyd.paths import Paths

_MAGIC = {b"\x1f\x8b": "+gzip", b"\x28\xb5": "+zstd"}


class Archive:
    """The files of a tar archive; a compressed one is unpacked into a file without a name first."""

    def __init__(self, paths: Paths, path: str) -> None:
        self.name = path
        self._stack = ExitStack()
        try:
            file: BinaryIO = self._stack.enter_context(open(path, "rb"))  # noqa: SIM115
            if not is_plain(file.read(6)):
                file.seek(0)
                opened = file
                file, _ = self._stack.enter_context(spooled(paths, iter(lambda: opened.read(CHUNK), b"")))
            self._fd = file.fileno()
            self.index = TarIndex(file)
        except BaseException as error:
            self._stack.close()
            if isinstance(error, OSError):
                raise from_os_error(error, f"reading {path}") from error
            raise

    def small(self, path: str) -> bytes:
        return self.index.read(path, MAX_MANIFEST)

    def chunks(self, path: str, offset: int) -> Iterator[bytes]:
        member = self.index.need(path)
        position, end = member.offset + offset, member.offset + member.size
        while position < end:
            chunk = os.pread(self._fd, min(CHUNK, end - position), position)
            if not chunk:
                raise CorruptData(f"{self.name} is truncated")
            position += len(chunk)
            yield chunk

    def close(self) -> None:
        self._stack.close()


def source(paths: Paths, transport: str, path: str, name: str) -> Source:
    archive = Archive(paths, path)
    try:
        if transport == "oci-archive":
            return LayoutSource(archive, name)
        return DockerSource(archive, name)
    except BaseException:
        archive.close()
        raise


class DockerSource:
    """`docker save`: manifest.json names a config and plain or compressed layers, and there is no manifest of
    the image. The one made here is the one that `load` makes: the same archive is the same image.
    """

    def __init__(self, archive: Archive, name: str) -> None:
        self._archive = archive
        entry = self._entry(name)
        config_path = entry.need_text("Config")
        data = archive.small(config_path)
        config = ImageConfig.parse(data)
        paths = entry.texts("Layers")
        if len(paths) != len(config.diff_ids):
            raise CorruptData(
                f"invalid manifest, layers length mismatch: {len(paths)} and {len(config.diff_ids)}"
            )
        digest = Digest.of(data)
        self._files = {digest: config_path}
        layers = []
        for path, diff_id in zip(paths, config.diff_ids, strict=True):
            layer = self._layer(path, diff_id)
            self._files[layer.digest] = path
            layers.append({"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size})
        self._data = encode(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": OCI_CONFIG, "digest": digest, "size": len(data)},
                "layers": layers,
            }
        )

    def root(self) -> Served:
        return Served(self._data, OCI_MANIFEST, Digest.of(self._data))

    def manifest(self, entry: Descriptor) -> Served:
        raise AssertionError("there is no index in a docker-archive")

    def read(self, blob: Descriptor, offset: int) -> Iterator[bytes]:
        return self._archive.chunks(self._files[blob.digest], offset)

    def repositories(self, blob: Descriptor, domain: str) -> Sequence[str]:
        return ()

    def stop(self) -> None:
        """Reading a file does not wait for anybody."""

    def close(self) -> None:
        self._archive.close()

    def _entry(self, name: str) -> Fields:
        try:
            entries = json.loads(self._archive.small("manifest.json"))
        except (ValueError, RecursionError) as error:
            raise CorruptData(f"manifest.json in the archive is not valid JSON: {error}") from None
        if not isinstance(entries, list):
            raise CorruptData("manifest.json in the archive is not a list")
        fields = [Fields(entry, "manifest.json in the archive") for entry in entries]
        wanted = Reference.parse(name).with_default_tag() if name else None
        found = [
            one
            for one in fields
            if wanted is None
            or any(Reference.parse(tag).with_default_tag() == wanted for tag in one.texts("RepoTags"))
        ]
        if len(found) == 1:
            return found[0]
        if not found:
            raise ImageNotFound(f"{self._archive.name} has no image {name or 'at all'}")
        raise InvalidArgument(f"{self._archive.name} has {len(found)} images: say which")

    def _layer(self, path: str, diff_id: Digest) -> Descriptor:
        size = self._archive.index.need(path).size
        head = next(self._archive.chunks(path, 0), b"")[:2]
        if head not in _MAGIC:
            return Descriptor(OCI_LAYER, diff_id, size)
        digest = sha256()
        for chunk in self._archive.chunks(path, 0):
            digest.update(chunk)
        return Descriptor(OCI_LAYER + _MAGIC[head], Digest(f"sha256:{digest.hexdigest()}"), size)


class ArchiveSink:
    """A new file, or with `out` an open one. `docker`: with Docker's manifest.json, so of one image only.
    `tags`: what that says the image is called, else `name`.
    """

    workers = 1

    def __init__(
        self,
        path: str,
        name: str,
        *,
        docker: bool,
        tags: Sequence[str] = (),
        entries: Entries | None = None,
        out: BinaryIO | None = None,
    ) -> None:
        self._path = path
        self._docker = docker
        self._tags = list(tags) or [name] if name or tags else []
        self._entries = entries or (lambda root: [index_entry(root, name)])
        self._partial = f"{path}.{os.urandom(6).hex()}.partial" if out is None else ""
        self._written: set[str] = set()
        try:
            self._file = out or open(self._partial, "xb")  # noqa: SIM115 - closed in `close`
        except OSError as error:
            raise from_os_error(error, f"writing {path}") from error

    def send(self, blob: Descriptor, source: Source, sent: Sent) -> str:
        if blob.digest in self._written:
            return EXISTS
        self._written.add(blob.digest)
        self._member(blob_path(blob.digest), blob.size, Checked(source, blob)(0), sent)
        return PUSHED

    def put(self, served: Served) -> None:
        if served.digest not in self._written:
            self._written.add(served.digest)
            self._small(blob_path(served.digest), served.data)

    def finish(self, root: Served, source: Source) -> None:
        self.put(root)
        if self._docker:
            self._small("manifest.json", encode_list([self._docker_entry(root)]))
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self._entries(root)}
        self._small("index.json", encode(index))
        self._small("oci-layout", LAYOUT_FILE)
        try:
            self._file.write(bytes(2 * tarfile.BLOCKSIZE))
            self._file.flush()
            if not self._partial:
                return
            os.fsync(self._file.fileno())
            os.rename(self._partial, self._path)
            fsync_dir(os.path.dirname(os.path.abspath(self._path)))
        except OSError as error:
            raise from_os_error(error, f"writing {self._path}") from error

    def stop(self) -> None: ...

    def close(self) -> None:
        if not self._partial:
            return  # the file is somebody else's
        self._file.close()
        if os.path.lexists(self._partial):
            os.unlink(self._partial)

    def _docker_entry(self, root: Served) -> dict[str, Any]:
        manifest = parse_manifest(root.data, root.media_type)
        if not isinstance(manifest, Manifest):
            raise InvalidArgument(
                "a docker-archive holds one platform of an image", "leave out --all, or use oci-archive:"
            )
        tags = [Reference.parse(tag).with_default_tag().familiar for tag in self._tags]
        return {
            "Config": blob_path(manifest.config.digest),
            "RepoTags": tags or None,
            "Layers": [blob_path(layer.digest) for layer in manifest.layers],
        }

    def _small(self, name: str, data: bytes) -> None:
        self._member(name, len(data), iter((data,)))

    def _member(self, name: str, size: int, chunks: Iterator[bytes], sent: Sent | None = None) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o644  # no owner, no time: the same image gives the same file
        try:
            self._file.write(entry.tobuf(tarfile.GNU_FORMAT))
            for chunk in chunks:
                self._file.write(chunk)
                if sent is not None:
                    sent.done += len(chunk)
            self._file.write(bytes(-size % tarfile.BLOCKSIZE))
        except OSError as error:
            raise from_os_error(error, f"writing {self._path}") from error


def encode_list(documents: list[dict[str, Any]]) -> bytes:
    return json.dumps(documents, separators=(",", ":"), ensure_ascii=False).encode()
