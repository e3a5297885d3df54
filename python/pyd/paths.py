"""Where pyd keeps its files: the data-root survives a reboot, the run-root does not.

data-root/                     default /var/lib/pyd, or $XDG_DATA_HOME/pyd for other users than root
  pyd.db                       the objects (SQLite, WAL)
  content/sha256/<hex>         blobs
  ingest/<hex>.partial         blobs that are being fetched
  snapshots/<hex>/fs           one directory per unpacked layer
  containers/<id>/             diff work hostname hosts resolv.conf exit.json <id>-json.log
  volumes/<name>/_data
  build/mounts/<name>/         what `RUN --mount=type=cache` keeps
  build/contexts/              what is remembered of the files of build contexts
  registry/                    what `pyd registry serve` keeps without a --root
  trash/                       renamed here, then deleted
run-root/                      default /run/pyd, or $XDG_RUNTIME_DIR/pyd
  containers/<id>/             the bundle of a task: config.json shim.json rootfs/ shim.lock shim.sock
"""

from __future__ import annotations

import os

from pyd import errors


class Paths:
    """The two roots and what lies below them. All values are absolute path strings."""

    __slots__ = ("data_root", "run_root")

    def __init__(self, data_root: str | None = None, run_root: str | None = None) -> None:
        self.data_root = os.path.abspath(data_root or _default_data_root())
        self.run_root = os.path.abspath(run_root or _default_run_root())

    @property
    def db(self) -> str:
        return f"{self.data_root}/pyd.db"

    @property
    def content(self) -> str:
        return f"{self.data_root}/content/sha256"

    @property
    def ingest(self) -> str:
        return f"{self.data_root}/ingest"

    @property
    def snapshots(self) -> str:
        return f"{self.data_root}/snapshots"

    @property
    def containers(self) -> str:
        return f"{self.data_root}/containers"

    @property
    def volumes(self) -> str:
        return f"{self.data_root}/volumes"

    @property
    def build(self) -> str:
        return f"{self.data_root}/build"

    @property
    def trash(self) -> str:
        return f"{self.data_root}/trash"

    @property
    def bundles(self) -> str:
        return f"{self.run_root}/containers"

    def container(self, container_id: str) -> str:
        """The persistent directory of a container."""
        return f"{self.containers}/{container_id}"

    def log(self, container_id: str) -> str:
        return f"{self.containers}/{container_id}/{container_id}-json.log"

    def exit_file(self, container_id: str) -> str:
        """What the shim writes when the container has ended."""
        return f"{self.containers}/{container_id}/exit.json"

    def bundle(self, container_id: str) -> str:
        """The directory of the running task; it exists only while there is, or may be, a task."""
        return f"{self.bundles}/{container_id}"

    def volume(self, name: str) -> str:
        return f"{self.volumes}/{name}/_data"

    def make(self) -> None:
        """Make both roots and the directories directly below them that are missing.

        0711 above, so that a container's remapped root can reach its own rootfs, and 0700 where host users
        must not walk in: layers hold setuid programs (CVE-2021-41091).
        """
        try:
            if os.path.isdir(self.trash) and os.path.isdir(self.bundles):
                return
            os.makedirs(self.data_root, mode=0o711, exist_ok=True)
            for path in (self.snapshots, self.containers, self.volumes):
                os.makedirs(path, mode=0o710, exist_ok=True)
            for path in (self.content, self.ingest, self.build):
                os.makedirs(path, mode=0o700, exist_ok=True)
            os.makedirs(self.bundles, mode=0o700, exist_ok=True)
            # last: its presence says that the others are there
            os.makedirs(self.trash, mode=0o700, exist_ok=True)
        except OSError as error:
            raise errors.from_os_error(error, f"making {error.filename or self.data_root}") from error


def _default_data_root() -> str:
    if os.environ.get("PYD_DATA_ROOT"):
        return os.environ["PYD_DATA_ROOT"]
    if os.geteuid() == 0:
        return "/var/lib/pyd"
    base = os.environ.get("XDG_DATA_HOME") or f"{os.environ.get('HOME', '/')}/.local/share"
    return f"{base}/pyd"


def _default_run_root() -> str:
    if os.environ.get("PYD_RUN_ROOT"):
        return os.environ["PYD_RUN_ROOT"]
    if os.geteuid() == 0:
        return "/run/pyd"
    base = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return f"{base}/pyd"
