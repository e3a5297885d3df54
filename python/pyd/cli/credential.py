"""pyd credential …: the store that keeps passwords of registries encrypted on a machine without a desktop."""

from __future__ import annotations

import sys

from pyd import errors
from pyd.cli.command import BOOL, TEXT, Args, Command, Option, UsageError
from pyd.cli.human import print_documents, printable

_MOST = 1 << 16  # bytes of a passphrase
_DEFAULT_KEYRING = "user"


def setup(args: Args) -> int:
    from pyd.engine import credential_store

    store = args.text("store") or ("file" if args.given("key") else "keyring")
    wrong = ("key", "file", "passphrase-stdin") if store == "keyring" else ("keyring",)
    for name in wrong:
        if args.given(name):
            raise UsageError(f"--{name} is not for --store {store}", exit_code=1)
    if store == "keyring":
        moved = credential_store.set_up_keyring(args.text("keyring") or _DEFAULT_KEYRING)
    else:
        source = args.text("key")
        if not source:
            raise UsageError("--store file needs --key", exit_code=1)
        passphrase = _passphrase(args, twice=True) if source == "passphrase" else None
        moved = credential_store.set_up_file(source, args.text("file") or "", passphrase)
    for server in moved:
        print(f"Moved the credentials for {printable(server)}")
    print("Docker and pyd now use docker-credential-pyd (credsStore in config.json)")
    return 0


def status(args: Args) -> int:
    from pyd.engine import credential_store

    found = credential_store.status()
    if args.text("format"):
        print_documents([found], args.text("format"))
        return 0
    for name in ("Store", "Keyring", "File", "Key"):
        if name in found:
            print(f"{name + ':':9}{printable(found[name])}")
    print(f"{'Used:':9}{'yes' if found['Used'] else 'no, credsStore in config.json is another'}")
    for server, user in found["Servers"].items():
        shown = "identity token" if user == "<token>" else printable(user)
        print(f"{'Server:':9}{printable(server)} ({shown})")
    if found["Problem"]:
        print(f"{'Problem:':9}{found['Problem']}")
    return 1 if found["Problem"] else 0


def unlock(args: Args) -> int:
    from pyd.engine import credential_store

    credential_store.required()  # before anybody types
    print(f"Unlocked {credential_store.unlock(_passphrase(args, twice=False))}")
    return 0


def lock(args: Args) -> int:
    from pyd.engine import credential_store

    print(f"Locked {credential_store.lock()}")
    return 0


def _passphrase(args: Args, *, twice: bool) -> bytes:
    if args.flag("passphrase-stdin"):
        data = sys.stdin.buffer.read(_MOST + 1)
        typed = data.removesuffix(b"\n").removesuffix(b"\r") if len(data) <= _MOST else b""
    elif sys.stdin.isatty():
        from pyd.cli.login import hidden_line

        typed = hidden_line("Passphrase: ").encode()
        if twice and hidden_line("Again: ").encode() != typed:
            raise errors.InvalidArgument("the passphrases differ")
    else:
        raise errors.InvalidArgument(
            "cannot ask for the passphrase: stdin is no terminal", "give it with --passphrase-stdin"
        )
    if len(typed) < 8:
        raise errors.InvalidArgument("a passphrase has at least 8 bytes")
    return typed


_STDIN = Option("passphrase-stdin", BOOL, "Take the passphrase from stdin")

COMMANDS = {
    command.name: command
    for command in (
        Command(
            "setup",
            setup,
            "Keep passwords in the kernel's keyring or in a sealed file, and move what is there",
            (
                Option("store", TEXT, "Where they are kept (default keyring)", values=("keyring", "file")),
                Option(
                    "keyring",
                    TEXT,
                    "user: until the next boot; persistent: until unused for 3 days; session: this login",
                    values=("user", "persistent", "session"),
                ),
                Option("key", TEXT, "Key of the file: file:/PATH, env:NAME, systemd:NAME or passphrase"),
                Option("file", TEXT, "Path of the sealed file (default beside pyd's configuration)"),
                _STDIN,
            ),
            epilog="pyd credential setup --key file:/root/pyd.key",
        ),
        Command(
            "status",
            status,
            "Show where passwords are kept, and for which registries",
            (Option("format", TEXT, "Format output using a Go template, or 'json'"),),
        ),
        Command("unlock", unlock, "Open the sealed file with its passphrase, until the next boot", (_STDIN,)),
        Command("lock", lock, "Forget the passphrase of the sealed file"),
    )
}
