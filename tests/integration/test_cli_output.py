"""What is printed: columns, --format, --filter, -q, help, completion."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support.command import Pyd


@pytest.fixture
def pair(busybox: str, pyd: Pyd, name: str) -> tuple[str, str]:
    """A running and an ended container."""
    running, ended = f"{name[:40]}-up", f"{name[:40]}-down"
    pyd("run", "-d", "--name", running, "--label", "side=left", busybox, "sleep", "1000")
    pyd("run", "-d", "--name", ended, "--label", "side=right", busybox, "sh", "-c", "exit 3")
    pyd("wait", ended)
    return running, ended


def test_ps_columns(pair: tuple[str, str], pyd: Pyd) -> None:
    header, line = pyd("ps").lines
    assert re.split(r"\s{2,}", header.strip()) == [
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NAMES",
    ]
    assert re.search(
        r'^[0-9a-f]{12}\s+busybox\s+"sleep 1000"\s+.* ago\s+Up .*' + re.escape(pair[0]) + "$", line
    )


def test_ps_all_and_status(pair: tuple[str, str], pyd: Pyd) -> None:
    status = dict(line.split("|") for line in pyd("ps", "-a", "--format", "{{.Names}}|{{.Status}}").lines)
    assert status[pair[0]].startswith("Up ")
    assert re.fullmatch(r"Exited \(3\) .* ago", status[pair[1]])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (("status=exited",), "down"),
        (("status=running",), "up"),
        (("exited=3",), "down"),
        (("exited=0",), ""),
        (("label=side",), "up down"),
        (("label=side=left",), "up"),
        (("label=side=left", "label=side=right"), ""),
        (("status=running", "status=exited"), "up down"),
        (("name=-up$",), "up"),
        (("ancestor=busybox",), "up down"),
        (("ancestor=nosuch",), ""),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, tuple) else None,
)
def test_filters(pair: tuple[str, str], pyd: Pyd, filters: tuple[str, ...], expected: str) -> None:
    words = [word for text in filters for word in ("--filter", text)]
    out = pyd("ps", "-a", *words, "--format", "{{.Names}}").lines
    assert {line.rpartition("-")[2] for line in out} == set(expected.split())


def test_format_json_is_one_object_per_line(pair: tuple[str, str], pyd: Pyd) -> None:
    import json

    objects = [json.loads(line) for line in pyd("ps", "-a", "--format", "json").lines]
    assert {item["Names"] for item in objects} == set(pair)
    assert {item["State"] for item in objects} == {"running", "exited"}


def test_format_table(pair: tuple[str, str], pyd: Pyd) -> None:
    lines = pyd("ps", "-a", "--format", "table {{.ID}}\t{{.Names}}").lines
    assert lines[0].split() == ["CONTAINER", "ID", "NAMES"]
    assert len(lines) == 3


def test_inspect_formats(pair: tuple[str, str], pyd: Pyd) -> None:
    running, ended = pair
    assert pyd("inspect", "-f", "{{.State.Status}} {{.Name}}", running).out == f"running /{running}"
    assert pyd("inspect", "-f", '{{index .Config.Labels "side"}}', running, ended).lines == ["left", "right"]
    assert pyd("inspect", "-f", "{{json .State.ExitCode}}", ended).out == "3"
    assert pyd("inspect", "-f", "{{range .Config.Cmd}}[{{.}}]{{end}}", running).out == "[sleep][1000]"
    assert pyd("inspect", "-f", "{{if .State.Running}}yes{{else}}no{{end}}", ended).out == "no"
    assert pyd("inspect", "-f", "{{len .Mounts}}", running).out == "0"


def test_prefixes_of_ids(pair: tuple[str, str], pyd: Pyd) -> None:
    full = pyd("inspect", "-f", "{{.Id}}", pair[0]).out
    for length in (12, 6, 64):
        assert pyd("inspect", "-f", "{{.Id}}", full[:length]).out == full


def test_rename(pair: tuple[str, str], pyd: Pyd, name: str) -> None:
    pyd("rename", pair[0], f"{name}-new")
    assert pyd("inspect", "-f", "{{.Name}}", f"{name}-new").out == f"/{name}-new"
    assert "already in use" in pyd("rename", pair[1], f"{name}-new", code=1).stderr


def test_default_names_and_hostnames(busybox: str, pyd: Pyd) -> None:
    container = pyd("create", busybox).out
    assert re.fullmatch(r"/[a-z]+_[a-z]+\d?", pyd("inspect", "-f", "{{.Name}}", container).out)
    assert pyd("inspect", "-f", "{{.Config.Hostname}}", container).out == container[:12]


def test_errors_go_to_stderr_in_dockers_words(pyd: Pyd) -> None:
    result = pyd("stop", "nosuch", code=1)
    assert (result.stdout, result.stderr.splitlines()[0]) == (
        "",
        "Error response from daemon: No such container: nosuch",
    )


@pytest.mark.parametrize(
    "words", [(), ("run",), ("container", "run"), ("image", "ls"), ("volume", "create"), ("doctor",)]
)
def test_help_everywhere(pyd: Pyd, words: tuple[str, ...]) -> None:
    out = pyd(*words, "--help").stdout
    assert "Usage" in out
    assert "pyd" in out


@pytest.mark.parametrize(("shell", "check"), [("bash", ["bash", "-n"]), ("zsh", None), ("fish", None)])
def test_completion_scripts(pyd: Pyd, shell: str, check: list[str] | None) -> None:
    script = pyd("completion", shell).stdout
    assert "pyd" in script
    if check:
        assert subprocess.run(check, input=script, text=True, check=False).returncode == 0


def test_version_info_doctor(busybox: str, pyd: Pyd) -> None:
    assert "0.1.0" in pyd("version").stdout
    assert pyd("version", "--format", "{{.Client.Version}}").out == "0.1.0"
    info = pyd("info").stdout
    assert "Cgroup Version" in info and "Containers:" in info
    doctor = pyd("doctor", code=None)
    assert doctor.code in (0, 1) and "cgroup" in doctor.stdout.lower()


def test_image_ls_json_and_filters(busybox: str, pyd: Pyd) -> None:
    import json

    items = [
        json.loads(line) for line in pyd("images", "--format", "json", "--filter", "reference=busybox").lines
    ]
    assert [item["Repository"] for item in items] == ["busybox"]
    # other tests build images without names
    dangling = pyd("images", "-q", "--filter", "dangling=true").lines
    assert not {item["ID"] for item in items} & set(dangling)
    assert items[0]["ID"] in pyd("images", "-q", "--filter", "dangling=false").lines


def test_terminal_escapes_do_not_reach_the_terminal(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("create", "--name", name, "--label", "x=\x1b[31mred", busybox, "echo", "\x1b]0;title\x07")
    assert "\x1b" not in pyd("ps", "-a", "--no-trunc").stdout
