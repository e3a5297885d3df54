"""What a build gives: the layers and the configuration of each platform, and what was made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyd.oci.digest import Digest, chain_ids
from pyd.oci.platform import Platform
from pyd.record import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Layer(Record):
    """One snapshot of the store: data-root/snapshots/<hex of chain_id>/fs."""

    diff_id: Digest
    chain_id: Digest
    plain_size: int  # bytes of the tar; 0 where it is not known (layers that came with a base image)
    size: int  # bytes in regular files


class State(Record):
    """A stage after some of its instructions. Values are never changed in place."""

    platform: Platform
    layers: tuple[Layer, ...] = ()  # bottom first
    config: Mapping[str, Any] = field(default_factory=dict)  # the `config` object of the image
    history: tuple[Mapping[str, Any], ...] = ()
    env: Mapping[str, str] = field(
        default_factory=dict
    )  # what RUN and variables see: ENV and ARG, the last wins
    args: Mapping[str, str | None] = field(default_factory=dict)  # ARGs that were declared, with their values
    base: Mapping[str, Any] = field(default_factory=dict)  # the base's whole config document
    author: str = ""
    cmd_given: bool = False  # CMD was in this stage: an ENTRYPOINT after it does not reset it
    manifest: Digest | None = None  # of the base image, where that is in the store

    @property
    def chain_id(self) -> str:
        """ "" for an empty root."""
        return str(self.layers[-1].chain_id) if self.layers else ""

    def with_layer(self, diff_id: Digest, plain_size: int, size: int) -> tuple[Layer, ...]:
        chain = chain_ids([*(layer.diff_id for layer in self.layers), diff_id])[-1]
        return (*self.layers, Layer(diff_id, chain, plain_size, size))


class Built(Record):
    """The target stage of one platform."""

    platform: Platform
    layers: tuple[Layer, ...]
    config: bytes  # the image config, canonical JSON: its digest is the image ID
    base_manifest: Digest | None = None  # of the base image in the store, whose blobs may be here
    materials: tuple[tuple[str, str], ...] = ()  # (what was used, digest): images, git, http — for provenance

    @property
    def id(self) -> Digest:
        return Digest.of(self.config)


class BuildResult(Record):
    """id: image ID, or that of the first of several platforms. digest: what the outputs have pushed or
    written ("" when nothing has one). metadata: what --metadata-file holds.
    """

    id: str
    digest: str = ""
    builts: Sequence[Built] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
