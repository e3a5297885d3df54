"""The lists of a target whose elements have keys: outputs, caches, attestations, secrets and ssh keys. Each
is written as an object or as the text of the flag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pyd.build.bake.hcl_syntax import Value
from pyd.build.bake.hcl_values import to_text
from pyd.errors import InvalidArgument

Entry = dict[str, Any]  # texts, but for the list "paths" of ssh


def output(text: str) -> Entry:
    """ "type=local,dest=x"; a path alone is a directory, "-" a tar on standard output."""
    if text == "-":
        return {"type": "tar", "dest": "-"}
    fields = _csv(text)
    if len(fields) == 1 and "=" not in fields[0]:
        return {"type": "local", "dest": text}
    entry = _pairs(fields, text)
    if not entry.get("type"):
        raise InvalidArgument(f"type is required for output {text!r}")
    return entry


def cache(text: str) -> Entry:
    """A reference alone is that of a registry."""
    fields = _csv(text)
    if len(fields) == 1 and "=" not in fields[0]:
        return {"type": "registry", "ref": text}
    entry = _pairs(fields, text)
    if not entry.get("type"):
        raise InvalidArgument(f"type required form> {text!r}")
    return entry


def attest(text: str) -> Entry:
    fields = _csv(text)
    entry = {"type": fields[0]} if len(fields) == 1 and "=" not in fields[0] else _pairs(fields, text)
    if not entry.get("type"):
        raise InvalidArgument(f"attestation type not specified in {text!r}")
    return entry


def secret(text: str) -> Entry:
    """The keys of `--secret`; type=env makes src the variable."""
    entry = _pairs(_csv(text), text)
    kind = entry.pop("type", "")
    if kind not in ("", "file", "env"):
        raise InvalidArgument(f'unsupported secret type "{kind}"')
    if "source" in entry:
        entry["src"] = entry.pop("source")
    unknown = set(entry) - {"id", "src", "env"}
    if unknown:
        raise InvalidArgument(f"unexpected key '{min(unknown)}' in '{text}'")
    if kind == "env" and "env" not in entry and "src" in entry:
        entry["env"] = entry.pop("src")
    return {key: entry[key] for key in ("id", "src", "env") if entry.get(key)}


def ssh(text: str) -> Entry:
    name, equals, paths = text.partition("=")
    return {"id": name, **({"paths": paths.split(",")} if equals else {})}


PARSERS: dict[str, Callable[[str], Entry]] = {
    "output": output,
    "cache-from": cache,
    "cache-to": cache,
    "attest": attest,
    "secret": secret,
    "ssh": ssh,
}


def of(field: str, values: Iterable[Value]) -> list[Entry]:
    """Of the attribute `field`. Empty texts count as nothing, as in buildx."""
    found = []
    for value in values:
        if value is None or value == "":
            continue
        if isinstance(value, str):
            found.append(PARSERS[field](value))
        elif isinstance(value, dict):
            entry = {
                key: list(map(to_text, each)) if isinstance(each, list) else to_text(each)
                for key, each in value.items()
                if each is not None
            }
            found.append(PARSERS[field](text(field, entry)))
        else:
            raise InvalidArgument(f"{field}: an element must be a string or an object")
    return found


def text(field: str, entry: Entry) -> str:
    """As the flag takes it."""
    if field == "ssh":
        return f"{entry['id']}={','.join(entry['paths'])}" if entry.get("paths") else str(entry.get("id", ""))
    import csv
    import io

    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([f"{key}={value}" for key, value in entry.items()])
    return line.getvalue()


def merged(field: str, one: list[Entry], other: list[Entry]) -> list[Entry]:
    """One after the other, without what is there twice. Of attestations of one type the later counts."""
    if field == "attest":
        return list({entry["type"]: entry for entry in (*one, *other)}.values())
    found: list[Entry] = []
    for entry in (*one, *other):
        if entry not in found:
            found.append(entry)
    return found


def shown(field: str, entry: Entry) -> Entry:
    """For --print: with sorted keys, where buildx prints a map."""
    return entry if field in ("secret", "ssh") else dict(sorted(entry.items()))


def _csv(text: str) -> list[str]:
    import csv

    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise InvalidArgument(f"failed to parse {text!r}: {error}") from None


def _pairs(fields: list[str], text: str) -> Entry:
    entry = {}
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals:
            raise InvalidArgument(f"invalid value {field}, expected key=value in {text!r}")
        entry[key.strip().lower()] = value
    return entry
