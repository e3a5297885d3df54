"""Which server may be asked what, without any server."""

from __future__ import annotations

import httpx
import pytest

from pyd.errors import InvalidArgument, RegistryError
from pyd.registry.challenge import parse_challenges
from pyd.registry.origin import check_realm, check_redirect
from pyd.registry.settings import Settings, is_loopback, split_port


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        ("https://203.0.113.1/", "https://203.0.113.2/x", True),
        ("https://203.0.113.1/", "http://203.0.113.1/x", False),
        ("https://203.0.113.1/", "https://169.254.169.254/latest", False),
        ("https://203.0.113.1/", "https://127.0.0.1/", False),
        ("https://203.0.113.1/", "https://[::1]/", False),
        ("https://203.0.113.1/", "https://[::ffff:127.0.0.1]/", False),
        ("https://203.0.113.1/", "https://localhost/", False),
        ("https://203.0.113.1/", "https://0.0.0.0/", False),
        ("https://203.0.113.1/", "ftp://203.0.113.1/", False),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:9000/", True),
    ],
)
def test_redirects(source: str, target: str, allowed: bool) -> None:
    if allowed:
        check_redirect(httpx.URL(source), httpx.URL(target))
        return
    with pytest.raises(RegistryError):
        check_redirect(httpx.URL(source), httpx.URL(target))


@pytest.mark.parametrize(
    ("registry", "realm", "allowed"),
    [
        ("https://203.0.113.1", "https://203.0.113.9/token", True),
        ("https://203.0.113.1", "http://203.0.113.9/token", False),
        ("https://203.0.113.1", "http://203.0.113.1/token", False),
        ("https://203.0.113.1", "https://169.254.169.254/token", False),
        ("https://203.0.113.1", "https://127.0.0.1/token", False),
        ("http://203.0.113.1", "http://203.0.113.1/token", True),
        ("http://203.0.113.1", "http://203.0.113.2/token", False),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", True),
        ("https://203.0.113.1", "file:///etc/passwd", False),
        ("https://203.0.113.1", "", False),
    ],
)
def test_token_realms(registry: str, realm: str, allowed: bool) -> None:
    if allowed:
        check_realm(httpx.URL(registry), httpx.URL(realm))
        return
    with pytest.raises(RegistryError):
        check_realm(httpx.URL(registry), httpx.URL(realm))


def test_challenges() -> None:
    (found,) = parse_challenges('Bearer realm="https://a/b",service="x, \\"y\\"",scope="repository:a:pull"')
    assert (found.scheme, found.parameters["service"]) == ("bearer", 'x, "y"')
    assert [each.scheme for each in parse_challenges('Basic realm="a", Bearer realm="b"')] == [
        "basic",
        "bearer",
    ]
    assert parse_challenges("") == ()
    assert parse_challenges("\x00" * 100) == ()


def test_insecure_registries() -> None:
    settings = Settings(insecure=("reg:5000", "10.0.0.0/8", "plain"))
    assert settings.is_insecure("reg:5000")
    assert not settings.is_insecure("reg:5001")
    assert settings.is_insecure("10.1.2.3:5000")
    assert settings.is_insecure("plain:80")
    assert settings.is_insecure("127.9.9.9")
    assert settings.is_insecure("[::1]:5000")
    assert not settings.is_insecure("11.0.0.1")
    assert is_loopback("localhost:1") and not is_loopback("localhost.example.com")
    assert split_port("[::1]:5") == ("::1", "5")


def test_mirrors_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYD_CONFIG", "/nonexistent")
    monkeypatch.setenv("PYD_REGISTRY_MIRRORS", "https://a, http://b/c")
    assert Settings.load().mirrors == ("https://a", "http://b/c")
    for wrong in ("ftp://a", "a", "https://u:p@a"):
        monkeypatch.setenv("PYD_REGISTRY_MIRRORS", wrong)
        with pytest.raises(InvalidArgument):
            Settings.load()
