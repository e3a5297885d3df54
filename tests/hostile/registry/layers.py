"""Layers whose digests are right and that are bombs, or lead elsewhere."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from functools import partial

from tests.fakes.registry import FakeImage, digest_of
from tests.hostile.registry.case import Scene, case
from tests.hostile.tars.blocks import END, Member, long_name, octal, pax

PLAIN = "application/vnd.oci.image.layer.v1.tar"


def _serve(scene: Scene, blob: bytes, plain: bytes | str, kind: str = PLAIN + "+gzip") -> None:
    """An image of this one layer; `plain`: the tar in it, or its digest."""
    image = FakeImage.of({"x": b"1"})
    image.layers = [blob]
    image.config["rootfs"]["diff_ids"] = [plain if isinstance(plain, str) else digest_of(plain)]
    image.seal()
    image.manifest["layers"][0]["mediaType"] = kind
    scene.image = image
    scene.serve()


def _tar(scene: Scene, plain: bytes | Callable[[], bytes]) -> None:
    data = plain if isinstance(plain, bytes) else plain()
    _serve(scene, gzip.compress(data, 1, mtime=0), data)


def _of(*members: Member | bytes) -> bytes:
    return b"".join(each if isinstance(each, bytes) else each.bytes() for each in members) + END


for _name, _data, _says in (
    ("a name that leads up", _of(Member(b"../../canary/x")), "escapes the layer"),
    ("an absolute name that leads up", _of(Member(b"/../canary/x")), "escapes the layer"),
    ("through a link", _of(Member(b"l", b"2", link=b"../.."), Member(b"l/x")), "symbolic link"),
    ("a hard link that leads up", _of(Member(b"h", b"1", link=b"../../canary/x")), "escapes the layer"),
    ("a hard link to nothing", _of(Member(b"h", b"1", link=b"nothing")), "does not exist"),
    ("a name with NUL", _of(pax([(b"path", b"a\0b")]), Member(b"x")), "NUL"),
    ("a name of 64 kB", _of(long_name(b"n" * 65536), Member(b"x")), "extension header|too long|longer than"),
    ("a component of 300 bytes", _of(long_name(b"n" * 300), Member(b"x")), "too long"),
    ("an escape in a name that is refused", _of(Member(b"../\x1b[2J\nx")), "escapes the layer"),
    ("a PAX header of 2 MB", _of(pax([(b"comment", b"x" * (2 << 20))]), Member(b"x")), "extension header of"),
    (
        "a PAX header that says 8 GB",
        _of(Member(b"p", b"x", size_field=octal(8**11 - 1, 12))),
        "extension header",
    ),
    (
        "a file of 8 EB in a few bytes",
        _of(Member(b"s", size_field=b"\x80" + b"\x7f" * 11)),
        "size is not valid",
    ),
    (
        "a sparse file of 8 EB",
        _of(pax([(b"GNU.sparse.size", b"9" * 18), (b"GNU.sparse.map", b"0,1")]), Member(b"s", data=b"x")),
        "more than|too large",
    ),
    ("a device that would be a whiteout", _of(Member(b"d", b"3", device=(4096, 0))), "no device"),
    ("an entry of an unknown type", _of(Member(b"d", b"Z")), "unknown entry type"),
    ("a wrong checksum", b"x" * 512 + END, "wrong checksum"),
    ("truncated in a file", Member(b"f", data=b"x" * 5000).bytes()[:1024], "truncated"),
    ("garbage", b"garbage", "truncated"),
):
    case(f"tar: {_name}", _says)(partial(_tar, plain=_data))

for _name, _data in (
    (
        "names with newlines and escapes",
        _of(Member(b"a\nb"), Member(b"\x1b]0;x\x07\x1b[2J"), Member(b"\xff\xfe")),
    ),
    ("a directory in itself a thousand times", _of(long_name(b"b/" * 1000), Member(b"x", b"5"))),
    ("a name twice, with and without a slash", _of(Member(b"a"), Member(b"a/", b"5"), Member(b"a"))),
    ("twins in case and in Unicode", _of(*(Member(n) for n in (b"A", b"a", b"\xc3\xa9", b"e\xcc\x81")))),
    (
        "a setuid program with capabilities",
        _of(
            pax([(b"SCHILY.xattr.security.capability", b"\1\0\0\2\0\4\0\0" + bytes(12))]),
            Member(b"x", mode=0o4755),
        ),
    ),
    (
        "attributes of overlayfs",
        _of(pax([(b"SCHILY.xattr.trusted.overlay.redirect", b"/../../etc")]), Member(b"d", b"5")),
    ),
    (
        "devices and pipes",
        _of(Member(b"n", b"3", device=(1, 3)), Member(b"b", b"4", device=(8, 0)), Member(b"p", b"6")),
    ),
    ("an old archive after the end", _of(Member(b"a")) + _of(Member(b"../../canary/x"))),
    ("nothing", END),
):
    case(f"tar: {_name}", comes=True)(partial(_tar, plain=_data))


def _many(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield Member(b"%06d" % number).bytes()


@case("tar: 20 thousand entries", comes=True, seconds=10)
def _(scene: Scene) -> None:
    _tar(scene, b"".join(_many(20_000)) + END)


@case("tar: five million entries", "more than 4000000 entries", seconds=200, long=True)
def _(scene: Scene) -> None:
    # one directory again and again: the reader must stop, whatever the disk can hold
    block = Member(b"d", b"5").bytes() * 20_000
    pack, digest = zlib.compressobj(1, zlib.DEFLATED, 31), _Digest()
    parts = []
    for _ in range(250):
        digest.update(block)
        parts.append(pack.compress(block))
    digest.update(END)
    parts += [pack.compress(END), pack.flush()]
    _serve(scene, b"".join(parts), digest.text)


class _Digest:
    def __init__(self) -> None:
        import hashlib

        self._hash = hashlib.sha256()

    def update(self, data: bytes) -> None:
        self._hash.update(data)

    @property
    def text(self) -> str:
        return "sha256:" + self._hash.hexdigest()


# compressed -----------------------------------------------------------------------------------------------


def _bomb(size: int) -> tuple[bytes, str]:
    """(gzip, diffID) of a tar with one file of `size` zeros, a thousand times as long as what is sent."""
    head = Member(b"bomb", size_field=octal(size, 12)).bytes()
    digest, pack = _Digest(), zlib.compressobj(9, zlib.DEFLATED, 31)
    parts, block = [pack.compress(head)], bytes(1 << 20)
    digest.update(head)
    for _ in range(size >> 20):
        digest.update(block)
        parts.append(pack.compress(block))
    digest.update(END)
    return b"".join((*parts, pack.compress(END), pack.flush())), digest.text


@case("gzip: a bomb of a thousand to one", "more than|space", seconds=20)
def _(scene: Scene) -> None:
    scene.mount("size=48m")
    blob, diff_id = _bomb(256 << 20)
    _serve(scene, blob, diff_id)
    scene.on_heal.append(lambda: None)


@case("gzip: a bomb in a bomb", "wrong checksum|truncated|damaged")
def _(scene: Scene) -> None:
    inner, _ = _bomb(64 << 20)
    _serve(scene, gzip.compress(inner), digest_of(inner))


@case("gzip: a hundred thousand empty members", comes=True, seconds=10)
def _(scene: Scene) -> None:
    plain = _of(Member(b"x"))
    empty = gzip.compress(b"", 1, mtime=0)
    _serve(scene, empty * 100_000 + gzip.compress(plain, 1, mtime=0), plain)


@case("gzip: members of one byte", comes=True, seconds=10)
def _(scene: Scene) -> None:
    plain = _of(Member(b"x", data=b"y" * 1000))
    _serve(scene, b"".join(gzip.compress(plain[i : i + 1], 1, mtime=0) for i in range(len(plain))), plain)


@case("gzip: empty blocks that make no progress", comes=True, seconds=10)
def _(scene: Scene) -> None:
    plain = _of(Member(b"x"))
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    body = b"\0\0\0\xff\xff" * 200_000 + deflate.compress(plain) + deflate.flush()
    tail = zlib.crc32(plain).to_bytes(4, "little") + len(plain).to_bytes(4, "little")
    _serve(scene, b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + body + tail, plain)


@case("gzip: a name in its header without an end", "damaged|truncated|ends early")
def _(scene: Scene) -> None:
    _serve(scene, b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"n" * 1_000_000, b"")


@case("gzip: a wrong checksum at its end", "damaged")
def _(scene: Scene) -> None:
    plain = _of(Member(b"x"))
    blob = gzip.compress(plain, 1, mtime=0)
    _serve(scene, blob[:-8] + bytes((blob[-8] ^ 1,)) + blob[-7:], plain)


@case("gzip: garbage behind it", "garbage|damaged")
def _(scene: Scene) -> None:
    plain = _of(Member(b"x"))
    _serve(scene, gzip.compress(plain, 1, mtime=0) + b"garbage", plain)


def _zstd_frame(window_log: int, body: bytes) -> bytes:
    """RFC 8878, 3.1.1: a frame of raw blocks that asks for a window."""
    head = b"\x28\xb5\x2f\xfd" + bytes((0, (window_log - 10) << 3))
    blocks = []
    for start in range(0, len(body) or 1, 100_000):
        piece = body[start : start + 100_000]
        last = start + 100_000 >= len(body)
        blocks.append(((len(piece) << 3) | last).to_bytes(3, "little") + piece)
    return head + b"".join(blocks)


def _zstd(scene: Scene, blob: bytes, plain: bytes | str) -> None:
    _serve(scene, blob, plain, PLAIN + "+zstd")


@case("zstd: a window of 2 GB", "damaged")
def _(scene: Scene) -> None:
    plain = _of(Member(b"x"))
    _zstd(scene, _zstd_frame(31, plain), plain)


@case("zstd: a window of 128 MB", comes=True)
def _(scene: Scene) -> None:
    plain = _of(Member(b"x"))
    _zstd(scene, _zstd_frame(27, plain), plain)


def _run_length_bomb(window_log: int, size: int) -> tuple[bytes, str]:
    """Four bytes for each 128 kB of zeros."""
    head = Member(b"bomb", size_field=octal(size, 12)).bytes()
    block = ((128 << 10) << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    frame = b"\x28\xb5\x2f\xfd" + bytes((0, (window_log - 10) << 3))
    frame += (len(head) << 3).to_bytes(3, "little") + head + block * (size >> 17)
    frame += ((len(END) << 3) | 1).to_bytes(3, "little") + END
    digest, zeros = _Digest(), bytes(1 << 20)
    digest.update(head)
    for _ in range(size >> 20):
        digest.update(zeros)
    digest.update(END)
    return frame, digest.text


@case("zstd: three windows of 128 MB that are used", "space|more than|damaged", seconds=30)
def _(scene: Scene) -> None:
    # each is allowed; all at once would be 400 MB
    scene.mount("size=64m")
    blobs = [_run_length_bomb(27, (192 << 20) + (number << 20)) for number in range(3)]
    image = FakeImage.of({"x": b"1"})
    image.layers = [blob for blob, _ in blobs]
    image.config["rootfs"]["diff_ids"] = [diff_id for _, diff_id in blobs]
    image.seal()
    for layer in image.manifest["layers"]:
        layer["mediaType"] = PLAIN + "+zstd"
    scene.image = image
    scene.serve()


@case("zstd: a bomb of 30 thousand to one", "space|more than", seconds=30)
def _(scene: Scene) -> None:
    scene.mount("size=48m")
    _zstd(scene, *_run_length_bomb(20, 256 << 20))


@case("zstd: a hundred thousand empty frames", comes=True, seconds=10)
def _(scene: Scene) -> None:
    plain = _of(Member(b"x"))
    empty = b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00"
    _zstd(scene, empty * 100_000 + _zstd_frame(20, plain), plain)


@case("zstd: skippable frames of a megabyte", comes=True)
def _(scene: Scene) -> None:
    plain = _of(Member(b"x"))
    skip = b"\x50\x2a\x4d\x18" + (1 << 20).to_bytes(4, "little") + bytes(1 << 20)
    _zstd(scene, skip * 3 + _zstd_frame(20, plain) + skip, plain)


@case("zstd: a skippable frame of 4 GB", "truncated|ends early")
def _(scene: Scene) -> None:
    _zstd(scene, b"\x50\x2a\x4d\x18\xff\xff\xff\xff" + bytes(1000), b"")


@case("zstd: needs a dictionary", "damaged")
def _(scene: Scene) -> None:
    _zstd(scene, b"\x28\xb5\x2f\xfd\x01\x50\x07" + b"\x01\x00\x00", b"")


@case("zstd: truncated", "truncated|ends early")
def _(scene: Scene) -> None:
    plain = _of(Member(b"x"))
    _zstd(scene, _zstd_frame(20, plain)[:-5], plain)


for _name, _magic in (("xz", b"\xfd7zXZ\0"), ("bzip2", b"BZh9")):
    case(f"compressed with {_name}", f"compressed with {_name} are not supported|declared as")(
        partial(_serve, blob=_magic + bytes(100), plain=b"", kind=PLAIN)
    )


@case("layer: no bytes at all", "is empty|0 bytes|truncated")
def _(scene: Scene) -> None:
    _serve(scene, b"", b"", PLAIN)
