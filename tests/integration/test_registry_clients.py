"""docker, podman, skopeo, crane, oras and pyd itself push to `pyd registry serve` and pull from it."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distribution import build
from tests.support.command import Pyd, executable, wait_until
from tests.support.dockerd import Docker
from tests.support.podman import Podman
from tests.support.registry import skopeo
from tests.support.served import Served, sha256
from tests.support.world import World

# the first run builds crane and oras
pytestmark = [pytest.mark.usefixtures("world"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def served(world: World) -> Iterator[Served]:
    made = Served(world.directory / "clients")
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.log.read_text()


@pytest.fixture(scope="module")
def programs(world: World) -> Path:
    try:
        return build.programs(world.host_prefix)
    except build.NotBuilt as error:
        pytest.skip(f"crane and oras cannot be built: {error}")


def raw(reference: str) -> bytes:
    """The manifest's bytes."""
    words = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{reference}"]
    return subprocess.run(words, capture_output=True, check=True).stdout


@pytest.mark.parametrize("name", ["busybox", "nginx"])
def test_skopeo(served: Served, layouts: dict[str, Path], tmp_path: Path, name: str) -> None:
    """There and back: every byte is the same."""
    where = f"docker://{served.host}/skopeo/{name}:t"
    skopeo(
        "copy",
        "--quiet",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci:{layouts[name]}:latest",
        where,
    )
    skopeo(
        "copy",
        "--quiet",
        "--preserve-digests",
        "--src-tls-verify=false",
        where,
        f"oci:{tmp_path}/back:latest",
    )
    sent = {path.name for path in (layouts[name] / "blobs/sha256").iterdir()}
    got = {path.name for path in (tmp_path / "back/blobs/sha256").iterdir()}
    assert got <= sent and sha256(raw(f"{served.host}/skopeo/{name}:t"))[7:] in got
    # to another repository without sending it again: mounted
    received = metric(served, "received_bytes_total")
    options = ("--src-tls-verify=false", "--dest-tls-verify=false")
    skopeo("copy", "--quiet", "--preserve-digests", *options, where, where.replace("skopeo/", "copied/"))
    assert metric(served, "received_bytes_total") - received < 20_000
    skopeo("delete", "--tls-verify=false", where)


def metric(served: Served, name: str) -> float:
    text = served("GET", "/metrics").body.decode()
    return next(
        float(line.split()[1]) for line in text.splitlines() if line.startswith(f"pyd_registry_{name} ")
    )


def test_crane(served: Served, programs: Path, layouts: dict[str, Path], tmp_path: Path) -> None:
    skopeo(
        "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layouts['busybox']}:latest",
        f"docker://{served.host}/crane/a:t",
    )  # fmt: skip

    def crane(*words: str) -> str:
        done = subprocess.run(
            [programs / "crane", *words, "--insecure"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    digest = crane("digest", f"{served.host}/crane/a:t")
    crane("pull", f"{served.host}/crane/a:t", str(tmp_path / "a"), "--format", "oci")
    crane("push", str(tmp_path / "a"), f"{served.host}/crane/b:t")
    assert crane("digest", f"{served.host}/crane/b:t") == digest
    crane("copy", f"{served.host}/crane/a:t", f"{served.host}/crane/c:t")
    crane("tag", f"{served.host}/crane/c:t", "u")
    assert crane("ls", f"{served.host}/crane/c").split() == ["t", "u"]
    assert "crane/c" in crane("catalog", served.host).split()
    crane("validate", "--remote", f"{served.host}/crane/c:u")
    crane("delete", f"{served.host}/crane/c@{digest}")
    assert crane("ls", f"{served.host}/crane/c") == ""


def test_oras(served: Served, programs: Path, tmp_path: Path) -> None:
    """Artifacts, and what is attached to them (referrers)."""

    def oras(*words: str) -> str:
        done = subprocess.run(
            [programs / "oras", *words], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = f"{served.host}/oras/a:t"
    (tmp_path / "data.txt").write_text("of an artifact\n")
    (tmp_path / "sbom.json").write_text('{"sbom": true}\n')
    oras("push", "--plain-http", "--artifact-type", "application/vnd.test", where, "data.txt:text/plain")
    oras(
        "attach",
        "--plain-http",
        "--artifact-type",
        "application/vnd.sbom",
        where,
        "sbom.json:application/json",
    )
    found = json.loads(oras("discover", "--plain-http", "--format", "json", where))
    (entry,) = found.get("referrers") or found["manifests"]
    assert entry["artifactType"] == "application/vnd.sbom"
    (tmp_path / "data.txt").unlink()
    oras("pull", "--plain-http", where)
    assert (tmp_path / "data.txt").read_text() == "of an artifact\n"
    assert oras("repo", "tags", "--plain-http", f"{served.host}/oras/a").split() == ["t"]
    oras("copy", "--from-plain-http", "--to-plain-http", "-r", where, f"{served.host}/oras/b:t")
    assert "vnd.sbom" in oras("discover", "--plain-http", f"{served.host}/oras/b:t")


@pytest.fixture(scope="module")
def inside(world: World, layouts: dict[str, Path]) -> Iterator[tuple[Docker, Podman]]:
    """Docker and podman, in network namespaces of their own."""
    docker = Docker(world.directory / "docker-clients", f"{world.cgroup_parent}/clients-docker")
    try:
        docker.load(layouts["busybox"], "busybox")
        podman = Podman(world.directory / "podman-clients", f"{world.cgroup_parent}/clients-podman")
        try:
            podman.load(layouts["busybox"], "busybox")
            yield docker, podman
        finally:
            podman.close()
    finally:
        docker.close()


class Within:
    """`pyd registry serve` in the network namespace of an engine: to that, it is on loopback."""

    def __init__(self, engine: Docker | Podman, directory: Path, *options: str) -> None:
        words = [*executable(), "registry", "serve", "--root", str(directory), "--listen", "127.0.0.1:5000"]
        words += options
        self.log = directory.with_name(f"{directory.name}.log")
        with self.log.open("w") as log:
            target = f"--target={engine.daemon.init}"
            self._process = subprocess.Popen(
                ["nsenter", target, "--net", "--", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        wait_until(lambda: "Serving" in self.log.read_text(), 30)

    def close(self) -> None:
        self._process.terminate()
        assert self._process.wait(30) == 0
        assert "Traceback" not in self.log.read_text()


@pytest.mark.parametrize("number", [0, 1], ids=["docker", "podman"])
def test_engine(inside: tuple[Docker, Podman], world: World, number: int) -> None:
    engine = inside[number]
    within = Within(engine, world.directory / f"within{number}")
    try:
        tls = ("--tls-verify=false",) if number else ()
        source = "docker.io/library/busybox:latest" if number else "busybox:latest"
        engine("tag", source, "127.0.0.1:5000/a/busybox:t")
        engine("push", *tls, "127.0.0.1:5000/a/busybox:t", timeout=120)
        engine("rmi", "127.0.0.1:5000/a/busybox:t")
        engine("tag", source, "127.0.0.1:5000/b/busybox:t")
        engine("push", *tls, "127.0.0.1:5000/b/busybox:t", timeout=120)  # layers exist or are mounted
        engine("rmi", "-f", "127.0.0.1:5000/b/busybox:t", source)
        engine("pull", *tls, "127.0.0.1:5000/a/busybox:t", timeout=120)
        shown = engine.inspect("127.0.0.1:5000/a/busybox:t")
        assert shown["RepoDigests"]
        engine("tag", "127.0.0.1:5000/a/busybox:t", source)
    finally:
        within.close()


@pytest.mark.parametrize(("number", "auth"), [(0, "token"), (1, "password")], ids=["docker", "podman"])
def test_engine_logs_in(
    inside: tuple[Docker, Podman], world: World, pyd: Pyd, number: int, auth: str
) -> None:
    """Nobody pushes or pulls before; who has logged in does."""
    engine, users = inside[number], world.directory / f"users{number}{auth}"
    users.write_text(pyd("registry", "htpasswd", "alice", input="secret\n").stdout)
    options = ("--htpasswd", str(users), *(("--token",) if auth == "token" else ()))
    within = Within(engine, world.directory / f"logged{number}{auth}", *options)
    try:
        tls = ("--tls-verify=false",) if number else ()
        image = "127.0.0.1:5000/private/busybox:t"
        engine("tag", "docker.io/library/busybox:latest" if number else "busybox:latest", image)
        denied = engine("push", *tls, image, code=None)
        assert denied.code != 0 and (
            "denied" in denied.stderr or "nauthorized" in denied.stderr or "auth" in denied.stderr
        )
        login = ("login", *tls, "-u", "alice", "--password-stdin", "127.0.0.1:5000")
        assert engine(*login, input="wrong", code=None).code != 0
        assert "Login Succeeded" in engine(*login, input="secret").stdout
        engine("push", *tls, image, timeout=120)
        engine("rmi", image)
        engine("pull", *tls, image, timeout=120)
        engine("logout", "127.0.0.1:5000")
        engine("rmi", image)
        assert engine("pull", *tls, image, code=None).code != 0
        assert "secret" not in within.log.read_text() and " alice PUT " in within.log.read_text()
    finally:
        # others begin without one
        (Path(os.environ["DOCKER_CONFIG"]) / "config.json").unlink(missing_ok=True)
        within.close()


def test_pyd(served: Served, pyd: Pyd, busybox: str) -> None:
    """pyd's own push and pull: the same image comes back."""
    where = f"{served.host}/pyd/busybox:t"
    pyd("tag", busybox, where)
    pyd("push", where)
    before = pyd("image", "inspect", busybox).json()[0]["Id"]
    pyd("rmi", where)
    pyd("pull", "-q", where)
    assert pyd("image", "inspect", where).json()[0]["Id"] == before
    pyd("rmi", where)


def test_four_at_once(served: Served, layouts: dict[str, Path], tmp_path: Path) -> None:
    """Four clients push the same image to different places and pull it, at the same time."""
    failures: list[BaseException] = []

    def move(number: int) -> None:
        try:
            where = f"docker://{served.host}/four/r{number % 2}:t{number}"
            for _ in range(2):
                skopeo("copy", "--quiet", "--dest-tls-verify=false", f"oci:{layouts['nginx']}:latest", where)
                skopeo("copy", "--quiet", "--src-tls-verify=false", where, f"oci:{tmp_path}/four{number}:t")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=move, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for path in (served.directory / "blobs/sha256").iterdir():
        assert sha256(path.read_bytes())[7:] == path.name


def test_beside_local_images(world: World, pyd: Pyd, busybox: str) -> None:
    """Without --root, what local images have need not be sent nor kept twice, and each side may forget it."""
    layers = [path for path in (world.data_root / "content/sha256").iterdir() if path.stat().st_size > 10_000]
    blob = max(layers, key=lambda path: path.stat().st_size)
    digest = f"sha256:{blob.name}"
    root = world.data_root / "registry"
    process = pyd.popen("registry", "serve", "--listen", "127.0.0.1:0", "--gc-interval", "0")
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        port = int(said.rpartition(":")[2])
        client = object.__new__(Served)
        client.port, client.tls = port, None
        assert client("POST", f"/v2/a/blobs/uploads/?mount={digest}").status == 201
        linked = root / "blobs/sha256" / blob.name
        assert linked.samefile(blob)
        assert client("GET", f"/v2/a/blobs/{digest}").body == blob.read_bytes()
        # sent all the same, it is kept once
        assert client.push_blob("b", blob.read_bytes()) == digest
        assert linked.samefile(blob)
        # one that was here first: the collector finds that it is kept twice
        linked.unlink()
        linked.write_bytes(blob.read_bytes())
        pyd("registry", "gc")
        assert linked.samefile(blob)
        pyd("registry", "rm", "a", "b")
        pyd("registry", "gc", "--grace", "0")
        assert not linked.exists() and blob.exists()
    finally:
        process.terminate()
        assert process.wait(30) == 0
