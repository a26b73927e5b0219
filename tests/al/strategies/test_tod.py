"""What TOD records about its score."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.al.strategies import View
from benchmark.al.strategies.tod import First, Tod

LOGITS = torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.1, 0.0], [1.0, 2.0, 3.0]])
EARLIER = torch.zeros(3, 3)


def view(cycle: int, strategy: Tod) -> View:
    outputs = {name: LOGITS if name == "logits" else EARLIER for name in strategy.needs}
    return View(
        cycle=cycle,
        cycles=3,
        classes=3,
        candidates=np.arange(3),
        labelled=np.arange(3, 5),
        pool_size=5,
        rng=np.random.default_rng(0),
        device=torch.device("cpu"),
        outputs=outputs,
    )


@pytest.mark.parametrize(
    ("first", "cycle", "recorded"),
    [
        ("lowest_untrained", 0, True),
        ("highest_initial", 0, True),
        ("gini", 0, False),
        ("random", 0, False),
        ("gini", 1, True),
        ("random", 1, True),
        ("lowest_untrained", 1, True),
    ],
)
def test_the_mean_discrepancy_is_recorded_where_there_is_one(
    first: First, cycle: int, recorded: bool
) -> None:
    found = Tod(first=first).select(view(cycle, Tod(first=first)), 2).diagnostics or {}
    distance = (LOGITS.softmax(1) - EARLIER.softmax(1)).norm(dim=1).mean()
    assert found == ({"cod/mean": pytest.approx(float(distance))} if recorded else {})


def test_the_first_cycle_buys_uncertain_images_and_later_ones_changed_images() -> None:
    assert Tod().select(view(0, Tod()), 1).positions.tolist() == [1]
    assert Tod().select(view(1, Tod()), 1).positions.tolist() == [0]
    assert Tod(first="highest_initial").select(
        view(0, Tod(first="highest_initial")), 1
    ).positions.tolist() == [0]
