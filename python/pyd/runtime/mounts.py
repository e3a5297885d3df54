"""What the user mounts: the grammar of -v, --mount and --tmpfs, and the mounts of config.json that follow.

A mount request is a dict with the keys of Docker's MountPoint where it has them:
    Type         bind, volume or tmpfs
    Source       host path (bind) or volume name, "" = anonymous (volume)
    Destination  absolute path in the container
    RW, Propagation, Mode (as written), Driver
    NoCopy       volume: do not fill it from the image
    MakeSource   bind: create the directory when it is missing (-v does, --mount does not)
    Recursive    bind: mount what is mounted below it too
    Writable     bind: read-only does not hold for what is mounted below it
    Subpath      volume: a directory in it
    Options      tmpfs: mount options;  Labels: volume
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence

from pyd.errors import InvalidArgument, NotSupported
from pyd.sizes import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Mount = dict[str, "Any"]

_PROPAGATION = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
_IGNORED_MODES = ("z", "Z", "consistent", "cached", "delegated")  # SELinux relabelling, Docker Desktop
_TMPFS_FLAGS = frozenset(
    "ro rw suid nosuid dev nodev exec noexec sync async dirsync atime noatime diratime nodiratime relatime "
    "norelatime strictatime nostrictatime mand nomand private rprivate slave rslave shared rshared "
    "unbindable runbindable bind rbind".split()
)
_TMPFS_VALUES = ("mode", "size", "nr_inodes", "nr_blocks", "uid", "gid", "mpol", "huge")


def _request(kind: str, source: str, destination: str) -> Mount:
    return {
        "Type": kind,
        "Source": source,
        "Destination": destination,
        "RW": True,
        "Mode": "",
        "Propagation": "",
    }


def check_target(path: str, text: str) -> str:
    """The cleaned absolute target."""
    if "\0" in path:
        raise InvalidArgument(f"invalid volume specification: {text!r}: NUL in a path")
    if not path.startswith("/"):
        raise InvalidArgument(
            f"invalid volume specification: '{text}': "
            f"invalid mount path: '{path}' mount path must be absolute"
        )
    clean = "/" + posixpath.normpath(path).strip("/")
    if clean == "/":
        raise InvalidArgument(
            f"invalid volume specification: '{text}': invalid specification: destination can't be '/'"
        )
    return clean


def parse_volume(text: str, driver: str = "") -> Mount:
    """-v [SOURCE:]TARGET[:MODES]."""
    parts = text.split(":")
    if len(parts) > 3 or not parts[0] or not parts[-1]:
        raise InvalidArgument(
            f"invalid spec: {text}: empty section between colons"
            if "" in parts
            else f"invalid volume specification: '{text}'"
        )
    if len(parts) == 1:
        return {**_request("volume", "", check_target(text, text)), "Driver": driver or "local"}
    source, target = parts[0], parts[1]
    modes = parts[2].split(",") if len(parts) == 3 else []
    if len(parts) == 2 and not target.startswith("/") and source.startswith("/"):
        # "/data:ro": an anonymous volume with modes
        source, target, modes = "", source, target.split(",")
    if source.startswith(("./", "/")) or source == ".":
        mount = _request("bind", os.path.abspath(source), check_target(target, text))
        mount.update(MakeSource=True, Recursive=True, Propagation="rprivate")
    else:
        mount = {**_request("volume", source, check_target(target, text)), "Driver": driver or "local"}
    mount["Mode"] = ",".join(modes)
    for mode in modes:
        _apply_mode(mount, mode, text)
    return mount


def _apply_mode(mount: Mount, mode: str, text: str) -> None:
    if mode in ("ro", "rw"):
        mount["RW"] = mode == "rw"
    elif mode in _PROPAGATION and mount["Type"] == "bind":
        mount["Propagation"] = mode
    elif mode == "nocopy" and mount["Type"] == "volume":
        mount["NoCopy"] = True
    elif mode == "bind-nonrecursive" and mount["Type"] == "bind":
        mount["Recursive"] = False
    elif mode not in _IGNORED_MODES:
        raise InvalidArgument(f"invalid volume specification: '{text}': invalid mode: {mode}")


def parse_mount(text: str) -> Mount:
    """--mount type=…,src=…,dst=…: comma separated, quoted as CSV."""
    import csv

    fields = next(csv.reader([text]), [])
    values: dict[str, str] = {}
    flags: dict[str, bool] = {}
    labels: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        key = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}.get(
            key.lower(), key.lower()
        )
        if key in ("readonly", "volume-nocopy", "bind-nonrecursive"):
            flags[key] = _boolean(value if equals else "true", field)
        elif not equals:
            raise InvalidArgument(f"invalid field '{field}' must be a key=value pair")
        elif key == "volume-label":
            name, _, label = value.partition("=")
            labels[name] = label
        elif key in ("volume-opt",):
            raise NotSupported("volume-opt is not supported: pyd has the local driver without options")
        elif key in _MOUNT_KEYS:
            values[key] = value
        else:
            raise InvalidArgument(f"unexpected key '{key}' in '{field}'")
    kind = values.get("type", "volume")
    if kind not in ("bind", "volume", "tmpfs"):
        if kind in ("image", "npipe", "cluster"):
            raise NotSupported(f"--mount type={kind} is not supported", "use type=bind, volume or tmpfs")
        raise InvalidArgument(f"invalid argument {text!r} for --mount: mount type unknown: {kind!r}")
    if "target" not in values:
        raise InvalidArgument("target is required")
    for key in (*values, *flags):
        if key.partition("-")[0] in ("bind", "volume", "tmpfs") and key.partition("-")[0] != kind:
            raise InvalidArgument(f"cannot mix '{key.partition('-')[0]}-*' options with mount type '{kind}'")
    source = values.get("source", "")
    mount = _request(kind, source, check_target(values["target"], text))
    mount["RW"] = not flags.get("readonly", False)
    if kind == "bind":
        _bind(mount, source, values, flags)
    elif kind == "volume":
        mount["Driver"] = values.get("volume-driver", "local")
        mount["NoCopy"] = flags.get("volume-nocopy", False)
        mount["Subpath"] = values.get("volume-subpath", "")
        mount["Labels"] = labels
    else:
        if source:
            raise InvalidArgument('invalid mount config for type "tmpfs": field Source must not be specified')
        mount["Options"] = _tmpfs_options(values)
    return mount


_MOUNT_KEYS = frozenset(
    "type source target bind-propagation bind-recursive consistency volume-driver volume-subpath "
    "tmpfs-size tmpfs-mode".split()
)


def _bind(mount: Mount, source: str, values: dict[str, str], flags: dict[str, bool]) -> None:
    if not source:
        raise InvalidArgument('invalid mount config for type "bind": field Source must not be empty')
    if not source.startswith(("/", ".")):
        raise InvalidArgument(
            f'invalid mount config for type "bind": '
            f"invalid mount path: '{source}' mount path must be absolute"
        )
    propagation = values.get("bind-propagation", "rprivate")
    if propagation not in _PROPAGATION:
        raise InvalidArgument(f"invalid propagation value: {propagation}")
    recursive = values.get("bind-recursive", "enabled")
    if recursive not in ("enabled", "disabled", "writable", "readonly"):
        raise InvalidArgument(f"invalid value for bind-recursive: {recursive}")
    mount.update(
        Source=os.path.abspath(source),
        Propagation=propagation,
        MakeSource=False,
        Recursive=recursive != "disabled" and not flags.get("bind-nonrecursive", False),
        Writable=recursive == "writable",
    )
    if recursive == "readonly":
        if mount["RW"] or propagation != "rprivate":
            raise InvalidArgument(
                "mount options conflict: bind-recursive=readonly needs readonly and bind-propagation=rprivate"
            )
        if not _can_set_below():
            raise NotSupported(
                "bind-recursive=readonly is not supported by this kernel", "it needs Linux 5.12: leave it out"
            )


def _tmpfs_options(values: dict[str, str]) -> list[str]:
    options = []
    if "tmpfs-size" in values:
        try:
            options.append(f"size={parse_size(values['tmpfs-size'])}")
        except ValueError as error:
            raise InvalidArgument(f"invalid value for tmpfs-size: {error}") from None
    if "tmpfs-mode" in values:
        mode = values["tmpfs-mode"]
        if not mode or not set(mode) <= set("01234567"):
            raise InvalidArgument(f"invalid value for tmpfs-mode: {mode}")
        options.append(f"mode={mode}")
    return options


def parse_tmpfs(text: str) -> Mount:
    """--tmpfs TARGET[:OPTIONS]."""
    target, _, options = text.partition(":")
    mount = _request("tmpfs", "", check_target(target, text))
    mount["Options"] = [option for option in options.split(",") if option]
    for option in mount["Options"]:
        name, equals, _ = option.partition("=")
        if option not in _TMPFS_FLAGS and not (equals and name in _TMPFS_VALUES):
            raise InvalidArgument(f'invalid tmpfs option ["{option}"]')
    mount["RW"] = "ro" not in mount["Options"]
    return mount


def _boolean(text: str, field: str) -> bool:
    if text.lower() in ("1", "true"):
        return True
    if text.lower() in ("0", "false"):
        return False
    raise InvalidArgument(f"invalid value for {field.partition('=')[0]}: {text}")


def unique(mounts: Iterable[Mount]) -> list[Mount]:
    """The same, checked that no two have one destination."""
    seen: dict[str, Mount] = {}
    for mount in mounts:
        if mount["Destination"] in seen:
            raise InvalidArgument(f"Duplicate mount point: {mount['Destination']}")
        seen[mount["Destination"]] = mount
    return list(seen.values())


def oci(mounts: Sequence[Mount]) -> list[Mount]:
    """Entries of config.json, parents before children. `Source` of volumes must be the host path by now."""
    return [_oci(mount) for mount in sorted(mounts, key=lambda mount: mount["Destination"].count("/"))]


def _oci(mount: Mount) -> Mount:
    if mount["Type"] == "tmpfs":
        options = ["noexec", "nosuid", "nodev", *mount.get("Options", ())]
        if not mount["RW"] and "ro" not in options:
            options.append("ro")
        return {"destination": mount["Destination"], "type": "tmpfs", "source": "tmpfs", "options": options}
    options = ["bind" if mount.get("Recursive") is False else "rbind"]
    if not mount["RW"]:
        options.append("ro")
        if (
            mount["Type"] == "bind"
            and options[0] == "rbind"
            and not mount.get("Writable")
            and _can_set_below()
        ):
            options.append("rro")  # "ro" alone leaves a disk that is mounted below writable
    if mount.get("Subpath"):
        options.append(f"dev.pyd.subpath={mount['Subpath']}")
    options.append(mount["Propagation"] or "rprivate")
    return {
        "destination": mount["Destination"],
        "type": "bind",
        "source": mount["Source"],
        "options": options,
    }


def _can_set_below() -> bool:
    """Whether the kernel has mount_setattr(2), which makes a whole tree of mounts read-only."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor.partition("-")[0])) >= (5, 12)


def root_propagation(mounts: Iterable[Mount]) -> str:
    """What the container's root must be for its mounts to see the host's (slave) or give theirs back
    (shared).
    """
    values = {mount["Propagation"].removeprefix("r") for mount in mounts}
    return "shared" if "shared" in values else "slave" if "slave" in values else ""
