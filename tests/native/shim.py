"""Drives `pyd-runtime shim` without pyd: a bundle made by hand, report line, control socket, frames."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyd
from tests.support.command import wait_until

STDIN, STDOUT, STDERR, CONTROL = range(4)
APPLETS = [
    "cat",
    "echo",
    "head",
    "id",
    "ls",
    "nc",
    "seq",
    "setsid",
    "sh",
    "sleep",
    "stty",
    "true",
    "tty",
    "wc",
    "yes",
]
NAMESPACES = ("pid", "mount", "uts", "ipc", "network", "cgroup")
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"]
PATH = "PATH=/bin"


def runtime() -> str:
    return os.environ.get("PYD_RUNTIME") or str(Path(pyd.__file__).parent / "_bin" / "pyd-runtime")


def make_rootfs(directory: Path) -> Path:
    """The smallest root file system with a shell."""
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc"):
        (directory / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", directory / "bin/busybox")
    for name in APPLETS:
        (directory / "bin" / name).symlink_to("busybox")
    (directory / "bin/plain").write_text("not executable\n")
    (directory / "bin/plain").chmod(0o644)
    return directory


def process(*args: str, tty: bool = False, uid: int = 0) -> dict[str, Any]:
    """An OCI process object."""
    sets = ("bounding", "effective", "permitted")
    return {
        "terminal": tty,
        "user": {"uid": uid, "gid": uid},
        "args": list(args),
        "env": [PATH, "TERM=xterm"],
        "cwd": "/",
        "capabilities": dict.fromkeys(sets, CAPABILITIES),
    }


def mount(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}


def spec(rootfs: Path, cgroup: str, **process_options: Any) -> dict[str, Any]:
    args = process_options.pop("args")
    return {
        "ociVersion": "1.2.0",
        "process": process(*args, **process_options),
        "root": {"path": str(rootfs), "readonly": True},
        "hostname": "shimtest",
        "mounts": [
            mount("/proc", "proc", "nosuid", "noexec", "nodev"),
            mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755"),
            mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
            mount("/tmp", "tmpfs", "nosuid", "nodev"),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": name} for name in NAMESPACES],
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
        },
    }


class ShimError(Exception):
    """The error object of a report or an answer."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.error = error


def script(*lines: str) -> tuple[str, str, str]:
    """The arguments for a shell script."""
    return ("/bin/sh", "-c", "\n".join(lines))


def host_pid(config: Any) -> None:
    """Takes the pid namespace out of a spec."""
    linux = config["linux"]
    linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "pid"]
    # proc of the host's pid namespace cannot be mounted with mount options of ours, and is not needed
    config["mounts"] = [each for each in config["mounts"] if each["destination"] != "/proc"]
    linux["maskedPaths"] = linux["readonlyPaths"] = []


@dataclass
class Stream:
    """A connection with frames."""

    socket: socket.socket
    seen: bytes = b""
    output: dict[int, bytes] = field(default_factory=lambda: {STDOUT: b"", STDERR: b""})
    exit: dict[str, Any] | None = None

    def send(self, data: bytes, stream: int = STDIN) -> None:
        self.socket.sendall(struct.pack(">BxxxI", stream, len(data)) + data)

    def end_stdin(self) -> None:
        self.send(b"")

    def resize(self, rows: int, columns: int) -> None:
        self.send(json.dumps({"resize": [rows, columns]}).encode(), CONTROL)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Every frame up to the end of the connection."""
        while True:
            header = self._exactly(8)
            if not header:
                return
            stream, length = struct.unpack(">BxxxI", header)
            yield stream, self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        while len(self.seen) < length:
            data = self.socket.recv(65536)
            if not data:
                assert not self.seen, f"the connection ended inside a frame: {self.seen!r}"
                return b""
            self.seen += data
        data, self.seen = self.seen[:length], self.seen[length:]
        return data

    def until(self, text: bytes, stream: int = STDOUT) -> bytes:
        """Collects output until `text` is in it."""
        for kind, data in self.frames():
            assert kind in self.output, (kind, data)
            self.output[kind] += data
            if text in self.output[stream]:
                return self.output[stream]
        raise AssertionError(f"ended without {text!r}: {self.output}")

    def finish(self) -> tuple[bytes, bytes, dict[str, Any]]:
        """Collects everything; stdout, stderr and the exit object of the last frame."""
        for kind, data in self.frames():
            assert self.exit is None, "a frame came after the exit frame"
            if kind == CONTROL:
                self.exit = json.loads(data)["exit"]
            else:
                self.output[kind] += data
        assert self.exit is not None, f"no exit frame after {self.output}"
        self.socket.close()
        return self.output[STDOUT], self.output[STDERR], self.exit

    def close(self) -> None:
        self.socket.close()


@dataclass
class Shim:
    """One monitor and its container."""

    directory: Path
    child: subprocess.Popen[bytes]
    report: dict[str, Any]
    stream: Stream | None
    sockets: list[socket.socket]

    @property
    def pid(self) -> int:
        return int(self.report["pid"])

    @property
    def run_dir(self) -> Path:
        return self.directory / "run"

    @property
    def exit_file(self) -> Path:
        return self.directory / "exit.json"

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        self.sockets.append(connection)
        connection.settimeout(20)
        directory = os.open(self.run_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            connection.connect(f"/proc/self/fd/{directory}/shim.sock")
        finally:
            os.close(directory)
        return connection

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        with self.connect() as connection:
            return answer(connection, {"op": op, **fields})

    def attach(self, stdin: bool = False, stdout: bool = True, stderr: bool = True) -> Stream:
        connection = self.connect()
        answer(connection, {"op": "attach", "stdin": stdin, "stdout": stdout, "stderr": stderr})
        return Stream(connection)

    def exec(self, *args: str, stdin: bool = False, exec_id: str = "e", **options: Any) -> Stream:
        connection = self.connect()
        request = {"op": "exec", "exec_id": exec_id, "process": process(*args, **options), "stdin": stdin}
        answer(connection, request)
        return Stream(connection)

    def wait(self) -> dict[str, Any]:
        """Until the monitor has ended; its exit record."""
        assert self.child.wait(20) == 0
        record: dict[str, Any] = json.loads(self.exit_file.read_text())
        return record

    def log(self) -> list[dict[str, str]]:
        names = sorted(self.directory.glob("x-json.log*"), key=lambda path: path.name, reverse=True)
        return [json.loads(line) for path in names for line in path.read_text().splitlines()]

    def logged(self, stream: str = "stdout") -> str:
        return "".join(line["log"] for line in self.log() if line["stream"] == stream)

    def memory(self, kind: str = "Rss") -> int:
        """Kilobytes."""
        for line in Path(f"/proc/{self.child.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1])
        raise AssertionError(kind)


def answer(connection: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    connection.sendall(json.dumps(request).encode() + b"\n")
    line = b""
    # one byte at a time: frames may follow the line at once
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        assert byte, f"closed without an answer to {request}"
        line += byte
    result: dict[str, Any] = json.loads(line)
    if "error" in result:
        raise ShimError(result["error"])
    assert result.pop("ok") is True
    return result


class Shims:
    """Starts monitors in directories of their own, and ends those that a test left."""

    def __init__(self, directory: Path, cgroup_parent: str) -> None:
        self.directory = directory
        self.cgroup_parent = cgroup_parent
        self.rootfs = make_rootfs(directory / "rootfs")
        self.started: list[subprocess.Popen[bytes]] = []
        self.sockets: list[socket.socket] = []
        self.last = directory

    def __call__(self, *args: str, attach: bool = True, **options: Any) -> Shim:
        """Starts `args`; ShimError when that fails. The options are those of `prepare`."""
        return self.spawn(self.prepare(*args, **options), attach)

    def prepare(
        self,
        *args: str,
        stdin: bool = False,
        once: bool = True,
        log: dict[str, Any] | None = None,
        edit: Any = None,
        shim_json: dict[str, Any] | None = None,
        **options: Any,
    ) -> Path:
        """The directory of a container, named by its id. `edit` may change the OCI spec."""
        identity = secrets.token_hex(32)
        directory = self.last = self.directory / identity
        run = directory / "run"
        run.mkdir(parents=True)
        config = spec(self.rootfs, f"{self.cgroup_parent}/{identity}", args=args, **options)
        if edit:
            edit(config)
        (run / "config.json").write_text(json.dumps(config))
        monitor = {
            "id": identity,
            "run_dir": str(run),
            "exit_file": str(directory / "exit.json"),
            "durable": False,
            "log": {"driver": "json-file", "path": str(directory / "x-json.log")} | (log or {}),
            "stdin": {"open": stdin, "once": once},
            "network": None,
        }
        (run / "shim.json").write_text(json.dumps(monitor | (shim_json or {})))
        return directory

    def spawn(self, directory: Path, attach: bool = False) -> Shim:
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        reader, writer = os.pipe()
        command = [runtime(), "shim", "--bundle", str(directory / "run"), "--report-fd", str(writer)]
        if attach:
            command += ["--attach-fd", str(theirs.fileno())]
        child = subprocess.Popen(
            command,
            pass_fds=(writer, theirs.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            env={},
        )
        self.started.append(child)
        os.close(writer)
        theirs.close()
        with open(reader, "rb") as pipe:
            text = pipe.read()
        assert text.endswith(b"\n"), f"no report: {text!r}"
        report = json.loads(text)
        if "error" in report:
            assert child.wait(10) == 1
            ours.close()
            raise ShimError(report["error"])
        assert report["shim_pid"] == child.pid
        stream = Stream(ours) if attach else None
        if not attach:
            ours.close()
        self.sockets.append(ours)
        return Shim(directory, child, report, stream, self.sockets)

    def clean(self) -> None:
        for child in self.started:
            if child.poll() is None:
                child.kill()
                child.wait()
        for connection in self.sockets:
            connection.close()
        self.started.clear()
        self.sockets.clear()


def is_running(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except OSError:
        return False


def wait_gone(pid: int) -> None:
    wait_until(lambda: not is_running(pid), 5, f"process {pid} still runs")
