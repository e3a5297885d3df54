"""pyd registry …: a registry of one's own."""

from __future__ import annotations

import sys
import time

from pyd import errors
from pyd.cli import table
from pyd.cli.command import BOOL, INT, SECONDS, SIZE, TEXT, Args, Command, Option, UsageError
from pyd.cli.main import each, warn
from pyd.engine import registry_server
from pyd.sizes import decimal_size

_REPOSITORY_HEADERS = {"Name": "REPOSITORY", "Tags": "TAGS", "Manifests": "MANIFESTS", "Size": "SIZE"}
_TAG_HEADERS = {
    "Name": "TAG",
    "Digest": "DIGEST",
    "Size": "SIZE",
    "Updated": "UPDATED",
    "MediaType": "MEDIA TYPE",
}


def serve(args: Args) -> int:
    for name in ("max-uploads", "max-connections"):
        if args.given(name) and (args.int(name) or 0) < 1:
            raise UsageError(f"--{name} must be at least 1")
    given = {field: args.values[name] for field, name in _SETTINGS.items() if args.given(name)}
    options = registry_server.options(args.text("listen"), args.text("root"), **given)
    if options.is_open:
        warn("everybody who reaches this registry may push to it: see --htpasswd")
    registry_server.serve(options)
    return 0


# field of Options -> option of the command
_SETTINGS = {
    "tls_certificate": "tls-cert",
    "tls_key": "tls-key",
    "allow_http": "allow-http",
    "htpasswd": "htpasswd",
    "access": "access",
    "token": "token",
    "token_realm": "token-realm",
    "token_key": "token-key",
    "token_service": "token-service",
    "token_issuer": "token-issuer",
    "read_only": "read-only",
    "delete": "delete",
    "mirror": "mirror",
    "mirror_ttl": "mirror-ttl",
    "quota": "quota",
    "repository_quota": "repository-quota",
    "max_uploads": "max-uploads",
    "max_connections": "max-connections",
    "gc_interval": "gc-interval",
    "gc_grace": "gc-grace",
    "upload_expiry": "upload-expiry",
    "delete_untagged": "delete-untagged",
    "shutdown": "shutdown-timeout",
    "access_log": "access-log",
}


def gc(args: Args) -> int:
    done = registry_server.collect(
        args.text("root"),
        grace=args.float("grace"),
        untagged=args.flag("delete-untagged"),
        upload_expiry=args.float("upload-expiry"),
    )
    print(f"Deleted manifests: {done.manifests}")
    print(f"Deleted uploads: {done.uploads}")
    print(f"Deleted blobs: {done.blobs}")
    print(f"Total reclaimed space: {decimal_size(done.size, 4)}")
    return 0


def ls(args: Args) -> int:
    if args.rest:
        found = registry_server.tags(args.text("root"), args.rest[0])
        if args.flag("quiet"):
            print("".join(f"{tag.name}\n" for tag in found), end="")
            return 0
        rows = [
            {
                "Name": tag.name,
                "Digest": tag.digest,
                "Size": decimal_size(tag.size),
                "Updated": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(tag.updated)),
                "MediaType": tag.media_type,
            }
            for tag in found
        ]
        table.print_rows(rows, _TAG_HEADERS, ("Name", "Digest", "Size", "Updated"), args.text("format"))
        return 0
    repositories = registry_server.repositories(args.text("root"))
    if args.flag("quiet"):
        print("".join(f"{repository.name}\n" for repository in repositories), end="")
        return 0
    rows = [
        {
            "Name": repository.name,
            "Tags": str(repository.tags),
            "Manifests": str(repository.manifests),
            "Size": decimal_size(repository.size),
        }
        for repository in repositories
    ]
    table.print_rows(rows, _REPOSITORY_HEADERS, ("Name", "Tags", "Manifests", "Size"), args.text("format"))
    return 0


def rm(args: Args) -> int:
    return each(args, lambda target: registry_server.remove(args.text("root"), target))


def htpasswd(args: Args) -> int:
    """The password comes by stdin, never by argv, which all users of the machine can read."""
    if sys.stdin.isatty():
        import getpass

        password = getpass.getpass()
        if getpass.getpass("Again: ") != password:
            raise errors.InvalidArgument("the passwords differ")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    print(registry_server.password_line(args.rest[0], password))
    return 0


def certificate(args: Args) -> int:
    certificate_path, key_path = registry_server.certificate(args.rest, args.text("out") or ".")
    print(f"{certificate_path}\n{key_path}")
    if sys.stdout.isatty():
        print(
            f"Clients trust it when it lies in /etc/docker/certs.d/{args.rest[0]}:PORT/ca.crt\n"
            f"Serve with: pyd registry serve --tls-cert {certificate_path} --tls-key {key_path} …"
        )
    return 0


_ROOT = Option(
    "root",
    TEXT,
    "Directory of the registry (default: in the data-root, sharing blobs with local images)",
    metavar="DIR",
)
_UNTAGGED = Option(
    "delete-untagged", BOOL, "Collect manifests that have no tag, too, unless an index or subject has them"
)
_UPLOAD_EXPIRY = Option(
    "upload-expiry", SECONDS, "Delete uploads that nobody went on with for so long (default 24h)"
)
_FORMAT = Option("format", TEXT, "Go template, table TEMPLATE, or json")

COMMANDS = {
    "serve": Command(
        "serve",
        serve,
        "Serve a registry (OCI distribution 1.1), in the foreground, until SIGTERM.",
        (
            Option("listen", TEXT, "Address and port (default 127.0.0.1:5000)", metavar="ADDRESS:PORT"),
            _ROOT,
            Option("tls-cert", TEXT, "Certificate (PEM), read again at SIGHUP", metavar="FILE"),
            Option("tls-key", TEXT, "Its key (PEM)", metavar="FILE"),
            Option("allow-http", BOOL, "Listen on other addresses than loopback without TLS"),
            Option(
                "htpasswd", TEXT, "Users and their passwords (bcrypt): everybody must log in", metavar="FILE"
            ),
            Option("access", TEXT, "Who may do what: lines WHO REPOSITORIES ACTIONS", metavar="FILE"),
            Option("token", BOOL, "Bearer tokens, given to the users of --htpasswd at /token"),
            Option("token-realm", TEXT, "Where clients get tokens (default: this server)", metavar="URL"),
            Option("token-key", TEXT, "Take tokens signed by another server with this key", metavar="FILE"),
            Option("token-service", TEXT, "Audience of the tokens (default pyd-registry)", metavar="NAME"),
            Option("token-issuer", TEXT, "Whose tokens are taken with --token-key (default: anybody's)"),
            Option("read-only", BOOL, "Refuse pushes and deletes"),
            Option("delete", BOOL, "Allow deletes (default true)", default=True),
            Option("mirror", TEXT, "Fetch from this registry what is not here (pull-through)", metavar="URL"),
            Option("mirror-ttl", SECONDS, "Ask again for a tag that is older (default 1m)"),
            Option("quota", SIZE, "Bytes of blobs in all"),
            Option("repository-quota", SIZE, "Bytes of blobs in each repository"),
            Option("max-uploads", INT, "Blobs that may be sent at once (default 64)"),
            Option("max-connections", INT, "Connections that may be open (default 1000)"),
            Option("gc-interval", SECONDS, "Collect garbage that often; 0 for never (default 1h)"),
            Option("gc-grace", SECONDS, "Keep blobs without a manifest for so long (default 1h)"),
            _UPLOAD_EXPIRY,
            _UNTAGGED,
            Option("shutdown-timeout", SECONDS, "At SIGTERM, let requests end for so long (default 30s)"),
            Option("access-log", BOOL, "A line per request on stderr (default true)", default=True),
        ),
    ),
    "gc": Command(
        "gc",
        gc,
        "Delete what nothing in a registry refers to, also while it is served.",
        (
            _ROOT,
            Option("grace", SECONDS, "Keep blobs without a manifest for so long (default 1h)"),
            _UPLOAD_EXPIRY,
            _UNTAGGED,
        ),
    ),
    "ls": Command(
        "ls",
        ls,
        "List the repositories of a registry, or the tags of one.",
        (_ROOT, _FORMAT, Option("quiet", BOOL, "Names only", short="q")),
        usage="[REPOSITORY]",
        most=1,
    ),
    "rm": Command(
        "rm",
        rm,
        "Remove tags, manifests or whole repositories; `gc` frees the space.",
        (_ROOT,),
        usage="REPOSITORY[:TAG|@DIGEST]...",
        least=1,
        most=None,
    ),
    "htpasswd": Command(
        "htpasswd",
        htpasswd,
        "Print a line for --htpasswd; the password is read from stdin.",
        usage="USER",
        least=1,
        most=1,
    ),
    "certificate": Command(
        "certificate",
        certificate,
        "Make a self-signed certificate, registry.crt and registry.key.",
        (Option("out", TEXT, "Directory for the files (default: this one)", metavar="DIR"),),
        usage="HOST [HOST...]",
        least=1,
        most=None,
    ),
}
