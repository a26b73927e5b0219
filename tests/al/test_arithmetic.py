"""Whole trials under every arithmetic: what an option of precision or step breaks must not wait for
a first long training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.al import learner as learning
from benchmark.al.committee import Committee
from benchmark.al.datasets import Dataset
from benchmark.al.dry_run import dry_run
from benchmark.al.learner import Learner
from benchmark.al.training import cuda_graphs as stepping
from benchmark.al.training import snapshots as trajectory
from benchmark.al.training.numerics import Numerics
from benchmark.spec.load import find_suite
from benchmark.spec.suite import Trial
from benchmark.worker import assemble
from tests.helpers.fake_cuda_graphs import Tape
from tests.helpers.trials import SUITES

QUICKSTART = find_suite("quickstart/digits", SUITES)


def rehearsed(made: Trial, cache: Path, precision: str, step: str) -> list[Learner]:
    """Play a trial through on the CPU; its learners when it is over, committees' members and
    pretext's among them. Operations in a row stand for graphs."""
    torch.set_num_threads(1)
    numerics, learners = Numerics(torch.device("cpu"), precision, step=step), []

    def assembled(small: Trial, data: Dataset) -> Any:
        strategy, learner = assemble(small, data, numerics, cache / "weights")
        learners.extend(learner.members if isinstance(learner, Committee) else [learner])
        return strategy, learner

    dry_run(made, assembled)
    return learners


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """What was captured; every kind of step is captured at its second, so that a rehearsal's few
    steps reach replays."""
    made: list[Tape] = []

    def graphs(_: torch.device) -> Tape:
        made.append(Tape())
        return made[-1]

    monkeypatch.setattr(learning, "CudaGraphs", graphs)
    monkeypatch.setattr(stepping, "WARM_UP", 1)
    return made


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", QUICKSTART.suite.methods)
def test_every_method_under_every_arithmetic(
    method: str, precision: str, tmp_path: Path, tapes: list[Tape]
) -> None:
    """Captured steps end where steps together end, bit by bit; weights stay fp32 and finite."""
    (made,) = QUICKSTART.trials(methods=[method], seeds=[0])
    ends = {}
    for step in ("eager", "together", "captured"):
        learners = rehearsed(made, tmp_path, precision, step)
        for learner in learners:
            values = [
                value
                for value in learner.student.state_dict().values()
                if value.is_floating_point()
            ]
            assert all(
                value.dtype == torch.float32 and bool(value.isfinite().all()) for value in values
            )
            assert math.isfinite(learner.metrics["accuracy"])
        ends[step] = [learner.weights() for learner in learners]
    assert ends["captured"] == ends["together"]
    assert sum(tape.replayed for tape in tapes) > 0
    assert sum(tape.captured for tape in tapes) > 0


def test_statistics_are_taken_in_the_arithmetic_of_the_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch-norm statistics that are estimated anew in half precision where the training is."""
    seen: list[bool] = []
    monkeypatch.setattr(
        trajectory, "refresh_batch_norm", lambda *_: seen.append(torch.is_autocast_enabled("cpu"))
    )
    (made,) = QUICKSTART.trials(methods=["stconal"], seeds=[0])
    for precision, half in (("fp32", False), ("bf16", True)):
        seen.clear()
        rehearsed(made, tmp_path, precision, "eager")
        assert seen and set(seen) == {half}
