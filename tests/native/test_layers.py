"""The boundary to Rust for layers: values, errors, progress, Ctrl-C. For archives see rust/layers/tests."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import textwrap
import threading
from pathlib import Path

import pytest

from pyd import _native
from pyd.errors import (
    Cancelled,
    CorruptData,
    InvalidArgument,
    KernelError,
    NotSupported,
    RegistryError,
    Unavailable,
)

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tar_of(files: dict[str, bytes]) -> bytes:
    """A tar with these regular files, owned by the caller so that it unpacks without root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.gid = len(content), os.geteuid(), os.getegid()
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    path = tmp_path / "dest"
    path.mkdir()
    return path


def test_ingest_verifies_stores_and_unpacks(tmp_path: Path, dest: Path) -> None:
    plain = tar_of({"etc/hosts": b"127.0.0.1 localhost\n", "big": bytes(3_000_000)})
    blob = gzip.compress(plain)
    progress = _native.Progress()
    partial = tmp_path / "partial"
    ingest = _native.LayerIngest(
        partial,
        dest,
        media_type=GZIP,
        digest=sha256(blob),
        size=len(blob),
        diff_id=sha256(plain),
        progress=progress,
    )
    assert ingest.offset == 0
    for start in range(0, len(blob), 1000):
        ingest.write(blob[start : start + 1000])
    layer = ingest.finish()
    assert (layer.digest, layer.diff_id) == (sha256(blob), sha256(plain))
    assert (layer.size, layer.entries, layer.unpacked_size) == (len(blob), 2, 3_000_020)
    assert (layer.implied_dirs, layer.lower_links) == (2, 0)
    assert (progress.done, progress.total, progress.cancelled) == (len(blob), len(blob), False)
    assert partial.read_bytes() == blob
    assert (dest / "etc/hosts").read_bytes() == b"127.0.0.1 localhost\n"
    with pytest.raises(InvalidArgument, match="has ended"):
        ingest.write(b"more")
    ingest.abort()


def test_ingest_without_dest_only_stores(tmp_path: Path) -> None:
    blob = b'{"config": true}'
    partial = tmp_path / "partial"
    ingest = _native.LayerIngest(
        str(partial),
        None,
        media_type="application/vnd.oci.image.config.v1+json",
        digest=sha256(blob),
        size=len(blob),
    )
    ingest.write(blob)
    layer = ingest.finish()
    assert (layer.digest, layer.diff_id, layer.entries) == (sha256(blob), "", 0)
    assert partial.read_bytes() == blob


def test_ingest_resumes(tmp_path: Path, dest: Path) -> None:
    plain = tar_of({"a": b"a" * 100_000, "b": os.urandom(100_000)})
    blob = gzip.compress(plain)
    partial = tmp_path / "partial"
    partial.write_bytes(blob[:50_000])
    ingest = _native.LayerIngest(partial, dest, media_type=GZIP, digest=sha256(blob), size=len(blob))
    assert ingest.offset == 50_000
    with pytest.raises(Unavailable, match="ended after 50000 of"):
        ingest.finish()
    assert partial.stat().st_size == 50_000
    _native.remove_tree(dest)
    dest.mkdir()
    ingest = _native.LayerIngest(partial, dest, media_type=GZIP, digest=sha256(blob), size=len(blob))
    ingest.write(blob[50_000:])
    assert ingest.finish().diff_id == sha256(plain)
    assert (dest / "a").stat().st_size == 100_000


def test_wrong_bytes_raise_and_are_not_kept(tmp_path: Path, dest: Path) -> None:
    blob = gzip.compress(tar_of({"a": b"a"}))
    partial = tmp_path / "partial"

    def ingest(digest: str, size: int, diff_id: str | None = None) -> _native.LayerIngest:
        return _native.LayerIngest(partial, dest, media_type=GZIP, digest=digest, size=size, diff_id=diff_id)

    wrong = ingest(sha256(b"other"), len(blob))
    wrong.write(blob)
    with pytest.raises(RegistryError, match="have the digest"):
        wrong.finish()
    assert not partial.exists()
    with pytest.raises(RegistryError, match="longer than its"):
        ingest(sha256(blob), 10).write(blob)
    assert not partial.exists()
    wrong = ingest(sha256(blob), len(blob), sha256(b"other"))
    wrong.write(blob)
    with pytest.raises(CorruptData, match="uncompressed digest"):
        wrong.finish()
    assert not partial.exists()


def test_errors_are_pyds_own(tmp_path: Path, dest: Path) -> None:
    escape = tmp_path / "escape"
    escape.write_bytes(tar_of({"../x": b""}))
    with pytest.raises(CorruptData, match=r"layer entry \.\./x escapes the layer"):
        _native.unpack_blob(escape, dest)
    assert not (tmp_path / "x").exists()
    with pytest.raises(KernelError) as caught:
        _native.unpack_blob(tmp_path / "missing", dest)
    assert (caught.value.op, caught.value.errno) == ("open", errno.ENOENT)
    assert caught.value.path == str(tmp_path / "missing")
    assert caught.value.message == f"open {tmp_path / 'missing'}: no such file or directory"
    with pytest.raises(NotSupported, match="unsupported layer media type"):
        _native.unpack_blob(escape, dest, media_type="text/plain")
    for digest in ("", "sha256:", "md5:" + "0" * 32, "sha256:" + "A" * 64, "sha256:../../" + "0" * 58):
        with pytest.raises(InvalidArgument, match="invalid digest"):
            _native.LayerIngest(tmp_path / "p", None, media_type="", digest=digest, size=1)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mknod")
def test_a_full_disk_is_named_with_its_remedy(tmp_path: Path) -> None:
    full = tmp_path / "full"
    os.mknod(full, stat.S_IFCHR | 0o666, os.makedev(1, 7))  # a /dev/full of our own
    blob = b"x" * 10
    ingest = _native.LayerIngest(full, None, media_type="", digest=sha256(blob), size=len(blob))
    with pytest.raises(KernelError) as caught:
        ingest.write(blob)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.hint is not None and "free space" in caught.value.hint
    assert full.exists()  # kept for a resume


def test_settle_copies_hard_links_up(tmp_path: Path) -> None:
    def unpacked(name: str, members: list[tarfile.TarInfo]) -> tuple[_native.UnpackedLayer, Path]:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for member in members:
                member.uid, member.gid = os.geteuid(), os.getegid()
                archive.addfile(member, io.BytesIO(bytes(member.size)))
        blob = tmp_path / f"{name}.tar"
        blob.write_bytes(buffer.getvalue())
        (tmp_path / name).mkdir()
        return _native.unpack_blob(blob, tmp_path / name), tmp_path / name

    file = tarfile.TarInfo("bin/tool")
    file.size, file.mode = 7, 0o755
    link = tarfile.TarInfo("bin/alias")
    link.type, link.linkname = tarfile.LNKTYPE, "bin/tool"
    below, below_dir = unpacked("below", [file])
    above, above_dir = unpacked("above", [link])
    assert (above.lower_links, above.implied_dirs) == (1, 2)
    _native.settle_layer(below, below_dir, [])
    _native.settle_layer(above, above_dir, [str(below_dir)])
    assert (above_dir / "bin/alias").read_bytes() == bytes(7)
    with pytest.raises(CorruptData, match="does not exist"):
        unpacked_alone, alone_dir = unpacked("alone", [link])
        _native.settle_layer(unpacked_alone, alone_dir, [])


def test_progress_cancels_from_another_thread(tmp_path: Path, dest: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(gzip.compress(tar_of({f"f{i}": bytes(1_000_000) for i in range(200)}), 1))
    progress = _native.Progress()
    threading.Timer(0.05, progress.cancel).start()
    with pytest.raises(Cancelled):
        while True:  # a fast machine may need more than one round
            _native.unpack_blob(blob, dest, progress=progress)
    assert progress.cancelled


def test_ctrl_c_stops_the_work(tmp_path: Path) -> None:
    script = """
        import sys
        from pyd import _native
        print("ready", flush=True)
        try:
            while True:
                _native.hash_file(sys.argv[1])
        except KeyboardInterrupt:
            sys.exit(7)
    """
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(1 << 40)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(big)], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        try:
            child.stdout.readline()
            threading.Event().wait(0.3)
            child.send_signal(signal.SIGINT)
            assert child.wait(10) == 7
        finally:
            child.kill()


def test_files_and_trees(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "f").write_bytes(b"12345")
    os.link(tree / "a" / "f", tree / "g")
    name = os.fsdecode(b"latin1 \xe4")
    (tree / name).symlink_to("123")
    assert _native.hash_file(tree / "g") == sha256(b"12345")
    assert _native.tree_usage(tree) == (8, 4)
    assert _native.tree_usage(str(tree / name)) == (3, 1)
    _native.syncfs(tree)
    _native.remove_tree(tree)
    _native.remove_tree(tree)
    assert not tree.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mount")
def test_remove_tree_stays_out_of_mounts(tmp_path: Path) -> None:
    script = """
        import sys
        from pyd import _native
        from pyd.errors import KernelError
        try:
            _native.remove_tree(sys.argv[1])
        except KernelError as error:
            sys.exit(0 if error.path == sys.argv[1] + "/a/mount" else error.path)
        sys.exit("no error")
    """
    tree, other = tmp_path / "tree", tmp_path / "other"
    (tree / "a" / "mount").mkdir(parents=True)
    (tree / "b").mkdir()
    other.mkdir()
    (other / "canary").write_text("alive")
    # in a mount namespace of its own, so that nothing is left whatever happens
    shell = 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$5"'
    words = [str(other), str(tree / "a" / "mount"), sys.executable, textwrap.dedent(script), str(tree)]
    command = ["unshare", "-m", "sh", "-c", shell, "sh", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (other / "canary").read_text() == "alive"
    assert not (tree / "b").exists()


def test_hosts_facts() -> None:
    facts = _native.capabilities()
    assert set(facts) == {"effective", "bounding"}
    assert all(name.startswith("CAP_") for name in facts["bounding"])
    assert _native.seccomp_supported() in (True, False)
    assert _native.cgroup_info()["mode"] in ("v1", "v2", "hybrid")
    assert all("/" in subnet for subnet in _native.network_addresses())
    assert any(link["name"] == "lo" for link in _native.network_links())
