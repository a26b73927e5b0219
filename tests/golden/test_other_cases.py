"""The adapters know nothing of the public cases: a changed copy of them passes too (`changed.py`
says what is changed)."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from adapters import Expected, decode, discover  # noqa: E402
from changed import FURTHER, changed, further_cases, one_cycle, renamed, write_copy  # noqa: E402

ADAPTERS = discover()
Case = dict[str, Any]


def run(content: Mapping[str, Any], case: Case, npz: Mapping[str, np.ndarray]) -> None:
    """A case through its adapter, which must read all that is expected."""
    wrapped = Expected(case)
    expected = wrapped["expected"]
    ADAPTERS[content["item"]](
        decode(case.get("inputs", {})), expected, content["tolerance"], npz, wrapped
    )
    assert not expected.unread(), expected.unread()


def loaded(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    beside = path.with_suffix(".npz")
    if not beside.exists():
        return json.loads(path.read_text()), {}
    with np.load(beside, allow_pickle=False) as found:
        return json.loads(path.read_text()), {name: found[name] for name in found.files}


def trains(content: Mapping[str, Any]) -> bool:
    """Whether the cases are whole trainings, which take long: of those only the further cases are
    run here."""
    return any(word in content["item"] for word in ("trajectory", "game"))


FILES = [
    path
    for path in sorted(HERE.glob("*.json"))
    if json.loads(path.read_text()).get("item") in ADAPTERS
]


def cases_of(path: Path) -> list[int]:
    """Places in the changed file."""
    content, _ = loaded(path)
    count = len(changed(content)["cases"])
    return list(range(len(content["cases"]) if trains(content) else 0, count))


@pytest.mark.parametrize(
    ("path", "place"),
    [
        pytest.param(path, place, id=f"{path.stem}-{place}")
        for path in FILES
        for place in cases_of(path)
    ],
)
def test_a_changed_case_passes(path: Path, place: int) -> None:
    """The original ones under other names and in another order first, then those that are made of
    them."""
    original, npz = loaded(path)
    content, npz = renamed(changed(original), npz)
    run(content, content["cases"][place], npz)


def test_there_are_further_cases_of_every_item() -> None:
    """A way to make cases that makes none, or an item without one, would leave a hole."""
    assert {json.loads(path.read_text())["item"] for path in FILES} == set(FURTHER)
    for path in FILES:
        content, _ = loaded(path)
        for make in FURTHER[content["item"]]:
            assert any(one(make, case) for case in content["cases"]), make.__name__
        assert len(further_cases(content)) >= len(FURTHER[content["item"]])


def one(make: Any, case: Case) -> Case | None:
    """A further case, or None where the case is of another kind."""
    try:
        made: Case = make(copy.deepcopy(case))
    except (KeyError, TypeError):
        return None
    return made


def test_a_copy_holds_every_file(tmp_path: Path) -> None:
    count = write_copy(HERE, tmp_path)
    files = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert sorted(content["item"] for content in files) == sorted(
        loaded(path)[0]["item"] for path in FILES
    )
    assert (
        sum(len(content["cases"]) for content in files)
        == count
        > sum(len(loaded(p)[0]["cases"]) for p in FILES)
    )


def test_a_wrong_number_is_noticed() -> None:
    content, npz = loaded(HERE / "33_ll4al_trajectory.json")
    case = one_cycle(copy.deepcopy(content["cases"][0]))
    case["expected"]["cycles"][0]["steps"][3]["loss"] *= 1 + 1e-6
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        run(content, case, npz)
