"""Credentials in one sealed file: servers, names and secrets alike are unreadable without its key."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pyd.errors import CorruptData, InvalidArgument, PydError, Unavailable
from pyd.registry import private_file
from pyd.registry.helper import Found
from pyd.registry.vault import key as keys
from pyd.registry.vault.sealing import Lock, seal, unseal

_Entries = dict[str, dict[str, str]]


class SealedFile:
    """`source`: where the key comes from (`vault.key`)."""

    def __init__(self, path: str, source: str) -> None:
        keys.check(source)
        self.path = path
        self.source = source

    def create(self, passphrase: bytes | None = None) -> None:
        """A new empty file; one that is there must open with the key. `passphrase`: for that source."""
        with private_file.changing(self.path) as target:
            data = private_file.read(target)
            lock = self._lock(data) if data is not None else Lock.new()
            key = lock.key(passphrase) if passphrase is not None else keys.of(self.source, self.path, lock)
            if data is None:
                private_file.replace(target, seal(lock, key, b"{}"))
            else:
                self._open(data, lock, key)
            if self.source == keys.PASSPHRASE:
                keys.remember(self.path, lock, key)

    def unlock(self, passphrase: bytes) -> None:
        """Keep the key of `passphrase` in the kernel until the next boot. Raises InvalidArgument when it does
        not open the file.
        """
        data = self._read(self.path)
        lock = self._lock(data)
        key = lock.key(passphrase)
        self._open(data, lock, key)
        keys.remember(self.path, lock, key)

    def lock(self) -> None:
        keys.forget(self.path, self._lock(self._read(self.path)))

    def get(self, server: str) -> Found | None:
        entry = self._entries(self._read(self.path))[2].get(server)
        return Found(entry["Username"], entry["Secret"]) if entry else None

    def store(self, server: str, username: str, secret: str) -> None:
        self.store_all({server: Found(username, secret)})

    def store_all(self, found: dict[str, Found]) -> None:
        def edit(entries: _Entries) -> None:
            for server, each in found.items():
                entries[server] = {"Username": each.username, "Secret": each.secret}

        self._change(edit)

    def erase(self, server: str) -> None:
        self._change(lambda entries: entries.pop(server, None))

    def list(self) -> dict[str, str]:
        entries = self._entries(self._read(self.path))[2]
        return {server: entry["Username"] for server, entry in entries.items()}

    def _change(self, edit: Callable[[_Entries], Any]) -> None:
        with private_file.changing(self.path) as target:
            lock, key, entries = self._entries(self._read(target))
            before = json.dumps(entries)
            edit(entries)
            after = json.dumps(entries)
            if after != before:
                private_file.replace(target, seal(lock, key, after.encode()))

    def _read(self, path: str) -> bytes:
        data = private_file.read(path)
        if data is None:
            raise Unavailable(f"{self.path} does not exist", "make it: pyd credential setup --store file")
        return data

    def _entries(self, data: bytes) -> tuple[Lock, bytes, _Entries]:
        lock = self._lock(data)
        key = keys.of(self.source, self.path, lock)
        return lock, key, self._open(data, lock, key)

    def _lock(self, data: bytes) -> Lock:
        try:
            return Lock.read(data)
        except CorruptData as error:
            raise CorruptData(f"{self.path}: {error.message}") from None

    def _open(self, data: bytes, lock: Lock, key: bytes) -> _Entries:
        try:
            entries = json.loads(unseal(lock, key, data))
        except PydError as error:
            raise InvalidArgument(f"{self.path} does not open: {error.message}") from None
        assert isinstance(entries, dict)  # authenticated: pyd has written it
        return entries
