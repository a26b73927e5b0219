"""Score functions against scipy and against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from benchmark.al.functional import scores

LOGITS = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
PROBS = LOGITS.softmax(dim=1)


def test_entropy() -> None:
    np.testing.assert_allclose(
        scores.entropy(PROBS), stats.entropy(PROBS.numpy(), axis=1), rtol=1e-12
    )
    certain = torch.eye(3)
    assert scores.entropy(certain).tolist() == [0, 0, 0]


def test_confidence_and_margin() -> None:
    ranked = np.sort(PROBS.numpy(), axis=1)
    np.testing.assert_allclose(scores.confidence(PROBS), ranked[:, -1])
    np.testing.assert_allclose(scores.margin(PROBS), ranked[:, -1] - ranked[:, -2])


def test_discrepancy_from_a_uniform_network_ranks_as_the_gini_index_reversed() -> None:
    """What TOD's first cycle amounts to: 1/2 sum (p - 1/K)^2 = (1 - 1/K - gini) / 2."""
    found = scores.discrepancy(LOGITS, torch.zeros_like(LOGITS))
    torch.testing.assert_close(found, (1 - 1 / 6 - scores.gini(PROBS)) / 2)


def test_consistency_is_the_mean_divergence() -> None:
    students = torch.randn(
        3, 50, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    sharp = (LOGITS / 0.7).softmax(dim=1).numpy()
    expected = np.mean(
        [stats.entropy(sharp, q.softmax(dim=1).numpy(), axis=1) for q in students], axis=0
    )
    for form in ("prob", "logspace"):
        np.testing.assert_allclose(
            scores.consistency(LOGITS, students, 0.7, form), expected, rtol=1e-9
        )
    for off in (None, 0):
        torch.testing.assert_close(
            scores.consistency(LOGITS, students, off), scores.consistency(LOGITS, students, 1.0)
        )


def test_probability_form_has_the_released_defects_and_the_logarithmic_one_does_not() -> None:
    teacher = torch.tensor([[100.0, 0.0], [0.0, 0.0]])
    students = torch.tensor([[[0.0, 100.0], [0.0, 200.0]]])
    released = scores.consistency(teacher, students, 0.7)
    mended = scores.consistency(teacher, students, 0.7, "logspace")
    assert torch.isnan(released).tolist() == [True, False]
    assert mended.tolist() == pytest.approx([100.0, 100.0 - np.log(2)], rel=1e-5)
    assert float(released[1]) == pytest.approx(-np.log(2) + 0.5 * -np.log(1e-14), rel=1e-5)
