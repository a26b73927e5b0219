"""What a trial of each method costs, also where replaced values do not fit every method of the
suite."""

from __future__ import annotations

import benchmark
from benchmark import Workspace
from benchmark.api.compare import costs_of

TWO_EPOCHS = {"protocol.training.epochs": 2, "protocol.training.schedule.milestones": [1]}


def test_a_method_that_replaced_values_do_not_fit_is_left_out() -> None:
    """ST-CoNAL's snapshots begin after epoch 8."""
    selection = benchmark.select("quickstart/digits", methods=["random"], sets=TWO_EPOCHS)
    (suite,) = selection.suites(Workspace().suites)
    costs = costs_of(suite, selection)
    assert costs["random"] > 0
    assert "stconal" not in costs
    (comparison,) = benchmark.compare(selection, Workspace(runs="/does/not/exist"))
    assert not comparison.judgement.measured
