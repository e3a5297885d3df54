"""The instructions as values. Their fields hold the text of the file until `expand` replaced variables."""

from __future__ import annotations

from pyd.build.heredocs import Heredoc
from pyd.build.location import Location
from pyd.build.parser import Node
from pyd.build.words import SPACES
from pyd.record import Record


class Instruction(Record):
    """Base of all; `node` is what was parsed."""

    node: Node

    @property
    def location(self) -> Location:
        return self.node.location

    @property
    def keyword(self) -> str:
        return self.node.keyword

    @property
    def text(self) -> str:
        """As it stands in the file, continuations joined; without the contents of here-documents."""
        return self.node.original.strip(SPACES)


class Mount(Record):
    """One `--mount` of RUN.

    `size` (bytes, 0 for no limit) is for tmpfs, `sharing` for cache, `required` and `env` for secret and
    ssh. `mode`, `uid` and `gid` are None when not given. `raw` is the text.
    """

    raw: str
    type: str = "bind"
    target: str = ""
    source: str = ""
    from_: str = ""
    id: str = ""
    sharing: str = ""  # shared, private, locked; "" is shared
    readonly: bool = True
    required: bool = False
    size: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    env: str | None = None


class Device(Record):
    """One `--device` of RUN: the name of a CDI device."""

    name: str
    required: bool = False


class Run(Instruction):
    """`command` of the shell form is one text. `mounts` have all their values only after `expand`."""

    command: tuple[str, ...]
    shell_form: bool
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[Mount, ...] = ()
    network: str = "default"  # default, none, host
    security: str = "sandbox"  # sandbox, insecure
    devices: tuple[Device, ...] = ()


class Content(Record):
    """A here-document that COPY and ADD write as a file."""

    name: str
    text: str
    expands: bool


class Transfer(Instruction):
    """COPY and ADD with their flags: `from_` and `parents` are only of COPY, the last three only of ADD.

    `keep_git_dir` and `unpack` are None when not given.
    """

    sources: tuple[str, ...]
    dest: str
    contents: tuple[Content, ...] = ()
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    excludes: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None


class Copy(Transfer):
    pass


class Add(Transfer):
    pass


class Env(Instruction):
    pairs: tuple[tuple[str, str], ...]


class Label(Instruction):
    pairs: tuple[tuple[str, str], ...]


class Arg(Instruction):
    """Names with their defaults, None for none."""

    args: tuple[tuple[str, str | None], ...]


class Expose(Instruction):
    """Sorted, as BuildKit keeps them; `config.ports` reads ranges and protocols."""

    ports: tuple[str, ...]


class Volume(Instruction):
    paths: tuple[str, ...]


class User(Instruction):
    user: str


class Workdir(Instruction):
    path: str


class Shell(Instruction):
    shell: tuple[str, ...]


class StopSignal(Instruction):
    signal: str


class Maintainer(Instruction):
    maintainer: str


class Cmd(Instruction):
    command: tuple[str, ...]
    shell_form: bool


class Entrypoint(Instruction):
    command: tuple[str, ...]
    shell_form: bool


class HealthCheck(Instruction):
    """Times are nanoseconds, 0 for the default. `test` begins with NONE, CMD or CMD-SHELL."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class OnBuild(Instruction):
    """`expression` goes into the config of the image."""

    expression: str


class Stage(Record):
    """`name` is lower case, "" without AS; `base` and `platform` are not expanded. `comment` describes it."""

    name: str
    index: int
    base: str
    platform: str
    instructions: tuple[Instruction, ...]
    node: Node
    comment: str = ""

    @property
    def location(self) -> Location:
        return self.node.location


class Script(Record):
    """A whole Dockerfile. `global_args` stand before the first FROM."""

    global_args: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    warnings: tuple[str, ...] = ()
