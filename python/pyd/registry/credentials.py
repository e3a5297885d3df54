"""Who the user is at a registry: Docker's config.json and its helpers; read only, Podman's auth.json and
$DOCKER_AUTH_CONFIG.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pyd.config import docker_config, docker_config_path
from pyd.errors import InvalidArgument, Unavailable
from pyd.record import Record

if TYPE_CHECKING:
    from pyd.registry.helper import Found, Helper
    from pyd.registry.vault import Vault

HUB = "docker.io"
HUB_KEY = "https://index.docker.io/v1/"
OWN = "pyd"  # the name of pyd's own helper
_HUB_NAMES = (HUB, "index.docker.io", "registry-1.docker.io")
_TOKEN_USER = "<token>"  # noqa: S105 - a helper's word for: the secret is an identity token


class Credentials(Record):
    """Of one user at one registry. An identity token takes the password's place at the token server."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""  # sent as it is, as a bearer token

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"  # tracebacks and logs get no secrets

    @property
    def basic(self) -> str:
        """Value of an Authorization header."""
        return "Basic " + _pair(self)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in a message, as it is and as it is sent."""
        plain = tuple(filter(None, (self.password, self.identity_token, self.registry_token)))
        return (*plain, _pair(self)) if plain else ()


def find(host: str) -> Credentials | None:
    """For a registry by its host[:port] (Docker Hub: docker.io); None means anonymous.

    $DOCKER_AUTH_CONFIG beats all. A helper for this registry beats the general one, and that beats what is
    written in config.json and in Podman's auth.json.
    """
    keys = names(host)
    given = _given()
    if given and (found := _written(given, keys, "DOCKER_AUTH_CONFIG")):
        return found
    config = docker_config()
    helper = _helper(config, keys)
    if helper:
        kept = helper.get(keys[0])
        if kept:
            return _of_helper(kept)
    return _written(config, keys, "config.json") or _written(_podman(), keys, "auth.json")


def save(host: str, credentials: Credentials) -> str:
    """Keep them where config.json says; the path of config.json when they are readable in it, else "".

    Raises Unavailable when the helper fails, InvalidArgument when config.json is damaged: it is left alone.
    """
    from pyd.registry import json_file

    path, keys = docker_config_path(), names(host)
    helper = _helper(json_file.read(path), keys)
    if helper:
        secret = credentials.identity_token or credentials.password
        user = _TOKEN_USER if credentials.identity_token else credentials.username
        helper.store(keys[0], user, secret)

    def edit(config: dict[str, Any]) -> None:
        auths = config.setdefault("auths", {})
        if not isinstance(auths, dict):
            raise InvalidArgument(f"auths in {path} must be a JSON object", f"correct or remove {path}")
        entry = auths.get(keys[0])
        # what others keep there (an e-mail address) stays
        kept = entry.items() if isinstance(entry, dict) else ()
        entry = {name: value for name, value in kept if name not in _OURS}
        if not helper:
            entry["auth"] = _pair(credentials)
            if credentials.identity_token:
                entry["identitytoken"] = credentials.identity_token
        auths[keys[0]] = entry

    json_file.change(path, edit)
    return "" if helper else path


def forget(host: str) -> None:
    """Erase what is kept under any of the registry's names. Raises Unavailable when the helper fails: what is
    written in config.json is erased even so.
    """
    from pyd.registry import json_file

    path, keys = docker_config_path(), names(host)
    config = json_file.read(path)

    def edit(config: dict[str, Any]) -> None:
        auths = config.get("auths")
        if isinstance(auths, dict):
            for key in keys:
                auths.pop(key, None)

    if config:
        json_file.change(path, edit)
    helper = _helper(config, keys)
    if helper:
        helper.erase(keys[0])
        for key in keys[1:3]:  # older clients stored it there; that most helpers have nothing is no failure
            with contextlib.suppress(Unavailable):
                helper.erase(key)


def plain(wanted: Callable[[str], bool]) -> dict[str, Found]:
    """What is readable in config.json, by its key there; without those of a registry with its own helper and
    without registry tokens, which helpers have no word for.
    """
    from pyd.registry import json_file
    from pyd.registry.helper import Found

    config, found = json_file.read(docker_config_path()), {}
    auths, helpers = config.get("auths"), config.get("credHelpers")
    for key, entry in auths.items() if isinstance(auths, dict) else ():
        own = isinstance(helpers, dict) and helpers.get(key) not in (None, OWN)
        kept = _entry(entry, key, "config.json") if isinstance(entry, dict) and not own else None
        if kept and not kept.registry_token and wanted(key):
            user = _TOKEN_USER if kept.identity_token else kept.username
            found[key] = Found(user, kept.identity_token or kept.password)
    return found


def use_own(moved: tuple[str, ...]) -> None:
    """Name pyd's helper in config.json; the entries `moved` are in its store and are no longer readable."""
    from pyd.registry import json_file

    def edit(config: dict[str, Any]) -> None:
        config["credsStore"] = OWN
        for key in moved:
            entry = config["auths"][key]
            config["auths"][key] = {name: value for name, value in entry.items() if name not in _OURS}

    json_file.change(docker_config_path(), edit)


def meta_headers() -> dict[str, str]:
    """Those of `HttpHeaders` in config.json that a registry gets: X-Meta-..., as Docker's daemon passes on.

    The others are for the daemon's API. What is no header is left out.
    """
    headers = docker_config().get("HttpHeaders")
    return {
        name: value
        for name, value in (headers.items() if isinstance(headers, dict) else ())
        if isinstance(value, str)
        and re.fullmatch(r"x-meta-[a-z0-9_-]+", name, re.IGNORECASE | re.ASCII)
        and value.isascii()
        and value.isprintable()
    }


def names(host: str) -> tuple[str, ...]:
    """The names under which clients have stored it; ours, which is Docker's, is the first."""
    if host in _HUB_NAMES:
        return (HUB_KEY, *_HUB_NAMES)
    return (
        host,
        f"https://{host}",
        f"http://{host}",
        f"https://{host}/",
        f"http://{host}/",
        f"https://{host}/v1/",
        f"https://{host}/v2/",
    )


_OURS = ("auth", "username", "password", "identitytoken", "registrytoken")


def _pair(credentials: Credentials) -> str:
    return base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()


def _helper(config: Mapping[str, Any], keys: tuple[str, ...]) -> Helper | Vault | None:
    """The one of this registry, else the general one. An empty name means the file."""
    helpers, name = config.get("credHelpers"), config.get("credsStore")
    if isinstance(helpers, dict):
        name = next((helpers[key] for key in keys if isinstance(helpers.get(key), str)), name)
    if not isinstance(name, str) or not name:
        return None
    if name == OWN:
        # the same as the program, without starting it: it need not be on the PATH
        from pyd.registry.vault.settings import required

        return required()
    from pyd.registry.helper import Helper

    return Helper(name)


def _of_helper(found: Found) -> Credentials | None:
    if found.username == _TOKEN_USER:
        return Credentials(identity_token=found.secret)
    return Credentials(found.username, found.secret) if found.username else None


def _written(config: Mapping[str, Any], keys: tuple[str, ...], where: str) -> Credentials | None:
    auths = config.get("auths")
    if not isinstance(auths, dict):
        return None
    for key in keys:
        entry = auths.get(key)
        if isinstance(entry, dict) and (found := _entry(entry, key, where)):
            return found
    return None


def _entry(entry: Mapping[str, Any], key: str, where: str) -> Credentials | None:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            pair = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, ValueError):
            raise InvalidArgument(f"the credentials for {key} in {where} are not valid base64") from None
        username, colon, password = pair.partition(":")
        password = password.strip("\0")
        if not colon:
            raise InvalidArgument(f"the credentials for {key} in {where} are not of the form user:password")
    identity, registry = str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
    if not (username or identity or registry):
        return None
    return Credentials(username, password, identity, registry)


def _given() -> Mapping[str, Any]:
    """$DOCKER_AUTH_CONFIG holds the text of a config.json; Docker too goes on without it when it is none."""
    try:
        document = json.loads(os.environ.get("DOCKER_AUTH_CONFIG") or "{}")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _podman() -> Mapping[str, Any]:
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    path = os.environ.get("REGISTRY_AUTH_FILE") or f"{runtime}/containers/auth.json"
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}  # a fallback that is missing or broken is no reason to stop
    return document if isinstance(document, dict) else {}
