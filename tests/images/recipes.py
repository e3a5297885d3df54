"""What the test images hold and how they are configured.

Configurations follow the official images of the same name (entry point, user, volumes, stop signal), because
those are the conventions that users bring along. `packages` come from the machine's own distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Config = dict[str, object]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Files that every Debian-based image has in its base layer; the last layer hides them again (see
# `builder.py`), so that whiteouts and opaque directories of a real image are in every pull.
MARKERS = {
    "usr/share/pyd-tests/hidden": "from the base layer, deleted by the last one\n",
    "usr/share/pyd-tests/kept": "from the base layer\n",
    "usr/share/pyd-tests/opaque/old": "from the base layer, behind an opaque directory\n",
}


@dataclass(frozen=True)
class Recipe:
    name: str
    config: Config
    packages: tuple[str, ...] = ()
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Path in the image -> (mode, text): the last layer."""
    links: dict[str, str] = field(default_factory=dict)
    compression: str = "gzip"
    """What skopeo pushes the layers as: gzip or zstd."""


NGINX_ENTRYPOINT = """#!/bin/sh
set -e
echo "docker-entrypoint.sh: Configuration complete; ready for start up"
exec "$@"
"""

REDIS_ENTRYPOINT = """#!/bin/sh
set -e
# as the official image: started as root, gives /data to redis and steps down
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    chown -R redis:redis .
    exec setpriv --reuid=redis --regid=redis --clear-groups -- "$0" "$@"
fi
exec "$@"
"""

POSTGRES_ENTRYPOINT = """#!/bin/sh
set -e
PATH="$(echo /usr/lib/postgresql/*/bin):$PATH"; export PATH
if [ "$1" = postgres ] && [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    chown postgres:postgres "$PGDATA" /var/run/postgresql
    chmod 0700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb -D "$PGDATA" --auth=trust --no-locale --encoding=UTF8
    echo "host all all all trust" >> "$PGDATA/pg_hba.conf"
    echo "PostgreSQL init process complete; ready for start up."
fi
exec "$@"
"""

BUSYBOX = Recipe("busybox", {"Cmd": ["sh"], "Env": [f"PATH={PATH}"]})

PYTHON = Recipe(
    "python",
    {"Cmd": ["python3"], "Env": [f"PATH={PATH}", "LANG=C.UTF-8"]},
    packages=("python3-minimal",),
)

NGINX = Recipe(
    "nginx",
    {
        "Entrypoint": ["/docker-entrypoint.sh"],
        "Cmd": ["nginx", "-g", "daemon off;"],
        "Env": [f"PATH={PATH}"],
        "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGQUIT",
        "Labels": {"maintainer": "pyd tests"},
    },
    packages=("nginx-light",),
    files={
        "docker-entrypoint.sh": (0o755, NGINX_ENTRYPOINT),
        "var/www/html/index.html": (0o644, "<h1>Welcome to nginx!</h1>\n"),
    },
    links={"var/log/nginx/access.log": "/dev/stdout", "var/log/nginx/error.log": "/dev/stderr"},
)

REDIS = Recipe(
    "redis",
    {
        "Entrypoint": ["docker-entrypoint.sh"],
        "Cmd": ["redis-server", "--bind", "*", "-::*", "--protected-mode", "no"],
        "Env": [f"PATH={PATH}"],
        "ExposedPorts": {"6379/tcp": {}},
        "Volumes": {"/data": {}},
        "WorkingDir": "/data",
    },
    packages=("redis-server",),
    files={"usr/local/bin/docker-entrypoint.sh": (0o755, REDIS_ENTRYPOINT)},
    compression="zstd",
)

POSTGRES = Recipe(
    "postgres",
    {
        "Entrypoint": ["docker-entrypoint.sh"],
        "Cmd": ["postgres", "-c", "listen_addresses=*"],
        "Env": [f"PATH={PATH}", "PGDATA=/var/lib/postgresql/data", "LANG=C.UTF-8"],
        "ExposedPorts": {"5432/tcp": {}},
        "Volumes": {"/var/lib/postgresql/data": {}},
        "StopSignal": "SIGINT",
    },
    packages=("postgresql",),
    files={"usr/local/bin/docker-entrypoint.sh": (0o755, POSTGRES_ENTRYPOINT)},
)

RECIPES = {recipe.name: recipe for recipe in (BUSYBOX, PYTHON, NGINX, REDIS, POSTGRES)}
