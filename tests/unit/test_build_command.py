"""The command line of builds against a fake engine: what is asked, printed, written, and the exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes import building
from tests.support.command import Terminal

from pyd.build.request import BuildRequest
from pyd.cli import main as cli
from pyd.cli.build_options import attests, call, with_push
from pyd.cli.command import parse
from pyd.engine.engine import Engine
from pyd.errors import PydError
from pyd.record import replace

TOP = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Engine, "build", building.build)
    building.asked.clear()
    for name in ("BUILDKIT_PROGRESS", "DOCKER_DEFAULT_PLATFORM", "BUILDX_BUILDER", "FAKE_BUILD", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("PYD_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("PYD_RUN_ROOT", str(tmp_path / "run"))


def asked(*words: str) -> BuildRequest:
    assert cli.main(list(words)) == 0
    return building.asked[-1]


@pytest.mark.parametrize("name", ["build", "image build", "builder build", "buildx build", "buildx b"])
def test_names(name: str) -> None:
    assert asked(*name.split(), "-t", "x", ".").tags == ("x",)


def test_every_flag_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_ENVIRONMENT", "value")
    request = asked(
        "build", "-t", "a:1", "-tb", "--tag=c", "-f", "x.Dockerfile", "--target", "t", "--build-arg", "A=1=2",
        "--build-arg", "FROM_ENVIRONMENT", "--build-arg", "NOT_THERE", "--build-arg=E=",
        "--secret", "id=s,src=f", "--ssh", "default", "--build-context", "n=dir", "--no-cache",
        "--no-cache-filter", "a,b", "--pull",
        "--platform", "linux/amd64,linux/arm64", "--platform=linux/amd64", "--label", "k=v",
        "--label", "empty", "--annotation", "index:k=v", "-o", "type=tar,dest=x", "-o", "out",
        "--network=none", "--add-host", "h:1.2.3.4", "--shm-size", "64m", "--ulimit", "nofile=10", "-m", "1g",
        "--memory-swap", "-1", "-c", "512", "--cpu-period", "1", "--cpu-quota", "2", "--cpuset-cpus", "0",
        "--cpuset-mems", "0", "--cgroup-parent", "p", "-v", "/a:/b", "--attest", "type=sbom", "--provenance",
        "mode=max", "--cache-from", "user/app", "--cache-to", "type=inline", "--allow",
        "network.host,security.insecure", "--debug", "--security-opt", "label=x", "--builder", "default",
        "--rm=false", "--force-rm", "--compress", "--isolation", "default", "dir",
    )  # fmt: skip
    assert request.stdout is not None
    assert replace(request, stdout=None) == BuildRequest(
        context="dir",
        dockerfile="x.Dockerfile",
        tags=("a:1", "b", "c"),
        target="t",
        build_args={"A": "1=2", "FROM_ENVIRONMENT": "value", "E": ""},
        labels={"k": "v", "empty": ""},
        annotations=("index:k=v",),
        platforms=("linux/amd64", "linux/arm64"),
        no_cache=True,
        no_cache_filter=("a", "b"),
        pull=True,
        cache_from=("user/app",),
        cache_to=("type=inline",),
        secrets=("id=s,src=f",),
        ssh=("default",),
        build_contexts={"n": "dir"},
        allow=("network.host", "security.insecure"),
        volumes=("/a:/b",),
        outputs=("type=tar,dest=x", "out"),
        attests=("type=sbom", "type=provenance,mode=max"),
        network="none",
        add_hosts=("h:1.2.3.4",),
        shm_size=64 << 20,
        ulimits=("nofile=10",),
        memory=1 << 30,
        memory_swap=-1,
        cpu_shares=512,
        cpu_period=1,
        cpu_quota=2,
        cpuset_cpus="0",
        cpuset_mems="0",
        cgroup_parent="p",
        security_opts=("label=x",),
        debug=True,
    )


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked("build", ".") == BuildRequest()
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/arm64")
    assert asked("build", ".").platforms == ("linux/arm64",)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked("build", "-").stdin is not None
    assert asked("build", "-f", "-", ".").dockerfile == "-"
    assert cli.main(["build", "-f-", "-"]) == 1


def test_proxies_of_the_users_configuration(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text(
        '{"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "x"}, "h": {"httpsProxy": "y"}}}'
    )
    assert asked("build", ".").proxies == {
        "HTTP_PROXY": "http://p:1", "http_proxy": "http://p:1", "NO_PROXY": "x", "no_proxy": "x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 1, "ERROR: \"pyd build\" requires exactly 1 argument.\nSee 'pyd build --help'."),
        ((".", "."), 1, "requires exactly 1 argument"),
        (("--nonsense", "."), 125, "ERROR: unknown flag: --nonsense"),
        (("--squash", "."), 125, "--squash is not supported"),
        (("--disable-content-trust=false", "."), 125, "pyd verifies digests, but no signatures"),
        (("--builder", "mine", "."), 1, 'no builder "mine" found'),
        (("--progress=fancy", "."), 1, "invalid progress mode fancy"),
        (("--progress=plain", "-q", "."), 1, "progress=plain and quiet cannot be used together"),
        (("--progress=tty", "."), 1, "failed to get console"),
        (("--build-context", "x", "."), 1, "invalid context value: x, expected key=value"),
        (("--attest", "type=sbom", "--sbom=true", "."), 1, "duplicate attestation field sbom"),
        (("--attest", "mode=max", "."), 1, "attestation type not specified"),
        (("-o", "out", "--iidfile", "x", "."), 1, "local and tar exporters are incompatible"),
        (("--isolation", "hyperv", "."), 125, "must be one of"),
        (("--shm-size", "much", "."), 125, "invalid size"),
        (("--call=nonsense", "."), 1, "invalid call 'nonsense'"),
        (("--check", "--call=outline", "."), 1, "conflicting options"),
    ],
)
def test_mistakes(words: tuple[str, ...], code: int, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", *words]) == code
    captured = capfd.readouterr()
    assert message in captured.err and not captured.out
    assert not building.asked


def test_output_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", "--progress=plain", "."]) == 0
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "#2 [2/2] RUN make\n" in captured.err
    assert "1 warning found (use pyd --debug to expand):\n - StageNameCasing: Stage name" in captured.err


@pytest.mark.parametrize("flag", ["-q", "--progress=quiet"])
def test_quiet_prints_the_id(flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", flag, "."]) == 0
    assert capfd.readouterr() == (f"{building.ID}\n", "")


def test_progress_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BUILDKIT_PROGRESS", "rawjson")
    assert cli.main(["build", "."]) == 0
    assert all(json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert cli.main(["build", "--progress=none", "."]) == 0
    assert capfd.readouterr() == ("", "")


def test_failure(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_BUILD", "fail")
    (tmp_path / "id").write_text("of an earlier build")
    assert cli.main(["build", "--iidfile", str(tmp_path / "id"), "."]) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(
        "------\n"
        "Dockerfile:2\n"
        "--------------------\n"
        "   1 |     FROM alpine\n"
        "   2 | >>> RUN make\n"
        "--------------------\n"
        'ERROR: failed to build: failed to solve: process "/bin/sh -c make" did not complete successfully: '
        "exit code: 2\n"
        "hint: look\n"
    )
    assert "------\n > [2/2] RUN make:\n" in captured.err
    assert not (tmp_path / "id").exists()
    assert cli.main(["build", "-q", "."]) == 1
    assert capfd.readouterr().out == ""


def test_an_error_that_shows_its_lines(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Wrong(PydError):
        def render(self) -> str:
            return "Dockerfile:1\n   1 | >>> FORM \x1b[2Jx"

    def build(*_: object) -> None:
        raise Wrong("Dockerfile:1:1: unknown instruction: FORM")

    monkeypatch.setattr(Engine, "build", build)
    assert cli.main(["build", "."]) == 1
    assert capfd.readouterr().err == (
        "Dockerfile:1\n   1 | >>> FORM x\n"
        "ERROR: failed to build: failed to solve: Dockerfile:1:1: unknown instruction: FORM\n"
    )


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def build(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "build", build)
    assert cli.main(["build", "."]) == 130
    assert "canceled" in capfd.readouterr().err


def test_files_that_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iid, metadata = tmp_path / "id", tmp_path / "metadata"
    metadata.symlink_to(tmp_path / "elsewhere")
    words = ["build", "-t", "a", "--iidfile", str(iid), "--metadata-file", str(metadata), "."]
    assert cli.main(words) == 0
    assert iid.read_text() == building.ID
    document = json.loads(metadata.read_text())
    assert document == {"containerimage.config.digest": building.ID, "image.name": "a"}
    assert metadata.is_symlink()
    monkeypatch.setenv("BUILDX_METADATA_WARNINGS", "1")
    assert cli.main(words) == 0
    assert json.loads(metadata.read_text())["buildx.build.warnings"][0]["short"].startswith("StageName")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "id", "metadata"]


def test_another_builder_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BUILDX_BUILDER", "cloud")
    assert cli.main(["buildx", "--builder=default", "build", "."]) == 0
    assert "WARNING" not in capfd.readouterr().err
    assert cli.main(["build", "."]) == 0
    assert "WARNING: BUILDX_BUILDER=cloud does not apply" in capfd.readouterr().err
    assert cli.main(["buildx", "--builder", "cloud", "build", "."]) == 1


@pytest.mark.parametrize(
    ("outputs", "push", "load", "result"),
    [
        ([], False, False, ()),
        ([], True, False, ("type=registry",)),
        ([], False, True, ("type=docker",)),
        ([], True, True, ("type=registry", "type=docker")),
        (["type=image,name=a"], True, False, ("type=image,name=a,push=true",)),
        (["type=registry"], True, False, ("type=registry",)),
        (["out"], True, True, ("out", "type=registry", "type=docker")),
        (["type=docker,dest=x"], False, True, ("type=docker,dest=x",)),
    ],
)
def test_push_and_load(outputs: list[str], push: bool, load: bool, result: tuple[str, ...]) -> None:
    assert with_push(outputs, push=push, load=load) == result


def test_attests() -> None:
    assert attests([], "true", "false") == ("type=provenance", "type=sbom,disabled=true")
    assert attests(["type=sbom"], "mode=max,version=v1", None) == (
        "type=sbom", "type=provenance,mode=max,version=v1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "name", "options"),
    [
        ([], "build", {}),
        (["--check"], "check", {}),
        (["--call=lint"], "check", {}),
        (["--call=check,format=json,ignorestatus=true"], "check", {"format": "json", "ignorestatus": True}),
        (["--call", "type=outline,format=text"], "outline", {"format": "text"}),
    ],
)
def test_calls(words: list[str], name: str, options: dict[str, object]) -> None:
    command, path, rest = cli.find(["build", *words, "."])
    assert command is not None
    assert call(parse(command, rest, path)) == (name, options)


class Screen:
    """As much of a terminal as the display uses."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.lines = [""]
        self.line = self.column = 0
        self.highest = 0  # how far up the cursor went above the last line, in rows

    def feed(self, text: str) -> None:
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+|\x1b", text):
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self.line, self.column = self.line + 1, 0
                if self.line == len(self.lines):
                    self.lines.append("")
            elif part.startswith("\x1b["):
                self.control(part[2:-1], part[-1])
            else:
                assert part != "\x1b", "a sequence that the display does not use"
                old = self.lines[self.line].ljust(self.column)
                self.lines[self.line] = old[: self.column] + part + old[self.column + len(part) :]
                self.column += len(part)

    def control(self, number: str, letter: str) -> None:
        if letter == "A":
            self.line -= int(number)
            self.highest = max(self.highest, len(self.lines) - self.line)
            assert self.line >= 0
        elif letter == "K":
            self.lines[self.line] = self.lines[self.line][: self.column]
        elif letter == "J":
            self.lines[self.line] = self.lines[self.line][: self.column]
            del self.lines[self.line + 1 :]
        else:
            assert letter in "mhl", letter


@pytest.mark.parametrize("rows", [24, 6])
def test_a_real_terminal(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was written, played on a screen: each step is there once, in its place."""
    monkeypatch.setenv("FAKE_BUILD_SECONDS", "0.4")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PYTHONPATH", f"{TOP / 'python'}:{TOP}")
    terminal = Terminal(
        [sys.executable, "-m", "tests.fakes.building", "build", "--progress=tty", "."], rows, 80
    )
    text = terminal.expect("should be lowercase (line 1)\r\n")
    assert terminal.close() == 0
    screen = Screen(rows)
    screen.feed(text)
    assert screen.highest <= rows
    lines = [line.rstrip() for line in screen.lines]
    assert re.fullmatch(r"\[\+\] Building \d+\.\ds \(2/2\) FINISHED +pyd:default", lines[0])
    assert re.fullmatch(r" => \[1/2\] FROM alpine +\d+\.\ds", lines[1])
    assert re.fullmatch(r" => \[2/2\] RUN make +\d+\.\ds", lines[2])
    assert lines[3:5] == ["", " 1 warning found (use pyd --debug to expand):"]
    assert re.search(r"=> => # line \d", text), "the output of the running step was shown"
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 4


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("PYTHONPATH", f"{TOP / 'python'}:{TOP}")
    terminal = Terminal([sys.executable, "-m", "tests.fakes.building", "build", "."])
    text = terminal.expect("should be lowercase (line 1)\r\n")
    assert terminal.close() == 0
    assert "#2 [2/2] RUN make" in text and "\x1b[?25l" not in text


def test_what_a_build_imports() -> None:
    """Half of what an unchanged build takes is imports."""
    code = (
        "import sys; from pyd.cli.main import find; from pyd.cli import build_display; find(['build', '.']);"
        "build_display.display('plain'); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {
        "httpx",
        "asyncio",
        "tqdm",
        "typer",
        "click",
        "dataclasses",
        "inspect",
        "json",
        "typing",
    }


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("build", "--target", ""), ["base", "final"]),
        (("build", "--target", "f"), ["final"]),
        (("build", "--target=b"), ["--target=base"]),
        (("build", "--target", "=", "b"), ["base"]),  # as bash breaks words
        (("build", "--target", "="), ["base", "final"]),
        (("buildx", "build", "-f", "Other", "--no-cache-filter", ""), ["only"]),
        (("build", "--file=Other", ".", "--target", ""), ["only"]),
        (("image", "build", "--build-arg", "V"), ["VERSION="]),
        (("build", "-t", "x", "--progress", "p"), ["plain"]),
        (("build", "--platform=lo"), ["--platform=local"]),
        (("build", "--builder", ""), ["default"]),
        (("build", "--metad"), ["--metadata-file"]),
        (("build", "nowhere", "--target", ""), []),
        (("build", ""), []),  # directories: the shell's own
        (("buildx", "d"), ["du"]),
        (("build-cache", ""), ["ls", "prune"]),
    ],
)
def test_completion(
    words: tuple[str, ...],
    found: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "Dockerfile").write_text("ARG VERSION\nFROM a AS base\nARG OTHER\nFROM base AS final\n")
    (tmp_path / "Other").write_text("FROM a AS only\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["__complete", *words]) == 0
    assert capfd.readouterr().out.splitlines() == found


def test_completion_of_a_broken_dockerfile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Dockerfile").write_text("FORM a\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["__complete", "build", "--target", ""]) == 0
    assert capfd.readouterr() == ("", "")
