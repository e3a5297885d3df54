"""pyd build, bake, builder du and prune with real builds: what is printed and written, and what is kept."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.command import Pyd
from tests.support.world import World

DOCKERFILE = """\
FROM busybox AS tools
ARG WORD=hello
RUN echo said $WORD && head -c 200000 /dev/urandom > /big && echo > /other
FROM busybox
COPY --from=tools /big /big
COPY . /src
RUN --mount=type=cache,id=face,target=/c echo kept > /c/file
CMD ["cat", "/src/file"]
"""


@pytest.fixture
def context(tmp_path: Path, busybox: str) -> Path:
    directory = tmp_path / "context"
    directory.mkdir()
    (directory / "Dockerfile").write_text(DOCKERFILE)
    (directory / "file").write_text("contents\n")
    return directory


def test_a_build_as_people_see_it(context: Path, pyd: Pyd, tmp_path: Path, name: str) -> None:
    iid, metadata = tmp_path / "id", tmp_path / "metadata"
    tag = name.lower()
    built = pyd(
        "build", "--progress=plain", "-t", tag, "--iidfile", iid, "--metadata-file", metadata, context
    )
    assert built.stdout == ""
    assert re.search(r"^#\d+ \[tools 2/2\] RUN echo said \$WORD.*$", built.stderr, re.MULTILINE), built
    assert re.search(r"^#\d+ \d+\.\d+ said hello$", built.stderr, re.MULTILINE), built
    assert re.search(r"^#\d+ DONE \d+\.\ds$", built.stderr, re.MULTILINE), built
    image = pyd("image", "inspect", "-f", "{{.Id}}", tag).out
    assert iid.read_text() == image
    assert json.loads(metadata.read_text())["containerimage.config.digest"] == image
    assert pyd("run", "--rm", "--network", "none", tag).stdout == "contents\n"
    # nothing changed: all of it is there, and -q says only the id
    again = pyd("build", "--progress=plain", "--explain", context)
    assert "said hello" not in again.stderr and "not cached" not in again.stderr
    assert again.stderr.count(" CACHED\n") >= 4, again
    quiet = pyd("build", "-q", context)
    assert (quiet.out, quiet.stderr) == (image, "")
    (context / "file").write_text("other\n")
    changed = pyd("build", "--progress=plain", "--explain", context)
    assert re.search(r"^#\d+ not cached: .*file", changed.stderr, re.MULTILINE), changed
    pyd("rmi", "-f", tag)


def test_a_build_that_fails(context: Path, pyd: Pyd) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo before && exit 7\nCMD ['x']\n")
    failed = pyd("build", context, code=1)
    assert failed.stdout == ""
    assert re.search(
        r"^------\n > \[2/2\] RUN echo before && exit 7:\n\d\.\d+ before\n------$", failed.stderr, re.M
    )
    assert "   2 | >>> RUN echo before && exit 7\n" in failed.stderr
    message = 'process "/bin/sh -c echo before && exit 7" did not complete successfully: exit code: 7'
    assert f"ERROR: failed to build: failed to solve: {message}" in failed.stderr
    missing = pyd("build", context / "nowhere", code=1)
    assert 'unable to prepare context: path "' in missing.stderr
    (context / "Dockerfile").unlink()
    assert (
        "failed to read dockerfile: open Dockerfile: no such file or directory"
        in pyd("build", context, code=1).stderr
    )


def test_on_a_terminal(context: Path, pyd: Pyd) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo out; sleep 0.6\n")
    terminal = pyd.terminal("build", "--no-cache", context)
    text = terminal.expect("FINISHED") + terminal.expect("\x1b[?25h")
    assert terminal.close() == 0
    assert "=> => # out" in text


def test_what_builds_keep(context: Path, pyd: Pyd, world: World, tmp_path: Path) -> None:
    """du, df and check after real builds; after a prune nothing is left but what was there before."""
    store = {"PYD_DATA_ROOT": str(tmp_path / "data"), "PYD_RUN_ROOT": str(tmp_path / "run")}
    archive = tmp_path / "busybox.tar"
    pyd("save", "-o", archive, "busybox")
    pyd("load", "-q", "-i", archive, env=store)
    before = pyd("system", "df", "--json", env=store).json()
    pyd("build", "-q", "-t", "kept", context, env=store)
    found = {one["Description"]: one for one in pyd("builder", "du", "--json", env=store).json()}
    make = next(one for text, one in found.items() if text.startswith("RUN /bin/sh -c echo said"))
    copy = next(one for text, one in found.items() if text == "COPY … /big")
    assert make["Size"] > 200_000 and not make["Shared"] and copy["Shared"]
    assert found["cached mount face"]["Type"] == "exec.cachemount"
    df = pyd("system", "df", "--json", env=store).json()
    row = next(row for row in df["Rows"] if row["Type"] == "Build Cache")
    assert row["Size"] == sum(one["Size"] for one in found.values() if not one["Shared"])
    words = ["du", "-sx", "--block-size=1", store["PYD_DATA_ROOT"]]
    du = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[0])
    assert df["Total"] == du == sum(row["Size"] for row in df["Rows"])
    check = pyd("system", "check", env=store).stdout
    assert re.search(r"[1-9]\d* build layers", check) and "0 damaged, 0 missing" in check
    pyd("rmi", "-f", "kept", env=store)
    pyd("builder", "prune", "-af", env=store)
    assert pyd("builder", "du", "--json", env=store).json() == []
    after = pyd("system", "df", "--json", env=store).json()
    kinds = ("Images", "Build Cache", "Image Blobs", "Downloads")
    assert [row for row in after["Rows"] if row["Type"] in kinds] == [
        row for row in before["Rows"] if row["Type"] in kinds
    ]


def test_bake_with_a_target_as_context(context: Path, pyd: Pyd, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text(
        "FROM busybox AS lib\nRUN echo from lib > /made\nFROM busybox AS app\nCOPY --from=lib2 /made /made\n"
    )
    (context / "docker-bake.json").write_text(
        json.dumps(
            {
                "target": {
                    "lib": {"target": "lib"},
                    "app": {"target": "app", "contexts": {"lib2": "target:lib"}, "output": ["out"]},
                }
            }
        )
    )
    done = pyd("bake", "--progress=plain", "app", cwd=context)
    assert "[lib lib 2/2] RUN echo from lib" in done.stderr
    assert (context / "out/made").read_text() == "from lib\n"
