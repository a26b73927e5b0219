"""Text from outside (plug-ins, trackers, engines, suites, records), made fit for terminals, logs,
reports and tags."""

from __future__ import annotations

import json
import re
from typing import Any

LONG = 4000
"""Characters of a message that are kept."""
SHORT = 300
"""Characters of what stands in one line."""
_SECRET = re.compile(r"(?<=://)[^/\s?#]+(?=@)")
"""User and password of an address; a password may itself hold an @."""
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""What moves cursors, changes colours, titles or the direction of writing, or cannot be seen; all
but tab and new line."""


def without_secrets(text: str) -> str:
    """The text with the user and password of every address in it replaced: for everything that is
    printed or kept."""
    return _SECRET.sub("***", text)


def escape_controls(text: str) -> str:
    """The text with every control character written out: ESC becomes `\\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub(lambda found: _escape_control(ord(found[0])), text.replace("\r\n", "\n"))


def clean_text(text: str, limit: int = LONG) -> str:
    """The text without passwords and control characters; what is longer than `limit` characters is
    cut and marked as cut."""
    cut = text[: 2 * limit]
    shown = escape_controls(without_secrets(cut))
    return (
        shown
        if len(shown) <= limit and len(cut) == len(text)
        else f"{shown[:limit]} [... {len(text):,} characters]"
    )


def clean_line(text: str, limit: int = SHORT) -> str:
    """The same in one line."""
    return clean_text(" ".join(text.split()), limit)


def _escape_control(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def toml_value(value: Any) -> str:
    """A plain value as TOML in one line: what `--set` and suite files take."""
    if isinstance(value, dict):
        inner = ", ".join(
            f"{toml_key(str(key))} = {toml_value(part)}" for key, part in value.items()
        )
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def toml_key(key: str) -> str:
    """A key of a TOML table, quoted where it has to be."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def format_duration(seconds: float) -> str:
    """Seconds for people: 45 s, 12 min, 3.5 h, 2.1 d."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 5970:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


def format_flops(amount: float | None) -> str:
    """Floating point operations for people."""
    if amount is None:
        return ""
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if amount >= size:
            return f"{amount / size:.3g} {unit}FLOP"
    return f"{amount / 1e6:.3g} MFLOP"
