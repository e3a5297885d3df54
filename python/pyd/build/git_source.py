"""What names a git repository in a command or a Dockerfile: BuildKit's URLs, taken apart.

    https://host/path.git#ref:subdir      git@host:path      ssh://…   git://…   github.com/owner/name
    https://host/path.git?ref=…&subdir=…&checksum=…&keep-git-dir=1&submodules=0   (tag= and branch= too)

Nothing that git or ssh could take for an option gets through (CVE-2017-1000117, CVE-2019-13139), and user and
password are kept apart from the URL.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from pyd.build import urls
from pyd.errors import InvalidArgument
from pyd.record import Record, replace

_SCHEMES = frozenset(("http", "https", "ssh", "git"))
_SCP = re.compile(r"(?:([a-zA-Z0-9_-]+)@)?([a-zA-Z0-9.-]+):(.*)")
_COMMIT = re.compile("[0-9a-f]{40}(?:[0-9a-f]{24})?")
_ABBREVIATED = re.compile("[0-9a-f]{7,39}")
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(?:/|$)|\.$|/$|^/")
_TRUE = frozenset(("", "1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


class GitSource(Record):
    """remote: URL for git, without user and password for http(s)
    shown: what the user wrote, with "xxxxx" for credentials
    ref: branch, tag, full ref or commit; "" for the default branch
    checksum: the commit must begin with it
    keep_git_dir, submodules: None where the URL does not say
    """

    remote: str
    shown: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool | None = None
    authorization: Authorization | None = None

    @property
    def is_ssh(self) -> bool:
        return "://" not in self.remote or self.remote.startswith("ssh://")

    @property
    def host(self) -> str:
        """With its port."""
        if "://" not in self.remote:
            return self.remote.partition(":")[0].rpartition("@")[2]
        return urlsplit(self.remote).netloc.rpartition("@")[2]


class Authorization(Record):
    """An HTTP header that no message shows."""

    header: str

    def __repr__(self) -> str:
        return "Authorization(…)"


def is_commit(ref: str) -> bool:
    """Whether it is a whole SHA-1 or SHA-256."""
    return _COMMIT.fullmatch(ref) is not None


def is_abbreviated(ref: str) -> bool:
    return _ABBREVIATED.fullmatch(ref) is not None


def parse(text: str, *, local_looking: bool = False) -> GitSource | None:
    """None for what names no git repository. `local_looking`: github.com/owner/name counts, as for contexts.

    Raises InvalidArgument for what names one badly.
    """
    if text.startswith(("./", "../", "/", "-")):
        return None
    if text.startswith("github.com/"):
        return _from_url(f"https://{text}", text) if local_looking else None
    scheme = re.match("([a-zA-Z0-9]+)://", text)
    if scheme is not None:
        if scheme[1].lower() not in _SCHEMES:
            return None
        path = re.split("[?#]", text, maxsplit=1)[0]
        if scheme[1].lower() in ("http", "https") and not path.endswith(".git"):
            return None
        return _from_url(scheme[1].lower() + text[len(scheme[1]) :], text)
    return None if "://" in text else _from_scp(text)


def _from_url(url: str, text: str) -> GitSource:
    bare, _, fragment = url.partition("#")
    bare, _, query = bare.partition("?")
    shown = urls.redacted(text)
    try:
        parts = urlsplit(bare)
        host, user, _ = parts.hostname or "", unquote(parts.username or ""), parts.port
    except ValueError:
        host = user = ""
    _check_words(shown, bare, host, user, parts_path=urlsplit(bare).path if host else "")
    authorization = None
    if parts.scheme in ("http", "https"):
        header = urls.basic_auth(bare)
        authorization = Authorization(header) if header else None
        bare = urls.without_user(bare)
    elif parts.password is not None:
        raise InvalidArgument(
            f"{shown}: a password in a URL works for https only", "use a key: --ssh default"
        )
    else:
        shown = text
    source = GitSource(remote=bare, shown=shown, authorization=authorization)
    return _with_query(_with_fragment(source, fragment), query)


def _from_scp(text: str) -> GitSource | None:
    bare, _, fragment = text.partition("#")
    match = _SCP.fullmatch(bare)
    # BuildKit takes every host:path; here a file with a colon in its name stays one
    if match is None or not (match[1] or match[3].endswith(".git")):
        return None
    _check_words(text, bare, match[2], match[1] or "", match[3])
    return _with_fragment(GitSource(remote=bare, shown=text), fragment)


def _check_words(shown: str, bare: str, host: str, user: str, parts_path: str) -> None:
    if not host:
        raise InvalidArgument(f"invalid git URL {shown!r}: it names no host")
    if not bare.isprintable() or " " in bare:
        raise InvalidArgument(f"invalid git URL {shown!r}: it holds a space or a control character")
    for what, word in (("host", host), ("user", user), ("path", parts_path.lstrip("/"))):
        if word.startswith("-"):
            raise InvalidArgument(f"invalid git URL {shown!r}: its {what} begins with '-'")


def _with_fragment(source: GitSource, fragment: str) -> GitSource:
    ref, _, subdir = fragment.partition(":")
    if fragment.startswith("#"):
        raise InvalidArgument(f"{source.shown}: unexpected '#' in the ref", "write #ref:subdir")
    return _checked(_changed(source, ref=ref, subdir=subdir))


def _with_query(source: GitSource, query: str) -> GitSource:
    values: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key in values:
            raise InvalidArgument(f'query "{key}" has multiple values')
        values[key] = value
    flags = {}
    for key in [key for key in values if key in ("keep-git-dir", "submodules")]:
        flags[key] = _flag(key, values.pop(key))
    for key, value in values.items():
        if key not in ("ref", "tag", "branch", "subdir", "checksum", "commit"):
            raise InvalidArgument(f'unexpected query "{key}"')
        if not value:
            raise InvalidArgument(f'query "{key}" has no value')
    if "tag" in values and "branch" in values:
        raise InvalidArgument("branch conflicts with tag")
    ref = source.ref
    for key, prefix in (("ref", ""), ("tag", "refs/tags/"), ("branch", "refs/heads/")):
        if key in values:
            wanted = values[key] if values[key].startswith(prefix) else prefix + values[key]
            ref = _same("ref", ref, wanted)
    checksum = values.get("checksum") or values.get("commit", "")
    if not ref and is_commit(checksum):
        ref = checksum
    return _checked(
        _changed(
            source,
            ref=ref,
            subdir=_same("subdir", source.subdir, values.get("subdir", source.subdir)),
            checksum=checksum,
            keep_git_dir=flags.get("keep-git-dir"),
            submodules=flags.get("submodules"),
        )
    )


def _checked(source: GitSource) -> GitSource:
    if source.ref.startswith("-") or _BAD_IN_REF.search(source.ref):
        raise InvalidArgument(f"{source.shown}: invalid git ref {source.ref!r}")
    if "\0" in source.subdir:
        raise InvalidArgument(f"{source.shown}: invalid subdirectory {source.subdir!r}")
    check_checksum(source.checksum)
    return source


def check_checksum(checksum: str) -> None:
    """Raises InvalidArgument unless it is "", a commit, or the beginning of one."""
    if checksum and not re.fullmatch("[0-9a-f]{7,64}", checksum):
        raise InvalidArgument(f"invalid checksum {checksum!r} for a git source, expected hex commit hash")


def _same(what: str, one: str, other: str) -> str:
    if one and one != other:
        raise InvalidArgument(f'{what} conflicts: "{one}" vs "{other}"')
    return other


def _flag(key: str, value: str) -> bool:
    if value not in _TRUE | _FALSE:
        raise InvalidArgument(f'invalid {key} value: "{value}"')
    return value in _TRUE


def _changed(source: GitSource, **values: str | bool | None) -> GitSource:
    return replace(source, **values)
