"""PT4AL's sorting and batches: what golden vectors leave open. And the score it shares with BAL."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.al.functional.bal_windows import first_picks, hardest_first, split_ranks
from benchmark.al.functional.scores import normalised_confidence
from benchmark.errors import AlbenchError, UsageError

losses = st.lists(
    st.sampled_from([0.0, 1e-7, 9.9e-05, 1e-4, 0.5, 2.0, 4.4, 10.5, 9.0]), min_size=1, max_size=30
)


@given(losses)
def test_orders_are_descending_and_stable(values: list[float]) -> None:
    """By number and by printed text; equal losses keep their order."""
    for order, key in (("number", float), ("text", str)):
        found = hardest_first(np.array(values), order).tolist()
        assert sorted(found) == list(range(len(values)))
        for a, b in pairwise(found):
            assert key(values[a]) > key(values[b]) or (values[a] == values[b] and a < b)


def test_text_puts_tiny_losses_first() -> None:
    assert hardest_first(np.array([4.4, 1.2e-5, 9.9e-5, 10.5]), "text").tolist() == [2, 0, 3, 1]


@given(st.integers(1, 60), st.integers(1, 12))
def test_batches_cut_the_list_into_equal_parts(count: int, parts: int) -> None:
    ranked = np.random.default_rng(count).permutation(count)
    if parts > count:
        with pytest.raises(UsageError):
            split_ranks(ranked, parts)
        return
    found = split_ranks(ranked, parts)
    assert np.concatenate(found).tolist() == ranked.tolist()
    assert {len(part) for part in found} <= {count // parts, -(-count // parts)}


def test_first_cycle_and_refusals() -> None:
    assert first_picks(np.arange(100, 112)).tolist() == [100, 105, 110]
    with pytest.raises(AlbenchError, match="not finite"):
        hardest_first(np.array([1.0, np.nan]), "text")


def test_normalised_confidence_ignores_the_length_of_logits() -> None:
    """Between 1/K and e / (e + K - 1) whatever the scale; a one-hot direction is the most confident
    one."""
    torch.manual_seed(0)
    logits = torch.randn(50, 10, dtype=torch.float64)
    torch.testing.assert_close(normalised_confidence(logits), normalised_confidence(1000 * logits))
    best = normalised_confidence(torch.eye(10, dtype=torch.float64))
    torch.testing.assert_close(best, torch.full((10,), np.e / (np.e + 9), dtype=torch.float64))
    assert bool((normalised_confidence(logits) < best[0]).all())
    assert normalised_confidence(torch.zeros(1, 10)).tolist() == pytest.approx([0.1])
