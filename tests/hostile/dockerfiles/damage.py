"""A Dockerfile made wrong: bytes, lines and tokens changed, and what grows without end."""

from __future__ import annotations

from random import Random

_TOKENS = [
    token.encode("utf-8", "surrogatepass")
    for token in (
        "${", "}", "$", "'", '"', "\\", "`", "<<EOF", "<<-", "EOF\n", "[", "]", "--", "=", "\n", "\r", "\t",
        "#", "\0", "\\\n", "${a:-${b:?", "${a//*/b}", "${a%%", "--mount=", "--from=", "# escape=`\n",
        "ONBUILD ", "FROM a\n", "\x1b[31m",
        '["a", 1]', "\u2028", "\u00a0", "\ufeff", "\ud800", "AS ", "type=secret,", "--link --link",
        "99999999999999999999",
        "ENV a=$a$a\n", "ARG a=$a\n", "1h-1s", "${#}", "EXPOSE 0-6553\n",
    )
]  # fmt: skip
_BYTES = (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\0", b"\x80", b"\xf0\x9f")


def damaged(data: bytes, random: Random) -> bytes:
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        data = _once(data, random)
    return data


def _once(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    match random.randrange(11):
        case 0:
            return data[:at] + bytes((random.randrange(256),)) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data[:at] + data[at + random.randrange(20) :]
        case 3:
            return data[:at] + random.choice(_BYTES) + data[at:]
        case 4:
            lines = data.split(b"\n")
            random.shuffle(lines)
            return b"\n".join(lines)
        case 5:
            lines = data.split(b"\n")
            lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
            return b"\n".join(lines)
        case 6:
            lines = data.split(b"\n")
            del lines[random.randrange(len(lines))]
            return b"\n".join(lines)
        case 7:
            count = random.choice((2, 70, 800))
            return data[:at] + random.choice(_TOKENS) * count + data[at:]
        case 8:
            return data.replace(b" ", random.choice((b"\t", b"  ", b"\xc2\xa0", b"")), random.randrange(1, 4))
        case _:
            return data[:at] + random.choice(_TOKENS) + data[at:]
