"""Where the files of a build come from: a directory, an archive or Dockerfile on standard input, a URL, or a
git repository.

The rules are those of `docker buildx build`: which words name what, and that a .dockerignore counts for local
directories only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyd.build import dockerfiles
from pyd.build.dockerfiles import DOCKERFILE, IGNORE
from pyd.build.scratch import Scratch
from pyd.build.sources import Sources, Stream
from pyd.errors import InvalidArgument
from pyd.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from pyd.build import git
    from pyd.build.request import BuildRequest

_KEEP_GIT = "BUILDKIT_CONTEXT_KEEP_GIT_DIR"


class Context(Record):
    """root: directory on the host
    dockerfile_name: for messages ("Dockerfile:3:1: …")
    ignore: patterns of the .dockerignore, in order
    identity: what names the context in history: absolute path, URL without credentials, "-"
    remote: (URL without credentials, commit or digest) for provenance
    """

    root: str
    dockerfile: bytes
    dockerfile_name: str
    ignore: list[str]
    identity: str
    remote: tuple[str, str] | None = None


@contextmanager
def opened(request: BuildRequest, scratch: Scratch, sources: Sources | None = None) -> Iterator[Context]:
    """The main context. `scratch`: a directory of ours, which the caller removes afterwards.

    Raises InvalidArgument for words that go together badly or name nothing, NotFound for a missing
    Dockerfile, and what fetching and unpacking raise.
    """
    yield _Opening(request, scratch, sources or Sources()).context()


class _Opening:
    def __init__(self, request: BuildRequest, scratch: Scratch, sources: Sources) -> None:
        self._request = request
        self._scratch = scratch
        self._sources = sources

    def context(self) -> Context:
        where = self._request.context
        if not where:
            raise InvalidArgument('please specify build context (e.g. "." for the current directory)')
        if where == "-":
            return self._standard_input()
        if os.path.isdir(where):
            return self._directory(where)
        from pyd.build import git, urls

        source = git.parse(where, local_looking=True)
        if source is not None:
            return self._git(source)
        if urls.is_http(where):
            return self._url(where)
        cause = "is not a directory" if os.path.lexists(where) else "not found"
        raise InvalidArgument(f'unable to prepare context: path "{where}" {cause}')

    def _directory(self, where: str) -> Context:
        root = os.path.abspath(where)
        given = self._elsewhere()
        if given is not None:
            data, name = given
            return Context(root, data, name, dockerfiles.patterns((root, IGNORE)), root)
        top, path = dockerfiles.place(root, self._request.dockerfile)
        path = dockerfiles.cased(top, path)
        data = dockerfiles.read(top, path)
        # the Dockerfile's own counts before the context's
        ignore = dockerfiles.patterns((top, f"{path}{IGNORE}"), (root, IGNORE))
        return Context(root, data, os.path.basename(path), ignore, root)

    def _standard_input(self) -> Context:
        """An archive, or a Dockerfile with an empty context."""
        request = self._request
        if request.dockerfile == "-" and request.text is None:
            raise InvalidArgument("invalid argument: can't use stdin for both build context and dockerfile")
        stream = Stream(self._stdin(), "the archive on standard input")
        if stream.is_archive:
            return self._complete(stream.unpack(self._scratch.directory()), "-", None)
        if request.dockerfile or request.text is not None:
            raise InvalidArgument(
                "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
                "standard input is no archive: give the context as a tar, or leave out --file",
            )
        data = dockerfiles.bounded(stream.chunks(), "the Dockerfile on standard input")
        return self._alone(data, DOCKERFILE, "-", None)

    def _url(self, where: str) -> Context:
        """An archive, or a Dockerfile with an empty context."""
        from pyd.build import urls

        fetched = self._sources.fetch(where, self._scratch.directory())
        shown = urls.redacted(where)
        origin = (shown, fetched.digest)
        with open(fetched.path, "rb") as file:
            stream = Stream(file, shown)
            if stream.is_archive:
                root = stream.unpack(self._scratch.directory())
                os.unlink(fetched.path)
                return self._complete(root, shown, origin)
            data, name = self._elsewhere() or (dockerfiles.bounded(stream.chunks(), shown), fetched.filename)
        os.unlink(fetched.path)
        return self._alone(data, name, shown, origin)

    def _git(self, source: git.GitSource) -> Context:
        if self._request.build_args.get(_KEEP_GIT, "").lower() in ("1", "t", "true"):
            source = replace(source, keep_git_dir=True)
        checkout = self._sources.checkout(source, self._scratch.directory())
        return self._complete(checkout.root, source.shown, (source.shown, checkout.commit))

    def _complete(self, root: str, identity: str, origin: tuple[str, str] | None) -> Context:
        """A context that came as a whole: its .dockerignore does not count, as in BuildKit."""
        given = self._elsewhere()
        path = self._request.dockerfile or DOCKERFILE
        if given is not None:
            data, name = given
        elif os.path.isabs(path) and os.path.exists(path):
            # one of this host, for files from elsewhere
            data, name = dockerfiles.read(*os.path.split(path)), os.path.basename(path)
        else:
            path = dockerfiles.cased(root, path)
            data, name = dockerfiles.read(root, path), os.path.basename(path)
        return Context(root, data, name, [], identity, origin)

    def _alone(self, data: bytes, name: str, identity: str, origin: tuple[str, str] | None) -> Context:
        """A Dockerfile without any files."""
        root = f"{self._scratch.directory()}/{os.urandom(8).hex()}"
        os.mkdir(root, 0o700)
        return Context(root, data, name, [], identity, origin)

    def _elsewhere(self) -> tuple[bytes, str] | None:
        """(Dockerfile, its name) where it is no file of a directory."""
        request = self._request
        if request.text is not None:
            return request.text, DOCKERFILE
        if request.dockerfile == "-":
            stream = Stream(self._stdin(), "")
            return dockerfiles.bounded(stream.chunks(), "the Dockerfile on standard input"), DOCKERFILE
        if request.dockerfile.startswith(("http://", "https://")):
            scratch = self._scratch.directory()
            fetched = self._sources.fetch(request.dockerfile, scratch, limit=dockerfiles.LIMIT)
            with open(fetched.path, "rb") as file:
                data = file.read()
            os.unlink(fetched.path)
            return data, fetched.filename
        return None

    def _stdin(self) -> BinaryIO:
        stdin = self._request.stdin
        if stdin is None:
            raise InvalidArgument("there is no standard input to read from", "give a file or a directory")
        return stdin
