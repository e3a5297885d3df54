"""pyd version, pyd info, pyd doctor."""

from __future__ import annotations

import sys
from typing import Any

from pyd.cli.command import BOOL, TEXT, Args, Command, Option
from pyd.engine import system
from pyd.engine.engine import Engine
from pyd.sizes import binary_size


def version(args: Args) -> int:
    found = system.version()
    form = args.text("format")
    if args.flag("short"):
        print(f"pyd version {found['Client']['Version']}")
        return 0
    if form:
        _print(found, form)
        return 0
    client = found["Client"]
    print(f"pyd {client['Version']}: embedded engine, no daemon")
    for title, key in (
        ("API version", "ApiVersion"),
        ("Python version", "PythonVersion"),
        ("Kernel version", "KernelVersion"),
    ):
        print(f" {title + ':':<16} {client[key]}")
    print(f" {'OS/Arch:':<16} {client['Os']}/{client['Arch']}")
    return 0


def _print(value: dict[str, Any], form: str) -> None:
    from pyd.cli.human import print_documents

    print_documents([value], "json" if form == "json" else form)


def info(args: Args) -> int:
    found = system.info(Engine())
    if args.text("format"):
        _print(found, args.text("format") or "")
        return 0
    lines = [
        ("Containers", found["Containers"]),
        (" Running", found["ContainersRunning"]),
        (" Paused", found["ContainersPaused"]),
        (" Stopped", found["ContainersStopped"]),
        ("Images", found["Images"]),
        ("Server Version", found["ServerVersion"]),
        ("Storage Driver", found["Driver"]),
        ("Logging Driver", found["LoggingDriver"]),
        ("Cgroup Driver", found["CgroupDriver"]),
        ("Cgroup Version", f"{found['CgroupVersion']} ({found['CgroupMode']})"),
        ("Cgroup Parent", found["CgroupParent"]),
        ("Runtime", found["Runtimes"]["pyd"]["path"]),
        ("Security Options", ", ".join(found["SecurityOptions"])),
        ("Kernel Version", found["KernelVersion"]),
        ("Operating System", found["OperatingSystem"]),
        ("Architecture", found["Architecture"]),
        ("CPUs", found["NCPU"]),
        ("Total Memory", binary_size(found["MemTotal"])),
        ("Name", found["Name"]),
        ("Root Dir", found["DockerRootDir"]),
        ("Run Dir", found["RunRoot"]),
    ]
    for title, value in lines:
        print(f"{title}: {value}")
    sys.stdout.flush()
    for warning in found["Warnings"] or ():
        sys.stderr.write(f"WARNING: {warning}\n")
    return 0


_MARKS = {"ok": "ok      ", "degraded": "DEGRADED", "missing": "MISSING "}


def doctor(args: Args) -> int:
    """Exit status 1 when something is missing without which no container runs."""
    checks = system.doctor(Engine())
    if args.text("format"):
        documents = [
            {"Name": one.name, "State": one.state, "Found": one.found, "Remedy": one.remedy} for one in checks
        ]
        from pyd.cli.human import print_documents

        print_documents(documents, args.text("format"))
    else:
        for one in checks:
            print(f"{_MARKS[one.state]}  {one.name}: {one.found}")
            if one.remedy:
                print(f"{'':10}remedy: {one.remedy}")
    return 1 if any(one.state == "missing" for one in checks) else 0


_FORMAT = Option("format", TEXT, "Go template, or json", short="f")
COMMANDS = {
    "version": Command(
        "version",
        version,
        "Show the version.",
        (_FORMAT, Option("short", BOOL, "One line")),
    ),
    "info": Command("info", info, "Show what this engine and its host are.", (_FORMAT,)),
    "doctor": Command("doctor", doctor, "Check what this host offers for containers.", (_FORMAT,)),
}
