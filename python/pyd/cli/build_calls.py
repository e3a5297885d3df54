"""build --call: questions about a Dockerfile that build nothing."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.engine.build_values import BuildRequest


def answer(request: BuildRequest, name: str, *, format: str = "text", ignorestatus: bool = False) -> int:
    raise NotImplementedError
