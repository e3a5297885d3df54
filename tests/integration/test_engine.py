"""pyd.Engine: the same, from Python."""

from __future__ import annotations

import pytest

from tests.support.command import Pyd


def test_run(busybox: str, pyd: Pyd) -> None:
    from pyd import Engine

    result = Engine().run(
        busybox, ["sh", "-c", "echo out; echo err >&2; exit 4"], network="none", remove=True
    )
    assert (result.exit_code, result.stdout, result.stderr) == (4, b"out\n", b"err\n")
    assert pyd("ps", "-aq").out == ""


def test_errors_are_of_the_tree(busybox: str) -> None:
    from pyd import Engine, errors

    engine = Engine()
    with pytest.raises(errors.ImageNotFound) as missing:
        engine.run("nosuch", ["true"], pull="never")
    assert "No such image" in str(missing.value)
    with pytest.raises(errors.StartError) as failed:
        engine.run(busybox, ["no-such-program"], network="none", remove=True)
    assert failed.value.exit_code == 127


def test_used_beside_the_command(busybox: str, pyd: Pyd, name: str) -> None:
    """Both open the same store; neither has to know of the other."""
    from pyd import Engine

    engine = Engine()
    pyd("run", "-d", "--name", name, busybox, "sleep", "1000")
    assert [f"/{name}"] in [container["Names"] for container in engine.containers.list()]
