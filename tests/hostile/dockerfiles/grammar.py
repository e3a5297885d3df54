"""Dockerfiles that are right, made at random: all instructions and forms, here-documents, both escapes."""

from __future__ import annotations

from random import Random

_NAMES = ("a", "B2", "version", "TARGETARCH", "PATH", "x_y", "é")
_TEXTS = (
    "x",
    "1.2",
    "a/b.c",
    "/usr/src",
    "hello world",
    "it's",
    "--y",
    "",
    "*.py",
    "ü☃",
    "a=b",
    "#c",
    "<<",
    "]",
)
_WORDS = ("x", "1.2", "a/b.c", "/usr/src", "*.py", "ü☃", "x=y", "a#b")
_SOURCES = ("x", "a/b.c", "*.py", "ü☃", "./y/", "https://example.com/z")
_MOUNTS = (
    "type=cache,target=/c,id=$a,sharing=locked", "type=secret,id=s,required,env=S", "type=ssh",
    "type=tmpfs,size=1m,target=/t", "from=x,source=/a,target=/b", "type=bind,rw,target=/r",
    "type=cache,target=/c,uid=1,mode=0700",
)  # fmt: skip
_INSTRUCTIONS = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER",
    "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
)  # fmt: skip


class Maker:
    def __init__(self, random: Random) -> None:
        self._random = random
        self._escape = random.choice("\\\\\\`")

    def dockerfile(self) -> bytes:
        random = self._random
        lines = []
        if random.random() < 0.3:
            lines.append("# syntax=docker/dockerfile:1")
        if self._escape == "`" or random.random() < 0.1:
            lines.append(f"# escape={self._escape}")
        if random.random() < 0.1:
            lines.append("# check=skip=JSONArgsRecommended;error=true")
        lines += (f"ARG {self._arguments()}" for _ in range(random.randrange(3)))
        for number in range(random.randint(1, 3)):
            platform = random.choice(("", "", "--platform=$TARGETPLATFORM ", "--platform=linux/amd64 "))
            base = random.choice(
                ("scratch", "alpine:3", "${version:-x}", f"s{number - 1}" if number else "scratch")
            )
            lines.append(f"{self._keyword('FROM')} {platform}{base} AS s{number}")
            lines += (self._instruction() for _ in range(random.randrange(9)))
        end = random.choice(("\n", "\n", "\n", "\r\n"))
        text = end.join(self._broken(line) for line in lines) + random.choice((end, ""))
        return random.choice((b"", b"", b"", b"\xef\xbb\xbf")) + text.encode()

    def _keyword(self, word: str) -> str:
        return self._random.choice((word, word, word, word.lower(), word.title()))

    def _broken(self, line: str) -> str:
        """Now and then continued, with a comment or an empty line in between."""
        if not line or "\n" in line or line.lstrip().startswith("#") or self._random.random() < 0.8:
            return line
        at = line.find(" ", self._random.randrange(len(line)))
        if at <= 0 or line[:at].endswith(("\\", "`")) or line[at:].lstrip().startswith("#"):
            return line
        between = self._random.choice(("", "", "# comment\n", "\n", "  # more\n"))
        return f"{line[:at]} {self._escape}\n{between}{line[at:]}"

    def _instruction(self) -> str:
        random = self._random
        if random.random() < 0.1:
            return random.choice(("", "# a comment", "  # another", "#"))
        name = random.choice(_INSTRUCTIONS)
        if name == "ONBUILD":
            return f"{self._keyword(name)} {self._one(random.choice(('RUN', 'COPY', 'ENV', 'USER')))}"
        return self._one(name)

    def _one(self, name: str) -> str:
        return f"{self._keyword(name)} {self._rest(name)}"

    def _rest(self, name: str) -> str:
        random = self._random
        match name:
            case "RUN":
                return self._run()
            case "COPY" | "ADD":
                return self._copy(name)
            case "CMD" | "ENTRYPOINT":
                return random.choice((self._json(), f"{self._word()} $a 'b c' && d"))
            case "SHELL":
                return '["/bin/sh", "-c"]'
            case "ENV" | "LABEL":
                return random.choice((self._pairs(), f"{random.choice(_NAMES)} {self._word()} more"))
            case "ARG":
                return self._arguments()
            case "EXPOSE":
                return random.choice(("80", "80/tcp 53/UDP", "8000-8002", "${port:-9}", "127.0.0.1:80:80"))
            case "VOLUME":
                return random.choice(('["/a b", "c"]', "/a $b/c /d"))
            case "STOPSIGNAL":
                return random.choice(("9", "SIGTERM", "SIGRTMIN+3"))
            case "HEALTHCHECK":
                return random.choice(("NONE", "--interval=5s --retries=2 CMD a b", f"CMD {self._json()}"))
            case "USER":
                return random.choice(("1000:5", "nobody", "$a"))
        return self._word()

    def _run(self) -> str:
        random = self._random
        flags = "".join(f"--mount={random.choice(_MOUNTS)} " for _ in range(random.choice((0, 0, 0, 1, 3))))
        flags += random.choice(("", "", "--network=none ", "--security=insecure "))
        if random.random() < 0.25:
            return flags + self._heredoc(random.choice(("", "cat ", "3")), "")
        return flags + random.choice((self._json(), f"apt-get install {self._word()} && echo \"$a\" 'b' | c"))

    def _copy(self, name: str) -> str:
        random = self._random
        known = ["--chown=1:$a", "--chmod=755", "--link", "--exclude=*.o", "--link=false"]
        known += ["--from=s0", "--parents"] if name == "COPY" else ["--keep-git-dir", "--unpack=false"]
        chosen = dict.fromkeys(random.choices(known, k=random.choice((0, 0, 1, 2))))
        flags = "".join(f"{flag} " for flag in chosen)
        if "--link " in flags and "--link=false " in flags:
            flags = "--link "
        if random.random() < 0.2:
            return flags + self._heredoc("", " /dest")
        sources = " ".join(random.choices(_SOURCES, k=random.randint(1, 3)))
        return flags + random.choice((f"{sources} $x/", '["a b", "/c"]'))

    def _heredoc(self, before: str, after: str) -> str:
        random = self._random
        name = random.choice(("EOF", "file.txt", "e_1"))
        mark = random.choice((f"<<{name}", f"<<-{name}", f"<<'{name}'", f'<<-"{name}"'))
        lines = random.choices(("#!/bin/x", "\techo $a", "RUN b \\", "", "# c"), k=3)
        body = "".join(f"{line}\n" for line in lines)
        return f"{before}{mark}{after}\n{body}{name}"

    def _json(self) -> str:
        import json

        ascii_only = self._random.random() < 0.5
        texts = [text or "y" for text in self._random.choices(_TEXTS, k=self._random.randint(1, 3))]
        return json.dumps(texts, ensure_ascii=ascii_only)

    def _pairs(self) -> str:
        names = self._random.sample(_NAMES, self._random.randint(1, 3))
        return " ".join(f"{name}={self._value()}" for name in names)

    def _arguments(self) -> str:
        names = self._random.sample(_NAMES, self._random.randint(1, 2))
        return " ".join(self._random.choice((name, f"{name}={self._value()}")) for name in names)

    def _value(self) -> str:
        values = ['"a b"', "'c d'", "e", "", "$a", "${x:-y}", "${a+b}${c#d*}", "${version%.*}"]
        return self._random.choice([*values, f"f{self._escape} g"])

    def _word(self) -> str:
        return self._random.choice((*_WORDS, "$a", "${x_y:-z}"))
