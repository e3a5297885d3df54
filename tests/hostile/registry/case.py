"""One misbehaviour: how a registry that was honest is made to misbehave, and what `pyd pull` must then do."""

from __future__ import annotations

import random
import socket
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.registry import MANIFEST, FakeImage, FakeRegistry, Handler, digest_of

NAME = "a/b"
OUTSIDE = "10.77.0.1"  # an address of this host that is not loopback: a registry somewhere in the world


def honest_image() -> FakeImage:
    """A small layer, and one that takes several packets."""
    return FakeImage.of({"hello": b"1" * 5000}, {"big": random.Random(1).randbytes(400_000)})


@dataclass
class Scene:
    """A registry that serves `image` as a/b:latest, and all that is to be spoilt."""

    registry: FakeRegistry
    directory: Path  # data, run and a canary are in it
    environ: dict[str, str]
    image: FakeImage = field(default_factory=honest_image)
    host: str = ""  # of the reference, where it is not the registry's own
    tag: str = "latest"
    arguments: tuple[str, ...] = ()
    keeps_image: bool = False  # when healed: its image is honest, so that what came of it is worth something
    victims: list[FakeRegistry] = field(default_factory=list)  # who must not be asked anything
    at_end: list[Callable[[], object]] = field(default_factory=list)
    on_heal: list[Callable[[], object]] = field(default_factory=list)

    @property
    def reference(self) -> str:
        mark = "" if self.tag.startswith("@") else ":"
        return f"{self.host or self.registry.host}/{NAME}{mark}{self.tag}"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def big(self) -> str:
        """Digest of the layer that is worth a lie."""
        return digest_of(self.image.layers[1])

    def serve(self) -> None:
        """The image as it is now, under its name."""
        self.registry.add(NAME, self.image)

    def serve_manifest(self, data: bytes, kind: str = MANIFEST) -> None:
        self.registry.add_manifest(NAME, data, "latest", kind)

    def fault(self, act: Callable[[Handler], bool], part: str = "", times: int = -1) -> None:
        """`act` answers requests whose path has `part`, the first `times` of them."""
        left = [times]

        def fault(handler: Handler) -> bool:
            if part not in handler.path or left[0] == 0:
                return False
            left[0] -= 1
            return act(handler)

        self.registry.faults.append(fault)

    def heal(self) -> None:
        """Everything honest again."""
        for act in self.on_heal:
            act()
        registry = self.registry
        registry.faults.clear()
        registry.requests.clear()
        registry.manifests.clear()
        registry.blobs.clear()
        registry.users = None
        if not self.keeps_image:
            self.image = honest_image()
        self.tag, self.arguments = "latest", ()
        self.serve()

    def mount(self, options: str) -> None:
        """The data-root is a small file system of its own until the end."""
        self.data.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.data)], check=True)
        self.at_end.append(lambda: subprocess.run(["umount", "-l", str(self.data)], check=True))

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.data)], check=True)


@dataclass(frozen=True)
class Case:
    """`says`: a regular expression that the message matches. `comes`: the pull succeeds all the same."""

    name: str
    spoil: Callable[[Scene], None]
    says: str
    comes: bool = False
    resumes: bool = False  # the pull after it goes on with a range request
    seconds: float = 10.0
    impatient: bool = False  # time limits of half a second instead of a minute
    long: bool = False  # only when all are wanted


CASES: dict[str, Case] = {}


def case(
    name: str,
    says: str = "",
    *,
    comes: bool = False,
    resumes: bool = False,
    seconds: float = 10.0,
    impatient: bool = False,
    long: bool = False,
) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    """Puts a function that spoils a scene into the table."""

    def take(spoil: Callable[[Scene], None]) -> Callable[[Scene], None]:
        assert name not in CASES, name
        assert comes != bool(says), f"{name}: either it comes or there is a message"
        CASES[name] = Case(name, spoil, says, comes, resumes, seconds, impatient, long)
        return spoil

    return take


def head(handler: Handler, status: int, *headers: tuple[str, object]) -> None:
    """Status line and headers, exactly these."""
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers), "", ""]
    handler.wfile.write("\r\n".join(lines).encode("latin-1"))


def raw(handler: Handler, data: bytes) -> bool:
    """These bytes for an answer, then the end of the connection."""
    handler.wfile.write(data)
    handler.cut()
    return True


def reset(handler: Handler) -> bool:
    """RST instead of FIN."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.cut()
    return True
