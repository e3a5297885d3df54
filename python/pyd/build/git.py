"""A commit of a git repository as a directory: shallow, with submodules, resolved once.

`Repository.resolve` asks which commit a ref is at (the cache key of a step), `Repository.checkout` fetches
just that commit. The repository is fetched into a directory of ours that is removed again, .git included,
unless it is to be kept.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable

from pyd.build import inside
from pyd.build.git_program import Git, failed
from pyd.build.git_source import (
    GitSource,
    check_checksum,
    is_abbreviated,
    is_commit,
    parse,
)
from pyd.errors import CorruptData, InvalidArgument, NotFound, PydError, Unavailable, from_os_error
from pyd.record import Record

__all__ = ["Checkout", "GitSource", "Repository", "Resolved", "check_checksum", "parse"]

_MOST_FILES = 4_000_000  # of a commit, directories too
# what a server says that gives out the tips of branches only
_UNADVERTISED = ("not our ref", "unadvertised object", "allow request for")


class Resolved(Record):
    commit: str
    name: str  # full name of the ref; "" for a commit that was named itself


class Checkout(Record):
    root: str  # directory on the host, with the files of the subdirectory that was asked for
    commit: str


class Repository:
    """`scratch`: an existing directory of ours. `secret`: GIT_AUTH_HEADER[.<host>] and
    GIT_AUTH_TOKEN[.<host>] are looked up, as in BuildKit. `agent`: socket of an ssh agent. Raises
    NotSupported where git is missing.
    """

    def __init__(
        self,
        source: GitSource,
        scratch: str,
        *,
        secret: Callable[[str], bytes | None] | None = None,
        agent: str = "",
    ) -> None:
        self._source = source
        self._home = f"{scratch}/{os.urandom(8).hex()}"
        os.mkdir(self._home, 0o700)
        secrets = _secrets(source, secret)
        self._git = Git(self._home, secrets=secrets, agent=agent, shown=source.shown)

    def resolve(self) -> Resolved:
        """Asks the server, unless the ref is a commit. Raises NotFound for a ref that there is not."""
        ref = self._source.ref
        if is_commit(ref):
            return self._checked(Resolved(ref, ""))
        wanted = ref or "HEAD"
        try:
            answer = self._git.run("ls-remote", "--", self._source.remote, wanted, f"{wanted}^{{}}")
        except PydError as error:
            raise failed(error, f"failed to fetch remote {self._source.shown}") from None
        found: dict[str, str] = {}
        for line in answer.splitlines():
            commit, _, name = line.partition("\t")
            if is_commit(commit):
                found[name] = commit
        # the order of gitrevisions(7)
        for name in (wanted, f"refs/{wanted}", f"refs/tags/{wanted}", f"refs/heads/{wanted}"):
            if name in found and (name == "HEAD" or name.startswith("refs/")):
                return self._checked(Resolved(found.get(f"{name}^{{}}", found[name]), name))
        hint = None
        if is_abbreviated(ref):
            hint = "a commit must be given with all of its digits: servers do not look up shortened ones"
        raise NotFound(f"repository {self._source.shown} does not contain ref {wanted}", hint)

    def checkout(self, resolved: Resolved | None = None) -> Checkout:
        """Fetch the commit and unpack it. Raises NotFound for a commit or subdirectory that there is not,
        CorruptData when the commit is not the one of the checksum, Unavailable when git fails.
        """
        resolved = resolved or self.resolve()
        tree = f"{self._home}/tree"
        self._git.run("init", "--quiet", "--template=", "--", tree)
        self._git.run("config", "--", "remote.origin.url", self._source.remote, directory=tree)
        try:
            commit = self._fetch(tree, resolved)
            listing = ("-r", "-t", "-z", "--name-only", "--full-tree", commit)
            self._git.run("ls-tree", *listing, directory=tree, most=_MOST_FILES)
            self._git.run("checkout", "--quiet", "--force", "--detach", commit, "--", directory=tree)
            if self._source.submodules is not False and os.path.lexists(f"{tree}/.gitmodules"):
                words = ("--init", "--recursive", "--depth=1", "--quiet")
                self._git.run("submodule", "update", *words, directory=tree)
        except PydError as error:
            raise failed(error, f"failed to fetch remote {self._source.shown}") from None
        root = self._subdir(tree)
        keep = self._source.keep_git_dir and root == tree
        try:
            if keep:
                self._tidy(tree)
            else:
                _remove_git(tree)
        except OSError as error:
            raise from_os_error(error, f"preparing {self._source.shown}") from error
        return Checkout(root=root, commit=commit)

    def _fetch(self, tree: str, resolved: Resolved) -> str:
        """The commit, which is in the repository then."""
        if resolved.name:
            self._get(tree, f"+{resolved.name}:{_local_name(resolved.name)}")
            if self._commit(tree, "FETCH_HEAD") == resolved.commit:
                return resolved.commit
            # it has moved since it was looked up: what was looked up is what counts
        try:
            self._get(tree, resolved.commit)
        except Unavailable as error:
            if not any(words in error.message for words in _UNADVERTISED):
                raise
            self._get(tree, "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*", whole=True)
        commit = self._commit(tree, resolved.commit)
        if not commit:
            raise NotFound(f"there is no commit {resolved.commit}")
        return self._checked(Resolved(commit, "")).commit

    def _get(self, tree: str, *specs: str, whole: bool = False) -> None:
        words = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--force", "--update-head-ok"]
        try:
            depth = () if whole else ("--depth=1",)
            self._git.run(*words, *depth, "--", "origin", *specs, directory=tree)
        except Unavailable as error:
            # plain files behind http, "dumb" servers, have no shallow fetch
            if whole or not any(word in error.message for word in ("shallow", "--depth")):
                raise
            self._git.run(*words, "--", "origin", *specs, directory=tree)

    def _commit(self, tree: str, name: str) -> str:
        """The commit that `name` leads to; "" if it leads to none."""
        words = ("rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}")
        try:
            return self._git.run(*words, directory=tree).strip()
        except Unavailable:
            return ""

    def _checked(self, resolved: Resolved) -> Resolved:
        wanted = self._source.checksum
        if wanted and not resolved.commit.startswith(wanted):
            raise CorruptData(
                f"{self._source.shown}: expected checksum to match {wanted}, got {resolved.commit}"
            )
        return resolved

    def _subdir(self, tree: str) -> str:
        subdir = self._source.subdir
        try:
            root = inside.locate(tree, subdir)
            is_directory = stat.S_ISDIR(os.lstat(root).st_mode)
        except OSError as error:
            cause = os.strerror(error.errno or 0).lower()
            raise NotFound(f"{self._source.shown}: failed to open subdir {subdir}: {cause}") from None
        if not is_directory:
            raise InvalidArgument(f"{self._source.shown}: subdir {subdir} is not a directory")
        if f"{root}/".startswith(f"{tree}/.git/"):
            raise InvalidArgument(f"{self._source.shown}: subdir {subdir} is in .git")
        return root

    def _tidy(self, tree: str) -> None:
        """Leave in .git what depends on the commit alone."""
        for name in ("FETCH_HEAD", "ORIG_HEAD", "index"):
            if os.path.lexists(f"{tree}/.git/{name}"):
                os.unlink(f"{tree}/.git/{name}")
        # an index without the times and inodes of this host
        self._git.run("read-tree", "HEAD", directory=tree)


def _local_name(name: str) -> str:
    if name.startswith("refs/tags/"):
        return name
    branch = name.removeprefix("refs/heads/")
    return f"refs/remotes/origin/{branch}" if branch != name else f"refs/fetched/{name.removeprefix('refs/')}"


def _remove_git(tree: str) -> None:
    """What git has put into the tree and its submodules: no file of a commit can have this name."""
    from pyd import _native

    for directory, names, files in os.walk(tree):
        if ".git" in names or ".git" in files:
            _native.remove_tree(f"{directory}/.git")
            names[:] = [name for name in names if name != ".git"]


def _secrets(source: GitSource, secret: Callable[[str], bytes | None] | None) -> list[tuple[str, str]]:
    """Settings of git with the Authorization header for the remote, scoped as BuildKit scopes it."""
    if not source.remote.startswith(("http://", "https://")):
        return []
    if source.authorization is not None:
        scheme = source.remote.partition("://")[0]
        return [_header(f"{scheme}://{source.host}/", source.authorization.header)]
    if secret is None:
        return []
    for name in (f".{source.host}", ""):
        header = secret(f"GIT_AUTH_HEADER{name}")
        token = secret(f"GIT_AUTH_TOKEN{name}") if header is None else None
        if token is not None:
            text = b"x-access-token:" + token.rstrip(b"\r\n")
            header = b"basic " + base64.b64encode(text)
        if header is not None:
            return [_header(_scope(source.remote), header.decode("latin-1").strip())]
    return []


def _header(scope: str, value: str) -> tuple[str, str]:
    if not value.isprintable():
        raise InvalidArgument("the secret GIT_AUTH_… is no HTTP header", "it must be one line")
    return f"http.{scope}.extraHeader", f"Authorization: {value}"


def _scope(remote: str) -> str:
    """A token for one repository of GitHub is tried for its others, submodules above all."""
    for prefix in ("https://github.com/", "https://www.github.com/"):
        if remote.startswith(prefix):
            return prefix
    return remote
