"""Two names that change places as fast as the kernel can, while something else resolves them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# renameat2(2) with RENAME_EXCHANGE: there is no moment at which one of the names is missing. A process of its
# own: the tests start others meanwhile.
PROGRAM = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
one, other = (os.fsencode(name) for name in sys.argv[1:3])
swap = libc.renameat2
if swap(-100, one, -100, other, 2) != 0:
    sys.exit("renameat2 does not work here")
print("swapping", flush=True)
while True:
    swap(-100, one, -100, other, 2)
"""


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """`one` and `other` are exchanged tens of thousands of times a second."""
    command = [sys.executable, "-I", "-c", PROGRAM, str(one), str(other)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "swapping\n"
            yield
        finally:
            process.kill()
