"""build: a Dockerfile becomes an image."""

from __future__ import annotations

import os
import sys

from pyd import errors
from pyd.cli import build_display, build_options
from pyd.cli.build_text import harmless
from pyd.cli.build_trace import Display
from pyd.cli.command import Args, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.build_values import BuildRequest, BuildResult


def build(args: Args) -> int:
    """Exit status 1 when the build fails. Nothing goes to stdout but the id with --quiet."""
    name, options = build_options.call(args)
    mode = build_display.mode(args.text("progress"), args.flag("quiet"))
    request = build_options.build_request(args)
    if name != "build":
        return _call(request, name, options)
    iidfile = args.text("iidfile")
    if iidfile:
        _forget(iidfile)
    display = build_display.display(mode, explain=args.flag("explain"))
    result = run(request, display)
    if result is None:
        return 1
    image = image_id(result)
    if mode == "quiet":
        print(image)
    if iidfile:
        _write(iidfile, image)
    if file := args.text("metadata-file"):
        write_metadata(file, dict(result.metadata), display)
    return 0


def _call(request: BuildRequest, name: str, options: dict[str, Any]) -> int:
    from pyd.cli.build_calls import answer

    try:
        return answer(request, name, **options)
    except errors.PydError as error:
        fail(error, None)
        return 1


def run(request: BuildRequest, display: Display) -> BuildResult | None:
    """None when it has failed, which has been said then."""
    from pyd.engine.engine import Engine

    try:
        with Engine() as engine:
            engine.on_warning = display.warns
            return engine.build(request, display)
    except errors.PydError as error:
        display.finishes()
        fail(error, display)
        if isinstance(error, errors.Cancelled):
            raise KeyboardInterrupt from None
        return None
    except KeyboardInterrupt:
        display.finishes()
        sys.stderr.write("ERROR: failed to build: failed to solve: canceled\n")
        raise
    finally:
        display.finishes()


def fail(error: errors.PydError, display: Display | None, target: str = "") -> None:
    """Where in the Dockerfile, and why, in the words that scripts look for."""
    if os.environ.get("PYD_DEBUG"):
        import traceback

        traceback.print_exception(error)
    excerpt = _excerpt(error, display)
    text = f"{excerpt}\n" if excerpt else ""
    text += f"ERROR: failed to build: {target and f'target {target}: '}failed to solve: {error.message}\n"
    sys.stderr.write(text + (f"hint: {error.hint}\n" if error.hint else ""))


def _excerpt(error: errors.PydError, display: Display | None) -> str:
    """An error of the language shows its lines itself; of a step that failed they are known by number."""
    for one in (error, getattr(error, "cause", None)):
        if render := getattr(one, "render", None):
            return "\n".join(harmless(line) for line in str(render()).splitlines())
    if display is None:
        return ""
    line, end = getattr(error, "line", 0), getattr(error, "end_line", 0)
    return display.excerpt(line, end) if line else display.failed_excerpt()


def image_id(result: BuildResult) -> str:
    """What --iidfile and --quiet give: the image's, or the digest of the index of several platforms."""
    keys = ("containerimage.config.digest", "containerimage.digest")
    return next((str(result.metadata[key]) for key in keys if result.metadata.get(key)), result.id)


def write_metadata(path: str, document: dict[str, Any], display: Display) -> None:
    import json

    if display.warnings and os.environ.get("BUILDX_METADATA_WARNINGS", "").lower() in ("1", "true"):
        document["buildx.build.warnings"] = [
            {"short": text, **({"range": [{"start": {"line": line}}]} if line else {})}
            for text, line in display.warnings
        ]
    _write(path, json.dumps(document, indent=2))


def _forget(path: str) -> None:
    """A build that fails must not leave the id of an earlier one."""
    if os.path.isfile(path):
        try:
            os.unlink(path)
        except OSError as error:
            raise errors.from_os_error(error, f"removing {path}") from error


def _write(path: str, text: str) -> None:
    """In one piece where it is a file; /dev/stdout and pipes are written as they are."""
    new = path
    try:
        if not os.path.lexists(path) or os.path.isfile(path):
            path = os.path.realpath(path)
            new = f"{path}.{os.getpid()}.tmp"
        with open(new, "w", encoding="utf-8") as file:
            file.write(text)
        if new != path:
            os.rename(new, path)
    except OSError as error:
        raise errors.from_os_error(error, f"writing {path}") from error


COMMANDS = {
    "build": Command(
        "build",
        build,
        "Build an image from a Dockerfile",
        build_options.BUILD,
        usage="PATH | URL | -",
        least=1,
        most=1,
        completes="directories",
        epilog="pyd build -t app:1 --build-arg VERSION=2 --secret id=token,env=TOKEN .",
    ),
}
COMMANDS["b"] = COMMANDS["build"]
