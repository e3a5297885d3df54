"""`manifest`: one name for an image's platforms, put together here and pushed as an index.

A list is kept in the store until it is pushed with --purge or removed. Its images are in registries; what the
target repository lacks of them is mounted there, or streamed from another registry.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pyd.engine.image_copy import CopyWatcher, send_blobs
from pyd.engine.transports.remote import RegistrySink, RegistrySource
from pyd.errors import ImageNotFound, InvalidArgument, NotFound
from pyd.oci.descriptor import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST
from pyd.oci.digest import Digest
from pyd.oci.document import MAX_MANIFEST, parse
from pyd.oci.manifest import Index, Manifest, parse_manifest
from pyd.oci.reference import Reference
from pyd.registry.served import Served
from pyd.store import manifest_lists
from pyd.store.manifest_lists import Entries

if TYPE_CHECKING:
    from pyd.store import Store

_PLATFORM = ("architecture", "os", "os.version", "os.features", "variant")


class Manifests:
    """Lists by name; entries by the name that they were added with. `insecure`: plain http will do."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(
        self, name: str, manifests: Sequence[str], *, amend: bool = False, insecure: bool = False
    ) -> str:
        """Put the manifests of images into a list; the list's canonical name."""
        target = _named(name)
        if not amend and manifest_lists.get(self._store.db, target.canonical) is not None:
            # said before a registry is asked
            manifest_lists.merge(self._store.db, target.canonical, [], amend=False)
        entries = [_fetch(_named(one), insecure) for one in manifests]
        manifest_lists.merge(self._store.db, target.canonical, entries, amend=amend)
        return target.canonical

    def annotate(self, name: str, manifest: str, **platform: str | Sequence[str]) -> None:
        """Say what platform an entry is for: os, architecture, variant, os_version, os_features."""
        target, ref = _named(name), _named(manifest).canonical
        with self._store.db.write():
            entries = self._need(target)
            entry = next((one for one in entries if one["ref"] == ref), None)
            if entry is None:
                raise NotFound(f"manifest for image {manifest} does not exist in {name}")
            known = entry["descriptor"].setdefault("platform", {})
            for key, value in platform.items():
                if value:
                    known[key.replace("_", ".")] = list(value) if not isinstance(value, str) else value
            manifest_lists.merge(self._store.db, target.canonical, [entry], amend=True)

    def inspect(self, name: str, *, inside: str = "", verbose: bool = False, insecure: bool = False) -> Any:
        """A manifest or list as it is, or `verbose`, with Docker's fields around it.

        `inside`: the entry `name` of this local list.
        """
        reference = _named(name)
        if inside:
            entries = self._need(_named(inside))
            found = [one for one in entries if one["ref"] == reference.canonical]
            if not found:
                raise NotFound(f"No such manifest: {name}")
            return _verbose(found[0]) if verbose else json.loads(found[0]["manifest"])
        local = manifest_lists.get(self._store.db, reference.canonical)
        if local is not None:
            return [_verbose(one) for one in local] if verbose else json.loads(_index(local).data)
        source = RegistrySource(reference, tls_verify=not insecure)
        try:
            try:
                root = source.root()
            except ImageNotFound:
                raise ImageNotFound(f"no such manifest: {reference.canonical}") from None
            document = parse_manifest(root.data, root.media_type)
            if not verbose:
                return parse(root.data, "manifest")
            if isinstance(document, Manifest):
                return _verbose(_entry(reference, root, source))
            raw = parse(root.data, "manifest")["manifests"]
            return [
                _verbose(_of_index(reference, source.manifest(entry), described))
                for entry, described in zip(document.manifests, raw, strict=True)
            ]
        finally:
            source.close()

    def push(
        self,
        name: str,
        *,
        purge: bool = False,
        insecure: bool = False,
        said: Callable[[str], None] = lambda line: None,
    ) -> str:
        """Push the list, and first what its repository lacks of the images; the list's digest."""
        target = _named(name)
        entries = self._need(target)
        for entry in entries:
            known = entry["descriptor"].get("platform", {})
            if not known.get("os") or not known.get("architecture"):
                raise InvalidArgument(
                    f"manifest {entry['ref']} must have an OS and Architecture to be pushed to a registry",
                    "pyd manifest annotate --os OS --arch ARCH",
                )
        sink = RegistrySink(target, tls_verify=not insecure)
        try:
            for entry in entries:
                reference = Reference.parse(entry["ref"])
                if reference.repository != target.repository:
                    served = _served(entry)
                    _bring(reference, served, sink, insecure)
                    said(f"Pushed ref {target.repository}@{served.digest} with digest: {served.digest}")
            index = _index(entries)
            sink.put_root(index)
        finally:
            sink.close()
        if purge:
            manifest_lists.delete(self._store.db, target.canonical)
        return index.digest

    def remove(self, name: str) -> None:
        if not manifest_lists.delete(self._store.db, _named(name).canonical):
            raise NotFound(f"No such manifest: {name}")

    def _need(self, name: Reference) -> Entries:
        entries = manifest_lists.get(self._store.db, name.canonical)
        if entries is None:
            raise NotFound(f"No such manifest: {name.familiar}", "pyd manifest create")
        return entries


def _named(name: str) -> Reference:
    return Reference.parse(name).with_default_tag()


def _fetch(reference: Reference, insecure: bool) -> dict[str, Any]:
    source = RegistrySource(reference, tls_verify=not insecure)
    try:
        try:
            root = source.root()
        except ImageNotFound:
            raise ImageNotFound(f"no such manifest: {reference.canonical}") from None
        return _entry(reference, root, source)
    finally:
        source.close()


def _entry(reference: Reference, root: Served, source: RegistrySource) -> dict[str, Any]:
    """What is kept of an image: its manifest, and the platform that its config says."""
    manifest = parse_manifest(root.data, root.media_type)
    if isinstance(manifest, Index):
        raise InvalidArgument(f"{reference.familiar} is a manifest list", "name its images instead")
    platform: dict[str, Any] = {}
    if manifest.config.size <= MAX_MANIFEST:
        data = b"".join(source.read(manifest.config, 0))
        if Digest.of(data) != manifest.config.digest:
            raise InvalidArgument(f"the config of {reference.familiar} does not match its digest")
        config = parse(data, "image config")
        platform = {key: config[key] for key in _PLATFORM if config.get(key)}
    return _of_index(
        reference,
        root,
        {
            "mediaType": manifest.media_type,
            "digest": root.digest,
            "size": len(root.data),
            **({"platform": platform} if platform else {}),
        },
    )


def _of_index(reference: Reference, served: Served, descriptor: dict[str, Any]) -> dict[str, Any]:
    return {
        "ref": reference.canonical,
        "descriptor": descriptor,
        "manifest": served.data.decode(),
    }


def _served(entry: dict[str, Any]) -> Served:
    data = entry["manifest"].encode()
    return Served(data, entry["descriptor"]["mediaType"], Digest.of(data))


def _bring(reference: Reference, served: Served, sink: RegistrySink, insecure: bool) -> None:
    source = RegistrySource(reference, tls_verify=not insecure)
    try:
        send_blobs(source, sink, [parse_manifest(served.data, served.media_type)], CopyWatcher())
        sink.put(served)
    finally:
        source.close()


def _index(entries: Entries) -> Served:
    """Docker's list, or the OCI's index when all entries are the OCI's."""
    kinds = {entry["descriptor"]["mediaType"] for entry in entries}
    media_type = OCI_INDEX if kinds == {OCI_MANIFEST} else DOCKER_LIST
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [entry["descriptor"] for entry in entries],
    }
    data = json.dumps(document, indent=3, ensure_ascii=False).encode()
    return Served(data, media_type, Digest.of(data))


def _verbose(entry: dict[str, Any]) -> dict[str, Any]:
    """With Docker's field names."""
    kind = "OCIManifest" if entry["descriptor"]["mediaType"] == OCI_MANIFEST else "SchemaV2Manifest"
    return {
        "Ref": entry["ref"],
        "Descriptor": entry["descriptor"],
        "Raw": base64.b64encode(entry["manifest"].encode()).decode(),
        kind: json.loads(entry["manifest"]),
    }
