"""The cases that need no network, built by pyd and by Docker: the same files, the same configuration.

All cases, with real packages of every language: `python -m tests.dockerfiles`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.dockerfiles.case import load, names
from tests.dockerfiles.compare import differences, split
from tests.dockerfiles.site import Site
from tests.support.world import World

FAST = [name for name in names() if load(name).fast]


@pytest.fixture(scope="module")
def site(world: World) -> Iterator[Site]:
    made = Site(world.directory / "corpus", f"{world.cgroup_parent}/corpus", world.host_prefix)
    yield made
    made.close()


@pytest.mark.skipif(find_spec("pyd.engine.build") is None, reason="pyd has no build")
@pytest.mark.parametrize("name", FAST)
def test_pyd_builds_what_docker_builds(site: Site, name: str) -> None:
    case = load(name)
    ours, theirs = site.build(case, "pyd"), site.build(case, "docker")
    site.check_output(case, "pyd", ours)
    found = differences(site.image(case, "pyd", ours), site.image(case, "docker", theirs))
    assert split(found, case.allow)[0] == []


def test_another_build_is_noticed(site: Site) -> None:
    """A positive control with two real images: the comparison sees files, modes, owners and settings."""
    one, two = load("owners"), load("static-site")
    images = [site.image(case, "docker", site.build(case, "docker")) for case in (one, two)]
    found = {(difference.path, difference.what) for difference in differences(*images)}
    assert {
        ("opt/a", "extra"),
        ("var/www/index.html", "missing"),
        ("etc/passwd", "content"),
        ("config Healthcheck", "content"),
        ("config Cmd", "content"),
    } <= found
    again = site.image(one, "docker", site.build(one, "docker", again=True))
    assert differences(images[0], again) == []


def test_the_corpus_is_whole() -> None:
    cases = [load(name) for name in names()]
    assert len(cases) >= 30
    assert len(FAST) >= 20
    for case in cases:
        assert (case.directory / "context" / case.dockerfile).is_file(), case.name
        assert case.about, case.name
        assert case.output.strip("^$"), case.name
