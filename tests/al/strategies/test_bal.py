"""BAL and PT4AL as strategies: whole experiments through the loop's own acquisition, with random
numbers for a network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.al import registry
from benchmark.al.acquisition import acquire, initial_pool
from benchmark.al.functional.bal_windows import count_share
from benchmark.al.pool import Pool
from benchmark.al.random.streams import Streams
from benchmark.al.strategies.base import Strategy
from benchmark.errors import UsageError
from benchmark.spec.suite import Component
from tests.helpers.runs import protocol

SIZES = {"cifar10": 50_000, "svhn": 73_257, "caltech101": 7_857, "tinyimagenet": 100_000}
SHARES = {"small": [2] * 5, "base": [10, *[5] * 6], "large": [10] * 10}
# What main.py of BAL at 140d279 makes of the README's betas and the figure's budgets: beta, first
# budget, later budgets, windows (half open, before labelled images are removed).
PUBLISHED: dict[tuple[str, str], tuple[float, int, int, list[tuple[int, int]]]] = {
    ("cifar10", "small"): (
        1.0,
        1000,
        1000,
        [(0, 10000), (20000, 30000), (30000, 40000), (40000, 50000), (40000, 50000)],
    ),
    ("cifar10", "base"): (
        1.2,
        5000,
        2500,
        [
            (0, 8570),
            (13569, 22140),
            (20711, 29282),
            (27853, 36424),
            (34995, 43566),
            (42137, 50000),
            (41429, 50000),
        ],
    ),
    ("svhn", "small"): (
        1.0,
        1465,
        1465,
        [(0, 14651), (29302, 43953), (43953, 58604), (58604, 73255), (58606, 73257)],
    ),
    ("svhn", "base"): (
        1.4,
        7325,
        3662,
        [
            (0, 14650),
            (18837, 33488),
            (29302, 43953),
            (39767, 54418),
            (50232, 64883),
            (60697, 73257),
            (58606, 73257),
        ],
    ),
    ("caltech101", "small"): (
        0.5,
        157,
        157,
        [(0, 785), (3534, 4320), (5105, 5891), (6676, 7462), (7071, 7857)],
    ),
    ("caltech101", "base"): (
        1.3,
        785,
        392,
        [
            (0, 1458),
            (2075, 3534),
            (3197, 4656),
            (4319, 5778),
            (5441, 6900),
            (6563, 7857),
            (6398, 7857),
        ],
    ),
    ("tinyimagenet", "small"): (
        0.5,
        2000,
        2000,
        [(0, 10000), (45000, 55000), (65000, 75000), (85000, 95000), (90000, 100000)],
    ),
    ("tinyimagenet", "base"): (
        1.2,
        10000,
        5000,
        [
            (0, 17142),
            (27141, 44283),
            (41426, 58568),
            (55711, 72853),
            (69996, 87138),
            (84281, 100000),
            (82858, 100000),
        ],
    ),
}
LARGE = {
    "cifar10": (2.0, 95.0, 86.3),
    "svhn": (2.0, 95.0, 86.3),
    "caltech101": (2.5, 97.5, 85.2),
    "tinyimagenet": (2.5, 97.5, 85.2),
}
"""Beta, hard ceiling and simulated share of labels in percent (section 5, Q6)."""


class Noise:
    """A learner whose outputs are random numbers."""

    numerics = SimpleNamespace(device=torch.device("cpu"))
    scoring_images = None

    def __init__(self, size: int, seed: int = 0) -> None:
        self.streams = Streams(0, seed)
        self.logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(size, 10)))
        self.asked: list[int] = []

    def outputs(self, names: set[str], indices: np.ndarray, cycle: int) -> dict[str, torch.Tensor]:
        assert names == {"logits"}
        self.asked.append(len(indices))
        return {"logits": self.logits[torch.from_numpy(indices)]}


def experiment(
    strategy: Strategy,
    size: int,
    budgets: list[int],
    statics: dict[str, torch.Tensor],
    seed: int = 0,
) -> tuple[list[np.ndarray], Pool, Noise, list[Any]]:
    """Picks of every acquisition, the first labelled set included, as the loop makes them."""
    acquisition = {
        "initial": {"rule": "strategy", "size": budgets[0]},
        "budget": budgets[1:],
        "cycles": len(budgets),
    }
    asked = protocol(data__train_size=size, acquisition=acquisition)
    noise: Any = Noise(size, seed)
    pool = initial_pool(asked, strategy, noise, statics)
    bought, views = [pool.labelled], []
    for cycle, budget in enumerate(budgets[1:]):
        view, picks = acquire(strategy, noise, pool, cycle, asked, budget, statics)
        bought.append(view.candidates[picks.positions.numpy()])
        views.append((view, picks))
        pool = pool.label(bought[-1], noise.streams.generator("pool", cycle + 1))
        pool.check()
    return bought, pool, noise, views


def bal(**params: Any) -> Strategy:
    return registry.build_component("strategies", Component(name="bal", params=params))


def pt4al(**params: Any) -> Strategy:
    return registry.build_component("strategies", Component(name="pt4al", params=params))


def ranked_pool(size: int, seed: int = 3) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """Distinct differences, and the rank of every image."""
    order = np.random.default_rng(seed).permutation(size)
    rank = np.empty(size, dtype=np.int64)
    rank[order] = np.arange(size)
    return {"pretext.cdd": torch.from_numpy(rank / size)}, rank


@pytest.mark.parametrize(("name", "regime"), PUBLISHED)
def test_picks_come_from_the_published_windows(name: str, regime: str) -> None:
    beta, first, later, windows = PUBLISHED[name, regime]
    size = SIZES[name]
    budgets = [count_share(share, size) for share in SHARES[regime]]
    assert budgets == [first, *[later] * (len(windows) - 1)]
    statics, rank = ranked_pool(size)
    bought, pool, noise, views = experiment(bal(beta=beta), size, budgets, statics)
    assert [len(picks) for picks in bought] == budgets and len(pool.labelled) == sum(budgets)
    # The first labelled set is the smallest differences, in order, without asking any network.
    assert rank[bought[0]].tolist() == list(range(first))
    labelled = set(bought[0].tolist())
    for picks, (begin, end), (view, found) in zip(bought[1:], windows[1:], views, strict=True):
        inside = {int(i) for i in np.flatnonzero((rank >= begin) & (rank < end))} - labelled
        assert set(view.candidates.tolist()) == inside and set(picks.tolist()) <= inside
        assert found.diagnostics == {
            "window/begin": begin,
            "window/end": end,
            "window/unlabelled": len(inside),
        }
        labelled |= set(picks.tolist())
    assert noise.asked == [len(view.candidates) for view, _ in views]


@pytest.mark.parametrize("name", LARGE)
def test_large_regime_stays_below_its_ceiling(name: str) -> None:
    beta, ceiling, share = LARGE[name]
    size = SIZES[name]
    budgets = [count_share(10, size)] * 10
    statics, rank = ranked_pool(size)
    bought, pool, _, _ = experiment(bal(beta=beta, sampler="random"), size, budgets, statics)
    found = 100 * len(pool.labelled) / size
    assert found == pytest.approx(share, abs=0.6) and found < ceiling
    assert [len(picks) for picks in bought[:8]] == budgets[:8]  # nominal up to 80 %
    assert 0.48 <= len(bought[8]) / budgets[8] <= 0.63 and len(bought[9]) < 0.1 * budgets[9]
    assert (
        len(
            np.intersect1d(
                rank[pool.labelled], np.arange(budgets[0], int((2.5 - beta / 2) * (size // 10)))
            )
        )
        == 0
    )


def test_readme_example_leaves_nothing_to_choose_and_ends_at_45_000() -> None:
    statics, _ = ranked_pool(50_000)
    bought, pool, noise, _ = experiment(
        bal(beta=1.0, addendum=5_000), 50_000, [5_000] * 10, statics
    )
    assert [len(picks) for picks in bought] == [5_000] * 9 + [0]
    assert (
        noise.asked == [5_000] * 8
    )  # sub-pools as large as the budget; the last one is empty and asks nothing
    assert len(pool.labelled) == 45_000


@pytest.mark.parametrize("sampler", ["confidence", "entropy", "random"])
def test_samplers_inside_the_window(sampler: str) -> None:
    size, budgets = 1_000, [50] * 5
    statics, rank = ranked_pool(size)
    bought, _, noise, views = experiment(bal(beta=1.0, sampler=sampler), size, budgets, statics)
    logits = noise.logits.numpy()
    inside = np.flatnonzero((rank >= 400) & (rank < 600))  # cycle 1: centred on 2.5 * 200
    assert set(views[0][0].candidates.tolist()) == set(inside.tolist())
    unit = logits / np.linalg.norm(logits, axis=1, keepdims=True)
    soft = np.exp(unit) / np.exp(unit).sum(axis=1, keepdims=True)
    plain = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    keys = {"confidence": soft.max(axis=1), "entropy": (plain * np.log(plain)).sum(axis=1)}
    if sampler in keys:
        assert bought[1].tolist() == inside[np.argsort(keys[sampler][inside])][:50].tolist()
    else:
        other, *_ = experiment(bal(beta=1.0, sampler=sampler), size, budgets, statics, seed=1)
        assert (
            set(bought[1].tolist()) != set(other[1].tolist()) and len(set(bought[1].tolist())) == 50
        )


def test_first_selection_is_cut_by_a_short_window() -> None:
    statics, rank = ranked_pool(1_000)
    bought, *_ = experiment(bal(beta=0.5, addendum=100), 1_000, [80, 80, 80], statics)
    assert rank[bought[0]].tolist() == list(range(50))
    assert [len(picks) for picks in bought] == [50, 50, 50]


@pytest.mark.parametrize(
    ("first", "beta", "addendum", "head"),
    [
        ("high1st", 1.2, 7_142, list(range(10))),
        ("low1st", 1.2, 7_142, list(range(3_570, 3_580))),
        ("rand", 1.2, 7_142, [6311, 6890, 663, 4242, 8376, 7961, 6634, 4969, 7808, 5866]),
        ("rand", 1.0, 5_000, [3155, 3445, 331, 2121, 4188, 3980, 3317, 2484, 3904, 2933]),
    ],
)
def test_first_labels_as_main_py_takes_them(
    first: str, beta: float, addendum: int, head: list[int]
) -> None:
    """Ranks of the first ten of 5,000 images of 50,000; those of `rand` by Python's generator under
    seed 0, as released."""
    statics, rank = ranked_pool(50_000)
    for seed in (0, 1):
        strategy = bal(beta=beta, addendum=addendum, first=first)
        bought, *_ = experiment(strategy, 50_000, [5_000, 2_500], statics, seed)
        assert rank[bought[0]][:10].tolist() == head and len(set(bought[0].tolist())) == 5_000


def test_bal_refuses_impossible_parameters() -> None:
    wrong = {"beta": 1.0, "first": "uni"}
    for params in (
        {},
        {"beta": 0.0},
        {"beta": 1.0, "sampler": "margin"},
        {"beta": 1.0, "addendum": 0},
        wrong,
    ):
        with pytest.raises(UsageError, match="bal"):
            bal(**params)


# -------------------------------------------------------------------------------------------- PT4AL


def losses(size: int, seed: int = 5) -> dict[str, torch.Tensor]:
    """Losses over many orders of magnitude, as a trained rotation network has them."""
    values = 10 ** np.random.default_rng(seed).uniform(-6, 1, size)
    return {"pretext.loss": torch.from_numpy(values.astype(np.float32))}


@pytest.mark.parametrize("order", ["text", "number"])
def test_pt4al_visits_each_batch_once(order: str) -> None:
    size, budgets = 5_000, [100] * 10
    statics = losses(size)
    bought, pool, noise, views = experiment(pt4al(order=order), size, budgets, statics)
    values = statics["pretext.loss"].double().tolist()
    keys = [str(value) for value in values] if order == "text" else values
    slow = sorted(range(size), key=lambda i: keys[i], reverse=True)
    assert bought[0].tolist() == slow[:500:5]
    for cycle, (view, _) in enumerate(views, start=1):
        assert set(view.candidates.tolist()) == set(slow[500 * cycle : 500 * (cycle + 1)])
    unit = noise.logits / noise.logits.norm(dim=1, keepdim=True)
    confidence = unit.softmax(dim=1).max(dim=1).values.numpy()
    third = np.array(slow[1_000:1_500])
    assert set(bought[2].tolist()) == set(third[np.argsort(confidence[third])][:100].tolist())
    assert len(pool.labelled) == 1_000


def test_text_order_puts_the_easiest_images_into_the_first_batch() -> None:
    statics = losses(5_000)
    first = {
        order: experiment(pt4al(order=order), 5_000, [100, 100], statics)[0][0]
        for order in ("text", "number")
    }
    values = statics["pretext.loss"].numpy()
    assert (values[first["text"]] < 1e-4).mean() > 0.5 and values[first["number"]].min() > 0.05


def test_pt4al_beyond_its_batches_buys_nothing() -> None:
    bought, pool, *_ = experiment(pt4al(batches=2), 100, [10, 10, 10], losses(100))
    assert [len(picks) for picks in bought] == [10, 10, 0] and len(pool.labelled) == 20


def test_the_cold_start_takes_its_labels_from_another_batch() -> None:
    """main_pt4al.py at 9a0da4a: every fifth line of batch 5 of 10."""
    statics = losses(5_000)
    bought, *_ = experiment(pt4al(first_batch=5, batches=10), 5_000, [100], statics)
    texts = [str(value) for value in statics["pretext.loss"].double().tolist()]
    slow = sorted(range(5_000), key=texts.__getitem__, reverse=True)
    assert bought[0].tolist() == slow[2_500:3_000:5]
    with pytest.raises(UsageError, match="no batch 10 among 10"):
        experiment(pt4al(first_batch=10, batches=10), 5_000, [100], statics)
