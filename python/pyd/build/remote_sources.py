"""ADD of what is elsewhere: first only what it is now (a commit, an unchanged file), which the key of the
step is made of; its files when the step has to be done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from pyd.build import git, remote, urls
from pyd.build.events import Step
from pyd.build.keys import key_of
from pyd.build.kinds import Transfer
from pyd.errors import InvalidArgument
from pyd.record import Record, replace
from pyd.store.build_cache import BuildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.build.build import Build


class Found(Record):
    """fingerprint: what takes part in the key. get: (directory, file in it or "" for all of it)."""

    fingerprint: list[str]
    get: Callable[[], tuple[str, str]]
    is_file: bool


def is_remote(source: str) -> bool:
    """For ADD: COPY takes local files only."""
    return urls.is_http(source) or git.parse(source) is not None


def find(build: Build, instruction: Transfer, source: str, step: Step) -> Found:
    parsed = git.parse(source)
    if parsed is not None:
        return _repository(build, instruction, parsed)
    return _file(build, instruction, source, step)


def _repository(build: Build, instruction: Transfer, source: git.GitSource) -> Found:
    if instruction.keep_git_dir is not None:
        source = replace(source, keep_git_dir=instruction.keep_git_dir)
    if instruction.checksum:
        git.check_checksum(instruction.checksum)
        source = replace(source, checksum=instruction.checksum)
    repository = git.Repository(
        source, build.scratch.directory(), secret=build.secrets.get, agent=build.ssh.socket("default") or ""
    )
    resolved = repository.resolve()
    build.uses(source.shown, resolved.commit)
    fingerprint = ["git", resolved.commit, source.subdir, str(bool(source.keep_git_dir))]
    return Found(fingerprint, lambda: (repository.checkout(resolved).root, ""), is_file=False)


def _file(build: Build, instruction: Transfer, source: str, step: Step) -> Found:
    if instruction.checksum.startswith("sha") is False and instruction.checksum:
        raise InvalidArgument(f"invalid checksum {instruction.checksum!r}: sha256:<64 hex digits>")
    key = key_of({"kind": "URL", "url": urls.redacted(source)})
    before = build.store.build_cache.find(key)

    def fetch(known: dict[str, Any] | None) -> remote.Fetched:
        directory = f"{build.scratch.directory()}/url-{os.urandom(8).hex()}"
        os.mkdir(directory, 0o700)
        return remote.fetch(
            source,
            scratch=directory,
            checksum=instruction.checksum,
            known=known,
            secret=build.secrets.get,
            told=lambda what, done, total: build.watcher.counts(step, what, done, total),
        )

    fetched = fetch(dict(before.value) if before is not None else None)
    build.uses(urls.redacted(source), fetched.digest)
    if fetched.path:
        now = time.time()
        memory = BuildStep(key, "", {"kind": "URL"}, None, fetched.memory(), now, now)
        build.store.build_cache.add(memory)

    def get() -> tuple[str, str]:
        """The name is that of the URL; the time is that of the server."""
        got = fetched if fetched.path else fetch(None)
        directory = os.path.dirname(got.path)
        path = f"{directory}/{got.filename}"
        if got.path != path:
            os.rename(got.path, path)
        os.utime(path, (got.mtime, got.mtime))
        os.chmod(path, 0o600)
        return directory, got.filename

    fingerprint = ["url", fetched.digest, fetched.filename, str(fetched.mtime)]
    return Found(fingerprint, get, is_file=True)
