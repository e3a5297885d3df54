"""Counters of a running container in the shape of Docker's stats API, and the processes for `top`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from pyd import _native
from pyd.errors import InvalidArgument


def sample(cgroup: str, pid: int) -> dict[str, Any]:
    """One reading: Docker's cpu_stats, memory_stats, pids_stats, blkio_stats, plus networks and
    system_cpu_usage.
    """
    reading = _native.cgroup_stats(cgroup)
    reading["networks"] = network(pid)
    return reading


def network(pid: int) -> dict[str, dict[str, int]]:
    """Bytes and packets of each interface of the process's network namespace but loopback."""
    result = {}
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()[2:]
    except OSError:
        return {}
    for line in lines:
        name, _, counters = line.partition(":")
        values = [int(value) for value in counters.split()]
        if name.strip() != "lo" and len(values) >= 16:
            result[name.strip()] = {
                "rx_bytes": values[0],
                "rx_packets": values[1],
                "rx_errors": values[2],
                "rx_dropped": values[3],
                "tx_bytes": values[8],
                "tx_packets": values[9],
                "tx_errors": values[10],
                "tx_dropped": values[11],
            }
    return result


_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_COLUMNS = {  # ps -o name: (title, aliases are further keys)
    "pid": "PID",
    "ppid": "PPID",
    "user": "USER",
    "uid": "UID",
    "gid": "GID",
    "group": "GROUP",
    "comm": "COMMAND",
    "args": "COMMAND",
    "cmd": "CMD",
    "command": "COMMAND",
    "time": "TIME",
    "etime": "ELAPSED",
    "stat": "STAT",
    "state": "S",
    "rss": "RSS",
    "vsz": "VSZ",
    "tty": "TT",
    "nice": "NI",
    "ni": "NI",
    "pgid": "PGID",
    "sid": "SID",
    "stime": "STIME",
    "start": "STARTED",
    "pcpu": "%CPU",
    "%cpu": "%CPU",
    "pmem": "%MEM",
    "%mem": "%MEM",
    "c": "C",
    "nlwp": "NLWP",
    "pgrp": "PGRP",
}
_FULL = ["uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd"]
_AUX = ["user", "pid", "pcpu", "pmem", "vsz", "rss", "tty", "stat", "start", "time", "command"]


def top(pids: Sequence[int], arguments: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """(titles, rows) as ps(1) prints them; `arguments` as for ps: "-ef", "aux", "-o pid,comm"."""
    columns = _columns(list(arguments))
    rows = []
    for pid in sorted(pids):
        values = _process(pid)
        if values is not None:
            rows.append([values.get(column, "-") for column in columns])
    titles = ["TTY" if column == "tty" and columns is _FULL else _COLUMNS[column] for column in columns]
    return titles, rows


def _columns(arguments: list[str]) -> list[str]:
    wanted: list[str] = []
    while arguments:
        argument = arguments.pop(0)
        plain = argument.lstrip("-")
        if plain in ("aux", "auxww", "axu"):
            return _AUX
        if plain.endswith("o") and set(plain) <= set("eAafxwo") and arguments:
            wanted += arguments.pop(0).split(",")
        elif (plain.startswith(("o", "eo")) and "," in plain) or plain in _COLUMNS:
            wanted += (
                plain.removeprefix("eo").removeprefix("o").split(",") if plain not in _COLUMNS else [plain]
            )
        elif not set(plain) <= set("eAafxwF"):
            raise InvalidArgument(
                f"top: ps option {argument!r} is not supported", "use -ef, aux or -o with names of columns"
            )
    for column in wanted:
        if column not in _COLUMNS:
            raise InvalidArgument(
                f"top: unknown ps column {column!r}", f"known are {', '.join(sorted(_COLUMNS))}"
            )
    return wanted or _FULL


def _process(pid: int) -> dict[str, str] | None:
    """Values of a process by ps column; None when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
        with open(f"/proc/{pid}/cmdline", "rb") as raw:
            arguments = raw.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        found = os.stat(f"/proc/{pid}")
    except OSError:
        return None
    # the name stands in parentheses and may hold any character, so the last one closes it
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    cpu_seconds = (int(fields[11]) + int(fields[12])) / _TICKS
    age = max(_uptime() - int(fields[19]) / _TICKS, 0.01)
    started = time.localtime(time.time() - age)
    today = age < 24 * 3600
    percent = 100 * cpu_seconds / age
    rss = int(fields[21]) * _PAGE
    uid, gid = str(found.st_uid), str(found.st_gid)
    return {
        "pid": str(pid),
        "ppid": fields[1],
        "pgid": fields[2],
        "pgrp": fields[2],
        "sid": fields[3],
        "user": _user_name(found.st_uid),
        "uid": _user_name(found.st_uid),
        "gid": gid,
        "group": gid,
        "ruid": uid,
        "comm": name,
        "args": arguments or f"[{name}]",
        "cmd": arguments or f"[{name}]",
        "command": arguments or f"[{name}]",
        "time": _clock(cpu_seconds),
        "etime": _clock(age)[3:] if age < 3600 else _clock(age),
        "stat": fields[0],
        "state": fields[0],
        "rss": str(rss // 1024),
        "vsz": str(int(fields[20]) // 1024),
        "tty": _terminal(int(fields[4])),
        "nice": fields[16],
        "ni": fields[16],
        "nlwp": fields[17],
        "stime": time.strftime("%H:%M" if today else "%b%d", started),
        "start": time.strftime("%H:%M:%S" if today else "%b %d", started),
        "c": str(int(percent)),
        "pcpu": f"{percent:.1f}",
        "%cpu": f"{percent:.1f}",
        "pmem": f"{100 * rss / _memory():.1f}",
        "%mem": f"{100 * rss / _memory():.1f}",
    }


def _uptime() -> float:
    with open("/proc/uptime", encoding="ascii") as file:
        return float(file.read().split()[0])


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * _PAGE


def _user_name(uid: int) -> str:
    """The host's name of the uid, as Docker's top shows it."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _terminal(number: int) -> str:
    major, minor = os.major(number), os.minor(number)
    return f"pts/{minor}" if major == 136 else "?" if number == 0 else f"{major}:{minor}"
