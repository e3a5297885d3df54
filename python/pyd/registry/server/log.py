"""One line per request on stderr: when, from where, who, what, answer, bytes, seconds, program.

Never the query or a header but User-Agent: tokens, passwords and upload states travel there.
"""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiohttp import web


def access(request: web.BaseRequest, user: str | None, status: int, sent: int, seconds: float) -> None:
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    path = clean(request.raw_path.partition("?")[0], 300)
    agent = clean(request.headers.get("User-Agent", "-"), 100)
    sys.stderr.write(
        f"{stamp}.{int(now % 1 * 1000):03}Z {request.remote or '-'} {clean(user or '-', 128)} "
        f'{clean(request.method, 20)} {path} {status} {sent} {seconds:.3f} "{agent}"\n'
    )
    sys.stderr.flush()


def clean(text: str, limit: int) -> str:
    """Without what could end the line or steer a terminal."""
    return "".join(c if c.isprintable() and c != '"' else "?" for c in text[:limit])
