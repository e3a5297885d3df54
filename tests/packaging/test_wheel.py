"""The distribution: what pip installs from a wheel, and that the source distribution builds the same."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.world import World

TOP = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.timeout(900)


def run(command: list[str], **options: object) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return str(done.stdout)


# Whether it builds is the question: optimising all of it once more takes two minutes of linking.
HASTY = {
    f"CARGO_PROFILE_{profile}_{name}": value
    for profile in ("RELEASE", "RUNTIME")
    for name, value in (("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "16"))
}


def maturin(world: World, *args: str, cwd: Path = TOP, **environment: str) -> None:
    """Builds in the host's network: cargo may have to fetch crates. The target directory is shared by all
    builds.
    """
    environ = os.environ | {"CARGO_TARGET_DIR": str(TOP / "target")} | environment
    run([*world.host_prefix, sys.executable, "-m", "maturin", *args], cwd=cwd, env=environ)


@pytest.fixture(scope="module")
def wheel(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    maturin(world, "build", "--release", "--locked", "--out", str(out))
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(world: World, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that holds the wheel and nothing of this source tree."""
    directory = tmp_path_factory.mktemp("venv")
    venv.create(directory, with_pip=True)
    python = directory / "bin" / "python"
    run([*world.host_prefix, str(python), "-m", "pip", "install", "--quiet", str(wheel)], cwd=directory)
    return python


def is_static_elf(data: bytes) -> bool:
    """Whether an ELF file names no program interpreter (PT_INTERP), which is what makes it static."""
    assert data[:4] == b"\x7fELF"
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, offset + number * size)[0] for number in range(count)]
    return 3 not in kinds


def test_wheel_is_abi3_and_holds_the_runtime(wheel: Path) -> None:
    assert wheel.name.startswith("pyd_engine-")
    assert "-cp311-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert "pyd/py.typed" in names
        assert "pyd/_native.pyi" in names
        runtime = archive.getinfo("pyd/_bin/pyd-runtime")
        assert runtime.external_attr >> 16 & 0o111, "pyd-runtime is not executable"
        assert is_static_elf(archive.read(runtime))
        assert b"PYD_WEAKENED" not in archive.read(runtime), "protections could be switched off"
        (scripts,) = (name for name in names if name.endswith("/entry_points.txt"))
        assert b"docker-credential-pyd=" in archive.read(scripts).replace(b" ", b"")


def test_installed_runtime_executes(installed: Path) -> None:
    where = "import pyd, pathlib; print(pathlib.Path(pyd.__file__).parent / '_bin' / 'pyd-runtime')"
    runtime = run([str(installed), "-c", where], cwd=installed.parent).strip()
    assert os.access(runtime, os.X_OK)
    assert "ociVersionMin" in run([runtime, "features"])


def test_installed_command_runs_a_container(installed: Path, rootfs: Path) -> None:
    pyd = installed.parent / "pyd"
    out = run([str(pyd), "run", "--rm", "--network", "none", "--rootfs", str(rootfs), "/bin/echo", "hello"])
    assert out == "hello\n"


def test_completion_is_part_of_the_command(installed: Path) -> None:
    pyd = str(installed.parent / "pyd")
    for shell in ("bash", "zsh", "fish"):
        assert "pyd" in run([pyd, "completion", shell])


def test_sdist_builds(world: World, wheel: Path, tmp_path: Path) -> None:
    maturin(world, "sdist", "--out", str(tmp_path))
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    maturin(world, "build", "--release", "--out", str(tmp_path / "built"), cwd=source, **HASTY)
    (built,) = (tmp_path / "built").glob("*.whl")
    assert built.name == wheel.name
    with zipfile.ZipFile(built) as ours, zipfile.ZipFile(wheel) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())
