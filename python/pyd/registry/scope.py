"""What a token is asked for: `repository:team/app:pull,push`, several separated by spaces.

Grammar: distribution.github.io/distribution/spec/auth/scope. The resource's name may hold colons
(`repository:host:5000/a:pull`): its type ends at the first, its actions begin after the last.
"""

from __future__ import annotations

_MAX = 4096  # characters that a registry may want to be added


def repository(path: str, *actions: str) -> str:
    """`repository("team/app", "pull", "push")`"""
    return f"repository:{path}:{','.join(actions)}"


def merge(*scopes: str) -> str:
    """One entry for each resource, with all its actions; the same for whatever order they came in."""
    return " ".join(
        f"{resource}:{','.join(sorted(actions))}" if actions else resource
        for resource, actions in sorted(_parse(" ".join(scopes)).items())
    )


def covers(have: str, wanted: str) -> bool:
    """Whether a token for `have` opens all that `wanted` names."""
    owned = _parse(have)
    return all(
        resource in owned and (actions <= owned[resource] or "*" in owned[resource])
        for resource, actions in _parse(wanted).items()
    )


def of_challenge(text: str) -> str:
    """The `scope` of a challenge, empty when it is none: it comes from the network and goes into a query."""
    return text if len(text) <= _MAX and text.isascii() and text.isprintable() else ""


def _parse(scopes: str) -> dict[str, set[str]]:
    """Resource (`type:name`) -> actions."""
    found: dict[str, set[str]] = {}
    for entry in scopes.split():
        resource, _, actions = entry.rpartition(":")
        if ":" not in resource:
            resource, actions = entry, ""
        found.setdefault(resource, set()).update(filter(None, actions.split(",")))
    return found
