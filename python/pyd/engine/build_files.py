"""The files of a build outside of images: in a directory, or in a tar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack

from pyd.build.attestations import Predicate, statement_file
from pyd.build.file_export import FileExport, write_statements
from pyd.build.outputs import Output
from pyd.build.result import Built
from pyd.build.tar_export import digests, paths, write_joined, write_tar
from pyd.errors import InvalidArgument
from pyd.oci.platform import Platform
from pyd.store.pack import as_packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from pyd.store import Store

Predicates = Mapping[Platform, Sequence[Predicate]]


def local(
    store: Store,
    builts: Sequence[Built],
    output: Output,
    predicates: Predicates,
    warn: Callable[[str], None],
) -> None:
    """Into the directory `output.dest`; of several platforms into linux_amd64 and the like below it."""
    if not _split(builts, output):
        _check_unique(store, builts)
    for built in builts:
        dest = f"{output.dest}/{folder(built.platform)}" if _split(builts, output) else output.dest
        said = predicates.get(built.platform, ())
        with _standing(store, built) as layers:
            exporting = FileExport(layers, warn, hashed=bool(said))
            exporting.write(dest)
        if said:
            write_statements(dest, _statements(builts, built, output, said, exporting.files))


def tar(
    store: Store,
    builts: Sequence[Built],
    output: Output,
    predicates: Predicates,
    epoch: int,
    file: BinaryIO,
) -> None:
    """The same as a tar, with the owners, times and devices that the image has."""
    split = _split(builts, output)
    if not split and len(builts) == 1 and not any(predicates.values()):
        with _standing(store, builts[0]) as layers:
            write_tar(file, layers)
        return
    if not split:
        _check_unique(store, builts)
    with ExitStack() as stack:
        parts = []
        for built in builts:
            layers, said = stack.enter_context(_standing(store, built)), predicates.get(built.platform, ())
            files = _statements(builts, built, output, said, digests(layers)) if said else {}
            parts.append((folder(built.platform) if split else "", layers, files))
        write_joined(file, parts, epoch)


def directories(store: Store, built: Built) -> list[str]:
    """The layers as directories, top first. Times of files may still be those of the build context."""
    return store.snapshots.lower_dirs([layer.chain_id for layer in reversed(built.layers)])


def _standing(store: Store, built: Built) -> AbstractContextManager[list[str]]:
    """The same with the times that the image has."""
    return as_packed(store, [layer.chain_id for layer in built.layers])


def folder(platform: Platform) -> str:
    return str(platform).replace("/", "_")


def _split(builts: Sequence[Built], output: Output) -> bool:
    return len(builts) > 1 if output.platform_split is None else output.platform_split


def _statements(
    builts: Sequence[Built],
    built: Built,
    output: Output,
    predicates: Sequence[Predicate],
    files: Sequence[tuple[str, str]],
) -> dict[str, bytes]:
    found = {}
    for predicate in predicates:
        name = f"{output.attestation_prefix}{predicate.file}"
        if output.platform_split is False:
            stem, dot, extension = name.rpartition(".")
            name = f"{stem}.{folder(built.platform)}{dot}{extension}"
        found[name] = statement_file(predicate, files)
    return found


def _check_unique(store: Store, builts: Sequence[Built]) -> None:
    """Files of one platform must not overwrite those of another."""
    seen: dict[str, Platform] = {}
    for built in builts if len(builts) > 1 else ():
        for path in paths(directories(store, built)):
            if path in seen:
                raise InvalidArgument(
                    f"cannot overwrite {path} from {seen[path]} with {built.platform} when split option is "
                    "disabled",
                    "platform-split=true",
                )
            seen[path] = built.platform
