"""Committed smoke trials on real images hold new code: equal bits in the same environment,
elsewhere the same learning."""

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
"""Points by which one shrunk training may differ between processors: up to 400 labels, 200 test
images, one seed."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "ALBENCH_TEST_DATA" not in os.environ, reason="ALBENCH_TEST_DATA names no data root"
    ),
]


HELD = [
    ("tod/cifar10", "random"),
    ("tod/cifar10", "tod"),
    ("st-conal/cifar100", "random"),
    ("st-conal/cifar10im", "stconal"),
    ("diam/mnist", "random"),
]
"""One or two trials on each kind of images: CIFAR-10, CIFAR-100, CIFAR-10 with rare classes,
MNIST."""


@pytest.mark.parametrize(("suite", "method"), HELD)
def test_a_smoke_trial_stands_where_its_committed_one_does(
    suite: str, method: str, tmp_path: Path
) -> None:
    workspace = Workspace(
        ROOT / "suites",
        tmp_path / "runs",
        Path(os.environ["ALBENCH_TEST_DATA"]),
        results=ROOT / "results",
    )
    selection = benchmark.select(f"{suite}/{method}@0", profile="smoke")
    options = RunOptions(device="cpu", jobs=1, tracking=False, allow_noncanonical_data=True)
    assert benchmark.run(selection, workspace, options).is_complete
    (found,) = regress(selection, workspace)
    (trial,) = [trial for trial in found.trials if trial.state is not RegressionState.MISSING]
    assert trial.state not in (RegressionState.LOST, RegressionState.NEW), str(trial)
    ours = benchmark.records(f"{suite}/{method}@0", workspace)
    committed = benchmark.results(f"{suite}/{method}@0", workspace)
    committed = committed[committed["profile"] == "smoke"]
    assert len(ours) > 1 and list(ours["labelled"]) == list(committed["labelled"])
    gaps = (ours["accuracy"].to_numpy() - committed["accuracy"].to_numpy()).tolist()
    assert max(map(abs, gaps)) <= MOST, gaps
