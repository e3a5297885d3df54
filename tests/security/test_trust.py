"""What an image says about itself is not what the engine says about a container."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.command import Pyd
from tests.support.world import World

OURS = {"dev.pyd.overlay": '{"lower":["/"],"upper":"/","work":"/"}', "dev.pyd.seccomp": "unconfined"}
FOREIGN = {
    "run.oci.hooks": "/evil", "org.systemd.property.ExecStart": "/evil", "cdi.k8s.io/x": "vendor.com/dev=0",
    "io.podman.annotations.seccomp": "unconfined", "io.kubernetes.cri.untrusted-workload": "true",
    "run.oci.keep_original_groups": "1", "com.docker.compose.project": "x",
}  # fmt: skip


def annotations_of(world: World, container: str) -> dict[str, str]:
    config = json.loads((world.run_root / "containers" / container / "config.json").read_text())
    found: dict[str, str] = config["annotations"]
    return found


def test_labels_are_no_annotations(
    world: World, busybox: str, pyd: Pyd, rootfs: Path, tmp_path: Path
) -> None:
    """CVE-2026-53488, CVE-2026-53492: labels of the image and of the container, also such as look like pyd's
    own or another engine's, are words and nothing else.
    """
    labels = OURS | FOREIGN
    subprocess.run(["tar", "-C", rootfs, "-cf", tmp_path / "root.tar", "."], check=True)
    changes = [word for name, value in labels.items() for word in ("-c", f"LABEL {name}={json.dumps(value)}")]
    pyd("import", *changes, tmp_path / "root.tar", "labelled:1")
    flags = [word for name, value in labels.items() for word in ("-l", f"{name}={value}")]
    for image in ("labelled:1", busybox):
        container = pyd("run", "-d", "--network", "none", *flags, image, "sleep", "1000").out
        assert pyd.inspect(container)["Config"]["Labels"] == labels
        made = annotations_of(world, container)
        assert set(made) == {"dev.pyd.overlay", "dev.pyd.seccomp"} and made["dev.pyd.seccomp"] == "default"
        assert "/" not in json.loads(made["dev.pyd.overlay"])["lower"]
        status = pyd("exec", container, "cat", "/proc/1/status").stdout
        assert "Seccomp:\t2" in status


def test_control_of_the_labels(world: World, busybox: str, pyd: Pyd) -> None:
    """Switched off by who may switch it off, it is seen to be off."""
    option = ("--security-opt", "seccomp=unconfined")
    container = pyd("run", "-d", "--network", "none", *option, busybox, "sleep", "1000").out
    assert "dev.pyd.seccomp" not in annotations_of(world, container)
    assert "Seccomp:\t0" in pyd("exec", container, "cat", "/proc/1/status").stdout


def test_import_of_a_name_in_use(pyd: Pyd, rootfs: Path, tmp_path: Path) -> None:
    """CVE-2026-50195: who takes a name from another image says so; the first use of a name says nothing."""
    for number in (1, 2):
        (tmp_path / "file").write_text(str(number))
        subprocess.run(["tar", "-C", tmp_path, "-cf", tmp_path / f"{number}.tar", "file"], check=True)
    first = pyd("import", tmp_path / "1.tar", "taken:1")
    assert first.stderr == ""
    second = pyd("import", tmp_path / "2.tar", "taken:1")
    assert f"taken:1 already exists, renaming the old one with ID {first.out}" in second.stderr


def test_load_of_a_name_in_use(pyd: Pyd, rootfs: Path, tmp_path: Path) -> None:
    """CVE-2026-50195: the same for an archive that claims a name."""
    (tmp_path / "file").write_text("1")
    subprocess.run(["tar", "-C", tmp_path, "-cf", tmp_path / "1.tar", "file"], check=True)
    pyd("import", tmp_path / "1.tar", "claimed:1")
    layout = claim(tmp_path, "claimed:1")
    loaded = pyd("load", "-i", layout)
    assert "claimed:1 already exists, renaming the old one" in loaded.stdout


def claim(directory: Path, name: str) -> Path:
    """An archive as `docker save` makes it, of another image under this name."""
    import hashlib
    import tarfile

    place = directory / "archive"
    place.mkdir()
    (place / "other").write_text("2")
    with tarfile.open(place / "layer.tar", "w") as layer:
        layer.add(place / "other", "other")
    diff = hashlib.sha256((place / "layer.tar").read_bytes()).hexdigest()
    config = {"architecture": "amd64", "os": "linux", "config": {}}
    config["rootfs"] = {"type": "layers", "diff_ids": [f"sha256:{diff}"]}
    (place / "config.json").write_text(json.dumps(config))
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    (place / "manifest.json").write_text(json.dumps(manifest))
    with tarfile.open(directory / "claim.tar", "w") as archive:
        for file in ("manifest.json", "config.json", "layer.tar"):
            archive.add(place / file, file)
    return directory / "claim.tar"
