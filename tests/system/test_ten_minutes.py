"""docs/ten-minutes.md runs as it stands, from an empty folder: files, commands, and the cells of
the notebook."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.cli import invoke

PAGE = Path(__file__).parents[2] / "docs" / "ten-minutes.md"
BLOCKS = re.findall(
    r"^```(python|console)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
FEW = "random,tod+cod,typiclust"
"""Methods in place of all: one of the suite with an objective of its own, one newer one."""


def named(block: str) -> str:
    """Name of the file that a block is the content of; empty for a cell."""
    found = re.match(r"# (\w+\.py)\b", block)
    return found[1] if found else ""


@pytest.mark.slow
def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cells: dict[str, object] = {}
    for kind, block in BLOCKS:
        if kind == "python" and (name := named(block)):
            Path(name).write_text(block)
        elif kind == "python":
            exec(compile(block, str(PAGE), "exec"), cells)
        for line in block.splitlines() if kind == "console" else []:
            program, *arguments = shlex.split(line.replace("all,modern,ceiling", FEW))
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


def test_the_page_counts_its_lines() -> None:
    """As the page gives them: all but empty lines and the one with the name."""
    files = {named(block): block for kind, block in BLOCKS if kind == "python" and named(block)}
    counted = {
        name: sum(bool(line.strip()) for line in block.splitlines()) - 1
        for name, block in files.items()
    }
    assert (
        f"function of {counted['gini.py']} lines, a network of {counted['tiny.py']} and"
        in PAGE.read_text()
    )
