"""Committed smoke trials on real images hold new code: equal bits in the same environment, elsewhere the same learning."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import benchmark
from benchmark import RunOptions, Workspace
from benchmark.api.compare import regress
from benchmark.verdicts.regression import RegressionState

ROOT = Path(__file__).parents[2]
MOST = 12.0
"""Points by which one shrunk training may differ between processors: 400 labels, 200 test images, one seed."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("ALBENCH_TEST_DATA" not in os.environ, reason="ALBENCH_TEST_DATA names no data root"),
]


@pytest.mark.parametrize("method", ["random", "tod"])
def test_a_smoke_trial_stands_where_its_committed_one_does(method: str, tmp_path: Path) -> None:
    workspace = Workspace(
        ROOT / "suites", tmp_path / "runs", Path(os.environ["ALBENCH_TEST_DATA"]), results=ROOT / "results"
    )
    selection = benchmark.select(f"tod/cifar10/{method}@0", profile="smoke")
    options = RunOptions(device="cpu", jobs=1, tracking=False, allow_noncanonical_data=True)
    assert benchmark.run(selection, workspace, options).is_complete
    (found,) = regress(selection, workspace)
    (trial,) = [trial for trial in found.trials if trial.state is not RegressionState.MISSING]
    assert trial.state not in (RegressionState.LOST, RegressionState.NEW), str(trial)
    ours = benchmark.records(f"tod/cifar10/{method}@0", workspace)
    committed = benchmark.results(f"tod/cifar10/{method}@0", workspace)
    committed = committed[committed["profile"] == "smoke"]
    assert list(ours["labelled"]) == list(committed["labelled"]) == [200, 300, 400]
    gaps = (ours["accuracy"].to_numpy() - committed["accuracy"].to_numpy()).tolist()
    assert max(map(abs, gaps)) <= MOST, gaps
