"""Who the user is at a registry: Docker's config.json with its helpers, or Podman's auth.json. Only ever
read.

Protocol of the helpers: github.com/docker/docker-credential-helpers; `get` with the server on stdin, JSON on
stdout.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyd.config import docker_config
from pyd.errors import InvalidArgument, Unavailable

HUB_KEY = "https://index.docker.io/v1/"
_HELPER_SECONDS = 30
_NOT_FOUND = "credentials not found in native keychain"
# a helper needs its home and its agents, not the rest of our environment
_HELPER_ENV = (
    *(
        "PATH",
        "HOME",
        "USER",
        "LANG",
        "DISPLAY",
        "DBUS_SESSION_BUS_ADDRESS",
        "XDG_RUNTIME_DIR",
        "XDG_CONFIG_HOME",
    ),
    *("GNUPGHOME", "GPG_TTY", "PASSWORD_STORE_DIR", "AWS_PROFILE", "AWS_REGION", "AWS_CONFIG_FILE"),
    *("AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS"),
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of one user at one registry. An identity token takes the password's place at the token server."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)  # sent as it is, as a bearer token

    @property
    def basic(self) -> str:
        """Value of an Authorization header."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in a message, as it is and as it is sent."""
        plain = tuple(filter(None, (self.password, self.identity_token, self.registry_token)))
        return (*plain, self.basic.removeprefix("Basic ")) if plain else ()


def find(host: str) -> Credentials | None:
    """For a registry by its host[:port] (Docker Hub: docker.io); None means anonymous.

    A helper for this registry beats the general one, and that beats what is written in the file.
    """
    config = docker_config()
    keys = _keys(host)
    helpers = config.get("credHelpers")
    if isinstance(helpers, dict):
        for key in keys:
            if isinstance(helpers.get(key), str):
                return _ask(helpers[key], keys[0])
    store = config.get("credsStore")
    if isinstance(store, str) and store:
        found = _ask(store, keys[0])
        if found:
            return found
    return _written(config, keys) or _written(_podman(), keys)


def _keys(host: str) -> tuple[str, ...]:
    """The names under which clients have stored it."""
    if host in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        return (HUB_KEY, "docker.io", "index.docker.io", "registry-1.docker.io")
    return (
        host,
        f"https://{host}",
        f"https://{host}/",
        f"http://{host}",
        f"https://{host}/v1/",
        f"https://{host}/v2/",
    )


def _written(config: Mapping[str, Any], keys: tuple[str, ...]) -> Credentials | None:
    auths = config.get("auths")
    if not isinstance(auths, dict):
        return None
    for key in keys:
        entry = auths.get(key)
        if isinstance(entry, dict) and (found := _entry(entry, key)):
            return found
    return None


def _entry(entry: Mapping[str, Any], key: str) -> Credentials | None:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            pair = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidArgument(f"the credentials for {key} in config.json are not valid base64") from None
        username, colon, password = pair.rstrip("\0").partition(":")
        if not colon:
            raise InvalidArgument(
                f"the credentials for {key} in config.json are not of the form user:password"
            )
    identity, registry = str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
    if not (username or identity or registry):
        return None
    return Credentials(username, password, identity, registry)


def _podman() -> Mapping[str, Any]:
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    path = os.environ.get("REGISTRY_AUTH_FILE") or f"{runtime}/containers/auth.json"
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError):
        return {}  # a fallback that is missing or broken is no reason to stop
    return document if isinstance(document, dict) else {}


def _ask(helper: str, server: str) -> Credentials | None:
    program = f"docker-credential-{helper}"
    if "/" in helper or not helper:
        raise InvalidArgument(f"invalid credential helper {helper!r} in config.json")
    env = {name: os.environ[name] for name in _HELPER_ENV if name in os.environ}
    try:
        done = subprocess.run(
            [program, "get"],
            input=server,
            env=env,
            capture_output=True,
            text=True,
            timeout=_HELPER_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise Unavailable(
            f"{program}: executable file not found in $PATH",
            "install it, or correct credsStore in config.json",
        ) from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{program} did not answer within {_HELPER_SECONDS} seconds") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"{program}: {error}") from None
    if done.returncode != 0:
        said = (done.stdout.strip() or done.stderr.strip())[:200]
        if _NOT_FOUND in said:
            return None
        raise Unavailable(f"{program} failed: {said or f'exit status {done.returncode}'}")
    try:
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise Unavailable(f"{program} did not answer with Username and Secret") from None
    if username == "<token>":
        return Credentials(identity_token=secret)
    return Credentials(username, secret) if username else None
