"""Attestations as BuildKit stores them (moby/buildkit, docs/attestations/attestation-storage.md).

A predicate says something about a result; a statement (in-toto) says of which. Statements about an image are
the layers of a manifest of their own, which the index names beside the image's manifest, as for the platform
unknown/unknown, so that nobody runs it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from pyd.oci.descriptor import OCI_CONFIG, OCI_MANIFEST
from pyd.oci.digest import Digest
from pyd.oci.document import encode
from pyd.oci.platform import Platform
from pyd.oci.reference import HUB, Reference
from pyd.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IN_TOTO = "application/vnd.in-toto+json"
SPDX = "https://spdx.dev/Document"
SLSA_02 = "https://slsa.dev/provenance/v0.2"
SLSA_1 = "https://slsa.dev/provenance/v1"
_STATEMENT = "https://in-toto.io/Statement/v0.1"
_PREDICATE_TYPE = "in-toto.io/predicate-type"
_REFERENCE_TYPE = "vnd.docker.reference.type"
_REFERENCE_DIGEST = "vnd.docker.reference.digest"


class Predicate(Record):
    """`file`: what it is called beside exported files."""

    type: str
    document: dict[str, Any]
    file: str


class Attached(Record):
    """The manifest of the statements about one image manifest, with all that it names."""

    manifest: bytes
    blobs: tuple[tuple[str, bytes], ...]  # (media type, bytes) of config and statements
    entry: dict[str, Any]  # of the index


def attach(
    predicates: Sequence[Predicate], manifest: Digest, platform: Platform, names: Sequence[str]
) -> Attached:
    """Statements about the image manifest; `names` are the canonical references that it will have."""
    subjects = [{"name": purl(name, platform), "digest": {"sha256": manifest.hex}} for name in names]
    subjects = subjects or [{"name": "_", "digest": {"sha256": manifest.hex}}]
    statements = [encode(statement(one, subjects)) for one in predicates]
    layers = [
        {
            **_json(IN_TOTO, data),
            "annotations": {_PREDICATE_TYPE: predicate.type},
        }
        for predicate, data in zip(predicates, statements, strict=True)
    ]
    config = encode(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
    )
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _json(OCI_CONFIG, config),
        "layers": layers,
    }
    data = encode(document)
    entry = {
        **_json(OCI_MANIFEST, data),
        "annotations": {_REFERENCE_DIGEST: manifest, _REFERENCE_TYPE: "attestation-manifest"},
        "platform": {"architecture": "unknown", "os": "unknown"},
    }
    return Attached(data, ((OCI_CONFIG, config), *((IN_TOTO, one) for one in statements)), entry)


def statement(predicate: Predicate, subjects: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {
        "_type": _STATEMENT,
        "predicateType": predicate.type,
        "subject": list(subjects),
        "predicate": predicate.document,
    }


def statement_file(predicate: Predicate, files: Iterable[tuple[str, str]]) -> bytes:
    """The statement about exported files, (path, sha256 in hex) each, as it is written beside them."""
    subjects = ({"name": path, "digest": {"sha256": digest}} for path, digest in files)
    return json.dumps(statement(predicate, subjects), indent=2, ensure_ascii=False).encode(
        "utf-8", "backslashreplace"
    )


def purl(name: str, platform: Platform | None = None) -> str:
    """The Package URL of an image, as of moby/buildkit: pkg:docker/alpine@3.17?platform=linux%2Famd64"""
    from urllib.parse import quote

    reference = Reference.parse(name)
    path = reference.path.removeprefix("library/") if reference.domain == HUB else reference.repository
    found = f"pkg:docker/{quote(path, safe='/')}"
    if reference.tag:
        found += f"@{quote(reference.tag, safe='')}"
    qualifiers = []
    if reference.digest:
        qualifiers.append(f"digest={quote(reference.digest, safe=':')}")
    if platform is not None:
        qualifiers.append(f"platform={quote(str(platform), safe='')}")
    return f"{found}?{'&'.join(qualifiers)}" if qualifiers else found


def _json(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": Digest.of(data), "size": len(data)}


__all__ = [
    "IN_TOTO",
    "SLSA_02",
    "SLSA_1",
    "SPDX",
    "Attached",
    "Predicate",
    "attach",
    "encode",
    "purl",
    "statement_file",
]
