"""A new layer: an upper directory that a step fills, sealed, and put among the snapshots under its chainID.

The directory is made where snapshots lie, so that it gets its name by one rename. Whoever is killed before
leaves a directory that no row knows, which the collector removes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyd import _native
from pyd.build.result import State
from pyd.errors import from_os_error
from pyd.oci.digest import Digest, chain_ids
from pyd.record import Record
from pyd.store.build_cache import BuildLayer
from pyd.store.locks import exclusive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.store import Store

EPOCH = 315532800
"""1980-01-01, what later times become unless SOURCE_DATE_EPOCH says otherwise: the earliest that a zip holds.
"""


class Upper(Record):
    """upperdir and workdir of an overlay."""

    directory: str

    @property
    def fs(self) -> str:
        return f"{self.directory}/fs"

    @property
    def work(self) -> str:
        return f"{self.directory}/work"


@contextmanager
def upper(store: Store) -> Iterator[Upper]:
    """A new one; what is left of it at the end is removed."""
    made = Upper(f"{store.paths.snapshots}/build-{os.urandom(8).hex()}.tmp")
    try:
        try:
            os.mkdir(made.directory, 0o711)
        except FileNotFoundError:
            store.paths.make()
            os.mkdir(made.directory, 0o711)
        os.mkdir(made.fs, 0o755)
        os.mkdir(made.work, 0o700)
    except OSError as error:
        raise from_os_error(error, f"making {made.directory}") from error
    try:
        yield made
    finally:
        if os.path.lexists(made.directory):
            store.trash.take(made.directory)


def lowers(store: Store, state: State) -> list[str]:
    """Directories of a stage's layers, top first."""
    return store.snapshots.lower_dirs([layer.chain_id for layer in reversed(state.layers)])


def publish(
    store: Store,
    made: Upper,
    below: State,
    *,
    epoch: int,
    ignored: Sequence[str] = (),
    keep_times: bool = False,
    linked: bool = False,
) -> BuildLayer | None:
    """Seal it and give it its name; None when nothing was changed. Not synced yet, and no row refers to it:
    the caller keeps the collector away (`intake.fetching`).

    keep_times: leave later times than `epoch` in the files for now, see `settle_times`; the diffID is the
    same.
    linked: it was made without looking at what is below.
    """
    sealed = _native.seal_layer(
        made.fs,
        [] if linked else lowers(store, below),
        ignored=list(ignored),
        epoch=epoch,
        clamp=not keep_times,
    )
    if not sealed.entries:
        return None
    diff_id = Digest(sealed.diff_id)
    chain_id = chain_ids([*(layer.diff_id for layer in below.layers), diff_id])[-1]
    layer = BuildLayer(
        chain_id,
        diff_id,
        Digest(below.chain_id) if below.layers else None,
        sealed.plain_size,
        sealed.unpacked_size,
        epoch if keep_times else None,
    )
    place(store, made, layer)
    return layer


def place(store: Store, made: Upper, layer: BuildLayer) -> None:
    """Rename a sealed upper directory to where the layer belongs, unless somebody was first."""
    final = f"{store.paths.snapshots}/{layer.chain_id.hex}"
    with exclusive(f"{store.paths.run_root}/locks/layer-{layer.chain_id.hex}", remove=True):
        if is_there(store, layer.chain_id):
            return
        # a directory without a row: whoever made it was killed between its rename and its row
        store.trash.take(final)
        _native.remove_tree(made.work)
        try:
            os.rename(made.directory, final)
        except OSError as error:
            raise from_os_error(error, f"renaming {made.directory}") from error
        store.build_cache.add_layer(layer)


def is_there(store: Store, chain_id: Digest) -> bool:
    """Whether this layer is unpacked here, for an image or for the build cache."""
    return bool(store.snapshots.known([chain_id])) or store.build_cache.layer(chain_id) is not None


def duplicate(store: Store, source: BuildLayer, layer: BuildLayer) -> None:
    """The files of `source` once more, as `layer`, which differs only in what is below it."""
    with upper(store) as made:
        tree = _native.LayerTree([store.snapshots.path(source.chain_id)])
        _native.copy_files(
            tree.select(["/"]),
            lowers=[],
            upper=made.fs,
            work=made.work,
            dest="/",
            dest_is_dir=True,
            uid=None,
            gid=None,
            chmod=None,
            epoch=None,
        )
        place(store, made, layer)
