"""Platforms: os/arch[/variant], and which entry of an index suits one."""

from __future__ import annotations

import os as _os

from pyd.errors import InvalidArgument
from pyd.record import Record

# uname's and other people's names -> GOARCH and variant (containerd/platforms, database.go)
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "amd64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "arm64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "386": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
    "mips64": ("mips64le", ""),
}
_KNOWN_OS = ("linux", "windows", "darwin", "freebsd", "openbsd", "netbsd", "solaris", "illumos", "wasi")


class Platform(Record):
    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @classmethod
    def host(cls) -> Platform:
        machine = _os.uname().machine
        architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
        return cls("linux", architecture, variant)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """`linux/amd64`, `linux/arm/v7`, or only an os or an architecture. Raises InvalidArgument."""
        parts = text.lower().split("/")
        if not all(
            part and part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in parts
        ):
            raise InvalidArgument(
                f"invalid platform {text!r}", "write it as os/arch or os/arch/variant: linux/arm64"
            )
        if len(parts) == 1:
            if parts[0] in _KNOWN_OS:
                return cls(parts[0], cls.host().architecture, cls.host().variant)
            if parts[0] not in _ARCHITECTURES and parts[0] != "arm":
                raise InvalidArgument(f"unknown platform {text!r}", "write it as os/arch: linux/arm64")
            parts.insert(0, "linux")
        if len(parts) > 3:
            raise InvalidArgument(
                f"invalid platform {text!r}", "write it as os/arch or os/arch/variant: linux/arm64"
            )
        return cls.of(*parts)

    @classmethod
    def of(cls, os: str, architecture: str, variant: str = "") -> Platform:
        """With the names normalised: aarch64 is arm64, arm64/v8 is arm64, arm is arm/v7."""
        architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
        variant = variant or implied
        if architecture == "arm" and not variant:
            variant = "v7"
        elif (architecture, variant) in (("arm64", "v8"), ("arm64", "8"), ("amd64", "v1")):
            variant = ""
        elif architecture == "arm" and variant.isdigit():
            variant = f"v{variant}"
        return cls(os, architecture, variant)

    def rank(self, offered: Platform) -> int | None:
        """How well `offered` suits (0 is best), None when it cannot run here.

        An arm v7 host runs v6 and v5 too; an amd64/v3 request takes v2 and plain amd64.
        """
        if (self.os, self.architecture) != (offered.os, offered.architecture):
            return None
        wanted, given = _level(self), _level(offered)
        return wanted - given if given <= wanted else None


def _level(platform: Platform) -> int:
    digits = platform.variant.removeprefix("v")
    return (
        int(digits)
        if digits.isascii() and digits.isdigit() and len(digits) < 3
        else (1 if not digits else 99)
    )
