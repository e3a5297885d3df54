"""The further contexts of a build, `--build-context name=value`: what a value names, and its files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from pyd.build import dockerfiles
from pyd.build.sources import Sources, Stream
from pyd.errors import InvalidArgument, NotFound
from pyd.record import Record, field

_TAG = r"(:\w[\w.-]{0,127})?(@[a-z0-9]+:[0-9a-f]+)?"


class NamedContext(Record):
    """kind: "directory": files at `root`, but those of `ignore`
          "image": `reference` as FROM takes it; "scratch" is the empty one
          "layout": an OCI image layout at `root`; `reference` says which image: "", ":tag", "@digest" or both
    identity, remote: as of a Context
    """

    name: str
    kind: str
    identity: str
    root: str = ""
    reference: str = ""
    ignore: list[str] = field(default_factory=list)
    remote: tuple[str, str] | None = None


@contextmanager
def opened_named(
    name: str, value: str, scratch: str, sources: Sources | None = None
) -> Iterator[NamedContext]:
    """`scratch` as for the main context. Raises InvalidArgument, NotFound, and what fetching raises."""
    yield _named(name, value, scratch, sources or Sources())


def normal_name(name: str) -> str:
    """The name that FROM and --from are compared with: "docker.io/library/a:latest" is "a"."""
    from pyd.oci.reference import Reference

    try:
        return Reference.parse(name).familiar.removesuffix(":latest")
    except InvalidArgument:
        raise InvalidArgument(f"invalid context name {name}") from None


def _named(name: str, value: str, scratch: str, sources: Sources) -> NamedContext:
    if value.startswith("docker-image://"):
        reference = value.removeprefix("docker-image://")
        return NamedContext(name=name, kind="image", identity=value, reference=reference)
    if value.startswith("oci-layout://"):
        return _layout(name, value.removeprefix("oci-layout://"))
    if value.startswith("target:"):
        raise InvalidArgument(
            f"context {name}={value}: there are targets in a bake file only", "use `pyd bake`"
        )
    if os.path.isdir(value):
        root = os.path.abspath(value)
        ignore = dockerfiles.patterns((root, dockerfiles.IGNORE))
        return NamedContext(name=name, kind="directory", identity=root, root=root, ignore=ignore)
    from pyd.build import git, urls

    source = git.parse(value)
    if source is not None:
        checkout = sources.checkout(source, scratch)
        origin = (source.shown, checkout.commit)
        return NamedContext(
            name=name, kind="directory", identity=source.shown, root=checkout.root, remote=origin
        )
    if urls.is_http(value):
        return _url(name, value, scratch, sources)
    cause = "not a directory" if os.path.lexists(value) else "no such file or directory"
    raise InvalidArgument(f"failed to get build context {name}: stat {value}: {cause}")


def _url(name: str, value: str, scratch: str, sources: Sources) -> NamedContext:
    """An archive is unpacked; another file is the only one of its context."""
    from pyd.build import urls

    fetched = sources.fetch(value, scratch)
    shown = urls.redacted(value)
    with open(fetched.path, "rb") as file:
        stream = Stream(file, shown)
        if stream.is_archive:
            root = stream.unpack(scratch)
            os.unlink(fetched.path)
        else:
            root = f"{scratch}/{os.urandom(8).hex()}"
            os.mkdir(root, 0o700)
            os.rename(fetched.path, f"{root}/context")  # the name that BuildKit gives it
    origin = (shown, fetched.digest)
    return NamedContext(name=name, kind="directory", identity=shown, root=root, remote=origin)


def _layout(name: str, text: str) -> NamedContext:
    match = re.fullmatch(f"(.*?){_TAG}", text)
    path, tag, digest = match.groups("") if match else (text, "", "")
    if tag and os.path.isdir(path + tag):  # a colon in the name of the directory
        path, tag = path + tag, ""
    if not os.path.isfile(f"{path}/index.json"):
        raise NotFound(
            f'oci-layout reference "oci-layout://{text}" could not be resolved: there is no {path}/index.json'
        )
    root, reference = os.path.abspath(path), tag + digest
    identity = f"oci-layout://{root}{reference}"
    return NamedContext(name=name, kind="layout", identity=identity, root=root, reference=reference)
