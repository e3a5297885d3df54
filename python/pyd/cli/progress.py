"""How a pull gets on: tqdm bars on a terminal, Docker's lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import threading
from typing import Any, TextIO

from pyd.engine.image_pull import Layer, Reference, Watcher


def watcher(*, quiet: bool = False, stream: TextIO | None = None) -> Watcher:
    """For `pull` (lines on stdout, bars on stderr), and for `run` with `stream=sys.stderr` (both there)."""
    if quiet:
        return Watcher()
    out = stream or sys.stdout
    return Bars(out) if sys.stderr.isatty() else Lines(out)


def loading(*, quiet: bool = False) -> Watcher:
    """For `load`: bars on a terminal, else nothing; what was loaded is said at the end."""
    return Watcher() if quiet or not sys.stderr.isatty() else Bars(None, ("Loading", "Loaded"))


def saving(*, quiet: bool = False) -> Watcher:
    """For `save`: bars on a terminal. They go to stderr: stdout is the archive."""
    return Watcher() if quiet or not sys.stderr.isatty() else Bars(None, ("Saving", "Saved"))


class Lines(Watcher):
    """Docker's output when stdout is no terminal."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def begins(self, reference: Reference, default_tag: bool) -> None:
        self._say(f"{reference.digest or reference.tag}: Pulling from {reference.path}")

    def exists(self, layer: Layer) -> None:
        self._say(f"{layer.digest.short}: Already exists")

    def waits(self, layer: Layer) -> None:
        self._say(f"{layer.digest.short}: Pulling fs layer")

    def fetched(self, layer: Layer) -> None:
        # one pass: what is fetched is verified too
        self._say(f"{layer.digest.short}: Verifying Checksum\n{layer.digest.short}: Download complete")

    def unpacked(self, layer: Layer) -> None:
        self._say(f"{layer.digest.short}: Pull complete")

    def _say(self, line: str) -> None:
        with self._lock:
            print(line, file=self._out, flush=True)


class Bars(Watcher):
    """A bar for each layer that is on its way, and a line for each that is here: as many bars as transfers,
    however many layers there are.
    """

    def __init__(self, out: TextIO | None, words: tuple[str, str] = ("Downloading", "Pull complete")) -> None:
        self._out = out  # where the lines between the bars go; None = nowhere
        self._words = words  # while bytes come, at the end
        self._meters = Meters()

    def begins(self, reference: Reference, default_tag: bool) -> None:
        self._write(f"{reference.digest or reference.tag}: Pulling from {reference.path}")

    def exists(self, layer: Layer) -> None:
        self._write(f"{layer.digest.short}: Already exists")

    def fetches(self, layer: Layer, progress: Any) -> None:
        self._meters.show(layer.digest, f"{layer.digest.short}: {self._words[0]}", progress)

    def fetched(self, layer: Layer) -> None:
        # one pass: what is fetched is unpacked too
        self._meters.drop(layer.digest)

    def unpacked(self, layer: Layer) -> None:
        self._write(f"{layer.digest.short}: {self._words[1]}")

    def ends(self) -> None:
        self._meters.close()

    def _write(self, line: str) -> None:
        if self._out is not None:
            self._meters.write(line, self._out)


class Meters:
    """tqdm bars for transfers whose counters (`done`, `total`) are looked at ten times a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: dict[str, tuple[Any, Any]] = {}
        self._done = threading.Event()
        self._ticker: threading.Thread | None = None

    def show(self, key: str, text: str, counter: Any) -> None:
        """A bar for `key`; one that it has already starts anew."""
        from tqdm import tqdm

        self.drop(key)
        with self._lock:
            taken = {-bar.pos for bar, _ in self._bars.values()}
            place = next(number for number in range(len(taken) + 1) if number not in taken)
            bar = tqdm(
                total=counter.total,
                desc=text,
                unit="B",
                unit_scale=True,
                position=place,
                leave=False,
                file=sys.stderr,
                miniters=1,
            )
            self._bars[key] = bar, counter
            if self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, daemon=True)
                self._ticker.start()

    def drop(self, key: str) -> None:
        with self._lock:
            bar, _ = self._bars.pop(key, (None, None))
            if bar is not None:
                bar.close()

    def write(self, line: str, out: TextIO | None = None) -> None:
        """A line that stays, between the bars; on stdout unless `out` is given."""
        from tqdm import tqdm

        with self._lock:
            tqdm.write(line, file=out or sys.stdout)
            (out or sys.stdout).flush()

    def close(self) -> None:
        self._done.set()
        if self._ticker is not None:
            self._ticker.join()
        for key in list(self._bars):
            self.drop(key)

    def _tick(self) -> None:
        while not self._done.wait(0.1):
            with self._lock:
                for bar, counter in self._bars.values():
                    bar.update(counter.done - bar.n)
                    bar.refresh()
