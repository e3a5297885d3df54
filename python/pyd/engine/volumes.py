"""Volumes: directories with a name that outlive containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyd.engine import names
from pyd.errors import NotSupported
from pyd.store import VolumeRecord

if TYPE_CHECKING:
    from pyd.engine.engine import Engine


class Volumes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store.volumes

    def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> str:
        """Name of the new volume; one of this name that exists is left as it is."""
        if driver not in ("", "local"):
            raise NotSupported(
                f'error looking up volume plugin {driver}: plugin "{driver}" not found',
                "pyd has the local driver only",
            )
        if options:
            raise NotSupported(
                f"create {name}: the local driver of pyd takes no options",
                "bind-mount the directory instead: -v /path:/target",
            )
        record = VolumeRecord(name=name or names.new_id(), labels=dict(labels or {}), anonymous=not name)
        return self._store.ensure(record).name

    def inspect(self, name: str) -> dict[str, Any]:
        """Docker's JSON of a volume."""
        return self._document(self._store.get(name))

    def _document(self, record: VolumeRecord) -> dict[str, Any]:
        labels = dict(record.labels)
        if record.anonymous:
            labels["com.docker.volume.anonymous"] = ""
        return {
            "CreatedAt": record.created,
            "Driver": record.driver,
            "Labels": labels or None,
            "Mountpoint": self._engine.config.paths.volume(record.name),
            "Name": record.name,
            "Options": record.options or None,
            "Scope": "local",
        }

    def list(self, filters: Mapping[str, list[str]] | None = None) -> list[dict[str, Any]]:
        """Filters: name (substring), label, driver, dangling (true, false)."""
        from pyd.engine.filters import check_names, label_matches

        filters = filters or {}
        check_names(filters, ("name", "label", "driver", "dangling"))
        result = []
        for record in self._store.list():
            document = self._document(record)
            if filters.get("name") and not any(text in record.name for text in filters["name"]):
                continue
            if filters.get("driver") and record.driver not in filters["driver"]:
                continue
            if not label_matches(filters.get("label", ()), document["Labels"] or {}):
                continue
            if filters.get("dangling"):
                wanted = filters["dangling"][-1].lower() in ("1", "true")
                if wanted == bool(self._store.users(record.name)):
                    continue
            result.append(document)
        return result

    def remove(self, name: str, *, force: bool = False) -> str:
        """Raises VolumeNotFound (unless `force`), Conflict while a container uses it."""
        from pyd.errors import VolumeNotFound

        try:
            self._store.delete(name)
        except VolumeNotFound:
            if not force:
                raise
        self._engine.store.trash.sweep()
        return name

    def prune(self, *, everything: bool = False, labels: tuple[str, ...] = ()) -> tuple[Sequence[str], int]:
        """Remove volumes that no container uses, named ones with `everything`: (names, bytes of the disk that
        are freed).
        """
        from pyd.engine import prune

        plan = prune.volumes(self._engine, {"label": list(labels)}, everything=everything)
        done = prune.carry_out(self._engine, plan)
        return [item.id for item in done.items], done.bytes
