"""Tables inside pages."""

from __future__ import annotations

from pathlib import Path


def replace(page: Path, name: str, text: str) -> None:
    """Put text between a page's marks."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(start)
    page.write_text(f"{before}{start}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
