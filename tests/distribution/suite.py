"""One run of the conformance suite against a registry, and what came out of it."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# the workflows of the spec, and the lines of the suite's summary that belong to them
WORKFLOWS = {
    "Pull": ("Blob get", "Blob head", "Manifest get", "Manifest head", "Ping"),
    "Push": (
        "Blob push",
        "Blob post",
        "Blob chunked",
        "Blob streaming",
        "Blob mount",
        "Blob anonymous",
        "Blob upload",
        "Manifest put",
    ),
    "Content discovery": ("Tag listing", "Referrers"),
    "Content management": ("Tag delete", "Blob delete", "Manifest delete"),
}
# what the suite leaves out unless it is asked for; sparse indexes (entries that are not there) are refused
OPTIONAL = {
    "OCI_API_BLOBS_UPLOAD_CANCEL": "true",
    "OCI_API_MANIFESTS_TAG_PARAM": "true",
    "OCI_API_BLOBS_DIGEST_HEADER": "true",
    "OCI_API_MANIFESTS_DIGEST_HEADER": "true",
}


@dataclass(frozen=True)
class Outcome:
    counts: dict[str, int]  # Pass, FAIL, Error, Skip, Disabled, Total
    apis: dict[str, str]  # "Blob mount" -> "Pass"
    data: dict[str, str]  # "Blobs sha512" -> "Pass"
    output: str

    @property
    def failures(self) -> list[str]:
        found = [
            f"{name}: {word}"
            for name, word in {**self.apis, **self.data}.items()
            if word in ("FAIL", "Error")
        ]
        if self.counts.get("FAIL", 1) or self.counts.get("Error", 1):
            found.append(f"{self.counts}")
        return found

    def workflow(self, name: str) -> dict[str, str]:
        return {api: word for api, word in self.apis.items() if api.startswith(WORKFLOWS[name])}


def run(program: Path, host: str, results: Path, environ: dict[str, str] | None = None) -> Outcome:
    """`results`: a directory for the suite's own reports (report.html has every request and answer)."""
    settings = {
        "OCI_REGISTRY": host,
        "OCI_TLS": "disabled",
        "OCI_VERSION": "dev",
        "OCI_RESULTS_DIR": str(results),
        **OPTIONAL,
        **(environ or {}),
    }
    results.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [program],
        env={name: value for name, value in os.environ.items() if not name.startswith("OCI_")} | settings,
        cwd=results,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return read(done.stdout + done.stderr)


def read(output: str) -> Outcome:
    """The summary that the suite prints."""
    before, _, rest = output.partition("API conformance:")
    apis, _, data = rest.partition("Data conformance:")
    counts = {name: int(value) for name, value in _lines(before).items() if value.isdigit()}
    return Outcome(counts, _lines(apis), _lines(data), output)


def _lines(text: str) -> dict[str, str]:
    return dict(re.findall(r"^ +([A-Za-z][^.\n]*?)\.*\.: +(\w+)$", text, re.MULTILINE))
