"""containerd in a world of its own (see dockerd.py), and its client with pyd-runtime as the runc binary."""

from __future__ import annotations

from pathlib import Path

from tests.support.command import Result, Terminal, find_program, run_client, wait_until
from tests.support.dockerd import RUNTIME, Daemon
from tests.support.registry import skopeo

# the part for Kubernetes takes a second to start and is not used
CONFIG = """version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
"""


class Containerd:
    """A containerd. `ctr(...)` runs the client in its namespaces, where the FIFOs of the output are."""

    def __init__(self, directory: Path, cgroup_parent: str) -> None:
        daemon, client = find_program("containerd"), find_program("ctr")
        assert daemon and client, "containerd is not installed (sh tests/setup.sh)"
        self.client = client
        self.cgroup_parent = cgroup_parent
        self.socket = directory / "containerd.sock"
        self.state = directory / "runtime"
        self._terminals: list[Terminal] = []
        config = directory.with_suffix(".toml")
        config.write_text(CONFIG)
        places = ("--root", str(directory / "root"), "--state", str(directory / "state"))
        command = [daemon, "--config", str(config), *places, "--address", str(self.socket)]
        self.daemon = Daemon(directory, command)
        try:
            wait_until(lambda: self("version", code=None).code == 0, 20)
        except AssertionError:
            log = self.daemon.log
            self.close()
            raise AssertionError(f"containerd did not start: {log}") from None

    def command(self, *args: object) -> list[str]:
        return self.daemon.enter(self.client, "--address", str(self.socket), *(str(arg) for arg in args))

    def __call__(self, *args: object, code: int | None = 0, input: str | None = None) -> Result:
        __tracebackhide__ = True
        return run_client("ctr", self.command(*args), code=code, input=input, shown=args)

    def run_words(self, name: str, *options: object) -> list[object]:
        """`run` with pyd-runtime as the runc of the shim, up to the image."""
        return [
            *("run", "--runtime", "io.containerd.runc.v2", "--runc-binary", RUNTIME),
            *("--runc-root", self.state, "--cgroup", f"{self.cgroup_parent}/{name}", *options),
        ]

    def run(
        self, name: str, options: list[object], *command: object, code: int = 0, input: str | None = None
    ) -> Result:
        words = [*self.run_words(name, *options), "docker.io/library/busybox:latest", name, *command]
        return self(*words, code=code, input=input)

    def output(self, name: str, options: list[object], script: str) -> str:
        """What a shell script prints. ctr loses, with any runtime, what is over before it has opened the
        FIFO of the output.
        """
        return self.run(name, ["--rm", *options], "sh", "-c", f"sleep 0.2; {script}").out

    def exec_output(self, name: str, exec_id: str, script: str, *options: object) -> str:
        words = ["task", "exec", "--exec-id", exec_id, *options, name, "sh", "-c", f"sleep 0.2; {script}"]
        return self(*words).out

    def terminal(self, *args: object) -> Terminal:
        terminal = Terminal(self.command(*args))
        self._terminals.append(terminal)
        return terminal

    def load(self, layout: Path, name: str) -> None:
        archive = self.daemon.directory / f"{name}.tar"
        reference = f"docker.io/library/{name}:latest"
        skopeo("copy", "--quiet", f"oci:{layout}:latest", f"docker-archive:{archive}:{reference}")
        self("image", "import", archive)
        archive.unlink()

    def status(self, name: str) -> str:
        """RUNNING, PAUSED, STOPPED, or nothing when there is no task."""
        lines = [line.split() for line in self("task", "ls").lines[1:]]
        return next((words[2] for words in lines if words[0] == name), "")

    def remove_containers(self) -> None:
        for terminal in self._terminals:
            terminal.end()
        self._terminals.clear()
        for name in self("container", "ls", "-q").lines:
            self("task", "rm", "-f", name, code=None)
            self("container", "rm", name)

    def close(self) -> None:
        self.daemon.close(self.cgroup_parent)
        self.daemon.directory.with_suffix(".toml").unlink(missing_ok=True)
