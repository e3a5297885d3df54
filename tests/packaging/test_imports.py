"""The import budget: what a command loads is most of what it takes (DESIGN: a bare interpreter is 11 ms)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import Pyd

HEAVY = {"httpx", "httpcore", "asyncio", "tqdm", "rich", "ssl", "aiohttp", "pydantic"}
NOT_FOR_A_BUILD = {
    *("dataclasses", "inspect", "typing", "concurrent", "logging", "csv", "subprocess", "shutil", "tarfile"),
    *("email", "tempfile", "cryptography", "yaml", "hashlib", "socket", "ipaddress", "urllib", "base64"),
    *("bz2", "lzma", "zlib", "random", "secrets", "typer", "click"),
}
SLOW = {"dataclasses", "inspect", "typing", "threading"}  # milliseconds each; a third of what ps may take


def loaded(statement: str) -> set[str]:
    """Top-level modules in sys.modules after `statement` ran in a fresh interpreter; its output is thrown
    away.
    """
    code = (
        "import sys, os\n"
        "keep = os.dup(2); os.dup2(os.open('/dev/null', os.O_WRONLY), 1)\n"
        f"try:\n    {statement}\nexcept SystemExit:\n    pass\n"
        # None stands for a module that was kept from being imported
        "names = [name for name, module in sys.modules.items() if module is not None]\n"
        "os.write(keep, ('MODULES ' + ' '.join(names)).encode())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MODULES " in done.stderr, done.stderr
    return {name.split(".")[0] for name in done.stderr.partition("MODULES ")[2].split()}


def command(*words: str) -> str:
    return f"sys.argv = ['pyd', *{list(words)!r}]; from pyd.cli.main import main; main()"


def test_import_pyd() -> None:
    assert not loaded("import pyd") & (HEAVY | {"typer", "click", "sqlite3", "json"})


def test_import_engine() -> None:
    assert not loaded("from pyd import Engine; Engine") & (HEAVY | {"typer", "click"})


def test_a_pull_does_without_the_command_line_of_httpx() -> None:
    """It would import these, wherever click is installed too."""
    stand_in = "import types; sys.modules['click'] = types.ModuleType('click')"
    assert not loaded(f"{stand_in}; import pyd.registry.pull") & {"rich", "pygments"}


@pytest.mark.parametrize(
    "words",
    [
        ("ps",),
        ("ps", "-a"),
        ("images",),
        ("run", "--rm", "--network", "none", "busybox", "true"),
        ("run", "-d", "--rm", "--network", "none", "busybox", "true"),
        ("logs", "nosuch"),
        ("exec", "nosuch", "true"),
        ("rm", "nosuch"),
        ("inspect", "nosuch"),
        ("stop", "nosuch"),
        ("version",),
    ],
    ids=" ".join,
)
def test_command(busybox: str, pyd: Pyd, words: tuple[str, ...]) -> None:
    assert not loaded(command(*words)) & HEAVY


def test_a_build_that_changes_nothing(busybox: str, pyd: Pyd, tmp_path: Path) -> None:
    """Half of what it takes is imports: neither the client of registries nor what travels is among them."""
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN true\n")
    pyd("build", "-q", tmp_path)
    modules = loaded(command("build", "--progress=plain", str(tmp_path)))
    assert not (modules - loaded("pass")) & (HEAVY | NOT_FOR_A_BUILD)


def test_import_of_builds() -> None:
    assert not (loaded("import pyd.engine.build") - loaded("pass")) & (HEAVY | NOT_FOR_A_BUILD)


def test_run_and_exec_do_without_enums_and_dates(busybox: str, pyd: Pyd, name: str) -> None:
    """Much of the standard library imports socket or datetime, as sqlite3 does; both take milliseconds."""
    pyd("run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "60")
    for words in (("run", "--rm", "--network", "none", "busybox", "true"), ("exec", name, "true")):
        assert not (loaded(command(*words)) - loaded("pass")) & {"socket", "datetime", "sqlite3"}


@pytest.mark.parametrize("words", [("ps",), ("logs", "nosuch"), ("stop", "nosuch")], ids=" ".join)
def test_what_the_shortest_commands_do_without(pyd: Pyd, words: tuple[str, ...]) -> None:
    assert not (loaded(command(*words)) - loaded("pass")) & (SLOW | {"socket"})
