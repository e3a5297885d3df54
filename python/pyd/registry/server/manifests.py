"""GET, HEAD, PUT and DELETE of /v2/NAME/manifests/REFERENCE, a tag or a digest."""

from __future__ import annotations

import asyncio

from aiohttp import web

from pyd.oci.document import MAX_MANIFEST
from pyd.registry.server import document, names
from pyd.registry.server.access import DELETE, PULL, PUSH
from pyd.registry.server.call import Call, is_unchanged, read_body, unchanged
from pyd.registry.server.problem import Problem, manifest_unknown, name_unknown
from pyd.registry.server.store import Stored

_MAX_TAGS = 20  # given with one manifest
_SMALL = 64 << 10  # bytes that are parsed at once, without another thread


async def get(call: Call) -> web.StreamResponse:
    name, reference = names.check_repository(call.name), call.reference
    call.require(PULL)
    if call.registry.mirror is not None:
        stored = await call.registry.mirror.manifest(call, name, reference)
    else:
        stored = find(call, name, reference)
    if is_unchanged(call.request, stored.digest):
        return unchanged(stored.digest)
    headers = {
        "Docker-Content-Digest": stored.digest,
        "ETag": f'"{stored.digest}"',
        "Content-Type": stored.media_type,
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(body=stored.data, headers=headers)


def find(call: Call, name: str, reference: str) -> Stored:
    """Raises Problem 404."""
    store = call.registry.store
    digest: str | None = None
    if ":" in reference:
        digest = names.check_digest(reference)
    elif names.is_tag(reference):
        tagged = store.tag(name, reference)
        digest = tagged[0] if tagged else None
    stored = store.manifest(name, digest) if digest else None
    if stored is None:
        raise manifest_unknown(name, reference) if store.has_repository(name) else name_unknown(name)
    return stored


async def put(call: Call) -> web.StreamResponse:
    name, reference = names.check_repository(call.name), call.reference
    tags = [names.check_tag(tag) for tag in call.request.query.getall("tag", ())]
    algorithm = "sha256"
    if ":" in reference:
        algorithm = names.check_digest(reference).partition(":")[0]
    else:
        tags.append(names.check_tag(reference))
    if len(tags) > _MAX_TAGS:
        raise Problem(414, "TAG_INVALID", f"at most {_MAX_TAGS} tags at once")
    call.require(PUSH)
    call.require_writable()
    too_large = Problem(413, "MANIFEST_INVALID", f"a manifest has at most {MAX_MANIFEST} bytes")
    data = await read_body(call.request, MAX_MANIFEST, too_large)
    call.registry.metrics.received += len(data)

    def read() -> tuple[str, document.Document]:
        return names.digest_of(data, algorithm), document.read(
            data, call.request.headers.get("Content-Type", "")
        )

    if len(data) <= _SMALL:
        digest, parsed = read()
    else:
        digest, parsed = await asyncio.get_running_loop().run_in_executor(call.registry.pool, read)
    if ":" in reference and digest != reference:
        raise Problem(400, "DIGEST_INVALID", "the manifest does not match the digest", {"digest": reference})
    store = call.registry.store
    await call.registry.writer.write(
        lambda tx: store.add_manifest(tx, name, digest, parsed, tuple(tags), check=True)
    )
    response = web.Response(status=201)
    response.headers["Location"] = f"/v2/{name}/manifests/{digest}"
    response.headers["Docker-Content-Digest"] = digest
    if parsed.subject:
        response.headers["OCI-Subject"] = parsed.subject
    for tag in tags if ":" in reference else ():
        response.headers.add("OCI-Tag", tag)
    return response


async def delete(call: Call) -> web.StreamResponse:
    name, reference = names.check_repository(call.name), call.reference
    call.require(DELETE)
    call.require_delete()
    store, writer = call.registry.store, call.registry.writer
    if not store.has_repository(name):
        raise name_unknown(name)
    if ":" in reference:
        digest = names.check_digest(reference)
        await writer.write(lambda tx: store.remove_manifest(tx, name, digest))
    else:
        tag = names.check_tag(reference)
        await writer.write(lambda tx: store.remove_tag(tx, name, tag))
    return web.Response(status=202)
