"""artifact: files in a registry with the referrers API (pyd's own) and without (Debian's docker-registry)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyd.engine import artifacts
from pyd.errors import CorruptData
from tests.distribution import build
from tests.fakes.registry import MANIFEST, FakeRegistry, digest_of, serving
from tests.support.command import Pyd, wait_until
from tests.support.registry import Registry, free_port, skopeo
from tests.support.world import World

EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
TITLE = "org.opencontainers.image.title"
SBOM = "application/spdx+json"


@pytest.fixture
def pyd(world: object) -> Iterator[Pyd]:
    """No containers are made here."""
    command = Pyd()
    yield command
    command.close()


@pytest.fixture(params=["api", "tag"])
def place(request: pytest.FixtureRequest, registry: Registry, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A registry with the referrers API, and one that needs the tag schema."""
    if request.param == "tag":
        yield "tag", registry.host
        return
    command, port = Pyd(), free_port()
    served = command.popen("registry", "serve", "--listen", f"127.0.0.1:{port}", "--root", tmp_path / "root")
    try:
        wait_until(lambda: command("search", f"127.0.0.1:{port}/x", code=None).code == 0, 30)
        yield "api", f"127.0.0.1:{port}"
    finally:
        served.send_signal(signal.SIGTERM)
        served.communicate(timeout=20)


def raw(reference: str) -> Any:
    return json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}"))


def test_push_and_pull(registry: Registry, pyd: Pyd, tmp_path: Path) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/a.json").write_text("{}")
    (tmp_path / "in/deep/b").write_bytes(os.urandom(3_000_000))
    (tmp_path / "in/empty").touch()
    name = f"{registry.host}/files:1"
    words = ("push", "--artifact-type", "application/vnd.test", "-a", "k=v=w", name)
    out = pyd("artifact", *words, "a.json:application/json", "deep/b", "empty", cwd=tmp_path / "in").lines
    assert out[0] == f"Pushed {name}" and out[1].startswith("Digest: sha256:")
    manifest = raw(name)
    assert manifest["artifactType"] == "application/vnd.test"
    assert manifest["annotations"] == {"k": "v=w"}
    assert manifest["config"] == {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": EMPTY,
        "size": 2,
    }
    assert [(one["mediaType"], one["annotations"][TITLE]) for one in manifest["layers"]] == [
        ("application/json", "a.json"),
        ("application/octet-stream", "deep/b"),
        ("application/octet-stream", "empty"),
    ]
    paths = pyd("artifact", "pull", "-q", "-o", tmp_path / "out", name).lines
    assert paths == [f"{tmp_path}/out/{one}" for one in ("a.json", "deep/b", "empty")]
    for one in ("a.json", "deep/b", "empty"):
        assert (tmp_path / "out" / one).read_bytes() == (tmp_path / "in" / one).read_bytes()
    # the same files are the same artifact
    again = pyd("artifact", *words, "a.json:application/json", "deep/b", "empty", cwd=tmp_path / "in").lines
    assert again == out
    assert "reading" in pyd("artifact", "push", name, "nothing", code=1).stderr


def test_attach_list_and_remove(
    place: tuple[str, str], layouts: dict[str, Path], pyd: Pyd, tmp_path: Path
) -> None:
    kind, host = place
    image = f"{host}/attached:v1"
    skopeo("copy", "-q", "--dest-tls-verify=false", f"oci:{layouts['busybox']}:latest", f"docker://{image}")
    assert pyd("artifact", "ls", image).lines[1:] == []
    (tmp_path / "sbom.json").write_text("{}")
    (tmp_path / "sig").write_text("signature")
    out = pyd("artifact", "attach", "--artifact-type", SBOM, image, "sbom.json", cwd=tmp_path).lines
    subject = out[0].partition("@")[2]
    sbom = out[1].removeprefix("Digest: ")
    assert raw(f"{host}/attached@{sbom}")["subject"]["digest"] == subject
    sign = ("attach", "-q", "--artifact-type", "application/sig", "-a", "a=b")
    plain = pyd("artifact", *sign, image, "sig", cwd=tmp_path).out
    nested = pyd("artifact", *sign, f"{host}/attached@{sbom}", "sig", cwd=tmp_path).out
    assert "artifact-type is required" in pyd("artifact", "attach", image, code=125).stderr

    listed = pyd("artifact", "ls", "--format", "json", image).json()
    assert listed["digest"] == subject
    found = {one["digest"]: one for one in listed["referrers"]}
    assert set(found) == {sbom, plain}
    assert found[plain]["artifactType"] == "application/sig" and found[plain]["annotations"] == {"a": "b"}
    assert [one["digest"] for one in found[sbom]["referrers"]] == [nested]
    lines = pyd("artifact", "ls", image).lines
    assert sorted(line.split()[-1] for line in lines[1:]) == sorted([sbom, plain, nested])
    tags = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{host}/attached"))["Tags"]
    assert any(tag.startswith("sha256-") for tag in tags) == (kind == "tag")
    only = pyd("artifact", "ls", "--artifact-type", SBOM, "--format", "json", image).json()
    assert [one["digest"] for one in only["referrers"]] == [sbom]

    pyd("artifact", "pull", "-o", tmp_path / "out", f"{host}/attached@{sbom}")
    assert (tmp_path / "out/sbom.json").read_text() == "{}"
    assert pyd("artifact", "rm", f"{host}/attached@{plain}").out == f"Deleted: {host}/attached@{plain}"
    left = pyd("artifact", "ls", "--format", "json", image).json()["referrers"]
    assert [one["digest"] for one in left] == [sbom]
    assert pyd("artifact", "rm", f"{host}/attached@{plain}", code=1).stderr


def serve_names(fake: FakeRegistry, *names: str, content: bytes = b"evil") -> str:
    """An artifact whose files have these names."""
    fake.blobs[digest_of(content)] = content
    fake.blobs[EMPTY] = b"{}"
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/x",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": EMPTY, "size": 2},
        "layers": [
            {
                "mediaType": "application/x",
                "digest": digest_of(content),
                "size": len(content),
                "annotations": {TITLE: name},
            }
            for name in names
        ],
    }
    fake.add_manifest("evil", json.dumps(manifest).encode(), "latest")
    return f"{fake.host}/evil"


NAMES = (
    *("../x", "/x", "a/../../x", "..", ".", "a/..", "a//b", "a/", "./x", "a\0b", "a\nb", "\x1b[31m", "..\\x"),
    *("\u202ecod.exe", "a/./b", "x" * 2000, "~/../x/../../x", "//x"),
)


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:20])
def test_no_name_leaves_the_directory(world: object, tmp_path: Path, name: str) -> None:
    """CVE-2025-62725: the names are the pusher's. One that is refused leaves nothing of the others either."""
    (tmp_path / "out").mkdir()
    with serving() as fake:
        reference = serve_names(fake, "good", name)
        with pytest.raises(CorruptData, match="is refused") as raised:
            artifacts.pull(reference, str(tmp_path / "out"))
        assert not fake.asked(digest_of(b"evil")), "nothing is fetched before all names are known"
    assert str(raised.value).isprintable()
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_no_link_leads_out(pyd: Pyd, tmp_path: Path) -> None:
    """What lies in the directory already is not followed: no directory of the name, not the file itself."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("old")
    out = tmp_path / "out"
    out.mkdir()
    (out / "dir").symlink_to(canary)
    (out / "file").symlink_to(canary / "file")
    with serving() as fake:
        result = pyd("artifact", "pull", "-o", out, serve_names(fake, "dir/file"), code=1)
        assert "Traceback" not in result.stderr
        pyd("artifact", "pull", "-o", out, serve_names(fake, "file"))
    assert (canary / "file").read_text() == "old"
    assert (out / "file").read_text() == "evil" and not (out / "file").is_symlink()
    assert os.listdir(canary) == ["file"]


def test_control_names_that_stay_inside(pyd: Pyd, tmp_path: Path) -> None:
    """The fixture's names are what is refused, not its artifact; a naive join of them does lead out."""
    with serving() as fake:
        pyd("artifact", "pull", "-o", tmp_path / "out", serve_names(fake, "a", "b/..c/d", "ü n"))
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")) == [
        *("a", "b", "b/..c", "b/..c/d", "ü n"),
    ]
    naive = os.path.normpath(tmp_path / "out" / "a/../../x")
    assert naive == str(tmp_path / "x")


def test_wrong_bytes_and_two_of_a_name(pyd: Pyd, tmp_path: Path) -> None:
    with serving() as fake:
        reference = serve_names(fake, "a")
        fake.blobs[digest_of(b"evil")] = b"EVIL"
        assert "has the digest" in pyd("artifact", "pull", "-o", tmp_path / "out", reference, code=1).stderr
        assert os.listdir(tmp_path / "out") == []
        reference = serve_names(fake, "a", "a")
        assert "same name" in pyd("artifact", "pull", "-o", tmp_path / "out", reference, code=1).stderr


def test_oras_and_pyd_read_each_other(
    world: World, registry: Registry, layouts: dict[str, Path], pyd: Pyd, tmp_path: Path
) -> None:
    try:
        programs = build.programs(world.host_prefix)
    except build.NotBuilt as error:
        pytest.skip(f"oras cannot be built: {error}")

    def oras(*words: str) -> str:
        done = subprocess.run(
            [programs / "oras", *words], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    (tmp_path / "data.txt").write_text("data")
    ours, theirs = f"{registry.host}/by-pyd:1", f"{registry.host}/by-oras:1"
    pyd("artifact", "push", "--artifact-type", "application/x", ours, "data.txt:text/plain", cwd=tmp_path)
    oras("push", "--plain-http", "--artifact-type", "application/x", theirs, "data.txt:text/plain")
    oras("pull", "--plain-http", "-o", "from-pyd", ours)
    pyd("artifact", "pull", "-o", tmp_path / "from-oras", theirs)
    for place in ("from-pyd", "from-oras"):
        assert (tmp_path / place / "data.txt").read_text() == "data"
    # both keep the list under the tag, in turn
    image = f"{registry.host}/listed-by-both:1"
    skopeo("copy", "-q", "--dest-tls-verify=false", f"oci:{layouts['busybox']}:latest", f"docker://{image}")
    oras("attach", "--plain-http", "--artifact-type", "application/by-oras", image, "data.txt:text/plain")
    pyd("artifact", "attach", "--artifact-type", "application/by-pyd", image, "data.txt", cwd=tmp_path)
    again = "application/by-oras-again"
    oras("attach", "--plain-http", "--artifact-type", again, image, "data.txt:text/plain")
    kinds = {"application/by-oras", "application/by-pyd", again}
    listed = pyd("artifact", "ls", "--format", "json", image).json()["referrers"]
    assert {one["artifactType"] for one in listed} == kinds
    found = json.loads(oras("discover", "--plain-http", "--format", "json", image))
    assert {one["artifactType"] for one in found.get("referrers", found.get("manifests"))} == kinds
