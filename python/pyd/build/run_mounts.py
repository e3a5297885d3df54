"""`RUN --mount`: what a step mounts, as a part of its key and as entries of config.json.

A source is resolved by descriptor when it is mounted, inside the layers or the cache directory that hold it
(CVE-2024-1753, CVE-2024-23651); files of the build context are mounted from a copy, so that nothing outside
of what .dockerignore lets through can be reached and nothing changes under the step. What a step writes to a
bind mount is thrown away.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from pyd.build import cache_mounts, layers
from pyd.build.run_job import SecretFile
from pyd.errors import InvalidArgument
from pyd.record import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.build.files import Tree
    from pyd.build.kinds import Mount
    from pyd.build.secrets import Secrets
    from pyd.build.ssh import Ssh
    from pyd.build.steps import Steps
    from pyd.store import Store

SECRETS = "/run/secrets"
SSH_SOCKET = "/run/buildkit/ssh_agent"


class Mounted(Record):
    """What the mounts of one step give to its job."""

    entries: list[Mapping[str, Any]] = field(default_factory=list)
    secrets: list[SecretFile] = field(default_factory=list)
    env: list[str] = field(default_factory=list)
    # relative paths of mount points, which may have been made for the step: no change of its own
    points: list[str] = field(default_factory=list)


def target_of(mount: Mount, workdir: str, number: int) -> str:
    """Absolute, cleaned; "" for a secret that is an environment variable only."""
    target = mount.target
    if mount.type == "secret" and not target:
        return "" if mount.env else f"{SECRETS}/{posixpath.basename(mount.id or mount.source)}"
    if mount.type == "ssh" and not target:
        return f"{SSH_SOCKET}.{number}"
    cleaned = "/" + posixpath.normpath(posixpath.join("/", workdir or "/", target)).strip("/")
    if cleaned == "/":
        raise InvalidArgument(f"invalid mount target {target!r}: it would hide the whole root")
    return cleaned


def structure(mount: Mount, target: str, digest: str) -> dict[str, Any]:
    """Its part of the key of the step. `digest`: of what a bind mount shows, or a cache mount starts from."""
    found: dict[str, Any] = {"type": mount.type, "target": target}
    if mount.type == "bind":
        found.update(files=digest, rw=not mount.readonly)
    elif mount.type == "cache":
        found.update(id=mount.id or target, sharing=mount.sharing or "shared", ro=mount.readonly)
        found.update(base=digest, source=mount.source, mode=mount.mode, uid=mount.uid, gid=mount.gid)
    elif mount.type == "tmpfs":
        found.update(size=mount.size)
    else:
        # who has the same Dockerfile need not have the same secret to get the same result
        found.update(id=mount.id, required=mount.required, env=mount.env)
        found.update(mode=mount.mode, uid=mount.uid, gid=mount.gid)
    return found


def add(
    mounted: Mounted,
    mount: Mount,
    target: str,
    tree: Tree | None,
    store: Store,
    secrets: Secrets,
    ssh: Ssh,
    steps: Steps,
    stack: ExitStack,
) -> None:
    """Make it ready. `tree`: of a bind mount or of a cache mount with `from`. `stack`: what ends with the
    step.
    """
    if target:
        parts = target.strip("/").split("/")
        mounted.points.extend(["/".join(parts[: end + 1]) for end in range(len(parts))])
    if mount.type == "bind":
        assert tree is not None
        mounted.entries.append(_bind(mount, target, tree, store, stack))
    elif mount.type == "cache":
        mounted.entries.append(_cache(mount, target, tree, store, steps, stack))
    elif mount.type == "tmpfs":
        options = ["nosuid", "nodev", *([f"size={mount.size}"] if mount.size else [])]
        mounted.entries.append(
            {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options}
        )
    elif mount.type == "secret":
        _secret(mounted, mount, target, secrets)
    else:
        _ssh(mounted, mount, target, ssh)


def ordered(entries: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Parents before children; otherwise as written."""
    return tuple(sorted(entries, key=lambda entry: entry["destination"].count("/")))


def _bind(mount: Mount, target: str, tree: Tree, store: Store, stack: ExitStack) -> dict[str, Any]:
    lower, subpath = tree.mountable(mount.source, stack)
    source: dict[str, Any] = {"lower": lower, "subpath": subpath}
    if not mount.readonly:
        made = stack.enter_context(layers.upper(store))
        source.update(upper=made.fs, work=made.work)
    return {
        "destination": target,
        "type": "dev.pyd.layers",
        "source": json.dumps(source),
        "options": ["ro" if mount.readonly else "rw"],
    }


def _cache(
    mount: Mount, target: str, tree: Tree | None, store: Store, steps: Steps, stack: ExitStack
) -> dict[str, Any]:
    directory = cache_mounts.opened(
        store,
        mount.id or target,
        sharing=mount.sharing or "shared",
        mode=0o755 if mount.mode is None else mount.mode,
        uid=mount.uid or 0,
        gid=mount.gid or 0,
        base=tree,
        source=mount.source,
        stack=stack,
        restore=steps.restore_mount,
    )
    return {
        "destination": target,
        "type": "bind",
        "source": directory,
        "options": ["rbind", "ro" if mount.readonly else "rw", "rprivate"],
    }


def _secret(mounted: Mounted, mount: Mount, target: str, secrets: Secrets) -> None:
    secret_id = mount.id or mount.source or posixpath.basename(mount.target)
    data = secrets.need(secret_id) if mount.required else secrets.get(secret_id)
    if data is None:
        return
    if mount.env:
        if b"\0" in data:
            raise InvalidArgument(f"secret {mount.id} has a NUL byte and cannot be in the environment")
        mounted.env.append(f"{mount.env}={os.fsdecode(data)}")
    if target:
        mode = 0o400 if mount.mode is None else mount.mode
        mounted.secrets.append(SecretFile(target, data, mode, mount.uid or 0, mount.gid or 0))


def _ssh(mounted: Mounted, mount: Mount, target: str, ssh: Ssh) -> None:
    mode = 0o600 if mount.mode is None else mount.mode
    find = ssh.need if mount.required else ssh.socket
    socket = find(mount.id, uid=mount.uid or 0, gid=mount.gid or 0, mode=mode)
    if socket is None:
        return
    mounted.entries.append(
        {"destination": target, "type": "bind", "source": socket, "options": ["bind", "rprivate"]}
    )
    if not any(entry.startswith("SSH_AUTH_SOCK=") for entry in mounted.env):
        mounted.env.append(f"SSH_AUTH_SOCK={target}")
