"""Tables in the documentation come from the programs that measured them: each stands between two
marks of its name."""

from __future__ import annotations

import re
from pathlib import Path


def publish(page: Path, name: str, table: str) -> None:
    """Put a table between `<!-- name -->` and `<!-- end of name -->`. Raises ValueError where the
    page has no such marks."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = page.read_text(encoding="utf-8")
    changed, count = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}",
        lambda _: f"{begin}\n{table.strip()}\n{end}",
        text,
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f"{page} has {count} places for '{name}'")
    page.write_text(changed, encoding="utf-8")
