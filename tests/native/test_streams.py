"""Output and input between a container and its clients."""

from __future__ import annotations

import time

from tests.native.shim import (
    CONTROL,
    Shims,
    is_running,
    script,
)
from tests.support.command import wait_until


def test_four_clients_and_the_log_see_the_same(shims: Shims) -> None:
    shim = shims(*script("read go", "seq 20000", "seq 5 >&2"), stdin=True)
    assert shim.stream
    others = [shim.attach(), shim.attach(), shim.attach(stderr=False)]
    shim.stream.send(b"go\n")
    want = "".join(f"{n}\n" for n in range(1, 20001)).encode()
    results = [stream.finish() for stream in [shim.stream, *others]]
    assert [out == want for out, _, _ in results] == [True] * 4
    assert [err for _, err, _ in results] == [b"1\n2\n3\n4\n5\n"] * 3 + [b""]
    assert all(exit == shim.wait() for _, _, exit in results)
    assert shim.logged() == want.decode()
    assert shim.logged("stderr") == "1\n2\n3\n4\n5\n"


def test_a_vanished_client_does_not_matter(shims: Shims) -> None:
    shim = shims(*script("i=0; while [ $i -lt 300 ]; do i=$((i+1)); seq 1000; done"))
    assert shim.stream
    shim.attach().close()
    stuck = shim.attach()
    assert shim.stream.until(b"500\n")
    stuck.close()
    assert shim.stream.finish()[2]["exit_code"] == 0
    assert len(shim.log()) == 300_000


def test_slow_client_gets_everything_and_memory_stays_flat(shims: Shims) -> None:
    size = 100 << 20
    shim = shims(*script("read go; yes 0123456789abcdef | head -c 104857600"), stdin=True,
                 log={"driver": "none"})  # fmt: skip
    assert shim.stream
    shim.stream.send(b"\n")
    idle, peak, received = shim.memory(), 0, 0
    for kind, data in shim.stream.frames():
        if kind == CONTROL:
            break
        received += len(data)
        if received % (4 << 20) < len(data):
            time.sleep(0.01)
            peak = max(peak, shim.memory() if is_running(shim.child.pid) else 0)
    assert received == size
    assert peak - idle < 3 * 1024, f"{idle} kB before, {peak} kB at most"
    shim.wait()


def test_client_slower_than_the_container_gets_the_rest(shims: Shims) -> None:
    shim = shims(*script("yes | head -c 700000"))
    assert shim.stream
    wait_until(shim.exit_file.exists, 5)
    time.sleep(0.3)
    out, _, exit = shim.stream.finish()
    assert (len(out), exit["exit_code"]) == (700_000, 0)


def test_stdin_is_dev_null_without_i(shims: Shims) -> None:
    shim = shims(*script("cat; sleep 0.5"))
    assert shim.stream
    shim.stream.send(b"nobody reads this")
    assert shim.stream.finish()[0] == b""


def test_stdin_large_and_its_end(shims: Shims) -> None:
    shim = shims("wc", "-c", stdin=True)
    assert shim.stream
    for _ in range(50):
        shim.stream.send(b"x" * 100_000)
    shim.stream.end_stdin()
    assert shim.stream.finish()[0].strip() == b"5000000"


def test_stdin_once_ends_with_its_first_client(shims: Shims) -> None:
    shim = shims("cat", stdin=True, once=True)
    assert shim.stream
    reader = shim.attach()
    shim.stream.send(b"last words\n")
    shim.stream.close()
    assert reader.finish()[0] == b"last words\n"


def test_stdin_stays_for_the_next_client(shims: Shims) -> None:
    shim = shims("cat", stdin=True, once=False)
    assert shim.stream
    for number in range(3):
        client = shim.attach(stdin=True)
        client.send(b"%d\n" % number)
        client.end_stdin()
        client.until(b"%d\n" % number)
        client.close()
    shim.ask("kill", signal=9)
    assert shim.stream.finish()[0] == b"0\n1\n2\n"


def test_terminal(shims: Shims) -> None:
    shim = shims(*script("stty size", "tty", "read line; echo got $line", "stty size"), tty=True, stdin=True)
    assert shim.stream
    shim.stream.until(b"/dev/")
    shim.ask("resize", height=40, width=100)
    shim.stream.send(b"hello\n")
    out, err, _ = shim.stream.finish()
    assert err == b""
    assert b"hello\r\ngot hello\r\n40 100\r\n" in out
    assert shim.logged().encode() == out


def test_resize_in_the_stream_and_a_terminal_s_end_of_file(shims: Shims) -> None:
    shim = shims(*script("trap 'stty size' WINCH", "echo ready", "cat", "stty size"), tty=True, stdin=True)
    assert shim.stream
    shim.stream.until(b"ready")
    shim.stream.resize(33, 77)
    shim.stream.end_stdin()
    assert b"33 77" in shim.stream.finish()[0]


def test_terminal_survives_its_client(shims: Shims) -> None:
    shim = shims(*script("read line; echo second $line"), tty=True, stdin=True, once=True)
    assert shim.stream
    shim.stream.close()
    time.sleep(0.1)
    again = shim.attach(stdin=True)
    again.send(b"life\n")
    assert b"second life" in again.finish()[0]


def test_terminal_that_nobody_holds_for_a_while(shims: Shims) -> None:
    """An init system closes /dev/console and opens it again later."""
    shim = shims(*script("exec 0<&- 1<&- 2<&-", "sleep 0.5", "echo back >/dev/console"), tty=True)
    assert shim.stream
    assert b"back" in shim.stream.finish()[0]
