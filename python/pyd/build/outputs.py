"""`--output`: where the result of a build goes (docker/buildx, util/buildflags/export.go).

DIR, type=local,dest=DIR       the files, as those of the caller
-, type=tar[,dest=FILE]        the files as a tar, to stdout without dest
type=oci[,dest=…]              an OCI image layout, in a tar or with tar=false in a directory
type=docker[,dest=FILE]        what `docker load` reads; without dest the image store
type=image[,push=true]         the image store, and registries
type=registry                  the same with push=true
type=cacheonly                 nowhere
"""

from __future__ import annotations

from collections.abc import Sequence

from pyd.build.annotations import NONE, Annotations, of_attribute
from pyd.errors import InvalidArgument, NotSupported
from pyd.oci.reference import Reference
from pyd.record import Record

STDOUT = "-"
COMPRESSIONS = ("uncompressed", "gzip", "zstd")
_FILES = frozenset(("platform-split", "attestation-prefix"))
_LAYERS = frozenset(
    ("name", "compression", "compression-level", "force-compression", "oci-mediatypes", "rewrite-timestamp")
)
_STORE = frozenset(("push", "push-by-digest", "store", "registry.insecure"))
_KEYS = {
    "local": _FILES,
    "tar": _FILES,
    "oci": _LAYERS | {"tar"},
    "docker": _LAYERS | {"tar"},
    "image": _LAYERS | _STORE,
    "registry": _LAYERS | _STORE,
    "cacheonly": frozenset[str](),
}
_TRUE, _FALSE = (
    frozenset(("1", "t", "T", "true", "TRUE", "True")),
    frozenset(("0", "f", "F", "false", "FALSE", "False")),
)
_LEVELS = {"": (1, 9), "gzip": (1, 9), "zstd": (1, 22), "uncompressed": (0, 0)}


class Output(Record, kw_only=True):
    """One value of the flag. `names`: canonical references; without any the image has no name.

    compression: "" is the default: gzip for what leaves this machine, as it is in the store otherwise
    """

    type: str
    dest: str = ""  # a path, or STDOUT
    names: tuple[str, ...] = ()
    push: bool = False
    push_by_digest: bool = False
    store: bool = True
    insecure: bool = False  # plain http and unverified certificates will do
    tar: bool = True
    compression: str = ""
    level: int | None = None
    force_compression: bool = False
    oci_media_types: bool = True
    annotations: Annotations = NONE
    platform_split: bool | None = None  # None: when there are several
    attestation_prefix: str = ""

    @property
    def is_image(self) -> bool:
        """Whether it has a manifest."""
        return self.type in ("oci", "docker", "image")


def parse(texts: Sequence[str], tags: Sequence[str] = ()) -> tuple[Output, ...]:
    """All outputs of a build; none given is the image store. `tags` (-t) are the names of images.

    Raises InvalidArgument for unknown types and keys, NotSupported for those that mean nothing here.
    """
    names = tuple(_name(tag) for tag in tags)
    outputs = tuple(_parse(text, names) for text in texts if text) or (Output(type="image", names=names),)
    if sum(output.dest == STDOUT for output in outputs) > 1:
        raise InvalidArgument("only one output can go to stdout", "give the others a dest=")
    places = [output.dest for output in outputs if output.dest]
    if len(set(places)) != len(places):
        raise InvalidArgument("two outputs have the same dest", "give each another one")
    return outputs


def _parse(text: str, tags: tuple[str, ...]) -> Output:
    fields = fields_of(text)
    if fields == [text] and not text.startswith("type="):
        kind, values = ("tar", {"dest": STDOUT}) if text == STDOUT else ("local", {"dest": text})
    else:
        values = pairs(fields)
        kind = values.pop("type", "")
    if not kind:
        raise InvalidArgument("type is required for output", "type=local,dest=DIR, or only DIR")
    if kind not in _KEYS:
        raise InvalidArgument(f"unknown output type {kind!r}", f"known are {', '.join(_KEYS)}")
    dest = values.pop("dest", "")
    annotations = []
    for key in list(values):
        annotation = of_attribute(key, values[key])
        if annotation is not None and kind not in ("local", "tar", "cacheonly"):
            annotations.append(annotation)
            del values[key]
    if unknown := sorted(values.keys() - _KEYS[kind]):
        known = ", ".join(sorted(_KEYS[kind])) or "none"
        raise InvalidArgument(f"unknown key {unknown[0]!r} of output type {kind}", f"known are {known}")
    if kind in ("local", "tar", "cacheonly"):
        return _files(kind, dest, values)
    return _image(kind, dest, values, tags, Annotations(tuple(annotations)))


def _files(kind: str, dest: str, values: dict[str, str]) -> Output:
    if kind == "cacheonly" and dest:
        raise InvalidArgument("output type cacheonly has no dest")
    if kind == "local" and dest in ("", STDOUT):
        raise InvalidArgument("dest is required for local output", "type=local,dest=DIR")
    prefix = values.get("attestation-prefix", "")
    if "/" in prefix or "\0" in prefix:
        raise InvalidArgument("attestation-prefix is the beginning of a file name: it cannot have a slash")
    return Output(
        type=kind,
        dest=dest or (STDOUT if kind == "tar" else ""),
        platform_split=flag(values, "platform-split", True) if "platform-split" in values else None,
        attestation_prefix=prefix,
    )


def _image(
    kind: str, dest: str, values: dict[str, str], tags: tuple[str, ...], annotations: Annotations
) -> Output:
    by_digest = flag(values, "push-by-digest", False)
    given = tuple(_name(name, by_digest) for name in values.get("name", "").split(",") if name)
    names = given if by_digest and given else tags or given
    push = flag(values, "push", kind == "registry")
    tar = flag(values, "tar", True)
    store = flag(values, "store", not by_digest)
    if kind == "registry":
        kind = "image"
    if kind == "docker" and not dest and tar:
        kind = "image"  # a load, as of `--load`
    if kind == "image" and dest:
        raise InvalidArgument("output type image has no dest", "use type=oci or type=docker")
    if kind in ("oci", "docker") and not tar and dest in ("", STDOUT):
        raise InvalidArgument("dest is required for an output with tar=false", "dest=DIR")
    if by_digest and not push:
        raise InvalidArgument("push-by-digest needs push=true")
    if kind == "image" and not store and not push:
        raise InvalidArgument("the output neither stores nor pushes the image", "type=cacheonly does that")
    if push and not names:
        raise InvalidArgument("tag is needed when pushing to registry")
    if not flag(values, "rewrite-timestamp", True):
        raise NotSupported("rewrite-timestamp=false: times in layers are always those of SOURCE_DATE_EPOCH")
    compression = values.get("compression", "")
    if compression == "estargz":
        raise NotSupported("compression=estargz is not supported", f"use one of {', '.join(COMPRESSIONS)}")
    if compression and compression not in COMPRESSIONS:
        raise InvalidArgument(
            f"unsupported compression type {compression!r}", f"known are {', '.join(COMPRESSIONS)}"
        )
    level = _level(values.get("compression-level", ""), compression)
    # neither annotations nor zstd exist in Docker's own manifests
    needs_oci = bool(annotations.entries) or compression == "zstd"
    oci = flag(values, "oci-mediatypes", kind != "docker" or needs_oci)
    if needs_oci and not oci:
        raise InvalidArgument("annotations and zstd need oci-mediatypes=true")
    return Output(
        type=kind,
        dest=dest or ("" if kind == "image" else STDOUT),
        names=names,
        push=push,
        push_by_digest=by_digest,
        store=store,
        insecure=flag(values, "registry.insecure", False),
        tar=tar,
        compression=compression,
        level=level,
        force_compression=flag(values, "force-compression", False),
        oci_media_types=oci,
        annotations=annotations,
    )


def fields_of(text: str) -> list[str]:
    """The comma-separated fields of a flag's value; quotes are those of CSV."""
    import csv

    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise InvalidArgument(f"invalid value {text!r}: {error}") from None
    return rows[0] if rows else []


def pairs(fields: Sequence[str]) -> dict[str, str]:
    """key=value fields; keys are lower case, as in buildx."""
    values: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals:
            raise InvalidArgument(f"invalid value {field}", "write key=value")
        if key in values:
            raise InvalidArgument(f"{key} is given twice")
        values[key] = value
    return values


def flag(values: dict[str, str], key: str, default: bool) -> bool:
    text = values.get(key, "")
    if not text:
        return True if key in values else default
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise InvalidArgument(f"non-bool value specified for {key}: {text!r}", f"{key}=true or {key}=false")


def _level(text: str, compression: str) -> int | None:
    if not text:
        return None
    least, most = _LEVELS[compression]
    if not (text.isascii() and text.isdigit() and len(text) < 3 and least <= int(text) <= most):
        raise InvalidArgument(
            f"invalid compression-level {text!r} of {compression or 'gzip'}",
            f"a number from {least} to {most}",
        )
    return int(text)


def _name(text: str, by_digest: bool = False) -> str:
    try:
        reference = Reference.parse(text)
    except InvalidArgument as error:
        raise InvalidArgument(f'invalid tag "{text}": {error.message}') from None
    if reference.digest:
        raise InvalidArgument(f'invalid tag "{text}": refusing to create a tag with a digest reference')
    if by_digest:
        return reference.repository
    return reference.with_default_tag().canonical


def check(outputs: Sequence[Output], *, indexed: bool, image_id_file: bool = False) -> None:
    """Before anything is built: what these outputs cannot hold. `indexed`: several platforms, or
    attestations.
    """
    for output in outputs:
        if output.type == "docker" and indexed:
            raise InvalidArgument(
                "docker exporter does not support exporting manifest lists, use the oci exporter instead",
                "type=oci,dest=FILE",
            )
        if output.type in ("local", "tar") and image_id_file:
            raise InvalidArgument("local and tar exporters are incompatible with image ID file")
        if output.is_image and indexed and not output.oci_media_types:
            raise InvalidArgument("attestations and several platforms need oci-mediatypes=true")
