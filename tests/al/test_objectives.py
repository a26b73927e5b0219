"""Objectives of TOD against slow, obvious twins of siyuhuang/TOD at 883494b, train_epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.al.objectives.base import UNLABELLED
from benchmark.al.objectives.cod import ONCE
from benchmark.spec.suite import Component
from tests.helpers.trials import assembled, trial


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_one_cod_step_by_hand(cache: Path) -> None:
    """Loss, gradient step and teacher of the first two steps, written out as the release has
    them."""
    made = trial("tod+cod")
    _, learner = assembled(made, cache)
    data = learner._cycle_data(0, np.arange(40), np.arange(40, 400))
    optimizer = learner._optimizer()
    student, teacher = learner.student, dict(learner.objective.modules())["teacher"]
    assert any(
        not torch.equal(a, b)
        for a, b in zip(student.parameters(), teacher.parameters(), strict=True)
    )
    student.train()
    expected = {name: value.clone() for name, value in teacher.named_parameters()}
    for step, batch in enumerate(learner.objective.batches(data, 0)):
        fixed = data.view(data.unlabelled_order(ONCE)[:32], step, UNLABELLED)
        assert torch.equal(batch.unlabelled, fixed)
        learner.objective.before_step(batch)
        loss = learner.objective.loss(student, batch)
        teacher.train()
        # Running statistics must not move twice; batch statistics are what both use below.
        student.eval()
        student.train()
        a, u = student(batch.images), student(batch.unlabelled)
        with torch.no_grad():
            ta, tu = teacher(batch.images).logits, teacher(batch.unlabelled).logits
        by_hand = F.cross_entropy(a.logits, batch.labels) + 0.02 * (
            F.mse_loss(a.logits, a.consistency)
            + F.mse_loss(u.logits, u.consistency)
            + F.mse_loss(a.consistency, ta)
            + F.mse_loss(u.consistency, tu)
        )
        assert loss.item() == pytest.approx(by_hand.item(), rel=1e-6)
        optimizer.zero_grad()
        loss.backward()
        assert all(value.grad is None for value in teacher.parameters())
        optimizer.step()
        learner.objective.after_step(student)
        alpha = min(1 - 1 / (step + 2), 0.999)
        for name, value in student.named_parameters():
            expected[name] = alpha * expected[name] + (1 - alpha) * value.detach()
            torch.testing.assert_close(dict(teacher.named_parameters())[name], expected[name])


@pytest.mark.parametrize(
    ("start", "carry", "at_student", "alphas"),
    [
        ("random", "carry", (False, False), (1 / 2, 2 / 3)),  # as released: t goes on, from 1
        ("random", "reset", (False, True), (1 / 2, 0.0)),
        ("student", "carry", (True, False), (0.0, 1 / 2)),
        ("student", "reset", (True, True), (0.0, 0.0)),  # corrected
    ],
)
def test_where_the_teacher_starts(
    start: str, carry: str, at_student: tuple[bool, bool], alphas: tuple[float, float], cache: Path
) -> None:
    """The switches of cycle 0 and of later cycles are two; the first step's weight follows the
    network it averages with."""
    params = {"weight": 0.02, "teacher_start": start, "teacher_carry": carry}
    _, learner = assembled(trial("tod+cod", objective=Component(name="cod", params=params)), cache)
    objective, student = learner.objective, learner.student
    teacher = dict(objective.modules())["teacher"]
    for cycle, (same, alpha) in enumerate(zip(at_student, alphas, strict=True)):
        objective.start_cycle(cycle, student)
        pairs = list(zip(student.parameters(), teacher.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in pairs) is same
        data = learner._cycle_data(cycle, np.arange(40), np.arange(40, 400))
        objective.before_step(next(iter(objective.batches(data, 0))))
        assert float(objective._alpha.value) == pytest.approx(alpha)
        objective.after_step(student)
        with torch.no_grad():
            for value in student.parameters():
                value.add_(1.0)


def test_later_cycles_draw_a_fresh_unlabelled_batch_every_step(cache: Path) -> None:
    _, learner = assembled(trial("tod+cod"), cache)
    data = learner._cycle_data(1, np.arange(80), np.arange(80, 400))
    asked = [each for epoch in range(14) for each in learner.objective._unlabelled(data, epoch)][
        :40
    ]
    assert [step for _, step in asked] == list(range(40))
    drawn = [indices for indices, _ in asked]
    assert all(len(set(d.tolist())) == 32 and d.min() >= 80 for d in drawn)
    assert len({tuple(d.tolist()) for d in drawn}) == 40
    counts = np.bincount(torch.cat(drawn).numpy(), minlength=400)[80:]
    assert (
        counts.sum() == 40 * 32 and counts.max() <= 15
    )  # mean 4; uniform draws exceed 15 once in 10^5 images


def test_without_the_cod_loss_the_second_head_stays_at_its_start(cache: Path) -> None:
    _, learner = assembled(trial("tod"), cache)
    before = learner.student.second.weight.clone()
    learner.fit(0, np.arange(40), np.arange(40, 400), set())
    # Weight decay needs a gradient to act on: SGD skips parameters without one.
    assert torch.equal(learner.student.second.weight, before)


def test_warm_start_keeps_the_network_and_fresh_start_does_not(cache: Path) -> None:
    for start, same in (("warm", True), ("fresh", False)):
        _, learner = assembled(trial(sets={"protocol.training.start": start}), cache)
        before = learner.weights()
        learner.start_cycle(1, set())
        assert (learner.weights() == before) is same


def test_reference_is_untrained_first_and_the_previous_student_later(cache: Path) -> None:
    _, learner = assembled(trial("tod"), cache)
    needs = {"logits", "reference.logits"}
    learner.start_cycle(0, needs)
    start, untrained = learner.weights(), learner._before
    assert all(
        not torch.equal(a, b)
        for a, b in zip(learner.student.parameters(), untrained.parameters(), strict=True)
        if a.dim() > 1
    )
    learner.fit(0, np.arange(40), np.arange(40, 400), needs)
    trained = learner.weights()
    assert trained != start
    learner.start_cycle(1, needs)
    out = learner.outputs(needs, np.arange(100, 150), 1)
    assert torch.equal(out["logits"], out["reference.logits"])
    _, other = assembled(
        trial("tod", strategy=Component(name="tod", params={"first": "highest_initial"})), cache
    )
    other.start_cycle(0, {"logits", "previous.logits"})
    out = other.outputs({"logits", "previous.logits"}, np.arange(100, 150), 0)
    assert torch.equal(out["logits"], out["previous.logits"])
