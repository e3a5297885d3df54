"""The functions about time: RFC 3339 in, RFC 3339 out (go-cty, stdlib/datetime.go)."""

from __future__ import annotations

import datetime
import re

from pyd.sizes import parse_seconds

_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_MONTHS = "January February March April May June July August September October November December".split()


def now() -> str:
    return _shown(datetime.datetime.now(datetime.UTC))


def add(time: str, duration: str) -> str:
    """Raises ValueError."""
    sign = -1 if duration.startswith("-") else 1
    delta = datetime.timedelta(seconds=sign * parse_seconds(duration.lstrip("+-")))
    try:
        return _shown(_parsed(time) + delta)
    except OverflowError:
        raise ValueError("the time is beyond what can be written") from None


def format_date(layout: str, time: str) -> str:
    """Letters are fields, by their count; text is in single quotes."""
    moment = _parsed(time)

    def field(match: re.Match[str]) -> str:
        word = match[0]
        if word.startswith("'"):
            return word[1:-1].replace("''", "'") or "'"
        return _field(word, moment) if word[0].isalpha() else word

    return re.sub(r"'(?:[^']|'')*'|([a-zA-Z])\1*|[^a-zA-Z']+|'", field, layout)


def _field(word: str, moment: datetime.datetime) -> str:
    hour, offset = moment.hour, moment.strftime("%z")
    twelve = (hour + 11) % 12 + 1
    known = {
        "YYYY": f"{moment.year:04}",
        "YY": f"{moment.year % 100:02}",
        "MMMM": _MONTHS[moment.month - 1],
        "MMM": _MONTHS[moment.month - 1][:3],
        "MM": f"{moment.month:02}",
        "M": str(moment.month),
        "DD": f"{moment.day:02}",
        "D": str(moment.day),
        "EEEE": _DAYS[moment.weekday()],
        "EEE": _DAYS[moment.weekday()][:3],
        "hh": f"{hour:02}",
        "h": str(hour),
        "HH": f"{twelve:02}",
        "H": str(twelve),
        "AA": "AM" if hour < 12 else "PM",
        "aa": "am" if hour < 12 else "pm",
        "mm": f"{moment.minute:02}",
        "m": str(moment.minute),
        "ss": f"{moment.second:02}",
        "s": str(moment.second),
        "ZZZZZ": f"{offset[:3]}:{offset[3:]}",
        "ZZZZ": offset,
        "ZZZ": "UTC" if offset == "+0000" else offset,
        "Z": "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}",
    }
    if word not in known:
        raise ValueError(f"invalid date format verb {word!r}")
    return known[word]


def _parsed(time: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(time)
    except ValueError:
        raise ValueError(f"not a valid RFC3339 timestamp: {time!r}") from None
    if moment.tzinfo is None or "T" not in time:
        raise ValueError(f"not a valid RFC3339 timestamp: {time!r}")
    return moment


def _shown(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
