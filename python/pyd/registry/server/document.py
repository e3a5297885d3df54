"""Manifests and indexes as they are pushed: what they are, and what they need to be there.

The registry holds more than images (charts, signatures, anything with a config and layers), so it is stricter
about the form than about the meaning: media type against content, both kinds in one document
(CVE-2021-41190), duplicate keys, digests, sizes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pyd.errors import CorruptData
from pyd.oci.descriptor import DOCKER_LIST, DOCKER_MANIFEST, INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST
from pyd.oci.document import MAX_MANIFEST, Fields, parse
from pyd.registry.server.names import is_digest
from pyd.registry.server.problem import Problem

BLOB, MANIFEST = "blob", "manifest"
_MAX_ANNOTATIONS = 1 << 20  # bytes of one manifest's that are repeated in lists of referrers


@dataclass(frozen=True, slots=True)
class Needed:
    """Something that a manifest refers to."""

    digest: str
    size: int
    kind: str  # BLOB or MANIFEST
    optional: bool  # a foreign layer: it may be elsewhere


@dataclass(frozen=True, slots=True)
class Document:
    media_type: str
    data: bytes
    needs: tuple[Needed, ...]
    subject: str  # digest, or ""
    artifact_type: str
    annotations: str  # JSON object of strings


def read(data: bytes, content_type: str) -> Document:
    """Raises Problem MANIFEST_INVALID."""
    try:
        return _read(data, content_type.partition(";")[0].strip().lower())
    except CorruptData as error:
        raise invalid(error.message) from None


def invalid(message: str, detail: Any = None) -> Problem:
    return Problem(400, "MANIFEST_INVALID", f"manifest invalid: {message}", detail)


def _read(data: bytes, given: str) -> Document:
    raw = parse(data, "manifest", MAX_MANIFEST)
    doc = Fields(raw, "manifest")
    if doc.number("schemaVersion") != 2:
        raise CorruptData("schemaVersion is not 2")
    stated = doc.text("mediaType")
    is_index = "manifests" in doc
    if is_index and ("layers" in doc or "config" in doc or "fsLayers" in doc):
        raise CorruptData("it claims to be a manifest and an index at the same time")
    if given and stated and given != stated:
        raise CorruptData(f"its mediaType {stated!r} differs from the Content-Type {given!r}")
    media_type = given or stated or (OCI_INDEX if is_index else OCI_MANIFEST)
    if media_type not in MANIFESTS and media_type not in INDEXES:
        raise CorruptData(f"media type {media_type!r} is not one of a manifest or an index")
    if media_type in (DOCKER_MANIFEST, DOCKER_LIST) and not stated:
        raise CorruptData("mediaType is missing")
    if is_index != (media_type in INDEXES):
        raise CorruptData(f"media type {media_type!r} does not fit the content")
    needs = _of_index(doc) if is_index else _of_manifest(doc)
    subject = ""
    if "subject" in doc:
        subject = _need(doc.fields("subject"), MANIFEST).digest
    artifact_type = doc.text("artifactType")
    if not artifact_type and not is_index:
        artifact_type = doc.fields("config").text("mediaType")
    annotations = json.dumps(doc.text_map("annotations"), separators=(",", ":"))
    if subject and len(annotations) > _MAX_ANNOTATIONS:
        raise CorruptData("its annotations are too long for a manifest with a subject")
    return Document(media_type, data, needs, subject, artifact_type, annotations)


def _of_manifest(doc: Fields) -> tuple[Needed, ...]:
    if "config" not in doc:
        raise CorruptData("config is missing")
    needs: dict[str, Needed] = {}
    config = _need(doc.fields("config"), BLOB)
    needs[config.digest] = config
    for layer in doc.items("layers"):
        need = _need(Fields(layer, "layer"), BLOB)
        if needs.setdefault(need.digest, need).size != need.size:
            raise CorruptData(f"{need.digest} is named with two sizes")
    return tuple(needs.values())


def _of_index(doc: Fields) -> tuple[Needed, ...]:
    needs: dict[str, Needed] = {}
    for entry in doc.items("manifests"):
        fields = Fields(entry, "entry")
        kind = MANIFEST if fields.text("mediaType") in (*MANIFESTS, *INDEXES) else BLOB
        need = _need(fields, kind)
        if needs.setdefault(need.digest, need).size != need.size:
            raise CorruptData(f"{need.digest} is named with two sizes")
    return tuple(needs.values())


def _need(fields: Fields, kind: str) -> Needed:
    digest, size = fields.need_text("digest"), fields.number("size", -1)
    media_type = fields.need_text("mediaType")
    if not is_digest(digest):
        raise CorruptData(f"invalid digest {digest[:100]!r}")
    if not 0 <= size < 1 << 50:
        raise CorruptData(f"the size of {digest} is missing or absurd")
    foreign = ".nondistributable." in media_type or ".foreign." in media_type
    return Needed(digest, size, kind, foreign and bool(fields.items("urls")))
