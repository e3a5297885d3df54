"""Why a step is not in the cache: the first of its inputs that is not as it was the last time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyd.build import listings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.paths import Paths
    from pyd.store.build_cache import BuildStep

# In the order of telling: what somebody wrote before what follows from it. What is below a step comes last,
# since the step that changed it has told its own reason.
_FIELDS = (
    *("args", "dest", "sources", "from", "excludes", "path", "platform", "network", "security", "mounts"),
    *(
        "heredocs",
        "owner",
        "chmod",
        "link",
        "unpack",
        "fetched",
        "user",
        "cwd",
        "hosts",
        "host",
        "volumes",
        "epoch",
    ),
    *("env", "build_args", "files", "parent"),
)
_WORDS = {
    "args": "the command",
    "dest": "the destination",
    "sources": "the list of sources",
    "from": "what it copies from",
    "excludes": "--exclude",
    "path": "the directory",
    "platform": "the platform",
    "network": "--network",
    "security": "--security",
    "heredocs": "the text of a heredoc",
    "owner": "the owner",
    "chmod": "--chmod",
    "link": "--link",
    "unpack": "--unpack",
    "user": "USER",
    "cwd": "WORKDIR",
    "hosts": "--add-host",
    "host": "the size of /dev/shm",
    "volumes": "--volume",
    "epoch": "SOURCE_DATE_EPOCH",
}


def why(paths: Paths, structure: Mapping[str, Any], before: Sequence[BuildStep], below: str) -> str:
    """One sentence. `before`: results of the same kind of step at the same place; `below`: what is said of
    the step before this one in the stage, when that was done again.
    """
    if not before:
        return "it was not done here before"
    nearest = max(before, key=lambda step: (_likeness(structure, step.structure), step.used))
    for name in _FIELDS:
        old, new = nearest.structure.get(name), structure.get(name)
        if old != new:
            return _told(paths, name, old, new, below)
    return "it is done in another way since pyd was updated"


def _likeness(one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    weights = {"args": 4, "dest": 4, "sources": 4, "path": 4, "files": 2, "parent": 2}
    return sum(weights.get(name, 1) for name in one.keys() | other.keys() if one.get(name) == other.get(name))


def _told(paths: Paths, name: str, old: Any, new: Any, below: str) -> str:
    if name == "parent":
        return below or "the files below it are others"
    if name in ("env", "build_args"):
        return _variable("ENV" if name == "env" else "build argument", old or {}, new or {})
    if name == "files":
        return _file(paths, old, new)
    if name == "mounts":
        return _mount(paths, old or [], new or [])
    if name == "fetched":
        return _fetched(old or [], new or [])
    if isinstance(old, (str, int)) and isinstance(new, (str, int)) and old != "" and new != "":
        return f"{_WORDS[name]} is {_shown(new)}, was {_shown(old)}"
    if not old and new:
        return f"{_WORDS[name]} is new"
    if old and not new:
        return f"{_WORDS[name]} is gone"
    return f"{_WORDS[name]} is another"


def _variable(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            return f"{kind} {name} is new"
        if name not in new:
            return f"{kind} {name} is gone"
        if old[name] != new[name]:
            return f"{kind} {name} is {_shown(new[name])}, was {_shown(old[name])}"
    return f"the order of {kind}s is another"


def _file(paths: Paths, old: Any, new: Any) -> str:
    before = listings.read(paths, str(old)) if old else None
    after = listings.read(paths, str(new)) if new else None
    if before is None or after is None:
        return "the files are others"
    found = list(listings.differences(before, after))
    if not found:
        return "the files are others"
    path, change = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{path} {change}{more}"


def _fetched(old: Sequence[Sequence[str]], new: Sequence[Sequence[str]]) -> str:
    """Fingerprints of archives, URLs and git repositories."""
    for one, other in zip(old, new, strict=False):
        if one != other:
            if other[0] == "git":
                return f"the git repository is at commit {other[1][:12]}, was at {one[1][:12]}"
            return "the URL gives another file" if other[0] == "url" else "an archive has other contents"
    return "the list of sources is another"


def _mount(paths: Paths, old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> str:
    if len(old) != len(new):
        return "the list of mounts is another"
    for one, other in zip(old, new, strict=True):
        for name in (*one, *other):
            if one.get(name) != other.get(name):
                target = other.get("target") or other.get("id") or "?"
                if name == "files":
                    return f"in the mount at {target}: {_file(paths, one.get(name), other.get(name))}"
                return (
                    f"the mount at {target}: {name} is {_shown(other.get(name))}, was {_shown(one.get(name))}"
                )
    return "the list of mounts is another"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return repr(text) if isinstance(value, str) else text
