"""A file by URL, for `import`."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from pyd.errors import InvalidArgument, RegistryError
from pyd.registry.settings import Settings
from pyd.registry.transport import Transport


def download(url: str) -> Iterator[bytes]:
    """Chunks of about 1 MiB. Redirects are checked as a registry's are; no credentials are sent."""
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL:
        raise InvalidArgument(f"invalid URL {url!r}") from None
    transport = Transport(Settings.load())
    try:
        with transport.follow(target, {}, None) as response:
            if response.status_code != 200:
                raise RegistryError(
                    f"{target.host} answers with status {response.status_code} for {target.path}"
                )
            yield from response.iter_raw(1 << 20)
    except httpx.TransportError as error:
        raise transport.unreachable(target, error) from error
    finally:
        transport.close()
