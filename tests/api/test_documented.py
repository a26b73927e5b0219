"""docs/python-api.md runs as it stands, from top to bottom, and nothing but its own lines is
printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python-api.md"
BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.mark.slow
def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert said.err == ""
    assert lines[0].startswith("new ") and lines[0].endswith("training steps")
    assert lines[1] == "{'finished': 1} 0"
    assert "4 trials" in lines
    assert "['new']" in lines
    assert lines[-1].startswith("no suite 'tod/cifar11'")
    frame = names["frame"]
    assert list(frame["method"].unique()) == ["random"]  # type: ignore[index]
    assert frame["accuracy"].between(0, 100).all()  # type: ignore[index]


def test_the_page_names_every_public_function() -> None:
    import benchmark

    text = PAGE.read_text(encoding="utf-8")
    assert len(BLOCKS) >= 6
    for name in (
        "plan",
        "run",
        "compare",
        "report",
        "records",
        "results",
        "select",
        "load_suite",
        "Workspace",
    ):
        assert name in benchmark.__all__
        assert re.search(rf"\b{name}\b", text), name
