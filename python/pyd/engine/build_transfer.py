"""Images that a build sends elsewhere: to registries, into layouts and archives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyd.build.annotations import Annotations
from pyd.engine import build_outputs
from pyd.engine.build_image import Ready, Tell, described
from pyd.engine.build_source import BuildSource
from pyd.engine.build_store import main
from pyd.engine.image_copy import CopyWatcher, send_blobs
from pyd.engine.transports.archive import ArchiveSink
from pyd.engine.transports.layout import CONTAINERD_NAME, REF_NAME, LayoutSink
from pyd.engine.transports.remote import RegistrySink
from pyd.oci.manifest import parse_manifest
from pyd.oci.reference import Reference

if TYPE_CHECKING:
    from pyd.build.outputs import Output
    from pyd.engine.build_outputs import Job
    from pyd.engine.transports import Sink
    from pyd.registry.served import Served
    from pyd.registry.upload import Sent


def send(job: Job, output: Output, ready: Ready) -> None:
    """To the registries of its names, or to the place that the output names."""
    if output.type == "image":
        _push(job, output, ready)
    elif output.tar:
        with build_outputs.opened(job, output) as file:
            is_docker = output.type == "docker"
            named = _entries(output, ready, job.annotations)
            sink = ArchiveSink("", "", docker=is_docker, tags=output.names, entries=named, out=file)
            _copy(job, ready, sink)
    else:
        _copy(job, ready, LayoutSink(output.dest, "", _entries(output, ready, job.annotations)))


def _push(job: Job, output: Output, ready: Ready) -> None:
    for name in output.names:
        reference = Reference.parse(name)
        place = reference.at(ready.root.digest) if output.push_by_digest else reference
        _copy(job, ready, RegistrySink(place, tls_verify=not output.insecure))
        if output.store:
            # as after `push`: from here on the blobs can be mounted from this repository
            job.store.images.tag(main(ready).built.id, reference.at(ready.root.digest).canonical)


def _copy(job: Job, ready: Ready, sink: Sink) -> None:
    source = BuildSource(job.store, ready.root, ready.documents, ready.layers, ready.manifests)
    watcher = _Telling(job.tell)
    try:
        inner = ready.manifests or (ready.root,)
        documents = [parse_manifest(served.data, served.media_type) for served in inner]
        with watcher:
            send_blobs(source, sink, documents, watcher)
        for served in ready.manifests:
            sink.put(served)
        sink.finish(ready.root, source)
    finally:
        sink.close()
        source.close()


def _entries(
    output: Output, ready: Ready, annotations: Annotations
) -> Callable[[Served], list[dict[str, Any]]]:
    """An entry of index.json for each name, as BuildKit writes them."""
    everything = annotations + output.annotations
    kind = "index-descriptor" if ready.manifests else "manifest-descriptor"
    said = everything.of(kind, None if ready.manifests else ready.images[0].built.platform)

    def entries(root: Served) -> list[dict[str, Any]]:
        found = []
        for name in output.names or ("",):
            own = dict(said)
            if name:
                own |= {CONTAINERD_NAME: name, REF_NAME: Reference.parse(name).tag or ""}
            found.append({**described(root), **({"annotations": dict(sorted(own.items()))} if own else {})})
        return found

    return entries


class _Telling(CopyWatcher):
    """Passes on how far the transfers are, ten times a second."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._under_way: dict[str, Sent] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="export-progress", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    # called from several threads
    def copies(self, blob: Any, sent: Sent) -> None:
        self._under_way[str(blob.digest)] = sent

    def ends_blob(self, blob: Any, outcome: str) -> None:
        self._under_way.pop(str(blob.digest), None)
        self._tell(str(blob.digest), blob.size, blob.size)

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            for name, sent in list(self._under_way.items()):
                self._tell(name, min(sent.done, sent.total), sent.total)
