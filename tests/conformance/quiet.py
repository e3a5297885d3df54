"""Commands of a runtime that leave a container running."""

from __future__ import annotations

import subprocess
import tempfile

from tests.support.oci import Runtime


def quietly(runtime: Runtime, *words: object) -> None:
    """Runs the command, which must succeed, without pipes: what it starts keeps its stdio open, and nobody
    would see their end.
    """
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [*runtime.program, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            timeout=30,
            check=False,
        )
        said.seek(0)
        assert done.returncode == 0, said.read().decode()
