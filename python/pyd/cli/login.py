"""pyd login, pyd logout: Docker's prompts, words and exit codes."""

from __future__ import annotations

import os
import sys

from pyd import errors
from pyd.cli.command import BOOL, TEXT, Args, Command, Option
from pyd.cli.human import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.engine.login import Credentials, Server

_NO_TERMINAL = "Error: Cannot perform an interactive login from a non TTY device"
_HUB = (
    "Log in with your Docker ID or email address to push and pull images from Docker Hub. "
    "If you don't have a Docker ID, head over to https://hub.docker.com/ to create one."
)
_UNENCRYPTED = """
WARNING! Your credentials are stored unencrypted in '{path}'.
Configure a credential helper to remove this warning (pyd has one: 'pyd credential setup'). See
https://docs.docker.com/go/credential-store/
"""
_MOST = 1 << 16  # bytes of a password


class _Refused(Exception):
    """One sentence for stderr, exit status 1."""


def _login(args: Args) -> int:
    from pyd.engine.login import Credentials, Server, is_overridden, log_in, stored

    try:
        username, password = _given(args)
        server = Server.parse(args.rest[0] if args.rest else "")
        if is_overridden():
            _say("WARNING: DOCKER_AUTH_CONFIG is set and takes precedence. Unset it to use what is stored.")
        tls_verify = args.flag("tls-verify")
        before = stored(server) if not username and not password else None
        if before and before.username and before.password and _still_good(server, before, tls_verify):
            print("Login Succeeded")
            return 0
        if not username or not password:
            username, password = _ask(server, username, password, before.username if before else "")
        path = log_in(server, Credentials(username, password), tls_verify=tls_verify)
    except _Refused as error:
        _say(str(error))
        return 1
    if path:
        _say(_UNENCRYPTED.format(path=path))
    print("Login Succeeded")
    return 0


def _given(args: Args) -> tuple[str, str]:
    """User name and password of the command line and of stdin, "" for what is still to be asked for."""
    username, password = (args.text("username") or "").strip(), args.text("password") or ""
    if args.flag("password-stdin"):
        if password:
            raise _Refused("conflicting options: cannot specify both --password and --password-stdin")
        if not username:
            raise _Refused("the --password-stdin option requires --username to be set")
        data = sys.stdin.buffer.read(_MOST + 1)
        if len(data) > _MOST:
            raise _Refused(f"the password on stdin is longer than {_MOST} bytes")
        try:
            return username, data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise _Refused("the password on stdin is not UTF-8") from None
    if password:
        _say("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
    return username, password


def _still_good(server: Server, before: Credentials, tls_verify: bool) -> bool:
    """Try what is stored, as Docker does when nothing was given."""
    from pyd.engine.login import log_in

    print(f"Authenticating with existing credentials... [Username: {printable(before.username)}]\n")
    print("Info -> To login with a different account, run 'pyd logout' followed by 'pyd login'\n")
    try:
        log_in(server, before, tls_verify=tls_verify)
    except errors.Unauthorized:
        _say("Stored credentials invalid or expired")
        return False
    except errors.PydError as error:
        _say(f"Login did not succeed, error: {error.message}")
        return False
    return True


def _ask(server: Server, username: str, password: str, default: str) -> tuple[str, str]:
    if not sys.stdin.isatty():
        raise _Refused(_NO_TERMINAL)
    if not username:
        if server.host == "docker.io":
            print(_HUB)
        username = _line(f"Username ({printable(default)}): " if default else "Username: ") or default
        if not username:
            raise _Refused("error: username is required")
    if not password:
        password = hidden_line("Password: ")
        if not password:
            raise _Refused("error: password is required")
    return username, password


def _line(prompt: str) -> str:
    sys.stdout.write(prompt)
    sys.stdout.flush()
    return sys.stdin.readline(_MOST).strip()


def hidden_line(prompt: str) -> str:
    """A line of the terminal that is not shown, without its line break."""
    import signal
    import termios

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)  # through `finally`: a terminal without echo is hard to mend

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    quiet = termios.tcgetattr(fd)
    quiet[3] &= ~termios.ECHO
    handlers = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        # before the prompt: who answers it at once must not see the answer, nor lose it
        termios.tcsetattr(fd, termios.TCSADRAIN, quiet)
        sys.stdout.write(prompt)
        sys.stdout.flush()
        return sys.stdin.readline(_MOST).rstrip("\r\n")
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.stdout.write("\n")


def _logout(args: Args) -> int:
    from pyd.engine.login import Server, is_overridden, log_out

    server = Server.parse(args.rest[0] if args.rest else "")
    if is_overridden():
        _say("WARNING: DOCKER_AUTH_CONFIG is set and takes precedence. Unset it to use what is stored.")
    print(f"Removing login credentials for {server.name}", flush=True)
    try:
        log_out(server)
    except errors.Unavailable as error:
        _say(f"WARNING: could not erase credentials:\n{server.name}: {error.message}")
        return 1  # Docker's is 0, which a script takes for: nothing is left
    return 0


def _say(line: str) -> None:
    sys.stdout.flush()
    os.write(2, f"{line}\n".encode(errors="replace"))


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "login",
            _login,
            "Authenticate to a registry. Defaults to Docker Hub if no server is specified.",
            (
                Option("username", TEXT, "Username", short="u"),
                Option("password", TEXT, "Password or personal access token (insecure)", short="p"),
                Option("password-stdin", BOOL, "Take the password or token from stdin"),
                Option("tls-verify", BOOL, "Require https with a valid certificate", default=True),
            ),
            usage="[SERVER]",
            most=1,
            completes="registries",
            epilog="pyd login -u me --password-stdin registry.example.com < token",
        ),
        Command(
            "logout",
            _logout,
            "Log out from a registry. Defaults to Docker Hub if no server is specified.",
            usage="[SERVER]",
            most=1,
            completes="registries",
        ),
    )
}
