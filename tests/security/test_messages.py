"""Descriptions that are longer than any message between the runtime and its child (CVE-2021-43784).

The other half are the fuzz tests of the messages themselves: `cargo test -p pyd-runtime sync` and frames, and
tests/security/test_sockets.py::test_fuzzed_requests for the monitor's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.oci import Runtime

LONG = 70_000


def many_maps(spec: dict[str, Any]) -> None:
    spec["linux"]["namespaces"].append({"type": "user"})
    maps = [{"containerID": number, "hostID": 100_000 + number, "size": 1} for number in range(5000)]
    spec["linux"].update(uidMappings=maps, gidMappings=maps)


def long_option(spec: dict[str, Any]) -> None:
    mount = {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=" + "1" * LONG]}
    spec["mounts"].append(mount)


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "user maps": (many_maps, "linux.uidMappings"),
    "mount option": (long_option, "/t"),
    "mount target": (
        lambda spec: spec["mounts"].append({"destination": "/" + "t" * LONG, "type": "tmpfs", "source": "t"}),
        "too long",
    ),
    "working directory": (lambda spec: spec["process"].update(cwd="/" + "x" * LONG), "too long"),
    "host name": (lambda spec: spec.update(hostname="h" * LONG), "hostname"),
    "masked path": (lambda spec: spec["linux"]["maskedPaths"].append("/proc/" + "m" * LONG), "too long"),
    "root": (lambda spec: spec["root"].update(path="r" * LONG), "too long"),
    "seccomp listener": (
        lambda spec: spec["linux"].update(
            seccomp={
                "defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": "/" + "s" * LONG,
                "syscalls": [{"names": ["swapoff"], "action": "SCMP_ACT_NOTIFY"}],
            }
        ),
        "",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_long_descriptions(runtime: Runtime, kind: str) -> None:
    """One sentence that can be read, and a runtime that works as before."""
    edit, word = REFUSED[kind]
    result = runtime.run("long", ["/payload", "cwd"], edit, code=None)
    assert result.code != 0 and result.stdout == ""
    assert "unreadable" not in result.stderr and "panicked" not in result.stderr
    assert word in result.stderr and len(result.stderr) < 2 * LONG + 1000, result.stderr[:500]
    assert runtime.run("after", ["/payload", "cwd"]).out == "/"


def program(runtime: Runtime) -> str:
    """What is said of a program whose name is longer than a message."""
    return runtime.run("program", ["x" * LONG], code=None).stderr


def test_long_program_name(runtime: Runtime) -> None:
    said = program(runtime)
    assert 'exec: "xxx' in said and "x..." in said and "unreadable" not in said


def test_control_of_the_program_name(weakened: Callable[..., Runtime]) -> None:
    assert "unreadable report" in program(weakened("long-errors-cut"))


def test_what_is_long_and_right_works(runtime: Runtime) -> None:
    """Two hundred mounts and a megabyte of environment are one message of no length at all."""

    def edit(spec: dict[str, Any]) -> None:
        spec["process"]["env"] = [f"NAME{number}={'v' * 100}" for number in range(9000)]
        spec["mounts"] += [
            {"destination": f"/mounted/{number:0200d}", "type": "tmpfs", "source": "tmpfs"}
            for number in range(200)
        ]

    out = runtime.run("big", ["/payload", "cat", "/proc/self/mountinfo", "/proc/self/environ"], edit).stdout
    assert out.count("/mounted/") == 200 and out.count("NAME") == 9000
