"""What a hostile Dockerfile does to the terminal of who builds it, and a hostile bake file to his files."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyd.build.events import Step
from pyd.cli import build_trace
from pyd.cli import main as cli
from pyd.cli.build_plain import Plain
from pyd.cli.build_trace import Display
from pyd.cli.build_tty import Tty
from pyd.engine.engine import Engine
from pyd.errors import PydError
from tests.fakes import building

# title, clipboard, clear, cursor home, alternate screen, report of the cursor, C1, bell, a forged line
EVIL = (
    b"\x1b]0;owned\x07\x1b]52;c;cm0gLXJm\x07\x1b[2J\x1b[H\x1b[?1049h\x1b[6n\x9b31m\x1bP+q\x1b\\\x1bc\x07"
    b"\r#9 DONE 0.1s\x08\x08\n\xc2\x9b2Jnext \xe2\x80\xaeoverride\n\x1b]8;;http://e"
)
# what the displays themselves use: lines up, clearing, colours, the cursor hidden and shown
_OWN = re.compile(r"\x1b\[(?:\d+A|K|J|\?25[lh]|[0-9;:]*m)")


def obeyed(text: str) -> list[str]:
    """What of `text` a terminal would obey beside what the displays use."""
    return re.findall(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", _OWN.sub("", text))


@pytest.fixture(params=[Plain, Tty])
def show(request: pytest.FixtureRequest) -> Callable[[], str]:
    """A build whose output, names, errors, reasons and warnings are all hostile."""

    def shown() -> str:
        kind: type[Display] = request.param
        out = io.StringIO()
        display = kind(out, explain=True, debug=True)
        text = EVIL.decode("latin-1")
        step = Step(id=1, name=f"[1/1] RUN {text}", line=1)
        display.reads("Dockerfile", [text.replace("\n", "")])
        display.begins(step)
        display.explains(step, text)
        display.writes(step, 1, EVIL)
        display.counts(step, text, 1, 2)
        display.tick()
        display.warns(text, 1)
        display.ends(step, PydError(text))
        display.finishes()
        return out.getvalue()

    return shown


def test_the_terminal_obeys_nothing(show: Callable[[], str]) -> None:
    text = show()
    assert "next" in text, "what is readable is shown"
    assert obeyed(text) == []
    # no line of the container's begins as one of another step
    assert not re.search(r"^#9 ", text, re.MULTILINE)


def test_control_of_the_terminal(show: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_trace, "harmless", lambda text, colours: text)
    assert len(obeyed(show())) > 5


@pytest.fixture
def bake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[[], tuple[int, str]]]:
    """A bake file of somebody else, that takes the user's key as a secret and writes into his home."""
    home, clone = tmp_path / "home", tmp_path / "clone"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/id").write_text("key")
    clone.mkdir()
    (clone / "key").symlink_to(home / ".ssh/id")
    (clone / "docker-bake.json").write_text(
        '{"target": {"default": {"secret": ["id=k,src=key"], "output": ["type=local,dest=../home/.ssh"]}}}'
    )
    monkeypatch.chdir(clone)
    monkeypatch.setenv("PYD_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("PYD_RUN_ROOT", str(tmp_path / "run"))
    monkeypatch.setattr(Engine, "build", building.build)
    building.asked.clear()

    def run() -> tuple[int, str]:
        return cli.main(["bake"]), capfd.readouterr().err

    yield run
    building.asked.clear()


def test_a_bake_file_reaches_nothing_outside(bake: Callable[[], tuple[int, str]], tmp_path: Path) -> None:
    status, error = bake()
    assert (status, building.asked) == (1, [])
    assert f"Read access to path {tmp_path}/home/.ssh/id" in error
    assert f"Write access to path {tmp_path}/home/.ssh" in error


def test_control_of_the_bake_file(
    bake: Callable[[], tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILDX_BAKE_ENTITLEMENTS_FS", "0")
    assert bake()[0] == 0
    assert building.asked[0].secrets == ("id=k,src=key",)
