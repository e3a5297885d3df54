"""Who may do what with `pyd registry serve`: passwords, tokens, rules, TLS."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Pyd, wait_until
from tests.support.registry import skopeo
from tests.support.served import Answer, Served, sha256
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("world")
PASSWORD = "canary-of-a-password"
RULES = """# who       repositories  actions
anonymous  public/*      pull
alice      *             pull,push,delete
bob        team/*        pull,push
"""


@pytest.fixture(scope="module")
def users(world: World) -> Path:
    """alice and bob; the access rules lie beside."""
    path = world.directory / "htpasswd"
    command = Pyd()
    lines = [command("registry", "htpasswd", name, input=f"{PASSWORD}\n").out for name in ("alice", "bob")]
    path.write_text("".join(f"{line}\n" for line in lines))
    (world.directory / "access").write_text(RULES)
    return path


@pytest.fixture(scope="module")
def basic(world: World, users: Path) -> Iterator[Served]:
    served = Served(world.directory / "basic", "--htpasswd", users, "--access", users.with_name("access"))
    yield served
    assert served.stop() == 0
    assert PASSWORD not in served.log.read_text() and "Traceback" not in served.log.read_text()


def test_passwords(basic: Served) -> None:
    answer = basic("GET", "/v2/")
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="pyd registry"'
    assert basic("GET", "/v2/", user=f"alice:{PASSWORD}").status == 200
    for wrong in (
        f"alice:{PASSWORD}x",
        "alice:",
        f"mallory:{PASSWORD}",
        ":",
        "alice:" + "a" * 100,
        "alice:\0",
    ):
        assert basic("GET", "/v2/", user=wrong).status == 401, wrong
    for header in (
        "Basic !!!",
        "Basic",
        "Bearer x",
        "Digest x",
        "Basic " + base64.b64encode(b"\xff\xff").decode(),
    ):
        assert basic("GET", "/v2/", Authorization=header).status == 401, header
    assert basic("GET", "/metrics").status == 401
    assert basic("GET", "/metrics", user=f"bob:{PASSWORD}").status == 200


def test_rules(basic: Served) -> None:
    alice, bob = f"alice:{PASSWORD}", f"bob:{PASSWORD}"
    for name in ("public/a", "private/a", "team/a"):
        basic.push_image(name, "t", b"layer of " + name.encode(), user=alice)
    assert basic("GET", "/v2/public/a/manifests/t").status == 200
    assert basic("GET", "/v2/private/a/manifests/t").status == 401
    assert basic("POST", "/v2/public/a/blobs/uploads/").status == 401
    denied = basic("GET", "/v2/private/a/manifests/t", user=bob)
    assert (denied.status, denied.code) == (403, "DENIED")
    assert basic("GET", "/v2/team/a/manifests/t", user=bob).status == 200
    assert basic("POST", "/v2/team/b/blobs/uploads/", user=bob).status == 202
    assert basic("DELETE", "/v2/team/a/manifests/t", user=bob).status == 403
    assert basic("GET", "/v2/team/manifests/t", user=bob).status == 403  # team/* is below team/
    assert basic("GET", "/v2/_catalog", user=bob).json()["repositories"] == ["public/a", "team/a"]
    assert basic("GET", "/v2/_catalog").status == 401
    # a mount does not show what one may not pull, with and without the name of its repository
    secret = sha256(b"layer of private/a")
    for query in (f"mount={secret}&from=private/a", f"mount={secret}"):
        assert basic("POST", f"/v2/team/b/blobs/uploads/?{query}", user=bob).status == 202
        assert basic("POST", f"/v2/team/b/blobs/uploads/?{query}", user=alice).status == 201
        assert basic("DELETE", f"/v2/team/b/blobs/{secret}", user=alice).status == 202


def test_users_and_rules_are_read_again(world: World, users: Path) -> None:
    mine = users.with_name("htpasswd-changing")
    mine.write_text(users.read_text())
    served = Served(world.directory / "changing", "--htpasswd", mine)
    try:
        assert served("GET", "/v2/", user=f"bob:{PASSWORD}").status == 200
        mine.write_text(users.read_text().splitlines()[0] + "\n")
        assert served("GET", "/v2/", user=f"bob:{PASSWORD}").status == 401
        mine.write_text("alice:plain\n")  # broken: nobody is let in, and the operator is told
        assert served("GET", "/v2/", user=f"alice:{PASSWORD}").status == 500
        assert "is not a bcrypt hash" in served.log.read_text()
    finally:
        served.stop()


@pytest.fixture(scope="module")
def bearer(world: World, users: Path) -> Iterator[Served]:
    served = Served(
        world.directory / "bearer", "--token", "--htpasswd", users, "--access", users.with_name("access")
    )
    yield served
    assert served.stop() == 0
    assert PASSWORD not in served.log.read_text() and "Traceback" not in served.log.read_text()


def token(served: Served, scope: str, user: str = "") -> str:
    answer = served("GET", f"/token?service=pyd-registry&scope={scope}", user=user)
    assert answer.status == 200, answer
    return str(answer.json()["token"])


def with_token(served: Served, method: str, path: str, value: str) -> Answer:
    return served(method, path, Authorization=f"Bearer {value}")


def claims(value: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(value.split(".")[1] + "=="))


def test_tokens(bearer: Served) -> None:
    challenge = bearer("GET", "/v2/").headers["WWW-Authenticate"]
    assert challenge == f'Bearer realm="http://{bearer.host}/token",service="pyd-registry"'
    wanted = bearer("POST", "/v2/team/a/blobs/uploads/").headers["WWW-Authenticate"]
    assert 'scope="repository:team/a:push"' in wanted
    bob = token(bearer, "repository:team/a:pull,push,delete", f"bob:{PASSWORD}")
    assert claims(bob)["access"] == [{"type": "repository", "name": "team/a", "actions": ["pull", "push"]}]
    assert with_token(bearer, "GET", "/v2/", bob).status == 200
    assert with_token(bearer, "POST", "/v2/team/a/blobs/uploads/", bob).status == 202
    other = with_token(bearer, "POST", "/v2/team/b/blobs/uploads/", bob)
    assert other.status == 401 and 'error="insufficient_scope"' in other.headers["WWW-Authenticate"]
    assert claims(token(bearer, "repository:private/a:pull", f"bob:{PASSWORD}"))["access"] == []
    nobody = token(bearer, "repository:public/a:pull,push")
    assert claims(nobody)["access"] == [{"type": "repository", "name": "public/a", "actions": ["pull"]}]
    assert with_token(bearer, "GET", "/v2/public/a/tags/list", nobody).status == 404
    assert bearer("GET", "/token?scope=repository:a:pull", user="bob:wrong").status == 401
    assert bearer("GET", "/token?service=other").status == 400
    catalog = token(bearer, "registry:catalog:*", f"bob:{PASSWORD}")
    assert with_token(bearer, "GET", "/v2/_catalog", catalog).status == 200
    assert with_token(bearer, "GET", "/v2/_catalog", bob).status == 401
    form = f"grant_type=password&username=bob&password={PASSWORD}&scope=repository:team/a:pull".encode()
    posted = bearer("POST", "/token", form, Content_Type="application/x-www-form-urlencoded")
    assert posted.status == 200 and posted.json()["expires_in"] == 300
    assert bearer("POST", "/token", form.replace(b"canary", b"wrong")).status == 401
    assert bearer("POST", "/token", b"grant_type=refresh_token&refresh_token=x").status == 400


def test_forged_tokens(bearer: Served) -> None:
    good = token(bearer, "repository:team/a:pull", f"bob:{PASSWORD}")
    head, body, signature = good.split(".")

    def encoded(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    more = claims(good) | {"access": [{"type": "repository", "name": "private/a", "actions": ["pull"]}]}
    forged = (
        f"{head}.{encoded(more)}.{signature}",
        f"{encoded({'alg': 'none'})}.{encoded(more)}.",
        f"{encoded({'alg': 'HS256'})}.{encoded(more)}.{signature}",
        f"{encoded({'alg': 'RS256'})}.{body}.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}",
        "x" * 8000,
        "..",
        "[" * 5000 + ".e30.e30",
    )
    for value in forged:
        answer = with_token(bearer, "GET", "/v2/", value)
        assert answer.status == 401, value[:100]
        assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert with_token(bearer, "GET", "/v2/", good).status == 200


def test_tokens_of_another_server(world: World, tmp_path: Path) -> None:
    """ES256 and RS256 with a public key; the right key, audience, issuer and time are needed."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    curve, modulus = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)

    def signed(algorithm: str, **changed: Any) -> str:
        content = {
            "iss": "them", "sub": "carol", "aud": ["registry.test"], "exp": time.time() + 60,
            "access": [{"type": "repository", "name": "a", "actions": ["push"]}],
        } | changed  # fmt: skip
        text = f"{encoded(json.dumps({'alg': algorithm}).encode())}.{encoded(json.dumps(content).encode())}"
        if algorithm == "ES256":
            r, s = decode_dss_signature(curve.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
            return f"{text}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
        return f"{text}.{encoded(modulus.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    for algorithm, key, other in (("ES256", curve, "RS256"), ("RS256", modulus, "ES256")):
        path = tmp_path / f"{algorithm}.pem"
        path.write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        served = Served(
            world.directory / f"theirs-{algorithm}", "--token-key", path, "--token-realm", "https://auth.test/t",
            "--token-service", "registry.test", "--token-issuer", "them",
        )  # fmt: skip
        try:
            assert 'realm="https://auth.test/t"' in served("GET", "/v2/").headers["WWW-Authenticate"]
            push = "/v2/a/blobs/uploads/"
            assert with_token(served, "POST", push, signed(algorithm)).status == 202
            assert with_token(served, "POST", "/v2/b/blobs/uploads/", signed(algorithm)).status == 401
            assert with_token(served, "POST", push, signed(other)).status == 401
            for changed in (
                {"exp": time.time() - 1},
                {"aud": "x"},
                {"iss": "x"},
                {"nbf": time.time() + 99},
                {"exp": None},
            ):
                assert with_token(served, "POST", push, signed(algorithm, **changed)).status == 401, changed
            assert served("GET", "/token").code == "UNSUPPORTED"
        finally:
            served.stop()


def test_tls_and_a_login(world: World, pyd: Pyd, users: Path, layouts: dict[str, Path]) -> None:
    made = world.directory / "certificate"
    made.mkdir()
    out = pyd("registry", "certificate", "localhost", "127.0.0.1", "--out", made)
    assert out.lines == [f"{made}/registry.crt", f"{made}/registry.key"]
    assert oct((made / "registry.key").stat().st_mode)[-3:] == "600"
    assert "exists already" in pyd("registry", "certificate", "x", "--out", made, code=1).stderr
    served = Served(
        world.directory / "secure", "--tls-cert", made / "registry.crt", "--tls-key", made / "registry.key",
        "--token", "--htpasswd", users, tls=made / "registry.crt",
    )  # fmt: skip
    try:
        data = os.urandom(3 << 20)  # more than one chunk, past TLS without sendfile
        value = token(served, "repository:a:push,pull", f"alice:{PASSWORD}")
        digest = served.push_blob("a", data, Authorization=f"Bearer {value}")
        assert with_token(served, "GET", f"/v2/a/blobs/{digest}", value).body == data
        # renewed: the next connection gets the new one
        first = ssl.get_server_certificate(("127.0.0.1", served.port))
        renewed = world.directory / "renewed"
        renewed.mkdir()
        pyd("registry", "certificate", "localhost", "127.0.0.1", "--out", renewed)
        for name in ("registry.crt", "registry.key"):
            (renewed / name).replace(made / name)
        assert served.process is not None
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: ssl.get_server_certificate(("127.0.0.1", served.port)) != first, 10)
        # the clients' own way: challenge, token, push, pull
        trust = world.directory / "certs"
        trust.mkdir()
        (trust / "ca.crt").write_bytes((made / "registry.crt").read_bytes())
        where = f"docker://{served.host}/team/busybox:t"
        known = ("--dest-cert-dir", str(trust), "--dest-creds", f"alice:{PASSWORD}")
        skopeo("copy", "--quiet", *known, f"oci:{layouts['busybox']}:latest", where)
        with pytest.raises(AssertionError, match=r"(?i)unauthorized|denied"):
            skopeo("inspect", "--cert-dir", str(trust), "--creds", "alice:wrong", where)
        assert re.search(
            r"sha256:", skopeo("inspect", "--cert-dir", str(trust), "--creds", f"bob:{PASSWORD}", where)
        )
    finally:
        served.stop()
    assert PASSWORD not in served.log.read_text()
