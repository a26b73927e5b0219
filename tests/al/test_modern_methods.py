"""The newer methods under protocols of the papers' suites: every output that they need is there,
and a trial ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.al.datasets.features import synthetic_features
from benchmark.al.dry_run import dry_run
from benchmark.al.training.numerics import prepare
from benchmark.spec.groups import CEILING, MODERN, group_methods
from benchmark.spec.load import find_suite
from benchmark.worker import assemble

SUITES = Path(__file__).parents[2] / "suites"
PLAYED = [("tod/cifar10", name) for name in (*MODERN, CEILING)]
PLAYED += [("diam/mnist-2", name) for name in ("typiclust", "bald", "bait", "uherding")]
PLAYED += [("st-conal/cifar10", name) for name in ("alfa_mix", "batch_bald")]


@pytest.mark.parametrize(("suite", "method"), PLAYED)
def test_a_trial_plays_through(suite: str, method: str) -> None:
    found = find_suite(suite, SUITES)
    (trial,) = found.trials(methods=[method], seeds=[0], extra=group_methods(found.suite))
    numerics = prepare("cpu", "fp32", 1)
    dry_run(
        trial,
        lambda small, data: assemble(small, data, numerics, Path("weights"), synthetic_features),
    )
