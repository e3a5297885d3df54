"""`bake` with a fake engine: targets side by side, one as context of another, what is shown and allowed."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pyd.build.events import Step, Watcher
from pyd.build.request import BuildRequest
from pyd.build.result import BuildResult
from pyd.cli import main as cli
from pyd.engine import bake, bake_access
from pyd.engine.bake import Listed, Plan
from pyd.engine.engine import Engine
from pyd.errors import Cancelled, InvalidArgument, PydError

Fake = Callable[[BuildRequest, Watcher], None]


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BUILDKIT_PROGRESS", "BUILDX_BUILDER", "BUILDX_BAKE_ENTITLEMENTS_FS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYD_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("PYD_RUN_ROOT", str(tmp_path / "run"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


class Faked:
    """An engine whose builds are functions, and what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, requests: Mapping[str, BuildRequest]) -> None:
        self.asked: dict[str, BuildRequest] = {}
        self.builds: dict[str, Fake] = {}
        self.read: list[Any] = []
        self.requests = requests
        self.wanted = tuple(requests)
        monkeypatch.setattr(Engine, "build", self._build)
        monkeypatch.setattr(bake, "read", self._read)
        monkeypatch.setattr(bake, "listed", self._listed)

    def _read(self, *args: Any, **named: Any) -> Plan:
        self.read.append(args)
        return Plan(self.requests, self.wanted, {"target": {}})

    def _listed(self, *_: object, **__: object) -> Listed:
        rows = [{"name": name, "description": f"about {name}"} for name in self.requests]
        return Listed(rows, [{"name": "V", "value": "1"}])

    def _build(self, request: BuildRequest, watcher: Watcher) -> BuildResult:
        name = request.target
        self.asked[name] = request
        step = Step(id=1, name="[a 1/1] RUN x", line=2)
        watcher.reads("Dockerfile", ["FROM x", f"RUN {name}"])
        watcher.begins(step)
        try:
            if name in self.builds:
                self.builds[name](request, watcher)
        except BaseException as error:
            watcher.ends(step, error)
            raise
        watcher.ends(step)
        watcher.finishes()
        return BuildResult(id=f"sha256:{name}", metadata={"image.name": name})


def test_targets_are_built_side_by_side(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    faked = Faked(monkeypatch, {name: BuildRequest(target=name) for name in ("web", "db")})
    both = threading.Barrier(2, timeout=10)

    def meet(*_: object) -> None:
        both.wait()

    faked.builds = dict.fromkeys(("web", "db"), meet)
    metadata = tmp_path / "metadata.json"
    words = [
        "buildx",
        "bake",
        "-f",
        "a.hcl",
        "--set",
        "web.tags=x",
        "--push",
        "--no-cache=false",
        "--sbom=true",
    ]
    assert cli.main([*words, "--metadata-file", str(metadata), "web", "db"]) == 0
    files, sets, targets, _ = faked.read[0]
    assert (files, targets) == (["a.hcl"], ["web", "db"])
    assert sets == ["web.tags=x", "*.push=true", "*.no-cache=false", "*.attest=type=sbom"]
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "[web a 1/1] RUN x\n" in captured.err and "[db a 1/1] RUN x\n" in captured.err
    assert json.loads(metadata.read_text()) == {"db": {"image.name": "db"}, "web": {"image.name": "web"}}


def test_the_default_target(monkeypatch: pytest.MonkeyPatch) -> None:
    faked = Faked(monkeypatch, {"default": BuildRequest()})
    assert cli.main(["bake"]) == 0
    assert faked.read[0][2] == ["default"]


def test_a_target_is_the_context_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = {
        "app": BuildRequest(target="app", build_contexts={"base": "target:base", "lib": "target:lib"}),
        "base": BuildRequest(target="base", outputs=("type=cacheonly",)),
        "lib": BuildRequest(target="lib"),
    }
    faked = Faked(monkeypatch, requests)
    faked.wanted = ("app", "lib")
    done: list[str] = []
    faked.builds = {name: (lambda request, _: done.append(request.target)) for name in requests}
    assert cli.main(["bake", "app", "lib"]) == 0
    assert done[-1] == "app"
    base, lib, app = (faked.asked[name] for name in ("base", "lib", "app"))
    # not wanted for itself: only a context
    assert base.outputs[0] == "type=cacheonly" and lib.outputs[0] == "type=docker" and not app.outputs
    for request, name in ((base, "base"), (lib, "lib")):
        layout = app.build_contexts[name].removeprefix("oci-layout://")
        assert request.outputs[1] == f"type=oci,tar=false,compression=uncompressed,dest={layout}"
    assert not os.path.exists(os.path.dirname(layout)), "nothing is left of the contexts"


def test_the_first_failure_stops_the_others(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    requests = {name: BuildRequest(target=name) for name in ("bad", "slow")}
    requests["after"] = BuildRequest(target="after", build_contexts={"x": "target:bad"})
    faked = Faked(monkeypatch, requests)
    runs, stopped = threading.Event(), threading.Event()

    def slow(_: BuildRequest, watcher: Watcher) -> None:
        watcher.starts(stopped.set)
        runs.set()
        assert stopped.wait(10)
        raise Cancelled("the build was cancelled")

    def bad(*_: object) -> None:
        assert runs.wait(10)
        error = PydError("process did not complete successfully: exit code: 1", "look")
        error.line = 2  # type: ignore[attr-defined]
        raise error

    faked.builds = {"bad": bad, "slow": slow}
    assert cli.main(["bake"]) == 1
    error = capfd.readouterr().err
    assert "   2 | >>> RUN bad\n" in error
    assert error.endswith(
        "ERROR: failed to build: target bad: failed to solve: process did not complete successfully: "
        "exit code: 1\nhint: look\n"
    )
    assert "CANCELED" in error
    assert "after" not in faked.asked


def test_targets_that_need_each_other(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Faked(
        monkeypatch,
        {
            "a": BuildRequest(build_contexts={"x": "target:b"}),
            "b": BuildRequest(build_contexts={"x": "target:a"}),
        },
    )
    assert cli.main(["bake"]) == 1
    assert "ERROR: targets need each other: a -> b -> a" in capfd.readouterr().err
    Faked(monkeypatch, {"a": BuildRequest(build_contexts={"x": "target:nowhere"})})
    assert cli.main(["bake"]) == 1
    assert "failed to find target nowhere" in capfd.readouterr().err


def test_print_and_list(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    faked = Faked(monkeypatch, {"web": BuildRequest()})
    assert cli.main(["bake", "--print"]) == 0
    assert json.loads(capfd.readouterr().out) == {"target": {}}
    assert cli.main(["bake", "--list=targets"]) == 0
    assert capfd.readouterr().out.splitlines() == ["TARGET   DESCRIPTION", "web      about web"]
    assert cli.main(["bake", "--list", "type=variables,format=json"]) == 0
    assert json.loads(capfd.readouterr().out) == [{"name": "V", "value": "1"}]
    assert cli.main(["bake", "--list-variables"]) == 0
    assert capfd.readouterr().out.splitlines()[0].split() == ["VARIABLE", "VALUE", "DESCRIPTION"]
    assert cli.main(["bake", "--list=nonsense"]) == 1
    assert cli.main(["bake", "--list=targets", "--print"]) == 1
    assert cli.main(["bake", "https://example.com/repo.git", "web"]) == 1
    assert "are not supported" in capfd.readouterr().err
    assert not faked.asked


def test_what_is_outside_has_to_be_allowed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    (tmp_path / "work/link").symlink_to(secret)
    request = BuildRequest(
        secrets=("id=a,src=link",), outputs=(f"type=local,dest={tmp_path}/out",), ssh=("default",)
    )
    faked = Faked(monkeypatch, {"web": request})
    assert cli.main(["bake"]) == 1
    error = capfd.readouterr().err
    assert f" - Read access to path {secret}\n" in error
    assert f" - Write access to path {tmp_path}/out\n" in error
    assert " - Forwarding default SSH agent socket\n" in error
    assert "ERROR: additional privileges requested" in error
    assert not faked.asked
    allowed = [f"--allow=fs.read={secret}", f"--allow=fs.write={tmp_path}", "--allow=ssh"]
    assert cli.main(["bake", *allowed]) == 0
    assert cli.main(["bake", "--allow", "fs=*", "--allow", "ssh"]) == 0
    monkeypatch.setenv("BUILDX_BAKE_ENTITLEMENTS_FS", "0")
    assert cli.main(["bake", "--allow", "ssh"]) == 0


@pytest.mark.parametrize(
    ("request_", "flags"),
    [
        (BuildRequest(), []),
        (BuildRequest(context="sub", dockerfile="x/Dockerfile"), []),
        (BuildRequest(context="https://example.com/a.git", dockerfile="/x"), ["fs.read=/x"]),
        (BuildRequest(context="https://example.com/a.git", dockerfile="x"), []),
        (BuildRequest(context=".."), ["fs.read={up}"]),
        (BuildRequest(dockerfile="../Dockerfile"), ["fs.read={up}/Dockerfile"]),
        (
            BuildRequest(build_contexts={"a": "/etc", "b": "target:x", "c": "docker-image://y"}),
            ["fs.read=/etc"],
        ),
        (BuildRequest(build_contexts={"a": "oci-layout:///srv/l:tag@sha256:00"}), ["fs.read=/srv/l:tag"]),
        (BuildRequest(secrets=("id=HOME,env=HOME", "id=x,type=env")), []),
        (BuildRequest(ssh=("a=/keys/1,/keys/2",)), ["fs.read=/keys/1", "fs.read=/keys/2"]),
        (BuildRequest(cache_from=("type=local,src=/c",)), ["fs.read=/c"]),
        (BuildRequest(cache_to=("type=local,dest=/c",), outputs=("/o", "-")), ["fs.write=/c", "fs.write=/o"]),
        (BuildRequest(allow=("security.insecure",), network="host"), ["security.insecure", "network.host"]),
        (BuildRequest(volumes=("/etc:/e:ro",)), ["fs.write=/etc"]),
    ],
)
def test_access(request_: BuildRequest, flags: list[str], tmp_path: Path) -> None:
    missing = bake_access.missing({"x": request_}, [], {})
    assert [one.flag for one in missing] == [flag.format(up=tmp_path) for flag in flags]


def test_wrong_allow() -> None:
    for text in ("fs", "nonsense", "ssh=x", "fs.read="):
        with pytest.raises(InvalidArgument, match="invalid entitlement"):
            bake_access.missing({}, [text], {})


FILE = """
variable "TAG" {
  default = "1"
  description = "of the images"
}
group "default" { targets = ["web", "db"] }
target "common" {
  args = { A = "x" }
}
target "web" {
  description = "the site"
  inherits = ["common"]
  tags = ["web:${TAG}"]
  contexts = { lib = "target:lib" }
}
target "db" {
  target = "db"
  entitlements = ["network.host"]
}
target "lib" { context = "lib" }
"""


def test_real_files(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    Path("docker-bake.hcl").write_text(FILE)
    asked: dict[str, BuildRequest] = {}

    def build(_: Engine, request: BuildRequest, watcher: Watcher) -> BuildResult:
        asked[request.context + request.target] = request
        return BuildResult(id="sha256:x")

    monkeypatch.setattr(Engine, "build", build)
    assert cli.main(["bake"]) == 1
    assert "Entitlement network.host" in capfd.readouterr().err
    assert (
        cli.main(["bake", "--allow", "network.host", "--set", "*.args.A=y", "--var", "TAG=2", "--push"]) == 0
    )
    web, db, lib = (asked[name] for name in (".", ".db", "lib"))
    assert (web.tags, web.build_args, db.build_args) == (("web:2",), {"A": "y"}, {"A": "y"})
    assert web.build_contexts["lib"].startswith("oci-layout:///")
    assert lib.outputs[0] == "type=cacheonly"
    assert web.outputs == db.outputs == ("type=image,push=true",)
    capfd.readouterr()
    assert cli.main(["bake", "--print", "web"]) == 0
    assert set(json.loads(capfd.readouterr().out)["target"]) == {"web", "lib"}
    assert cli.main(["bake", "--list=targets"]) == 0
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()[1:]] == [
        "common", "db", "default", "lib", "web",
    ]  # fmt: skip
    assert cli.main(["bake", "--list=variables"]) == 0
    assert capfd.readouterr().out.splitlines()[1].split() == ["TAG", "1", "of", "the", "images"]
    assert cli.main(["__complete", "bake", "w"]) == 0
    assert capfd.readouterr().out.splitlines() == ["web"]
    assert cli.main(["bake", "nonsense"]) == 1
    assert "failed to find target nonsense" in capfd.readouterr().err
