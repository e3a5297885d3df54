"""Tokens of a registry: asked for once, for the right scopes, renewed, and never given to others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from tests.fakes.token_registry import Service, serving

from pyd.errors import RegistryError, Unauthorized
from pyd.registry import scope
from pyd.registry.auth import Authorizer
from pyd.registry.challenge import parse_challenges
from pyd.registry.credentials import Credentials
from pyd.registry.settings import Settings
from pyd.registry.transport import Transport


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as service:
        yield service


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport(Settings())
    yield transport
    transport.close()


class Client:
    """What pull and push do: `header` before, one `answer` after a 401."""

    def __init__(self, transport: Transport, service: Service, found: Credentials | None) -> None:
        self.asked = 0
        self.transport = transport
        self.base = httpx.URL(f"http://{service.host}")
        self.found = found
        self.authorizer = Authorizer(transport, self.base, self.find)

    def find(self) -> Credentials | None:
        self.asked += 1
        return self.found

    def get(self, scopes: str, path: str = "/v2/x") -> int:
        url = self.base.join(path)
        sent = self.authorizer.header(scopes, url)
        with self.transport.follow(url, {}, sent) as response:
            if response.status_code != 401:
                return response.status_code
            header = response.headers["WWW-Authenticate"]
        answer = self.authorizer.answer(header, scopes, sent)
        if answer is None:
            return 401
        with self.transport.follow(url, {}, answer) as response:
            return response.status_code


@pytest.fixture
def client(transport: Transport, service: Service) -> Callable[..., Client]:
    return lambda found=None: Client(transport, service, found)


ME = Credentials("me", "secret")
PULL = scope.repository("a/b", "pull")
PUSH = scope.repository("a/b", "pull", "push")


def test_a_token_is_asked_for_once_and_opens_less(service: Service, client: Callable[..., Client]) -> None:
    service.users = {"me": "secret"}
    one = client(ME)
    assert [one.get(PUSH) for _ in range(3)] == [200, 200, 200]
    assert one.get(PULL) == 200  # the token for pull,push is good for it
    (sent,) = service.of("GET")
    assert sent.query == {"service": ["svc"], "scope": [PUSH], "account": ["me"]}
    assert one.asked == 1, "a credential helper is a program: it is not started for every token"
    # the next set of scopes needs no 401 to be learned
    before = len(service.requests)
    assert one.get(f"{PUSH} {scope.repository('c', 'pull')}") == 200
    assert len(service.requests) == before + 2
    assert service.of("GET")[-1].query["scope"] == [PUSH, "repository:c:pull"]


def test_a_token_that_ends_in_the_middle_is_renewed(
    service: Service, client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = client()
    assert one.get(PULL) == 200
    service.tokens.clear()  # before its time: the registry was restarted
    assert one.get(PULL) == 200
    assert len(service.of("GET")) == 2
    service.requests.clear()
    later = time.monotonic() + 1000
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert one.get(PULL) == 200  # its time is over: a new one without asking the registry first
    assert [sent.path for sent in service.requests] == ["/token", "/v2/x"]


def test_a_refused_token_is_not_tried_again(service: Service, client: Callable[..., Client]) -> None:
    one = client()
    assert one.get(PUSH) == 200
    service.tokens.clear()
    assert one.get(PULL) == 200  # the token for more is refused: one for this
    service.requests.clear()
    assert one.get(PULL) == 200
    assert [sent.path for sent in service.requests] == ["/v2/x"]
    assert one.get(PUSH) == 200
    assert [sent.path for sent in service.requests[1:]] == ["/token", "/v2/x"]


def test_a_password_is_not_sent_to_who_wants_something_else(service: Service, transport: Transport) -> None:
    authorizer = Authorizer(transport, httpx.URL(f"http://{service.host}"), lambda: ME)
    assert authorizer.log_in("Negotiate") == (None, "")
    assert authorizer.answer('Digest realm="x"', PULL, None) is None
    assert authorizer.log_in("Negotiate, Basic")[0] == ME.basic


def test_a_registry_that_always_says_401_is_not_asked_for_ever(
    service: Service, client: Callable[..., Client]
) -> None:
    service.broken = True
    one = client(ME)
    service.users = {"me": "secret"}
    assert one.get(PULL) == 401
    assert len(service.requests) == 3  # the request, a token, the request
    service.scheme = "basic"
    two = client(ME)
    assert two.get(PULL) == 401
    assert two.get(PULL) == 401
    assert len(service.requests) == 6


def test_scopes_of_the_challenge_are_added(service: Service, client: Callable[..., Client]) -> None:
    service.challenge_scope = "registry:catalog:* repository:a/b:delete"
    assert client().get(PULL) == 200
    (sent,) = service.of("GET")
    assert sent.query["scope"] == ["registry:catalog:*", "repository:a/b:delete,pull"]


def test_identity_tokens_are_exchanged_and_rotate(service: Service, client: Callable[..., Client]) -> None:
    service.identities, service.rotate = {"it"}, True
    one = client(Credentials(identity_token="it"))
    assert one.get(PULL) == 200
    assert one.get(PUSH) == 200
    assert [sent.form["refresh_token"] for sent in service.of("POST")] == [["it"], ["it+"]]
    assert service.of("POST")[1].form["scope"] == [PUSH]
    assert not [sent for sent in service.requests if "it" in str(sent.query)]


def test_a_service_without_get_is_asked_by_post(service: Service, client: Callable[..., Client]) -> None:
    service.users, service.get = {"me": "secret"}, False
    assert client(ME).get(PULL) == 200
    (sent,) = service.of("POST")
    assert sent.form["grant_type"] == ["password"] and sent.form["username"] == ["me"]


def test_a_registry_token_is_sent_as_it_is(service: Service, client: Callable[..., Client]) -> None:
    service.tokens["ready"] = ""
    assert client(Credentials(registry_token="ready")).get(PULL) == 200
    assert client(Credentials(registry_token="wrong")).get(PULL) == 401
    assert not service.of("GET")


@pytest.mark.parametrize("message", ["no: secret", "sent bWU6c2VjcmV0", "\x1b[2Jno", {"x": 1}, None], ids=str)
def test_a_message_of_the_service_gives_nothing_away(
    message: object, service: Service, client: Callable[..., Client]
) -> None:
    service.users, service.message = {"me": "other"}, message  # type: ignore[assignment]
    with pytest.raises(Unauthorized, match=r"^unauthorized: ") as raised:
        client(ME).get(PULL)
    assert not {"secret", "bWU6c2VjcmV0", "\x1b"} & set(raised.value.message.split(" "))
    assert "\x1b" not in raised.value.message and "secret" not in raised.value.message
    assert raised.value.hint == f"log in again: pyd login {service.host}"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b'{"token": 5}',
        b'{"token": "a\\nX: y"}',
        b'{"token": "\\u00e9"}',
        b'{"token": "a", "expires_in": "soon"}',
        b'{"token": "a", "refresh_token": ["x"]}',
        b"[" * 100_000,
        b'{"token": "' + b"a" * (1 << 20) + b'"}',
    ],
    ids=lambda data: data[:30].decode(),
)
def test_bad_answers_of_a_token_service(
    answer: bytes, service: Service, client: Callable[..., Client]
) -> None:
    def lie(handler: object) -> bool:
        if not handler.is_tokens:  # type: ignore[attr-defined]
            return False
        handler.send_response(200)  # type: ignore[attr-defined]
        handler.send_header("Content-Length", str(len(answer)))  # type: ignore[attr-defined]
        handler.end_headers()  # type: ignore[attr-defined]
        handler.wfile.write(answer)  # type: ignore[attr-defined]
        return True

    service.extra = lie
    with pytest.raises(RegistryError):
        client(ME).get(PULL)


def test_another_origin_gets_nothing(service: Service, client: Callable[..., Client]) -> None:
    service.users = {"me": "secret"}
    one = client(ME)
    assert one.get(PULL) == 200
    assert one.authorizer.header(PULL, httpx.URL(f"http://{service.token_host}/upload")) is None
    assert one.authorizer.header(PULL, httpx.URL(f"https://{service.host}/upload")) is None
    assert one.authorizer.header(PULL, httpx.URL(f"http://{service.host}/upload"))
    one.get(PULL, "/v2/away")
    (away,) = [sent for sent in service.requests if sent.path == "/elsewhere"]
    assert away.authorization == ""


def test_a_realm_with_credentials_in_it_is_asked_without_them(
    service: Service, client: Callable[..., Client]
) -> None:
    service.realm = f"http://u:p@{service.token_host}/token?x=1#f"
    assert client().get(PULL) == 200
    (sent,) = service.of("GET")
    assert sent.authorization == "" and sent.query["x"] == ["1"]


@pytest.mark.parametrize(
    ("scopes", "merged"),
    [
        ("repository:a:pull repository:a:push,pull", "repository:a:pull,push"),
        ("repository:b:pull repository:a:pull", "repository:a:pull repository:b:pull"),
        ("repository:h:5000/a:pull", "repository:h:5000/a:pull"),
        ("repository(plugin):a:pull", "repository(plugin):a:pull"),
        ("aws", "aws"),
        ("", ""),
    ],
)
def test_scopes_are_merged(scopes: str, merged: str) -> None:
    assert scope.merge(scopes) == scope.merge(*scopes.split()) == merged


def test_what_a_token_covers() -> None:
    assert scope.covers("repository:a:pull,push repository:b:pull", "repository:a:push")
    assert scope.covers("registry:catalog:*", "registry:catalog:read")
    assert not scope.covers("repository:a:pull", "repository:a:pull,push")
    assert not scope.covers("repository:a:pull", "repository:b:pull")
    assert scope.covers("repository:a:pull", "")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Negotiate", [("negotiate", {})]),
        ('Negotiate YWJj==, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Basic, Bearer realm=r", [("basic", {}), ("bearer", {"realm": "r"})]),
        (", ,Bearer realm = r , service=s", [("bearer", {"realm": "r", "service": "s"})]),
        (
            r'New a="1", title="Log in to \"x, y\"", Basic realm="s"',
            [("new", {"a": "1", "title": 'Log in to "x, y"'}), ("basic", {"realm": "s"})],
        ),
        ('Bearer realm="a",realm="b"', [("bearer", {"realm": "a"})]),
        ('BEARER Realm="open', [("bearer", {})]),
        ("=", []),
    ],
)
def test_challenges_by_rfc_7235(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert [(each.scheme, each.parameters) for each in parse_challenges(header)] == found


@pytest.mark.parametrize(
    "hostile", ['B a="' + "\\" * 9000, "a " * 5000, "a=" * 5000, "," * 9000, "B " + "a" * 9000]
)
def test_a_long_header_takes_no_time(hostile: str) -> None:
    start = time.perf_counter()
    parse_challenges(hostile)
    assert time.perf_counter() - start < 0.5
