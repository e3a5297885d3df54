"""Image configs: whole by their digest, and wrong in what they say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.fakes.registry import digest_of
from tests.hostile.registry.case import Scene, case

OTHER = digest_of(b"another layer")


def _config(scene: Scene, change: Callable[[dict[str, Any]], object]) -> None:
    change(scene.image.config)
    scene.image.seal()
    scene.serve()


for _name, _change, _says in (
    (
        "a diffID of another layer",
        lambda c: c["rootfs"]["diff_ids"].__setitem__(1, OTHER),
        "uncompressed digest",
    ),
    ("diffIDs in another order", lambda c: c["rootfs"]["diff_ids"].reverse(), "uncompressed digest"),
    (
        "the same diffID twice",
        lambda c: c["rootfs"].update(diff_ids=[c["rootfs"]["diff_ids"][0]] * 2),
        "digest",
    ),
    ("a diffID too few", lambda c: c["rootfs"]["diff_ids"].pop(), "2 layers, the image config 1"),
    ("a diffID too many", lambda c: c["rootfs"]["diff_ids"].append(OTHER), "2 layers, the image config 3"),
    ("no diffIDs", lambda c: c["rootfs"].pop("diff_ids"), "2 layers, the image config 0"),
    ("no rootfs", lambda c: c.pop("rootfs"), "2 layers, the image config 0"),
    ("600 diffIDs", lambda c: c["rootfs"].update(diff_ids=[OTHER] * 600), "at most 500"),
    ("diffIDs are a string", lambda c: c["rootfs"].update(diff_ids="x"), "diff_ids is not a list"),
    ("a diffID is null", lambda c: c["rootfs"].update(diff_ids=[None]), "not a list of strings"),
    ("rootfs of another type", lambda c: c["rootfs"].update(type="base"), "not of type layers"),
    ("rootfs is a list", lambda c: c.update(rootfs=[]), "rootfs is not an object"),
    ("rootfs in two cases", lambda c: c.update(RootFS={}), "differ only in case"),
    ("another operating system", lambda c: c.update(os="windows"), "cannot be used on this platform"),
    ("an operating system with an escape", lambda c: c.update(os="\x1b[31m"), "cannot be used"),
    ("os is a number", lambda c: c.update(os=5), "os is not a string"),
    ("Env is an object", lambda c: c["config"].update(Env={}), "Env is not a list"),
    ("Env has a number", lambda c: c["config"].update(Env=[5]), "not a list of strings"),
    ("Cmd is a string", lambda c: c["config"].update(Cmd="sh"), "Cmd is not a list"),
    ("Labels are a list", lambda c: c["config"].update(Labels=["a"]), "Labels is not an object"),
    ("a label is a number", lambda c: c["config"].update(Labels={"a": 1}), "not an object of strings"),
    ("Volumes are a list", lambda c: c["config"].update(Volumes=["/a"]), "Volumes is not an object"),
    ("config is a list", lambda c: c.update(config=[1]), "config is not an object"),
    ("history is an object", lambda c: c.update(history={"a": 1}), "history is not a list"),
    ("history has a string", lambda c: c.update(history=["x"]), "not a JSON object"),
    ("a time to wait is a fraction", lambda c: c["config"].update(Healthcheck={"Interval": 1.5}), "integer"),
    ("5 MB", lambda c: c.update(author="x" * (5 << 20)), "config is larger than"),
):
    case(f"config: {_name}", _says)(partial(_config, change=_change))

for _name, _change in (
    (
        "Env without values",
        lambda c: c["config"].update(Env=["PATH", "=x", "AWS_SECRET_ACCESS_KEY", "A=b\0c", "*"]),
    ),
    ("100 thousand entries of history", lambda c: c.update(history=[{}] * 100_000)),
    ("a label of a megabyte", lambda c: c["config"].update(Labels={"x": "y" * 1_000_000})),
    ("no architecture", lambda c: c.pop("architecture")),
    ("no history", lambda c: c.pop("history")),
    ("no config", lambda c: c.pop("config")),
    ("null everywhere", lambda c: c.update(config=None, history=None, author=None, created=None)),
    ("a time that is none", lambda c: c.update(created="yesterday\x1b[2J")),
    ("numbers of 4000 digits", lambda c: c.update(x=10**4000)),
):
    case(f"config: {_name}", comes=True, seconds=20)(partial(_config, change=_change))
