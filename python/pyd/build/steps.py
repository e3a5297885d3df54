"""A step is done once: looked up by its key, else executed, and its result kept.

Steps of one key are done one after the other, also those of other builds: whoever comes second finds the
result of the first.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from pyd import _native
from pyd.build import layers
from pyd.build.events import Step, Watcher
from pyd.build.keys import Structure, key_of
from pyd.build.result import State
from pyd.errors import Cancelled, PydError
from pyd.oci.digest import chain_ids
from pyd.record import Record, replace
from pyd.store.build_cache import BuildLayer, BuildStep
from pyd.store.locks import exclusive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from pyd.store import Store
else:
    Protocol = object  # nothing here is checked at run time


class Outcome(Record):
    """What a step gives: a layer, or None where it changed no file; and what else came of it."""

    layer: BuildLayer | None
    value: Mapping[str, Any]


class Remote(Protocol):
    """A cache that came from elsewhere (`--cache-from`)."""

    def find(self, key: str) -> BuildStep | None:
        """The step, whose layer is not here yet."""

    def bring(self, step: BuildStep, below: State) -> BuildLayer | None:
        """Its layer on top of `below`, unpacked and known to the store."""

    def restore_mount(self, name: str, directory: str) -> bool:
        """Fill the empty directory of a cache mount; False if it is not in the cache."""


class Steps:
    """The steps of one build, from all its stages and platforms."""

    def __init__(self, store: Store, watcher: Watcher, remotes: Sequence[Remote] = ()) -> None:
        self._store = store
        self._watcher = watcher
        self.remotes = list(remotes)
        self._lock = threading.Lock()
        self.used: dict[str, BuildStep] = {}  # by key, in the order of their ends
        self.places: set[tuple[str, str]] = set()  # where which of them were used
        self.aliases: dict[str, str] = {}
        self.has_new = False  # whether something was done that is not synced yet

    def do(
        self,
        step: Step,
        place: str,
        below: State,
        structure: Callable[[], Structure],
        execute: Callable[[], Outcome],
        *,
        fast: Structure | None = None,
        fresh: bool = False,
        below_reason: str = "",
    ) -> tuple[Outcome, str]:
        """(its result, why it had to be done: "" when it was there).

        structure: what its key is made of; called only if `fast`, a structure that costs nothing to make,
        does not find it. fresh: do not look for it. below_reason: what to say when only the parent differs.
        """
        short = key_of(fast) if fast is not None else ""
        if short and not fresh:
            found = self._store.build_cache.find(short)
            if found is not None and (outcome := self._outcome(found, below)) is not None:
                self._note(found, place, short)
                self._watcher.cached(step)
                return outcome, ""
        whole = structure()
        key = key_of(whole)

        def reused(found: BuildStep | None) -> Outcome | None:
            outcome = self._outcome(found, below) if found is not None else None
            if found is not None and outcome is not None:
                if short:
                    self._store.build_cache.alias(short, key)
                self._note(found, place, short)
                self._watcher.cached(step)
            return outcome

        if not fresh and (outcome := reused(self._store.build_cache.find(key))) is not None:
            return outcome, ""
        with exclusive(f"{self._store.paths.run_root}/locks/step-{key[7:]}", remove=True):
            if not fresh:
                # again: another build may have done it while we waited
                found = self._store.build_cache.find(key) or self._from_elsewhere(key, place, whole, below)
                if (outcome := reused(found)) is not None:
                    return outcome, ""
                reason = self._why(place, key, whole, below_reason)
            else:
                reason = "the cache was not to be used"
            self._watcher.explains(step, reason)
            outcome = execute()
            now = time.time()
            done = BuildStep(key, place, dict(whole), outcome.layer, outcome.value, now, now)
            self._store.build_cache.add(done, [short] if short else [])
            self.has_new = True
        self._note(done, place, short)
        return outcome, reason

    def _why(self, place: str, key: str, structure: Structure, below: str) -> str:
        cache = self._store.build_cache
        if cache.was_at(place, key):
            return "its result was removed from the cache"
        from pyd.build import explain

        before = [one for one in cache.at(place) if one.key not in self.used]
        return explain.why(self._store.paths, structure, before, below)

    def _note(self, step: BuildStep, place: str, alias: str) -> None:
        with self._lock:
            self.used[step.key] = step
            self.places.add((place, step.key))
            if alias:
                self.aliases[alias] = step.key

    def _outcome(self, found: BuildStep, below: State) -> Outcome | None:
        """Its result on top of `below`. A step that does not depend on what is below it (COPY --link) may
        have been done on top of something else.
        """
        if found.layer is None:
            return Outcome(None, found.value)
        if not layers.is_there(self._store, found.layer.chain_id):
            return None
        wanted = chain_ids([*(layer.diff_id for layer in below.layers), found.layer.diff_id])[-1]
        if wanted == found.layer.chain_id:
            return Outcome(found.layer, found.value)
        parent = below.layers[-1].chain_id if below.layers else None
        layer = replace(found.layer, chain_id=wanted, parent=parent)
        if not layers.is_there(self._store, wanted):
            layers.duplicate(self._store, found.layer, layer)
        return Outcome(layer, found.value)

    def restore_mount(self, name: str, directory: str) -> bool:
        """Fill the directory of a cache mount that is new here from a cache that came from elsewhere."""
        for remote in self.remotes:
            try:
                if remote.restore_mount(name, directory):
                    return True
            except Cancelled:
                raise
            except PydError as error:
                self._watcher.warns(f"a cache mount could not be restored: {error.message}")
                for left in os.listdir(directory):
                    _native.remove_tree(f"{directory}/{left}")
        return False

    def _from_elsewhere(self, key: str, place: str, structure: Structure, below: State) -> BuildStep | None:
        for remote in self.remotes:
            step = remote.find(key)
            if step is None:
                continue
            try:
                layer = remote.bring(step, below) if step.layer is not None else None
            except Cancelled:
                raise
            except PydError as error:
                self._watcher.warns(f"a step could not be taken from the cache: {error.message}")
                continue
            now = time.time()
            step = replace(step, place=place, structure=dict(structure), layer=layer, created=now, used=now)
            self._store.build_cache.add(step)
            self.has_new = True
            return step
        return None
