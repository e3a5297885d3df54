"""`search`: by the index API of Docker Hub (v1); where a registry has none, by the names of its catalog."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx

from pyd.errors import NotSupported, RegistryError
from pyd.oci.reference import HUB
from pyd.registry.client import Registry
from pyd.registry.referrers import next_page
from pyd.registry.settings import Settings
from pyd.registry.transport import Transport
from pyd.registry.writer import Answer, Writer

_HUB_INDEX = "index.docker.io"
_CATALOG = "registry:catalog:*"
_PAGE = 1000
_MAX_PAGES = 200


@dataclass(frozen=True, slots=True)
class Found:
    name: str
    description: str = ""
    stars: int = 0
    is_official: bool = False
    is_automated: bool = False


def search(term: str, limit: int, *, tls_verify: bool = True) -> list[Found]:
    """At most `limit` repositories. `term` may begin with a registry's host: `localhost:5000/app`."""
    host, rest = split_host(term)
    transport = Transport(Settings.load(), tls_verify=tls_verify)
    try:
        registry = Registry(transport, _HUB_INDEX if host == HUB else host)
        writer = Writer(registry, "")
        url = registry.url("/v1/search").copy_merge_params({"q": rest, "n": str(limit)})
        answer = writer.ask("GET", url, {"Accept": "application/json"}, scope=_CATALOG)
        if answer.status == 200:
            return _results(answer, registry.host)[:limit]
        if host == HUB or answer.status not in (400, 404, 405):
            writer.refused(answer, "to the search")
        return [Found(f"{host}/{name}") for name in _catalog(writer, rest)][:limit]
    finally:
        transport.close()


def split_host(term: str) -> tuple[str, str]:
    """("localhost:5000", "app") of "localhost:5000/app"; Docker Hub for a term without a host."""
    first, slash, rest = term.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return (HUB if first in (HUB, _HUB_INDEX) else first), rest
    return HUB, term


def _results(answer: Answer, host: str) -> list[Found]:
    try:
        results = json.loads(answer.data)["results"]
        return [_result(one) for one in results if isinstance(one, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RegistryError(f"{host} does not answer with results of a search") from None


def _result(one: dict[str, Any]) -> Found:
    stars = one.get("star_count")
    return Found(
        name=str(one.get("name") or ""),
        description=str(one.get("description") or ""),
        stars=stars if isinstance(stars, int) else 0,
        is_official=one.get("is_official") is True,
        is_automated=one.get("is_automated") is True,
    )


def _catalog(writer: Writer, term: str) -> list[str]:
    """Names of the registry's repositories that have `term` in them."""
    url: httpx.URL | None = writer.registry.url("/v2/_catalog").copy_merge_params({"n": str(_PAGE)})
    found: list[str] = []
    for _ in range(_MAX_PAGES):
        if url is None:
            break
        answer = writer.ask("GET", url, scope=_CATALOG)
        if answer.status in (404, 405):
            raise NotSupported(f"{writer.registry.host} has neither a search nor a catalog")
        if answer.status != 200:
            writer.refused(answer, "to the search")
        try:
            names = json.loads(answer.data)["repositories"] or []
            found += [name for name in names if isinstance(name, str) and term in name]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise RegistryError(f"{writer.registry.host} does not answer with a catalog") from None
        url = next_page(answer)
    return found
