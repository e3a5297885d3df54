"""The flags of `docker build` and `docker buildx build`, and what they mean for the engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from pyd.cli.build_display import MODES
from pyd.cli.command import BOOL, INT, LIST, SIZE, TEXT, Args, Option, UsageError, refuse_content_trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyd.engine.build_values import BuildRequest

# of `build` and `bake`
SHARED: tuple[Option, ...] = (
    Option("builder", TEXT, "pyd has one builder, default", completes="builders"),
    Option("call", TEXT, "build, or answer with: check, outline, targets; ,format=json", default="build"),
    Option("check", BOOL, "The same as --call=check"),
    Option("explain", BOOL, "Say for each step that is not cached why"),
    Option("load", BOOL, "The same as --output=type=docker: into the image store, which is the default"),
    Option("metadata-file", TEXT, "Write what was made to a file, as JSON", metavar="file"),
    Option("no-cache", BOOL, "Do every step again"),
    Option(
        "progress", TEXT, f"How progress is shown: {', '.join(MODES)}", default="auto", completes="progress"
    ),
    Option("provenance", TEXT, "The same as --attest=type=provenance: true, false, mode=min|max"),
    Option("pull", BOOL, "Ask the registries for newer base images"),
    Option("push", BOOL, "The same as --output=type=registry: push what was built"),
    Option("sbom", TEXT, "The same as --attest=type=sbom: true, false"),
)
BUILD: tuple[Option, ...] = (
    *SHARED,
    # what is built
    Option(
        "file", TEXT, "Dockerfile (default PATH/Dockerfile); - for standard input", short="f", metavar="file"
    ),
    Option("target", TEXT, "Stage to build", completes="targets"),
    Option(
        "build-arg", LIST, "Value of an ARG: NAME=value, or NAME for the caller's value", completes="args"
    ),
    Option("build-context", LIST, "Another context: NAME=PATH|URL|docker-image://REF|oci-layout://DIR"),
    Option(
        "platform",
        LIST,
        "Platform to build for: os/arch[/variant], several with commas",
        completes="platforms",
    ),
    Option("secret", LIST, "Secret for RUN --mount=type=secret: id=ID[,src=FILE|,env=NAME]"),
    Option("ssh", LIST, "Agent or keys for RUN --mount=type=ssh: default|ID[=SOCKET|KEY[,KEY]]"),
    Option("allow", LIST, "Allow what a Dockerfile wants: network.host, security.insecure"),
    # what becomes of it
    Option("tag", LIST, "Name of the image: name[:tag]", short="t", completes="images"),
    Option("label", LIST, "Metadata of the image: key=value"),
    Option("annotation", LIST, "Annotation: [index:|manifest:]key=value"),
    Option("attest", LIST, "Attestation: type=sbom, type=provenance,mode=max"),
    Option("output", LIST, "type=local|tar|oci|docker|image|registry|cacheonly,dest=…; DIR; -", short="o"),
    Option("iidfile", TEXT, "Write the id of the image to a file", metavar="file"),
    Option("quiet", BOOL, "Print nothing but the id of the image", short="q"),
    # cache
    Option("cache-from", LIST, "Cache to use: a reference, type=registry,ref=…, type=local,src=…"),
    Option(
        "cache-to",
        LIST,
        "Where to put the cache: type=registry,ref=…[,mode=max], type=local,dest=…, type=inline",
    ),
    Option("no-cache-filter", LIST, "Do the steps of this stage again", completes="targets"),
    # the containers of RUN
    Option("network", TEXT, "Network of RUN: default, none or host", default="default"),
    Option("add-host", LIST, "Line in /etc/hosts: NAME:IP"),
    Option(
        "volume",
        LIST,
        "Mount in every RUN: HOST:TARGET[:ro,…]; its files are no input of the cache",
        short="v",
    ),
    Option("shm-size", SIZE, "Size of /dev/shm"),
    Option("ulimit", LIST, "Limit: name=soft[:hard]"),
    Option("memory", SIZE, "Memory limit", short="m"),
    Option("memory-swap", SIZE, "Limit of memory plus swap, -1 = no limit"),
    Option("cpu-shares", INT, "CPU shares (relative weight)", short="c"),
    Option("cpu-period", INT, "CFS period in microseconds"),
    Option("cpu-quota", INT, "CFS quota in microseconds"),
    Option("cpuset-cpus", TEXT, "CPUs that may be used: 0-3, 0,1"),
    Option("cpuset-mems", TEXT, "Memory nodes that may be used"),
    Option("cgroup-parent", TEXT, "Parent cgroup"),
    Option("security-opt", LIST, "seccomp=unconfined|FILE, apparmor=…, no-new-privileges"),
    Option("isolation", TEXT, "Isolation technology", values=("", "default")),
    Option("debug", BOOL, "Open a shell where a RUN has failed"),
    # what BuildKit ignores: there are no intermediate containers, and the context is not sent anywhere
    Option("rm", BOOL, "Nothing is left to remove", default=True),
    Option("force-rm", BOOL, "Nothing is left to remove"),
    Option("compress", BOOL, "The context is read where it is"),
    Option("disable-content-trust", BOOL, "Signatures are not verified yet: =false is refused", default=True),
    Option("squash", BOOL, "Not supported: copy from one stage to another with COPY --from"),
)


def check_shared(args: Args) -> None:
    """Refuse what pyd has not. Raises UsageError, NotSupported."""
    builder = args.text("builder")
    if builder not in (None, "", "default"):
        raise UsageError(
            f'no builder "{builder}" found: pyd has one, "default", which works in this process', exit_code=1
        )
    if builder is None and os.environ.get("BUILDX_BUILDER", "default") not in ("", "default"):
        from pyd.cli.main import warn

        warn(f"BUILDX_BUILDER={os.environ['BUILDX_BUILDER']} does not apply: pyd has one builder")


def build_request(args: Args) -> BuildRequest:
    from pyd.engine.build_values import BuildRequest

    check_shared(args)
    refuse_content_trust(args)
    if args.flag("squash"):
        raise UsageError(
            "--squash is not supported, as BuildKit has dropped it: for fewer layers, COPY --from a stage "
            "into a last one"
        )
    context, file = args.rest[0], args.text("file") or ""
    if context == "-" == file:
        raise UsageError(
            "invalid argument: can't use stdin for both build context and dockerfile", exit_code=1
        )
    outputs = _outputs(args)
    return BuildRequest(
        context=context,
        dockerfile=file,
        stdin=sys.stdin.buffer if "-" in (context, file) else None,
        stdout=sys.stdout.buffer if outputs else None,
        tags=tuple(args.all("tag")),
        target=args.text("target") or "",
        build_args=_pairs(args.all("build-arg"), "build-arg", from_environment=True),
        labels=_pairs(args.all("label"), "label"),
        annotations=tuple(args.all("annotation")),
        platforms=platforms(args.all("platform")),
        no_cache=args.flag("no-cache"),
        no_cache_filter=_commas(args.all("no-cache-filter")),
        pull=args.flag("pull"),
        cache_from=tuple(args.all("cache-from")),
        cache_to=tuple(args.all("cache-to")),
        secrets=tuple(args.all("secret")),
        ssh=tuple(args.all("ssh")),
        build_contexts=_contexts(args.all("build-context")),
        allow=_commas(args.all("allow")),
        volumes=tuple(args.all("volume")),
        outputs=outputs,
        attests=attests(args.all("attest"), args.text("provenance"), args.text("sbom")),
        network=args.text("network") or "default",
        add_hosts=_commas(args.all("add-host")),
        shm_size=args.int("shm-size"),
        ulimits=tuple(args.all("ulimit")),
        memory=args.int("memory") or 0,
        memory_swap=args.int("memory-swap") or 0,
        cpu_shares=args.int("cpu-shares") or 0,
        cpu_period=args.int("cpu-period") or 0,
        cpu_quota=args.int("cpu-quota") or 0,
        cpuset_cpus=args.text("cpuset-cpus") or "",
        cpuset_mems=args.text("cpuset-mems") or "",
        cgroup_parent=args.text("cgroup-parent") or "",
        security_opts=tuple(args.all("security-opt")),
        debug=args.flag("debug"),
        proxies=proxies(),
    )


def _outputs(args: Args) -> tuple[str, ...]:
    """--output with --push and --load."""
    outputs = with_push(args.all("output"), push=args.flag("push"), load=args.flag("load"))
    if args.text("iidfile") and any(output_type(one) in ("local", "tar") for one in outputs):
        raise UsageError("local and tar exporters are incompatible with image ID file", exit_code=1)
    return outputs


def with_push(outputs: Sequence[str], *, push: bool, load: bool) -> tuple[str, ...]:
    """As buildx: --push makes the image that is an output anyway a pushed one, and is one of its own else."""
    found = list(outputs)
    if push:
        images = [index for index, one in enumerate(found) if output_type(one) == "image"]
        for index in images:
            found[index] += ",push=true"
        if not images and "registry" not in map(output_type, found):
            found.append("type=registry")
    if load and "docker" not in map(output_type, found):
        found.append("type=docker")
    return tuple(found)


def output_type(text: str) -> str:
    """ "local" for a bare directory, "tar" for -."""
    if "=" not in text:
        return "tar" if text == "-" else "local"
    fields = dict(field.strip().split("=", 1) for field in text.split(",") if "=" in field)
    return fields.get("type", "")


def attests(given: Sequence[str], provenance: str | None, sbom: str | None) -> tuple[str, ...]:
    """--attest with --provenance and --sbom. Raises UsageError when a type is there twice."""
    found = list(given)
    for kind, text in (("provenance", provenance), ("sbom", sbom)):
        if text:
            if text.lower() in ("1", "t", "true"):
                found.append(f"type={kind}")
            elif text.lower() in ("0", "f", "false"):
                found.append(f"type={kind},disabled=true")
            else:
                found.append(f"type={kind},{text}")
    kinds = [output_type(one) if "=" in one else "" for one in found]
    if "" in kinds:
        raise UsageError("attestation type not specified", exit_code=1)
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise UsageError(f"duplicate attestation field {kind}", exit_code=1)
    return tuple(found)


def platforms(given: Sequence[str]) -> tuple[str, ...]:
    """--platform, else DOCKER_DEFAULT_PLATFORM; "local" is this host's and the default."""
    found = _commas(given) or _commas([os.environ.get("DOCKER_DEFAULT_PLATFORM", "")])
    return tuple(dict.fromkeys(found))


def proxies() -> dict[str, str]:
    """Those of the user's config.json, as the variables that programs read."""
    from pyd.config import docker_config

    documents = docker_config().get("proxies")
    default = documents.get("default") if isinstance(documents, dict) else None
    found = {}
    for key, name in (
        ("httpProxy", "HTTP_PROXY"),
        ("httpsProxy", "HTTPS_PROXY"),
        ("noProxy", "NO_PROXY"),
        ("ftpProxy", "FTP_PROXY"),
        ("allProxy", "ALL_PROXY"),
    ):
        value = default.get(key) if isinstance(default, dict) else None
        if value and isinstance(value, str):
            found[name] = found[name.lower()] = value
    return found


def _commas(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(word.strip() for text in texts for word in text.split(",") if word.strip())


def _pairs(texts: Sequence[str], option: str, *, from_environment: bool = False) -> dict[str, str]:
    """ "A=b" is a value; "A" alone the caller's, or none where the caller has none."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f'invalid argument "{text}" for "--{option}" flag: empty key', exit_code=1)
        if equals or not from_environment:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def _contexts(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name or not value:
            raise UsageError(f"invalid context value: {text}, expected key=value", exit_code=1)
        found[name] = value
    return found


def call(args: Args) -> tuple[str, dict[str, Any]]:
    """--call, --check: (build, check, outline or targets; format and ignorestatus)."""
    text = args.text("call") or "build"
    if args.flag("check"):
        if text not in ("build", "check", "lint"):
            raise UsageError(f"conflicting options: --check and --call={text}", exit_code=1)
        text = "check"
    first, *rest = text.split(",")
    name = first.partition("=")[2] if first.startswith("type=") else first
    options: dict[str, Any] = {}
    for field in rest:
        key, _, value = field.partition("=")
        if key == "format" and value in ("json", "text"):
            options["format"] = value
        elif key == "ignorestatus" and value in ("", "true", "false", "1", "0"):
            options["ignorestatus"] = value in ("", "true", "1")
        else:
            raise UsageError(
                f"invalid call option {field!r}: format=json|text, ignorestatus=true", exit_code=1
            )
    name = {
        "lint": "check",
        "frontend.lint": "check",
        "frontend.outline": "outline",
        "frontend.targets": "targets",
    }.get(name, name)
    if name not in ("build", "check", "outline", "targets"):
        raise UsageError(f"invalid call {name!r}: one of build, check, outline, targets", exit_code=1)
    return name, options
