"""Archives damaged: bits, fields, blocks; usually with checksums repaired, for the errors are behind them."""

from __future__ import annotations

from random import Random

from tests.hostile.tars.blocks import BLOCK, repaired

_PIECES = [
    *(
        b"..",
        b"../",
        b"/",
        b"\0",
        b"\xff",
        b"\x80",
        b"7777777",
        b".wh.",
        b"../out/canary",
        b"-1",
        b" ",
        b"\n",
    ),
    *(b"=", b"l/canary", b"99999999999999999999", b"\x1b[31m", b"ustar  \0", b"ustar\x0000", b"tar\0"),
]
_FIELDS = [0, 100, 108, 116, 124, 136, 148, 156, 157, 257, 263, 329, 337, 345, 386, 482, 483, 508]


def damaged(archive: bytes, random: Random) -> bytes:
    """0 to 4 changes; two in five of the archives stays as it was."""
    data = bytearray(archive)
    for _ in range(random.choice((0, 0, 1, 1, 2))):
        if not data:
            break
        at = random.randrange(len(data))
        start = at // BLOCK * BLOCK
        match random.randrange(9):
            case 0:
                data[at] ^= 1 << random.randrange(8)
            case 1 | 2:
                _put(data, start + random.choice(_FIELDS), random.choice(_PIECES))
            case 3:
                _put(data, at, random.choice(_PIECES))
            case 4:
                if start + 156 < len(data):
                    data[start + 156] = random.choice(b"01234567xgXLKSVMDNAZ\0")
            case 5:
                block = bytes(data[start : start + BLOCK])
                target = random.randrange(len(data)) // BLOCK * BLOCK
                data[target:target] = block
            case 6:
                del data[start : start + BLOCK]
            case 7:
                del data[at:]
            case 8:
                # the size field: what follows is then read as data, or data as a header
                size = random.choice((0, 1, 511, 512, 513, 1024, 8**11 - 1))
                _put(data, start + 124, b"%011o\0" % size)
    if random.random() < 0.85:
        for start in range(0, len(data) - BLOCK + 1, BLOCK):
            if data[start + 257 : start + 262] == b"ustar":
                data[start : start + BLOCK] = repaired(bytes(data[start : start + BLOCK]))
    return bytes(data)


def _put(data: bytearray, at: int, piece: bytes) -> None:
    end = min(len(data), at + len(piece))
    if at < end:
        data[at:end] = piece[: end - at]
