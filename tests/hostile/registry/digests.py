"""Strings where a digest belongs (CVE-2024-3727): each would be a path, or a check that is not made."""

from __future__ import annotations

import hashlib
from functools import partial

from tests.hostile.registry.case import NAME, Scene, case

_STRINGS = {
    "a path": "sha256:../../../../etc/passwd",
    "a path of 64 letters": "sha256:" + "../" * 21 + "x",
    "absolute": "sha256:/etc/passwd",
    "only a path": "../../../etc/passwd",
    "upper case": "sha256:" + "AB" * 32,
    "too short": "sha256:" + "a" * 63,
    "too long": "sha256:" + "a" * 65,
    "nothing": "",
    "only an algorithm": "sha256:",
    "only digits": "a" * 64,
    "sha512": "sha512:" + "a" * 128,
    "md5": "md5:" + "a" * 32,
    "a NUL": "sha256:" + "a" * 63 + "\0",
    "a newline": "sha256:" + "a" * 64 + "\n",
    "an escape": "sha256:\x1b[2J" + "a" * 60,
    "other digits": "sha256:" + "\u0663" * 64,
    "a number": 5,
    "nothing at all": None,
}
REFUSED = "invalid digest|digest is missing|digest is not a string"


def _layer(scene: Scene, value: object) -> None:
    scene.image.manifest["layers"][1]["digest"] = value
    scene.serve()


def _config(scene: Scene, value: object) -> None:
    scene.image.manifest["config"]["digest"] = value
    scene.serve()


def _entry(scene: Scene, value: object) -> None:
    import json

    from tests.fakes.registry import INDEX, MANIFEST

    entry = {"mediaType": MANIFEST, "digest": value, "size": 5}
    entry["platform"] = {"os": "linux", "architecture": "amd64"}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    scene.serve_manifest(json.dumps(index).encode(), INDEX)


def _diff_id(scene: Scene, value: object) -> None:
    scene.image.config["rootfs"]["diff_ids"][1] = value
    scene.image.seal()
    scene.serve()


for _name, _value in _STRINGS.items():
    case(f"digest of a layer: {_name}", REFUSED)(partial(_layer, value=_value))
for _name in ("a path", "upper case", "sha512", "nothing", "an escape"):
    case(f"digest of the config: {_name}", REFUSED)(partial(_config, value=_STRINGS[_name]))
    case(f"digest in an index: {_name}", REFUSED)(partial(_entry, value=_STRINGS[_name]))
    case(f"diffID: {_name}", "invalid digest")(partial(_diff_id, value=_STRINGS[_name]))


def _header(scene: Scene, value: str) -> None:
    found = scene.registry.manifests[NAME, "latest"]
    scene.fault(
        lambda h: h.answer(200, found[0], {"Content-Type": found[1], "Docker-Content-Digest": value}),
        "/manifests/latest",
    )


case("Docker-Content-Digest: of other bytes", "says that the manifest's digest is")(
    partial(_header, value="sha256:" + "0" * 64)
)
case("Docker-Content-Digest: a path", "says that the manifest's digest is")(
    partial(_header, value="sha256:../../x")
)
case("Docker-Content-Digest: upper case", "says that the manifest's digest is")(
    partial(_header, value="sha256:" + "AB" * 32)
)
# only sha256 is pyd's own reckoning: what else is said there proves nothing and harms nothing
case("Docker-Content-Digest: sha512", comes=True)(partial(_header, value="sha512:" + "0" * 128))
case("Docker-Content-Digest: nothing", comes=True)(partial(_header, value=""))


@case("manifest: another one than the digest that was asked for", "serves another manifest")
def _(scene: Scene) -> None:
    wanted = "sha256:" + hashlib.sha256(b"x").hexdigest()
    scene.registry.manifests[NAME, wanted] = scene.registry.manifests[NAME, "latest"]
    scene.tag = f"@{wanted}"


@case("manifest: one byte more than the digest that was asked for", "serves another manifest")
def _(scene: Scene) -> None:
    data = scene.image.manifest_bytes
    wanted = "sha256:" + hashlib.sha256(data).hexdigest()
    scene.registry.manifests[NAME, wanted] = (data + b" ", scene.registry.manifests[NAME, "latest"][1])
    scene.tag = f"@{wanted}"
