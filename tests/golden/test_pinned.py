"""The suites pin the learning rates and the optimiser that the official programs were seen to
use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.al.training.schedules import learning_rate_at
from benchmark.spec.load import load_suite, suite_files
from benchmark.spec.training import Sgd

SUITES = Path(__file__).parents[2] / "suites"
VECTORS = {"tod": "04_tod_lr.json", "st-conal": "10_stconal_lr.json"}
"""Paper -> golden file with the rate of every epoch and the optimiser's settings."""
PINNED = [path for path in suite_files(SUITES) if path.parent.name in VECTORS]


def recorded(paper: str) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """(rate per epoch, optimiser settings) of every case."""
    cases = json.loads((Path(__file__).parent / VECTORS[paper]).read_text())["cases"]
    rates = (
        next(v for k, v in case["expected"].items() if k.startswith("lr_per_epoch"))
        for case in cases
    )
    return [
        (np.array(values), case["optimizer"]) for values, case in zip(rates, cases, strict=True)
    ]


@pytest.mark.parametrize("path", PINNED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_suite_pins_a_recorded_recipe(path: Path) -> None:
    training = load_suite(path, SUITES).suite.protocol.training
    recipe = training.optimizer
    assert isinstance(recipe, Sgd)
    epochs = range(training.epochs)
    rates = np.array(
        [
            learning_rate_at(training.schedule, recipe.lr, epoch, epoch, training.epochs, 1)
            for epoch in epochs
        ]
    )
    same = [
        found
        for values, found in recorded(path.parent.name)
        if np.array_equal(values.shape, rates.shape)
        and np.allclose(values, rates, rtol=0, atol=1e-15)
    ]
    assert same, "no official run had these rates"
    settings = {
        "momentum": recipe.momentum,
        "weight_decay": recipe.weight_decay,
        "nesterov": recipe.nesterov,
        "dampening": 0,
    }
    assert settings in same


def test_there_are_suites() -> None:
    """At least the four of TOD."""
    assert {path.stem for path in PINNED if path.parent.name == "tod"} >= {
        "cifar10",
        "cifar100",
        "svhn",
        "caltech101",
    }
