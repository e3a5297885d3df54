"""What a build was made for: images in the store and in registries, archives, files.

with fetching(store):                     # the collector waits from the first step of the build
    builts = ...                          # the solver
    exported = export(store, builts, outputs, ...)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from pyd.build.annotations import NONE, Annotations
from pyd.build.outputs import STDOUT, Output
from pyd.build.result import Built
from pyd.engine.build_image import Form, Ready, Tell, described, preferred, prepare, silent
from pyd.engine.build_store import add
from pyd.errors import InvalidArgument, from_os_error
from pyd.oci.platform import Platform
from pyd.record import Record, field
from pyd.store.fetching import fetching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from pyd.build.attestations import Predicate
    from pyd.oci.digest import Digest
    from pyd.store import Store

_DEFAULT_EPOCH = 315532800  # 1980: the earliest time that a zip can hold


class Exported(Record):
    """id: of the image of this host's platform, else of the first. digest: of the manifest or index that was
    stored, pushed or written last; "" where no output is an image. metadata: what --metadata-file holds.
    """

    id: Digest
    digest: str = ""
    is_index: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image_id(self) -> str:
        """What --iidfile and -q give: the image ID, or the digest of the index of several platforms."""
        return self.digest if self.is_index else str(self.id)


class Job(Record, kw_only=True):
    """What all outputs of one build share. hidden: files of predicates that are not for exported files."""

    store: Store
    builts: Sequence[Built]
    annotations: Annotations = NONE
    predicates: Mapping[Platform, Sequence[Predicate]] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    epoch: int = _DEFAULT_EPOCH
    stdout: BinaryIO | None = None
    tell: Tell = silent
    warn: Callable[[str], None] = lambda text: None

    @property
    def file_predicates(self) -> dict[Platform, list[Predicate]]:
        return {
            platform: [one for one in said if one.file not in self.hidden]
            for platform, said in self.predicates.items()
        }

    @property
    def is_indexed(self) -> bool:
        return len(self.builts) > 1 or any(self.predicates.values())


def export(job: Job, outputs: Sequence[Output]) -> Exported:
    """Do all outputs, one after the other. `build.outputs.check` says before the build what cannot be.

    Raises InvalidArgument when stdout is a terminal and wanted, RegistryError and the like of a push.
    """
    for output in outputs:
        if output.dest == STDOUT:
            _check_stdout(job, output)
    digest = ""
    roots: dict[str, Any] = {}
    with fetching(job.store):
        for output in outputs:
            if output.is_image:
                root = _image(job, output)
                digest = str(root.root.digest)
                roots |= _metadata(root, output)
            elif output.type == "local":
                from pyd.engine import build_files

                build_files.local(job.store, job.builts, output, job.file_predicates, job.warn)
            elif output.type == "tar":
                from pyd.engine import build_files

                with opened(job, output) as file:
                    build_files.tar(job.store, job.builts, output, job.file_predicates, job.epoch, file)
    roots |= _provenance(job)
    first = job.builts[preferred(job.builts)]
    metadata = {"buildx.build.ref": f"default/default/{build_ref()}", **roots}
    return Exported(first.id, digest, len(job.builts) > 1 and bool(digest), dict(sorted(metadata.items())))


def build_ref() -> str:
    """25 digits of base 36 by chance, as BuildKit numbers builds."""
    number, digits = int.from_bytes(os.urandom(16)) >> 4, ""
    for _ in range(25):
        number, digit = divmod(number, 36)
        digits += "0123456789abcdefghijklmnopqrstuvwxyz"[digit]
    return digits[::-1]


@contextmanager
def opened(job: Job, output: Output) -> Iterator[BinaryIO]:
    """The file of an output: stdout, or one that gets its name when it is whole and on disk."""
    if output.dest == STDOUT:
        assert job.stdout is not None
        yield job.stdout
        job.stdout.flush()
        return
    from pyd.store.content import fsync_dir

    partial = f"{output.dest}.{os.urandom(6).hex()}.partial"
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, output.dest)
        fsync_dir(os.path.dirname(os.path.abspath(output.dest)))
    except OSError as error:
        raise from_os_error(error, f"writing {output.dest}") from error
    finally:
        if os.path.lexists(partial):
            os.unlink(partial)


def _check_stdout(job: Job, output: Output) -> None:
    if job.stdout is None or job.stdout.isatty():
        raise InvalidArgument(
            f"dest file is required for {output.type} exporter. refusing to write to console",
            f"type={output.type},dest=FILE, or redirect stdout",
        )


def form_of(output: Output, indexed: bool) -> Form:
    """What stays here needs no compression, unless its index is what a push will send."""
    stays = output.type == "image" and not output.push and not indexed
    compression = output.compression or ("uncompressed" if stays else "gzip")
    return Form(compression, output.level, output.force_compression, output.oci_media_types)


def _image(job: Job, output: Output) -> Ready:
    ready = prepare(
        job.store,
        job.builts,
        form_of(output, job.is_indexed),
        names=output.names,
        annotations=job.annotations + output.annotations,
        predicates=job.predicates,
        tell=job.tell,
    )
    if output.type == "image" and output.store:
        add(job.store, ready, () if output.push_by_digest else output.names)
    if output.type != "image" or output.push:
        # not for the usual build, which ends in the store: the client of registries takes long to import
        from pyd.engine import build_transfer

        build_transfer.send(job, output, ready)
    return ready


def _metadata(ready: Ready, output: Output) -> dict[str, Any]:
    """exporter/containerimage/export.go of moby/buildkit; the keys of an image of one platform."""
    found: dict[str, Any] = {
        "containerimage.digest": ready.root.digest,
        "containerimage.descriptor": described(ready.root),
    }
    if len(ready.images) == 1:
        found["containerimage.config.digest"] = ready.images[0].built.id
    if output.names:
        found["image.name"] = ",".join(output.names)
    return found


def _provenance(job: Job) -> dict[str, Any]:
    found = {}
    for platform, predicates in job.predicates.items():
        for predicate in predicates:
            if predicate.file == "provenance.json":
                key = "buildx.build.provenance"
                found[key if len(job.builts) == 1 else f"{key}/{platform}"] = predicate.document
    return found
