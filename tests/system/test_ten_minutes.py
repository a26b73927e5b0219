"""docs/ten-minutes.md and the notebook made from it run as they stand, from an empty folder: files,
commands, and Python."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.cli import invoke
from tests.helpers.notebook import (
    FENCED,
    NOTEBOOK,
    PAGE,
    code_cells,
    make_notebook,
    named,
)

FEW = "random,tod+cod,typiclust"
"""Methods in place of all: one of the suite with an objective of its own, one newer one."""


@pytest.mark.slow
def test_the_notebook_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cells: dict[str, object] = {}
    for block in code_cells(NOTEBOOK.read_text(encoding="utf-8")):
        first, _, rest = block.partition("\n")
        if first.startswith("%%writefile "):
            Path(first.removeprefix("%%writefile ")).write_text(rest)
        elif not first.startswith("!"):
            exec(compile(block, str(NOTEBOOK), "exec"), cells)
        for line in block.splitlines() if first.startswith("!") else []:
            program, *arguments = shlex.split(line[1:].replace("all,modern,ceiling", FEW))
            if program == "python":
                subprocess.run([sys.executable, *arguments], check=True)
            else:
                capsys.readouterr()
                assert invoke(arguments) == 0, (line, capsys.readouterr().err)
    said = capsys.readouterr().out
    assert "margin" in said and "Gini" in said and "ceiling" not in said
    assert len(list(tmp_path.glob("report/own/shapes/*/report.html"))) == 1
    frame = cells["frame"]
    assert set(frame["method"]) == {"random", "tod+cod", "typiclust", "margin", "Gini"}  # type: ignore[index]
    assert frame["accuracy"].between(0, 100).all()  # type: ignore[index]


def test_the_notebook_is_the_page() -> None:
    """Every block of the page is a cell of the notebook, so what runs above is the page, too."""
    page, notebook = PAGE.read_text(encoding="utf-8"), NOTEBOOK.read_text(encoding="utf-8")
    assert notebook == make_notebook(page), "python -m tests.helpers.notebook makes it again"
    blocks = [block for _, block in FENCED.findall(page)]
    own = re.compile(r"^(%%writefile .*\n|!)", re.MULTILINE)
    assert [own.sub("", cell).strip() for cell in code_cells(notebook)] == [
        block.strip() for block in blocks
    ]


def test_the_page_counts_its_lines() -> None:
    """As the page gives them: all but empty lines and the one with the name."""
    blocks = FENCED.findall(PAGE.read_text(encoding="utf-8"))
    files = {named(block): block for kind, block in blocks if kind == "python" and named(block)}
    counted = {
        name: sum(bool(line.strip()) for line in block.splitlines()) - 1
        for name, block in files.items()
    }
    assert (
        f"function of {counted['gini.py']} lines, a network of {counted['tiny.py']} and"
        in PAGE.read_text()
    )
