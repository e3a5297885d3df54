"""Builds: a Dockerfile, or the same from Python, becomes an image; only what changed is done again.

from pyd.build import Image

base = Image.from_("debian").run("apt-get update && apt-get install -y gcc")
app = base.copy("src/", "/src/").run(["make", "-C", "/src"]).cmd(["/src/app"])
app.build(tags=["app:1"])
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.build.image import Image as Image
    from pyd.build.image_mounts import agent as agent
    from pyd.build.image_mounts import bind as bind
    from pyd.build.image_mounts import cache as cache
    from pyd.build.image_mounts import secret as secret
    from pyd.build.image_mounts import tmpfs as tmpfs
    from pyd.build.request import BuildRequest as BuildRequest
    from pyd.build.result import BuildResult as BuildResult

_PLACES = {
    "Image": "image",
    "bind": "image_mounts",
    "cache": "image_mounts",
    "secret": "image_mounts",
    "agent": "image_mounts",
    "tmpfs": "image_mounts",
    "BuildRequest": "request",
    "BuildResult": "result",
}

__all__ = list(_PLACES)


def __getattr__(name: str) -> "Any":
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'pyd.build' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"pyd.build.{place}"), name)
