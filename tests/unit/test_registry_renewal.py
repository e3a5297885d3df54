"""A token that ends in the middle of a pull: every blob comes all the same, and nothing is sent for ever."""

from __future__ import annotations

import json
import os
import threading

import pytest
from tests.fakes.registry import FakeImage, FakeRegistry, Handler

from pyd.engine.images import Images
from pyd.errors import Unauthorized
from pyd.store import Store

pytestmark = [
    pytest.mark.usefixtures("quick"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers keep their owners"),
]

IMAGE = FakeImage.of(*({f"file{number}": os.urandom(100_000)} for number in range(6)))


@pytest.fixture
def registry(registry: FakeRegistry) -> FakeRegistry:
    registry.add("a/b", IMAGE)
    return registry


class Tokens:
    """A token service. All tokens that it has given end after `moment` requests of the registry."""

    def __init__(self, registry: FakeRegistry, moment: int) -> None:
        self.registry, self.moment = registry, moment
        self.given: list[str] = []
        self.good: set[str] = set()
        self.served = 0
        self.lock = threading.Lock()
        registry.faults.append(self.answer)

    def answer(self, handler: Handler) -> bool:
        with self.lock:
            if handler.path.startswith("/token"):
                self.given.append(f"token-{len(self.given)}")
                self.good.add(self.given[-1])
                answer = {"token": self.given[-1], "expires_in": 300}
                return handler.answer(200, json.dumps(answer).encode())
            if self.served == self.moment and len(self.given) == 1:
                self.good.clear()
            if handler.headers.get("Authorization", "").removeprefix("Bearer ") in self.good:
                self.served += 1
                return False
        realm = f"http://{self.registry.host}/token"
        return handler.error(401, "UNAUTHORIZED", {"WWW-Authenticate": f'Bearer realm="{realm}"'})


@pytest.mark.parametrize("moment", range(1, 8))
def test_tokens_that_end_during_a_pull(moment: int, store: Store, registry: FakeRegistry) -> None:
    tokens = Tokens(registry, moment)
    assert Images(store).pull(f"{registry.host}/a/b").id == IMAGE.id
    assert len(tokens.given) == 2, "renewed once, by one of all who needed it"


def test_tokens_that_are_never_good(store: Store, registry: FakeRegistry) -> None:
    tokens = Tokens(registry, 0)
    with pytest.raises(Unauthorized, match="pull access denied"):
        Images(store).pull(f"{registry.host}/a/b")
    assert len(tokens.given) == 1 and len(registry.requests) <= 4
