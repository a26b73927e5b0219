"""The semi-supervised option of ST-CoNAL: batches, loss and average against slow twins; exact
resume."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.al.learner import Learner, TrainingInterrupted
from benchmark.al.loop import run
from benchmark.al.objectives.base import Batch
from benchmark.al.objectives.mean_teacher import MeanTeacher, TwoViews
from benchmark.runs.events import CycleResult
from benchmark.spec.suite import Component, Trial
from tests.helpers.trials import assembled, session, trial

PARAMS: dict[str, Any] = {
    "labelled": 8,
    "unlabelled": 24,
    "weight": 100.0,
    "ramp_epochs": 5,
    "ema_decay": 0.97,
}


def made(**more: Any) -> Trial:
    sets = {
        "protocol.data.limit": {"train": 200, "test": 50},
        "protocol.data.train_size": 200,
        "protocol.data.test_size": 50,
        "protocol.evaluation.batch_size": 50,
        "protocol.training.start": "fresh",
        "protocol.training.epochs": 3,
        "protocol.training.trajectory": {"start": 1, "every": 1},
    }
    return trial(
        sets=sets,
        strategy=Component(name="stconal"),
        objective=Component(name="mean_teacher", params=PARAMS | more),
    )


def learner(cache: Path, **more: Any) -> tuple[Learner, MeanTeacher]:
    _, found = assembled(made(**more), cache)
    assert isinstance(found.objective, MeanTeacher)
    found.objective.start_cycle(0, found.student)
    return found, found.objective


def test_an_epoch_is_one_pass_over_the_unlabelled_pool(tmp_path: Path) -> None:
    found, objective = learner(tmp_path)
    data = found._cycle_data(0, np.arange(20), np.arange(20, 200))
    batches = list(objective.batches(data, 1))
    assert len(batches) == objective.epoch_steps(data) == 180 // 24
    assert [batch.step for batch in batches] == list(range(7, 14))
    labels = torch.cat([batch.labels for batch in batches])
    # 56 labelled draws from 20 images: two whole rounds, then a part of a third.
    truth = data.labels[data.labelled]
    for start in (0, 20):
        assert torch.equal(labels[start : start + 20].sort().values, truth.sort().values)
    assert not torch.equal(labels[:20], labels[20:40])
    for batch in batches:
        assert (
            isinstance(batch, TwoViews) and batch.unlabelled is not None and batch.again is not None
        )
        assert (len(batch.images), len(batch.unlabelled), len(batch.again)) == (8, 24, 32)
        assert not torch.equal(torch.cat([batch.images, batch.unlabelled]), batch.again), (
            "two views"
        )


def test_unlabelled_images_are_seen_once_an_epoch_and_labels_of_theirs_never(
    tmp_path: Path,
) -> None:
    found, objective = learner(tmp_path)
    data = found._cycle_data(0, np.arange(8), np.arange(8, 200))
    seen: list[int] = []
    shown = data.view
    data.view = lambda indices, epoch, use=0: (
        seen.extend(indices.tolist()) if use == 1 else None,
        shown(indices, epoch, use),
    )[1]  # type: ignore[method-assign]
    data.labels = torch.where(torch.arange(200) < 8, data.labels[:200], -1)
    batches = list(objective.batches(data, 0))
    assert sorted(seen) == list(range(8, 200)) and all(
        int(batch.labels.min()) >= 0 for batch in batches
    )


@pytest.mark.parametrize("epoch", [0, 2, 7])
def test_the_loss_is_the_released_one(epoch: int, tmp_path: Path) -> None:
    found, objective = learner(tmp_path)
    data = found._cycle_data(0, np.arange(20), np.arange(20, 200))
    batch = next(objective.batches(data, epoch))
    assert isinstance(batch, TwoViews) and batch.unlabelled is not None and batch.again is not None
    with torch.no_grad():
        for value in objective.modules()["mean_teacher"].parameters():
            value.mul_(1.5)
    student = copy.deepcopy(found.student).train()
    teacher = copy.deepcopy(objective.modules()["mean_teacher"]).train()
    objective.before_step(batch)
    loss = objective.loss(found.student.train(), batch)
    with torch.no_grad():
        logits = student(torch.cat([batch.images, batch.unlabelled])).logits.double()
        p, q = logits.softmax(dim=1), teacher(batch.again).logits.double().softmax(dim=1)
    task = -sum(math.log(float(p[row, int(label)])) for row, label in enumerate(batch.labels))
    weight = 100 * math.exp(-5 * (1 - min(epoch, 5) / 5) ** 2)
    tie = float((p - q).square().sum()) / 10
    assert loss.item() == pytest.approx((task + weight * tie) / 32, rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(value.grad is None for value in objective.modules()["mean_teacher"].parameters())


@pytest.mark.parametrize(("counter", "share"), [("trial", 0.75), ("cycle", 0.5)])
def test_the_average_and_its_counter(counter: str, share: float, tmp_path: Path) -> None:
    found, objective = learner(tmp_path, counter=counter)
    batch = Batch(torch.empty(0), torch.empty(0), 0, 0)
    for _ in range(2):
        objective.before_step(batch)
        objective.after_step(found.student)
    objective.start_cycle(1, found.student)
    before = found.student.get_parameter("head.bias").detach().clone()
    with torch.no_grad():
        found.student.get_parameter("head.bias").add_(1)
    objective.before_step(batch)
    objective.after_step(found.student)
    averaged = objective.modules()["mean_teacher"].get_parameter("head.bias")
    torch.testing.assert_close(averaged, before + (1 - share))


def results(asked: Trial, out: Path, cache: Path) -> list[CycleResult]:
    strategy, found = assembled(asked, cache)
    live = session(asked, out)
    run(asked.protocol, strategy, found, live)
    return live.results


def test_resume_at_every_point_equals_the_uninterrupted_trial(tmp_path: Path) -> None:
    asked = made()
    whole = results(asked, tmp_path / "whole", tmp_path)
    stops = 0
    while True:
        strategy, found = assembled(asked, tmp_path)
        live = session(asked, tmp_path / "cut", stop_after=2)
        try:
            run(asked.protocol, strategy, found, live)
            break
        except TrainingInterrupted:
            stops += 1
    assert stops >= 4 and live.results == whole
