"""The digest of the code: meaning in, words out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.runs.code_digest import OUTSIDE, PACKAGE, code_digest, code_files

SCORE = '''"""What it is."""

from benchmark.spec.shapes import SIDE

ROUNDS = 10  # as published


class Score:
    """A score."""

    width: int = 3
    """Pixels."""

    def of(self, x: float) -> float:
        """Its value."""
        # doubled
        return 2 * x + SIDE
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "al/__init__.py": "",
        "al/score.py": SCORE,
        "al/datasets/download.py": "TRIES = 3\n",
        "worker.py": "from benchmark import provenance\nfrom benchmark.al import score\n",
        "runs/environment.py": "from benchmark import hidden_by_it\n",
        "hidden_by_it.py": "A = 1\n",
        "spec/shapes.py": "SIDE = 32\n",
        "spec/load.py": "B = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text or not old
        (root / name).write_text(text.replace(old, new) if old else new)

    return change


WORDS = {
    "comment": edit("al/score.py", "  # as published", ""),
    "comment line": edit("al/score.py", "        # doubled\n", ""),
    "docstring of a module": edit("al/score.py", "What it is.", "What it really is."),
    "docstring of a class": edit("al/score.py", "A score.", "Another word."),
    "docstring of a function": edit("al/score.py", "Its value.", "The value of x."),
    "docstring of a field": edit("al/score.py", "Pixels.", "In pixels."),
    "no docstring": edit("al/score.py", '    """A score."""\n', ""),
    "blank lines": edit("al/score.py", "ROUNDS", "\n\nROUNDS"),
    "line breaks": edit(
        "al/score.py", "2 * x + SIDE", "(\n            2 * x\n            + SIDE\n        )"
    ),
    "line endings": lambda root: (root / "al/score.py").write_bytes(
        SCORE.replace("\n", "\r\n").encode()
    ),
    "download": edit("al/datasets/download.py", "3", "4"),
    "provenance": edit("runs/environment.py", "hidden_by_it", "hidden_by_it  # why"),
    "what only provenance imports": edit("hidden_by_it.py", "1", "2"),
    "what nobody imports": edit("spec/load.py", "1", "2"),
    "a file of macOS": lambda root: (root / "al/._score.py").write_bytes(b"\x00\x05\x16\x07"),
}
MEANING = {
    "constant": edit("al/score.py", "ROUNDS = 10", "ROUNDS = 9"),
    "kind of a constant": edit("al/score.py", "2 * x", "2.0 * x"),
    "operator": edit("al/score.py", "2 * x + SIDE", "2 * x - SIDE"),
    "field": edit("al/score.py", "width: int = 3", "width: int = 4"),
    "type": edit("al/score.py", "width: int", "width: float"),
    "name": lambda root: (root / "al/score.py").rename(root / "al/scores.py"),
    "new file": edit("al/__init__.py", "", "x = 1\n"),
    "what it imports from outside al": edit("spec/shapes.py", "32", "28"),
    "worker": edit("worker.py", "score", "score as other"),
}


@pytest.mark.parametrize("change", WORDS.values(), ids=WORDS)
def test_words_keep_it(project: Path, change: Callable[[Path], object]) -> None:
    before = code_digest(project)
    change(project)
    assert code_digest(project) == before


@pytest.mark.parametrize("change", MEANING.values(), ids=MEANING)
def test_meaning_changes_it(project: Path, change: Callable[[Path], object]) -> None:
    before = code_digest(project)
    change(project)
    assert code_digest(project) != before


def test_a_text_that_is_used_is_meaning(project: Path) -> None:
    (project / "al/score.py").write_text("NAME = 'random'\n")
    before = code_digest(project)
    (project / "al/score.py").write_text("NAME = 'entropy'\n")
    assert code_digest(project) != before


def test_what_belongs_to_it() -> None:
    files = code_files()
    assert {
        "worker.py",
        "runs/events.py",
        "spec/protocol.py",
        "spec/identity.py",
        "al/loop.py",
    } <= set(files)
    assert {"al/datasets/decode.py", "al/functional/kcenter.py", "al/strategies/tod.py"} <= set(
        files
    )
    assert not set(files) & {
        *OUTSIDE,
        "planning/plan.py",
        "runs/store.py",
        "spec/load.py",
        "cli/run.py",
    }
    for name in OUTSIDE:
        assert (PACKAGE / name).is_file(), (
            f"{name} is not there any more: the rule names it for nothing"
        )
    science = {path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "al").rglob("*.py")}
    assert science - set(files) == {name for name in OUTSIDE if name.startswith("al/")}
