"""What the front doors show of images: rows of `images`, lines of `history`, the object of `inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyd.engine.image_filters import LIST, Filters
from pyd.engine.image_remove import familiar
from pyd.oci.image_config import Defaults, ImageConfig
from pyd.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.store import Store
    from pyd.store.images import Image, ImageSummary

NONE = "<none>"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `images`: an image under one of its names."""

    id: str  # sha256:..
    repository: str
    tag: str
    digest: str
    created: str  # RFC 3339
    size: int  # bytes
    containers: int


def rows(store: Store, *, name: str = "", filters: Sequence[str] = ()) -> list[Row]:
    """Newest first, one row for each name. `name`: only this repository, or this repository:tag, or a
    pattern.
    """
    chosen = Filters(store, (*filters, f"reference={name}") if name else tuple(filters), LIST)
    found: list[Row] = []
    for image in store.images.list():
        if chosen.match(image):
            found += _rows(image, chosen.matching(image.references))
    return found


def _rows(image: ImageSummary, names: Sequence[str]) -> list[Row]:
    by_repository: dict[str, str] = {}
    for key in image.digests:
        reference = Reference.parse(key)
        by_repository[reference.familiar_repository] = reference.digest or NONE
    made: list[Row] = []
    for key in names:
        reference = Reference.parse(key)
        repository = reference.familiar_repository
        digest = by_repository.get(repository, NONE)
        made.append(_row(image, repository, reference.tag or NONE, digest))
    tagged = {row.repository for row in made}
    if not image.references:
        # without a tag it is listed under what it was pulled by digest as, or under nothing
        for repository, digest in by_repository.items():
            if repository not in tagged:
                made.append(_row(image, repository, NONE, digest))
        if not made:
            made.append(_row(image, NONE, NONE, NONE))
    return made


def _row(image: ImageSummary, repository: str, tag: str, digest: str) -> Row:
    return Row(image.id, repository, tag, digest, image.created, image.size, image.containers)


@dataclass(frozen=True, slots=True)
class HistoryLine:
    id: str  # sha256:.. of the image for the topmost, "<missing>" for the others, as since Docker 1.10
    created: str
    created_by: str
    size: int  # bytes that this step added, unpacked
    comment: str


def history(store: Store, name: str) -> list[HistoryLine]:
    """How the image was made, newest step first."""
    image = store.images.resolve(name)
    sizes = [size for _, size in store.images.chain(image.id)]
    lines: list[HistoryLine] = []
    for step in image.config.history:
        # a config may list fewer layers than its history claims
        size = sizes.pop(0) if sizes and not step.empty_layer else 0
        lines.append(HistoryLine("<missing>", step.created, step.created_by, size, step.comment))
    # and layers that no step explains
    lines += [HistoryLine("<missing>", "", "", size, "") for size in sizes]
    lines.reverse()
    if lines:
        top = lines[0]
        lines[0] = HistoryLine(image.id, top.created, top.created_by, top.size, top.comment)
    return lines


@dataclass(frozen=True, slots=True)
class Branch:
    """An image in the tree of what is built on what. `own`: bytes of the layers that those above it lack."""

    image: ImageSummary
    own: int
    children: tuple[Branch, ...]


def shared_sizes(store: Store) -> dict[str, int]:
    """Bytes of each image that are in layers which other images have too."""
    chains = store.images.chains()
    users: dict[str, int] = {}
    for chain in chains.values():
        for chain_id, _ in chain:
            users[chain_id] = users.get(chain_id, 0) + 1
    return {
        image: sum(size for chain_id, size in chain if users[chain_id] > 1) for image, chain in chains.items()
    }


def tree(store: Store, *, name: str = "", filters: Sequence[str] = ()) -> list[Branch]:
    """The images with those below them that have all their layers and more, biggest first. Images that do not
    pass the filters are left out, and what is built on them comes up.
    """
    chosen = Filters(store, (*filters, f"reference={name}") if name else tuple(filters), LIST)
    images = {str(image.id): image for image in store.images.list() if chosen.match(image)}
    chains = {image: chain for image, chain in store.images.chains().items() if image in images}
    # several images may have the same layers and differ in their settings: the first stands for them
    tops: dict[str, str] = {}
    for image, chain in chains.items():
        tops.setdefault(chain[-1][0], image)
    children: dict[str, list[tuple[str, int]]] = {}
    for image in images:
        chain = chains.get(image, [])
        parent, own = "", sum(size for _, size in chain)
        for chain_id, _ in chain[:-1]:
            parent = tops.get(chain_id, parent)
        own -= sum(size for _, size in chains.get(parent, ()))
        children.setdefault(parent, []).append((image, own))

    def branches(parent: str) -> tuple[Branch, ...]:
        below = sorted(children.get(parent, ()), key=lambda one: (-one[1], one[0]))
        return tuple(Branch(images[image], own, branches(image)) for image, own in below)

    return list(branches(""))


def layer_steps(config: ImageConfig) -> list[str]:
    """The command that made each layer, bottom first; "" where the history does not say."""
    steps = [step.created_by for step in config.history if not step.empty_layer]
    count = len(config.diff_ids)
    return (steps + [""] * count)[:count]


def inspect(store: Store, name: str) -> dict[str, Any]:
    """The image with the field names of Docker's API (GET /images/{name}/json)."""
    image = store.images.resolve(name)
    raw = image.config.raw
    lower = store.snapshots.lower_dirs(image.layers)
    return {
        "Id": image.id,
        "RepoTags": [familiar(key) for key in image.references],
        "RepoDigests": [familiar(key) for key in image.digests],
        "Parent": "",
        "Comment": _comment(image),
        "Created": image.created,
        "DockerVersion": _text(raw.get("docker_version")),
        "Author": image.config.author,
        "Config": _config(image.config.defaults),
        "Architecture": image.config.architecture,
        **({"Variant": image.config.variant} if image.config.variant else {}),
        "Os": image.config.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {
            "Name": "overlay2",
            "Data": {
                **({"LowerDir": ":".join(lower[1:])} if len(lower) > 1 else {}),
                **({"UpperDir": lower[0]} if lower else {}),
            },
        },
        "RootFS": {"Type": "layers", "Layers": list(image.config.diff_ids)},
        "Metadata": {"LastTagTime": store.images.tagged(image.id)},
        "Descriptor": _descriptor(store, image),
    }


def _descriptor(store: Store, image: Image) -> dict[str, Any]:
    """Of its manifest, as Docker says since 28."""
    kinds = {blob.digest: blob for blob in store.images.blobs(image.id)}
    blob = kinds.get(image.manifest)
    media_type = blob.media_type if blob else "application/vnd.oci.image.manifest.v1+json"
    size = blob.size if blob else store.content.size(image.manifest) or 0
    return {"mediaType": media_type, "digest": image.manifest, "size": size}


def _comment(image: Image) -> str:
    return image.config.history[-1].comment if image.config.history else ""


def _config(defaults: Defaults) -> dict[str, Any]:
    """Docker's ContainerConfig with what an image can say."""
    health = defaults.healthcheck
    return {
        "Hostname": "",
        "Domainname": "",
        "User": defaults.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        **({"ExposedPorts": {port: {} for port in defaults.exposed_ports}} if defaults.exposed_ports else {}),
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": list(defaults.env),
        "Cmd": list(defaults.cmd) or None,
        **(
            {
                "Healthcheck": {
                    "Test": list(health.test),
                    "Interval": health.interval,
                    "Timeout": health.timeout,
                    "StartPeriod": health.start_period,
                    "Retries": health.retries,
                }
            }
            if health
            else {}
        ),
        "Image": "",
        "Volumes": {path: {} for path in defaults.volumes} or None,
        "WorkingDir": defaults.working_dir,
        "Entrypoint": list(defaults.entrypoint) or None,
        "OnBuild": list(defaults.on_build) or None,
        "Labels": dict(defaults.labels) or None,
        **({"StopSignal": defaults.stop_signal} if defaults.stop_signal else {}),
        **({"Shell": list(defaults.shell)} if defaults.shell else {}),
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
