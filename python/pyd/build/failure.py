"""Why a build ended: a step that failed, with the place in the Dockerfile that it comes from."""

from __future__ import annotations

from pyd.build.events import Step
from pyd.errors import PydError


class BuildFailed(PydError):
    """A step failed. `line` and `end_line` are those of its instruction (0: none), `step` what was done,
    `code` the exit code of a RUN (0: it was something else), `cause` the error behind it.

    The command's exit status is 1, as Docker's.
    """

    status = 500
    exit_code = 1

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        step: Step | None = None,
        dockerfile: str = "",
        line: int = 0,
        end_line: int = 0,
        code: int = 0,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.step = step
        self.dockerfile = dockerfile
        self.line = line
        self.end_line = end_line
        self.code = code
        self.cause = cause
