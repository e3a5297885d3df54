"""The detached deleter. Run by path with `python -I -S`: it imports the extension and the standard library.

It belongs to nobody: whoever kills it leaves the rest to the next one. One at a time is enough, so each holds
the lock of the trash, and who finds it held goes away. What comes while it works is seen before it ends.
"""

from __future__ import annotations

import fcntl
import os
import sys


def main(trash: str) -> None:
    # the lowest of all, and by it the lowest class of best-effort I/O too (ioprio_set(2), "none")
    os.nice(19)
    os.chdir("/")
    fd = os.open(trash, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stuck: set[str] = set()
    while set(os.listdir(trash)) - stuck:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for name in os.listdir(trash):
            if not _removed(f"{trash}/{name}"):
                stuck.add(name)
        # whoever comes after this has the lock himself; what came before is seen by the loop
        fcntl.flock(fd, fcntl.LOCK_UN)


def _removed(path: str) -> bool:
    from pyd import _native  # copes with deep trees, immutable files and names that others remove meanwhile

    try:
        _native.remove_tree(path)
    except Exception:  # nobody reads what it says; the next sweep tries again
        return not os.path.lexists(path)
    return True


if __name__ == "__main__":
    # of a file run by path, only its own directory is in the path
    sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))]
    main(sys.argv[1])
