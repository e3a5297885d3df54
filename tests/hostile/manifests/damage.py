"""Documents that were right, with up to three things wrong: in the structure, the text or the bytes."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from tests.hostile.manifests.text import Pairs, Raw, pairs, written

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
TYPES = {
    "manifest": [f"{OCI}manifest.v1+json", f"{DOCKER}distribution.manifest.v2+json"],
    "index": [f"{OCI}index.v1+json", f"{DOCKER}distribution.manifest.list.v2+json"],
    "config": [f"{OCI}config.v1+json", f"{DOCKER}container.image.v1+json"],
}
_LAYERS = [
    *(f"{OCI}layer.v1.tar+gzip", f"{OCI}layer.v1.tar", f"{DOCKER}image.rootfs.diff.tar.gzip"),
    f"{OCI}layer.v1.tar+zstd",
]
A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
_DIGESTS = [
    *(
        "",
        "sha256:",
        "sha256:../../x",
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "a" * 64,
    ),
    *(
        "sha512:" + "a" * 128,
        "md5:" + "a" * 32,
        "SHA256:" + "a" * 64,
        A + "\n",
        "\n" + A,
        A + "/..",
        A + "\0",
    ),
    *("sha256:" + "٣" * 64, "sha256:" + "a" * 62 + "/.", "sha256:%2e%2e%2f" + "a" * 55, A, B),
]
_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 1.0, 1.5, 2**31, 2**63, 2**64, -(2**63), "", "x", "a=b", "=", "linux"),
    *(
        [],
        [None],
        [[]],
        [1],
        ["x"],
        [""],
        "\ud800",
        "\udfff\ud800",
        "\0",
        "\x1b[2J",
        "a\nb",
        "é\u202e",
        "x" * 5000,
    ),
    *(Raw("1e3"), Raw("1e400"), Raw("-0"), Raw("1E2"), Raw("NaN"), Raw("Infinity"), Raw("01"), Raw("+1")),
    *(
        Raw("1" * 400),
        Raw("1" * 5000),
        Raw('"\\u00e9"'),
        Raw('"\\x"'),
        Raw("[" * 2000 + "]" * 2000),
        Raw("'x'"),
    ),
    *(Raw('{"a":' * 3000 + "1" + "}" * 3000), Raw('"\\ud83d\\ude00"'), Raw('"\\ud83d"'), Raw("nul"), Raw("")),
    *(Pairs(), Pairs([("a", 1)]), Pairs([("a", "1"), ("a", "2")]), Pairs([("A", "1"), ("a", "2")])),
]
_TEXT = [
    *("\ufeff", " ", "\n", "\0", "//x\n", "/*x*/", "}", "{}", "]", ",", "null", "1", "\x1f", "\u2028"),
]


def seed_document(kind: str, random: Random) -> dict[str, Any]:
    if kind == "manifest":
        media = random.choice(TYPES["manifest"])
        count = random.choice((0, 1, 2, 5))
        return {
            "schemaVersion": 2,
            "mediaType": media,
            "config": {"mediaType": random.choice(TYPES["config"]), "digest": A, "size": 700},
            "layers": [
                {
                    "mediaType": random.choice(_LAYERS),
                    "digest": random.choice((A, B, C)),
                    "size": 1000 + number,
                }
                for number in range(count)
            ],
            "annotations": {"org.opencontainers.image.title": "x"},
        }
    if kind == "index":
        return {
            "schemaVersion": 2,
            "mediaType": random.choice(TYPES["index"]),
            "manifests": [
                {
                    "mediaType": random.choice(TYPES["manifest"]),
                    "digest": random.choice((A, B, C)),
                    "size": 500,
                    "platform": {
                        "os": "linux",
                        "architecture": random.choice(("amd64", "arm64", "arm", "s390x")),
                    },
                }
                for _ in range(random.choice((0, 1, 3)))
            ],
        }
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-02T03:04:05Z",
        "author": "nobody",
        "config": {
            "User": "1000",
            "Env": ["PATH=/bin", "A=b"],
            "Cmd": ["/bin/sh"],
            "Entrypoint": ["/init", "--"],
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/data": {}},
            "WorkingDir": "/",
            "Labels": {"a": "1", "A": "2"},
            "StopSignal": "SIGTERM",
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000, "Retries": 3},
            "Shell": ["/bin/sh", "-c"],
            "OnBuild": ["RUN x"],
        },
        "rootfs": {"type": "layers", "diff_ids": [A, B]},
        "history": [
            {"created_by": "x", "empty_layer": True},
            {"created": "2026-01-02T03:04:05Z", "comment": "c"},
        ],
    }


def damaged(kind: str, random: Random) -> bytes:
    document = pairs(seed_document(kind, random))
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        _change(document, kind, random)
    text = written(document)
    roll = random.random()
    if roll < 0.06:
        at = random.choice((0, len(text), random.randrange(len(text) + 1)))
        text = text[:at] + random.choice(_TEXT) + text[at:]
    elif roll < 0.08:
        text = json.dumps(json.loads(written(pairs(seed_document(kind, random)))), indent=3)
    data = text.encode(
        random.choice(("utf-16", "utf-32", "utf-16-be")) if random.random() < 0.01 else "utf-8"
    )
    if random.random() < 0.12 and data:
        data = _bytes_changed(data, random)
    return data


def _objects(document: Any) -> list[Any]:
    """All objects and lists with something in them."""
    found: list[Any] = []
    left = [document]
    while left:
        item = left.pop()
        if isinstance(item, Pairs):
            found.append(item)
            left += [value for _, value in item]
        elif isinstance(item, list):
            found.append(item)
            left += item
    return [item for item in found if item]


def _change(document: Any, kind: str, random: Random) -> None:
    where = _objects(document)
    if not where:
        return
    place = random.choice(where)
    at = random.randrange(len(place))
    if not isinstance(place, Pairs):
        match random.randrange(4):
            case 0:
                place[at] = random.choice(_VALUES)
            case 1:
                del place[at]
            case 2:
                place *= random.choice((2, 60, 501 if len(place) < 3 else 2))
            case _:
                place[at] = random.choice(_DIGESTS)
        return
    key, value = place[at]
    match random.randrange(10):
        case 0 | 1:
            place[at] = key, random.choice(_VALUES)
        case 2:
            del place[at]
        case 3:
            place.append((key, random.choice((value, *_VALUES))))
        case 4:
            place[at] = random.choice(_spellings(key)), value
        case 5:
            place.append((random.choice(_spellings(key)), random.choice((value, *_VALUES))))
        case 6:
            other = random.randrange(len(place))
            place[at], place[other] = (key, place[other][1]), (place[other][0], value)
        case 7:
            place.append((random.choice(("manifests", "layers", "config", "urls", "data", "subject")), value))
        case 8:
            target = random.choice([item for item in where if isinstance(item, Pairs)])
            for index, (name, _) in enumerate(target):
                if name == "digest":
                    target[index] = name, random.choice(_DIGESTS)
                elif name == "size":
                    target[index] = (
                        name,
                        random.choice((-1, 0, 2**50, 2**50 + 1, 2**63, 1.0, "1", True, Raw("1e2"))),
                    )
        case _:
            other_kind = random.choice([each for each in TYPES if each != kind])
            place.append(random.choice(list(pairs(seed_document(other_kind, random)))))


def _spellings(key: str) -> list[str]:
    return [
        key.upper(),
        key.lower(),
        key.title(),
        key.replace("s", "\u017f"),
        key.replace("k", "K"),
        key + " ",
        key + "\0",
    ]


def _bytes_changed(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data))
    match random.randrange(5):
        case 0:
            return data[:at] + bytes((data[at] ^ 1 << random.randrange(8),)) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data[:at] + random.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\0", b'"')) + data[at:]
        case 3:
            return data[:at] + data[at + random.randrange(20) :]
        case _:
            return data + data[: at + 1]
