"""What a build tells whoever watches it. Called from several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyd.record import Record


class Step(Record):
    """One line of the display: an instruction of a stage, or a job besides (loading, exporting)."""

    id: int  # unique in the build, in the order of the plan
    name: str  # "[build 2/5] RUN make", "[internal] load build context", "exporting to image"
    stage: str = ""
    instruction: str = ""  # the text of the instruction, "" for other jobs
    line: int = 0  # in the Dockerfile, 0 for other jobs
    platform: str = ""


class Watcher:
    """Who is told how a build gets on; does nothing."""

    def starts(self, stop: Callable[[], None]) -> None:
        """The build has begun. `stop`, from any thread, ends it: it raises Cancelled then."""

    def reads(self, name: str, lines: Sequence[str]) -> None:
        """The Dockerfile that is built: steps and warnings give its line numbers."""

    def begins(self, step: Step) -> None:
        """Work on it starts. A step may begin long after it was planned, and never if it is not needed."""

    def cached(self, step: Step) -> None:
        """Its result was there. Comes between `begins` and `ends`."""

    def explains(self, step: Step, reason: str) -> None:
        """Why it has to be done: one sentence. Comes between `begins` and `ends`, if at all."""

    def writes(self, step: Step, stream: int, data: bytes) -> None:
        """Output of a RUN: stream 1 is its stdout, 2 its stderr. Any bytes, any length, no whole lines."""

    def counts(self, step: Step, what: str, done: int, total: int) -> None:
        """Bytes of a transfer, a copy or an export; `what` names the part ("sha256:…", "context"). `total` 0:
        not known.
        """

    def interrupts(self, step: Step, text: str) -> None:
        """The terminal is somebody else's from now on, until `ends` of the step: a shell for the user."""

    def warns(self, text: str, line: int = 0) -> None:
        """Something that the user should know and that stops nothing."""

    def ends(self, step: Step, error: BaseException | None = None) -> None:
        """It is done, or why it is not."""

    def finishes(self) -> None:
        """Called last, after success and failure."""
