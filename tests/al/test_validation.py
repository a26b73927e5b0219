"""Images that a protocol keeps from the pool: what is recorded of them, and that they move
nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.al.committee import Committee
from benchmark.al.datasets import Part
from benchmark.al.loop import run
from benchmark.al.training.numerics import Numerics
from benchmark.runs.events import CycleResult
from benchmark.spec.training import Model
from benchmark.worker import assemble
from tests.helpers.trials import dataset, session, trial

DRAWN = {"size": 200, "rule": "balanced", "seed": 0}
VALIDATED = {"protocol.data.train_size": 1_097, "protocol.data.validation": DRAWN}
FIELDS = {"accuracy/validation", "loss/validation"}
BEST = {
    "protocol.training.start": "warm_best",
    "protocol.evaluation": {"epoch": "best", "every": 1, "batch_size": 250},
}
AVERAGED = {
    "protocol.evaluation.weights": "averaged",
    "protocol.training.start": "fresh",
    "protocol.training.trajectory": {"start": 1, "every": 1},
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def cycles(
    out: Path, cache: Path, sets: dict[str, Any], shown: str = "validation", models: int = 1
) -> list[CycleResult]:
    """A trial on a pool without validation images; `shown` is the part that is taken for them."""
    made = trial("random", sets=VALIDATED | {"protocol.acquisition.cycles": 2} | sets)
    if models > 1:
        model = Model(name="small_cnn", params={"width": 3, "heads": 2})
        own = made.protocol.model_copy(update={"models": (made.protocol.models[0], model)})
        made = made.model_copy(update={"protocol": own})
    found = dataset(made, cache)
    part: Part | None = getattr(found, shown) if shown else None
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    strategy, learner = assemble(
        made, replace(found, validation=part), Numerics(torch.device("cpu")), cache / "weights"
    )
    assert isinstance(learner, Committee) == (models > 1)
    live = session(made, out)
    run(made.protocol, strategy, learner, live)
    return live.results


def without(result: CycleResult) -> CycleResult:
    kept = {name: value for name, value in result.metrics.items() if name not in FIELDS}
    return result.model_copy(update={"metrics": kept})


def test_they_are_recorded_in_each_cycle_and_move_nothing(tmp_path: Path, cache: Path) -> None:
    found = cycles(tmp_path / "with", cache, {})
    assert len(found) == 2 and all(result.metrics.keys() >= FIELDS for result in found)
    assert all(0 < result.metrics["accuracy/validation"] < 100 for result in found)
    plain = cycles(tmp_path / "without", cache, {}, shown="")
    assert not any(result.metrics.keys() & FIELDS for result in plain)
    assert [without(result) for result in found] == plain


@pytest.mark.parametrize("sets", [{}, BEST, AVERAGED], ids=["last", "best", "averaged"])
def test_they_are_seen_by_the_weights_that_are_reported(
    tmp_path: Path, cache: Path, sets: dict[str, Any]
) -> None:
    """The test images in their place give the test accuracy."""
    for result in cycles(tmp_path, cache, sets, shown="test"):
        assert result.metrics["accuracy/validation"] == result.metrics["accuracy"]


def test_a_committee_records_the_mean(tmp_path: Path, cache: Path) -> None:
    for result in cycles(tmp_path, cache, {}, shown="test", models=2):
        assert result.metrics["accuracy/validation"] == result.metrics["accuracy"]
        assert result.metrics["loss/validation"] == result.metrics["loss/last"]
        assert result.metrics["accuracy/model0"] != result.metrics["accuracy/model1"]
