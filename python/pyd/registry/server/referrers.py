"""GET /v2/NAME/referrers/DIGEST: the manifests whose subject is that digest (distribution spec 1.1)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from aiohttp import web

from pyd.oci.descriptor import OCI_INDEX
from pyd.oci.document import MAX_MANIFEST
from pyd.registry.server import names
from pyd.registry.server.access import PULL
from pyd.registry.server.call import Call, next_link

_PAGE = 1000


async def get(call: Call) -> web.StreamResponse:
    name, subject = names.check_repository(call.name), names.check_digest(call.reference)
    call.require(PULL)
    wanted = call.request.query.get("artifactType")
    found = call.registry.store.referrers(
        name, subject, wanted, call.request.query.get("last", ""), _PAGE + 1
    )
    entries: list[dict[str, Any]] = []
    size = 0
    for referrer in found[:_PAGE]:
        # clients refuse lists that are larger than a manifest may be
        size += len(referrer.annotations) + 512
        if entries and size > MAX_MANIFEST // 2:
            break
        entry: dict[str, Any] = {
            "mediaType": referrer.media_type,
            "digest": referrer.digest,
            "size": referrer.size,
        }
        if referrer.artifact_type:
            entry["artifactType"] = referrer.artifact_type
        if referrer.annotations != "{}":
            entry["annotations"] = json.loads(referrer.annotations)
        entries.append(entry)
    headers = {"Content-Type": OCI_INDEX}
    if wanted is not None:
        headers["OCI-Filters-Applied"] = "artifactType"
    if len(entries) < len(found):
        parameters = [("last", entries[-1]["digest"])]
        if wanted is not None:
            parameters.append(("artifactType", quote(wanted, safe="")))
        headers |= next_link(f"/v2/{name}/referrers/{subject}", parameters)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return web.Response(body=json.dumps(index).encode(), headers=headers)
