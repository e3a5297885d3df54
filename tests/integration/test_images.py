"""pull, load, import, tag, history, rmi: real images from a real registry, and what a bad one does."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import signal
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.images.layers import LayerWriter, write_layout
from tests.support.command import Pyd, wait_until
from tests.support.registry import Registry, skopeo
from tests.support.world import World


@pytest.fixture
def store(tmp_path: Path) -> dict[str, str]:
    """An environment with a store of its own."""
    return {"PYD_DATA_ROOT": str(tmp_path / "data"), "PYD_RUN_ROOT": str(tmp_path / "run")}


@pytest.mark.parametrize("name", ["busybox", "python", "nginx", "redis", "postgres"])
def test_pull_of_each(images: Callable[[str], str], pyd: Pyd, name: str) -> None:
    assert pyd("run", "--rm", "--entrypoint", "/bin/sh", images(name), "-c", "echo inside").out == "inside"


def test_whiteouts_and_opaque_directories(images: Callable[[str], str], pyd: Pyd) -> None:
    script = "cd /usr/share/pyd-tests && find . -type f | sort"
    out = pyd("run", "--rm", "--entrypoint", "/bin/sh", images("nginx"), "-c", script).lines
    assert out == ["./kept", "./opaque/new"]


def test_pull_prints_digest_and_reference(
    registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str]
) -> None:
    reference = registry.push(layouts["busybox"], "printed")
    result = pyd("pull", reference, env=store)
    digest = skopeo(
        "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{reference}"
    ).strip()
    assert f"Digest: {digest}" in result.stdout
    assert f"Status: Downloaded newer image for {reference}" in result.stdout
    assert "Image is up to date" in pyd("pull", reference, env=store).stdout
    assert pyd("pull", "-q", reference, env=store).out == reference
    by_digest = reference.rpartition(":")[0] + "@" + digest
    assert pyd("pull", "-q", by_digest, env=store).out == by_digest


def test_images_lists_it(images: Callable[[str], str], pyd: Pyd) -> None:
    name = images("busybox")
    line = next(line for line in pyd("images").lines if line.startswith("busybox "))
    assert line.split()[1] == "latest"
    full = pyd("images", "-q", "--no-trunc", name).out
    assert full.startswith("sha256:") and len(full) == 71
    assert pyd("images", "-q", name).out == full[7:19]


def test_inspect_and_history(images: Callable[[str], str], pyd: Pyd) -> None:
    name = images("nginx")
    image = pyd("image", "inspect", name).json()[0]
    assert image["Config"]["StopSignal"] == "SIGQUIT"
    assert image["Config"]["ExposedPorts"] == {"80/tcp": {}}
    assert len(image["RootFS"]["Layers"]) == 3
    assert pyd("inspect", "-f", "{{.Os}}/{{.Architecture}}", name).out.startswith("linux/")
    assert len(pyd("history", "-q", name).lines) == 3


def test_tag_and_rmi(images: Callable[[str], str], pyd: Pyd) -> None:
    name = images("busybox")
    pyd("tag", name, "other/name:v1")
    assert pyd("images", "-q", "other/name:v1").out == pyd("images", "-q", name).out
    assert pyd("rmi", "other/name:v1").lines[0] == "Untagged: other/name:v1"
    assert pyd("images", "-q", "other/name:v1").out == ""
    assert pyd("run", "--rm", name, "echo", "still").out == "still"


def test_rmi_of_a_used_image(
    registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str]
) -> None:
    reference = registry.push(layouts["busybox"], "used")
    pyd("pull", "-q", reference, env=store)
    container = pyd("create", reference, env=store).out
    result = pyd("rmi", reference, code=1, env=store)
    assert "conflict" in result.stderr.lower() and container[:12] in result.stderr
    pyd("rm", container, env=store)
    pyd("rmi", reference, env=store)
    data = Path(store["PYD_DATA_ROOT"])
    assert list((data / "content/sha256").iterdir()) == []
    assert list((data / "snapshots").iterdir()) == []


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
@pytest.mark.parametrize("way", ["file", "stdin", "gzip"])
def test_load(
    layouts: dict[str, Path], pyd: Pyd, store: dict[str, str], tmp_path: Path, kind: str, way: str
) -> None:
    archive = tmp_path / "image.tar"
    target = (
        f"docker-archive:{archive}:loaded:v1"
        if kind == "docker-archive"
        else f"oci-archive:{archive}:loaded:v1"
    )
    skopeo("copy", f"oci:{layouts['busybox']}:latest", target)
    if way == "stdin":
        with archive.open() as source:
            process = pyd.popen("load", stdin=source, env=_environ(store))
            out, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
    else:
        if way == "gzip":
            archive.with_suffix(".gz").write_bytes(gzip.compress(archive.read_bytes(), 1))
            archive = archive.with_suffix(".gz")
        out = pyd("load", "-i", archive, env=store).stdout
    assert "Loaded image: loaded:v1" in out
    assert pyd("images", "--format", "{{.Repository}}:{{.Tag}}", env=store).out == "loaded:v1"


def _environ(extra: dict[str, str]) -> dict[str, str]:
    import os

    return os.environ | extra


def test_import(rootfs: Path, pyd: Pyd, store: dict[str, str], tmp_path: Path) -> None:
    archive = tmp_path / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(rootfs, ".")
    image = pyd(
        "import",
        "-c",
        'CMD ["echo", "imported"]',
        "-c",
        "ENV A=b",
        "-m",
        "note",
        archive,
        "mine:1",
        env=store,
    ).out
    assert image.startswith("sha256:")
    assert pyd("run", "--rm", "--network", "none", "mine:1", env=store).out == "imported"
    assert pyd("inspect", "-f", "{{.Config.Env}}", "mine:1", env=store).out == "[A=b]"


def test_pull_policies(registry: Registry, layouts: dict[str, Path], pyd: Pyd, store: dict[str, str]) -> None:
    reference = registry.push(layouts["busybox"], "policy")
    assert "No such image" in pyd("create", "--pull", "never", reference, code=125, env=store).stderr
    pyd("create", "--pull", "missing", reference, env=store)
    assert pyd("create", "--pull", "always", "-q", reference, env=store, code=None).code in (0, 125)


def test_unknown_tag_and_repository(registry: Registry, layouts: dict[str, Path], pyd: Pyd) -> None:
    registry.push(layouts["busybox"], "known")
    for reference in (f"{registry.host}/known:nosuch", f"{registry.host}/nosuch:latest"):
        result = pyd("pull", reference, code=1)
        assert "not found" in result.stderr or "unknown" in result.stderr


# ---- what must not become an image


class Hostile:
    """A registry on loopback that serves one image, changed by `alter(path, body) -> body`."""

    def __init__(self, layout: Path, alter: Callable[[str, bytes], bytes]) -> None:
        blobs = layout / "blobs/sha256"
        manifest = json.loads((layout / "index.json").read_text())["manifests"][0]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/v2/":
                    return self.reply(b"{}", "application/json")
                kind, name = self.path.split("/")[-2:]
                digest = manifest["digest"] if name == "latest" else name
                file = blobs / digest.removeprefix("sha256:")
                if not file.exists():
                    return self.send_error(404)
                media = manifest["mediaType"] if kind == "manifests" else "application/octet-stream"
                return self.reply(alter(digest, file.read_bytes()), media, digest)

            do_HEAD = do_GET

            def reply(self, body: bytes, media: str, digest: str = "") -> None:
                self.send_response(200)
                self.send_header("Content-Type", media)
                self.send_header("Content-Length", str(len(body)))
                if digest:
                    self.send_header("Docker-Content-Digest", digest)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.reference = f"127.0.0.1:{self._server.server_address[1]}/hostile:latest"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    servers: list[Hostile] = []

    def start(layout: Path, alter: Callable[[str, bytes], bytes] = lambda _, body: body) -> str:
        servers.append(Hostile(layout, alter))
        return servers[-1].reference

    yield start
    for server in servers:
        server.close()


def _digests(layout: Path) -> dict[str, str]:
    index = json.loads((layout / "index.json").read_text())
    manifest = index["manifests"][0]["digest"]
    content = json.loads((layout / "blobs/sha256" / manifest.removeprefix("sha256:")).read_text())
    return {
        "manifest": manifest,
        "config": content["config"]["digest"],
        "layer": content["layers"][0]["digest"],
    }


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
@pytest.mark.parametrize("harm", ["flipped", "truncated", "longer", "empty"])
def test_harmed_content_is_refused(
    layouts: dict[str, Path],
    serve: Callable[..., str],
    pyd: Pyd,
    store: dict[str, str],
    which: str,
    harm: str,
) -> None:
    digest = _digests(layouts["busybox"])[which]

    def alter(asked: str, body: bytes) -> bytes:
        if asked != digest:
            return body
        half = len(body) // 2
        flipped = body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :]
        return {"flipped": flipped, "truncated": body[:half], "longer": body + b" ", "empty": b""}[harm]

    reference = serve(layouts["busybox"], alter)
    if which == "manifest":
        # a tag names no digest: the one in the answer's header is what is checked, or the caller's own
        reference = reference.rpartition(":")[0] + "@" + digest
    result = pyd("pull", "-q", reference, code=1, env=store, timeout=90)
    assert "Traceback" not in result.stderr
    assert pyd("images", "-q", env=store).out == ""
    content = Path(store["PYD_DATA_ROOT"]) / "content/sha256"
    for blob in content.iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name, "unverified content became visible"


def layer_layout(tmp_path: Path, fill: Callable[[tarfile.TarFile], None], diff_id: str | None = None) -> Path:
    """An image with one layer that `fill` writes."""
    writer = LayerWriter(tmp_path / "layer.tar.gz")
    fill(writer.tar)
    layer = writer.finish()
    if diff_id:
        layer = type(layer)(layer.path, layer.digest, layer.size, diff_id)
    write_layout(tmp_path / "layout", "latest", [layer], {"Cmd": ["true"]})
    return tmp_path / "layout"


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, link, mode
    return entry


def test_wrong_diff_id(serve: Callable[..., str], pyd: Pyd, store: dict[str, str], tmp_path: Path) -> None:
    layout = layer_layout(tmp_path, lambda tar: tar.addfile(member("a")), "sha256:" + "0" * 64)
    result = pyd("pull", "-q", serve(layout), code=1, env=store)
    assert "Traceback" not in result.stderr
    assert pyd("images", "-q", env=store).out == ""


@pytest.mark.parametrize(
    "entries",
    [
        [member("../outside")],
        [member("/outside")],
        [member("a/../../outside")],
        [member("link", tarfile.SYMTYPE, "CANARY"), member("link/outside")],
        [member("link", tarfile.SYMTYPE, "/"), member("link/CANARY/outside")],
        [member("link", tarfile.SYMTYPE, "../../../../../../../.."), member("link/CANARY/outside")],
        [member("hard", tarfile.LNKTYPE, "CANARY/secret")],
        [member("hard", tarfile.LNKTYPE, "../../../../../../../..CANARY/secret")],
        [member("d", tarfile.SYMTYPE, "CANARY"), member("d/.wh.secret")],
        [member("d", tarfile.SYMTYPE, "CANARY"), member("d/.wh..wh..opq")],
        [member("d", tarfile.SYMTYPE, "CANARY"), member("d", tarfile.DIRTYPE, mode=0o777)],
        [member(".wh...")],
        [member(".wh..")],
    ],
    ids=lambda entries: " ".join(f"{e.name}>{e.linkname}" for e in entries),
)
def test_traversal_writes_nothing_outside(
    serve: Callable[..., str], pyd: Pyd, store: dict[str, str], tmp_path: Path, entries: list[tarfile.TarInfo]
) -> None:
    """Refused or rebased into the layer, as Docker does; the canary directory stays as it was."""
    canary = tmp_path / "canary"
    canary.mkdir(mode=0o700)
    (canary / "secret").write_text("secret")

    def fill(tar: tarfile.TarFile) -> None:
        for entry in entries:
            name = entry.name.replace("CANARY", str(canary).lstrip("/"))
            tar.addfile(member(name, entry.type, entry.linkname.replace("CANARY", str(canary)), entry.mode))

    result = pyd("pull", "-q", serve(layer_layout(tmp_path, fill)), code=None, env=store)
    assert result.code in (0, 1) and "Traceback" not in result.stderr
    assert [path.name for path in canary.iterdir()] == ["secret"]
    assert (canary / "secret").read_text() == "secret"
    assert (canary / "secret").stat().st_nlink == 1
    assert canary.stat().st_mode & 0o777 == 0o700
    assert not Path("/outside").exists()
    assert not (tmp_path / "data/outside").exists() and not (tmp_path / "data/snapshots/outside").exists()


def test_overlay_attributes_of_a_layer_are_dropped(
    serve: Callable[..., str], pyd: Pyd, store: dict[str, str], tmp_path: Path
) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        entry = member("dir", tarfile.DIRTYPE, mode=0o755)
        entry.pax_headers = {
            "SCHILY.xattr.trusted.overlay.redirect": "/../../../../etc",
            "SCHILY.xattr.user.overlay.opaque": "y",
        }
        tar.addfile(entry)

    pyd("pull", "-q", serve(layer_layout(tmp_path, fill)), env=store)
    import os

    for directory in (Path(store["PYD_DATA_ROOT"]) / "snapshots").rglob("dir"):
        assert [name for name in os.listxattr(directory) if "overlay" in name] == []


def test_interrupted_pull_resumes_and_leaves_nothing(
    world: World, layouts: dict[str, Path], serve: Callable[..., str], pyd: Pyd, store: dict[str, str]
) -> None:
    """Ctrl-C in the middle of a layer: 130 or 1, no image, no unpacked rest; the next pull succeeds."""
    slow = threading.Event()

    def alter(digest: str, body: bytes) -> bytes:
        if len(body) > 1_000_000 and not slow.is_set():
            time.sleep(1.5)
        return body

    reference = serve(layouts["nginx"], alter)
    process = pyd.popen("pull", reference, env=_environ(store))
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode in (130, 1)
    assert "Traceback" not in errors
    assert pyd("images", "-q", env=store).out == ""
    slow.set()
    assert pyd("pull", "-q", reference, env=store).out == reference


def test_kill_9_of_a_pull(
    layouts: dict[str, Path], registry: Registry, pyd: Pyd, store: dict[str, str]
) -> None:
    reference = registry.push(layouts["postgres"], "killed")
    for delay in (0.15, 0.4, 0.8):
        process = pyd.popen("pull", "-q", reference, env=_environ(store))
        time.sleep(delay)
        process.kill()
        process.communicate()
        assert pyd("images", "-q", env=store, code=None).code == 0
    pyd("pull", "-q", reference, env=store, timeout=120)
    out = pyd(
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "sh",
        reference,
        "-c",
        "postgres=1; ls /usr/lib/postgresql",
        env=store,
    )
    assert out.out
    pyd("rmi", reference, env=store)
    data = Path(store["PYD_DATA_ROOT"])
    # a detached process of low priority deletes thousands of files
    wait_until(lambda: not list((data / "snapshots").iterdir()) and not list((data / "trash").iterdir()), 90)
    assert list((data / "ingest").iterdir()) == []


def test_two_pulls_at_once_fetch_it_once(
    layouts: dict[str, Path], registry: Registry, pyd: Pyd, store: dict[str, str]
) -> None:
    reference = registry.push(layouts["python"], "twice")
    processes = [pyd.popen("pull", "-q", reference, env=_environ(store)) for _ in range(3)]
    for process in processes:
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert out.strip() == reference
    assert len(pyd("images", "-q", env=store).lines) == 1


def test_zstd_layers_are_zstd(registry: Registry, layouts: dict[str, Path]) -> None:
    """The suite's own premise: that the registry holds zstd layers at all."""
    reference = registry.push(layouts["redis"], "zstd", compression="zstd")
    raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}"))
    assert any("zstd" in layer["mediaType"] for layer in raw["layers"])
