"""What the methods bought: overlap and balance of sets that can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.reports.picks import CELLS, summarize_picks
from benchmark.runs.picks import LabelledSet


def bought(method: str, *groups: str, seed: int = 0) -> LabelledSet:
    """A trial that bought these images, cycle by cycle; the first group is its first labelled
    set."""
    indices = [int(one) for group in groups for one in group.split()]
    sizes = np.cumsum([len(group.split()) for group in groups])
    return LabelledSet(method, "e", method, seed, tuple(map(int, sizes)), np.array(indices))


def test_overlap_counts_what_both_bought_after_the_same_start() -> None:
    sets = [
        bought("a", "0 1", "2 3", "4 5"),
        bought("b", "0 1", "3 9", "2 8"),
        bought("c", "0 1", "6 7", "8 9"),
    ]
    found = summarize_picks(sets, order=["c", "a"], pool=12)
    assert found is not None and found.methods == ("c", "a", "b")
    first, second = found.overlaps
    assert (first.labelled, second.labelled) == (4, 6)
    # At 4: a has 2 3, b has 3 9, c has 6 7. At 6: a 2 3 4 5, b 3 9 2 8, c 6 7 8 9.
    assert first.rows == ((100.0, 0.0, 0.0), (0.0, 100.0, 50.0), (0.0, 50.0, 100.0))
    assert second.rows == ((100.0, 0.0, 50.0), (0.0, 100.0, 50.0), (50.0, 50.0, 100.0))
    assert (first.chance, second.chance) == (20.0, 40.0), (
        "2 and 4 of the 10 images that can be bought"
    )


def test_chance_is_what_uniform_draws_share() -> None:
    """The slow twin: the mean over many draws."""
    random = np.random.default_rng(0)
    draws = [
        [
            bought(
                name, "0 1", " ".join(map(str, random.permutation(np.arange(2, 22))[:5])), seed=seed
            )
            for name in "ab"
        ]
        for seed in range(400)
    ]
    found = summarize_picks([one for pair in draws for one in pair], pool=22)
    assert found is not None
    (overlap,) = found.overlaps
    assert overlap.chance == 25.0
    assert overlap.rows[0][1] == pytest.approx(25.0, abs=2.5)


def test_seeds_with_other_first_images_are_not_compared() -> None:
    sets = [
        bought("a", "0 1", "2 3"),
        bought("b", "0 9", "2 3"),
        bought("a", "5 6", "7 8", seed=1),
        bought("b", "6 5", "8 9", seed=1),
    ]
    found = summarize_picks(sets)
    assert found is not None
    assert found.overlaps[0].rows[0][1] == 50.0, "seed 1 alone: 8 of 7 8"
    assert found.overlaps[0].chance is None
    alone = summarize_picks(sets[:2])
    assert alone is not None and alone.overlaps[0].rows == ((100.0, None), (None, 100.0))


def test_balance_of_classes() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 1])
    found = summarize_picks(
        [bought("even", "0", "1 3"), bought("one", "0", "1 2")],
        labels=labels,
        class_names=("x", "y"),
    )
    assert found is not None
    assert found.evenness == ((100.0,), (0.0,))
    assert found.shares == ((50.0, 50.0), (100.0, 0.0))
    assert found.classes == ("x", "y") and found.size_heads == ("3",)
    third = summarize_picks([bought("third", "0", "1 2 3")], labels=labels, class_names=("x", "y"))
    assert third is not None and third.overlaps == ()
    entropy = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    assert third.evenness[0][0] == pytest.approx(100 * entropy)


def test_many_classes_have_no_column_each() -> None:
    labels = np.arange(40) % 20
    found = summarize_picks(
        [bought("a", "0", "1 2")], labels=labels, class_names=tuple(map(str, range(20)))
    )
    assert found is not None and found.shares == () and len(found.evenness) == 1


def test_many_methods_over_many_cycles_keep_three_tables() -> None:
    groups = [str(one) for one in range(41)]
    sets = [bought(f"m{one}", *groups) for one in range(12)]
    assert CELLS < 12**2 * 40
    found = summarize_picks(sets)
    assert found is not None
    assert [overlap.labelled for overlap in found.overlaps] == [2, 21, 41]


def test_nothing_bought_is_nothing_to_show() -> None:
    assert summarize_picks([]) is None
    assert summarize_picks([bought("a", "0 1")]) is None
