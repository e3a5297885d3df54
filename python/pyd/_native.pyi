"""The Rust extension: what must be fast or must talk to the kernel. Every call releases the GIL.

Written by hand and compared with the extension by `mypy.stubtest`. All errors are classes of
`pyd.errors`: CorruptData for hostile or damaged bytes, RegistryError for a wrong digest or size,
Unavailable for a transfer that was cut, KernelError (op, path, errno) for a system call, Cancelled after
`Progress.cancel`, NotSupported for what this host or version cannot, InvalidArgument for a value that
cannot be, NotFound and Conflict where it is said. Calls that can last (unpacking, hashing, removing) notice
Ctrl-C when made from the main thread: they stop and raise KeyboardInterrupt. Paths are `str` with
surrogateescape or `os.PathLike`.
Digests are `sha256:` and 64 lower-case hex digits.
"""

import os
from typing import Any, TypeAlias, final

__all__ = [
    "Allowance",
    "BuildContext",
    "FileDifference",
    "FileNode",
    "ImageContent",
    "LayerContent",
    "LayerIngest",
    "LayerStack",
    "LayerTree",
    "PackedLayer",
    "Progress",
    "SealedLayer",
    "Selection",
    "UnpackedLayer",
    "ZstdDecoder",
    "capabilities",
    "cgroup_destroy",
    "cgroup_info",
    "cgroup_pids",
    "cgroup_stats",
    "compare_layers",
    "compress_tar",
    "copy_files",
    "disk_usage",
    "explore_layers",
    "hash_file",
    "inflate_blob",
    "list_changes",
    "make_directory",
    "network_addresses",
    "network_forget",
    "network_links",
    "network_obstacles",
    "pack_layer",
    "pack_tree",
    "reclamp",
    "remove_tree",
    "seal_layer",
    "seccomp_supported",
    "settle_layer",
    "syncfs",
    "tree_usage",
    "unpack_archive",
    "unpack_blob",
]

_Path: TypeAlias = str | os.PathLike[str]

@final
class Progress:
    """Two counters that another thread may read at any time, and the flag that stops the work they count."""

    def __new__(cls, total: int = 0) -> Progress: ...
    @property
    def total(self) -> int:
        """Bytes to come (0: unknown); set to `size` by the job that gets this object."""
    @property
    def done(self) -> int:
        """Bytes (of the blob as stored) taken in so far, replayed ones of a resumed blob included."""
    @property
    def cancelled(self) -> bool: ...
    def cancel(self) -> None:
        """The job raises Cancelled at its next chunk; its files in `dest` are for the caller to remove."""

@final
class Allowance:
    """How many bytes of uncompressed tar the jobs that share it may take in, together."""

    def __new__(cls, total: int) -> Allowance: ...
    @property
    def used(self) -> int: ...

@final
class UnpackedLayer:
    """A verified layer. `parents`-dependent work is left in it for `settle_layer`."""

    @property
    def digest(self) -> str:
        """Digest of the blob as stored."""
    @property
    def size(self) -> int:
        """Bytes of the blob as stored."""
    @property
    def diff_id(self) -> str:
        """Digest of the uncompressed tar; empty when `dest` was None."""
    @property
    def unpacked_size(self) -> int:
        """Bytes in regular files (hard links once, holes counted), as Docker counts image sizes."""
    @property
    def entries(self) -> int:
        """Entries of the tar, whiteouts included."""
    @property
    def implied_dirs(self) -> int:
        """Parent directories that no entry described: `settle_layer` gives them the lower layer's mode and
        owner.
        """
    @property
    def lower_links(self) -> int:
        """Hard links to files that only a lower layer has: `settle_layer` copies those up."""

@final
class LayerIngest:
    """One pass over one blob: bytes -> partial file -> sha256 -> inflate -> sha256 -> files in `dest`.

    `partial`: file that receives the bytes; what an earlier one left in it is used. The caller holds the lock
    on it. `dest`: empty directory for the files, or None to store the blob only. `media_type`: the
    descriptor's; its compression must agree with the first bytes; "" decides by the bytes alone. `digest`,
    `size`: the descriptor's; no byte more is taken. `diff_id`: from the image config, or None to accept any.
    `allowance`: bounds what it unpacks to (CorruptData).

    Several threads may put bytes in, each what it has claimed; threads of the ingest follow as far as there
    is no gap. After an error nothing more can be put in, and every call raises it. The partial is kept when
    the transfer was cut, cancelled or the disk was full, and removed when its bytes are wrong. `dest` is left
    for the caller to remove.
    """

    def __new__(
        cls,
        partial: _Path,
        dest: _Path | None,
        *,
        media_type: str,
        digest: str,
        size: int,
        diff_id: str | None = None,
        progress: Progress | None = None,
        allowance: Allowance | None = None,
    ) -> LayerIngest: ...
    @property
    def offset(self) -> int:
        """Bytes of an existing partial that were there without a gap at the beginning."""
    @property
    def starved(self) -> float:
        """Seconds that the pass had to wait for bytes so far."""
    @property
    def failed(self) -> bool:
        """Whether an error has ended it; False after `finish` and `abort`."""
    def claim(self, *, whole: bool = True) -> tuple[int, int] | None:
        """The first bytes (start, end) that are missing and that nobody has claimed: the rest of a piece of
        32 MiB, or with `whole` all up to the next that is claimed or there. None: nothing is left to fetch.
        """
    def release(self, start: int, end: int) -> None:
        """Give up a claim; what did not come can be claimed again."""
    def write(self, data: bytes, /, offset: int | None = None) -> None:
        """Bytes that belong at `offset`, or behind those that are there. A piece gets them in order."""
    def receive(self, socket: int, start: int, end: int, *, patience: float) -> tuple[int, str, int]:
        """Read the bytes `start` to `end` from the descriptor of a connected stream socket.

        (how many came, why no more did, errno): "whole", "eof", "stalled" when nothing came for `patience`
        seconds, or "failed". The descriptor must be the caller's until it returns.
        """
    def ask(self, socket: int, request: bytes, *, patience: float) -> tuple[int, bool]:
        """Send `request`, a GET of HTTP/1.1 for the whole blob, over a connected stream socket, and read the
        answer.

        (how many bytes came, whether the connection can be used again). 0 bytes and False after every answer
        but 200 with the blob's length: it is then for another client to ask. The caller has claimed all.
        `patience`: seconds for the answer's head, and for the next bytes of its body.
        """
    def finish(self, *, sync: bool = True) -> UnpackedLayer:
        """Check size, digest and diffID, and wait for the files. The caller renames the partial into the
        content store; it is on disk with `sync`. Files of `dest` are not fsynced: call `syncfs` once before
        they are recorded.
        """
    def abort(self) -> None:
        """Stop; the partial is kept for a later resume. Does nothing after `finish`."""

def unpack_blob(
    blob: _Path,
    dest: _Path,
    *,
    media_type: str = "",
    diff_id: str | None = None,
    progress: Progress | None = None,
    allowance: Allowance | None = None,
) -> UnpackedLayer:
    """Unpack a blob that is already in the store into the empty directory `dest`. `digest` of the result is
    computed from the bytes: compare it where the file's name is not proof enough.
    """

def settle_layer(layer: UnpackedLayer, dest: _Path, parents: list[str]) -> None:
    """What needs the lower layers, `parents` (their directories, nearest first): implied parent directories
    get the mode, owner, xattrs and mtime they have there; hard links to their files are copied up. Call
    once per layer, after the layers below are settled. A link whose target is nowhere raises CorruptData.
    """

@final
class LayerStack:
    """`settle_layer` for the layers of an image one after the other, bottom first: what was seen in the lower
    ones is not looked for again in each call. Nobody may change a layer that is in it.
    """

    def __new__(cls) -> LayerStack: ...
    def push(self, directory: _Path) -> None:
        """A layer that is settled already becomes the nearest."""
    def settle(self, layer: UnpackedLayer, dest: _Path) -> None:
        """Settle a layer upon those that are here; then it is the nearest."""

@final
class PackedLayer:
    """A layer that was made from directories."""

    @property
    def digest(self) -> str:
        """Digest of the bytes as written."""
    @property
    def size(self) -> int:
        """Bytes as written."""
    @property
    def diff_id(self) -> str:
        """Digest of the tar."""
    @property
    def plain_size(self) -> int:
        """Bytes of the tar."""
    @property
    def entries(self) -> int:
        """Entries of the tar, whiteouts included."""

def pack_layer(
    out: int,
    upper: _Path,
    lowers: list[str] = ...,
    *,
    ignored: list[str] = ...,
    compression: str = "gzip",
    level: int | None = None,
    threads: int = 0,
    epoch: int | None = None,
    progress: Progress | None = None,
) -> PackedLayer:
    """Write what the upper directory of an overlay changes in `lowers` (top first) to the descriptor `out`.

    An unpacked layer alone, without `lowers`, gives the tar of that layer. Whiteouts and opaque directories
    become `.wh.` entries (image-spec layer.md); a directory that is as it is below, but for its time, and in
    which nothing changed is left out, as are sockets. `ignored`: relative paths where an empty file or a
    directory that is not below is no change. `compression`: "gzip" (one member), "zstd" or "" for none;
    `threads`: 0 = all cores. `epoch`: times of modification later than this (seconds since 1970) are written
    as this. The bytes depend on contents, metadata, compression and level, on nothing else.
    `progress` counts bytes of files. Not fsynced. Files of a running container may change meanwhile: an
    entry is always that of one inode, and cut or filled with zeros to the size in its header.

    Raises NotSupported for what a layer cannot say: names that begin with `.wh.`, paths beyond 4,000 bytes,
    overlay redirects and metacopies.
    """

def pack_tree(
    out: int,
    layers: list[str],
    *,
    compression: str = "",
    level: int | None = None,
    threads: int = 0,
    epoch: int | None = None,
    progress: Progress | None = None,
) -> PackedLayer:
    """The same for everything that `layers` (top first, as overlayfs merges them) show together."""

@final
class SealedLayer:
    """A directory that became a layer for itself."""

    @property
    def diff_id(self) -> str:
        """Digest of its tar, which was not written."""
    @property
    def plain_size(self) -> int:
        """Bytes of the tar."""
    @property
    def unpacked_size(self) -> int:
        """As `UnpackedLayer.unpacked_size`."""
    @property
    def entries(self) -> int:
        """Entries of the tar, whiteouts included; 0: nothing was changed."""

def seal_layer(
    upper: _Path,
    lowers: list[str],
    *,
    ignored: list[str] = ...,
    epoch: int,
    clamp: bool = True,
    progress: Progress | None = None,
) -> SealedLayer:
    """Make the upper directory of an overlay (whose `lowers` are given top first) a snapshot: from now on
    `pack_layer(fd, upper, compression="")` alone gives `diff_id`, whenever it is asked.

    Removed are sockets, empty mount points (`ignored`, as for `pack_layer`), directories that are as they are
    below and in which nothing changed, immutable flags where they are in the way, and the attributes in which
    overlayfs keeps notes; whiteouts and opaque directories stay. The root gets what the root below has. Times
    of modification later than `epoch` (seconds since 1970) become `epoch`; without `clamp` the files keep
    theirs and `diff_id` is the same: call `reclamp` later. `progress` counts bytes of files. Not fsynced.
    Nobody may write into `upper` meanwhile. After an error it is only good to be removed. Raises NotSupported
    as `pack_layer` does.
    """

def reclamp(directory: _Path, epoch: int) -> None:
    """Set all times of modification in a sealed snapshot that are later than `epoch` to `epoch`."""

@final
class Selection:
    """What one COPY will copy: found and read."""

    @property
    def digest(self) -> str:
        """Over everything that the copy is made of: paths at the destination, kinds, modes, contents, targets
        of links, hard links, attributes (security.capability, user.*), of layers owners as well; not times.
        """
    @property
    def files(self) -> int:
        """All but directories."""
    @property
    def bytes(self) -> int:
        """In regular files."""
    @property
    def roots(self) -> list[tuple[str, str, str]]:
        """(pattern, path that it matched, "directory" or "file") in order. Of a directory the content is
        copied; a file keeps the last name of its path where the destination is a directory.
        """
    def open(self, root: int) -> int:
        """A descriptor, the caller's to close, of a root that is a regular file (by its place in `roots`)."""
    def listing(self) -> list[tuple[str, str]]:
        """(path in the source, kind, mode, short digest and owner as a text) of every entry, in order."""

@final
class BuildContext:
    """A directory of the host, without what .dockerignore takes away.

    `ignore`: its patterns in order, with the meaning that they have in moby/patternmatcher (a slash at the
    beginning says nothing). `cache`: file in which digests are remembered by (device, inode, size, mode,
    mtime, ctime), replaced as a whole, at most 20 MB; damaged and foreign ones count as empty. A file that
    changed within a second before it was read is not written down there, for a second change could go
    unnoticed. For the life of this object what was read once is not read again while stat(2) says the same.
    May be used by several threads.
    """

    def __new__(cls, root: _Path, *, ignore: list[str] = ..., cache: str | None = None) -> BuildContext: ...
    def select(
        self,
        patterns: list[str],
        *,
        excludes: list[str] = ...,
        parents: bool = False,
        required: bool = True,
        follow: bool = True,
        progress: Progress | None = None,
    ) -> Selection:
        """Find and read what the sources of a COPY mean. Each is a path from the root, above which no `..`
        leads, or has wildcards of Go's filepath.Match in its names. Symbolic links are resolved inside the
        root, at the end only with `follow` (as COPY and ADD do, for matches of wildcards too); those inside a
        directory stay links. `excludes`: patterns relative to each directory that is copied; a file is
        excluded by its name if a wildcard matched it, not if it was named. `parents`: each keeps its
        directories, from `/./` on if that is in it. Sockets, and what vanishes meanwhile, are not there.

        Raises NotFound (`"/x": not found`) with `required` for a path without wildcards that is not there,
        and always for a match that is a link to nowhere; InvalidArgument for a pattern that cannot be;
        Conflict for a file that changes again and again while it is read. `progress` counts bytes read.
        """

@final
class LayerTree:
    """A stack of layers (directories, top first) as overlayfs would show it."""

    def __new__(cls, layers: list[str]) -> LayerTree: ...
    def select(
        self,
        patterns: list[str],
        *,
        excludes: list[str] = ...,
        parents: bool = False,
        required: bool = True,
        follow: bool = True,
        progress: Progress | None = None,
    ) -> Selection:
        """As `BuildContext.select`; owners count, and access lists."""

def copy_files(
    selection: Selection,
    *,
    lowers: list[str],
    upper: _Path,
    work: _Path,
    dest: str,
    dest_is_dir: bool,
    uid: int | None = None,
    gid: int | None = None,
    chmod: int | str | None = None,
    epoch: int | None = None,
    make_parents_mode: int = 0o755,
    progress: Progress | None = None,
) -> None:
    """Write a selection to the path `dest` of a container whose root is the overlay of `lowers` (top first),
    `upper` and `work`, which is mounted nowhere; without `lowers` `upper` is all there is. Links of the image
    are resolved inside that root.

    As BuildKit does: directories are merged (one that is copied gives its mode and owner to one that is
    there, the root of a copied directory does not), a file replaces anything but a directory, the last source
    wins, hard links within a source stay. What is missing on the way is made with `make_parents_mode`, owned
    by `uid` and `gid` or root. `dest_is_dir`: `dest` ends in a slash, or there are several sources. `uid`,
    `gid` None: the owner at the source, 0 for a build context. `chmod`: octal (a number), or symbolic as of
    chmod(1), also for directories. `epoch`: time of everything that is made (seconds since 1970); None: that
    of the source.

    Raises Conflict when a file is not what was selected any more, or something is in the way (Docker's
    words), KernelError, InvalidArgument for `chmod`. After an error `upper` is only good to be removed.
    `progress` counts bytes of files. Not fsynced.
    """

def make_directory(
    path: str,
    *,
    lowers: list[str],
    upper: _Path,
    work: _Path,
    uid: int = 0,
    gid: int = 0,
    mode: int = 0o755,
    epoch: int | None = None,
) -> bool:
    """WORKDIR: make the directory `path` in the same way. False: it was there, maybe behind a link."""

def unpack_archive(
    path: _Path,
    *,
    lowers: list[str],
    upper: _Path,
    work: _Path,
    dest: str,
    uid: int = 0,
    gid: int = 0,
    epoch: int | None = None,
    progress: Progress | None = None,
    allowance: Allowance | None = None,
) -> int:
    """ADD of a local archive: unpack the tar `path` (plain, gzip or zstd by its first bytes; for a descriptor
    `/proc/self/fd/N`) into the directory `dest`, as Docker does in a chroot of it. Owners, modes and times
    are those of the archive; `uid`, `gid` and `epoch` are for directories on the way to and including `dest`
    that have to be made. Links of the image in the way are followed inside `dest`, directories are merged,
    everything else is replaced. Names that begin with `.wh.` are names. Returns the number of entries.
    `progress` counts bytes read; `allowance` bounds what it unpacks to.

    Raises CorruptData for what is no tar or leads out of its place. After an error `upper` is only good to be
    removed.
    """

def compress_tar(
    tar: _Path,
    out: int,
    *,
    compression: str = "gzip",
    level: int | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> PackedLayer:
    """The same for a tar that exists, whose entries are not counted. `progress` counts bytes read."""

def list_changes(upper: _Path, lowers: list[str], *, ignored: list[str] = ...) -> list[tuple[str, str]]:
    """("A" | "C" | "D", absolute path), by path: what Docker's `diff` compares, without mounting anything."""

def inflate_blob(blob: _Path, out: int, *, progress: Progress | None = None) -> tuple[str, int]:
    """Write the tar that is in a blob (plain, gzip or zstd by its first bytes) to `out`: (diffID, bytes)."""

@final
class ZstdDecoder:
    """One zstd frame in pieces, with the interface of bz2.BZ2Decompressor. Windows up to 128 MiB."""

    def __new__(cls) -> ZstdDecoder: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """At most `max_length` bytes; call again with b"" until `needs_input`. Raises CorruptData."""
    @property
    def needs_input(self) -> bool: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes:
        """What came after the end of the frame."""

def hash_file(path: _Path) -> str:
    """`sha256:<hex>` of a regular file."""

def remove_tree(path: _Path) -> None:
    """Remove a file or a whole directory tree; a path that does not exist is fine. Never follows links,
    never crosses into a mount (KernelError EXDEV), copes with directories without permissions, immutable
    files and trees deeper than PATH_MAX.
    """

def syncfs(path: _Path) -> None:
    """Write everything of the file system that holds `path` to disk (syncfs(2))."""

def tree_usage(path: _Path) -> tuple[int, int]:
    """(bytes in regular files and symlinks, inodes) below and including `path`; hard links count once."""

def disk_usage(paths: list[str]) -> list[tuple[int, int, int]]:
    """(bytes allocated on disk, directories too; bytes in regular files and symlinks; inodes) of each tree.

    A file with links in several of them counts for the first: the sum of the first is what du(1) says of all
    together. A path that does not exist has nothing.
    """

@final
class FileNode:
    """A file in a stack of layers, as overlayfs would show it."""

    @property
    def kind(self) -> str:
        """file, directory, symlink, fifo, socket, character device, block device"""
    @property
    def mode(self) -> int:
        """Permissions, setuid, setgid, sticky."""
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def size(self) -> int:
        """Bytes of a regular file, else 0."""
    @property
    def mtime(self) -> tuple[int, int]:
        """Seconds and nanoseconds."""
    @property
    def device(self) -> tuple[int, int]:
        """Major and minor number."""
    @property
    def target(self) -> str:
        """Of a symlink."""
    @property
    def xattrs(self) -> list[tuple[str, bytes]]:
        """By name, without those of overlayfs."""

@final
class FileDifference:
    """One path in which two stacks of layers differ."""

    @property
    def path(self) -> str:
        """Without a slash at its beginning; "" for the root."""
    @property
    def before(self) -> FileNode | None: ...
    @property
    def after(self) -> FileNode | None: ...
    @property
    def changes(self) -> list[str]:
        """type, size, content, mode, owner, target, device, xattrs, mtime; empty if only one side has it"""

@final
class LayerContent:
    """What a layer does to those below it. Pairs are (files, bytes); directories are not counted as files."""

    @property
    def entries(self) -> int:
        """All that it has, directories too, whiteouts not."""
    @property
    def bytes(self) -> int:
        """In regular files, hard links once."""
    @property
    def added(self) -> tuple[int, int]: ...
    @property
    def changed(self) -> tuple[int, int]:
        """Files that it has in the place of others, with the bytes of the new ones."""
    @property
    def removed(self) -> tuple[int, int]: ...
    @property
    def wasted(self) -> tuple[int, int]:
        """Of its own files those that a later layer replaces or removes."""
    @property
    def events(self) -> list[tuple[str, str, int]]:
        """(added, changed or removed; path; bytes), biggest first"""

@final
class ImageContent:
    """What the layers of an image make together. Layers are numbered from the bottom."""

    @property
    def layers(self) -> list[LayerContent]: ...
    @property
    def directories(self) -> list[tuple[str, int, int, int]]:
        """(path, bytes below it, files below it, uppermost layer that has it) of all visible ones, by path"""
    @property
    def files(self) -> list[tuple[str, int, int]]:
        """(path, bytes, layer) of the biggest visible ones"""
    @property
    def visible(self) -> tuple[int, int]:
        """(files, bytes) that a container sees"""
    @property
    def wasted(self) -> tuple[int, int]:
        """(files, bytes) that are stored and not visible"""
    @property
    def wastes(self) -> list[tuple[str, int, list[int]]]:
        """(path, bytes, layers that have it in vain), biggest first"""
    @property
    def copied(self) -> tuple[int, int]:
        """(files, bytes) whose content another file has as well; those below 4096 bytes are passed over"""
    @property
    def copies(self) -> list[tuple[int, list[tuple[int, str]]]]:
        """(bytes of one, [(layer, path)]) of files with the same content, what wastes most first"""
    @property
    def least(self) -> int:
        """Sum over all paths of the fewest bytes that they have in any layer (0 once removed)."""
    @property
    def stored(self) -> int:
        """Sum over all paths of the bytes that they have in all layers."""

def compare_layers(before: list[str], after: list[str]) -> list[FileDifference]:
    """What leads from the root directory that the layers `before` make (their directories, top first) to that
    of `after`, by path. What both have in common is not looked at; with nothing before, all of `after` is
    given. Files are read when their length does not tell.
    """

def explore_layers(layers: list[str], *, top: int = 0, copies: bool = True) -> ImageContent:
    """What each of `layers` (directories, bottom first) adds and what is wasted. `top`: how many of the
    biggest are listed, 0 for all. Looking for `copies` reads all files that have a length in common.
    """

def cgroup_info() -> dict[str, Any]:
    """{"mode": "v1" | "v2" | "hybrid", "controllers": {name: "v1" | "v2"}, "unusable": {name: reason},
    "missing": [..], "swap_limit", "block_weight", "v2_membership": bool} of this host.
    """

def cgroup_stats(path: str) -> dict[str, Any]:
    """Counters of the cgroup `path` ("/pyd/<id>"), in the shape of Docker's API where that has one."""

def cgroup_pids(path: str) -> list[int]:
    """Pids (in this pid namespace) of all processes in the cgroup and below."""

def cgroup_destroy(path: str) -> None:
    """Kill everything in the cgroup (thawing it first), remove it and its empty parent. Missing is fine."""

def network_forget(container_id: str) -> None:
    """Remove what a shim that was killed left of its container's network: firewall rules, host end of the
    veth.
    """

def network_addresses() -> list[str]:
    """IPv4 subnets (CIDR) that the host's addresses and routes use, for choosing a free one."""

def network_links() -> list[dict[str, Any]]:
    """Links of this network namespace: {"name", "index", "kind", "up", "mtu", "mac", "addresses": [CIDR]}."""

def network_obstacles(bridge: str) -> list[str]:
    """What keeps containers on `bridge` from the network, one sentence with the remedy each."""

def capabilities() -> dict[str, list[str]]:
    """{"effective": [..], "bounding": [..]} of this process, names as "CAP_CHOWN"."""

def seccomp_supported() -> bool:
    """Whether the kernel takes seccomp filters."""
