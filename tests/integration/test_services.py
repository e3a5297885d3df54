"""Programs that people run: nginx, redis, postgres, python, each pulled from a registry."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.leaks import Snapshot
from tests.support.command import Pyd, wait_until
from tests.support.registry import free_port
from tests.support.world import World


def test_nginx_answers_through_p(images: Callable[[str], str], pyd: Pyd, name: str) -> None:
    port = free_port()
    pyd("run", "-d", "--name", name, "-p", f"{port}:80", images("nginx"))

    def page() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    assert "Welcome to nginx!" in wait_until(page, 10)
    assert '"GET / HTTP/1.1" 200' in pyd("logs", name).stdout
    assert pyd("exec", name, "nginx", "-v").code == 0
    follower = pyd.popen("logs", "-f", "--tail", "0", name)
    # from when on it follows is not announced; a page before that it would not show
    time.sleep(1)
    page()
    assert follower.stdout
    assert "GET / " in follower.stdout.readline()
    pyd("stop", name)
    assert pyd.state(name)["ExitCode"] == 0, "SIGQUIT is nginx's polite end"
    follower.communicate(timeout=10)
    assert follower.returncode == 0


def test_redis_keeps_what_it_is_told(images: Callable[[str], str], pyd: Pyd, name: str) -> None:
    port = free_port()
    pyd("run", "-d", "--name", name, "-p", f"127.0.0.1:{port}:6379", images("redis"))

    def ask(command: str) -> str:
        try:
            with socket.create_connection(("127.0.0.1", port), 2) as connection:
                connection.sendall(command.encode() + b"\r\n")
                return connection.recv(100).decode().strip()
        except OSError:
            return ""

    wait_until(lambda: ask("PING") == "+PONG", 10)
    assert ask("SET a 42") == "+OK"
    assert pyd("exec", name, "redis-cli", "get", "a").out == "42"
    assert pyd("exec", name, "sh", "-c", "grep ^Uid /proc/1/status").stdout.split()[1] != "0"
    pyd("stop", name)
    assert pyd.state(name)["ExitCode"] == 0
    pyd("start", name)
    wait_until(lambda: ask("PING") == "+PONG", 10)
    assert pyd("exec", name, "redis-cli", "get", "a").out == "42", (
        "the anonymous volume of the image keeps it"
    )


def sql(pyd: Pyd, name: str, statement: str) -> str:
    return pyd(
        "exec", "-u", "postgres", name, "psql", "-At", "-h", "127.0.0.1", "-c", statement, code=None
    ).out


def test_postgres_survives_stop_and_start(images: Callable[[str], str], pyd: Pyd, name: str) -> None:
    volume = "pgdata"
    pyd(
        "run",
        "-d",
        "--name",
        name,
        "-v",
        f"{volume}:/var/lib/postgresql/data",
        "--shm-size",
        "128m",
        images("postgres"),
    )
    wait_until(lambda: sql(pyd, name, "select 1") == "1", 60, "postgres accepts connections")
    sql(pyd, name, "create table t (a int); insert into t select generate_series(1, 1000)")
    pyd("stop", name, timeout=60)
    assert pyd.state(name)["ExitCode"] == 0, "SIGINT is postgres' fast shutdown"
    pyd("start", name)
    wait_until(lambda: sql(pyd, name, "select count(*) from t") == "1000", 30)
    pyd("rm", "-f", name)
    # the volume outlives the container, even one that was killed
    pyd("run", "-d", "--name", name, "-v", f"{volume}:/var/lib/postgresql/data", images("postgres"))
    wait_until(lambda: sql(pyd, name, "select count(*) from t") == "1000", 60)
    pyd("rm", "-f", name)
    pyd("volume", "rm", volume)


def test_python_interactive(images: Callable[[str], str], pyd: Pyd) -> None:
    image = images("python")
    code = "import os, sys; print(os.getpid(), sys.stdin.read())"
    assert pyd("run", "--rm", "-i", image, "python3", "-c", code, input="piped").out == "1 piped"
    terminal = pyd.terminal("run", "--rm", "-it", image)
    terminal.expect(">>> ")
    terminal.write("6 * 7\n")
    terminal.expect("42")
    terminal.write("exit(3)\n")
    assert terminal.close() == 3


def test_exec_it_in_each(images: Callable[[str], str], pyd: Pyd) -> None:
    for image in ("nginx", "redis"):
        container = pyd("run", "-d", images(image)).out
        terminal = pyd.terminal("exec", "-it", container, "sh")
        terminal.expect("# ")
        terminal.write("cat /proc/1/comm; echo e''nd\n")
        assert image.removesuffix("s") in terminal.expect("end")
        terminal.write("exit\n")
        assert terminal.close() == 0


def test_four_services_at_once(world: World, images: Callable[[str], str], pyd: Pyd) -> None:
    names = {image: pyd("run", "-d", images(image)).out for image in ("nginx", "redis", "postgres")}
    names["busybox"] = pyd("run", "-d", images("busybox"), "sleep", "1000").out
    for container in names.values():
        assert pyd.state(container)["Running"] is True
    processes = [line.split()[0] for line in Snapshot.take(world).processes if "nginx" in line]
    assert len(processes) > 1, "its master and its workers"
    pyd("stop", "-t", "20", *(names[image] for image in ("nginx", "redis", "postgres")), timeout=90)
    assert {pyd.state(names[image])["ExitCode"] for image in ("nginx", "redis")} == {0}
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]
