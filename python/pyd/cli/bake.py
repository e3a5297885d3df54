"""bake: the builds that a file describes, side by side."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence

from pyd import errors
from pyd.cli import build_display, build_options
from pyd.cli.build import fail, write_metadata
from pyd.cli.build_trace import Display
from pyd.cli.command import BOOL, LIST, TEXT, Args, Command, Option, UsageError
from pyd.cli.human import printable
from pyd.cli.table import print_columns
from pyd.engine.build_values import Step, Watcher
from pyd.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.bake import Plan


def bake(args: Args) -> int:
    from pyd.engine import bake as engine_bake

    call, options = build_options.call(args)
    mode = build_display.mode(args.text("progress"), False)
    build_options.check_shared(args)
    wanted = _targets(args.rest)
    listed = _list(args)
    if args.flag("print") and listed:
        raise UsageError("--print and --list are mutually exclusive", exit_code=1)
    files, variables = args.all("file"), _pairs(args.all("var"))
    stdin = sys.stdin.buffer if "-" in files else None
    if listed:
        found = engine_bake.listed(files, os.environ, variables=variables, stdin=stdin)
        _print_list(found.targets if listed[0] == "targets" else found.variables, *listed)
        return 0
    plan = engine_bake.read(files, _sets(args), wanted, os.environ, variables=variables, stdin=stdin)
    if args.flag("print"):
        print(json.dumps(plan.document, indent=2, ensure_ascii=False))
        return 0
    if call != "build":
        return _call(plan, call, options)
    _check_access(plan, args.all("allow"))
    return _build(args, plan, mode)


def _build(args: Args, plan: Plan, mode: str) -> int:
    from pyd.engine import bake as engine_bake
    from pyd.engine.engine import Engine

    display = build_display.display(mode, explain=args.flag("explain"))
    watchers: dict[str, Target] = {}

    def watcher(name: str) -> Watcher:
        watchers[name] = Target(display, name, len(watchers))
        return watchers[name]

    try:
        with Engine() as engine:
            engine.on_warning = display.warns
            results = engine_bake.bake(engine, plan.requests, watcher, exported=plan.wanted)
    except engine_bake.TargetFailed as error:
        display.finishes()
        display.file = watchers[error.target].file
        cause = error.cause
        fail(cause, display, error.target)
        return 1
    except errors.PydError as error:
        display.finishes()
        sys.stderr.write(f"ERROR: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return 1
    except KeyboardInterrupt:
        display.finishes()
        sys.stderr.write("ERROR: failed to build: canceled\n")
        raise
    finally:
        display.finishes()
    if file := args.text("metadata-file"):
        document: dict[str, Any] = {name: dict(result.metadata) for name, result in results.items()}
        write_metadata(file, document, display)
    return 0


class Target(Watcher):
    """One of several builds that are shown together: its steps have its name before them."""

    def __init__(self, display: Display, name: str, number: int) -> None:
        self._name = name
        self._first = number << 32  # ids are unique only within a build
        self.file: tuple[str, Sequence[str]] | None = None
        self._display = display

    def reads(self, name: str, lines: Sequence[str]) -> None:
        self.file = printable(name), lines

    def begins(self, step: Step) -> None:
        self._display.begins(self._own(step))

    def cached(self, step: Step) -> None:
        self._display.cached(self._own(step))

    def explains(self, step: Step, reason: str) -> None:
        self._display.explains(self._own(step), reason)

    def writes(self, step: Step, stream: int, data: bytes) -> None:
        self._display.writes(self._own(step), stream, data)

    def counts(self, step: Step, what: str, done: int, total: int) -> None:
        self._display.counts(self._own(step), what, done, total)

    def interrupts(self, step: Step, text: str) -> None:
        self._display.interrupts(self._own(step), text)

    def warns(self, text: str, line: int = 0) -> None:
        self._display.warns(text, line)

    def ends(self, step: Step, error: BaseException | None = None) -> None:
        self._display.ends(self._own(step), error)

    def _own(self, step: Step) -> Step:
        """ "[build 2/4] RUN make" is "[web build 2/4] RUN make", as buildx shows it."""
        name = (
            f"[{self._name} {step.name[1:]}" if step.name.startswith("[") else f"[{self._name}] {step.name}"
        )
        return replace(step, id=self._first + step.id, name=name)


def _call(plan: Plan, name: str, options: dict[str, Any]) -> int:
    """For each target; the exit status is 1 if any says so."""
    from pyd.cli.build_calls import answer

    status = 0
    for index, (target, request) in enumerate(sorted(plan.requests.items())):
        print("\n" * bool(index) + f"{printable(target)}\n")
        try:
            status |= answer(request, name, **options)
        except errors.PydError as error:
            sys.stdout.flush()
            fail(error, None, target)
            status = 1
    return status


def _check_access(plan: Plan, allowed: Sequence[str]) -> None:
    """A file from somebody else may name any secret of this host as an input: asks, or refuses."""
    from pyd.engine import bake_access

    missing = bake_access.missing(plan.requests, allowed, os.environ)
    if not missing:
        return
    lines = ["Your build is requesting privileges for following possibly insecure capabilities:", ""]
    lines += [f" - {printable(one.words)}" for one in missing]
    flags = " ".join(f"--allow={printable(one.flag)}" for one in missing)
    lines += [
        "",
        f"In order to not see this message in the future pass {flags!r} to grant requested privileges.",
        "",
    ]
    sys.stderr.write("\n".join(lines))
    if sys.stdin.isatty() and sys.stderr.isatty():
        sys.stderr.write("\nDo you want to grant requested privileges and continue? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise errors.Forbidden("additional privileges requested", f"if you trust the file: {flags}")


def _targets(words: Sequence[str]) -> list[str]:
    for word in words:
        if "://" in word or word.startswith("git@"):
            raise errors.NotSupported(
                f"bake definitions from {printable(word)} are not supported",
                "clone the repository, and bake there",
            )
    return list(words) or ["default"]


def _sets(args: Args) -> list[str]:
    """--set, with the flags that stand for one."""
    sets = args.all("set")
    for flag in ("push", "load", "no-cache", "pull"):
        if args.given(flag):
            sets.append(f"*.{flag}={str(args.flag(flag)).lower()}")
    sets += [
        f"*.attest={one}" for one in build_options.attests((), args.text("provenance"), args.text("sbom"))
    ]
    return sets


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not (equals or name in os.environ):
            raise UsageError(f"invalid variable {text!r}: NAME=value", exit_code=1)
        found[name] = value if equals else os.environ[name]
    return found


def _list(args: Args) -> tuple[str, str] | None:
    """(targets or variables, text or json) of --list, --list-targets and --list-variables."""
    text = args.text("list") or ""
    if not text and (args.flag("list-targets") or args.flag("list-variables")):
        text = "targets" if args.flag("list-targets") else "variables"
    if not text:
        return None
    what, form = "", "text"
    for field in text.split(","):
        key, equals, value = field.partition("=")
        if not equals:
            key, value = "type", field
        if key == "type" and value in ("targets", "variables"):
            what = value
        elif key == "format" and value in ("text", "json", "table"):
            form = "json" if value == "json" else "text"
        else:
            raise UsageError(f"invalid list {field!r}: targets or variables, format=json", exit_code=1)
    if not what:
        raise UsageError(f"invalid list {text!r}: targets or variables", exit_code=1)
    return what, form


def _print_list(found: Sequence[Mapping[str, Any]], what: str, form: str) -> None:
    if form == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    columns = ("name", "description") if what == "targets" else ("name", "value", "description")
    titles = {"name": "TARGET" if what == "targets" else "VARIABLE"}
    rows = [[printable(str(one.get(key) or "")) for key in columns] for one in found]
    print_columns([[titles.get(key, key.upper()) for key in columns], *rows])


COMMANDS = {
    "bake": Command(
        "bake",
        bake,
        "Build what a file describes: docker-bake.hcl, docker-bake.json, compose.yaml",
        (
            *build_options.SHARED,
            Option(
                "allow",
                LIST,
                "Allow what targets want: network.host, security.insecure, fs.read=DIR, fs.write=DIR, ssh",
            ),
            Option(
                "file",
                LIST,
                "Definition, several are merged; - for standard input",
                short="f",
                metavar="file",
            ),
            Option("list", TEXT, "List targets or variables; ,format=json", metavar="targets|variables"),
            Option("list-targets", BOOL, "The same as --list=targets"),
            Option("list-variables", BOOL, "The same as --list=variables"),
            Option("print", BOOL, "Print the definition as JSON, build nothing"),
            Option("var", LIST, "Value of a variable of the files: NAME=value"),
            Option("set", LIST, "Override a value: TARGET.KEY=value; * for every target"),
        ),
        usage="[TARGET...]",
        most=None,
        completes="bake",
        epilog="pyd bake --set '*.platform=linux/amd64' web db",
    ),
}
COMMANDS["f"] = COMMANDS["bake"]
