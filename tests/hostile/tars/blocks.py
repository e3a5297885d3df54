"""Tar headers byte by byte, right and wrong: POSIX.1 pax and ustar, GNU tar manual "Standard"."""

from __future__ import annotations

from dataclasses import dataclass, field

BLOCK = 512
USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \0", b"\0" * 8
END = bytes(2 * BLOCK)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def base256(value: int, width: int) -> bytes:
    """GNU's binary numbers: two's complement over the field, with the first bit set."""
    return (value % (1 << (8 * width)) | 1 << (8 * width - 1)).to_bytes(width, "big")


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def repaired(block: bytes) -> bytes:
    """The header with the checksum that it should have."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:BLOCK])
    return block[:148] + b"%06o\0 " % total + block[156:]


@dataclass
class Member:
    """One header and its data. `size_field` lies about the size."""

    name: bytes
    kind: bytes = b"0"
    data: bytes = b""
    link: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 1_700_000_000
    magic: bytes = USTAR
    prefix: bytes = b""
    device: tuple[int, int] = (0, 0)
    size_field: bytes | None = None
    binary_owner: bool = False
    special: dict[int, bytes] = field(default_factory=dict)  # offset -> bytes that replace what is there

    def bytes(self) -> bytes:
        number = base256 if self.binary_owner else octal
        block = bytearray(BLOCK)

        def put(offset: int, value: bytes, width: int) -> None:
            value = value[:width]
            block[offset : offset + len(value)] = value

        put(0, self.name, 100)
        put(100, octal(self.mode, 8), 8)
        put(108, number(self.uid, 8), 8)
        put(116, number(self.gid, 8), 8)
        put(124, self.size_field if self.size_field is not None else octal(len(self.data), 12), 12)
        put(136, octal(self.mtime, 12), 12)
        put(156, self.kind, 1)
        put(157, self.link, 100)
        put(257, self.magic, 8)
        if self.magic != V7:
            put(265, b"root", 32)
            put(297, b"root", 32)
            if self.kind in (b"3", b"4"):
                put(329, octal(self.device[0], 8), 8)
                put(337, octal(self.device[1], 8), 8)
            if self.magic == USTAR:
                put(345, self.prefix, 155)
        for offset, value in self.special.items():
            put(offset, value, len(value))
        return repaired(bytes(block)) + padded(self.data)


def pax_record(key: bytes, value: bytes) -> bytes:
    """`length key=value\\n`, where the length counts its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def pax(records: list[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    data = b"".join(pax_record(key, value) for key, value in records)
    return Member(b"PaxHeaders/x", kind, data).bytes()


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    """GNU's own way to say a long name (L) or link target (K)."""
    return Member(b"././@LongLink", kind, name + b"\0", magic=GNU).bytes()
