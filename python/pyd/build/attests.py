"""`--attest`, of which `--provenance` and `--sbom` are short forms (docker/buildx, buildflags/attests.go)."""

from __future__ import annotations

from collections.abc import Sequence

from pyd.build.outputs import fields_of, flag, pairs
from pyd.errors import InvalidArgument, NotSupported
from pyd.record import Record

_PROVENANCE = frozenset(("mode", "version", "builder-id", "reproducible", "inline-only", "disabled"))
_SBOM = frozenset(("disabled", "generator"))


class Provenance(Record):
    """inline_only: not beside exported files."""

    mode: str = "min"
    version: str = "v0.2"  # of SLSA
    builder_id: str = ""
    reproducible: bool = False
    inline_only: bool = False


class Attests(Record):
    provenance: Provenance | None = None
    sbom: bool = False

    def __bool__(self) -> bool:
        return self.sbom or self.provenance is not None


def parse(texts: Sequence[str]) -> Attests:
    """Raises InvalidArgument, or NotSupported for a generator that is an image."""
    provenance, sbom, seen = None, False, set[str]()
    for text in texts:
        values = pairs(fields_of(text))
        kind = values.pop("type", "")
        if not kind:
            raise InvalidArgument("attestation type not specified", "type=provenance or type=sbom")
        if kind not in ("provenance", "sbom"):
            raise InvalidArgument(f"unknown attestation type {kind!r}", "known are provenance, sbom")
        if kind in seen:
            raise InvalidArgument(f"duplicate attestation field {kind}")
        seen.add(kind)
        known = _PROVENANCE if kind == "provenance" else _SBOM
        if unknown := sorted(values.keys() - known):
            raise InvalidArgument(
                f"unknown key {unknown[0]!r} of attestation {kind}", f"known are {', '.join(sorted(known))}"
            )
        if flag(values, "disabled", False):
            continue
        if kind == "sbom":
            if values.get("generator"):
                raise NotSupported(
                    "an SBOM generator of your own is not supported",
                    "leave it out: pyd reads packages itself",
                )
            sbom = True
        else:
            provenance = _provenance(values)
    return Attests(provenance, sbom)


def _provenance(values: dict[str, str]) -> Provenance:
    mode, version = values.get("mode") or "min", values.get("version") or "v0.2"
    if mode not in ("min", "max"):
        raise InvalidArgument(f"invalid provenance mode {mode!r}", "mode=min or mode=max")
    if version not in ("v0.2", "v1"):
        raise InvalidArgument(f"invalid provenance SLSA version: {version}", "version=v0.2 or version=v1")
    return Provenance(
        mode,
        version,
        values.get("builder-id", ""),
        flag(values, "reproducible", False),
        flag(values, "inline-only", False),
    )
