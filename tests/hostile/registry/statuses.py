"""Statuses: busy once, busy for ever, Retry-After in all its forms, errors whose text steers a terminal."""

from __future__ import annotations

import json
from functools import partial

from tests.hostile.registry.case import Scene, case


def _status(scene: Scene, status: int, part: str, times: int = -1, retry_after: str | None = None) -> None:
    headers = {"Retry-After": retry_after} if retry_after is not None else {}
    scene.fault(lambda handler: handler.error(status, "BUSY", headers), part, times)


for _status_code in (408, 425, 429, 500, 502, 503, 504):
    for _what, _part in (("the manifest", "/manifests/"), ("a blob", "/blobs/")):
        case(f"{_status_code} once for {_what}", comes=True)(
            partial(_status, status=_status_code, part=_part, times=1)
        )
for _status_code in (429, 500, 503):
    case(f"{_status_code} for ever for the manifest", f"toomanyrequests|status {_status_code}")(
        partial(_status, status=_status_code, part="/manifests/")
    )
    case(f"{_status_code} for ever for a blob", f"status {_status_code}")(
        partial(_status, status=_status_code, part="/blobs/")
    )
for _status_code in (500, 503, 404, 403):
    # the first question is whether the registry speaks http at all: it does
    case(f"{_status_code} for /v2/", comes=True)(partial(_status, status=_status_code, part="/v2/", times=1))
for _status_code, _says in (
    (400, "status 400"),
    (402, "status 402"),
    (403, "pull access denied"),
    (404, "not found: manifest unknown"),
    (406, "status 406"),
    (410, "status 410"),
    (418, "status 418"),
    (451, "status 451"),
    (501, "status 501"),
    (505, "status 505"),
    (599, "status 599"),
    (999, "status 999"),
    (204, "status 204"),
    (205, "status 205"),
):
    case(f"{_status_code} for the manifest", _says)(partial(_status, status=_status_code, part="/manifests/"))
for _status_code in (201, 204, 400, 410, 451, 501):
    case(f"{_status_code} for a blob", f"status {_status_code}")(
        partial(_status, status=_status_code, part="/blobs/")
    )


def _retry(scene: Scene, value: str, times: int = 2) -> None:
    _status(scene, 429, "/manifests/", times, value)


for _name, _value in (
    ("0", "0"),
    ("one second", "1"),
    ("a date that has been", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ("a date without a zone", "Wed, 21 Oct 2015 07:28:00 -0000"),
    ("the year 1", "Mon, 01 Jan 0001 00:00:00 -0000"),
    ("a zone that is none", "Mon, 01 Jan 2024 00:00:00 +99999999"),
    ("a day that is none", "Mon, 99 Jan 2024 00:00:00 GMT"),
    ("words", "in a while"),
    ("an escape", "\x1b[2J"),
    ("negative", "-5"),
    ("a fraction", "0.5"),
    ("50 digits", "9" * 50),
    ("60 kB", "9 " * 30_000),
    ("nothing", ""),
):
    case(f"Retry-After: {_name}", comes=True)(partial(_retry, value=_value, times=1 if _value == "1" else 2))
WAITS = "asks to wait"
case("Retry-After: an hour", WAITS)(partial(_retry, value="3600", times=-1))
case("Retry-After: nine digits", WAITS)(partial(_retry, value="999999999", times=-1))
case("Retry-After: a date in the year 9999", WAITS)(
    partial(_retry, value="Fri, 31 Dec 9999 23:59:59 GMT", times=-1)
)


def _error(scene: Scene, body: bytes, status: int = 400) -> None:
    scene.fault(lambda handler: handler.answer(status, body), "/manifests/")


def _message(text: str) -> bytes:
    return json.dumps({"errors": [{"code": text, "message": text}]}).encode()


for _name, _body in (
    ("escapes", _message("\x1b]0;x\x07\x1b[2J\r\n\u202e\x9b31m")),
    ("a megabyte", _message("x" * 1_000_000)),
    ("HTML", b"<html>\x1b[2J</html>"),
    ("a list", b"[]"),
    ("no errors", b'{"errors":[]}'),
    ("errors are an object", b'{"errors":{}}'),
    ("an error is null", b'{"errors":[null]}'),
    ("a message is an object", b'{"errors":[{"message":{"a":[1]}}]}'),
    ("half a surrogate pair", b'{"errors":[{"message":"\\ud800"}]}'),
    ("a depth bomb", b"[" * 50_000),
    ("a number of 10000 digits", b'{"errors":[{"message":' + b"1" * 10_000 + b"}]}"),
    ("bad UTF-8", b'{"errors":[{"message":"\xff\xfe"}]}'),
):
    case(f"error document: {_name}", "status 400")(partial(_error, body=_body))
