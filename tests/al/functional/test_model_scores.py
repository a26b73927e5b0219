"""Scores over several models: scikit-learn's scaler used rightly and as released; label smoothing
against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler

from benchmark.al.functional.votes import combine_scores, draw_ties, raw_scores, smallest_positions
from benchmark.errors import AlbenchError
from tests.helpers.label_smoothing import smoothed_cross_entropy, soft_targets


@pytest.fixture
def scores() -> torch.Tensor:
    torch.manual_seed(0)
    return raw_scores(torch.randn(3, 40, 10, dtype=torch.float64), "entropy")


def test_intended_is_min_max_per_model(scores: torch.Tensor) -> None:
    wanted = MinMaxScaler().fit_transform(scores.numpy().T).T.mean(axis=0)
    np.testing.assert_allclose(combine_scores(scores, "per_model").numpy(), wanted, atol=1e-12)


def test_official_is_min_max_of_single_rows(scores: torch.Tensor) -> None:
    """Each model's scores as one row of 40 features, as the release hands them over: all zeros."""
    wanted = np.mean([MinMaxScaler().fit_transform(row[None])[0] for row in scores.numpy()], axis=0)
    assert combine_scores(scores, "official").tolist() == wanted.tolist() == [0.0] * 40


def test_a_model_without_differences_counts_for_nothing(scores: torch.Tensor) -> None:
    flat = torch.cat([scores[:1], torch.full((1, 40), 0.3, dtype=torch.float64)])
    torch.testing.assert_close(
        combine_scores(flat, "per_model"), combine_scores(scores[:1], "per_model") / 2
    )


def test_underflow_is_nan_as_released_and_mended_on_request() -> None:
    """A gap of 200 between logits underflows in float32."""
    logits = torch.tensor([[[200.0, 0.0], [1.0, 0.0]]])
    assert raw_scores(logits, "entropy").isnan().tolist() == [[True, False]]
    mended = raw_scores(logits, "entropy", underflow="zero")
    assert mended[0, 0] == 0.0
    assert mended[0, 1] == raw_scores(logits, "entropy")[0, 1]
    with pytest.raises(AlbenchError, match="not finite"):
        smallest_positions(combine_scores(raw_scores(logits, "entropy"), "per_model"), 1)


def test_official_picks_are_uniform_draws_with_nan_last() -> None:
    zeros = torch.zeros(10)
    zeros[[2, 5, 7]] = torch.nan
    counts = np.zeros(10)
    for seed in range(600):
        picked = draw_ties(zeros, 4, np.random.default_rng(seed))
        assert len(set(picked.tolist())) == 4
        counts[picked.numpy()] += 1
    assert counts[[2, 5, 7]].sum() == 0
    # 600 * 4 / 7 expected each, five standard deviations of a hypergeometric draw.
    np.testing.assert_allclose(
        counts[[0, 1, 3, 4, 6, 8, 9]], 600 * 4 / 7, atol=5 * np.sqrt(600 * 4 / 7 * 3 / 7)
    )
    everything = draw_ties(zeros, 9, np.random.default_rng(0)).tolist()
    assert {2, 5, 7} & set(everything[:7]) == set()
    assert len(set(everything)) == 9


def test_smallest_keeps_the_order_of_equal_scores() -> None:
    assert smallest_positions(torch.tensor([1.0, 0.0, 0.0, -1.0, 0.0]), 3).tolist() == [3, 1, 2]


def test_label_smoothing_is_torchs() -> None:
    """Up to the float32 of the released target; rows sum to 1."""
    torch.manual_seed(0)
    logits, labels = torch.randn(12, 7, dtype=torch.float64), torch.randint(0, 7, (12,))
    torch.testing.assert_close(
        smoothed_cross_entropy(logits, labels, 0.1),
        torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1),
        rtol=0,
        atol=1e-6,
    )
    torch.testing.assert_close(soft_targets(labels, 7, 0.1).sum(dim=1), torch.ones(12))
    assert soft_targets(labels, 7, 0.0).argmax(dim=1).tolist() == labels.tolist()
