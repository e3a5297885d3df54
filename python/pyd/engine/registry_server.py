"""The registry of one's own: serving it, and looking after it from outside. The server's modules are imported
when they are needed: aiohttp alone takes longer to import than most commands run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pyd.config import Config
from pyd.errors import InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyd.registry.server.collector import Collected
    from pyd.registry.server.options import Options
    from pyd.registry.server.store import Store

DEFAULT_LISTEN = "127.0.0.1:5000"


@dataclass(frozen=True, slots=True)
class Repository:
    name: str
    tags: int
    manifests: int
    size: int  # bytes of the blobs that it shows


@dataclass(frozen=True, slots=True)
class Tag:
    name: str
    digest: str
    media_type: str
    size: int  # bytes of the manifest and of all that it refers to, and those refer to
    updated: float  # seconds since the epoch


def place(root: str | None, config: Config | None = None) -> tuple[str, str | None]:
    """(root, content store to share with). Without a root the registry lies in pyd's data-root, where local
    images and the registry hold the same bytes once.
    """
    if root is not None:
        return root, None
    paths = (config or Config()).paths
    return f"{paths.data_root}/registry", paths.content


def options(listen: str | None, root: str | None, **settings: Any) -> Options:
    """`settings` are fields of Options. Raises InvalidArgument."""
    from pyd.registry.server.options import Options, parse_listen

    host, port = parse_listen(listen or DEFAULT_LISTEN)
    path, shared = place(root)
    if shared is not None:
        Config().paths.make()  # with the modes of a data-root
    made = Options(root=path, shared=shared, host=host, port=port, **settings)
    made.check()
    return made


def serve(options: Options) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    from pyd.registry.server.serve import run

    run(options)


def collect(
    root: str | None, *, grace: float | None, untagged: bool, upload_expiry: float | None
) -> Collected:
    """Garbage collection, also while a server runs. Times in seconds, None for the usual."""
    from pyd.registry.server import collector

    store = _open(root)
    try:
        return collector.collect(
            store,
            grace=collector.GRACE if grace is None else grace,
            untagged=untagged,
            upload_expiry=collector.UPLOAD_EXPIRY if upload_expiry is None else upload_expiry,
        )
    finally:
        store.db.close()


def repositories(root: str | None) -> list[Repository]:
    store = _open(root)
    try:
        rows = store.db.query(
            "SELECT name, (SELECT count(*) FROM tags WHERE repository = r.id), "
            "(SELECT count(*) FROM manifests WHERE repository = r.id), "
            "(SELECT coalesce(sum(size), 0) FROM repository_blobs JOIN blobs USING (digest) "
            "WHERE repository = r.id) FROM repositories r ORDER BY name"
        )
        return [Repository(*row) for row in rows]
    finally:
        store.db.close()


def tags(root: str | None, name: str) -> list[Tag]:
    """Raises NotFound."""
    store = _open(root)
    try:
        if not store.has_repository(name):
            raise NotFound(f"no such repository: {name}")
        rows = store.db.query(
            "SELECT t.name, t.digest, m.media_type, "
            "m.size + (SELECT coalesce(sum(size), 0) FROM manifest_references f "
            "WHERE f.repository = t.repository AND f.manifest = t.digest), t.updated "
            "FROM tags t JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest "
            "WHERE t.repository = (SELECT id FROM repositories WHERE name = ?) ORDER BY t.name",
            (name,),
        )
        return [Tag(*row) for row in rows]
    finally:
        store.db.close()


def remove(root: str | None, target: str) -> str:
    """Remove `NAME:TAG`, `NAME@DIGEST` or a whole repository `NAME`; says what was removed. Frees no space:
    the collector does. Raises NotFound, Conflict.
    """
    from pyd.registry.server import names
    from pyd.registry.server.problem import Problem

    name, at, digest = target.partition("@")
    tag = ""
    if not at:
        name, _, tag = target.partition(":")
    store = _open(root)
    try:
        names.check_repository(name)
        if at:
            names.check_digest(digest)
            store.db.transact(lambda tx: store.remove_manifest(tx, name, digest))
        elif tag:
            names.check_tag(tag)
            store.db.transact(lambda tx: store.remove_tag(tx, name, tag))
        else:
            store.db.transact(lambda tx: store.remove_repository(tx, name))
    except Problem as problem:
        if problem.status == 404:
            raise NotFound(
                f"no such {'manifest' if at else 'tag' if tag else 'repository'}: {target}"
            ) from None
        raise InvalidArgument(f"{target}: {problem.message}") from None
    finally:
        store.db.close()
    return f"Untagged: {target}" if tag else f"Deleted: {target}"


def password_line(user: str, password: str) -> str:
    """`user:hash` for the file of --htpasswd."""
    from pyd.registry.server.htpasswd import line

    return line(user, password)


def certificate(hosts: Sequence[str], directory: str) -> tuple[str, str]:
    """(certificate, key): paths of the files that were made in `directory`."""
    from pyd.registry.server.certificate import make

    found = f"{directory}/registry.crt", f"{directory}/registry.key"
    make(hosts, *found)
    return found


def _open(root: str | None) -> Store:
    from pyd.registry.server.store import Store

    path, shared = place(root)
    return Store(os.path.abspath(path), shared, create=False)
