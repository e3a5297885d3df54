"""What a registry says of images without pulling them: `search`, and `image inspect --remote`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyd.engine.image_pull import wanted_platform
from pyd.engine.transports.checked import Checked
from pyd.engine.transports.remote import RegistrySource
from pyd.errors import CorruptData, InvalidArgument
from pyd.oci.document import MAX_MANIFEST, parse
from pyd.oci.manifest import Index, parse_manifest
from pyd.oci.reference import Reference

if TYPE_CHECKING:
    from pyd.registry.search import Found
    from pyd.store import Store

MAX_LIMIT = 100


def search(
    term: str, *, limit: int = 25, filters: Sequence[str] = (), tls_verify: bool = True
) -> list[Found]:
    """Repositories with most stars first. Filters: stars=N, is-official=BOOL, is-automated=BOOL."""
    from pyd.registry.search import search

    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidArgument(f"limit {limit} is outside the range of [1, {MAX_LIMIT}]")
    wanted = [_filter(text) for text in filters]
    found = search(term, limit, tls_verify=tls_verify)
    kept = [one for one in found if all(_fits(one, key, value) for key, value in wanted)]
    return sorted(kept, key=lambda one: -one.stars)


def raw(store: Store, name: str, *, remote: bool, tls_verify: bool = True) -> bytes:
    """The manifest's bytes: as they are stored, or as the registry gives them (an index, if it is one)."""
    if not remote:
        return store.content.read(store.images.resolve(name).manifest, MAX_MANIFEST)
    source = RegistrySource(Reference.parse(name).with_default_tag(), tls_verify=tls_verify)
    try:
        return source.root().data
    finally:
        source.close()


def inspect(name: str, *, platform: str = "", tls_verify: bool = True) -> dict[str, Any]:
    """What the registry knows of the image of one platform, with the field names of `image inspect`."""
    reference = Reference.parse(name).with_default_tag()
    source = RegistrySource(reference, tls_verify=tls_verify)
    try:
        root = source.root()
        served, platforms = root, []
        document = parse_manifest(root.data, root.media_type)
        if isinstance(document, Index):
            platforms = [str(entry.platform) for entry in document.manifests if entry.platform]
            served = source.manifest(document.choose(wanted_platform(platform)))
            document = parse_manifest(served.data, served.media_type)
        if isinstance(document, Index):
            raise InvalidArgument(f"{name} is an index of indexes")
        document.check_image()
        if document.config.size > MAX_MANIFEST:
            raise CorruptData(f"the image config is larger than {MAX_MANIFEST} bytes")
        config = parse(b"".join(Checked(source, document.config)(0)), "image config")
    finally:
        source.close()
    return {
        "Id": document.config.digest,
        "RepoTags": [reference.familiar] if reference.tag and not reference.digest else [],
        "RepoDigests": [reference.at(root.digest).familiar],
        "Manifest": served.digest,
        "Platforms": platforms,
        "Created": config.get("created", ""),
        "Author": config.get("author", ""),
        "Architecture": config.get("architecture", ""),
        "Variant": config.get("variant", ""),
        "Os": config.get("os", ""),
        "Config": config.get("config") or {},
        "RootFS": {"Type": "layers", "Layers": (config.get("rootfs") or {}).get("diff_ids", [])},
        "Layers": [
            {"MediaType": layer.media_type, "Digest": layer.digest, "Size": layer.size}
            for layer in document.layers
        ],
        "Size": sum(layer.size for layer in document.layers),  # bytes to be fetched
    }


def _filter(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidArgument(f"bad format of filter (expected name=value): {text}")
    if key == "stars":
        if not (value.isascii() and value.isdigit()):
            raise InvalidArgument(f"invalid filter 'stars={value}'")
    elif key in ("is-official", "is-automated"):
        if value not in ("true", "false", "1", "0"):
            raise InvalidArgument(f"invalid filter '{key}={value}'")
    else:
        raise InvalidArgument(f"invalid filter '{key}'")
    return key, value


def _fits(one: Found, key: str, value: str) -> bool:
    if key == "stars":
        return one.stars >= int(value)
    state = one.is_official if key == "is-official" else one.is_automated
    return state == (value in ("true", "1"))
