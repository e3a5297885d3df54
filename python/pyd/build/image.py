"""Builds from Python: each method gives a new `Image` with one more instruction.

An Image is a value; nothing happens before `build`. It is then written as a Dockerfile (`dockerfile()` shows
it), so that what it means is what Docker's reference says, and steps are shared with Dockerfiles that say the
same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from pyd.build.image_mounts import Mount
from pyd.build.request import BuildRequest
from pyd.errors import InvalidArgument

if TYPE_CHECKING:
    from pyd.build.events import Watcher
    from pyd.build.result import BuildResult

Command = str | Sequence[str]


class Builder(Protocol):
    """pyd.Engine."""

    def build(self, request: BuildRequest | None = None, watcher: Watcher | None = None) -> BuildResult: ...


@dataclass(frozen=True, slots=True)
class _Line:
    """An instruction. `{0}`, `{1}`, … in its text stand for the names of `sources`."""

    text: str
    sources: tuple[Image | str, ...] = ()


@dataclass(frozen=True, eq=False)
class Image:
    """A stage. Make one with `Image.from_` or `Image.scratch`."""

    base: Image | str
    platform: str = ""
    lines: tuple[_Line, ...] = field(default=(), repr=False)

    @classmethod
    def from_(cls, base: str | Image, *, platform: str = "") -> Image:
        """On an image by its reference, or on another Image."""
        if isinstance(base, str):
            _word(base)
        return cls(base, _word(platform) if platform else "")

    @classmethod
    def scratch(cls) -> Image:
        return cls("scratch")

    def run(
        self,
        command: Command,
        *,
        mounts: Sequence[Mount] = (),
        network: str = "",
        security: str = "",
    ) -> Image:
        """A line for the shell (or several: a script), or a list of arguments for no shell."""
        sources: list[Image | str] = []
        flags = []
        for mount in mounts:
            name = ""
            if mount.source is not None:
                name = f"{{{len(sources)}}}"
                sources.append(mount.source)
            flags.append("--mount=" + _braced(mount.text(""), name))
        flags += [f"--network={_word(network)}"] if network else []
        flags += [f"--security={_word(security)}"] if security else []
        return self._with(" ".join(["RUN", *flags, ""]) + _escaped(_command(command)), *sources)

    def copy(
        self,
        sources: str | Sequence[str],
        dest: str,
        *,
        from_: Image | str | None = None,
        chown: str = "",
        chmod: str = "",
        link: bool = False,
        parents: bool = False,
        exclude: Sequence[str] = (),
    ) -> Image:
        """Files of the build context, or of another Image or image."""
        flags = ["--from={0}"] if from_ is not None else []
        flags += _flags(chown, chmod, link, exclude) + (["--parents"] if parents else [])
        return self._transfer("COPY", flags, sources, dest, *(() if from_ is None else (from_,)))

    def add(
        self,
        sources: str | Sequence[str],
        dest: str,
        *,
        chown: str = "",
        chmod: str = "",
        link: bool = False,
        exclude: Sequence[str] = (),
        checksum: str = "",
        keep_git_dir: bool = False,
        unpack: bool | None = None,
    ) -> Image:
        """Files of the context, archives that are unpacked, URLs, git repositories."""
        flags = _flags(chown, chmod, link, exclude)
        flags += [f"--checksum={_word(checksum)}"] if checksum else []
        flags += ["--keep-git-dir=true"] if keep_git_dir else []
        flags += [f"--unpack={str(unpack).lower()}"] if unpack is not None else []
        return self._transfer("ADD", flags, sources, dest)

    def write(self, path: str, text: str, *, chmod: str = "", chown: str = "") -> Image:
        """A file with this text. A line break is added at its end if it has none."""
        mark = _mark(text)
        flags = " ".join(["COPY", *_flags(chown, chmod, False, ()), ""])
        body = text if text.endswith("\n") or not text else f"{text}\n"
        return self._with(_escaped(f'{flags}<<"{mark}" {_word(_literal(path))}\n{body}{mark}'))

    def env(self, values: Mapping[str, str] = {}, **more: str) -> Image:
        """Taken as they are: `$` names no variable."""
        return self._pairs("ENV", {**values, **more})

    def label(self, values: Mapping[str, str] = {}, **more: str) -> Image:
        return self._pairs("LABEL", {**values, **more})

    def arg(self, name: str, default: str | None = None) -> Image:
        """A build argument, for RUN and for later instructions as `$name`."""
        value = "" if default is None else f"={_quoted(default)}"
        return self._with(_escaped(f"ARG {_word(name)}{value}"))

    def workdir(self, path: str) -> Image:
        return self._with(_escaped(f"WORKDIR {_literal(path)}"))

    def user(self, user: str) -> Image:
        return self._with(_escaped(f"USER {_literal(user)}"))

    def expose(self, *ports: int | str) -> Image:
        return self._with(_escaped("EXPOSE " + " ".join(_word(str(port)) for port in ports)))

    def volume(self, *paths: str) -> Image:
        return self._with(_escaped(f"VOLUME {json.dumps([_literal(path) for path in paths])}"))

    def cmd(self, command: Command) -> Image:
        return self._with(_escaped(f"CMD {_line(command)}"))

    def entrypoint(self, command: Command) -> Image:
        return self._with(_escaped(f"ENTRYPOINT {_line(command)}"))

    def shell(self, *words: str) -> Image:
        return self._with(_escaped(f"SHELL {json.dumps(words)}"))

    def stop_signal(self, signal: str) -> Image:
        return self._with(_escaped(f"STOPSIGNAL {_word(signal)}"))

    def healthcheck(
        self,
        command: Command | None,
        *,
        interval: str = "",
        timeout: str = "",
        start_period: str = "",
        retries: int = 0,
    ) -> Image:
        """None: none, also not that of the base. Times as Docker writes them: "30s"."""
        if command is None:
            return self._with("HEALTHCHECK NONE")
        found = {
            "interval": interval,
            "timeout": timeout,
            "start-period": start_period,
            "retries": str(retries or ""),
        }
        flags = "".join(f"--{name}={_word(value)} " for name, value in found.items() if value)
        return self._with(_escaped(f"HEALTHCHECK {flags}CMD {_line(command)}"))

    def dockerfile(self) -> str:
        """The Dockerfile that is built."""
        return _Writer().write(self)

    def request(self, context: str = ".", **options: Any) -> BuildRequest:
        """`options`: fields of BuildRequest (tags, build_args, secrets, platforms, outputs, …)."""
        for name in ("text", "dockerfile", "target"):
            if name in options:
                raise InvalidArgument(f"{name} is given by the Image itself")
        for name, value in options.items():
            if isinstance(value, list):
                options[name] = tuple(value)
        return BuildRequest(context=os.fspath(context), text=self.dockerfile().encode(), **options)

    def build(
        self,
        context: str = ".",
        *,
        engine: Builder | None = None,
        watcher: Watcher | None = None,
        **options: Any,
    ) -> BuildResult:
        """Build it. Raises what `Engine.build` raises."""
        request = self.request(context, **options)
        if engine is not None:
            return engine.build(request, watcher)
        import pyd

        with pyd.Engine() as own:
            return own.build(request, watcher)

    def _with(self, text: str, *sources: Image | str) -> Image:
        for source in sources:
            if isinstance(source, str):
                _word(source)
        return replace(self, lines=(*self.lines, _Line(text, tuple(sources))))

    def _pairs(self, keyword: str, values: Mapping[str, str]) -> Image:
        if not values:
            return self
        pairs = (f"{_quoted(name)}={_quoted(value)}" for name, value in values.items())
        return self._with(_escaped(f"{keyword} {' '.join(pairs)}"))

    def _transfer(
        self,
        keyword: str,
        flags: Sequence[str],
        sources: str | Sequence[str],
        dest: str,
        *images: Image | str,
    ) -> Image:
        names = [sources] if isinstance(sources, str) else list(sources)
        words = json.dumps([_literal(name) for name in [*names, dest]])
        head = " ".join([keyword, *flags, ""])
        # the place of the image's name is in the flags; braces of paths are no places
        return self._with(head + _escaped(words), *images)


class _Writer:
    """Stages in an order in which each comes before those that use it."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._stages: list[str] = []

    def write(self, image: Image) -> str:
        self._stage(image)
        return "\n\n".join(self._stages) + "\n"

    def _stage(self, image: Image) -> str:
        known = self._names.get(id(image))
        if known is not None:
            return known
        base = image.base if isinstance(image.base, str) else self._stage(image.base)
        lines = []
        for line in image.lines:
            names = [source if isinstance(source, str) else self._stage(source) for source in line.sources]
            lines.append(line.text.format(*names))
        name = self._names[id(image)] = f"image-{len(self._names) + 1}"
        platform = f"--platform={image.platform} " if image.platform else ""
        self._stages.append("\n".join([f"FROM {platform}{base} AS {name}", *lines]))
        return name


def _flags(chown: str, chmod: str, link: bool, exclude: Sequence[str]) -> list[str]:
    flags = [f"--chown={_word(chown)}"] if chown else []
    flags += [f"--chmod={_word(chmod)}"] if chmod else []
    flags += ["--link"] if link else []
    return [_escaped(flag) for flag in [*flags, *(f"--exclude={_word(_literal(one))}" for one in exclude)]]


def _command(command: Command) -> str:
    """For RUN: what is not one plain line becomes a here-document."""
    if not isinstance(command, str):
        return json.dumps(list(command))
    text = command.strip("\n")
    if not text.strip():
        raise InvalidArgument("a command must not be empty")
    if "\n" in text or "\r" in text or "<<" in text or text.lstrip().startswith("[") or text.endswith("\\"):
        mark = _mark(command)
        return f'<<"{mark}"\n{text}\n{mark}'
    return text.strip()


def _line(command: Command) -> str:
    """For instructions that take no here-document."""
    if not isinstance(command, str):
        return json.dumps(list(command))
    line = command.strip()
    if not line or "\n" in line or "\r" in line or line.startswith("[") or line.endswith("\\"):
        raise InvalidArgument(f"{command!r} cannot be written as one line", "give it as a list of arguments")
    return line


def _mark(text: str) -> str:
    """A name for a here-document that no line of it is."""
    lines = {line.strip() for line in text.splitlines()}
    return next(
        mark for mark in (f"EOF{number or ''}" for number in range(len(lines) + 1)) if mark not in lines
    )


def _literal(text: str) -> str:
    """Where variables are expanded and quotes removed: the same text."""
    return "".join(f"\\{char}" if char in "\\$\"'" else char for char in text)


def _quoted(text: str) -> str:
    if "\n" in text or "\r" in text or "\0" in text:
        raise InvalidArgument(f"a value cannot have line breaks in it: {text!r}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


def _word(text: str) -> str:
    if not text or any(char.isspace() or ord(char) < 32 for char in text):
        raise InvalidArgument(f"{text!r} must be one word")
    return text


def _escaped(text: str) -> str:
    """For str.format."""
    return text.replace("{", "{{").replace("}", "}}")


def _braced(mount: str, name: str) -> str:
    return _escaped(mount) + (f",from={name}" if name else "")
