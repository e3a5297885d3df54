"""Git repositories on loopback: made with the git program, served by its own http backend."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    **{f"GIT_{who}_DATE": "2020-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")},
}


class Repo:
    """A repository with a work tree; what is served is `directory`/.git."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self("init", "--quiet", "--initial-branch=main")

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", "-c", "core.hooksPath=/dev/null", *words],
            cwd=self.directory,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"git {words}: {done.stderr}"
        return done.stdout.strip()

    def write(self, path: str, data: str) -> None:
        (self.directory / path).parent.mkdir(parents=True, exist_ok=True)
        (self.directory / path).write_text(data)

    def commit(self, message: str = "x") -> str:
        self("add", "-A")
        self("commit", "--quiet", "--allow-empty", "-m", message)
        return self("rev-parse", "HEAD")


@dataclass
class GitServer:
    """top: name.git is served from top/name/.git. needs: the Authorization header, "" for none."""

    top: Path
    port: int = 0
    needs: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, Authorization

    def url(self, name: str, user: str = "") -> str:
        return f"http://{user}{'@' if user else ''}127.0.0.1:{self.port}/{name}.git"

    def basic(self, user: str, password: str) -> str:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextmanager
def serving_git(top: Path) -> Iterator[GitServer]:
    server = GitServer(top)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            header = self.headers.get("Authorization")
            server.asked.append((self.path, header))
            if server.needs and (header or "").lower() != server.needs.lower():
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic realm=git")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            name, _, rest = path.lstrip("/").partition(".git/")
            environment = ENVIRONMENT | {
                "GIT_PROJECT_ROOT": str(top),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": f"/{name}/.git/{rest}",
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
            }
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            done = subprocess.run(
                ["git", "http-backend"], env=environment, input=body, capture_output=True, check=False
            )
            head, _, data = done.stdout.partition(b"\r\n\r\n")
            lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
            self.send_response(int(lines.pop("Status", "200").split()[0]))
            for key, value in lines.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
