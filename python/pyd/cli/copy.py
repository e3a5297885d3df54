"""image copy: from a registry, layout, archive or this store to another."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from pyd.cli.command import BOOL, TEXT, Args, Command, Option

if TYPE_CHECKING:
    from pyd.engine.image_copy import CopyWatcher


def _copy(args: Args) -> int:
    from pyd.engine.engine import Engine

    source, destination = args.rest
    verify = args.flag("tls-verify")
    with Engine() as engine:
        copied = engine.images.copy(
            source,
            destination,
            platform=args.text("platform"),
            everything=args.flag("all"),
            source_tls_verify=args.flag("src-tls-verify") and verify,
            destination_tls_verify=args.flag("dest-tls-verify") and verify,
            watcher=_watcher(args.flag("quiet")),
        )
    print(
        copied.digest if args.flag("quiet") else f"{destination}: digest: {copied.digest} size: {copied.size}"
    )
    return 0


def _watcher(quiet: bool) -> CopyWatcher:
    from pyd.engine.image_copy import EXISTS, PUSHED, CopyWatcher, Descriptor, Sent

    if quiet:
        return CopyWatcher()
    lock = threading.Lock()

    class Lines(CopyWatcher):
        def ends_blob(self, blob: Descriptor, outcome: str) -> None:
            words = {EXISTS: "Already exists", PUSHED: "Copied"}
            self.say(f"{blob.digest.short}: {words.get(outcome) or f'Mounted from {outcome}'}")

        def say(self, line: str) -> None:
            with lock:
                print(line, flush=True)

    class Bars(Lines):
        def __init__(self) -> None:
            from pyd.cli.progress import Meters

            self.meters = Meters()

        def copies(self, blob: Descriptor, sent: Sent) -> None:
            self.meters.show(blob.digest, f"{blob.digest.short}: Copying", sent)

        def ends_blob(self, blob: Descriptor, outcome: str) -> None:
            self.meters.drop(blob.digest)
            super().ends_blob(blob, outcome)

        def ends(self) -> None:
            self.meters.close()

        def say(self, line: str) -> None:
            self.meters.write(line)

    return Bars() if sys.stderr.isatty() else Lines()


COMMANDS = {
    "copy": Command(
        "copy",
        _copy,
        "Copy an image from one place to another, bit for bit, without unpacking it",
        (
            Option("all", BOOL, "Copy all platforms of the image", short="a"),
            Option("dest-tls-verify", BOOL, "Require https with a valid certificate of DST", default=True),
            Option("platform", TEXT, "Copy this platform (default: this host's): os/arch[/variant]"),
            Option("quiet", BOOL, "Print only the digest", short="q"),
            Option("src-tls-verify", BOOL, "Require https with a valid certificate of SRC", default=True),
            Option("tls-verify", BOOL, "Require https with a valid certificate of both", default=True),
        ),
        usage="SRC DST",
        least=2,
        most=2,
        completes="images",
        epilog=(
            "SRC and DST: NAME[:TAG], oci:DIR[:NAME], oci-archive:FILE[:NAME], "
            "docker-archive:FILE[:NAME:TAG] or store:NAME.\n"
            "pyd image copy --all docker.io/library/debian:12 registry.example.com/debian:12"
        ),
    )
}
