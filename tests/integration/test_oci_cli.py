"""The same command lines under runc and under pyd-runtime: exit status, output, and whether anything is said
on stderr. What differs on purpose says why in its row, and a row that no longer differs fails.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.images import builder
from tests.support.command import find_program, wait_until
from tests.support.dockerd import RUNTIME, remove_cgroups
from tests.support.world import World


@dataclass(frozen=True)
class Case:
    """One command line; `$R` is the runtime with its `--root`, and the bundle is the working directory."""

    line: str
    shape: str = "text"
    """What of the output is compared: all of its text, the keys of its JSON, or nothing."""
    differs: str = ""


def same(line: str, shape: str = "text") -> Case:
    return Case(line, shape)


NO_CONTAINER = [
    same("$R", "nothing"),
    same("$R --help", "nothing"),
    same("$R -h", "nothing"),
    same("$R help", "nothing"),
    same("$R help run", "nothing"),
    same("$R h run", "nothing"),
    same("$R run --help", "nothing"),
    same("$R exec -h", "nothing"),
    same("$R --version | grep -c '^[a-z-]* version '"),
    same("$R -v | grep -c '^spec: 1[.]'"),
    same("$R nosuch", "nothing"),
    same("$R --nosuch list", "nothing"),
    same("$R list --nosuch", "nothing"),
    same("$R -root /tmp/no-such-root list"),
    same("$R --root /tmp/no-such-root list"),
    same("$R --root=/tmp/no-such-root list -f json"),
    same("$R --root /tmp/no-such-root list -q"),
    same("$R list --format nosuch"),
    Case("$R --root / list -q", differs="refused, as runc 1.3 does"),
    Case("$R --root= list -q", differs="an empty path is refused, as runc 1.3 does"),
    same("$R --log-format nosuch list"),
    same("$R --log /no/such/file list"),
    same("$R --log log --log-format json list; cat log"),
    same(
        "$R --log log --log-format json state nosuch; cut -d: -f1,2 log; tail -n1 log | cut -c2-16", "nothing"
    ),
    same("""$R --log-format json state nosuch 2>&1 | grep -oE '"(level|msg)":"(error|container does not)'"""),
    same("$R --rootless=true list"),
    same("$R --rootless auto list"),
    Case("$R --rootless nosuch list", differs="a wrong value is refused by every command"),
    same("$R state nosuch"),
    same("$R state", "nothing"),
    same("$R state a b", "nothing"),
    same("$R state ''"),
    same("$R start nosuch"),
    same("$R kill nosuch"),
    same("$R kill", "nothing"),
    same("$R kill a b c", "nothing"),
    same("$R delete nosuch"),
    same("$R delete --force nosuch"),
    Case(
        "$R delete -f ../nosuch",
        differs="an id that leads out of --root is refused; runc removes what is there",
    ),
    same("$R exec", "nothing"),
    same("$R exec nosuch"),
    same("$R exec nosuch true"),
    same("$R exec --cap", "nothing"),
    same("$R ps nosuch"),
    same("$R pause nosuch"),
    same("$R resume nosuch"),
    same("$R events nosuch"),
    same("$R update nosuch"),
    same("$R checkpoint nosuch"),
    same("$R restore", "nothing"),
    same("$R list extra", "nothing"),
    same("$R features extra", "nothing"),
    same("$R features", "keys"),
    same("$R spec extra", "nothing"),
    same("$R spec"),
    same("$R spec --bundle /no/such/directory"),
    Case(
        "mkdir new && $R spec -b new && cat new/config.json",
        "keys",
        differs="no ambient capabilities, which have no effect without inheritable ones",
    ),
    same("mkdir less && $R spec --rootless -b less && grep -o '.type.: .user.' less/config.json"),
    same("$R create --bundle /no/such/directory c"),
    same("$R create", "nothing"),
    same("$R create a b", "nothing"),
    same("$R create 'a b'"),
    same("$R create ../a"),
    same("$R run --preserve-fds nosuch a", "nothing"),
    same("$R run --console-socket /no/such/socket a"),
    same("cd rootfs && $R run a"),
]

QUICK = [
    same("$R run c"),
    same("$R run --no-subreaper c"),
    same("$R run --no-pivot --no-new-keyring c"),
    same("$R run --bundle ../seven c"),
    same("$R run -b=../seven c"),
    same("$R run --keep c"),
    same("$R state c", "keys"),
    same("$R state c | grep -o 'status.: .[a-z]*'"),
    same("$R run c"),
    same("$R delete c"),
    same("$R run --pid-file pid c; tr 0-9 0 < pid | tr -s 0"),
    same("$R run --detach --pid-file pid c; ended; tr 0-9 0 < pid | tr -s 0; $R delete c"),
    same("$R create c; $R start c; ended; $R delete c"),
    Case("$R run --preserve-fds 1 c", differs="a descriptor that is not open is refused, as runc 1.2 does"),
    same("$R run --preserve-fds 1 c 3</dev/null"),
    same("echo in | $R run --bundle ../cat c"),
]

LIFE = [
    same("$R create c"),
    same("$R create c"),
    same("$R state c", "keys"),
    same("$R state c | grep -o 'status.: .[a-z]*'"),
    same("$R list", "table"),
    same("$R list --format json", "keys"),
    same("$R list -q"),
    same("$R exec c env | sort"),
    same("$R pause c"),
    same("$R resume c"),
    same("$R start c"),
    same("$R start c"),
    same("$R state c | grep -o 'status.: .[a-z]*'"),
    same("$R exec c sh -c 'exit 3'"),
    same("$R exec c nosuch"),
    same("$R exec c /etc"),
    same("$R exec c"),
    same("$R exec -e A=b -e A=c -e PATH=/bin c env | sort"),
    same("$R exec --user 5:7 --additional-gids 8 --additional-gids 9 c id"),
    Case("$R exec -g 8 --additional-gids 9 c id", differs="both forms of an option may be used in one line"),
    same("$R exec -u 5 c id"),
    same("$R exec -u nosuch c id"),
    same("$R exec --cwd /bin c pwd"),
    same("$R exec --cwd bin c pwd"),
    same("$R exec --cwd /no/such c pwd"),
    same("$R exec --cap CAP_SYS_TIME c grep Cap /proc/self/status"),
    same("$R exec --no-new-privs c grep NoNew /proc/self/status"),
    same("$R exec --no-new-privs=false c grep NoNew /proc/self/status"),
    same("$R exec --detach --pid-file pid c true; tr 0-9 0 < pid | cut -c1-2"),
    same("$R exec --detach --tty c true"),
    same("$R exec --console-socket /no/such c true"),
    same("$R exec --preserve-fds 2 c readlink /proc/self/fd/4 3</dev/null 4</dev/zero"),
    Case(
        "$R exec --preserve-fds=1 c true",
        differs="a descriptor that is not open is refused, as runc 1.2 does",
    ),
    same('echo \'{"args":["id"],"cwd":"/","user":{"uid":3,"gid":4}}\' > p; $R exec --process p c'),
    same('echo \'{"args":[],"cwd":"/","user":{"uid":3,"gid":4}}\' > p; $R exec -p p c'),
    same("$R exec -p /no/such c"),
    same("$R exec --cgroup /no/such c true"),
    same("echo hello | $R exec c cat"),
    same("$R ps --format json c | tr 0-9 0 | tr -s 0"),
    same("$R ps c -o pid,comm | tail -n1 | cut -c8-"),
    same("$R ps c -o comm"),
    same("$R ps -f nosuch c"),
    same("$R ps c | sed -n '1s/ .*//p'"),
    same("$R events --stats c", "keys"),
    same("$R events --interval 0s c"),
    same("timeout 0.5 $R events --interval 100ms c | head -n1", "keys"),
    same("$R update --memory 64m --memory-swap 128m c; limit memory memory.limit_in_bytes memory.max"),
    same("$R update --pids-limit 20 --cpu-quota 5000 c; limit pids pids.max pids.max"),
    same("$R update --cpu-period 200000 c; limit cpu cpu.cfs_period_us cpu.max"),
    same("$R update --cpu-share 100 --cpuset-cpus 0 c; limit cpuset cpuset.cpus cpuset.cpus"),
    same("$R update --memory nosuch c"),
    same("$R update --cpuset-cpus 999 c"),
    same(
        """echo '{"memory":{"limit":33554432}}' | $R update -r - c; """
        "limit memory memory.limit_in_bytes memory.max"
    ),
    same("limit pids pids.max pids.max"),
    same("$R update --resources /no/such c"),
    same("$R update --l3-cache-schema L3:0=f c"),
    same("$R update --kernel-memory 64m c"),
    same("$R pause c"),
    same("$R pause c"),
    same("$R state c | grep -o 'status.: .[a-z]*'"),
    same("$R exec c true"),
    same("$R start c"),
    same("$R delete c"),
    same("$R kill c 0"),
    same("$R resume c"),
    same("$R resume c"),
    same("$R kill c NOSUCH"),
    same("$R kill c 99"),
    same("$R kill c WINCH"),
    same("$R kill c sigwinch"),
    same("$R kill c 28"),
    same("$R kill --all c CONT"),
    same("$R kill c KILL; ended; $R state c | grep -oE '(status|pid).: .[a-z]*'"),
    same("$R kill c"),
    same("$R kill -a c KILL"),
    same("$R exec c true"),
    same("$R pause c"),
    same("$R start c"),
    same("$R events --stats c"),
    same("$R update --memory 64m c"),
    same("$R ps -f json c", "nothing"),
    same("$R delete c"),
    same("$R delete c"),
    same("$R create c; $R delete c; $R list -q"),
    same("$R create c; $R delete --force c; $R list -q"),
]

RUNC = find_program("runc")
# of runc's JSON, what nobody reads and pyd-runtime has not
UNREAD = {"annotations", "cpuset", "percpu_kernel", "percpu_user"}
# what both leave out when it is 0: that depends on what the page cache and the scheduler did just then
ZEROES = {
    *("cache", "max", "total", "periods", "throttledPeriods", "throttledTime"),
    *("ioServiceBytesRecursive", "ioServicedRecursive"),
}
PRELUDE = """R="{runtime} --root {state}"
ended() {{ for try in $(seq 200); do $R state c | grep -q stopped && break; sleep 0.02; done; }}
limit() {{ cat /sys/fs/cgroup/$1/{cgroup}/$2 2>/dev/null || cat /sys/fs/cgroup/{cgroup}/$3; }}
"""


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    said: str


class Bundles:
    """Three bundles, a state directory, and one runtime that is put to them."""

    def __init__(self, directory: Path, runtime: str, cgroup: str) -> None:
        self.directory = directory
        self.runtime = runtime
        self.cgroup = cgroup
        root = directory / "rootfs"
        builder.busybox_tree(root)
        self._bundle("life", ["sleep", "1000"])
        self._bundle("quick", ["echo", "out"])
        self._bundle("seven", ["sh", "-c", "exit 7"])
        self._bundle("cat", ["cat"])

    def _bundle(self, name: str, args: list[str]) -> None:
        bundle = self.directory / name
        bundle.mkdir()
        (bundle / "rootfs").symlink_to("../rootfs")
        subprocess.run([RUNTIME, "spec", "--bundle", str(bundle)], check=True)
        spec = json.loads((bundle / "config.json").read_text())
        spec["process"] |= {"args": args, "terminal": False}
        spec["root"] = {"path": str(self.directory / "rootfs"), "readonly": False}
        # the version that both know
        spec["ociVersion"] = "1.0.2"
        spec["linux"]["cgroupsPath"] = self.cgroup
        (bundle / "config.json").write_text(json.dumps(spec))

    def run(self, line: str, bundle: str) -> Answer:
        state = self.directory / "state"
        prelude = PRELUDE.format(runtime=self.runtime, state=state, cgroup=self.cgroup.strip("/"))
        # files and not pipes: a container that goes on would keep those open
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            done = subprocess.run(
                ["bash", "-c", prelude + line],
                cwd=self.directory / bundle,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=30,
                check=False,
            )
            out.seek(0)
            err.seek(0)
            return Answer(done.returncode, self._plain(out.read()), self._plain(err.read()))

    def _plain(self, text: str) -> str:
        """Without what is the runtime's own or changes from call to call."""
        for own in (self.runtime, Path(self.runtime).name, str(self.directory)):
            text = text.replace(own, "X")
        return re.sub(r'"pid": [1-9]\d*', '"pid": 1', text)

    def end(self) -> None:
        self.run("$R delete --force c", "life")


@pytest.fixture(scope="module")
def answers(world: World) -> Iterator[dict[tuple[str, int], tuple[Answer, Answer]]]:
    """All cases under runc, then all under pyd-runtime."""
    assert RUNC, "runc is not installed (sh tests/setup.sh)"
    cgroup = f"{world.cgroup_parent}/cli"
    both: list[dict[tuple[str, int], Answer]] = []
    for runtime in (RUNC, str(RUNTIME)):
        with tempfile.TemporaryDirectory(prefix="pyd-test-cli-") as directory:
            bundles = Bundles(Path(directory), runtime, cgroup)
            try:
                both.append(
                    {
                        (bundle, number): bundles.run(case.line, bundle)
                        for bundle, cases in GROUPS.items()
                        for number, case in enumerate(cases)
                    }
                )
            finally:
                bundles.end()
    yield {key: (both[0][key], both[1][key]) for key in both[0]}
    remove_cgroups(cgroup)
    wait_until(lambda: not world.cgroups(), 5, "cgroups of the command lines")


GROUPS = {"seven": NO_CONTAINER, "quick": QUICK, "life": LIFE}
ALL = [
    pytest.param(bundle, number, case, id=f"{bundle}-{number}")
    for bundle, cases in GROUPS.items()
    for number, case in enumerate(cases)
]


@pytest.mark.parametrize(("bundle", "number", "case"), ALL)
def test_as_runc(
    bundle: str, number: int, case: Case, answers: dict[tuple[str, int], tuple[Answer, Answer]]
) -> None:
    theirs, ours = answers[bundle, number]
    alike = difference(case, theirs, ours) == ""
    if case.differs:
        assert not alike, f"{case.line}: the same now, take the reason away"
    else:
        assert alike, f"{case.line}: {difference(case, theirs, ours)}\nrunc: {theirs}\nours: {ours}"


def difference(case: Case, theirs: Answer, ours: Answer) -> str:
    if theirs.code != ours.code:
        return "exit status"
    if bool(theirs.said) != bool(ours.said):
        return "stderr"
    match case.shape:
        case "text" if theirs.out != ours.out:
            return "output"
        case "keys" if missing := keys(json.loads(theirs.out)) - keys(json.loads(ours.out)):
            return f"keys {missing}"
        case "table" if shape(theirs.out) != shape(ours.out):
            return "table"
    return ""


def keys(value: Any, path: str = "") -> set[str]:
    """Paths of all objects' keys."""
    if isinstance(value, list):
        return keys(value[0], f"{path}[]") if value else set()
    if not isinstance(value, dict):
        return set()
    known = {key: inner for key, inner in value.items() if key not in UNREAD | ZEROES}
    below = (keys(inner, f"{path}.{key}") for key, inner in known.items())
    return {f"{path}.{key}" for key in known}.union(*below)


def shape(table: str) -> tuple[str, list[int]]:
    """The titles, and how many columns each line has."""
    lines = table.splitlines()
    return " ".join(lines[0].split()) if lines else "", [len(line.split()) for line in lines]
