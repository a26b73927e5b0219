"""Votes of snapshots against counting by hand, ALiPy's constant, and scipy's entropy."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from benchmark.al.functional.votes import (
    cal_candidates,
    diam_candidates,
    disagreement,
    vote_counts,
    vote_entropy,
)
from benchmark.al.training.schedules import snapshot_epochs
from benchmark.errors import AlbenchError


def some(
    seed: int, snapshots: int = 10, models: int = 3, count: int = 200, classes: int = 4
) -> torch.Tensor:
    """Votes of which about half are unanimous."""
    rng = np.random.default_rng(seed)
    votes = rng.integers(0, classes, size=(snapshots, models, count))
    calm = rng.random((models, count)) < 0.5
    return torch.from_numpy(np.where(calm, votes[:1], votes).astype(np.uint8))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 10))
def test_keys_against_counting_by_hand(seed: int, models: int, snapshots: int) -> None:
    """One image and one model at a time, with a dictionary of votes."""
    votes = some(seed, snapshots, models, count=12)
    first, second = disagreement(votes), vote_entropy(votes, 4)
    for image in range(12):
        d, v = 0, 0.0
        for model in range(models):
            histogram = Counter(votes[:, model, image].tolist())
            d += len(histogram) > 1
            v -= sum(n / snapshots * math.log((n + 1e-9) / snapshots) for n in histogram.values())
        assert int(first[image]) == d
        assert float(second[image]) == pytest.approx(v, abs=1e-14)


def test_exact_entropy_is_scipys_and_alipys_is_below_it_by_its_constant() -> None:
    votes = some(1)
    histograms = vote_counts(votes, 4).numpy()
    exact = vote_entropy(votes, 4, "exact").numpy()
    np.testing.assert_allclose(exact, entropy(histograms, axis=2).sum(axis=0), atol=1e-14)
    unanimous = torch.zeros((10, 3, 1), dtype=torch.uint8)
    assert float(vote_entropy(unanimous, 10)) == pytest.approx(-3e-10, rel=1e-6)
    assert float(vote_entropy(unanimous, 10, "exact")) == 0.0


def test_equal_partitions_have_equal_bits() -> None:
    """Whatever the labels, the order of snapshots and the order of models: else ties would hang on
    rounding."""
    votes = some(2, models=6, count=500, classes=10)
    rng = np.random.default_rng(0)
    other = votes[torch.from_numpy(rng.permutation(10))][:, torch.from_numpy(rng.permutation(6))]
    relabelled = torch.from_numpy(rng.permutation(10).astype(np.uint8))[other.long()]
    assert torch.equal(vote_entropy(votes, 10), vote_entropy(relabelled, 10))
    both = vote_entropy(torch.cat([votes, relabelled], dim=2), 10)
    assert torch.equal(both[:500], both[500:])


def test_order_of_candidates() -> None:
    """D, then V, both descending, and the later position first: Python's sort of triples,
    reversed."""
    votes = some(3, count=80)
    votes = torch.cat([votes, votes], dim=2)
    keys = zip(
        disagreement(votes).tolist(), vote_entropy(votes, 4).tolist(), range(160), strict=True
    )
    wanted = [position for _, _, position in sorted(keys, reverse=True)]
    assert diam_candidates(votes, 7, 4).tolist() == wanted[:35]
    assert diam_candidates(votes, 100, 4).tolist() == wanted


def test_cal_takes_the_union_of_disagreement() -> None:
    votes = torch.zeros((4, 2, 5), dtype=torch.uint8)
    votes[3, 0, 1] = votes[0, 1, 3] = votes[2, :, 4] = 1
    assert cal_candidates(votes).tolist() == [1, 3, 4]
    # Models that differ from each other, each of one mind, do not disagree.
    votes[:, 1] = 1
    votes[:, 0] = 0
    assert cal_candidates(votes).tolist() == []


@pytest.mark.parametrize(
    ("epochs", "fraction", "count"),
    [
        (20, 0.5, 10),
        (20, 0.33, 7),
        (20, 0.375, 8),
        (20, 0.125, 2),
        (20, 0.25, 5),
        (20, 1.0, 20),
        (20, 0.0, 0),
        (20, 1.5, 20),
        (3, 0.5, 2),
        (7, 0.5, 4),
        (11, 0.5, 6),
        (1, 0.5, 0),
        (6, 0.5, 3),
    ],
)
def test_snapshots_are_the_last_epochs_halves_to_even(
    epochs: int, fraction: float, count: int
) -> None:
    """Counts of train_net.py at cddf397 with its option --DIS_frac."""
    assert snapshot_epochs(epochs, fraction) == list(range(epochs - count, epochs))


def test_a_vote_for_no_class_is_refused() -> None:
    with pytest.raises(AlbenchError, match="vote for class 3 of 3"):
        vote_entropy(torch.full((2, 1, 1), 3, dtype=torch.uint8), 3)
