# ruff: noqa: RUF001 the digits of other scripts are the point
"""Two hundred ways to say who a process shall be, and the hostile files that they are looked up in."""

from __future__ import annotations

PASSWD = """root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:/home/app:/bin/sh
dev:x:1001:100:several groups:/home/dev:/bin/sh
lone:x:1002:1002:in no group:/home/lone:/bin/sh
twin:x:1003:1003:first of two:/home/twin:/bin/sh
twin:x:0:0:second of two:/root:/bin/sh
1:x:0:0:a number as a name:/root:/bin/sh
1000:x:0:0:the number of another user as a name:/root:/bin/sh
2147483648:x:0:0:a number that is too great as a name:/root:/bin/sh
-1:x:0:0:a negative number as a name:/root:/bin/sh
+7:x:0:0:a sign as a name:/root:/bin/sh
0x10:x:0:0:another notation as a name:/root:/bin/sh
broken:x:notanumber:0:letters:/:
hex:x:0x0:0x0:hexadecimal:/:
plus:x:+0:+0:signs:/:
spaces:x: 0 : 0 :spaces:/:
blank:x:::no ids:/:
huge:x:4294967296:4294967296:wraps to 0:/:
big:x:2147483648:2147483648:wraps to a negative number:/:
minus:x:-1:-1:wraps to the highest:/:
short:x
shorter
:x:0:0:empty name:/root:/bin/sh
#comment:x:0:0:commented:/root:/bin/sh
  padded:x:1004:1004:blanks before:/:/bin/sh
page\x0cbreak:x:0:0:form feed:/root:/bin/sh
line\u2028separator:x:0:0:of Unicode:/root:/bin/sh
next\x85line:x:0:0:of ISO 8859:/root:/bin/sh
victim:x:1006:1006:in groups with odd ids:/:/bin/sh
tail:x:1005:1005:carriage return:/:/bin/sh\r
+::::::
+@netgroup::0:0:::
"""

GROUP = """root:x:0:
app:x:1000:
dev:x:100:dev
wheel:x:10:app,dev
audio:x:29:dev,root
video:x:44:dev,app,dev
1000:x:0:app
7:x:0:
big:x:4294967296:victim
minus:x:-1:victim
letters:x:abc:victim
blank:x::victim
short:x
:x:0:victim
#hidden:x:0:victim
odd:x:77:app dev
twin:x:55:twin
padded:x:56:padded
"""

_NUMBERS = (
    "0", "1", "7", "10", "33", "99", "999", "1000", "1001", "1003", "1004", "4242", "65534", "65535",
    "65536", "2147483646", "2147483647", "2147483648", "2147483649", "4294967294", "4294967295",
    "4294967296", "4294967297", "8589934592", "9223372036854775807", "9223372036854775808",
    "18446744073709551615", "18446744073709551616", "18446744073709551617",
    "340282366920938463463374607431768211456", "00", "000", "01", "007", "0000000000", "00000000000",
    "0000000001", "00000000001", "001000", "1" * 11, "9" * 19, "9" * 20, "9" * 64, "0" * 64,
    "1" + "0" * 64,
)  # fmt: skip
_NOTATIONS = (
    "-0", "-1", "-2", "-1000", "-2147483648", "-4294967296", "-9223372036854775808", "+0", "+1", "+7",
    "+1000", "--1", "++0", "+-0", "0x0", "0x1", "0x10", "0X0", "0o0", "0b0", "0b1", "00x0", "0x", "x0",
    "0h", "0d0", "1e0", "0e0", "1e3", "0.0", "1.0", ".0", "0.", "1,000", "1_000", "0_0", "1'000",
    "1 000", "0 0", "0,0", "NaN", "inf", "-inf", "nan", "Infinity", "1L", "0u", "1u32", "0f", "(0)",
    "[0]", "{0}", "$0", "0%", "0;", "0#",
)  # fmt: skip
_SCRIPTS = (
    "٠", "٣", "०", "１", "０", "𝟎", "𝟘", "Ⅰ", "①", "⓪", "〇", "零", "一", "²", "⁰", "₀", "½", "\u200b0",
    "0\u200b", "\ufeff0", "\u00a00", "0\u0660", "1\uff10",
)  # fmt: skip
_BLANKS = (
    " ", " 0", "0 ", "\t0", "0\t", "\n0", "0\n", "0\r", "\r0", " root", "root ", "root\n", "root\t",
    "\x0b0", "\x0c0",
)  # fmt: skip
_NAMES = (
    "root", "Root", "ROOT", "root0", "r00t", "app", "APP", "App", "dev", "lone", "twin", "victim",
    "broken", "hex", "plus", "spaces", "blank", "huge", "big", "minus", "short", "shorter", "#comment",
    "comment", "padded", "  padded", "page", "break", "separator", "line", "next", "tail", "+",
    "+@netgroup", "@netgroup", "nosuch", "toor", "-", "--", "*", "?", ".", "..", "/", "/root",
    "../root", "~", "~root", "%", "x", "root,app", "root;app", "root|app",
)  # fmt: skip
_PAIRS = (
    "", ":", ":0", ":1", ":root", "0:", "1:", "app:", "root:", "nosuch:", "0:0", "0:1", "1:0", "1:1",
    "1000:1000", "1000:0", "0:1000", "app:app", "app:wheel", "app:10", "app:77", "app:odd", "app:0",
    "app:1000", "app:7", "app:nosuch", "app:big", "app:minus", "app:letters", "app:blank", "app:short",
    "dev:dev", "dev:100", "dev:wheel", "4242:4243", "4242:wheel", "4242:nosuch", "1000:4294967296",
    "1000:4294967295", "1000:2147483648", "1000:-1", "1000:+0", "1000:0x0", "1000: 0", "1000:0 ",
    "1000:٠", "4294967296:0", "4294967296:4294967296", "-1:-1", "-1:0", "0:0:0", "1000:1000:1000",
    "1000::", "::", ":::", "root:root:root", "app:wheel,dev", "app:wheel:0", "app:#hidden",
)  # fmt: skip

SPECS: tuple[str, ...] = tuple(dict.fromkeys((*_NUMBERS, *_NOTATIONS, *_SCRIPTS, *_BLANKS, *_NAMES, *_PAIRS)))
"""Every form, once."""

ASKS_FOR_ROOT = frozenset(
    ("", "0", "00", "000", "0" * 10, "0" * 64, "0" * 11, "-0", "+0", "root", "0:", "0:0", "0:1", "0:1000",
     "root:", ":", ":0", ":1", ":root", "::", ":::")
)  # fmt: skip
"""Those that mean the superuser, or the default, which is the superuser."""

GROUPS = (
    "", "root", "0", "app", "1000", "dev", "1001", "lone", "1002", "4242", "app:wheel", "app:10",
    "dev:dev", "1001:29", "4242:4243", "root:audio", "app:app", "twin", "dev:0", "0:44",
)  # fmt: skip
"""Twenty whose supplementary groups are compared with Docker's."""
