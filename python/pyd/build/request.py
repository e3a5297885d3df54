"""What a build is asked for: the flags of `docker build` and `docker buildx build` as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping

from pyd.record import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


class BuildRequest(Record, kw_only=True):
    """Strings keep Docker's grammar ("id=x,src=y"); sizes are bytes.

    context: directory, "-" for an archive or Dockerfile on `stdin`, git or http(s) URL
    dockerfile: -f: path (relative to the context for a remote one), "-" for `stdin`, "" for the default
    text: the Dockerfile itself, instead of a file
    epoch: SOURCE_DATE_EPOCH; None takes that of `build_args` or the environment, else build.EPOCH
    """

    context: str = "."
    dockerfile: str = ""
    text: bytes | None = None
    stdin: BinaryIO | None = None
    stdout: BinaryIO | None = None  # for an output whose dest is "-"

    tags: tuple[str, ...] = ()
    target: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: tuple[str, ...] = ()  # "[index:|manifest:]KEY=VALUE"
    platforms: tuple[str, ...] = ()
    epoch: int | None = None

    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()  # stages
    pull: bool = False
    cache_from: tuple[str, ...] = ()  # "type=registry,ref=…", "type=local,src=…", or a reference
    cache_to: tuple[str, ...] = ()

    secrets: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    build_contexts: Mapping[str, str] = field(default_factory=dict)
    allow: tuple[str, ...] = ()  # network.host, security.insecure
    volumes: tuple[str, ...] = ()

    outputs: tuple[str, ...] = ()  # "type=local,dest=…", a path, "-"; () = the image store
    attests: tuple[str, ...] = ()  # "type=sbom", "type=provenance,mode=max"

    network: str = "default"
    add_hosts: tuple[str, ...] = ()
    shm_size: int | None = None
    ulimits: tuple[str, ...] = ()
    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    cgroup_parent: str = ""
    security_opts: tuple[str, ...] = ()

    debug: bool = False  # a shell where a RUN has failed
    proxies: Mapping[str, str] = field(default_factory=dict)  # of config.json, as build args nobody declared
