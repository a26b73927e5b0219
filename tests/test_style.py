"""The words of docs/style.md: what is printed, documented or commented uses the field's terms."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "benchmark").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "results" / "README.md"])
BANNED = {
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\brehears\w*": "dry run",
    r"\bmade-up images\b": "synthetic images",
    r"\bballots?\b": "vote recorder",
    r"\btrails?\b": "snapshot recorder",
    r"\bleases?\b": "lock",
    r"\banew\b": "again",
    r"\bguests?\b": "external method",
    r"\bwhoever\b": "who, or the role that does it",
    r"\bwhatever\b": "regardless of, any, or what",
    r"\bnobody\b": "no one, or what is absent: no process, no server",
    r"\b(told|hears?|heard)\b": "reported, named, received",
    r"\bwithout a word\b": "without reporting an error",
    r"\bjudgements?\b": "suite verdict",
    r"\b(stories|story)\b": "run history",
    r"\bmirror(s|ed|ing)?\b": "sync",
}
"""Words that the style page replaces, and by what."""
ALLOWED = {
    "`lease`": "the name of a file in run folders",
    "`trial.json`, `lease`": "the same",
    "`../../x`, `lease`": "the same",
    "a_lease_that_leads": "the name of a test",
    "trial.json, lease": "the same, in lists of file names",
    "lease locked": "the same",
    "first mirror": "addresses of downloads are mirrors",
    "no mirror answers": "the same",
    "no mirror": "the same",
    "Mirrors, tried in order": "the same",
    "Mirror left and right": "of images",
    "may be mirrored; the pixels": "of images",
    "mirrored digit": "of images",
}
"""Phrases in which a banned word means something else."""
FORMATS = {"ballot", "trail", "lease", "guest", ".lease.", "mirrored_bytes", "(guest)", "judgement"}
"""Strings of formats that are kept: state files, run folders, verdicts.json."""


def words_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, message and comment."""
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def faults_of(text: str) -> list[str]:
    text = " ".join(text.split())
    if text in FORMATS:
        return []
    for phrase in ALLOWED:
        text = text.replace(phrase, "")
    return [
        f"'{found.group()}': write {better}"
        for word, better in BANNED.items()
        for found in re.finditer(word, text, re.I)
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_words_of_the_code(path: Path) -> None:
    assert [f"{line}: {fault}" for line, text in words_of(path) for fault in faults_of(text)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_words_of_the_pages(path: Path) -> None:
    lines = re.sub(
        r"```.*?```", lambda block: "\n" * block.group().count("\n"), path.read_text(), flags=re.S
    ).splitlines()
    if path.name == "style.md":
        lines = [line for line in lines if not line.startswith("|") and "not mend" not in line]
    generated = {"fidelity.md"}  # its rows quote suites
    faults = (
        []
        if path.name in generated
        else [f"{n}: {fault}" for n, line in enumerate(lines, 1) for fault in faults_of(line)]
    )
    assert faults == []


def test_the_test_finds_what_it_is_for() -> None:
    assert faults_of("to mend it") and faults_of("the lease of a run") and faults_of("Rehearsals")
    assert not faults_of("fix it; recommended; amend; least; release; pleased")
