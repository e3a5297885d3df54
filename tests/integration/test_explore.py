"""image diff, image explore, images --tree: what is in real images, and names that mean harm."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.fakes.registry import FakeImage, digest_of
from tests.support.command import Pyd

HOSTILE = (
    "<script>alert(1)<script>",
    "<img src=x onerror=alert(1)>",
    "\x1b[31mred",
    "two\nlines",
    "quote\"'&amp;",
    "not-utf8-\udcff",
)


def docker_archive(path: Path, images: dict[str, FakeImage]) -> Path:
    """An archive as of `docker save`."""
    entries = []
    with tarfile.open(path, "w") as tar:

        def add(name: str, data: bytes) -> str:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            return name

        for tag, image in images.items():
            layers = [add(f"{digest_of(data)[7:]}.tar", data) for data in image.layers]
            config = add(f"{image.id[7:]}.json", image.config_bytes)
            entries.append({"Config": config, "RepoTags": [tag], "Layers": layers})
        add("manifest.json", json.dumps(entries).encode())
    return path


@pytest.fixture
def store(tmp_path: Path) -> dict[str, str]:
    """An environment with a store of its own."""
    return {"PYD_DATA_ROOT": str(tmp_path / "data"), "PYD_RUN_ROOT": str(tmp_path / "run")}


@pytest.fixture
def pair(tmp_path: Path, pyd: Pyd, store: dict[str, str]) -> dict[str, str]:
    """old:1 and new:1, which has a layer more."""
    base = {"etc/a": b"1" * 100, "etc/b": b"2" * 5000, "usr/x": b"3" * 9000, "gone/y": b"4" * 7000}
    more = {"etc/a": b"5" * 100, "etc/b": b"2" * 5000, "new/z": b"6" * 8000, ".wh.gone": b""}
    config = {"Cmd": ["/a"], "Env": ["PATH=/bin", "OLD=1"], "Labels": {"k": "v"}, "User": "1"}
    changed = {
        "Cmd": ["/b"],
        "Env": ["PATH=/sbin", "NEW=2"],
        "Labels": {"k": "w"},
        "ExposedPorts": {"1/tcp": {}},
    }
    old = FakeImage.of(base, config=config, history=[{"created_by": "RUN base"}])
    new = FakeImage.of(
        base, more, config=changed, history=[{"created_by": "RUN base"}, {"created_by": "RUN more"}]
    )
    pyd("load", "-q", "-i", docker_archive(tmp_path / "pair.tar", {"old:1": old, "new:1": new}), env=store)
    return store


def test_diff_by_hand(pair: dict[str, str], pyd: Pyd) -> None:
    found = pyd("image", "diff", "--json", "old:1", "new:1", env=pair).json()
    assert {(one["Name"], str(one["Before"]), str(one["After"])) for one in found["Config"]} == {
        ("Cmd", "['/a']", "['/b']"),
        ("Env PATH", "/bin", "/sbin"),
        ("Env OLD", "1", "None"),
        ("Env NEW", "None", "2"),
        ("Labels k", "v", "w"),
        ("User", "1", "None"),
        ("ExposedPorts 1/tcp", "None", "{}"),
    }
    assert [layer["CreatedBy"] for layer in found["Layers"]["Shared"]] == ["RUN base"]
    assert found["Layers"]["Before"] == []
    assert [(layer["CreatedBy"], layer["Size"]) for layer in found["Layers"]["After"]] == [
        ("RUN more", 13_100)
    ]
    files = found["Files"]
    assert {(one["Path"], one.get("Size")) for one in files["Added"]} == {("/new", None), ("/new/z", 8000)}
    assert {one["Path"] for one in files["Removed"]} == {"/gone", "/gone/y"}
    # /etc/b has the same content again
    assert [(one["Path"], one["Changes"]) for one in files["Changed"]] == [("/etc/a", ["content"])]
    text = pyd("image", "diff", "old:1", "new:1", env=pair).stdout
    for line in (
        "  ~ Env PATH: /bin -> /sbin",
        "  - Env OLD: 1",
        "  + Env NEW: 2",
        "  D /gone/y  -rwxr-xr-x 0:0  7kB",
        "  A /new/z  -rwxr-xr-x 0:0  8kB",
        "  C /etc/a  content",
        "Files: 2 added (8kB), 2 removed (7kB), 1 changed",
    ):
        assert line in text.splitlines(), text
    assert pyd("image", "diff", "--exit-code", "old:1", "new:1", env=pair, code=1).stdout == text
    assert pyd("image", "diff", "--exit-code", "--only", "files", "old:1", "old:1", env=pair).code == 0
    names = pyd(
        "image", "diff", "--format", "{{range .Files.Added}}{{.Path}} {{end}}", "old:1", "new:1", env=pair
    )
    assert names.out == "/new /new/z"


def test_explore_by_hand(pair: dict[str, str], pyd: Pyd) -> None:
    found = pyd("image", "explore", "--json", "--depth", "9", "new:1", env=pair).json()
    first, second = found["Layers"]
    assert (first["Bytes"], first["Added"]) == (21_100, {"Files": 4, "Bytes": 21_100})
    assert second["CreatedBy"] == "RUN more"
    assert second["Changed"] == {"Files": 2, "Bytes": 5100}
    assert second["Removed"] == {"Files": 1, "Bytes": 7000}
    assert first["Wasted"] == {"Files": 3, "Bytes": 12_100}
    assert {(one["Path"], one["Bytes"]) for one in found["Wasted"]["Paths"]} == {
        ("/gone/y", 7000),
        ("/etc/b", 5000),
        ("/etc/a", 100),
    }
    assert found["Visible"]["Bytes"] + found["Wasted"]["Bytes"] == found["Size"] == 34_200
    (copies,) = found["Duplicates"]["Groups"]
    assert copies["Bytes"] == 5000 and [one["Layer"] for one in copies["Copies"]] == [0, 1]
    # dive: least bytes of each path by all of them
    assert found["Efficiency"] == pytest.approx((100 + 5000 + 9000 + 8000) / 34_200)
    tree = {child["Name"]: child for child in found["Tree"]["Children"]}
    assert set(tree) == {"etc", "usr", "new"} and tree["etc"]["Bytes"] == 5100
    text = pyd("image", "explore", "new:1", env=pair).stdout
    assert "efficiency 64.6%" in text and "RUN more" in text
    assert "      7kB  /gone/y  (layer 0)" in text.splitlines(), text


def test_tree_and_shared_sizes(pair: dict[str, str], pyd: Pyd) -> None:
    lines = pyd("images", "--tree", env=pair).lines
    assert lines[0].startswith("old:1  ") and lines[0].endswith("  21.1kB")
    assert lines[1].startswith("└── new:1  ") and lines[1].endswith("  +13.1kB of 34.2kB")
    columns = "{{.Repository}} {{.Size}} {{.SharedSize}} {{.UniqueSize}}"
    rows = sorted(pyd("images", "--format", columns, env=pair).lines)
    assert rows == ["new 34.2kB 21.1kB 13.1kB", "old 21.1kB 21.1kB 0B"]
    sizes = [
        int(line)
        for line in pyd("history", "--human=false", "--format", "{{.Size}}", "new:1", env=pair).lines
    ]
    assert sizes == [13_100, 21_100]


def test_inspect_says_where_it_came_from(pair: dict[str, str], pyd: Pyd) -> None:
    (image,) = pyd("image", "inspect", "new:1", env=pair).json()
    manifest = Path(pair["PYD_DATA_ROOT"], "content/sha256", image["Descriptor"]["digest"][7:]).read_bytes()
    assert len(manifest) == image["Descriptor"]["size"]
    assert json.loads(manifest)["mediaType"] == image["Descriptor"]["mediaType"]
    assert image["Metadata"]["LastTagTime"] > "2026"
    assert image["RootFS"]["Type"] == "layers" and len(image["RootFS"]["Layers"]) == 2
    assert image["GraphDriver"]["Data"]["UpperDir"].startswith(pair["PYD_DATA_ROOT"])


def test_real_images(images: Callable[[str], str], pyd: Pyd) -> None:
    """Their content by another way: what find(1) sees in a container."""
    one, other = images("nginx"), images("redis")
    script = "find . -xdev ! -type d | sort"
    seen = []
    for name in (one, other):
        run = ("run", "--rm", "--network", "none", "--entrypoint", "sh", "-w", "/usr", name, "-c", script)
        seen.append(set(pyd(*run).lines))
    found = pyd("image", "diff", "--json", one, other).json()["Files"]

    def paths(kind: str) -> set[str]:
        files = [file for file in found[kind] if file["Type"] != "directory"]
        return {f".{file['Path'][4:]}" for file in files if file["Path"].startswith("/usr/")}

    assert paths("Added") == seen[1] - seen[0] and paths("Added")
    assert paths("Removed") == seen[0] - seen[1] and paths("Removed")
    explored = pyd("image", "explore", "--json", "--top", "0", one).json()
    visible = {f".{file['Path'][4:]}" for file in explored["Files"] if file["Path"].startswith("/usr/")}
    assert visible <= seen[0]
    assert "/usr/share/pyd-tests/hidden" in {path["Path"] for path in explored["Wasted"]["Paths"]}
    size = int(pyd("image", "inspect", "-f", "{{.Size}}", one).out)
    assert explored["Size"] <= size


class Page(HTMLParser):
    """What a browser would make of a page: its elements and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_names(tmp_path: Path, pyd: Pyd, store: dict[str, str]) -> None:
    files = {name: hashlib.sha256(name.encode(errors="replace")).digest() * 200 for name in HOSTILE}
    config = {"Env": [f"X={HOSTILE[0]}{HOSTILE[2]}"], "Labels": {HOSTILE[0]: HOSTILE[2]}}
    history = [{"created_by": "".join(HOSTILE[:5])}]
    bad = FakeImage.of(files, config=config, history=history)
    plain = FakeImage.of({"a": b"1"})
    pyd("load", "-q", "-i", docker_archive(tmp_path / "bad.tar", {"bad:1": bad, "plain:1": plain}), env=store)
    page = tmp_path / "out.html"
    assert pyd("image", "explore", "--html", page, "bad:1", env=store).out == str(page)
    text = page.read_text()
    seen = Page(text)
    assert "script" not in seen.tags and not set(seen.tags) & {"img", "link", "iframe", "object", "a"}
    assert not [name for name, _ in seen.attributes if name in ("src", "href", "onload", "onclick")]
    assert "http:" not in text and "https:" not in text and "default-src 'none'" in text
    assert HOSTILE[0] in seen.text, "shown, as text"
    assert "svg" in seen.tags and seen.tags.count("rect") >= len(HOSTILE)
    control = [character for character in text if not character.isprintable() and character != "\n"]
    assert control == []
    assert pyd("image", "explore", "--html", "-", "bad:1", env=store).stdout == text
    for words in (("image", "explore", "bad:1"), ("image", "diff", "plain:1", "bad:1"), ("history", "bad:1")):
        shown = pyd(*words, env=store).stdout
        assert "\x1b" not in shown and "two\nlines" not in shown
    listed = pyd("image", "diff", "--json", "plain:1", "bad:1", env=store).json()["Files"]["Added"]
    assert {os.fsencode(one["Path"][1:]) for one in listed} == {os.fsencode(name) for name in HOSTILE}
    template = pyd("image", "diff", "--format", "{{.Files.Added}}", "plain:1", "bad:1", env=store).stdout
    assert "\x1b" not in template


def test_mistakes(pair: dict[str, str], pyd: Pyd, tmp_path: Path) -> None:
    assert "No such image: nosuch:latest" in pyd("image", "diff", "old:1", "nosuch", env=pair, code=1).stderr
    assert "cannot be negative" in pyd("image", "explore", "--top", "-1", "old:1", env=pair, code=125).stderr
    missing = tmp_path / "no/such/out.html"
    assert "no such file" in pyd("image", "explore", "--html", missing, "old:1", env=pair, code=1).stderr
    assert (
        "must be one of" in pyd("image", "diff", "--only", "x", "old:1", "new:1", env=pair, code=125).stderr
    )
