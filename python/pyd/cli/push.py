"""push: an image to its registry."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyd.cli.command import BOOL, TEXT, Args, Command, Option, refuse_content_trust

if TYPE_CHECKING:
    from pyd.engine.image_push import Pushed, PushWatcher


def _push(args: Args) -> int:
    from pyd.engine.engine import Engine
    from pyd.engine.image_pull import Reference

    refuse_content_trust(args)
    quiet, all_tags = args.flag("quiet"), args.flag("all-tags")
    reference = Reference.parse(args.rest[0])
    if reference.is_name_only and not all_tags and not quiet:
        print("Using default tag: latest", flush=True)
    with Engine() as engine:
        pushed = engine.images.push(
            args.rest[0],
            all_tags=all_tags,
            platform=args.text("platform"),
            tls_verify=args.flag("tls-verify"),
            watcher=_watcher(quiet),
        )
    if quiet:
        for one in pushed:
            print(one.reference.canonical)
    return 0


def _watcher(quiet: bool) -> PushWatcher:
    from pyd.engine.image_push import EXISTS, PUSHED, OutLayer, Progress, PushWatcher, Sent

    if quiet:
        return PushWatcher()
    lock = threading.Lock()

    def name(layer: OutLayer) -> str:
        return (layer.diff_id or layer.blob.digest).short

    class Lines(PushWatcher):
        """Docker's output when stdout is no terminal."""

        def begins(self, repository: str, layers: Sequence[OutLayer]) -> None:
            self.say(f"The push refers to repository [{repository}]")
            for layer in layers:
                self.say(f"{name(layer)}: Preparing")

        def waits(self, layer: OutLayer) -> None:
            self.say(f"{name(layer)}: Waiting")

        def ends_layer(self, layer: OutLayer, outcome: str) -> None:
            words = {EXISTS: "Layer already exists", PUSHED: "Pushed"}
            self.say(f"{name(layer)}: {words.get(outcome) or f'Mounted from {outcome}'}")

        def tagged(self, pushed: Pushed) -> None:
            self.say(f"{pushed.reference.tag}: digest: {pushed.digest} size: {pushed.size}")
            if pushed.stripped:
                self.say(
                    "Info: Not all multiplatform-content is present and only the available single-platform "
                    f"image was pushed: {pushed.stripped} -> {pushed.digest}"
                )

        def say(self, line: str) -> None:
            with lock:
                print(line, flush=True)

    class Bars(Lines):
        """A bar for each layer that moves, and Docker's lines between them."""

        def __init__(self) -> None:
            from pyd.cli.progress import Meters

            self.meters = Meters()

        def begins(self, repository: str, layers: Sequence[OutLayer]) -> None:
            self.say(f"The push refers to repository [{repository}]")

        def waits(self, layer: OutLayer) -> None:
            pass

        def compresses(self, layer: OutLayer, progress: Progress) -> None:
            self.meters.show(layer.blob.digest, f"{name(layer)}: Compressing", progress)

        def pushes(self, layer: OutLayer, sent: Sent) -> None:
            self.meters.show(layer.blob.digest, f"{name(layer)}: Pushing", sent)

        def ends_layer(self, layer: OutLayer, outcome: str) -> None:
            self.meters.drop(layer.blob.digest)
            super().ends_layer(layer, outcome)

        def ends(self) -> None:
            self.meters.close()

        def say(self, line: str) -> None:
            self.meters.write(line)

    return Bars() if sys.stderr.isatty() else Lines()


COMMANDS = {
    "push": Command(
        "push",
        _push,
        "Upload an image to a registry",
        (
            Option("all-tags", BOOL, "Push all tags of the repository", short="a"),
            Option(
                "disable-content-trust", BOOL, "Images are not signed yet: =false is refused", default=True
            ),
            Option("platform", TEXT, "Push only the manifest of this platform: os/arch[/variant]"),
            Option("quiet", BOOL, "Suppress verbose output", short="q"),
            Option("tls-verify", BOOL, "Require https with a valid certificate", default=True),
        ),
        usage="NAME[:TAG]",
        least=1,
        most=1,
        completes="images",
        epilog="pyd push registry.example.com:5000/team/app:1.2",
    )
}
