"""Every case of every golden file, whatever files there are: `ALBENCH_GOLDEN` may name another
folder of the same format.

A file whose item has no adapter is skipped by name. An expected value that an adapter does not read
fails its case; other fields of a case explain it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # so that `adapters` is found under every import mode of pytest

from adapters import Expected, decode, discover  # noqa: E402

FOLDER = Path(os.environ.get("ALBENCH_GOLDEN") or HERE)
ADAPTERS = discover()


@cache
def golden(path: Path) -> dict[str, Any]:
    """A golden file, or an empty dictionary for JSON files of another kind."""
    content = json.loads(path.read_text())
    return content if isinstance(content, dict) and {"item", "cases"} <= set(content) else {}


@cache
def arrays(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays beside a golden file."""
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


FILES = [path for path in sorted(FOLDER.glob("*.json")) if golden(path)]
CASES = [
    pytest.param(path, place, id=f"{path.stem}::{case.get('name', place)}")
    for path in FILES
    for place, case in enumerate(golden(path)["cases"])
]


@pytest.mark.parametrize(("path", "place"), CASES)
def test_case(path: Path, place: int) -> None:
    """What the official program computed is what ours computes, within the file's tolerance."""
    content = golden(path)
    if content["item"] not in ADAPTERS:
        pytest.skip(f"no adapter for {content['item']} yet")
    case = Expected(content["cases"][place])
    assert "expected" in case, f"a case without expected values: {sorted(case)}"
    expected = case["expected"]
    assert len(expected), "a case that expects nothing"
    inputs = decode(content["cases"][place].get("inputs") or {})
    ADAPTERS[content["item"]](
        inputs, expected, content["tolerance"], arrays(path.with_suffix(".npz")), case
    )
    assert not expected.unread(), f"expected values that the adapter ignores: {expected.unread()}"


def test_there_are_vectors() -> None:
    """An empty or mistyped folder is not a success."""
    assert CASES, f"no golden files in {FOLDER}"


def test_every_file_has_an_adapter() -> None:
    """Lists the files that nothing checks."""
    missing = sorted(golden(path)["item"] for path in FILES if golden(path)["item"] not in ADAPTERS)
    if missing:
        pytest.skip(f"no adapter for {len(missing)} of {len(FILES)} files: {', '.join(missing)}")


def test_an_unread_field_is_noticed() -> None:
    """The bookkeeping itself: nested and listed entries count, exempt ones do not."""
    case = Expected(
        {"a": 1, "b": {"c": 2, "derived_d": 3}, "e": [{"f": 4}, {"f": 5}], "x_own_count": 6}
    )
    assert case.unread() == ["a", "b", "e"]
    assert "a" in case
    assert case["b"] is not None
    assert case["e"][1]["f"] == 5
    assert case.unread() == ["a", "b.c", "e.0.f"]
    assert [case["a"], case["b"]["c"], case["e"][0]["f"]] == [1, 2, 4]
    assert case.unread() == []
