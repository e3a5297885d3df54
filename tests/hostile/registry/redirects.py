"""Redirects to where nothing may be asked: files, this host, the cloud's metadata; and foreign layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.fakes.registry import FakeRegistry, Handler
from tests.hostile.registry.case import OUTSIDE, Scene, case
from tests.hostile.registry.servers import listening, secured

METADATA = "169.254.169.254"


def _to(scene: Scene, location: str | None, status: int = 307, part: str = "/blobs/") -> None:
    headers = {} if location is None else {"Location": location}
    scene.fault(lambda handler: handler.answer(status, b"", headers), part)


STRANGE = (
    "neither http nor https|invalid address|more than 5 times|invalid URL in location header|"
    "does not have blob|connection refused"
)
for _name, _location in (
    ("a file", "file:///etc/passwd"),
    ("ftp", "ftp://127.0.0.1/x"),
    ("gopher", "gopher://127.0.0.1:70/x"),
    ("data", "data:text/plain,hello"),
    ("javascript", "javascript:alert(1)"),
    ("a socket", "unix:/var/run/docker.sock"),
    ("no host", "http:///etc/passwd"),
    ("only slashes", "//"),
    ("an escape", "ftp://\x1b[2Jx/"),
    ("a port that is none", "http://127.0.0.1:99999999/"),
    ("a bracket that does not close", "http://[::1/"),
    ("nothing", ""),
    ("a megabyte", "ftp://x/" + "y" * 60_000),
):
    case(f"redirect: to {_name}", STRANGE)(partial(_to, location=_location))
case("redirect: without a Location", STRANGE)(partial(_to, location=None))
case("redirect: to a file, of the manifest", STRANGE)(
    partial(_to, location="file:///etc/passwd", part="/manifests/")
)
case("redirect: 300 with many choices", "status 300")(partial(_to, location="http://127.0.0.1/", status=300))
case("redirect: 304", "status 304")(partial(_to, location=None, status=304))


@case("redirect: in a circle", "more than 5 times")
def _(scene: Scene) -> None:
    scene.fault(lambda h: h.answer(302, b"", {"Location": h.path + "/blobs/x"}), "/blobs/")


@case("redirect: to itself", "more than 5 times")
def _(scene: Scene) -> None:
    scene.fault(lambda h: h.answer(301, b"", {"Location": h.path}), "/manifests/")


def _victim(scene: Scene, address: str) -> FakeRegistry:
    """Somebody whom nobody may ask."""
    victim = FakeRegistry()
    scene.at_end.append(listening(victim, address))
    scene.victims.append(victim)
    # it would even have what is looked for
    victim.blobs.update(scene.registry.blobs)
    return victim


def _from_outside(scene: Scene) -> None:
    """The registry is somewhere in the world; plain http is allowed for it."""
    scene.at_end.append(listening(scene.registry, OUTSIDE))
    scene.environ["PYD_INSECURE_REGISTRIES"] = "10.77.0.0/16"


def _inward(scene: Scene, address: str, shown: str = "", part: str = "/blobs/") -> None:
    _from_outside(scene)
    victim = _victim(scene, address)
    port = victim.host.rpartition(":")[2]
    _to(scene, f"http://{shown or address}:{port}/v2/x/blobs/x", part=part)


HOST = "an address of this host: refused"
case("redirect: to loopback", HOST)(partial(_inward, address="127.0.0.1"))
case("redirect: to localhost by name", HOST)(partial(_inward, address="127.0.0.1", shown="localhost"))
case("redirect: to loopback as one number", HOST)(partial(_inward, address="127.0.0.1", shown="2130706433"))
case("redirect: to loopback in IPv6's clothes", HOST)(
    partial(_inward, address="127.0.0.1", shown="[::ffff:127.0.0.1]")
)
case("redirect: to 0.0.0.0", HOST)(partial(_inward, address="127.0.0.1", shown="0.0.0.0"))
case("redirect: to another address of loopback", HOST)(partial(_inward, address="127.9.9.9"))
case("redirect: to the metadata service", HOST)(partial(_inward, address=METADATA))
case("redirect: of the manifest to the metadata service", HOST)(
    partial(_inward, address=METADATA, part="/manifests/")
)


@case("redirect: from loopback to the metadata service", HOST)
def _(scene: Scene) -> None:
    port = _victim(scene, METADATA).host.rpartition(":")[2]
    _to(scene, f"http://{METADATA}:{port}/latest/meta-data/")


@case("redirect: with a user and a password for another", "with credentials of its own")
def _(scene: Scene) -> None:
    victim = _victim(scene, "127.0.0.1")
    _to(scene, f"http://admin:admin@{victim.host}/v2/x/blobs/x")


@case("redirect: from https to http", "from https to plain http")
def _(scene: Scene) -> None:
    _secured(scene, lambda port: f"http://{OUTSIDE}:{port}/x")


@case("redirect: from https to the metadata service", HOST)
def _(scene: Scene) -> None:
    _secured(scene, lambda port: f"https://{METADATA}:{port}/x", METADATA)


def _secured(scene: Scene, location: Callable[[str], str], address: str = OUTSIDE) -> None:
    scene.at_end.append(secured(scene.registry, OUTSIDE, scene.directory))
    scene.environ["PYD_INSECURE_REGISTRIES"] = "10.77.0.0/16"
    scene.host = scene.registry.host
    port = _victim(scene, address).host.rpartition(":")[2]
    _to(scene, location(port))


@case("redirect: to another registry that has it", comes=True)
def _(scene: Scene) -> None:
    other = FakeRegistry()
    other.blobs.update(scene.registry.blobs)
    scene.at_end.append(listening(other, "127.0.0.1"))

    def away(handler: Handler) -> bool:
        return handler.answer(307, b"", {"Location": f"http://{other.host}{handler.path}"})

    scene.fault(away, "/blobs/")


@case(
    "redirect: to another registry that lies",
    "have the digest|damaged|does not match its digest|wants to|declared as",
)
def _(scene: Scene) -> None:
    other = FakeRegistry()
    other.blobs.update({digest: data[::-1] for digest, data in scene.registry.blobs.items()})
    scene.at_end.append(listening(other, "127.0.0.1"))
    _to_other = lambda h: h.answer(307, b"", {"Location": f"http://{other.host}{h.path}"})  # noqa: E731
    scene.fault(_to_other, scene.big)


def _foreign(scene: Scene, url: str) -> None:
    victim = _victim(scene, "127.0.0.1")
    layer = scene.image.manifest["layers"][1]
    layer["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    layer["urls"] = [url.format(host=victim.host)]
    del scene.registry.blobs[scene.big]
    kept = scene.image.layers.pop()
    scene.serve()
    scene.image.layers.append(kept)


FOREIGN = "foreign|does not have blob|not supported|non-distributable"
for _name, _url in (
    ("http", "http://{host}/layer"),
    ("file", "file:///etc/passwd"),
    ("metadata", "http://169.254.169.254/latest/"),
):
    case(f"foreign layer: its url is {_name}", FOREIGN)(partial(_foreign, url=_url))


@case("urls of an ordinary layer", FOREIGN)
def _(scene: Scene) -> None:
    victim = _victim(scene, "127.0.0.1")
    scene.image.manifest["layers"][1]["urls"] = [f"http://{victim.host}/layer"]
    scene.serve()
