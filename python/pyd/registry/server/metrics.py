"""Counters in Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats)."""

from __future__ import annotations

from collections import defaultdict

from pyd.registry.server.quota import TOTAL
from pyd.registry.server.store import Store

_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)  # seconds
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """For the event loop's thread. Labels are methods, routes and statuses, never names: they are
    unbounded.
    """

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self._seconds: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * (len(_BUCKETS) + 2))
        self.received = 0
        self.sent = 0
        self.collections = 0
        self.collected_bytes = 0
        self.mirror: defaultdict[str, int] = defaultdict(int)

    def count(self, method: str, route: str, status: int, seconds: float, sent: int) -> None:
        self._requests[method, route, status] += 1
        self.sent += sent
        histogram = self._seconds[route]
        for index, bound in enumerate(_BUCKETS):
            histogram[index] += seconds <= bound
        histogram[-2] += 1
        histogram[-1] += seconds

    def text(self, store: Store, *, connections: int, uploads: int) -> str:
        lines: list[str] = []

        def family(name: str, kind: str, text: str, values: dict[str, float]) -> None:
            lines.append(f"# HELP pyd_registry_{name} {text}")
            lines.append(f"# TYPE pyd_registry_{name} {kind}")
            lines.extend(f"pyd_registry_{name}{labels} {_number(value)}" for labels, value in values.items())

        requests = {
            f'{{method="{method}",route="{route}",status="{status}"}}': float(count)
            for (method, route, status), count in sorted(self._requests.items())
        }
        family("requests_total", "counter", "Requests answered.", requests)
        durations: dict[str, float] = {}
        lines.append("# HELP pyd_registry_request_seconds Time until the answer was ready or sent.")
        lines.append("# TYPE pyd_registry_request_seconds histogram")
        for route, histogram in sorted(self._seconds.items()):
            for bound, value in zip((*map(str, _BUCKETS), "+Inf"), histogram, strict=False):
                durations[f'_bucket{{route="{route}",le="{bound}"}}'] = value
            durations[f'_sum{{route="{route}"}}'] = histogram[-1]
            durations[f'_count{{route="{route}"}}'] = histogram[-2]
        lines.extend(f"pyd_registry_request_seconds{name} {_number(v)}" for name, v in durations.items())
        for name, kind, text, value in (
            ("received_bytes_total", "counter", "Bytes of blobs and manifests received.", self.received),
            ("sent_bytes_total", "counter", "Bytes of answers sent.", self.sent),
            ("connections", "gauge", "Open connections.", connections),
            ("uploads", "gauge", "Uploads that receive bytes now.", uploads),
            ("gc_runs_total", "counter", "Garbage collections by this server.", self.collections),
            ("gc_freed_bytes_total", "counter", "Bytes freed by them.", self.collected_bytes),
            ("repositories", "gauge", "Repositories.", store.one("SELECT count(*) FROM repositories")[0]),
            ("manifests", "gauge", "Manifests.", store.one("SELECT count(*) FROM manifests")[0]),
            ("tags", "gauge", "Tags.", store.one("SELECT count(*) FROM tags")[0]),
            ("blobs", "gauge", "Blobs.", store.one("SELECT count(*) FROM blobs")[0]),
            ("blob_bytes", "gauge", "Bytes of all blobs.", store.one(TOTAL)[0]),
        ):
            family(name, kind, text, {"": value})
        if self.mirror:
            results = {f'{{result="{result}"}}': float(n) for result, n in sorted(self.mirror.items())}
            family(
                "mirror_requests_total", "counter", "Answers from the mirror's own storage or not.", results
            )
        return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
