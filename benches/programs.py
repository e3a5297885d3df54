"""The suite's own C programs, compiled when first needed and kept below target/ by the digest of their
sources.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
BUILT = HERE.parent / "target" / "benches"


class Unavailable(Exception):
    """Something cannot take part here; the message says why, in the words of the report."""


def find(name: str) -> str:
    """The path of an installed program. The distribution's own come first: /usr/local may hold a client of
    another version.
    """
    path = shutil.which(name, path=f"/usr/bin:/usr/sbin:{os.environ.get('PATH', '')}")
    if not path:
        raise Unavailable(f"{name} is not installed")
    return path


def compiled(name: str, sources: list[str], libraries: tuple[str, ...] = (), *, static: bool = True) -> str:
    """The path of the program that `sources` (below benches/) make; Unavailable where they do not compile."""
    files = [HERE / source for source in sources]
    digest = hashlib.sha256()
    for directory in sorted({file.parent for file in files}):
        for file in sorted(directory.glob("*.[ch]")):
            digest.update(file.read_bytes())
    place = BUILT / f"{name}-{digest.hexdigest()[:16]}"
    if not place.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        partial = place.with_suffix(f".{os.getpid()}")
        command = [find("cc"), "-O2", "-Wall", *(["-static"] if static else []), "-o", str(partial)]
        command += [*map(str, files), *(f"-l{library}" for library in libraries)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            cause = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[-200:])
            raise Unavailable(f"{name} does not compile: {cause.strip()}")
        partial.rename(place)
    return str(place)
