"""Windows of BAL: what follows from them over a whole experiment. Each window itself is held by
golden vectors."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.al.functional.bal_windows import count_share, sub_pool, window_bounds, window_step
from benchmark.errors import UsageError

SIZES = {"cifar10": 50_000, "svhn": 73_257, "caltech101": 7_857, "tinyimagenet": 100_000}
REGIMES = {"small": [2] * 5, "base": [10, *[5] * 6], "large": [10] * 10}
BETAS = {
    "small": {"caltech101": 0.5, "cifar10": 1.0, "svhn": 1.0, "tinyimagenet": 0.5},
    "base": {"caltech101": 1.3, "cifar10": 1.2, "svhn": 1.4, "tinyimagenet": 1.2},
    "large": {"caltech101": 2.5, "cifar10": 2.0, "svhn": 2.0, "tinyimagenet": 2.5},
}


def spans(name: str, regime: str, addendum: int | None = None) -> list[tuple[int, int]]:
    size, cycles = SIZES[name], len(REGIMES[regime])
    a = addendum or window_step(size, cycles)
    return [window_bounds(c, cycles, size, BETAS[regime][name], a) for c in range(cycles)]


def labelled_at_the_end(name: str, regime: str, seed: int, addendum: int | None = None) -> int:
    """A whole experiment with a coin in place of the network."""
    rng, size = np.random.default_rng(seed), SIZES[name]
    ranks, labelled = np.arange(size), np.empty(0, dtype=np.int64)
    for cycle, (share, span) in enumerate(
        zip(REGIMES[regime], spans(name, regime, addendum), strict=True)
    ):
        inside = sub_pool(ranks, labelled, span)
        order = inside if cycle == 0 else rng.permutation(inside)
        labelled = np.concatenate([labelled, order[: count_share(share, size)]])
    assert len(np.unique(labelled)) == len(labelled)
    return len(labelled)


@pytest.mark.parametrize("regime", ["small", "base"])
@pytest.mark.parametrize("name", SIZES)
def test_small_and_base_reach_their_budgets(name: str, regime: str) -> None:
    assert labelled_at_the_end(name, regime, 0) == sum(
        count_share(share, SIZES[name]) for share in REGIMES[regime]
    )


@pytest.mark.parametrize(
    ("name", "ceiling", "share"),
    [
        ("cifar10", 95.0, 86.3),
        ("svhn", 95.0, 86.3),
        ("caltech101", 97.5, 85.2),
        ("tinyimagenet", 97.5, 85.2),
    ],
)
def test_large_cannot_label_the_whole_pool(name: str, ceiling: float, share: float) -> None:
    """Ranks between cycle 0 and the first window are never looked at; quotas of the last cycles
    stay unfilled."""
    size, found = SIZES[name], spans(name, "large")
    reachable = np.zeros(size, dtype=bool)
    reachable[: count_share(10, size)] = True
    for span in found[1:]:
        reachable[slice(*span)] = True
    assert 100 * reachable.mean() == pytest.approx(ceiling, abs=0.05)
    ends = [labelled_at_the_end(name, "large", seed) for seed in range(3)]
    assert 100 * np.mean(ends) / size == pytest.approx(share, abs=0.4)


def test_ranks_that_cifar10_base_never_looks_at() -> None:
    """17 % of the pool, the most diverse part after cycle 0."""
    found = spans("cifar10", "base")
    never = np.setdiff1d(
        np.arange(50_000),
        np.concatenate([np.arange(5_000), *[np.arange(50_000)[slice(*s)] for s in found[1:]]]),
    )
    assert (never[0], never[-1], len(never)) == (5_000, 13_568, 8_569)


@pytest.mark.parametrize(("name", "end"), [("caltech101", 391), ("tinyimagenet", 5_000)])
def test_a_step_of_one_budget_would_not_fill_it(name: str, end: int) -> None:
    """Why the step is read as the pool divided by the cycles: otherwise small would stop
    halfway."""
    assert labelled_at_the_end(name, "small", 0, addendum=count_share(2, SIZES[name])) == end


def test_quotas_are_truncated_in_floating_point() -> None:
    assert count_share(29, 50_000) == 14_499
    assert count_share(10, 73_257) == 7_325


def test_sub_pool_keeps_the_rank_order() -> None:
    ranked = np.array([7, 3, 9, 1, 5])
    assert sub_pool(ranked, np.array([9]), (1, 9)).tolist() == [3, 1, 5]


@pytest.mark.parametrize(
    ("cycle", "cycles", "beta", "addendum", "span", "shown"),
    [
        (1, 2, 2.5, 12, (-6, 24), range(18, 24)),  # last cycle, beta * a > N: the last ranks
        (1, 2, 1.0, 5_000, (-4976, 24), range(24)),  # at -N or below: from rank 0 on
        (
            1,
            4,
            7.0,
            3,
            (-3, 18),
            range(0),
        ),  # middle cycle, beta > 2c + 3: the window ends before it begins
        (1, 4, 7.0, 6, (-6, 36), range(18, 24)),
    ],
)
def test_a_begin_below_the_pool_counts_from_its_end(
    cycle: int, cycles: int, beta: float, addendum: int, span: tuple[int, int], shown: range
) -> None:
    """main.py at 140d279 hands the number to a Python slice."""
    assert window_bounds(cycle, cycles, 24, beta, addendum) == span
    assert sub_pool(np.arange(24), np.empty(0, dtype=np.int64), span).tolist() == list(shown)


@pytest.mark.parametrize("cycle", [-1, 5])
def test_no_window_beyond_the_last_cycle(cycle: int) -> None:
    with pytest.raises(UsageError):
        window_bounds(cycle, 5, 1000, 1.0, 200)
