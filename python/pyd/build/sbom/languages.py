"""Packages of languages: what pip and npm have installed, by the files that say so."""

from __future__ import annotations

import json
import re
from typing import Any

from pyd.build.sbom.package import Package, package
from pyd.build.sbom.tree import File

_MAX_METADATA = 1 << 20  # bytes
_SEPARATORS = re.compile(r"[-_.]+")


def of(file: File) -> list[Package | None]:
    """What this file says; [] for all others."""
    name = file.name
    if name == "METADATA" and file.path.endswith(".dist-info/METADATA"):
        return [_python(file)]
    if name == "PKG-INFO" and file.path.endswith((".egg-info/PKG-INFO", "EGG-INFO/PKG-INFO")):
        return [_python(file)]
    if name.endswith(".egg-info"):
        return [_python(file)]
    if name == "package.json" and "node_modules/" in f"/{file.path}":
        return [_node(file)]
    return []


def _python(file: File) -> Package | None:
    """Core metadata (packaging.python.org, core-metadata): headers up to the first empty line."""
    fields: dict[str, str] = {}
    for line in file.read(_MAX_METADATA).decode("utf-8", "replace").splitlines():
        if not line.strip():
            break
        key, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            fields.setdefault(key.lower(), value.strip())
    return package(
        "pypi",
        _SEPARATORS.sub("-", fields.get("name", "")).lower(),
        fields.get("version", ""),
        file.path,
        license=fields.get("license-expression", "") or fields.get("license", ""),
    )


def _node(file: File) -> Package | None:
    """Only what stands directly in a node_modules directory is a package: name or @scope/name."""
    parts = file.path.split("/")[:-1]
    inner = parts[len(parts) - parts[::-1].index("node_modules") :]
    if not (len(inner) == 1 or (len(inner) == 2 and inner[0].startswith("@"))):
        return None
    document = _json(file.read(_MAX_METADATA))
    name, version, license = (document.get(key) for key in ("name", "version", "license"))
    if not isinstance(name, str) or not isinstance(version, str):
        return None
    scope, _, bare = name.rpartition("/")
    return package(
        "npm",
        bare,
        version,
        file.path,
        namespace=scope,
        license=license if isinstance(license, str) else "",
    )


def _json(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
