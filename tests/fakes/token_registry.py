"""A registry of one empty repository and its token service, on two origins, for all the ways to log in.

`Service.tokens` are the access tokens that are good now: a test takes one away to let it end. Everything that
was sent is kept in `requests`, of both.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Sent:
    method: str
    path: str
    query: dict[str, list[str]]
    authorization: str
    form: dict[str, list[str]]
    headers: dict[str, str]


@dataclass
class Service:
    """`users`: name -> password. `get`, `post`: whether the token service serves them."""

    users: dict[str, str] = field(default_factory=dict)
    identities: set[str] = field(default_factory=set)  # refresh tokens that are good
    give_identity: str = ""  # refresh token for who asks for one
    rotate: bool = False  # a refresh token is good once
    scheme: str = "bearer"  # or basic, none
    get: bool = True
    post: bool = True
    seconds: int = 300
    realm: str = ""
    challenge_scope: str = ""
    broken: bool = False  # 401 whatever comes
    message: str = "incorrect username or password"
    tokens: dict[str, str] = field(default_factory=dict)  # access token -> scopes
    requests: list[Sent] = field(default_factory=list)
    extra: Callable[[Handler], bool] | None = None
    sign: Callable[[list[str]], str] | None = None  # for a real registry, which believes signatures
    host: str = ""
    token_host: str = ""
    count: int = 0

    def of(self, method: str) -> list[Sent]:
        """What came to the token service by `method`."""
        return [sent for sent in self.requests if sent.path == "/token" and sent.method == method]

    def issue(self, scopes: list[str]) -> str:
        self.count += 1
        token = self.sign(scopes) if self.sign else f"access-{self.count}"
        self.tokens[token] = " ".join(scopes)
        return token


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service
    is_tokens = False

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        form = parse_qs(body.decode()) if self.is_tokens else {}
        query, sent = parse_qs(parts.query), self.headers.get("Authorization", "")
        request = Sent(self.command, parts.path, query, sent, form, dict(self.headers))
        self.service.requests.append(request)
        if self.service.extra and self.service.extra(self):
            return
        if self.is_tokens and parts.path != "/token":
            self.answer(404, {})
        elif self.is_tokens:
            self.token(request)
        elif not self.is_allowed(request):
            self.challenge()
        elif parts.path.endswith("/away"):
            self.answer(307, {}, {"Location": f"http://{self.service.token_host}/elsewhere"})
        else:
            self.answer(200, {})

    do_POST = do_PUT = do_HEAD = do_GET

    def is_allowed(self, request: Sent) -> bool:
        service = self.service
        if service.broken:
            return False
        if service.scheme == "none":
            return True
        if service.scheme == "basic":
            return self.knows(request.authorization)
        return request.authorization.removeprefix("Bearer ") in service.tokens

    def knows(self, given: str) -> bool:
        pairs = (f"{user}:{password}".encode() for user, password in self.service.users.items())
        return given in {"Basic " + base64.b64encode(pair).decode() for pair in pairs}

    def challenge(self) -> None:
        service = self.service
        if service.scheme == "basic":
            header = 'Basic realm="r"'
        else:
            realm = service.realm or f"http://{service.token_host}/token"
            header = f'Bearer realm="{realm}",service="svc"'
            header += f',scope="{service.challenge_scope}"' if service.challenge_scope else ""
        self.answer(401, {"errors": [{"code": "UNAUTHORIZED"}]}, {"WWW-Authenticate": header})

    def token(self, request: Sent) -> None:
        service = self.service
        if not (service.get if request.method == "GET" else service.post):
            self.answer(405, {})
            return
        fields = request.query if request.method == "GET" else request.form
        scopes = " ".join(fields.get("scope", [])).split()
        answer: dict[str, object] = {"expires_in": service.seconds}
        if request.method == "GET":
            allowed = self.knows(request.authorization) or not service.users
            offline = fields.get("offline_token") == ["true"]
        elif fields.get("grant_type") == ["password"]:
            (user,), (password,) = fields["username"], fields["password"]
            allowed, offline = service.users.get(user) == password, fields.get("access_type") == ["offline"]
        else:
            (identity,) = fields["refresh_token"]
            allowed, offline = identity in service.identities, False
            if allowed and service.rotate:
                service.identities = {f"{identity}+"}
                answer["refresh_token"] = f"{identity}+"
        if not allowed:
            self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": service.message}]})
            return
        answer["token" if request.method == "GET" else "access_token"] = service.issue(scopes)
        if offline and service.give_identity:
            service.identities.add(service.give_identity)
            answer["refresh_token"] = service.give_identity
        self.answer(200, answer)

    def answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def serving(service: Service | None = None) -> Iterator[Service]:
    service = service or Service()
    servers = []
    for is_tokens in (False, True):
        handler = type("BoundHandler", (Handler,), {"service": service, "is_tokens": is_tokens})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
    service.host, service.token_host = (f"127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield service
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
