"""The image config (OCI image spec, config.md): what its containers run, and which layers it has."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pyd.errors import CorruptData
from pyd.oci.digest import Digest, chain_ids
from pyd.oci.document import Fields, parse
from pyd.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_LAYERS = 500  # what overlayfs can stack; Docker stops at 127


class Healthcheck(Record):
    """Docker's Healthcheck: `test` is [] (inherit), ["NONE"], ["CMD", ...] or ["CMD-SHELL", line]; times in
    ns.
    """

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Defaults(Record):
    """The `config` object: what a container gets unless its own options say otherwise."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()  # "80/tcp"
    env: tuple[str, ...] = ()  # "NAME=value", each with a "="
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = MappingProxyType({})
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()


class History(Record):
    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(Record):
    architecture: str
    os: str
    variant: str
    created: str  # RFC 3339, "" when the builder did not say
    author: str
    defaults: Defaults
    diff_ids: tuple[Digest, ...]  # bottom first
    history: tuple[History, ...]
    raw: dict[str, Any]  # the whole document, for `inspect` and for images derived from this one

    @property
    def chain(self) -> tuple[Digest, ...]:
        """chainIDs, bottom first."""
        return chain_ids(self.diff_ids)

    @classmethod
    def parse(cls, data: bytes) -> ImageConfig:
        return cls.of(parse(data, "image config"))

    @classmethod
    def of(cls, document: dict[str, Any]) -> ImageConfig:
        doc = Fields(document, "image config")
        rootfs = doc.fields("rootfs")
        if rootfs.text("type", "layers") != "layers":
            raise CorruptData("image config: rootfs is not of type layers")
        diff_ids = tuple(Digest.parse(text) for text in rootfs.texts("diff_ids"))
        if len(diff_ids) > MAX_LAYERS:
            raise CorruptData(f"image config: {len(diff_ids)} layers, at most {MAX_LAYERS} can be mounted")
        return cls(
            architecture=doc.text("architecture"),
            os=doc.text("os"),
            variant=doc.text("variant"),
            created=doc.text("created"),
            author=doc.text("author"),
            defaults=_defaults(doc.fields("config")),
            diff_ids=diff_ids,
            history=tuple(_history(item) for item in doc.items("history")),
            raw=document,
        )


def _defaults(doc: Fields) -> Defaults:
    return Defaults(
        user=doc.text("User"),
        exposed_ports=doc.names("ExposedPorts"),
        # A name without "=" would ask for the host's variable of that name (CVE-2026-57231): an image has no
        # say in that
        env=tuple(entry for entry in doc.texts("Env") if entry.find("=") > 0 and "\0" not in entry),
        entrypoint=doc.texts("Entrypoint"),
        cmd=doc.texts("Cmd"),
        volumes=doc.names("Volumes"),
        working_dir=doc.text("WorkingDir"),
        labels=doc.text_map("Labels"),
        stop_signal=doc.text("StopSignal"),
        healthcheck=_healthcheck(doc.fields("Healthcheck")) if "Healthcheck" in doc else None,
        shell=doc.texts("Shell"),
        on_build=doc.texts("OnBuild"),
    )


def _healthcheck(doc: Fields) -> Healthcheck:
    return Healthcheck(
        test=doc.texts("Test"),
        interval=doc.number("Interval"),
        timeout=doc.number("Timeout"),
        start_period=doc.number("StartPeriod"),
        start_interval=doc.number("StartInterval"),
        retries=doc.number("Retries"),
    )


def _history(item: Any) -> History:
    doc = Fields(item, "image config: history")
    return History(
        created=doc.text("created"),
        created_by=doc.text("created_by"),
        author=doc.text("author"),
        comment=doc.text("comment"),
        empty_layer=doc.flag("empty_layer"),
    )
