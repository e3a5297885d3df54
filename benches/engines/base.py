"""What every engine is told to do. A scenario asks for what an engine `can`."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benches.programs import Unavailable
from benches.spawner import Failed, Lane, Timing


@dataclass(frozen=True)
class Place:
    """Where a run keeps everything: `tag` names its cgroups, `work` is a directory, on a tmpfs unless
    `on_disk`, `rootfs` a busybox tree.
    """

    tag: str
    work: Path
    rootfs: Path
    on_disk: bool = False


class Engine:
    """One engine with a state of its own, until `close`."""

    name: ClassVar[str] = ""
    """What --engine takes."""
    level: ClassVar[str] = ""
    """runtime, v2, command or library: like is compared with like."""
    what: ClassVar[str] = ""
    """One line for the tables: what exactly is measured."""
    can: ClassVar[frozenset[str]] = frozenset()
    programs: ClassVar[tuple[str, ...]] = ()
    """Peers whose versions belong to the result."""
    view: ClassVar[tuple[str, ...]] = ()
    """What its commands see differently: words for spawn.c."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.work = place.work / self.name
        self.work.mkdir(parents=True)
        self.environment = dict(os.environ)
        self._numbers = 0
        self._lanes = 0
        self._states = 1
        self._begin()

    def _begin(self) -> None:
        try:
            self.prepare()
            self.main = self.lane()
        except BaseException:
            self.stop()
            raise

    def prepare(self) -> None:
        """Finds its programs (Unavailable if it cannot), starts its daemons, gives it the busybox image."""

    def stop(self) -> None:
        """Ends what `prepare` started."""

    def close(self) -> None:
        self.main.close()
        self.stop()

    def renew(self) -> None:
        """Begins anew in an empty directory. The old one stays, with all that is in it, until the run's end:
        a file system may pay for a removal long after it. Raises Failed.
        """
        self.close()
        self._states += 1
        self.work = self.place.work / f"{self.name}.{self._states}"
        try:
            self.work.mkdir()
            self._begin()
        except (Unavailable, OSError) as error:
            raise Failed(f"in a new state: {error}") from error

    def forget(self) -> None:
        """What its state holds leaves the page cache, as far as it is on the disk: a kernel whose memory is
        full of what one engine has written would free it while the next one is measured.
        """
        for directory, _, names in os.walk(self.work):
            for name in names:
                # gone meanwhile, a socket, a symbolic link
                with suppress(OSError):
                    file = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                    try:
                        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                    finally:
                        os.close(file)

    def lane(self) -> Lane:
        """One more process that runs this engine's commands, for several at once."""
        self._lanes += 1
        return Lane.spawner(self.environment, self.work / f"output-{self._lanes}", self.view)

    def unique(self) -> str:
        self._numbers += 1
        return f"bench-{self._numbers}"

    def probe(self) -> None:
        """Raises Failed when this machine cannot run it."""
        self.start()

    # What scenarios call. `start_command` prepares one start (outside of what is timed) and gives its
    # command.
    def start_command(self) -> list[str]:
        """Life of `true`: a container is created, run, waited for and removed."""
        raise NotImplementedError

    def started(self) -> None:
        """After starts have ended: drops what `start_command` prepared."""

    def start(self) -> Timing:
        try:
            return self.main.run(self.start_command())
        finally:
            self.started()

    def split(self) -> dict[str, Timing]:
        """The same life in three commands: create, start, delete."""
        raise NotImplementedError

    def sleeper(self) -> tuple[str, Timing]:
        """Starts a container that sleeps, detached; its name."""
        raise NotImplementedError

    def execute(self, name: str) -> Timing:
        """`true` in a running container."""
        raise NotImplementedError

    def remove(self, names: Sequence[str]) -> float:
        """Kills and removes containers; seconds."""
        raise NotImplementedError

    def load(self, archive: Path) -> Timing:
        """An image from a docker-archive."""
        raise NotImplementedError

    def pull(self, reference: str) -> Timing:
        """An image from a registry, verified and unpacked."""
        raise NotImplementedError

    def push(self, reference: str, target: str) -> Timing:
        """An image that was pulled, to another registry under the name `target`."""
        raise NotImplementedError

    def writer(self, files: int) -> str:
        """A stopped container that has written so many small files; its name."""
        raise NotImplementedError

    def diff(self, name: str) -> Timing:
        """What a container has changed."""
        raise NotImplementedError

    def commit(self, name: str, reference: str) -> Timing:
        """An image of what a container has changed."""
        raise NotImplementedError

    def save(self, reference: str, archive: Path) -> Timing:
        """An archive of an image."""
        raise NotImplementedError

    def build(self, context: Path, reference: str, *, cache: bool = True) -> Timing:
        """An image of a directory with a Dockerfile. Without `cache`, every step is executed."""
        raise NotImplementedError

    def forget_build(self, reference: str) -> None:
        """Removes an image that was built, and all that was kept for the next build."""
        raise NotImplementedError

    def remove_image(self, reference: str) -> None:
        raise NotImplementedError


def end(daemon: subprocess.Popen[bytes] | None, seconds: float = 20) -> None:
    """Asks it to end, and sees to it."""
    if daemon is None:
        return
    daemon.terminate()
    try:
        daemon.wait(seconds)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def wait_for(ready: Callable[[], bool], seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
