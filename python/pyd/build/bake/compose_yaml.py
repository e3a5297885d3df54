"""The text of Compose files: YAML as its version 1.2 has it, and the variables in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from pyd.errors import InvalidArgument, NotSupported, from_os_error

_MOST = 100_000  # nodes of a document: aliases of aliases are many more than their text
_DEPTH = 100
_VARIABLE = re.compile(
    r"\$(?:(?P<escape>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<mark>:?[-?+])(?P<rest>[^{}]*(?:\{[^{}]*\}[^{}]*)*))?\})"
)


def read(data: bytes, file: str) -> dict[str, Any]:
    """The document. Raises InvalidArgument."""
    try:
        import yaml
    except ImportError:
        raise NotSupported(f"{file}: Compose files need PyYAML", "pip install pyyaml") from None
    try:
        document = yaml.load(data, Loader=_loader())  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark is not None else file
        raise InvalidArgument(f"{where}: invalid YAML: {getattr(error, 'problem', None) or error}") from None
    except (ValueError, RecursionError):
        raise InvalidArgument(f"{file}: invalid YAML") from None
    if not isinstance(document, dict):
        raise InvalidArgument(f"{file}: a Compose file must be a mapping")
    return document


def is_compose(document: object) -> bool:
    return isinstance(document, dict) and isinstance(document.get("services"), dict)


def environment(environ: Mapping[str, str], directory: str) -> dict[str, str]:
    """With what the file `.env` there sets; the environment comes first."""
    path = os.path.join(directory, ".env")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(1 << 20)
    except (FileNotFoundError, IsADirectoryError):
        return dict(environ)
    except OSError as error:
        raise from_os_error(error, f"reading {path}") from error
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path} is not UTF-8") from None
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = re.fullmatch(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*[=:]\s*(.*?)\s*", line)
        if match:
            found[match[1]] = _unquoted(match[2], {**found, **environ})
    return found | dict(environ)


def _unquoted(text: str, values: Mapping[str, str]) -> str:
    if len(text) > 1 and text[0] == "'" and "'" in text[1:]:
        return text[1 : text.index("'", 1)]
    if len(text) > 1 and text[0] == '"' and '"' in text[1:]:
        inner = text[1 : text.rindex('"')]
        return interpolated(inner.replace('\\"', '"').replace("\\n", "\n"), values, ".env")
    return interpolated(re.split(r"\s+#", text)[0].strip(), values, ".env")


def interpolated(text: str, environ: Mapping[str, str], file: str) -> str:
    """$NAME, ${NAME}, ${NAME:-default}, ${NAME:?error}, ${NAME:+other} and the forms without a colon;
    $$ is $.
    """

    def value(match: re.Match[str]) -> str:
        if match["escape"]:
            return "$"
        name, mark, rest = match["plain"] or match["name"], match["mark"] or "", match["rest"] or ""
        found = environ.get(name)
        is_set = found is not None and (found != "" or not mark.startswith(":"))
        if mark.endswith("?") and not is_set:
            raise InvalidArgument(f"{file}: required variable {name} is missing a value: {rest}")
        if mark.endswith("-") and not is_set:
            return interpolated(rest, environ, file)
        if mark.endswith("+"):
            return interpolated(rest, environ, file) if is_set else ""
        return found or ""

    return _VARIABLE.sub(value, text)


def replaced(value: Any, environ: Mapping[str, str], file: str) -> Any:
    count = 0

    def walk(value: Any, depth: int) -> Any:
        nonlocal count
        count += 1
        if count > _MOST or depth > _DEPTH:
            raise InvalidArgument(f"{file}: more than {_MOST} values, or nested too deeply")
        if isinstance(value, dict):
            return {str(key): walk(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list):
            return [walk(each, depth + 1) for each in value]
        return interpolated(value, environ, file) if isinstance(value, str) else value

    return walk(value, 0)


def _loader() -> Any:
    """YAML 1.2's core schema: PyYAML knows 1.1, where `no` is false, 1:30 is 90 and 010 is 8."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {}
    rules: tuple[tuple[str, str, str], ...] = (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
        ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
        ("null", r"~|null|Null|NULL|", "~nN\0"),
        ("merge", r"<<", "<"),
    )
    for name, pattern, first in rules:
        letters = [letter if letter != "\0" else "" for letter in first]
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"(?:{pattern})$"), letters)

    def number(loader: Any, node: Any) -> int:
        text = loader.construct_scalar(node)
        return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)

    def real(loader: Any, node: Any) -> str:
        return str(loader.construct_scalar(node))  # 1.10 is the text of a version, more often than not

    constructors: dict[str, Callable[[Any, Any], Any]] = {"int": number, "float": real}
    for name, constructor in constructors.items():
        Loader.add_constructor(f"tag:yaml.org,2002:{name}", constructor)
    return Loader
