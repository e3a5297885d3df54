"""Blobs that are not what their descriptor says, and ranges that are not what was asked for."""

from __future__ import annotations

import gzip
import re
from functools import partial

from tests.fakes.registry import Handler
from tests.hostile.registry.case import Scene, case, head, raw, reset

WRONG = (
    r"have the digest|declared as|Content-Length|is longer than|ended after|does not match its digest|"
    r"wants to send|sends more|damaged"
)


def _stored(scene: Scene, data: bytes) -> None:
    scene.registry.blobs[scene.big] = data


@case("layer: one bit is wrong at the beginning", WRONG)
def _(scene: Scene) -> None:
    data = scene.image.layers[1]
    _stored(scene, bytes([data[0] ^ 1]) + data[1:])


@case("layer: one bit is wrong in the middle", WRONG)
def _(scene: Scene) -> None:
    data = scene.image.layers[1]
    _stored(scene, data[:200_000] + bytes([data[200_000] ^ 16]) + data[200_001:])


@case("layer: one bit is wrong at the end", WRONG)
def _(scene: Scene) -> None:
    data = scene.image.layers[1]
    _stored(scene, data[:-1] + bytes([data[-1] ^ 1]))


@case("layer: the whole is another layer", WRONG)
def _(scene: Scene) -> None:
    _stored(scene, scene.image.layers[0])


@case("layer: another of the same length", WRONG)
def _(scene: Scene) -> None:
    _stored(scene, scene.image.layers[1][::-1])


@case("layer: two layers are exchanged", WRONG)
def _(scene: Scene) -> None:
    one, other = (scene.registry.blobs[each["digest"]] for each in scene.image.manifest["layers"])
    for each, data in zip(scene.image.manifest["layers"], (other, one), strict=True):
        scene.registry.blobs[each["digest"]] = data


@case("layer: stretched", WRONG)
def _(scene: Scene) -> None:
    _stored(scene, scene.image.layers[1] + b"more")


@case("layer: truncated", WRONG)
def _(scene: Scene) -> None:
    _stored(scene, scene.image.layers[1][:-1])


@case("layer: empty", WRONG)
def _(scene: Scene) -> None:
    _stored(scene, b"")


@case("layer: missing", "does not have blob")
def _(scene: Scene) -> None:
    del scene.registry.blobs[scene.big]


@case("layer: zeros", WRONG)
def _(scene: Scene) -> None:
    _stored(scene, bytes(len(scene.image.layers[1])))


@case("layer: compressed once more", WRONG)
def _(scene: Scene) -> None:
    _stored(scene, gzip.compress(scene.image.layers[1], 0))


@case("layer: a page of HTML with status 200", WRONG)
def _(scene: Scene) -> None:
    _stored(scene, b"<html>captive portal</html>")


@case("config: another one", WRONG)
def _(scene: Scene) -> None:
    scene.registry.blobs[scene.image.id] = scene.image.config_bytes.replace(b"PATH", b"EVIL")


@case("config: truncated", WRONG)
def _(scene: Scene) -> None:
    scene.registry.blobs[scene.image.id] = scene.image.config_bytes[:-1]


@case("config: stretched", WRONG)
def _(scene: Scene) -> None:
    scene.registry.blobs[scene.image.id] = scene.image.config_bytes + b" "


@case("config: missing", "does not have blob")
def _(scene: Scene) -> None:
    del scene.registry.blobs[scene.image.id]


@case("config: without an end, chunk after chunk", "sends more than")
def _(scene: Scene) -> None:
    def endless(handler: Handler) -> bool:
        head(handler, 200, ("Transfer-Encoding", "chunked"))
        try:
            while True:
                handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        except OSError:
            handler.cut()
        return True

    scene.fault(endless, scene.image.id)


@case("layer: without an end, chunk after chunk", WRONG)
def _(scene: Scene) -> None:
    def endless(handler: Handler) -> bool:
        head(handler, 200, ("Transfer-Encoding", "chunked"))
        try:
            while True:
                handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        except OSError:
            handler.cut()
        return True

    scene.fault(endless, scene.big)


def _lengths(scene: Scene, length: object) -> None:
    def lie(handler: Handler) -> bool:
        head(handler, 200, ("Content-Length", length))
        return raw(handler, scene.image.layers[1])

    scene.fault(lie, scene.big)


case("Content-Length: one too many", WRONG)(lambda scene: _lengths(scene, len(scene.image.layers[1]) + 1))
case("Content-Length: one too few", WRONG)(lambda scene: _lengths(scene, len(scene.image.layers[1]) - 1))
case("Content-Length: 0", WRONG)(partial(_lengths, length=0))
case("Content-Length: negative", "Content-Length|illegal|malformed")(partial(_lengths, length=-1))
case("Content-Length: 10^30", WRONG)(partial(_lengths, length=10**30))
case("Content-Length: 2^63", WRONG)(partial(_lengths, length=2**63))
case("Content-Length: hexadecimal", "Content-Length|illegal|malformed")(partial(_lengths, length="0x10"))
case("Content-Length: two that differ", "Content-Length|conflict")(partial(_lengths, length="5, 6"))
case("Content-Length: digits of another script", "Content-Length|illegal|malformed|header")(
    partial(_lengths, length="\xb2\xb3")
)


@case("Content-Length and chunks at once", comes=True)
def _(scene: Scene) -> None:
    def both(handler: Handler) -> bool:
        data = scene.image.layers[1]
        head(handler, 200, ("Content-Length", 5), ("Transfer-Encoding", "chunked"))
        return raw(handler, b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))

    # RFC 9112, 6.3: chunks win. A length that is not the blob's is believed to be a lie all the same
    def right(handler: Handler) -> bool:
        data = scene.image.layers[1]
        head(handler, 200, ("Content-Length", len(data)), ("Transfer-Encoding", "chunked"))
        return raw(handler, b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))

    scene.fault(right, scene.big)


def _chunked(scene: Scene, body: bytes) -> None:
    def lie(handler: Handler) -> bool:
        head(handler, 200, ("Transfer-Encoding", "chunked"))
        return raw(handler, body)

    scene.fault(lie, scene.big)


BAD_CHUNK = "chunk|too long|peer closed|ended early|illegal|connection"
case("chunks: a size that is no number", BAD_CHUNK)(partial(_chunked, body=b"zz\r\nabc\r\n0\r\n\r\n"))
case("chunks: a size of 2^64", BAD_CHUNK)(partial(_chunked, body=b"10000000000000000\r\nabc"))
case("chunks: a negative size", BAD_CHUNK)(partial(_chunked, body=b"-5\r\nabc\r\n0\r\n\r\n"))
case("chunks: cut in a chunk", BAD_CHUNK)(partial(_chunked, body=b"1000\r\nabc"))
case("chunks: no last chunk", BAD_CHUNK)(partial(_chunked, body=b"3\r\nabc\r\n"))
case("chunks: more bytes than the size says", BAD_CHUNK)(partial(_chunked, body=b"3\r\nabcdef\r\n0\r\n\r\n"))
case("chunks: nothing at all", BAD_CHUNK)(partial(_chunked, body=b"0\r\n\r\n"))
case("chunks: a size line without end", BAD_CHUNK)(partial(_chunked, body=b"0" * 300_000))


@case("chunks: one byte each", comes=True)
def _(scene: Scene) -> None:
    def slow(handler: Handler) -> bool:
        data = scene.image.layers[0]
        head(handler, 200, ("Transfer-Encoding", "chunked"))
        return raw(handler, b"".join(b"1\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n")

    scene.fault(slow, scene.image.manifest["layers"][0]["digest"])


@case("Content-Encoding: gzip, although identity was asked for", WRONG)
def _(scene: Scene) -> None:
    def encoded(handler: Handler) -> bool:
        return handler.answer(200, gzip.compress(scene.image.layers[1]), {"Content-Encoding": "gzip"})

    scene.fault(encoded, scene.big)


@case("Content-Encoding: gzip is said, and is not so", comes=True)
def _(scene: Scene) -> None:
    # the digest decides, and it is right
    scene.fault(lambda h: h.answer(200, scene.image.layers[1], {"Content-Encoding": "gzip"}), scene.big)


@case("Content-Encoding: the manifest comes as gzip", "not valid JSON|bad manifest")
def _(scene: Scene) -> None:
    body = gzip.compress(scene.image.manifest_bytes)
    scene.fault(lambda h: h.answer(200, body, {"Content-Encoding": "gzip"}), "/manifests/")


def _then(scene: Scene, second: object, cut: int = 150_000) -> None:
    """The first answer is cut; what comes after it is `second`'s."""

    def first(handler: Handler) -> bool:
        if "Range" in handler.headers:
            return bool(second(handler))  # type: ignore[operator]
        data = scene.image.layers[1]
        head(handler, 200, ("Content-Length", len(data)))
        return raw(handler, data[:cut])

    scene.fault(first, scene.big)


def _ranged(scene: Scene, content_range: str | None, status: int = 206, shift: int = 0) -> None:
    def second(handler: Handler) -> bool:
        start = int(re.findall(r"\d+", handler.headers["Range"])[0])
        data = scene.image.layers[1]
        headers = {}
        if content_range is not None:
            headers["Content-Range"] = content_range.format(start=start, last=len(data) - 1, size=len(data))
        return handler.answer(status, data[start + shift :], headers)

    _then(scene, second)


OTHER = "another part of blob"
case("range: 206 without Content-Range", OTHER, resumes=True)(partial(_ranged, content_range=None))
case("range: another start", OTHER, resumes=True)(partial(_ranged, content_range="bytes 0-{last}/{size}"))
case("range: another size", OTHER, resumes=True)(partial(_ranged, content_range="bytes {start}-{last}/7"))
case("range: end before start", OTHER, resumes=True)(partial(_ranged, content_range="bytes {start}-1/{size}"))
case("range: beyond the end", OTHER, resumes=True)(
    partial(_ranged, content_range="bytes {start}-{size}/{size}")
)
case("range: in another unit", OTHER, resumes=True)(
    partial(_ranged, content_range="lines {start}-{last}/{size}")
)
case("range: garbage", OTHER, resumes=True)(partial(_ranged, content_range="bytes */*"))
case("range: a number of 5000 digits", OTHER, resumes=True)(
    partial(_ranged, content_range="bytes " + "9" * 5000 + "-{last}/{size}")
)
case("range: the bytes are other ones", WRONG)(
    partial(_ranged, content_range="bytes {start}-{last}/{size}", shift=-5)
)
case("range: the total is not told", comes=True)(partial(_ranged, content_range="bytes {start}-{last}/*"))
case("range: not satisfiable", "status 416", resumes=True)(
    partial(_ranged, content_range="bytes */{size}", status=416)
)


@case("range: several parts in one answer", OTHER, resumes=True)
def _(scene: Scene) -> None:
    def parts(handler: Handler) -> bool:
        kind = {"Content-Type": "multipart/byteranges; boundary=x"}
        return handler.answer(206, b"--x\r\nContent-Range: bytes 0-1/2\r\n\r\nab\r\n--x--", kind)

    _then(scene, parts)


@case("range: one byte in each answer", "ended early", resumes=True)
def _(scene: Scene) -> None:
    def one(handler: Handler) -> bool:
        start = int(re.findall(r"\d+", handler.headers["Range"])[0])
        data = scene.image.layers[1]
        span = {"Content-Range": f"bytes {start}-{start}/{len(data)}"}
        return handler.answer(206, data[start : start + 1], span)

    _then(scene, one)


@case("range: ignored", comes=True)
def _(scene: Scene) -> None:
    _then(scene, lambda handler: handler.answer(200, scene.image.layers[1]))


@case("range: 206 although none was asked for", "status 206|another part")
def _(scene: Scene) -> None:
    data = scene.image.layers[1]
    scene.fault(lambda h: h.answer(206, data[:9], {"Content-Range": f"bytes 0-8/{len(data)}"}), scene.big)


@case("range: forbidden the second time", "refuses blob", resumes=True)
def _(scene: Scene) -> None:
    _then(scene, lambda handler: handler.error(403, "DENIED"))


@case("cut at every 64 kB", comes=True)
def _(scene: Scene) -> None:
    _pieces(scene, 65536)


@case("reset at every 64 kB", comes=True)
def _(scene: Scene) -> None:
    _pieces(scene, 65536, reset_=True)


@case("one byte and a cut, again and again", "ended early|peer closed|reset|connection", resumes=True)
def _(scene: Scene) -> None:
    _pieces(scene, 1)


def _pieces(scene: Scene, length: int, reset_: bool = False) -> None:
    def piece(handler: Handler) -> bool:
        data = scene.image.layers[1]
        asked = re.findall(r"\d+", handler.headers.get("Range", "bytes=0"))
        start = int(asked[0])
        if start:
            span = f"bytes {start}-{len(data) - 1}/{len(data)}"
            head(handler, 206, ("Content-Length", len(data) - start), ("Content-Range", span))
        else:
            head(handler, 200, ("Content-Length", len(data)))
        handler.wfile.write(data[start : start + length])
        if reset_:
            return reset(handler)
        handler.cut()
        return True

    scene.fault(piece, scene.big)


@case("layer: the same blob twice, once honest", WRONG)
def _(scene: Scene) -> None:
    scene.fault(lambda h: h.answer(200, scene.image.layers[1][:-1] + b"?"), scene.big)


@case("layer: declared as plain, is gzip", "declared as an uncompressed tar")
def _(scene: Scene) -> None:
    scene.image.manifest["layers"][1]["mediaType"] = "application/vnd.oci.image.layer.v1.tar"
    scene.serve()


@case("layer: declared as zstd, is gzip", "declared as zstd")
def _(scene: Scene) -> None:
    scene.image.manifest["layers"][1]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+zstd"
    scene.serve()


@case("layer: its size in the manifest is too small", WRONG)
def _(scene: Scene) -> None:
    scene.image.manifest["layers"][1]["size"] -= 1
    scene.serve()


@case("layer: its size in the manifest is too large", WRONG)
def _(scene: Scene) -> None:
    scene.image.manifest["layers"][1]["size"] += 1
    scene.serve()


@case("layer: its size in the manifest is a petabyte", "space|bytes free|wants to send")
def _(scene: Scene) -> None:
    scene.image.manifest["layers"][1]["size"] = 1 << 50
    scene.serve()
