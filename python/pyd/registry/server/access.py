"""Who may do what: a file of lines `WHO  REPOSITORIES  ACTIONS`; without the file every user may do
everything.

    anonymous  public/*   pull
    alice      team/*     pull,push
    *          *          pull
    root       *          pull,push,delete

WHO is a user, `*` for all who have logged in, `anonymous` for everybody. REPOSITORIES is a name, `team/*` for
all below team/, or `*`. What no line allows is denied.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from pyd.errors import InvalidArgument, from_os_error

PULL, PUSH, DELETE = "pull", "push", "delete"
ACTIONS = (PULL, PUSH, DELETE)
ANONYMOUS, EVERYONE = "anonymous", "*"
_PATTERN = re.compile(r"\*|[a-z0-9._/-]+?(/\*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rule:
    who: str
    repositories: str
    actions: frozenset[str]

    def fits(self, user: str | None, name: str) -> bool:
        if self.who != ANONYMOUS and (user is None or self.who not in (EVERYONE, user)):
            return False
        if self.repositories.endswith("*"):
            return name.startswith(self.repositories[:-1])
        return name == self.repositories


def parse(text: str, path: str) -> tuple[Rule, ...]:
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        actions = frozenset(words[2].split(",")) if len(words) == 3 else frozenset[str]()
        if len(words) != 3 or not _PATTERN.fullmatch(words[1]) or not actions <= set(ACTIONS):
            raise InvalidArgument(
                f"{path}, line {number}: not of the form WHO REPOSITORIES ACTIONS",
                f"for example: alice team/* {','.join(ACTIONS)}",
            )
        rules.append(Rule(words[0], words[1], actions))
    return tuple(rules)


class Access:
    """The rules of a file, read again when it changes. Without a file: all that log in may do everything."""

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._rules: tuple[Rule, ...] = (Rule(EVERYONE, "*", frozenset(ACTIONS)),)
        self._load()

    @classmethod
    def nobody(cls) -> Access:
        """Nothing is allowed, whoever asks."""
        access = cls()
        access._rules = ()
        return access

    def allowed(self, user: str | None, name: str) -> frozenset[str]:
        """What `user` (None: nobody has logged in) may do with the repository."""
        self._load()
        return frozenset().union(*(rule.actions for rule in self._rules if rule.fits(user, name)))

    def _load(self) -> None:
        if self._path is None:
            return
        try:
            found = os.stat(self._path)
            stamp = found.st_mtime_ns, found.st_ino, found.st_size
            if stamp == self._stamp:
                return
            with open(self._path, encoding="utf-8") as file:
                self._rules = parse(file.read(), self._path)
            self._stamp = stamp
        except OSError as error:
            if self._stamp is None:
                raise from_os_error(error, f"reading {self._path}") from error
        except UnicodeDecodeError:
            raise InvalidArgument(f"{self._path} is not UTF-8 text") from None
