"""What pyd-runtime and the engine write fits the runtime specification's own JSON schemas (schema/)."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from tests.conformance.quiet import quietly
from tests.support.command import Pyd, wait_until
from tests.support.oci import Runtime
from tests.support.world import World

SCHEMAS = Path(__file__).parent / "schema"


@cache
def validator(name: str) -> Draft4Validator:
    """The schema `name`-schema.json, with what it refers to."""
    schemas = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    for file, schema in schemas.items():
        schema["id"] = file  # the published ones have web addresses, or none
    resources = [(file, Resource.from_contents(schema, DRAFT4)) for file, schema in schemas.items()]
    registry: Registry[Any] = Registry().with_resources(resources)
    return Draft4Validator(schemas[f"{name}-schema.json"], registry=registry)


def faults(name: str, document: Any) -> list[str]:
    found = validator(name).iter_errors(document)
    return [f"{'.'.join(str(part) for part in fault.absolute_path)}: {fault.message}" for fault in found]


@pytest.mark.parametrize("options", [[], ["--rootless"]])
def test_the_default_specification(runtime: Runtime, options: list[str]) -> None:
    runtime("spec", *options, "--bundle", runtime.directory)
    spec = json.loads((runtime.directory / "config.json").read_text())
    assert faults("config", spec) == []
    # the control: faults on the first level, in a nested schema and in one of the other files
    spec["root"] = {}
    spec["process"]["env"] = "A=1"
    spec["linux"]["namespaces"].append({"type": "astral"})
    named = {fault.split(":")[0] for fault in faults("config", spec)}
    assert {"root", "process.env"} < named and any(place.startswith("linux.namespaces.") for place in named)


def test_features(runtime: Runtime) -> None:
    features = json.loads(runtime("features").stdout)
    assert faults("features", features) == []
    broken = copy.deepcopy(features)
    del broken["ociVersionMax"]
    broken["linux"]["seccomp"]["enabled"] = "yes"
    assert len(faults("features", broken)) == 2


def test_state_and_what_hooks_get(runtime: Runtime) -> None:
    wanted = {"prestart": "creating", "createRuntime": "creating", "createContainer": "creating"}
    wanted |= {"poststart": "running", "poststop": "stopped"}
    seen = {stage: runtime.directory / f"seen-{stage}" for stage in wanted}

    def edit(spec: dict[str, Any]) -> None:
        spec["annotations"] = {"org.example.key": "value"}
        spec["hooks"] = {
            stage: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >{file}"], "env": ["PATH=/usr/bin:/bin"]}]
            for stage, file in seen.items()
        }

    quietly(
        runtime, "create", "--bundle", runtime.bundle("states", ["/payload", "sleep", "60"], edit), "states"
    )
    states = [runtime.state("states")]
    runtime("start", "states")
    states.append(runtime.state("states"))
    runtime("kill", "states", "KILL")
    wait_until(lambda: runtime.state("states")["status"] == "stopped", what="the end of the container")
    states.append(runtime.state("states"))
    runtime("delete", "states")
    assert [state["status"] for state in states] == ["created", "running", "stopped"]
    told = {stage: json.loads(file.read_text()) for stage, file in seen.items()}
    assert {stage: state["status"] for stage, state in told.items()} == wanted
    for state in (*states, *told.values()):
        assert faults("state", state) == []
        assert state["annotations"] == {"org.example.key": "value"}
    assert faults("state", {**states[0], "status": 1})


def test_the_bundles_of_the_engine(pyd: Pyd, busybox: str, world: World, name: str) -> None:
    options = [
        "--memory=64m",
        "--cpus=0.5",
        "--pids-limit=50",
        "--ulimit=nofile=64:64",
        "--cap-add=NET_ADMIN",
    ]
    options += ["--device=/dev/null:/dev/extra:rw", "--tmpfs=/scratch", "--sysctl=net.ipv4.ip_forward=1"]
    options += ["--read-only", "--oom-score-adj=10", "--user=1000:1000", "--group-add=7"]
    pyd("run", "-d", "--name", name, *options, busybox, "sleep", "60")
    identity = pyd("inspect", "-f", "{{.Id}}", name).out
    config = world.run_root / "containers" / identity / "config.json"
    assert faults("config", json.loads(config.read_text())) == []
