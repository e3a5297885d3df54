"""A session keyring of the tests' own, and whether the kernel gives any (in a container often not)."""

from __future__ import annotations

import ctypes

import pytest

from pyd.errors import PydError
from pyd.registry.vault import kernel

_JOIN_SESSION_KEYRING = 1


def join_session() -> None:
    """A new, empty session keyring for this thread and what it starts."""
    kernel._keyctl(_JOIN_SESSION_KEYRING, ctypes.c_char_p(None))


def usable() -> bool:
    try:
        kernel.search(kernel.user_keyring(), "user", "pyd-test: no such key")
    except PydError:
        return False
    return True


needed = pytest.mark.skipif(not usable(), reason="this kernel or container gives no keyrings (keyctl)")
