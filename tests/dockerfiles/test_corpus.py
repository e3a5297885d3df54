"""The cases that need no network, built by pyd and by Docker: the same files, the same configuration.

All cases, with real packages of every language: `python -m tests.dockerfiles`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.dockerfiles.archive import Image
from tests.dockerfiles.case import Case, load, names
from tests.dockerfiles.compare import differences, split
from tests.dockerfiles.site import Site
from tests.support.world import World

FAST = [name for name in names() if load(name).fast]
AT_ONCE = 3
"""Cases: most of a build is waiting for processes that start."""

Pair = tuple[Image, Image]


@pytest.fixture(scope="module")
def site(world: World) -> Iterator[Site]:
    made = Site(world.directory / "corpus", f"{world.cgroup_parent}/corpus", world.host_prefix)
    yield made
    made.close()


@pytest.fixture(scope="module")
def pairs(site: Site, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Pair]]]:
    """name -> pyd's image and Docker's, of the cases of this run. A failure is raised in its own test."""
    chosen = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_pyd_builds_what_docker_builds"
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(_pair, site, load(name)) for name in chosen}
        pool.shutdown(cancel_futures=True)


def _pair(site: Site, case: Case) -> Pair:
    ours, theirs = site.build(case, "pyd"), site.build(case, "docker")
    site.check_output(case, "pyd", ours)
    return site.image(case, "pyd", ours), site.image(case, "docker", theirs)


@pytest.mark.parametrize("name", FAST)
def test_pyd_builds_what_docker_builds(pairs: dict[str, Future[Pair]], name: str) -> None:
    ours, theirs = pairs[name].result()
    assert split(differences(ours, theirs), load(name).allow)[0] == []


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
