"""`--filter` of `images` and `image prune`: the same key again means or, another key means and."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase

from pyd.engine.filters import check_names, label_matches, moment, parse
from pyd.errors import InvalidArgument
from pyd.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.store import Store
    from pyd.store.images import ImageSummary

LIST = ("dangling", "label", "before", "since", "reference", "until")
PRUNE = ("dangling", "label", "label!", "until")


class Filters:
    def __init__(self, store: Store, filters: Sequence[str], allowed: Sequence[str]) -> None:
        self._store = store
        self._values = parse(filters)
        check_names(self._values, allowed)
        self.dangling = self._flag("dangling")
        self._before = [self._created(name) for name in self._values.get("before", ())]
        self._since = [self._created(name) for name in self._values.get("since", ())]
        self._until = [moment(text) for text in self._values.get("until", ())]

    def match(self, image: ImageSummary) -> bool:
        created = seconds(image.created)
        values = self._values
        return (
            (self.dangling is None or self.dangling != bool(image.references))
            and (not self._before or any(created < limit for limit in self._before))
            and (not self._since or any(created > limit for limit in self._since))
            and (not self._until or any(created < limit for limit in self._until))
            and ("reference" not in values or bool(self.matching(image.references)))
            and ("label" not in values or label_matches(values["label"], self._labels(image)))
            and not any(label_matches([text], self._labels(image)) for text in values.get("label!", ()))
        )

    def matching(self, references: Sequence[str]) -> list[str]:
        """Those of an image's names that the `reference` filter lets through."""
        patterns = self._values.get("reference")
        if patterns is None:
            return list(references)
        return [
            name for name in references if any(_fits(pattern, Reference.parse(name)) for pattern in patterns)
        ]

    def _labels(self, image: ImageSummary) -> Mapping[str, str]:
        return self._store.images.resolve(image.id).config.defaults.labels

    def _created(self, name: str) -> float:
        return seconds(self._store.images.resolve(name).created)

    def _flag(self, key: str) -> bool | None:
        texts = set(self._values.get(key, ()))
        if not texts:
            return None
        if texts <= {"true", "1"}:
            return True
        if texts <= {"false", "0"}:
            return False
        raise InvalidArgument(f"invalid filter '{key}={sorted(texts)[0]}'")


def _fits(pattern: str, name: Reference) -> bool:
    forms = (name.familiar, name.familiar_repository, name.canonical, name.repository)
    # as in Docker's path.Match a star does not cross a slash
    return any(form.count("/") == pattern.count("/") and fnmatchcase(form, pattern) for form in forms)


def seconds(text: str) -> float:
    """Unix time of an RFC 3339 time; 0 for none, as old as can be."""
    try:
        stamp = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    try:
        return stamp.timestamp()
    except (OverflowError, ValueError):
        return 0.0
