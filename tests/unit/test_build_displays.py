"""What the displays of a build show, with events of a fake one."""

from __future__ import annotations

import base64
import io
import json
import re
import threading

import pytest
from tests.fakes.watched import BASE, COPY, FAIL, MAKE, Clock, replay, step

from pyd.cli.build_plain import Plain
from pyd.cli.build_quiet import Quiet
from pyd.cli.build_rawjson import RawJson
from pyd.cli.build_text import Lines, columns, cut, excerpt, harmless
from pyd.cli.build_trace import Display
from pyd.cli.build_tty import Tty
from pyd.errors import Cancelled, PydError

FAILURE = PydError('process "/bin/sh -c false" did not complete successfully: exit code: 1')


@pytest.fixture(autouse=True)
def colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


def shown(kind: type[Display], error: Exception | None = None, **options: bool) -> str:
    clock = Clock()
    display = kind(io.StringIO(), clock=clock, **options)
    replay(display, clock, error=error)
    return display.out.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_plain_is_as_buildkits() -> None:
    assert shown(Plain) == (
        "#1 [build 1/9] FROM docker.io/library/alpine:3\n"
        "#1 CACHED\n"
        "\n"
        "#2 [build 2/9] RUN make\n"
        "#2 0.412 cc -c main.c\n"
        "#2 0.412 main.c:1: warning: x\n"
        "#2 0.412 cc -o main main.o\n"
        "#2 DONE 1.2s\n"
        "\n"
        "#3 [build 4/9] RUN false\n"
        "#3 0.100 no end of line\n"
        "#3 DONE 0.1s\n"
        "\n"
        " 1 warning found (use pyd --debug to expand):\n"
        " - JSONArgsRecommended: JSON arguments recommended for CMD (line 5)\n"
    )


def test_plain_repeats_the_output_of_what_failed() -> None:
    text = shown(Plain, FAILURE)
    assert (
        '#3 ERROR: process "/bin/sh -c false" did not complete successfully: exit code: 1\n'
        "------\n > [build 4/9] RUN false:\n0.100 no end of line\n------\n"
    ) in text


def test_a_cancelled_step_is_no_error() -> None:
    text = shown(Plain, Cancelled("the build was cancelled"))
    assert "#3 CANCELED\n" in text
    assert "------" not in text


def test_reasons_are_told_when_asked_for() -> None:
    assert "#2 not cached: src/main.c changed\n" in shown(Plain, explain=True)
    assert "not cached" not in shown(Plain)


def test_warnings_are_expanded_with_debug() -> None:
    text = shown(Plain, debug=True)
    assert "1 warning found:\n" in text
    assert "   5 | >>> CMD x\n" in text


def test_quiet_shows_only_what_failed() -> None:
    assert shown(Quiet) == ""
    assert shown(Quiet, FAILURE) == "------\n > [build 4/9] RUN false:\n0.100 no end of line\n------\n"


class TestTheFloor:
    """Steps run side by side; in the plain display one speaks at a time."""

    def make(self) -> tuple[Plain, io.StringIO, Clock]:
        clock, out = Clock(), io.StringIO()
        display = Plain(out, clock=clock)
        display.interval = 0.0
        return display, out, clock

    def test_lines_of_another_wait_until_the_first_ends(self) -> None:
        display, out, clock = self.make()
        display.begins(MAKE)
        display.begins(COPY)
        display.writes(MAKE, 1, b"a\n")
        display.writes(COPY, 1, b"b\n")
        assert "b" not in out.getvalue().replace("build", "")
        clock.passes(0.5)
        display.ends(MAKE)
        assert out.getvalue().endswith(
            "#1 DONE 0.5s\n\n#2 [build 3/9] COPY --from=tools /bin/x /bin/\n#2 0.000 b\n"
        )

    def test_a_whole_step_goes_in_between(self) -> None:
        display, out, _ = self.make()
        display.begins(MAKE)
        display.writes(MAKE, 1, b"a\n")
        display.begins(COPY)
        display.ends(COPY)
        display.writes(MAKE, 1, b"c\n")
        assert out.getvalue() == (
            "#1 [build 2/9] RUN make\n#1 0.000 a\n#1 ...\n\n"
            "#2 [build 3/9] COPY --from=tools /bin/x /bin/\n#2 DONE 0.0s\n\n"
            "#1 [build 2/9] RUN make\n#1 0.000 c\n"
        )

    def test_who_is_silent_loses_it(self) -> None:
        display, out, clock = self.make()
        display.begins(MAKE)
        display.begins(COPY)
        display.writes(COPY, 1, b"b\n")
        assert "0.000 b" not in out.getvalue()
        clock.passes(1.5)
        display.tick()
        assert "#1 ...\n\n#2 [build 3/9]" in out.getvalue()
        assert "#2 0.000 b\n" in out.getvalue()

    def test_who_talks_on_and_on_loses_it(self) -> None:
        display, out, clock = self.make()
        display.begins(MAKE)
        display.begins(COPY)
        display.writes(COPY, 1, b"b\n")
        for _ in range(12):
            clock.passes(0.5)
            display.writes(MAKE, 1, b"a\n")
        assert "#2 0.000 b\n" in out.getvalue()

    def test_what_waits_is_bounded(self) -> None:
        display, out, _ = self.make()
        display.begins(MAKE)
        display.begins(COPY)
        display.writes(COPY, 1, b"x" * 300 + b"\n")
        assert "xxx" not in out.getvalue()
        for _ in range(1000):
            display.writes(COPY, 1, b"x" * 300 + b"\n")
        assert "xxx" in out.getvalue()

    def test_a_prompt_is_shown_though_its_line_does_not_end(self) -> None:
        display, out, clock = self.make()
        display.begins(MAKE)
        display.writes(MAKE, 1, b"Continue? ")
        assert "Continue" not in out.getvalue()
        clock.passes(1.5)
        display.tick()
        assert "#1 1.500 Continue? \n" in out.getvalue()


def test_transfers_in_the_plain_display() -> None:
    clock, out = Clock(), io.StringIO()
    display = Plain(out, clock=clock)
    display.begins(BASE)
    for done in range(0, 101, 10):
        display.counts(BASE, "context", done * 1000, 100_000)
        clock.passes(1)
    display.counts(BASE, "sha256:abc", 5000, 0)
    display.ends(BASE)
    display.finishes()
    lines = out.getvalue().splitlines()
    assert lines[1:-1] == [
        "#1 transferring context: 50kB / 100kB 5.0s",
        "#1 transferring context: 100kB / 100kB 10.0s done",
        "#1 sha256:abc 5kB done",
    ]


def test_rawjson_is_buildkits_solve_status() -> None:
    messages = [json.loads(line) for line in shown(RawJson, FAILURE).splitlines()]
    vertexes = [vertex for message in messages for vertex in message.get("vertexes", ())]
    assert [vertex["name"].split()[-1] for vertex in vertexes] == [
        "docker.io/library/alpine:3", "docker.io/library/alpine:3", "make", "make", "false", "false",
    ]  # fmt: skip
    assert vertexes[1]["cached"] is True
    assert vertexes[-1]["error"].endswith("exit code: 1")
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", vertex["digest"]) for vertex in vertexes)
    assert vertexes[0]["digest"] == vertexes[1]["digest"] != vertexes[2]["digest"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", vertexes[-1]["completed"])
    logs = [log for message in messages for log in message.get("logs", ())]
    assert base64.b64decode(logs[0]["data"]) == b"cc -c main.c\ncc -o m"
    assert [log["stream"] for log in logs] == [1, 2, 1, 1]
    warning = next(message["warnings"][0] for message in messages if "warnings" in message)
    assert warning["range"][0]["start"]["line"] == 5
    assert base64.b64decode(warning["short"]).startswith(b"JSONArgsRecommended")


def test_rawjson_statuses() -> None:
    out = io.StringIO()
    display = RawJson(out, clock=Clock())
    display.begins(BASE)
    display.counts(BASE, "sha256:abc", 10, 100)
    display.counts(BASE, "sha256:abc", 11, 100)  # at the same moment: not told
    display.counts(BASE, "sha256:abc", 100, 100)
    statuses = [one for line in out.getvalue().splitlines() for one in json.loads(line).get("statuses", ())]
    assert [(one["id"], one["current"], one["total"], "completed" in one) for one in statuses] == [
        ("sha256:abc", 10, 100, False), ("sha256:abc", 100, 100, True),
    ]  # fmt: skip


class TestTheTerminal:
    def make(self, **options: bool) -> tuple[Tty, io.StringIO, Clock]:
        clock, out = Clock(), io.StringIO()
        display = Tty(out, clock=clock, **options)
        display.interval = 0.0
        return display, out, clock

    def frame(self, display: Tty, rows: int, columns: int) -> list[str]:
        """The lines of one frame, without colours."""
        display._measure = lambda: (columns, rows)  # type: ignore[method-assign]
        display.out.seek(0)
        display.out.truncate()
        display.tick()
        text: str = display.out.getvalue()  # type: ignore[attr-defined]
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).lstrip("\r").splitlines()

    def test_running_steps_have_windows(self) -> None:
        display, _, clock = self.make()
        display.begins(BASE)
        display.cached(BASE)
        display.ends(BASE)
        display.begins(MAKE)
        display.writes(MAKE, 1, "".join(f"line {n}\n" for n in range(20)).encode())
        clock.passes(2.5)
        assert self.frame(display, 24, 60) == [
            "[+] Building 2.5s (1/2)" + " " * 25 + "pyd:default",
            " => CACHED [build 1/9] FROM docker.io/library/alpine:3" + " " + "0.0s",
            " => [build 2/9] RUN make" + " " * 31 + "2.5s",
            *(f" => => # line {n}" for n in range(14, 20)),
        ]

    @pytest.mark.parametrize("rows", [3, 4, 8, 12, 24])
    def test_a_frame_fits_the_terminal(self, rows: int) -> None:
        display, _, _ = self.make()
        for number in range(40):
            one = step(number, "RUN " + "x" * 300)
            display.begins(one)
            display.writes(one, 1, b"out\n" * 10)
            if number % 3:
                display.ends(one)
        for width in (20, 40, 80, 200):
            lines = self.frame(display, rows, width)
            assert len(lines) <= rows - 1
            assert all(len(line) < width for line in lines)

    def test_the_next_frame_begins_where_the_last_did(self) -> None:
        display, out, _ = self.make()
        display._measure = lambda: (80, 24)  # type: ignore[method-assign]
        display.begins(BASE)
        display.begins(MAKE)
        display.tick()
        before = len(out.getvalue())
        display.tick()
        assert out.getvalue()[before:].startswith("\x1b[?25l\x1b[3A\r[+] Building")
        # half as wide: each line of the terminal's width was wrapped
        display._measure = lambda: (40, 24)  # type: ignore[method-assign]
        before = len(out.getvalue())
        display.tick()
        assert out.getvalue()[before:].startswith("\x1b[?25l\x1b[6A\r")

    def test_the_end(self) -> None:
        text = shown(Tty, FAILURE)
        assert "ERROR [build 4/9] RUN false" in text
        assert text.endswith("CMD (line 5)\n")
        assert " > [build 4/9] RUN false:\n0.100 no end of line\n" in text
        assert "FINISHED" in shown(Tty)
        assert "FINISHED" not in text

    def test_nothing_is_drawn_while_a_shell_has_the_terminal(self) -> None:
        display, out, _ = self.make()
        display.begins(MAKE)
        display.begins(FAIL)
        display.interrupts(FAIL, "a shell")
        before = out.getvalue()
        assert before.endswith("\na shell\n")
        display.writes(MAKE, 1, b"x\n")
        display.tick()
        display.begins(COPY)
        assert out.getvalue() == before
        display.ends(FAIL, FAILURE)
        assert "COPY" in out.getvalue()

    def test_no_color(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "\x1b[34m" in shown(Tty)
        monkeypatch.setenv("NO_COLOR", "1")
        assert not re.search(r"\x1b\[[0-9;]*m", shown(Tty))


@pytest.mark.parametrize(
    ("text", "plain", "coloured"),
    [
        ("abc ü 你", "abc ü 你", "abc ü 你"),
        ("a\x1b[31mred\x1b[m b", "ared b", "a\x1b[31mred\x1b[m b\x1b[0m"),
        ("\x1b[2J\x1b[H\x1b[?1049hgone", "gone", "gone"),
        ("\x1b]0;title\x07x\x1b]52;c;aGk=\x1b\\y", "xy", "xy"),
        ("\x1b]8;;http://evil", "", ""),
        ("\x1bP+q544e\x1b\\x\x1bcz\x1b(0q", "xzq", "xzq"),
        ("\x9b31mx\x9d0;t\x9cy", "xy", "xy"),
        ("bell\x07 back\x08 \x1b", "bell\\x07 back\\x08 \\x1b", "bell\\x07 back\\x08 \\x1b"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c", "a\\u202eb\\u2066c"),
        ("👩\u200d💻\tx", "👩\u200d💻\tx", "👩\u200d💻\tx"),
    ],
)
def test_harmless(text: str, plain: str, coloured: str) -> None:
    assert harmless(text) == plain
    assert harmless(text, colours=True) == coloured


def test_control_sequences_of_a_container_do_not_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = b"\x1b[2J\x1b]0;owned\x07\x1b[5;5Hfake\r#1 DONE 0.0s\nnext\x9b2K\n"
    for kind in (Plain, Tty, RawJson):
        display = kind(io.StringIO(), clock=Clock())
        display.begins(step(1, "RUN \x1b[2Jname\nsecond"))
        display.writes(step(1, ""), 1, evil)
        display.ends(step(1, ""), PydError("bad \x1b[2J"))
        display.finishes()
        text: str = display.out.getvalue()  # type: ignore[attr-defined]
        own = re.sub(r"\x1b\[(\?25[lh]|[0-9]*[AJK]|[0-9;]*m)", "", text).replace("\r", "")
        assert "\x1b" not in own and "\x07" not in own and "\x9b" not in own
        assert "\x1b[2J" not in text


def test_lines() -> None:
    lines = Lines()
    assert lines.feed(b"a\r\nb") == [b"a"]
    assert lines.feed(b"c\n\n") == [b"bc", b""]
    assert lines.feed(b"10%\r20%\r") == []
    assert lines.feed(b"30%\r\n") == [b"30%"]
    assert lines.feed(b"rest") == [] and lines.take() == b"rest"
    assert lines.take() is None
    found = lines.feed(b"x" * 200_000) + lines.feed(b"\n")
    assert b"".join(found) == b"x" * 200_000 and max(map(len, found)) <= 64 << 10


def test_memory_is_bounded() -> None:
    display = Tty(io.StringIO(), clock=Clock())
    display.interval = 0.0
    display.begins(MAKE)
    for _ in range(200):
        display.writes(MAKE, 1, b"y" * 100 + b"\n" + b"z" * 50_000)
    vertex = display.vertexes[0]
    assert vertex.bytes <= 1 << 20 and len(vertex.tail) <= 1000 and vertex.dropped
    for number in range(1000):
        display.counts(MAKE, f"part {number}", 1, 2)
        display.warns(f"warning {number}")
    assert len(vertex.parts) <= 200
    assert len(display.warnings) == 500
    assert "1000 warnings found" in display.summary()


def test_columns() -> None:
    assert (columns("a你b"), columns("e\u0301"), columns("ab")) == (4, 1, 2)
    assert (cut("a你b", 2), cut("a你b", 3), cut("abc", 2)) == ("a", "a你", "ab")


def test_excerpt_is_as_buildkits() -> None:
    lines = [f"line {n}" for n in range(1, 11)]
    rule = "-" * 20
    assert excerpt("Dockerfile", lines, 5, 5).splitlines() == [
        "Dockerfile:5", rule, "   3 |     line 3", "   4 |     line 4", "   5 | >>> line 5",
        "   6 |     line 6", "   7 |     line 7", rule,
    ]  # fmt: skip
    assert excerpt("Dockerfile", lines, 1, 2).count(">>>") == 2
    assert excerpt("Dockerfile", lines, 99, 99) == ""


@pytest.mark.parametrize("kind", [Plain, Tty, RawJson, Quiet])
def test_events_from_many_threads(kind: type[Display]) -> None:
    out = io.StringIO()
    display = kind(out)

    def work(number: int) -> None:
        one = step(number, f"RUN {number}")
        display.begins(one)
        for count in range(50):
            display.writes(one, 1, f"{number}.{count}\n".encode())
            display.counts(one, "part", count, 49)
        display.ends(one)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    display.finishes()
    if kind is Plain:
        said = [line.split()[2] for line in out.getvalue().splitlines() if re.match(r"#\d+ [\d.]+ \d", line)]
        for number in range(8):
            mine = [one for one in said if one.startswith(f"{number}.")]
            assert mine == [f"{number}.{count}" for count in range(50)]


def test_a_reader_that_is_gone_stops_nothing() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    clock = Clock()
    replay(Plain(Closed(), clock=clock), clock, error=FAILURE)


def test_ends_twice_and_without_a_beginning() -> None:
    out = io.StringIO()
    display = Plain(out, clock=Clock())
    display.ends(FAIL, FAILURE)
    display.ends(FAIL)
    display.finishes()
    display.finishes()
    assert out.getvalue().count("ERROR") == 1
