"""Archives by a grammar: every form in which the tars of this world write an entry, with names that meet."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tests.hostile.tars.blocks import BLOCK, END, GNU, USTAR, V7, Member, base256, long_name, octal, pax

_PLAIN = [
    *(b"a", b"b", b"a/b", b"a/b/c", b"d", b"d/", b"d/e", b"d/e/f", b"l", b"l/x", b"f", b"f/g"),
    *(b"./a", b"g", b"a//b", b"a/./b", b"d/../a", b"/abs", b"/a/b", b"bin/sh", b"etc/passwd", b"x" * 100),
]
_ODD = [
    *(b"../up", b"a/../../up", b"..", b".", b"/", b"a/..", b"l/../canary", b"a\nb", b"a\x1b[2Jb", b"a\tb"),
    *(b"\xff\xfe", "é".encode(), "é".encode(), b"A", b"a ", b" a", b'q"uote', b"back\\slash", b"-rf"),
    *(b"d/.wh.e", b".wh.a", b"a/.wh..wh..opq", b".wh..wh..opq", b".wh..wh.plnk/1.2", b".wh.", b"a/.wh..."),
    *(b".wh.a/b", b"d/.wh..wh.aufs", b"y" * 99, b"a/" * 40 + b"deep"),
]
_TARGETS = [
    *(b"a", b"a/b", b"b", b"d", b"d/e", b"f", b"l", b"nowhere", b"../out", b"../out/canary", b"/etc/passwd"),
    *(b".", b"..", b"/", b"a/../b", b"./a", b"/a/b", b"", b"t" * 100, b"\xff", b"x\ny", b"l/canary"),
]
_CONTENTS = [b"", b"x", b"hello\n", b"z" * 511, b"z" * 512, b"z" * 513, b"\0" * 1024, bytes(range(256)) * 12]


class Grammar:
    """`archive()` is a new archive at each call, the same ones for the same `Random`."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def archive(self) -> bytes:
        parts = [self._entry() for _ in range(self._random.choice((1, 2, 2, 3, 4, 6, 9)))]
        return b"".join(parts) + self._end()

    def _end(self) -> bytes:
        random = self._random
        roll = random.random()
        if roll < 0.7:
            return END
        if roll < 0.8:
            return END + bytes(BLOCK * random.randrange(20))
        if roll < 0.85:
            return b""
        if roll < 0.9:
            return bytes(BLOCK)
        # GNU tar ignores all of that
        return END + Member(b"after/the/end", data=b"smuggled").bytes()

    def _name(self) -> bytes:
        random = self._random
        if random.random() < 0.92:
            return random.choice(_PLAIN)
        return random.choice(_ODD)

    def _entry(self) -> bytes:
        random = self._random
        make = random.choices(
            (self._file, self._directory, self._link, self._hard, self._node, self._sparse, self._whiteout),
            (30, 20, 15, 15, 6, 10, 4),
        )[0]
        member = make()
        if isinstance(member, bytes):
            return member
        return self._dressed(member)

    def _file(self) -> Member:
        random = self._random
        member = Member(
            self._name(), data=random.choice(_CONTENTS), mode=random.choice((0o644, 0o755, 0o4755, 0))
        )
        member.kind = random.choices((b"0", b"\0", b"7"), (20, 3, 1))[0]
        return member

    def _directory(self) -> Member:
        mode = self._random.choice((0o755, 0o700, 0o1777, 0o555))
        name = self._name() if self._random.random() < 0.9 else b"./"
        return Member(name if self._random.random() < 0.5 else name.rstrip(b"/") + b"/", b"5", mode=mode)

    def _link(self) -> Member:
        return Member(self._name(), b"2", link=self._random.choice(_TARGETS), mode=0o777)

    def _hard(self) -> Member:
        target = self._random.choice(_TARGETS) if self._random.random() < 0.1 else self._name()
        return Member(self._name(), b"1", link=target)

    def _node(self) -> Member:
        kind = self._random.choice((b"3", b"4", b"6"))
        device = self._random.choice(((1, 3), (0, 0), (5, 1), (8, 0), (4095, 255)))
        if self._random.random() < 0.02:
            device = (0o7777777, 1)
        return Member(self._name(), kind, device=device)

    def _whiteout(self) -> Member:
        directory = self._random.choice((b"", b"a/", b"d/", b"l/", b"d/e/"))
        base = self._random.choice((b".wh.b", b".wh..wh..opq", b".wh.e", b".wh.x", b".wh..wh.aufs"))
        return Member(directory + base)

    def _dressed(self, member: Member) -> bytes:
        """The member in one of the formats: v7, ustar with prefix, GNU with L and K, PAX, or two at once."""
        random = self._random
        member.uid, member.gid = random.choice(((0, 0), (1000, 1000), (2097151, 5)))
        roll = random.random()
        if roll < 0.08:
            return replace(member, magic=V7).bytes()
        if roll < 0.35:
            return replace(member, magic=USTAR).bytes()
        if roll < 0.42:
            prefix = random.choice((b"a", b"d/e", b"p" * 155, b".", b"a/..", b"/"))
            return replace(member, magic=USTAR, prefix=prefix).bytes()
        if roll < 0.55:
            return replace(member, magic=GNU, binary_owner=random.random() < 0.3).bytes()
        if roll < 0.62:
            size = base256(len(member.data), 12) if random.random() < 0.5 else b"%11o " % len(member.data)
            return replace(member, magic=GNU, size_field=size).bytes()
        if roll < 0.72:
            return self._gnu_long(replace(member, magic=GNU))
        if roll < 0.97:
            return self._pax(member)
        return long_name(b"from/gnu") + self._pax(member)

    def _gnu_long(self, member: Member) -> bytes:
        random = self._random
        parts = []
        if random.random() < 0.7:
            name = random.choice((member.name, b"long/" + b"n" * 120, b"long/" + b"m" * 250, b"c/../long"))
            parts.append(long_name(name))
        if member.kind in b"12" or random.random() < 0.2:
            parts.append(long_name(member.link or b"k" * 150, b"K"))
        random.shuffle(parts)
        return b"".join(parts) + member.bytes()

    def _pax(self, member: Member) -> bytes:
        random = self._random
        records: list[tuple[bytes, bytes]] = []
        choices = {
            b"path": (member.name, b"pax/name", b"p/" + b"q" * 200, b"../pax", b"a\0b", b"", b"\xff"),
            b"linkpath": (member.link, b"a/b", b"../out", b"", b"w" * 300),
            b"size": (b"%d" % len(member.data), b"0", b"1", b"99999999999999", b"-1", b""),
            b"uid": (b"0", b"1000", b"3000000000", b"4294967295", b"-1", b"x", b""),
            b"gid": (b"0", b"7", b""),
            b"mtime": (b"1.5", b"-3.25", b"1700000000", b"1e3", b""),
            b"atime": (b"0",),
            b"uname": (b"nobody", b"\xff"),
            b"comment": (b"x", b"", b"a=b\nc=d\n"),
            b"hdrcharset": (b"BINARY", b"ISO-IR 10646 2000 UTF-8"),
            b"SCHILY.xattr.user.a": (b"v", b"\0\1", b""),
            b"SCHILY.xattr.user.overlay.redirect": (b"/etc",),
            b"SCHILY.xattr.trusted.overlay.opaque": (b"y",),
            b"SCHILY.xattr.security.capability": (b"\1\0\0\2\0\4\0\0" + bytes(12), b"junk"),
            b"LIBARCHIVE.xattr.user.b": (b"dg==", b"!"),
            b"SCHILY.fflags": (b"immutable",),
        }
        usual = (b"path", b"mtime", b"uid", b"comment", b"SCHILY.xattr.user.a")
        for _ in range(random.choice((0, 1, 1, 2, 3))):
            key = random.choice(usual) if random.random() < 0.6 else random.choice(list(choices))
            values = choices[key]
            records.append((key, values[0] if random.random() < 0.85 else random.choice(values)))
        if random.random() < 0.03:
            return pax(records, b"g") + member.bytes()
        return pax(records) + member.bytes()

    def _sparse(self) -> bytes:
        random = self._random
        data = b"s" * 512 + b"t" * 100
        name = self._name()
        form = random.choice(("0.0", "0.1", "1.0", "old"))
        offsets = random.choice(((0, 4096), (512, 9000), (0, 512)))
        lengths = (512, 100)
        size = random.choice((10000, offsets[1] + 100, 50_000))
        pairs = list(zip(offsets, lengths, strict=True))
        if form == "old":
            fields = b"".join(octal(each, 12) for pair in pairs for each in pair)
            special = {386: fields, 483: octal(size, 12)}
            return Member(name, b"S", data, magic=GNU, special=special).bytes()
        common = [(b"GNU.sparse.name", name)] if form != "0.0" else []
        if form == "1.0":
            map_ = b"%d\n" % len(pairs) + b"".join(b"%d\n%d\n" % pair for pair in pairs)
            map_ += bytes(-len(map_) % BLOCK)
            records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), *common]
            records.append((b"GNU.sparse.realsize", b"%d" % size))
            return pax(records) + Member(b"GNUSparseFile.0/" + name[:60], data=map_ + data).bytes()
        records = [*common, (b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", b"%d" % len(pairs))]
        if form == "0.1":
            records.append((b"GNU.sparse.map", b",".join(b"%d,%d" % pair for pair in pairs)))
        else:
            for offset, length in pairs:
                records += [(b"GNU.sparse.offset", b"%d" % offset), (b"GNU.sparse.numbytes", b"%d" % length)]
        return pax(records) + Member(name, data=data).bytes()
