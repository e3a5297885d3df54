"""Mutated documents by the thousand: refused with an error of pyd's, or read as everybody reads them.

What is accepted is compared with Go's reading (reading.py), written again and read again, and its digests
and sizes are checked by rules of this module's own.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from random import Random
from typing import Any

from pyd.errors import PydError
from pyd.oci.image_config import ImageConfig
from pyd.oci.manifest import Index, Manifest, parse_manifest
from tests.hostile.manifests import reading
from tests.hostile.manifests.damage import TYPES, damaged

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
LONGEST = 2.0  # seconds for one document


@dataclass(frozen=True)
class Outcome:
    """`failure` is empty when all is well."""

    fate: str  # refused, or accepted
    failure: str = ""
    classes: tuple[str, ...] = ()
    seconds: float = 0.0


def document_of(seed: int) -> tuple[str, bytes, str]:
    """(kind, bytes, Content-Type)"""
    random = Random(seed)
    kind = random.choice(("manifest", "index", "config"))
    data = damaged(kind, random)
    every = [*TYPES["manifest"], *TYPES["index"], "", "application/json", "text/plain; charset=x"]
    content_type = random.choice(every) if random.random() < 0.2 else ""
    return kind, data, content_type


def run(seed: int, place: object = None) -> Outcome:
    """One document."""
    kind, data, content_type = document_of(seed)
    begun = time.monotonic()
    try:
        parsed = ImageConfig.parse(data) if kind == "config" else parse_manifest(data, content_type)
    except PydError as error:
        text, seconds = str(error), time.monotonic() - begun
        if "\n" in text or not text.isprintable() or len(text) > 600:
            return Outcome("refused", f"not one sentence: {text!r}")
        return Outcome("refused", "" if seconds < LONGEST else f"took {seconds:.1f} s", seconds=seconds)
    except Exception as error:
        return Outcome("refused", f"{type(error).__name__}: {error}")
    seconds = time.monotonic() - begun
    try:
        failure = _as_go_reads(parsed, data) or _again(parsed, content_type)
    except reading.Unreadable as error:
        failure = f"Go does not read it: {error}"
    except (TypeError, ValueError, RecursionError) as error:
        failure = f"cannot be written again: {type(error).__name__}: {error}"
    return Outcome("accepted", failure, seconds=seconds)


def _as_go_reads(parsed: Manifest | Index | ImageConfig, data: bytes) -> str:
    document = reading.read(data)
    if isinstance(parsed, ImageConfig):
        return _differs(_config(document), _ours(parsed))
    entries = parsed.manifests if isinstance(parsed, Index) else parsed.blobs
    for entry in entries:
        if not _DIGEST.match(entry.digest) or not 0 <= entry.size <= 1 << 50:
            return f"accepts {entry.digest!r} of {entry.size} bytes"
    mine = [(entry.media_type, str(entry.digest), entry.size) for entry in entries]
    if isinstance(parsed, Index):
        theirs = [reading.descriptor(item) for item in reading.items(document, "manifests")]
        if reading.field(document, "layers") is not None or reading.field(document, "config") is not None:
            return "an index that is a manifest too"
    else:
        layers = reading.items(document, "layers")
        theirs = [reading.descriptor(item) for item in (reading.field(document, "config"), *layers)]
        if reading.field(document, "manifests") is not None:
            return "a manifest that is an index too"
    stated = reading.text(document, "mediaType")
    if stated and stated != parsed.media_type:
        return f"media type {parsed.media_type}, Go reads {stated}"
    return _differs(theirs, mine)


def _config(document: Any) -> dict[str, Any]:
    rootfs, config = reading.field(document, "rootfs"), reading.field(document, "config")
    found: dict[str, Any] = {name: reading.text(document, name) for name in ("architecture", "os", "author")}
    found["diff_ids"] = reading.texts(rootfs, "diff_ids") if rootfs is not None else []
    if config is not None:
        found |= {name: reading.text(config, name) for name in ("User", "WorkingDir", "StopSignal")}
        found |= {name: reading.texts(config, name) for name in ("Entrypoint", "Cmd", "Shell", "OnBuild")}
        # pyd leaves out what has no name or no value (CVE-2026-57231)
        found["Env"] = [
            each for each in reading.texts(config, "Env") if each.find("=") > 0 and "\0" not in each
        ]
        found["Labels"] = reading.text_map(config, "Labels")
        for name in ("ExposedPorts", "Volumes"):
            found[name] = sorted(reading.text_map(config, name))
    return found


def _ours(parsed: ImageConfig) -> dict[str, Any]:
    defaults = parsed.defaults
    return {
        "architecture": parsed.architecture,
        "os": parsed.os,
        "author": parsed.author,
        "diff_ids": [str(each) for each in parsed.diff_ids],
        "User": defaults.user,
        "WorkingDir": defaults.working_dir,
        "StopSignal": defaults.stop_signal,
        "Entrypoint": list(defaults.entrypoint),
        "Cmd": list(defaults.cmd),
        "Shell": list(defaults.shell),
        "OnBuild": list(defaults.on_build),
        "Env": list(defaults.env),
        "Labels": dict(defaults.labels),
        "ExposedPorts": sorted(defaults.exposed_ports),
        "Volumes": sorted(defaults.volumes),
    }


def _differs(theirs: Any, mine: Any) -> str:
    if isinstance(theirs, dict):
        for name, value in theirs.items():
            if mine[name] != value:
                return f"{name}: pyd reads {mine[name]!r}, Go {value!r}"[:300]
        return ""
    return "" if theirs == mine else f"pyd reads {mine!r}, Go {theirs!r}"[:300]


def _again(parsed: Manifest | Index | ImageConfig, content_type: str) -> str:
    """Written from what was read, and read again."""
    if isinstance(parsed, ImageConfig):
        text = json.dumps(parsed.raw, allow_nan=False, ensure_ascii=False)
        return "" if ImageConfig.parse(text.encode("utf-8")) == parsed else "another config when read again"
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": parsed.media_type}
    if isinstance(parsed, Index):
        document["manifests"] = [_descriptor(entry) for entry in parsed.manifests]
    else:
        document["config"] = _descriptor(parsed.config)
        document["layers"] = [_descriptor(entry) for entry in parsed.layers]
    data = json.dumps(document, ensure_ascii=False).encode("utf-8")
    return "" if parse_manifest(data) == parsed else "another document when read again"


def _descriptor(entry: Any) -> dict[str, Any]:
    document = {"mediaType": entry.media_type, "digest": str(entry.digest), "size": entry.size}
    if entry.platform is not None:
        names = ("os", "architecture", "variant")
        document["platform"] = {name: getattr(entry.platform, name) for name in names}
    document["annotations"] = dict(entry.annotations)
    return document
