"""Everything that pyd raises, in one tree.

    PydError                      message, hint
    ├── InvalidArgument           400  a value that the caller gave is wrong
    ├── Unauthorized              401  the registry wants credentials
    ├── Forbidden                 403  the registry or the kernel refuses
    ├── NotFound                  404
    │   ├── ImageNotFound
    │   ├── ContainerNotFound
    │   ├── VolumeNotFound
    │   ├── NetworkNotFound
    │   └── ExecNotFound
    ├── Conflict                  409  the object is in a state that does not allow it
    ├── NotModified               304  already started, already stopped
    ├── NotSupported              501  this host or this version cannot
    ├── Unavailable               503  a registry or another process did not answer
    ├── Cancelled                 499  Ctrl-C
    ├── DeadlineExceeded          504
    ├── RegistryError             502  the registry answered nonsense (wrong digest, bad manifest)
    ├── CorruptData               500  what is on disk, in a layer or an archive is not what it must be
    ├── StartError                500  stage, op, path, errno: the process could not be started
    └── KernelError               500  op, path, errno

Rust raises the same classes (rust/native/src/error.rs). `message` is one sentence with the cause, lower case
where Docker's is; `hint` is the remedy where it is known. Wording follows Docker where scripts match on it.
"""

from __future__ import annotations

import errno as _errno
import os


class PydError(Exception):
    """Base of all errors of pyd."""

    status = 500  # HTTP status of the daemon API
    exit_code = 125  # exit status of `run`, `create`, `start`, `exec`; other commands exit 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        # Names from images and registries get into messages, and those into terminals and logs: one line, and
        # nothing in it that a terminal would obey
        if not message.isprintable():
            message = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        if hint and not hint.isprintable():
            hint = "".join(c if c.isprintable() else repr(c)[1:-1] for c in hint)
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class InvalidArgument(PydError):
    status = 400


class Unauthorized(PydError):
    status = 401


class Forbidden(PydError):
    status = 403


class NotFound(PydError):
    status = 404


class ImageNotFound(NotFound):
    pass


class ContainerNotFound(NotFound):
    pass


class VolumeNotFound(NotFound):
    pass


class NetworkNotFound(NotFound):
    pass


class ExecNotFound(NotFound):
    pass


class Conflict(PydError):
    status = 409


class NotModified(PydError):
    status = 304


class NotSupported(PydError):
    status = 501


class Unavailable(PydError):
    status = 503


class Cancelled(PydError):
    status = 499
    exit_code = 130


class DeadlineExceeded(PydError):
    status = 504


class RegistryError(PydError):
    status = 502


class CorruptData(PydError):
    status = 500


class KernelError(PydError):
    """A system call failed: `op` is the call, `path` what it was about, `errno` why."""

    def __init__(
        self, message: str, hint: str | None = None, *, op: str = "", path: str = "", errno: int = 0
    ) -> None:
        super().__init__(message, hint)
        self.op = op
        self.path = path
        self.errno = errno


class StartError(KernelError):
    """The container's process could not be started; `stage` names the step of the start that failed.

    exit_code is 127 when the command does not exist, 126 when it exists and cannot be executed, else 125.
    """

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        stage: str = "",
        op: str = "",
        path: str = "",
        errno: int = 0,
        exit_code: int = 125,
    ) -> None:
        super().__init__(message, hint, op=op, path=path, errno=errno)
        self.stage = stage
        self.exit_code = exit_code


def from_os_error(error: OSError, doing: str) -> PydError:
    """The PydError for an OSError of our own file work; `doing` is "reading /x" or the like."""
    cause = os.strerror(error.errno) if error.errno else str(error)
    hint = _REMEDY.get(error.errno or 0)
    return KernelError(
        f"{doing}: {cause[:1].lower()}{cause[1:]}",
        hint,
        op=doing,
        path=str(error.filename or ""),
        errno=error.errno or 0,
    )


_REMEDY = {
    _errno.ENOSPC: "free space on the file system of the data-root (pyd rm, pyd rmi) or choose another with "
    "--data-root",
    _errno.EDQUOT: "the disk quota is used up: free space or choose another --data-root",
    _errno.EACCES: "run as root, or point --data-root and --run-root at directories that you own",
    _errno.EPERM: "run as root, or check `pyd doctor` for what this host does not allow",
    _errno.EROFS: "the file system is read-only: choose another --data-root",
    _errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
