"""pyd completion: scripts for the shells, all of which ask `pyd __complete WORDS…` what may come next."""

from __future__ import annotations

from pyd import errors
from pyd.cli import main as entry
from pyd.cli.command import BOOL, Args, Command

_BASH = """# bash completion for pyd:  source <(pyd completion bash)
_pyd() {
    local IFS=$'\\n' word="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=($(compgen -W "$(pyd __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "$word"))
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
    positionals = 0
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
            positionals += 1
    if wants_value:
        option = command.by_name.get(rest[-1].lstrip("-")) or command.by_short.get(rest[-1][-1])
        return _starting(list(option.values) if option else [], current)
    if current.startswith("-"):
        if command.stops and positionals:
            return []
        names = [f"--{option.name}" for option in command.options if not option.later]
        return _starting([*names, "--help"], current)
    if positionals and (command.stops or command.most == 1):
        return []
    return _starting(_objects(command.completes), current)


def _objects(kind: str) -> list[str]:
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
