"""The way to a registry through a proxy, and that the proxy's password stays where it belongs."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fakes.token_registry import Service, serving

from pyd.errors import InvalidArgument, NotSupported, PydError, Unavailable
from pyd.registry import credentials, transport
from pyd.registry.client import Registry
from pyd.registry.proxy import proxy_for, shown
from pyd.registry.settings import Settings
from pyd.registry.transport import Transport


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(transport, "_FIRST_PAUSE", 0.001)


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "https://a.example/", False),
        ("*", "https://a.example/", True),
        ("example", "https://a.example/", True),
        (".example", "https://a.example/", True),
        (".a.example", "https://a.example/", False),
        ("*.example", "https://a.example/", True),
        ("x.com, A.EXAMPLE", "https://a.example/", True),
        ("ample", "https://a.example/", False),
        ("a.example:443", "https://a.example/", True),
        ("a.example:5000", "https://a.example/", False),
        ("10.0.0.0/8", "https://10.1.2.3:5000/", True),
        ("10.0.0.0/8", "https://11.1.2.3:5000/", False),
        ("10.1.2.3:5000", "https://10.1.2.3:5000/", True),
        ("fd00::/8", "https://[fd00::1]/", True),
        ("", "https://127.0.0.1:5000/", True),
        ("", "https://localhost/", True),
    ],
)
def test_no_proxy(no_proxy: str, url: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert shown(httpx.URL(url)) == ("" if direct else "proxy.example:3128")


def test_each_scheme_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://plain:1")
    assert shown(httpx.URL("https://a/")) == "" and shown(httpx.URL("http://a/")) == "plain:1"
    monkeypatch.setenv("ALL_PROXY", "https://every:2")
    assert shown(httpx.URL("https://a/")) == "every:2"


@pytest.mark.parametrize(
    "text", ["ftp://u:canary@x", "http://u:canary@", "http://u:canary@x:port", "socks5://u:canary@x"]
)
def test_what_is_no_proxy_is_not_repeated(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", text)
    with pytest.raises((InvalidArgument, NotSupported), match="HTTPS_PROXY") as raised:
        proxy_for(httpx.URL("https://a/"))
    assert "canary" not in raised.value.message + str(raised.value.hint)


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, dict[str, str]]]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.seen.append((self.command, self.path, dict(self.headers)))
        allowed = self.headers.get("Proxy-Authorization", "").startswith("Basic ")
        self.send_response(200 if allowed else 407)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_CONNECT(self) -> None:
        self.seen.append((self.command, self.path, dict(self.headers)))
        self.send_response(407)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[tuple[str, str, dict[str, str]]]]]:
    seen: list[tuple[str, str, dict[str, str]]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Proxy,), {"seen": seen}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def test_the_proxys_password_goes_to_the_proxy(
    proxy: tuple[str, list[tuple[str, str, dict[str, str]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, seen = proxy
    monkeypatch.setenv("HTTP_PROXY", f"http://u:canary@{host}")
    monkeypatch.setenv("HTTPS_PROXY", f"http://u:canary@{host}")
    made = Transport(Settings())
    assert made.small("GET", httpx.URL("http://registry.example/v2/"), 100)[0] == 200
    ((_, path, headers),) = seen
    expected = "Basic " + base64.b64encode(b"u:canary").decode()
    assert path == "http://registry.example/v2/" and headers["Proxy-Authorization"] == expected
    with pytest.raises(Unavailable, match="407") as raised:
        made.small("GET", httpx.URL("https://registry.example/v2/"), 100)
    assert host in str(raised.value.hint) and "canary" not in raised.value.message + str(raised.value.hint)
    made.close()


def test_a_url_with_a_password_makes_no_header() -> None:
    with serving(Service(scheme="none")) as service:
        made = Transport(Settings())
        made.small("GET", httpx.URL(f"http://u:canary@{service.host}/v2/"), 100)
        with made.follow(httpx.URL(f"http://u:canary@{service.host}/v2/"), {}, None) as response:
            assert "canary" not in str(response.url)
        assert [sent.authorization for sent in service.requests] == ["", ""]
        made.close()


def test_headers_of_config_json_go_to_the_registry_alone(tmp_path: Path) -> None:
    headers = {
        "X-Meta-Team": "blue",
        "x-meta-bad": "a\nb",
        "X-Other": "for the daemon",
        "User-Agent": "x",
        "X-Meta-Number": 5,
    }
    (tmp_path / "config.json").write_text(json.dumps({"HttpHeaders": headers}))
    assert credentials.meta_headers() == {"X-Meta-Team": "blue"}
    with serving() as service:
        made = Transport(Settings())
        registry = Registry(made, service.host)
        url = registry.url("/v2/away")
        challenge = f'Bearer realm="http://{service.token_host}/token"'
        answer = registry.authorizer.answer(challenge, "", None)
        service.requests.clear()
        with made.follow(url, {}, answer):
            pass
        given = {sent.path: sent.headers.get("X-Meta-Team") for sent in service.requests}
        assert given == {"/v2/away": "blue", "/elsewhere": None}
        made.close()


def test_an_error_of_the_proxy_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://u:canary@127.0.0.1:1")
    made = Transport(Settings())
    with pytest.raises(PydError, match="connection refused") as raised:
        made.small("GET", httpx.URL("https://registry.example/v2/"), 100)
    assert "through the proxy 127.0.0.1:1" in str(raised.value.hint)
    made.close()
