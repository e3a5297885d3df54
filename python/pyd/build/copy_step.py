"""COPY and ADD: files of the context, of a stage or image, here-documents, URLs, git and archives."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping, Sequence

from pyd import _native
from pyd.build import layers, listings
from pyd.build.events import Step
from pyd.build.files import HostTree, Tree, literal
from pyd.build.kinds import Add, Content, Transfer
from pyd.build.result import State
from pyd.build.steps import Outcome
from pyd.errors import NotFound
from pyd.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.build.stage import StageJob

Owner = tuple[int, int]


class Part(Record):
    """Something that is copied: a selection of files, or an archive to unpack.

    keeps_times: its times belong to it (archive, URL, stage) and are not those of the build context.
    """

    selection: _native.Selection | None = None
    archive: str = ""
    owner: Owner | None = None
    mode: int | None = None
    keeps_times: bool = False


class Source(Record):
    """A part, as far as the key of the step needs it. listing: digest of the selection, for explanations."""

    fingerprint: list[str]
    part: Callable[[], Part]
    listing: str = ""


def do(job: StageJob, state: State, instruction: Transfer, step: Step) -> tuple[Outcome, str]:
    build = job.build
    dest = destination(state, instruction.dest)
    tree = job.solver.tree(instruction.from_) if instruction.from_ else build.context
    owner = _owner(job, state, instruction)
    base: dict[str, Any] = {
        "kind": instruction.keyword,
        "parent": "" if instruction.link else state.chain_id,
        "link": instruction.link,
        "dest": dest,
        "owner": list(owner) if owner else None,
        "chmod": instruction.chmod,
        "unpack": instruction.unpack,
        "epoch": build.epoch,
    }
    sources: list[Source] = []

    def structure() -> Mapping[str, Any]:
        sources[:] = _sources(job, instruction, tree, owner, step)
        found = [source.listing for source in sources if source.listing]
        return {
            **base,
            "files": found[0] if found else "",
            "fetched": [source.fingerprint for source in sources if not source.listing],
        }

    fast = None
    if tree.identity and not instruction.contents and isinstance(instruction, Add) is False:
        named = {
            "from": tree.identity,
            "sources": list(instruction.sources),
            "excludes": list(instruction.excludes),
            "parents": instruction.parents,
        }
        fast = {**base, **named}
    return build.steps.do(
        step,
        job.place(instruction.keyword),
        state,
        structure,
        lambda: _execute(job, state, instruction, dest, [source.part() for source in sources]),
        fast=fast,
        fresh=job.fresh,
        below_reason=job.reason,
    )


def destination(state: State, path: str) -> str:
    """Absolute; with a slash at its end where the instruction means a directory."""
    joined = posixpath.join("/", state.config.get("WorkingDir") or "/", path)
    cleaned = "/" + posixpath.normpath(joined).strip("/")
    is_directory = path in ("", ".", "..") or path.endswith(("/", "/.", "/.."))
    return cleaned if cleaned == "/" or not is_directory else f"{cleaned}/"


def _owner(job: StageJob, state: State, instruction: Transfer) -> Owner | None:
    """--chown looked up in the image; None for none."""
    if not instruction.chown:
        return None
    from pyd.runtime import users
    from pyd.runtime.layered import LayeredRoot

    user = users.resolve(instruction.chown, LayeredRoot(layers.lowers(job.build.store, state)))
    if ":" not in instruction.chown and users.parse_id(instruction.chown) is not None:
        # a number alone is user and group (Dockerfile reference, COPY --chown)
        return user.uid, user.uid
    return user.uid, user.gid


def _sources(
    job: StageJob, instruction: Transfer, tree: Tree, owner: Owner | None, step: Step
) -> list[Source]:
    found: list[Source] = []
    local = []
    for source in instruction.sources:
        if isinstance(instruction, Add) and _is_remote(source):
            found.append(_remote(job, instruction, source, owner, step))
        else:
            local.append(source)
    if instruction.contents:
        found.append(_selected(job, _written(job, instruction.contents), owner or (0, 0)))
    if local:
        found += _local(job, instruction, tree, local, owner)
    return found


def _selected(
    job: StageJob, selection: _native.Selection, owner: Owner | None, keeps_times: bool = False
) -> Source:
    listings.keep(job.build.store.paths, selection.digest, selection.listing())
    part = Part(selection, owner=owner, keeps_times=keeps_times)
    return Source([], lambda: part, selection.digest)


def _local(
    job: StageJob, instruction: Transfer, tree: Tree, sources: Sequence[str], owner: Owner | None
) -> list[Source]:
    try:
        selection = tree.select(sources, excludes=instruction.excludes, parents=instruction.parents)
    except NotFound as error:
        raise NotFound(
            f"failed to compute cache key: {error.message}",
            error.hint or "check the name, and whether .dockerignore leaves the file out",
        ) from None
    if not isinstance(tree, HostTree):
        return [_selected(job, selection, owner or tree.owner, keeps_times=True)]
    if isinstance(instruction, Add) and instruction.unpack is not False:
        # ADD unpacks an archive that it is given as a file
        from pyd.build import add_archive

        files = [path for _, path, kind in selection.roots if kind == "file"]
        packed = [path for path in files if add_archive.is_archive(tree.root, path)]
        if packed:
            rest = [path for _, path, _ in selection.roots if path not in packed]
            found = [_archive(job, tree, path, owner) for path in packed]
            if rest:
                found.append(_selected(job, tree.select(list(map(literal, rest))), owner or tree.owner))
            return found
    return [_selected(job, selection, owner or tree.owner)]


def _archive(job: StageJob, tree: HostTree, path: str, owner: Owner | None) -> Source:
    selection = tree.select([literal(path)])

    def part() -> Part:
        from pyd.build import add_archive

        plain = add_archive.prepared(tree.root, path, job.build.scratch.directory())
        return Part(archive=plain, owner=owner, keeps_times=True)

    return Source(["archive", selection.digest], part)


def _is_remote(source: str) -> bool:
    if ":" not in source:  # neither a URL nor git's host:path
        return False
    from pyd.build import remote_sources

    return remote_sources.is_remote(source)


def _remote(job: StageJob, instruction: Transfer, source: str, owner: Owner | None, step: Step) -> Source:
    """What a URL or a git repository gives, as files of a directory of its own."""
    from pyd.build import add_archive, remote_sources

    found = remote_sources.find(job.build, instruction, source, step)

    def part() -> Part:
        root, name = found.get()
        if instruction.unpack and found.is_file and add_archive.is_archive(root, name):
            plain = add_archive.prepared(root, name, job.build.scratch.directory())
            return Part(archive=plain, owner=owner or (0, 0), keeps_times=True)
        tree = HostTree(job.build.store, root, ())
        selection = tree.select([literal(name)] if name else ["/"])
        mode = 0o600 if found.is_file else None
        return Part(selection, owner=owner or (0, 0), mode=mode, keeps_times=found.is_file)

    return Source(found.fingerprint, part)


def _written(job: StageJob, contents: Sequence[Content]) -> _native.Selection:
    """Here-documents as files of a directory of their own."""
    directory = f"{job.build.scratch.directory()}/heredoc-{os.urandom(8).hex()}"
    os.mkdir(directory, 0o700)
    names = []
    for content in contents:
        names.append(posixpath.basename(content.name) or "EOF")
        path = f"{directory}/{names[-1]}"
        with open(path, "wb") as file:
            file.write(content.text.encode("utf-8", "surrogateescape"))
        os.chmod(path, 0o644)
    return HostTree(job.build.store, directory, ()).select(list(map(literal, names)))


def _execute(job: StageJob, state: State, instruction: Transfer, dest: str, parts: Sequence[Part]) -> Outcome:
    build = job.build
    below = [] if instruction.link else layers.lowers(build.store, state)
    late = False
    with layers.upper(build.store) as made:
        for part in parts:
            uid, gid = part.owner if part.owner is not None else (None, None)
            chmod = _mode(instruction.chmod)
            if part.selection is None:
                # the owners of what is in it are the archive's, as Docker has it
                _native.unpack_archive(
                    part.archive,
                    lowers=below,
                    upper=made.fs,
                    work=made.work,
                    dest=dest,
                    uid=uid or 0,
                    gid=gid or 0,
                    epoch=build.epoch,
                )
                continue
            keeps = job.solver.keeps_times and not part.keeps_times and not instruction.link
            late = late or keeps
            _native.copy_files(
                part.selection,
                lowers=below,
                upper=made.fs,
                work=made.work,
                dest=dest,
                dest_is_dir=dest.endswith("/") or len(parts) > 1,
                uid=uid,
                gid=gid,
                chmod=part.mode if chmod is None else chmod,
                epoch=None if part.keeps_times or keeps else build.epoch,
            )
        layer = layers.publish(
            build.store, made, state, epoch=build.epoch, keep_times=late, linked=instruction.link
        )
    return Outcome(layer, {})


def _mode(text: str) -> int | str | None:
    """--chmod: octal, or symbolic ("u+x")."""
    if not text:
        return None
    return int(text, 8) if text.isascii() and not text.strip("01234567") else text
