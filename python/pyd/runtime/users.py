"""Who the process runs as: Docker's forms of USER looked up in the container's own /etc/passwd and
/etc/group.

`name`, `uid`, `name:group`, `uid:gid` and mixtures. A number is decimal ASCII digits below 2^31 and nothing
else, so that nothing overflows to root ("4294967296", CVE-2024-40635) and no other notation is taken for one
("0x0", "+0", "\u0663"). A number is that number even if the image's passwd has a user of that name: an entry
"1000:x:0:0" must not turn 1000 into root (CVE-2016-3697; Docker looks for the name first).
"""

from __future__ import annotations

from collections.abc import Sequence

from pyd.errors import InvalidArgument, StartError
from pyd.record import Record
from pyd.runtime.layered import LayeredRoot

MAX_ID = 2**31 - 1  # Docker's and runc's bound; the kernel's own is 2^32 - 2


class User(Record):
    uid: int
    gid: int
    groups: tuple[int, ...] = ()  # supplementary, `gid` first
    home: str = "/"


def parse_id(text: str) -> int | None:
    """The number, or None when `text` is not one. Raises InvalidArgument when it is one that is out of
    range.
    """
    digits = text[1:] if text.startswith("-") else text
    if not digits.isascii() or not digits.isdigit():
        return None
    # no uid has more digits than ten; int() of a million of them would take minutes
    value = int(text) if len(digits) <= 10 else -1
    if not 0 <= value <= MAX_ID:
        raise InvalidArgument(f"uids and gids must be in range 0-{MAX_ID}: {text!r}")
    return value


def resolve(spec: str, root: LayeredRoot, add: Sequence[str] = ()) -> User:
    """The User for `spec` ("" = root). `add` are the names or numbers of --group-add.

    Raises StartError like Docker: "unable to find user x: no matching entries in passwd file".
    """
    passwd, group = root.read_text("/etc/passwd"), root.read_text("/etc/group")
    return lookup(spec, passwd, group, add)


def lookup(spec: str, passwd: str | None, group: str | None, add: Sequence[str] = ()) -> User:
    """`resolve` on the text of the two files; None for a file that does not exist."""
    user_text, colon, group_text = spec.partition(":")
    if "\0" in spec or (colon and not group_text and not user_text):
        raise InvalidArgument(f"invalid user {spec!r}")
    users, groups = _entries(passwd, 6), _entries(group, 3)
    wanted = user_text or "0"

    number = parse_id(wanted)
    if number is None:
        match = _named(wanted, users)
    else:
        match = next((entry for entry in users if _same(entry[2], number)), None)
    if match is not None:
        uid = _file_id(match[2], "passwd", wanted)
        gid = _file_id(match[3], "passwd", wanted)
        name, home = match[0], match[5]
    elif number is not None:
        uid, gid, name, home = number, 0, "", "/"
    else:
        raise _missing("user", wanted, "passwd")

    supplementary: list[int] = []
    if group_text:
        gid = _group_id(group_text, groups)
    elif name:
        supplementary = [
            found
            for entry in groups
            if name in entry[3].split(",") and (found := _safe_id(entry[2])) is not None
        ]
    supplementary += [_group_id(text, groups) for text in add]
    # The primary group once more: a set-group-id program that gives it up would otherwise escape from what is
    # forbidden to the group (CVE-2022-36109)
    return User(uid, gid, tuple(dict.fromkeys((gid, *supplementary))), home or "/")


def _group_id(text: str, groups: list[list[str]]) -> int:
    number = parse_id(text)
    if number is not None:
        return number
    match = _named(text, groups)
    if match is None:
        raise _missing("group", text, "group")
    return _file_id(match[2], "group", text)


def _named(name: str, entries: list[list[str]]) -> list[str] | None:
    """The entry of this name. What reads as a number elsewhere ("+7", "0x10") is no name: who wrote it did
    not mean the root whom an image may call so.
    """
    if name[:1] in ("+", "-") or name[:2].lower() in ("0x", "0o", "0b") or name.isnumeric():
        return None
    return next((entry for entry in entries if entry[0] == name), None)


def _entries(text: str | None, fields: int) -> list[list[str]]:
    """Lines of colon-separated fields; broken lines are skipped as libc does."""
    result = []
    # Not splitlines(), which ends a line at form feeds and the like too: an entry could hide in another
    for line in (text or "").split("\n"):
        entry = line.strip().split(":")
        if line.startswith("#") or not entry[0] or len(entry) < fields:
            continue
        result.append(entry + [""] * (7 - len(entry)))
    return result


def _safe_id(text: str) -> int | None:
    try:
        return parse_id(text)
    except InvalidArgument:
        return None


def _same(text: str, number: int) -> bool:
    return _safe_id(text) == number


def _file_id(text: str, file: str, wanted: str) -> int:
    """A number from the image's file. An empty or odd one must not become 0: nobody asked for root."""
    value = parse_id(text)
    if value is None:
        raise StartError(
            f"unable to find user {wanted}: the entry in the {file} file of the image has no valid id",
            f"correct /etc/{file} in the image, or give --user as numbers",
            stage="user",
            path=f"/etc/{file}",
        )
    return value


def _missing(kind: str, wanted: str, file: str) -> StartError:
    return StartError(
        f"unable to find {kind} {wanted}: no matching entries in {file} file",
        f"use a name that /etc/{file} in the image has, or a number",
        stage="user",
        path=f"/etc/{file}",
    )
