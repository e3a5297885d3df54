"""Programs in Go, built into the cache of the tests: pinned by go.mod and go.sum, through Go's module proxy.

Nothing of them is copied into the project. Needs a go that is as new as the go.mod says (Debian: golang-go).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.images.builder import cache_root

Go = Callable[..., str]
SECONDS = 600  # a build from nothing takes two to three minutes


class NotBuilt(Exception):
    """The programs cannot be built here; the message says what is missing."""


def programs(
    name: str,
    pins: Path,
    packages: Sequence[str],
    *,
    prefix: Sequence[str] = (),
    add: Callable[[Go, Path], None] | None = None,
) -> Path:
    """The directory with the programs of `packages`, built at first use.

    `pins`: the directory of go.mod and go.sum. `prefix` is put before go: it needs a network. `add` may put
    more beside the programs: it is given what runs go in the module, and the directory. Raises NotBuilt.
    """
    content = (pins / "go.mod").read_bytes() + (pins / "go.sum").read_bytes()
    directory = cache_root() / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"
    if directory.is_dir():
        return directory
    if shutil.which("go") is None:
        raise NotBuilt("go is not installed: apt-get install golang-go")
    work = directory.with_name(f"{directory.name}.{os.getpid()}")
    work.mkdir(parents=True)
    try:
        # a copy: go writes into the directory of its go.mod
        module = work / "module"
        module.mkdir()
        for file in ("go.mod", "go.sum"):
            shutil.copy(pins / file, module)

        def go(*words: str) -> str:
            # static: some run inside of a container
            environ = os.environ | {"GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
            try:
                done = subprocess.run(
                    [*prefix, "go", *words],
                    cwd=module,
                    env=environ,
                    capture_output=True,
                    text=True,
                    timeout=SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise NotBuilt(f"go {words[0]} has not ended in {SECONDS} seconds") from None
            if done.returncode:
                raise NotBuilt(f"go {words[0]}: {done.stderr.strip()[-2000:]}")
            return done.stdout

        made = work / "programs"
        go("build", "-trimpath", "-ldflags", "-s -w", "-o", f"{made}/", *packages)
        if add is not None:
            add(go, made)
        made.rename(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return directory


def version(pins: Path, module: str) -> str:
    """The pinned version of `module`."""
    lines = (pins / "go.mod").read_text().splitlines()
    return next(line for line in lines if module in line).removeprefix("require").split()[1]
