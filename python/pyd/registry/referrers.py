"""What refers to a manifest: signatures, SBOMs, attached files (distribution spec 1.1, "Listing Referrers").

A registry without the referrers API keeps the list as an index under the tag `sha256-<hex>`, which clients
write ("Referrers Tag Schema"). Two clients that write it at the same time may lose an entry: that is the
schema's, and the reason for the API.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx

from pyd.errors import RegistryError
from pyd.oci.descriptor import OCI_INDEX, Descriptor
from pyd.oci.digest import Digest
from pyd.oci.document import Fields, parse
from pyd.registry.client import Registry
from pyd.registry.push import Target
from pyd.registry.served import Served
from pyd.registry.writer import Answer, Writer

_MAX_PAGES = 100
_MAX_REFERRERS = 10_000


@dataclass(frozen=True, slots=True)
class Referrer:
    descriptor: Descriptor
    artifact_type: str
    raw: dict[str, Any]  # the entry as the registry gave it


def referrers(registry: Registry, path: str, digest: Digest, artifact_type: str = "") -> list[Referrer]:
    """All manifests whose subject is `digest`; only those of `artifact_type` if that is given."""
    writer = Writer(registry, path)
    scope = f"repository:{path}:pull"
    url: httpx.URL | None = writer.url(f"/referrers/{digest}")
    if artifact_type:
        assert url is not None
        url = url.copy_merge_params({"artifactType": artifact_type})
    found: list[Referrer] = []
    pages = 0
    while url is not None:
        answer = writer.ask("GET", url, {"Accept": OCI_INDEX}, scope=scope)
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        if not pages and (answer.status in (400, 404, 405) or (answer.status == 200 and kind != OCI_INDEX)):
            found = _entries(_tagged(writer, digest, scope))
            break
        if answer.status != 200:
            writer.refused(answer, f"to the referrers of {digest}")
        found += _entries(parse(answer.data, "list of referrers"))
        pages += 1
        if pages > _MAX_PAGES or len(found) > _MAX_REFERRERS:
            raise RegistryError(f"{registry.host} lists more than {_MAX_REFERRERS} referrers of {digest}")
        url = next_page(answer)
    # a registry need not filter itself
    return [one for one in found if not artifact_type or one.artifact_type == artifact_type]


def put_referrer(target: Target, served: Served, entry: dict[str, Any], subject: Digest, name: str) -> None:
    """Store a manifest with a subject; where the registry does not keep the list, add `entry` to it."""
    headers = target.put_manifest(served, name)
    if "OCI-Subject" in headers:
        return
    entries = [one.raw for one in _entries(_tagged(target.writer, subject, ""))]
    _put_list(target, subject, [*(one for one in entries if one.get("digest") != served.digest), entry])


def delete_referrer(target: Target, digest: Digest, subject: Digest | None) -> None:
    """Delete a manifest, and its entry in the list that a client keeps, if there is one."""
    target.delete_manifest(digest)
    if subject is None:
        return
    entries = [one.raw for one in _entries(_tagged(target.writer, subject, ""))]
    left = [one for one in entries if one.get("digest") != digest]
    if len(left) != len(entries):
        _put_list(target, subject, left)


def fallback_tag(digest: Digest) -> str:
    return f"sha256-{digest.hex}"


def _tagged(writer: Writer, digest: Digest, scope: str) -> dict[str, Any]:
    """The list under the tag; an empty one when there is none."""
    url = writer.url(f"/manifests/{fallback_tag(digest)}")
    answer = writer.ask("GET", url, {"Accept": OCI_INDEX}, scope=scope)
    if answer.status == 404:
        return {}
    if answer.status != 200:
        writer.refused(answer, f"to the referrers of {digest}")
    return parse(answer.data, "list of referrers")


def _put_list(target: Target, subject: Digest, entries: list[dict[str, Any]]) -> None:
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    data = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    target.put_manifest(Served(data, OCI_INDEX, Digest.of(data)), fallback_tag(subject))


def _entries(document: dict[str, Any]) -> list[Referrer]:
    items = Fields(document, "list of referrers").items("manifests")
    if len(items) > _MAX_REFERRERS:
        raise RegistryError(f"more than {_MAX_REFERRERS} referrers")
    return [
        Referrer(
            Descriptor.of(item, "list of referrers"),
            Fields(item, "list of referrers").text("artifactType"),
            item,
        )
        for item in items
    ]


def next_page(answer: Answer) -> httpx.URL | None:
    """The next page, by the Link header (RFC 8288), at the same registry only."""
    link = answer.headers.get("Link", "")
    if 'rel="next"' not in link.replace("rel=next", 'rel="next"') or "<" not in link:
        return None
    text = link.partition("<")[2].partition(">")[0]
    try:
        target = answer.url.join(text)
    except httpx.InvalidURL:
        raise RegistryError(f"{answer.url.host} answers with an invalid Link") from None
    if target.host != answer.url.host or target.scheme != answer.url.scheme or target.port != answer.url.port:
        raise RegistryError(f"{answer.url.host} continues its list at {target.host}: refused")
    return target
