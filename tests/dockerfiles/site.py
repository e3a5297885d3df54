"""Where cases are built: a registry of their bases, a server of their files, the engines."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.dockerfiles.archive import Image, Reader
from tests.dockerfiles.case import Case
from tests.dockerfiles.engines import BUILDERS, Builder, Failed
from tests.images import builder
from tests.support.dockerd import remove_cgroups
from tests.support.registry import Registry


@dataclass(frozen=True)
class Built:
    reference: str
    seconds: float


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Site:
    """`prefix` is put before the program that fetches packages for the bases: see `debian.bootstrap`."""

    def __init__(self, directory: Path, cgroup_parent: str, prefix: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._cgroup_parent = cgroup_parent
        self._prefix = prefix
        self._builders: dict[str, Builder] = {}
        self._pushed: set[str] = set()
        self._reader = Reader()
        self._lock = threading.Lock()
        self._cases = directory / "cases"
        self._cases.mkdir()
        self._registry = Registry(directory / "registry")
        handler = partial(_Quiet, directory=str(self._cases))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        for engine in self._builders.values():
            engine.close()
        remove_cgroups(self._cgroup_parent)
        self._server.shutdown()
        self._server.server_close()
        self._registry.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def engine(self, name: str) -> Builder:
        """Started at its first use."""
        with self._lock:
            if name not in self._builders:
                self._builders[name] = BUILDERS[name](self._directory / name, self._cgroup_parent)
            return self._builders[name]

    def push(self, bases: Sequence[str]) -> None:
        """Makes the images and pushes them, unless they are there."""
        with self._lock:
            missing = [name for name in bases if name not in self._pushed]
            if missing:
                for name, layout in builder.layouts(missing, self._prefix).items():
                    self._registry.push(layout, name)
            self._pushed.update(missing)

    def build(self, case: Case, engine: str, *, again: bool = False) -> Built:
        """Raises Failed. `again`: every step anew, under another name."""
        self.push(case.bases)
        by = self.engine(engine)
        place = self._place(case, engine)
        if case.before:
            base = ["-f", place / "context" / case.before, "-t", f"corpus-{case.name}-base"]
            by.build([*base, *self._common(case), place / "context"])
        reference = f"corpus-{case.name}" + "-again" * again
        words: list[object] = ["-f", _dockerfile(case, engine, place), "-t", reference]
        words += ["--no-cache"] * again + self._options(case, place, by.contexts)
        begin = time.monotonic()
        by.build([*words, place / "context"])
        return Built(reference, time.monotonic() - begin)

    def image(self, case: Case, engine: str, built: Built) -> Image:
        archive = self._directory / f"{case.name}-{engine}.tar"
        try:
            self.engine(engine).save(built.reference, archive)
            return self._reader.read(archive)
        finally:
            archive.unlink(missing_ok=True)

    def check_output(self, case: Case, engine: str, built: Built) -> None:
        """Raises Failed when the image does not print what the case says."""
        printed = self.engine(engine).run(built.reference, case.command)
        if not re.search(case.output, printed, re.MULTILINE):
            raise Failed(f"{engine}: the image of {case.name} printed {printed!r}, not {case.output!r}")

    def _place(self, case: Case, engine: str) -> Path:
        """A copy of the case for each engine, from one that `setup` has completed."""
        original = self._cases / case.name / "original"
        with self._lock:
            if not original.exists():
                _copy(case.directory, original)
                served = original / "served"
                served.mkdir(exist_ok=True)
                if case.setup:
                    subprocess.run(["sh", "-euc", case.setup], cwd=original, check=True)
        place = self._cases / case.name / engine
        if not place.exists():
            with suppress(FileExistsError):
                subprocess.run(["cp", "-a", str(original), str(place)], check=True)
            if engine == "docker" and case.contexts:
                # its files come with the one context that it knows
                shutil.copytree(place / "contexts", place / "context" / ".contexts", symlinks=True)
        return place

    def _common(self, case: Case) -> list[object]:
        port = self._server.server_address[1]
        files = f"http://127.0.0.1:{port}/{case.name}/original/served"
        arguments = {"REGISTRY": self._registry.host, "FILES": files, **case.args}
        words: list[object] = ["--network", "host" if case.network else "none"]
        for name, value in arguments.items():
            words += ["--build-arg", f"{name}={value}"]
        return words

    def _options(self, case: Case, place: Path, contexts: bool) -> list[object]:
        words = self._common(case)
        words += ["--target", case.target] if case.target else []
        for name, value in case.secrets.items():
            words += ["--secret", f"id={name},src={_secret(value, place)}"]
        for name, value in case.contexts.items() if contexts else ():
            kind, _, image = value.partition(":")
            source = f"docker-image://{self._registry.host}/{image}" if image else place / "contexts" / value
            assert not image or kind == "image", value
            words += ["--build-context", f"{name}={source}"]
        return [*words, *case.options]


def _copy(source: Path, target: Path) -> None:
    """With the modes that git knows: those of a checkout depend on the umask."""
    shutil.copytree(source, target, symlinks=True)
    for directory, names, files in os.walk(target):
        for name in names:
            path = Path(directory, name)
            if not path.is_symlink():
                path.chmod(0o755)
        for name in files:
            path = Path(directory, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _dockerfile(case: Case, engine: str, place: Path) -> Path:
    """The case's own, or beside the context the text for this engine."""
    own = place / "context" / case.dockerfile
    text = case.dockerfile_text(engine)
    if text == own.read_text():
        return own
    other = place / f"{Path(case.dockerfile).name}.{engine}"
    other.write_text(text)
    ignore = own.with_name(f"{own.name}.dockerignore")
    if ignore.exists():
        shutil.copy(ignore, f"{other}.dockerignore")
    return other


def _secret(value: str, place: Path) -> Path:
    found = {"certificates": _certificates, "java-certificates": _java_certificates}.get(value)
    path = found() if found else place / "secrets" / value
    if not path.is_file():
        raise Failed(f"there is no {path}")
    return path


def _certificates() -> Path:
    """What this machine trusts: the bundle that its clients are told of, or the distribution's."""
    return Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")


def _java_certificates() -> Path:
    return Path("/etc/ssl/certs/java/cacerts")
