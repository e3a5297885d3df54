"""Provenance: from what, how and when something was built, as SLSA has it and BuildKit fills it in
(moby/buildkit, docs/attestations/slsa-definitions.md).

Values of build arguments and labels, secrets by id, steps and the Dockerfile are told with mode=max only.
Values of secrets are in neither, and no URL has its user and password.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyd.build.attestations import SLSA_02, SLSA_1, Predicate, purl
from pyd.build.attests import Provenance
from pyd.build.request import BuildRequest
from pyd.build.secrets import parse as parse_secret
from pyd.oci.platform import Platform
from pyd.oci.reference import Reference
from pyd.record import Record
from pyd.store.build_cache import BuildStep

_BUILD_TYPE_02 = "https://mobyproject.org/buildkit@v1"
_BUILD_TYPE_1 = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
_EXTENSION = "https://mobyproject.org/buildkit@v1#"
_FILE = "provenance.json"
_USER = re.compile(r"(?<=://)[^/@\s\"']+@")
_IMAGE = "docker-image://"


class Facts(Record, kw_only=True):
    """What is known of a build.

    remote: (URL, commit or digest) of a context that is no local directory
    materials: (source, commit or digest) each
    steps: those that were used, of all platforms
    started, finished: RFC 3339
    """

    request: BuildRequest
    dockerfile: str
    dockerfile_name: str
    remote: tuple[str, str] | None
    materials: Sequence[tuple[str, str]]
    steps: Sequence[BuildStep]
    invocation: str
    started: str
    finished: str


def predicate(facts: Facts, wanted: Provenance, platform: Platform) -> Predicate:
    """For the result of one platform."""
    document = (
        _slsa_02(facts, wanted, platform) if wanted.version == "v0.2" else _slsa_1(facts, wanted, platform)
    )
    return Predicate(SLSA_02 if wanted.version == "v0.2" else SLSA_1, _redacted(document), _FILE)


def _slsa_02(facts: Facts, wanted: Provenance, platform: Platform) -> dict[str, Any]:
    complete = _completeness(facts, wanted)
    metadata: dict[str, Any] = {
        "buildInvocationID": facts.invocation,
        "buildStartedOn": facts.started,
        "buildFinishedOn": facts.finished,
        "completeness": {
            "parameters": complete["request"],
            "environment": True,
            "materials": complete["resolvedDependencies"],
        },
        "reproducible": wanted.reproducible,
    }
    if _is_hermetic(facts):
        metadata[f"{_EXTENSION}hermetic"] = True
    metadata[f"{_EXTENSION}metadata"] = _sources(facts) if wanted.mode == "max" else {}
    source = _config_source(facts)
    return {
        "builder": {"id": wanted.builder_id},
        "buildType": _BUILD_TYPE_02,
        "materials": _materials(facts, platform),
        "invocation": {
            "configSource": source,
            "parameters": _parameters(facts, wanted),
            "environment": {"platform": str(Platform.host())},
        },
        **({"buildConfig": _build_config(facts)} if wanted.mode == "max" else {}),
        "metadata": metadata,
    }


def _slsa_1(facts: Facts, wanted: Provenance, platform: Platform) -> dict[str, Any]:
    source = dict(_config_source(facts))
    if "entryPoint" in source:
        source["path"] = source.pop("entryPoint")
    return {
        "buildDefinition": {
            "buildType": _BUILD_TYPE_1,
            "externalParameters": {"configSource": source, "request": _parameters(facts, wanted)},
            "internalParameters": {
                **({"buildConfig": _build_config(facts)} if wanted.mode == "max" else {}),
                "builderPlatform": str(Platform.host()),
            },
            "resolvedDependencies": _materials(facts, platform),
        },
        "runDetails": {
            "builder": {"id": wanted.builder_id},
            "metadata": {
                "invocationID": facts.invocation,
                "startedOn": facts.started,
                "finishedOn": facts.finished,
                "buildkit_metadata": _sources(facts) if wanted.mode == "max" else {},
                "buildkit_hermetic": _is_hermetic(facts),
                "buildkit_completeness": _completeness(facts, wanted),
                "buildkit_reproducible": wanted.reproducible,
            },
        },
    }


def _config_source(facts: Facts) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if facts.remote is not None:
        found = {"uri": facts.remote[0], "digest": _digest(facts.remote[1])}
    return {**found, "entryPoint": os.path.basename(facts.dockerfile_name) or "Dockerfile"}


def _parameters(facts: Facts, wanted: Provenance) -> dict[str, Any]:
    request, most = facts.request, wanted.mode == "max"
    args: dict[str, str] = {}
    if request.target:
        args["target"] = request.target
    if request.no_cache or request.no_cache_filter:
        args["no-cache"] = ",".join(request.no_cache_filter)
    if request.network not in ("", "default"):
        args["force-network-mode"] = request.network
    if request.add_hosts:
        args["add-hosts"] = ",".join(request.add_hosts)
    args |= {f"context:{name}": value for name, value in request.build_contexts.items()}
    if most:
        args |= {f"build-arg:{name}": value for name, value in request.build_args.items()}
        args |= {f"label:{name}": value for name, value in request.labels.items()}
    found: dict[str, Any] = {"frontend": "dockerfile.v0", "args": dict(sorted(args.items()))}
    if most:
        secrets = sorted(parse_secret(text, os.environ).id for text in request.secrets)
        keys = sorted(text.partition("=")[0] for text in request.ssh)
        found |= {"secrets": [{"id": one} for one in secrets], "ssh": [{"id": one} for one in keys]}
    if facts.remote is None:
        found["locals"] = [{"name": "context"}, {"name": "dockerfile"}]
    return found


def _completeness(facts: Facts, wanted: Provenance) -> dict[str, bool]:
    hidden = wanted.mode != "max" and bool(facts.request.build_args or facts.request.labels)
    return {"request": not hidden, "resolvedDependencies": facts.remote is not None}


def _is_hermetic(facts: Facts) -> bool:
    """Whether all that came from outside is a material."""
    offline = all(
        step.structure.get("network") == "none" for step in facts.steps if step.structure.get("kind") == "RUN"
    )
    return facts.remote is not None and offline


def _materials(facts: Facts, platform: Platform) -> list[dict[str, Any]]:
    found = [{"uri": _uri(source, platform), "digest": _digest(digest)} for source, digest in facts.materials]
    return sorted(found, key=lambda one: str(one["uri"]))


def _uri(source: str, platform: Platform) -> str:
    if not source.startswith(_IMAGE):
        return source
    reference = Reference.parse(source.removeprefix(_IMAGE))
    return purl((reference if reference.digest else reference.with_default_tag()).canonical, platform)


def _digest(text: str) -> dict[str, str]:
    algorithm, colon, value = text.rpartition(":")
    if colon:
        return {algorithm: value}
    return {"sha256" if len(value) == 64 else "sha1": value}


def _build_config(facts: Facts) -> dict[str, Any]:
    """The steps as BuildKit's graph has them: commands as `exec`, files as `file`; `inputs` are the steps
    whose layers are below.
    """
    made = {
        str(step.layer.chain_id): f"step{number}" for number, step in enumerate(facts.steps) if step.layer
    }
    definition = []
    for number, step in enumerate(facts.steps):
        below = made.get(str(step.structure.get("parent", "")))
        definition.append(
            {
                "id": f"step{number}",
                "op": {"Op": _operation(step.structure)},
                **({"inputs": [f"{below}:0"]} if below else {}),
            }
        )
    return {"llbDefinition": definition}


def _operation(structure: Mapping[str, Any]) -> dict[str, Any]:
    kind = structure.get("kind")
    if kind == "RUN":
        env = {**structure.get("env", {}), **structure.get("build_args", {})}
        meta = {
            "args": structure.get("args", []),
            "env": [f"{name}={value}" for name, value in env.items()],
            "cwd": structure.get("cwd", "/"),
            **({"user": structure["user"]} if structure.get("user") else {}),
        }
        mounts = [
            {"dest": one.get("target", ""), "mountType": one.get("type", "")} for one in structure["mounts"]
        ]
        return {"exec": {"meta": meta, "mounts": mounts}}
    if kind == "WORKDIR":
        return {"file": {"actions": [{"Action": {"mkdir": {"path": structure.get("path", "/")}}}]}}
    copy = {"src": structure.get("sources", []), "dest": structure.get("dest", "/")}
    return {"file": {"actions": [{"Action": {"copy": copy}}]}}


def _sources(facts: Facts) -> dict[str, Any]:
    text = _USER.sub("xxxxx@", facts.dockerfile)
    return {
        "source": {
            "infos": [
                {
                    "filename": os.path.basename(facts.dockerfile_name) or "Dockerfile",
                    "language": "Dockerfile",
                    "data": base64.b64encode(text.encode("utf-8", "surrogateescape")).decode(),
                }
            ]
        }
    }


def _redacted(value: Any) -> Any:
    """Without user and password in URLs, wherever they stand."""
    if isinstance(value, str):
        return _USER.sub("xxxxx@", value) if "://" in value else value
    if isinstance(value, Mapping):
        return {key: _redacted(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(one) for one in value]
    return value
