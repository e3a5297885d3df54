"""pull, push, pull by other engines: the digest of an image is the same wherever it has been."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.command import Pyd, find_program, wait_until
from tests.support.dockerd import Docker
from tests.support.registry import CONFIG
from tests.support.world import World

HOST = "127.0.0.1:5000"
Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """`run("docker", "pull", ...)` in namespaces that hold dockerd and a registry; what it printed."""
    directory = tmp_path_factory.mktemp("round-trips")
    docker = Docker(directory / "docker", f"{world.cgroup_parent}-docker")
    config = directory / "registry.yml"
    config.write_text(CONFIG.format(directory=directory / "storage", port=5000))
    program = find_program("docker-registry", "registry")
    assert program is not None
    served = subprocess.Popen(
        docker.daemon.enter(program, "serve", str(config)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # it takes no long path for what it runs; /run is these namespaces' own
    podman = ["podman", "--root", f"{directory}/podman", "--runroot", "/run/p", "--tmpdir", "/run/p-tmp"]
    bases = {
        "docker": docker.command(),
        "podman": podman,
        "skopeo": ["skopeo", "--insecure-policy"],
        "pyd": Pyd().base,
    }
    environment = {name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"}
    environment |= {
        "PYD_DATA_ROOT": f"{directory}/data",
        "PYD_RUN_ROOT": f"{directory}/pyd",
        "DOCKER_HOST": "",
    }

    def run(engine: str, *words: str) -> str:
        done = subprocess.run(
            docker.daemon.enter(*bases[engine], *words),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert done.returncode == 0, f"{engine} {' '.join(words)}: {done.stderr}"
        return done.stdout

    try:
        sockets = Path(f"/proc/{docker.daemon.init}/net/tcp")
        wait_until(lambda: f":{5000:04X} " in sockets.read_text(), 30, "docker-registry")
        yield run
    finally:
        served.kill()
        served.wait()
        docker.close()


def digest(run: Run, name: str) -> str:
    options = ("--tls-verify=false", "--format", "{{.Digest}}")
    return run("skopeo", "inspect", *options, f"docker://{HOST}/{name}").strip()


def through_pyd(run: Run, name: str, other: str) -> None:
    """Pull it, and push it under another name."""
    run("pyd", "pull", "-q", f"{HOST}/{name}")
    run("pyd", "tag", f"{HOST}/{name}", f"{HOST}/{other}")
    run("pyd", "push", "-q", f"{HOST}/{other}")
    assert digest(run, other) == digest(run, name)


@pytest.mark.parametrize("kind", ["oci", "v2s2"])
def test_round_trips(run: Run, layouts: dict[str, Path], kind: str) -> None:
    # from the one tool that is not an engine; one of them has three layers with whiteouts
    layout = layouts["nginx" if kind == "oci" else "busybox"]
    first = f"{kind}-first:v1"
    run(
        *("skopeo", "copy", "--quiet", "--format", kind, "--dest-tls-verify=false"),
        *(f"oci:{layout}:latest", f"docker://{HOST}/{first}"),
    )
    wanted = digest(run, first)
    through_pyd(run, first, f"{kind}-second:v1")
    second = f"{HOST}/{kind}-second:v1"
    run("docker", "pull", "-q", second)
    found = json.loads(run("docker", "image", "inspect", second))[0]["RepoDigests"]
    assert f"{HOST}/{kind}-second@{wanted}" in found
    run("podman", "pull", "-q", "--tls-verify=false", second)
    found = json.loads(run("podman", "image", "inspect", second))[0]["RepoDigests"]
    assert f"{HOST}/{kind}-second@{wanted}" in found
    # what docker and podman push has digests of their own, which stay what they are
    for engine, options in (("docker", ()), ("podman", ("--tls-verify=false",))):
        name = f"{kind}-by-{engine}:v1"
        run(engine, "tag", second, f"{HOST}/{name}")
        run(engine, "push", "-q", *options, f"{HOST}/{name}")
        through_pyd(run, name, f"{kind}-after-{engine}:v1")
        run(engine, "pull", "-q", *options, f"{HOST}/{kind}-after-{engine}:v1")
    # one config under several manifests by now: the repository's own is what goes there
    run("pyd", "push", "-q", second)
    assert digest(run, f"{kind}-second:v1") == wanted
