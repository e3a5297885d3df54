"""A repository that is written to: blobs go there unless they are there already, manifests after them."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from pyd.errors import RegistryError, Unauthorized
from pyd.oci.descriptor import Descriptor
from pyd.oci.digest import Digest
from pyd.oci.reference import Reference
from pyd.registry.client import Registry
from pyd.registry.served import Served
from pyd.registry.settings import Settings
from pyd.registry.transport import Transport
from pyd.registry.upload import Read, Sent, Upload
from pyd.registry.writer import Body, Writer

# not names that a repository may have
EXISTS, PUSHED = "=exists", "=pushed"
"""What became of a blob; where it was mounted, the repository that it came from."""

_MOST_MOUNTS = 3  # repositories that are tried before the bytes are sent


class Target:
    """The repository of `reference`. May be used by several threads. Close it, unless `registry` is given."""

    def __init__(
        self, reference: Reference, *, tls_verify: bool = True, registry: Registry | None = None
    ) -> None:
        settings = Settings.load()
        self._transport = registry.transport if registry else Transport(settings, tls_verify=tls_verify)
        self._owns = registry is None
        self.reference = reference
        self.registry = registry or Registry(self._transport, reference.domain)
        self.writer = Writer(self.registry, reference.path)
        self._chunk = settings.push_chunk_size

    def has(self, blob: Descriptor) -> bool:
        """Whether the blob is there. A registry that lets us write and not look gets it once more."""
        answer = self.writer.ask("HEAD", self.writer.url(f"/blobs/{blob.digest}"))
        if answer.status == 401:
            self.writer.refused(answer)
        if answer.status != 200:
            return False
        text = answer.headers.get("Content-Length", "")
        if text.isascii() and text.isdigit() and int(text[:18]) != blob.size:
            raise RegistryError(
                f"{self.registry.host} has a blob {blob.digest} of {text[:18]} bytes, ours has {blob.size}"
            )
        return True

    def send(self, blob: Descriptor, read: Read, sent: Sent, sources: Sequence[str] = ()) -> str:
        """Bring the blob there: EXISTS, PUSHED, or the repository (a path) of `sources` that it was mounted
        from.
        """
        if self.has(blob):
            return EXISTS
        location: httpx.URL | None = None
        for path in [path for path in sources if path != self.reference.path][:_MOST_MOUNTS]:
            mounted, location = self._mount(blob, path)
            if mounted:
                return path
            if location is not None:
                break  # the registry has begun an upload instead
        Upload(self.writer, blob, read, sent, self._chunk).run(location)
        return PUSHED

    def mount(self, blob: Descriptor, path: str) -> bool:
        """Only mount: whether it worked."""
        return self._mount(blob, path)[0]

    def has_manifest(self, digest: Digest) -> bool:
        answer = self.writer.ask("HEAD", self.writer.url(f"/manifests/{digest}"), {"Accept": "*/*"})
        return answer.status == 200

    def put_manifest(self, served: Served, name: str) -> httpx.Headers:
        """Store the manifest or index under a tag or its digest; the headers of the answer."""
        answer = self.writer.ask(
            "PUT",
            self.writer.url(f"/manifests/{name}"),
            {"Content-Type": served.media_type},
            Body.of(served.data),
        )
        if answer.status not in (200, 201, 202, 204):
            self.writer.refused(answer, f"to the manifest {name}")
        stated = answer.headers.get("Docker-Content-Digest", "")
        if stated.startswith("sha256:") and stated != served.digest:
            raise RegistryError(
                f"{self.registry.host} has stored another manifest than was sent: {stated[:71]!r} "
                f"instead of {served.digest}"
            )
        return answer.headers

    def delete_manifest(self, name: str) -> None:
        answer = self.writer.ask(
            "DELETE", self.writer.url(f"/manifests/{name}"), scope=f"{self._scope},delete"
        )
        if answer.status not in (200, 202, 204):
            self.writer.refused(answer)

    def stop(self) -> None:
        self._transport.stop()

    def close(self) -> None:
        if self._owns:
            self._transport.close()

    @property
    def _scope(self) -> str:
        return self.writer.scope

    def _mount(self, blob: Descriptor, path: str) -> tuple[bool, httpx.URL | None]:
        """(mounted, or the upload that was begun instead)"""
        url = self.writer.url("/blobs/uploads/").copy_merge_params({"mount": blob.digest, "from": path})
        scope = f"{self._scope} repository:{path}:pull"
        try:
            answer = self.writer.exchange("POST", url, scope=scope)
        except (httpx.TransportError, Unauthorized):
            return False, None  # no right to read there, perhaps
        if answer.status == 201:
            return True, None
        # a registry that refuses the other repository is no reason to fail: the bytes are here
        return False, answer.location if answer.status == 202 else None
