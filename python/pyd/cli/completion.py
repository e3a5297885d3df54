"""pyd completion: scripts for the shells, all of which ask `pyd __complete WORDS…` what may come next."""

from __future__ import annotations

from pyd import errors
from pyd.cli import main as entry
from pyd.cli.command import BOOL, Args, Command, Option

_BASH = """# bash completion for pyd:  source <(pyd completion bash)
_pyd() {
    local IFS=$'\\n' word="${COMP_WORDS[COMP_CWORD]}"
    [[ $word == "=" ]] && word=""
    COMPREPLY=($(compgen -W "$(pyd __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "$word"))
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    [[ ${#COMPREPLY[@]} -eq 0 ]] && COMPREPLY=($(compgen -f -- "$word"))
}
complete -o filenames -F _pyd pyd
"""
_ZSH = """#compdef pyd
# zsh completion for pyd:  source <(pyd completion zsh)
_pyd() {
    local -a found
    found=("${(@f)$(pyd __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -- "${found[@]}"; else _files; fi
}
compdef _pyd pyd
"""
_FISH = """# fish completion for pyd:  pyd completion fish | source
function __pyd_complete
    set -l words (commandline -opc) (commandline -ct)
    pyd __complete $words[2..-1] 2>/dev/null
end
complete -c pyd -a '(__pyd_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(args: Args) -> int:
    shell = args.rest[0]
    if shell not in _SCRIPTS:
        raise errors.InvalidArgument(f"no completion for {shell!r}", f"one of {', '.join(_SCRIPTS)}")
    print(_SCRIPTS[shell], end="")
    return 0


def complete(words: list[str]) -> int:
    """Print what may stand in the place of the last word, one a line. Never fails: the shell wants no
    messages.
    """
    try:
        for word in candidates(words):
            print(word)
    except (errors.PydError, ImportError, KeyError):
        pass
    return 0


def candidates(words: list[str]) -> list[str]:
    # bash breaks --name=value into three words
    if words and words[-1] == "=":
        words = [*words, ""]
    words = [word for index, word in enumerate(words) if word != "=" or not index]
    current, before = (words[-1], words[:-1]) if words else ("", [])
    while before and before[0].startswith("-"):
        before = before[1 if "=" in before[0] or before[0] in ("-D", "--debug") else 2 :]
    if not before:
        return _starting([*entry.TOP, *entry.GROUPS], current)
    if before[0] in entry.GROUPS and len(before) == 1:
        return _starting(list(entry.GROUPS[before[0]][1]), current)
    command, _, rest = entry.find(before)
    if command is None:
        return []
    return _of_command(command, rest, current)


def _of_command(command: Command, rest: list[str], current: str) -> list[str]:
    words: list[str] = []
    wants_value = False
    for word in rest:
        if wants_value:
            wants_value = False
        elif word.startswith("--"):
            option = command.by_name.get(word[2:].partition("=")[0])
            wants_value = option is not None and option.kind != BOOL and "=" not in word
        elif word.startswith("-") and word != "-":
            option = command.by_short.get(word[-1])
            wants_value = option is not None and option.kind != BOOL
        else:
            words.append(word)
    if wants_value:
        option = command.by_name.get(rest[-1].lstrip("-")) or command.by_short.get(rest[-1][-1])
        return _starting(_values(option, rest, words), current) if option else []
    if current.startswith("--") and "=" in current:
        name, _, value = current.partition("=")
        option = command.by_name.get(name[2:])
        found = _values(option, rest, words) if option else []
        return [f"{name}={one}" for one in _starting(found, value)]
    if current.startswith("-"):
        if command.stops and words:
            return []
        names = [f"--{option.name}" for option in command.options if not option.later]
        return _starting([*names, "--help"], current)
    if words and (command.stops or command.most == 1):
        return []
    if command.completes == "bake":
        return _starting(_bake_targets(rest), current)
    return _starting(_objects(command.completes), current)


def _values(option: Option, rest: list[str], words: list[str]) -> list[str]:
    """What may be the value of `option`; for a build, `words` (its context) and `rest` name the file."""
    if option.values:
        return [value for value in option.values if value]
    if option.completes == "progress":
        from pyd.cli.build_display import MODES

        return list(MODES)
    if option.completes == "builders":
        return ["default"]
    if option.completes == "platforms":
        from pyd.engine.builder import platforms

        return [*platforms(), "local"]
    if option.completes in ("targets", "args"):
        from pyd.engine import build_calls

        ask = build_calls.target_names if option.completes == "targets" else build_calls.argument_names
        found = ask(words[0] if words else ".", _value_of("file", "f", rest))
        return found if option.completes == "targets" else [f"{name}=" for name in found]
    return _objects(option.completes)


def _value_of(name: str, short: str, rest: list[str]) -> str:
    """The value of an option on the command line; "" without."""
    for index, word in enumerate(rest):
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
        if word in (f"--{name}", f"-{short}") and index + 1 < len(rest):
            return rest[index + 1]
        if word.startswith(f"-{short}") and len(word) > 2:
            return word[2:].removeprefix("=")
    return ""


def _bake_targets(rest: list[str]) -> list[str]:
    import os

    from pyd.engine import bake

    file = _value_of("file", "f", rest)
    return bake.names([file] if file and file != "-" else [], os.environ)


def _objects(kind: str) -> list[str]:
    if kind in ("", "files", "directories"):
        return []  # the shell's own
    if kind == "registries":
        from pyd.engine.login import servers

        return servers()
    from pyd.engine.engine import Engine

    engine = Engine()
    if kind in ("containers", "running"):
        rows = engine.containers.list(all=kind == "containers")
        return [name.removeprefix("/") for row in rows for name in row["Names"]]
    if kind == "volumes":
        return [row["Name"] for row in engine.volumes.list()]
    if kind == "images":
        return engine.image_names()
    if kind == "shells":
        return list(_SCRIPTS)
    return []


def _starting(words: list[str], current: str) -> list[str]:
    return sorted({word for word in words if word.startswith(current)})


COMMANDS = {
    "completion": Command(
        "completion",
        completion,
        "Print the completion script for a shell.",
        usage="bash|zsh|fish",
        least=1,
        most=1,
        completes="shells",
    )
}
