"""Images as bases of builds: found here, or pulled; of any platform, under a name that is not taken from
another.
"""

from __future__ import annotations

from pyd.build.events import Step
from pyd.build.events import Watcher as BuildWatcher
from pyd.build.result import Layer, State
from pyd.engine.image_pull import Watcher
from pyd.errors import ImageNotFound
from pyd.oci.descriptor import Descriptor
from pyd.oci.digest import chain_ids
from pyd.oci.platform import Platform
from pyd.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.engine import Engine
    from pyd.store.images import Image


class BuildImages:
    """build.images.Images."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def state(
        self, reference: str, platform: Platform, *, pull: bool, watcher: BuildWatcher, step: Step
    ) -> tuple[State, str]:
        image = None if pull else self._here(reference, platform)
        if image is None:
            image = self._pulled(reference, platform, _Told(watcher, step))
        digests = [name.partition("@")[2] for name in image.digests]
        return self._state(image), digests[0] if digests else str(image.id)

    def layout(self, value: str, platform: Platform) -> tuple[State, str]:
        """An OCI layout is loaded like an archive; the image keeps no name of it."""
        from pyd.engine.build_layout import load

        image = load(self._engine, value, platform)
        return self._state(image), str(image.manifest)

    def _here(self, reference: str, platform: Platform) -> Image | None:
        """The image of this name if it is of this platform; an id is taken as well, as by Docker."""
        try:
            image = self._engine.store.images.resolve(reference)
        except ImageNotFound:
            return None
        config = image.config
        actual = Platform.of(config.os, config.architecture, config.variant)
        return image if platform.rank(actual) is not None else None

    def _pulled(self, reference: str, platform: Platform, watcher: Watcher) -> Image:
        images = self._engine.images
        name = reference
        if str(platform) != str(Platform.host()):
            # by the digest of its manifest: the tag stays with the image of this host's platform
            from pyd.registry.pull import Repository

            parsed = Reference.parse(reference).with_default_tag()
            repository = Repository(parsed)
            try:
                resolved = repository.resolve(platform, parsed)
            finally:
                repository.close()
            name = parsed.at(resolved.served[-1].digest).canonical
            try:
                return self._engine.store.images.resolve(name)
            except ImageNotFound:
                pass
        pulled = images.pull(name, platform=str(platform), watcher=watcher)
        return self._engine.store.images.resolve(pulled.id)

    def _state(self, image: Image) -> State:
        store = self._engine.store
        sizes = dict(store.images.chain(image.id))
        diff_ids = image.config.diff_ids
        layers = tuple(
            Layer(diff_id, chain_id, 0, sizes.get(chain_id, 0))
            for diff_id, chain_id in zip(diff_ids, chain_ids(diff_ids), strict=True)
        )
        raw = image.config.raw
        return State(
            platform=Platform.of(image.config.os, image.config.architecture, image.config.variant),
            layers=layers,
            config=_checked(raw.get("config") or {}, image),
            history=tuple(raw.get("history") or ()),
            base=raw,
            author=image.config.author,
            manifest=image.manifest,
        )


def _checked(config: dict[str, Any], image: Image) -> dict[str, Any]:
    """An entry of Env without "=" would mean the variable of whoever reads it (CVE-2026-57231)."""
    return {**config, "Env": list(image.config.defaults.env)} if config.get("Env") else dict(config)


class _Told(Watcher):
    """A pull as a part of a step."""

    def __init__(self, watcher: BuildWatcher, step: Step) -> None:
        self._watcher = watcher
        self._step = step

    def fetches(self, layer: Descriptor, progress: Any) -> None:
        self._watcher.counts(self._step, layer.digest, 0, layer.size)

    def fetched(self, layer: Descriptor) -> None:
        self._watcher.counts(self._step, layer.digest, layer.size, layer.size)
