"""`artifact`: files in a registry as OCI artifacts, by themselves or attached to an image.

Manifests are those of the OCI image spec 1.1 ("Guidelines for Artifact Usage"), as oras writes them: an empty
config, `artifactType`, a layer for each file whose name is the annotation org.opencontainers.image.title.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pyd.engine.artifact_files import check_name, write
from pyd.engine.transports.checked import Checked
from pyd.engine.transports.remote import RegistrySource
from pyd.errors import CorruptData, InvalidArgument, from_os_error
from pyd.oci.descriptor import OCI_MANIFEST, Descriptor
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST, Fields, parse
from pyd.oci.manifest import Index, parse_manifest
from pyd.oci.reference import Reference
from pyd.registry.client import Registry
from pyd.registry.push import Target
from pyd.registry.referrers import Referrer, delete_referrer, put_referrer, referrers
from pyd.registry.served import Served
from pyd.registry.settings import Settings
from pyd.registry.transport import Transport
from pyd.registry.upload import Sent

TITLE = "org.opencontainers.image.title"
UNKNOWN_TYPE = "application/vnd.unknown.artifact.v1"  # what oras says when nobody does
FILE_TYPE = "application/octet-stream"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"
_CHUNK = 1 << 20
_MAX_DEPTH = 5


@dataclass(frozen=True, slots=True)
class Stored:
    """An artifact that is in the registry now."""

    reference: Reference  # by digest
    digest: Digest
    subject: Digest | None


@dataclass(frozen=True, slots=True)
class Node:
    """A referrer with what refers to it."""

    referrer: Referrer
    below: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    digest: Digest
    paths: tuple[str, ...]
    unnamed: int  # blobs that have no file name, and were left


def push(
    name: str,
    files: Sequence[str],
    *,
    artifact_type: str = "",
    annotations: Mapping[str, str] | None = None,
    config: str = "",
    tls_verify: bool = True,
) -> Stored:
    """Push files (`path` or `path:media/type`) as an artifact under a tag."""
    reference = Reference.parse(name).with_default_tag()
    if reference.digest:
        raise InvalidArgument("cannot push to a digest reference")
    return _push(reference, files, artifact_type, annotations or {}, config, None, tls_verify)


def attach(
    name: str,
    files: Sequence[str],
    *,
    artifact_type: str,
    annotations: Mapping[str, str] | None = None,
    tls_verify: bool = True,
) -> Stored:
    """Push files as an artifact whose subject is the image or artifact `name`."""
    reference = Reference.parse(name).with_default_tag()
    source = RegistrySource(reference, tls_verify=tls_verify)
    try:
        root = source.root()
    finally:
        source.close()
    kind = root.media_type.partition(";")[0].strip()
    subject = Descriptor(kind, root.digest, len(root.data))
    return _push(reference, files, artifact_type, annotations or {}, "", subject, tls_verify)


def pull(name: str, directory: str, *, tls_verify: bool = True) -> Fetched:
    """Write the artifact's files into `directory`, each verified and under a name that stays inside."""
    source = RegistrySource(Reference.parse(name).with_default_tag(), tls_verify=tls_verify)
    try:
        root = source.root()
        manifest = parse_manifest(root.data, root.media_type)
        if isinstance(manifest, Index):
            raise InvalidArgument(f"{name} is an index", "name one of its manifests by digest")
        named = [
            (dict(layer.annotations)[TITLE], layer)
            for layer in manifest.layers
            if dict(layer.annotations).get(TITLE)
        ]
        # all of them before the first is fetched
        for title, _ in named:
            check_name(title)
        if len({title for title, _ in named}) != len(named):
            raise CorruptData(f"the artifact {name} has two files of the same name")
        paths = [write(directory, title, Checked(source, layer)(0)) for title, layer in named]
        return Fetched(root.digest, tuple(paths), len(manifest.layers) - len(named))
    finally:
        source.close()


def tree(name: str, *, artifact_type: str = "", tls_verify: bool = True) -> tuple[Reference, list[Node]]:
    """(the subject by digest, what refers to it, and to that)"""
    reference = Reference.parse(name).with_default_tag()
    transport = Transport(Settings.load(), tls_verify=tls_verify)
    try:
        registry = Registry(transport, reference.domain)
        digest = reference.digest or registry.manifest(reference).digest
        seen = {digest}

        def below(digest: Digest, depth: int) -> list[Node]:
            if depth > _MAX_DEPTH:
                return []
            found = []
            # the type is asked for at the top: what refers to a signature is of another
            for one in referrers(registry, reference.path, digest, "" if depth else artifact_type):
                if one.descriptor.digest not in seen:
                    seen.add(one.descriptor.digest)
                    found.append(Node(one, tuple(below(one.descriptor.digest, depth + 1))))
            return found

        return reference.at(digest), below(digest, 0)
    finally:
        transport.close()


def remove(name: str, *, tls_verify: bool = True) -> Reference:
    """Delete the manifest from its registry; its blobs go with the registry's next collection."""
    reference = Reference.parse(name).with_default_tag()
    target = Target(reference, tls_verify=tls_verify)
    try:
        served = target.registry.manifest(reference)
        document = Fields(parse(served.data, "manifest"), "manifest")
        subject = None
        if "subject" in document:
            subject = Digest.parse(document.fields("subject").need_text("digest"))
        delete_referrer(target, served.digest, subject)
        return reference.at(served.digest)
    finally:
        target.close()


def _push(
    reference: Reference,
    files: Sequence[str],
    artifact_type: str,
    annotations: Mapping[str, str],
    config: str,
    subject: Descriptor | None,
    tls_verify: bool,
) -> Stored:
    opened = [_File.of(text, FILE_TYPE) for text in files]
    names = [file.title for file in opened]
    if len(set(names)) != len(names):
        raise InvalidArgument("two of the files have the same name")
    configured = _File.of(config, "application/vnd.unknown.config.v1+json") if config else None
    empty = Descriptor(_EMPTY_TYPE, Digest.of(_EMPTY), len(_EMPTY))
    head = configured.descriptor if configured else empty
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type or (UNKNOWN_TYPE if configured is None else ""),
        "config": _json(head),
        "layers": [{**_json(file.descriptor), "annotations": {TITLE: file.title}} for file in opened]
        or [_json(empty)],
    }
    if not document["artifactType"]:
        del document["artifactType"]
    if subject is not None:
        document["subject"] = _json(subject)
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    data = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    if len(data) > MAX_MANIFEST:
        raise InvalidArgument(f"the manifest would be larger than {MAX_MANIFEST} bytes")
    served = Served(data, OCI_MANIFEST, Digest.of(data))
    target = Target(reference, tls_verify=tls_verify)
    try:
        if configured is None or not opened:
            target.send(empty, lambda offset: iter((_EMPTY[offset:],)), Sent(len(_EMPTY)))
        for file in [*opened, *([configured] if configured else [])]:
            target.send(file.descriptor, file.read, Sent(file.descriptor.size))
        if subject is None:
            target.put_manifest(served, reference.tag or served.digest)
        else:
            kind = document.get("artifactType", head.media_type)
            entry = {**_json(Descriptor(OCI_MANIFEST, served.digest, len(data))), "artifactType": kind}
            if annotations:
                entry["annotations"] = document["annotations"]
            put_referrer(target, served, entry, subject.digest, served.digest)
    finally:
        target.close()
    return Stored(reference.at(served.digest), served.digest, subject.digest if subject else None)


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    title: str
    descriptor: Descriptor

    @classmethod
    def of(cls, text: str, default: str) -> _File:
        """`path`, or `path:media/type`."""
        path, colon, kind = text.rpartition(":")
        if not colon or "/" not in kind or os.path.exists(text):
            path, kind = text, default
        digest, size = sha256(), 0
        try:
            with open(path, "rb", buffering=0) as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
        except OSError as error:
            raise from_os_error(error, f"reading {path}") from error
        title = os.path.normpath(path).lstrip("/") if not os.path.isabs(path) else os.path.basename(path)
        if title.startswith(".."):
            title = os.path.basename(path)
        check_name(title)
        return cls(path, title, Descriptor(kind, Digest(f"sha256:{digest.hexdigest()}"), size))

    def read(self, offset: int) -> Iterator[bytes]:
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(offset)
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise from_os_error(error, f"reading {self.path}") from error


def _json(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
