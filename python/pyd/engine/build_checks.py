"""What a build warns of before it begins: checks of its Dockerfile, and arguments that nothing asks for."""

from __future__ import annotations

from pyd.build import lint
from pyd.build.arguments import unconsumed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.build.events import Watcher
    from pyd.build.kinds import Script
    from pyd.build.parser import Dockerfile
    from pyd.build.request import BuildRequest


def warn(dockerfile: Dockerfile, script: Script, request: BuildRequest, watcher: Watcher) -> None:
    """Raises InvalidArgument where `# check=error=true` makes findings errors."""
    options = lint.options_of(dockerfile, request.build_args)
    found = lint.check(dockerfile, script, request.build_args, options=options, target=request.target)
    for one in found:
        watcher.warns(f"{one.rule}: {one.message}", one.location.line)
    error = lint.failure(found, options)
    if error is not None:
        raise error
    if names := unconsumed(script, request.build_args):
        watcher.warns(f"One or more build-args [{' '.join(names)}] were not consumed")
