"""A directory that a build wrote becomes a layer, and stays the layer that it was said to be."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pyd import _native
from pyd.errors import NotSupported

EPOCH = 315_532_800


def packed(upper: Path, epoch: int | None = None) -> str:
    out = os.memfd_create("layer")
    try:
        return _native.pack_layer(out, upper, compression="", epoch=epoch).diff_id
    finally:
        os.close(out)


def written(root: Path, names: list[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def test_a_sealed_layer_packs_to_its_digest(tmp_path: Path) -> None:
    names = ["a/one", "a/two", "b/c/three"]
    first, second = written(tmp_path / "1", names), written(tmp_path / "2", names[::-1])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(second / "socket"))
    assert packed(first) != packed(second)  # their times differ, by nanoseconds
    sealed = _native.seal_layer(first, [], epoch=EPOCH)
    assert (sealed.entries, sealed.unpacked_size) == (6, sum(map(len, names)))
    assert sealed.plain_size == 6 * 512 + 3 * 512 + 1024
    assert sealed.diff_id == packed(first)
    kept = _native.seal_layer(second, [], epoch=EPOCH, clamp=False)
    assert kept.diff_id == sealed.diff_id == packed(second, epoch=EPOCH) != packed(second)
    _native.reclamp(second, EPOCH)
    assert packed(second) == sealed.diff_id
    assert (second / "a").stat().st_mtime == EPOCH


def test_what_is_as_it_was_is_no_layer(tmp_path: Path) -> None:
    lower, upper = written(tmp_path / "lower", ["etc/x"]), tmp_path / "upper"
    (upper / "etc").mkdir(parents=True)
    (upper / "proc").mkdir()
    (upper / "etc/hosts").touch()
    sealed = _native.seal_layer(upper, [str(lower)], ignored=["proc", "etc/hosts"], epoch=EPOCH)
    assert sealed.entries == 0
    assert not os.listdir(upper)


def test_a_name_that_means_a_removed_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotSupported):
        _native.seal_layer(written(tmp_path / "upper", [".wh.x"]), [], epoch=EPOCH)
