"""docs/ten-minutes.ipynb, made from docs/ten-minutes.md: `python -m tests.helpers.notebook`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
PAGE, NOTEBOOK = DOCS / "ten-minutes.md", DOCS / "ten-minutes.ipynb"
FENCED = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def named(block: str) -> str:
    """Name of the file that a block is the content of; empty for a cell."""
    found = re.match(r"# (\w+\.py)\b", block)
    return found[1] if found else ""


def make_notebook(page: str) -> str:
    """The notebook of a page: text between blocks becomes cells of text, a block with a file's name
    a cell that writes the file, a block of commands a cell that runs them."""
    cells: list[dict[str, Any]] = []

    def add(kind: str, source: str) -> None:
        if not source.strip():
            return
        cell: dict[str, Any] = {
            "cell_type": kind,
            "id": f"cell-{len(cells)}",
            "metadata": {},
            "source": source.strip("\n").splitlines(keepends=True),
        }
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))

    end = 0
    for found in FENCED.finditer(page):
        add("markdown", page[end : found.start()])
        end, (kind, block) = found.end(), found.groups()
        if kind == "console":
            add("code", "".join(f"!{line}\n" for line in block.splitlines()))
        else:
            add("code", (f"%%writefile {named(block)}\n" if named(block) else "") + block)
    add("markdown", page[end:])
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def code_cells(notebook: str) -> list[str]:
    """The sources of a notebook's code cells, in their order."""
    cells = json.loads(notebook)["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


if __name__ == "__main__":
    NOTEBOOK.write_text(make_notebook(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
