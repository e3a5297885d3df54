"""401 without an end, challenges that are none, token servers that are elsewhere or out of their mind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.fakes.registry import FakeRegistry, Handler
from tests.hostile.registry.case import OUTSIDE, Scene, case, head, raw
from tests.hostile.registry.redirects import METADATA
from tests.hostile.registry.servers import listening

DENIED = "pull access denied|unauthorized|denied|refuses"


def _challenge(scene: Scene, header: str | None) -> None:
    def deny(handler: Handler) -> bool:
        return handler.error(401, "UNAUTHORIZED", {"WWW-Authenticate": header} if header is not None else {})

    scene.fault(deny, "/manifests/")


for _name, _header in (
    ("nothing", None),
    ("empty", ""),
    ("only a scheme", "Bearer"),
    ("an unknown scheme", 'Digest realm="x"'),
    ("Basic, and nobody is logged in", 'Basic realm="\\"x"'),
    ("an open quote", 'Bearer realm="http://'),
    ("commas", "," * 8000),
    ("spaces", "Bearer" + " " * 8000 + "x"),
    ("backslashes", 'Bearer realm="' + "\\" * 8000),
    ("60 kB", "Bearer " + "a" * 60_000),
    ("a thousand schemes", "Bearer, " * 1000),
):
    case(f"challenge: {_name}", DENIED + "|invalid token server")(partial(_challenge, header=_header))

BAD_REALM = "invalid token server|over plain http|an address of this host"
for _name, _realm in (
    ("a file", "file:///etc/passwd"),
    ("nothing", ""),
    ("a word", "here"),
    ("another host by http", "http://192.0.2.1/token"),
    ("a bracket", "http://[/token"),
    ("an escape", "\x1b[2J"),
):
    case(f"token server: {_name}", BAD_REALM + "|" + DENIED)(
        partial(_challenge, header=f'Bearer realm="{_realm}",service="s"')
    )


@case("token server: this host's loopback", BAD_REALM)
def _(scene: Scene) -> None:
    _inward(scene, "127.0.0.1")


@case("token server: the metadata service", BAD_REALM)
def _(scene: Scene) -> None:
    _inward(scene, METADATA)


def _inward(scene: Scene, address: str) -> None:
    scene.at_end.append(listening(scene.registry, OUTSIDE))
    scene.environ["PYD_INSECURE_REGISTRIES"] = "10.77.0.0/16"
    victim = FakeRegistry()
    scene.at_end.append(listening(victim, address))
    scene.victims.append(victim)
    _challenge(scene, f'Bearer realm="https://{victim.host}/token"')


def _token(scene: Scene, answer: Callable[[Handler], bool]) -> None:
    scene.registry.users, scene.registry.anonymous = {}, True
    scene.fault(answer, "/token")


def _says(body: bytes, status: int = 200) -> Callable[[Handler], bool]:
    return lambda handler: handler.answer(status, body)


NO_TOKEN = "gives no token|gives an invalid token"
for _name, _body in (
    ("nothing", b""),
    ("HTML", b"<html>"),
    ("a list", b"[]"),
    ("a string", b'"x"'),
    ("an empty object", b"{}"),
    ("a token that is null", b'{"token":null}'),
    ("a token that is a number", b'{"token":5}'),
    ("a token with a line break", b'{"token":"a\\r\\nX-Evil: 1"}'),
    ("a token with an escape", b'{"token":"\\u001b[2J"}'),
    ("a token of other letters", '{"token":"\u0663"}'.encode()),
    ("a time of 400 digits", b'{"token":"the-token","expires_in":' + b"9" * 400 + b"}"),
    ("a time that is a word", b'{"token":"the-token","expires_in":"soon"}'),
    ("a depth bomb", b"[" * 100_000),
    ("two megabytes", b'{"token":"' + b"x" * (2 << 20) + b'"}'),
):
    case(f"token: {_name}", NO_TOKEN + "|more than")(partial(_token, answer=_says(_body)))
for _name, _body in (
    ("an infinite time", b'{"token":"the-token","expires_in":1e999}'),
    ("a time that is NaN", b'{"token":"the-token","expires_in":NaN}'),
    ("a time in the past", b'{"token":"the-token","expires_in":-5}'),
    ("no time", b'{"access_token":"the-token"}'),
):
    case(f"token: {_name}", comes=True)(partial(_token, answer=_says(_body)))
case("token: one that does not work", DENIED)(partial(_token, answer=_says(b'{"token":"another"}')))
case("token: of 300 kB, that does not work", DENIED + "|header|reset|disconnected|broken pipe|431")(
    partial(_token, answer=_says(b'{"token":"' + b"x" * 300_000 + b'"}'))
)
case("token: 401 with an escape in its message", DENIED)(
    partial(_token, answer=_says(b'{"details":"\\u001b[2Jno\\n"}', 401))
)
case("token: status 302", "answers with status 302")(
    partial(_token, answer=lambda h: h.answer(302, b"", {"Location": "http://127.0.0.1:1/"}))
)
case("token: status 500 for ever", "answers with status 500")(partial(_token, answer=_says(b"", 500)))


@case("token: status 500 once", comes=True)
def _(scene: Scene) -> None:
    scene.registry.users, scene.registry.anonymous = {}, True
    scene.fault(_says(b"", 500), "/token", times=1)


@case("token: drips", "no answer|too slow", seconds=20, impatient=True)
def _(scene: Scene) -> None:
    from tests.hostile.registry.wire import drip

    def slow(handler: Handler) -> bool:
        head(handler, 200, ("Content-Length", 5000))
        return drip(handler, b"x" * 5000)

    _token(scene, slow)


@case("401 for ever, whatever is sent", DENIED)
def _(scene: Scene) -> None:
    scene.registry.users, scene.registry.anonymous = {}, True

    def deny(handler: Handler) -> bool:
        handler.challenge()
        return True

    scene.fault(deny, "/manifests/")


@case("401 for every blob, with a new realm each time", DENIED)
def _(scene: Scene) -> None:
    count = [0]

    def deny(handler: Handler) -> bool:
        count[0] += 1
        realm = f'Bearer realm="http://{scene.registry.host}/token?{count[0]}"'
        return handler.error(401, "UNAUTHORIZED", {"WWW-Authenticate": realm})

    scene.registry.anonymous = True
    scene.fault(deny, "/blobs/")


@case("401 in the middle of a blob, and ever after", DENIED, resumes=True)
def _(scene: Scene) -> None:
    scene.registry.users, scene.registry.anonymous = {}, True

    def deny(handler: Handler) -> bool:
        handler.challenge()
        return True

    def cut(handler: Handler) -> bool:
        if "Range" in handler.headers:
            return deny(handler)
        if "Authorization" not in handler.headers:
            return False
        data = scene.image.layers[1]
        head(handler, 200, ("Content-Length", len(data)))
        return raw(handler, data[:100_000])

    scene.fault(cut, scene.big)
