"""`oci-layout://PATH[:TAG][@DIGEST]` as a base: brought into the store, where it has no name."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from pyd.errors import ImageNotFound, InvalidArgument
from pyd.oci.platform import Platform
from pyd.oci.reference import Reference

if TYPE_CHECKING:
    from pyd.engine.engine import Engine
    from pyd.store.images import Image

_FORM = re.compile(r"(?P<path>.+?)(:(?P<tag>\w[\w.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?")


def load(engine: Engine, value: str, platform: Platform) -> Image:
    """Raises InvalidArgument, ImageNotFound and what is wrong with the layout."""
    found = _FORM.fullmatch(value)
    if found is None:
        raise InvalidArgument(f"invalid OCI layout {value!r}", "write it as oci-layout://PATH:TAG or @DIGEST")
    path = os.path.abspath(found["path"])
    if ":" in path:
        raise InvalidArgument(f"the path of an OCI layout cannot have a colon in it: {path}")
    if not os.path.isdir(path):
        raise ImageNotFound(f"no OCI image layout at {path}")
    # a name that nobody else has, for as long as it takes
    name = Reference.parse(f"pyd-layout/{os.urandom(8).hex()}").with_default_tag()
    entry = found["digest"] or found["tag"] or ""
    source = f"oci:{path}:{entry}" if entry else f"oci:{path}"
    engine.images.copy(source, f"store:{name.familiar}", platform=str(platform))
    image = engine.store.images.resolve(name.familiar)
    engine.store.images.untag([name.canonical])
    return image
