"""What a build asks of the engine about images: bases, and sources of COPY --from."""

from __future__ import annotations

from typing import Protocol

from pyd.build.events import Step, Watcher
from pyd.build.result import State
from pyd.oci.platform import Platform


class Images(Protocol):
    """Implemented by the engine."""

    def state(
        self, reference: str, platform: Platform, *, pull: bool, watcher: Watcher, step: Step
    ) -> tuple[State, str]:
        """(the image as a stage that nothing was added to, its digest). Pulled when it is missing, or when
        `pull` says so. Raises ImageNotFound and what a registry says. Called from several threads.
        """

    def layout(self, value: str, platform: Platform) -> tuple[State, str]:
        """The same of `oci-layout://PATH[:TAG|@DIGEST]`."""
