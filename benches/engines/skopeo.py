"""skopeo, which copies between registries and directories and keeps blobs as they are. It runs nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from benches.engines.base import Engine
from benches.programs import find
from benches.spawner import Timing


class Skopeo(Engine):
    name = "skopeo"
    level = "command"
    what = "`skopeo copy` from an OCI layout, blobs as they are"
    can = frozenset({"push"})
    programs = ("skopeo",)

    def prepare(self) -> None:
        self.base = (find("skopeo"), "--insecure-policy", "copy", "--quiet")

    def probe(self) -> None:
        """Without a registry there is nothing to try."""

    def pull(self, reference: str) -> Timing:
        return self.main.run(
            [
                *self.base,
                "--src-tls-verify=false",
                f"docker://{reference}",
                f"oci:{self._layout(reference)}:x",
            ]
        )

    def push(self, reference: str, target: str) -> Timing:
        place = f"oci:{self._layout(reference)}:x"
        return self.main.run([*self.base, "--dest-tls-verify=false", place, f"docker://{target}"])

    def remove_image(self, reference: str) -> None:
        shutil.rmtree(self._layout(reference))

    def _layout(self, reference: str) -> Path:
        return self.work / reference.rpartition("/")[2].replace(":", "-")
