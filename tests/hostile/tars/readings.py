"""The same archive as others read it: Python's tarfile, and GNU tar by its own program.

Neither may write: Python only lists, and GNU tar gives contents on its stdout (-O) and the listing on stderr.
"""

from __future__ import annotations

import io
import os
import re
import stat
import subprocess
import tarfile
from dataclasses import replace

from tests.hostile.tars.blocks import BLOCK
from tests.hostile.tars.tree import Entry, Node, Path, Refused, with_links_named

LONGEST = 1 << 20  # contents are compared up to this size
_SECONDS = 10

_KINDS = {
    **dict.fromkeys((tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE), "file"),
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}


def by_python(archive: bytes) -> list[Entry]:
    """Raises Refused."""
    entries = []
    try:
        with tarfile.open(
            fileobj=io.BytesIO(archive), mode="r:", encoding="utf-8", errors="surrogateescape"
        ) as tar:
            for member in tar:
                kind = _KINDS.get(member.type)
                if kind is None:
                    raise Refused(f"type {member.type!r}")
                content = None
                if kind == "file" and 0 <= member.size <= LONGEST:
                    file = tar.extractfile(member)
                    content = file.read() if file else b""
                    if len(content) != member.size:
                        raise Refused("truncated data")
                entries.append(
                    Entry(
                        # it takes off trailing slashes, all of them
                        _bytes(member.name) or (b"/" if kind == "directory" else b""),
                        kind,
                        member.size,
                        content,
                        _bytes(member.linkname),
                        member.mode & 0o7777,
                        member.uid,
                        member.gid,
                        (member.devmajor, member.devminor),
                    )
                )
            rest = archive[tar.offset : tar.offset + BLOCK]
    except Refused:
        raise
    except (
        Exception
    ) as error:  # tarfile's own errors, and ValueError, KeyError and others that it lets through
        raise Refused(f"{type(error).__name__}: {error}") from None
    # it takes a damaged header for the end
    if rest != bytes(BLOCK) and rest:
        raise Refused("damaged header")
    return entries


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


_LINE = re.compile(
    rb"^([-dlhcbpCM])([-rwxsStT]{9}) (-?\d+)/(-?\d+) +(?:(\d+)|(\d+),(\d+)) [-\d]+ [\d:.]+ "
    rb'"((?:[^"\\]|\\.)*)"(?: -> "((?:[^"\\]|\\.)*)"| link to "((?:[^"\\]|\\.)*)")?$',
    re.DOTALL,
)
_LETTERS = {
    b"-": "file", b"C": "file", b"d": "directory", b"l": "symlink", b"h": "hardlink", b"c": "char",
    b"b": "block", b"p": "fifo",
}  # fmt: skip
_ESCAPE = re.compile(rb"\\(?:([0-7]{3})|(.))", re.DOTALL)
_NAMED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


def by_gnu_tar(archive: bytes, directory: str) -> list[Entry]:
    """Raises Refused. `directory`: empty; it stays so."""
    command = ["tar", "-xvvPO", "--numeric-owner", "--full-time", "--quoting-style=c", "-f", "-"]
    environ = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        cwd=directory,
    )
    assert process.stdin and process.stdout and process.stderr
    # a sparse file may claim any size: no more than can be compared is taken
    limit = 64 << 10
    try:
        out, errors = _talk(process, archive, limit + len(archive) * 16)
    finally:
        process.kill()
        process.wait()
    if out is None:
        raise Refused("too long to compare")
    lines = errors.splitlines()
    complaints = [line for line in lines if line.startswith(b"tar: ")]
    entries, position = [], 0
    for line in lines:
        if line.startswith(b"tar: "):
            continue
        match = _LINE.match(line)
        if not match:
            raise Refused(f"cannot understand {line!r}")
        kind = _LETTERS.get(match[1], "?")
        if kind == "?":
            raise Refused(f"type {match[1]!r}")
        size = int(match[5] or 0)
        content = None
        if kind == "file":
            content = out[position : position + size]
            position += size
        link = match[9] if match[9] is not None else match[10]
        entries.append(
            Entry(
                _unquoted(match[8]),
                kind,
                size,
                content,
                _unquoted(link or b""),
                _mode(match[2].decode()),
                int(match[3]),
                int(match[4]),
                (int(match[6] or 0), int(match[7] or 0)),
            )
        )
    if process.returncode != 0:
        raise Refused((complaints or [b"failed"])[0].decode(errors="replace"))
    if position != len(out):
        # holes of sparse files do not go through a pipe: which bytes belong to whom cannot be told
        return [replace(entry, content=None) for entry in entries]
    return entries


def _talk(process: subprocess.Popen[bytes], archive: bytes, limit: int) -> tuple[bytes | None, bytes]:
    """(stdout, stderr), with None for a stdout of more than `limit` bytes."""
    import selectors

    assert process.stdin and process.stdout and process.stderr
    found: dict[int, bytearray] = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    out = found[process.stdout.fileno()]
    errors = found[process.stderr.fileno()]
    left = memoryview(archive)
    os.set_blocking(process.stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdin, selectors.EVENT_WRITE)
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(_SECONDS)
            if not ready:
                raise Refused("GNU tar hangs")
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    try:
                        left = left[os.write(key.fd, left[:65536]) :]
                    except BrokenPipeError:
                        left = memoryview(b"")
                    if not left:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                data = os.read(key.fd, 65536)
                found[key.fd] += data
                if not data:
                    selector.unregister(key.fileobj)
            if len(out) > limit:
                return None, bytes(errors)
    process.stdout.close()
    process.stderr.close()
    process.wait(_SECONDS)
    return bytes(out), bytes(errors)


def _unquoted(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda m: bytes((int(m[1], 8) & 255,)) if m[1] else _NAMED.get(m[2], m[2]), text)


def _mode(text: str) -> int:
    mode = 0
    for index, letter in enumerate(text):
        bit = 1 << (8 - index)
        if letter in "rwxst":
            mode |= bit
        if letter in "sS":
            mode |= 0o4000 if index == 2 else 0o2000
        if letter in "tT":
            mode |= 0o1000
    return mode


def on_disk(root: bytes) -> dict[Path, Node]:
    """What is really there."""
    nodes: dict[Path, Node] = {}
    left: list[Path] = [()]
    while left:
        path = left.pop()
        full = b"/".join((root, *path))
        state = os.lstat(full)
        kind, size, content, link, device = "fifo", 0, None, b"", (0, 0)
        if stat.S_ISDIR(state.st_mode):
            kind = "directory"
            left += [(*path, name) for name in os.listdir(full)]
        elif stat.S_ISREG(state.st_mode):
            kind, size = "file", state.st_size
            if size <= LONGEST:
                with open(full, "rb") as file:
                    content = file.read()
        elif stat.S_ISLNK(state.st_mode):
            kind, link = "symlink", os.readlink(full)
        elif stat.S_ISCHR(state.st_mode) or stat.S_ISBLK(state.st_mode):
            kind = "char" if stat.S_ISCHR(state.st_mode) else "block"
            device = os.major(state.st_rdev), os.minor(state.st_rdev)
            if kind == "char" and device == (0, 0):
                kind = "whiteout"
        mode = None if kind == "symlink" else stat.S_IMODE(state.st_mode)
        owner = (state.st_uid, state.st_gid)
        nodes[path] = Node(kind, size, content, link, mode, owner, device, state.st_ino)
    return with_links_named(nodes)
