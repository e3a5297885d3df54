"""A store, a registry and a client for tests of `pull`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.registry import FakeRegistry, serving

from pyd.paths import Paths
from pyd.registry import transport
from pyd.store import Store


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No waiting between attempts, no configuration of this machine."""
    monkeypatch.setattr(transport, "_FIRST_PAUSE", 0.001)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("PYD_CONFIG", str(tmp_path / "pyd.json"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(Paths(str(tmp_path / "data"), str(tmp_path / "run")))
    yield store
    store.close()


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with serving() as registry:
        yield registry
