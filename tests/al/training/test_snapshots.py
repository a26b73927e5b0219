"""Snapshots along a training: against slow twins, and exact when a training is cut anywhere."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.al.acquisition import acquire
from benchmark.al.learner import Learner, TrainingInterrupted
from benchmark.al.loop import run
from benchmark.al.pool import Pool
from benchmark.al.training.recorder import CycleStart
from benchmark.al.training.snapshots import SnapshotRecorder
from benchmark.runs import events
from benchmark.runs.events import CycleFinished, CycleResult
from benchmark.spec.suite import Component, Trial
from benchmark.spec.training import Training
from tests.helpers.trials import assembled, session, trial

EMA = {"start": 2, "every": 1, "average": "ema", "ema_decay": 0.7}
STCONAL = Component(name="stconal")


def made(seed: int = 0, strategy: Component = STCONAL, **trajectory: Any) -> Trial:
    recipe = {
        "protocol.training.epochs": 4,
        "protocol.training.start": "fresh",
        "protocol.training.trajectory": {"start": 2, "every": 1} | trajectory,
    }
    return trial(seed=seed, sets=recipe, strategy=strategy)


def trained(
    asked: Trial, cache: Path
) -> tuple[Learner, dict[int, nn.Module], list[list[torch.Tensor]]]:
    """A learner after one training, with the network after every epoch and the parameters after
    every step."""
    _, learner = assembled(asked, cache)
    epochs: dict[int, nn.Module] = {}
    steps = [[value.detach().double().clone() for value in learner.student.parameters()]]
    recorder = learner.recorder(SnapshotRecorder)
    move = recorder.after_step

    def after_step(model: nn.Module) -> None:
        steps.append([value.detach().double().clone() for value in model.parameters()])
        move(model)

    recorder.after_step = after_step  # type: ignore[method-assign]

    def after_epoch(done: int, *_: Any) -> None:
        epochs[done] = copy.deepcopy(learner.student)

    learner.fit(0, np.arange(40), np.arange(40, 900), STCONAL_NEEDS, None, after_epoch)
    return learner, epochs, steps


STCONAL_NEEDS = frozenset({"teacher.logits", "students.logits"})


def slow_statistics(
    model: nn.Module, batches: list[torch.Tensor]
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Mean over batches of batch mean and unbiased batch variance of what enters every batch norm
    in train mode."""
    seen: dict[str, list[torch.Tensor]] = {}
    model = copy.deepcopy(model).train()
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(
                lambda _m, args, _o, name=name: seen.setdefault(name, []).append(args[0].double())
            )
    with torch.no_grad():
        for batch in batches:
            model(batch)
    return {
        name: (
            torch.stack([x.mean(dim=(0, 2, 3)) for x in inputs]).mean(dim=0),
            torch.stack(
                [x.transpose(0, 1).flatten(1).var(dim=1, unbiased=True) for x in inputs]
            ).mean(dim=0),
        )
        for name, inputs in seen.items()
    }


def check_statistics(learner: Learner, network: nn.Module, epoch: int) -> None:
    data = learner._cycle_data(0, np.arange(40), np.arange(40, 900))
    batches = list(learner.objective.refresh_batches(data, epoch))
    assert [len(batch) for batch in batches] == [32, 8]
    expected = slow_statistics(network, batches)
    assert len(expected) == 4
    for name, (mean, variance) in expected.items():
        module = network.get_submodule(name)
        assert isinstance(module, nn.BatchNorm2d)
        torch.testing.assert_close(module.running_mean.double(), mean, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(module.running_var.double(), variance, rtol=1e-4, atol=1e-6)
        assert module.momentum == 0.1


def test_the_teacher_is_the_mean_of_all_snapshots_with_statistics_of_its_own(
    tmp_path: Path,
) -> None:
    learner, epochs, _ = trained(made(), tmp_path)
    teacher, taken = learner.recorder(SnapshotRecorder).teacher, [epochs[2], epochs[3], epochs[4]]
    for name, value in teacher.named_parameters():
        mean = torch.stack(
            [network.get_parameter(name).detach().double() for network in taken]
        ).mean(dim=0)
        torch.testing.assert_close(value.double(), mean, rtol=1e-5, atol=1e-6)
        assert not value.requires_grad
    check_statistics(learner, teacher, epoch=3)
    assert not torch.equal(
        teacher.get_parameter("head.weight"), epochs[4].get_parameter("head.weight")
    )


@pytest.mark.parametrize(("students", "expected"), [("last4", [4, 3]), ("all5", [4, 3, 2])])
def test_students_are_the_newest_snapshots_with_their_own_statistics(
    students: str, expected: list[int], tmp_path: Path
) -> None:
    learner, epochs, _ = trained(made(students=students), tmp_path)
    found = learner.recorder(SnapshotRecorder).networks()["students"]
    assert (
        isinstance(found, list)
        and learner.recorder(SnapshotRecorder).students() == expected
        and len(found) == len(expected)
    )
    for epoch, network in zip(expected, found, strict=True):
        state = epochs[epoch].state_dict()
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_refreshed_students_have_statistics_of_their_own_weights(tmp_path: Path) -> None:
    learner, epochs, _ = trained(made(student_bn="refreshed"), tmp_path)
    found = learner.recorder(SnapshotRecorder).networks()["students"]
    assert isinstance(found, list)
    for epoch, network in zip([4, 3], found, strict=True):
        check_statistics(learner, network, epoch - 1)
        kept = dict(epochs[epoch].named_parameters())
        assert all(torch.equal(value, kept[name]) for name, value in network.named_parameters())


def test_the_moving_average_follows_every_step(tmp_path: Path) -> None:
    learner, _, steps = trained(made(**EMA), tmp_path)
    assert len(steps) == 9
    expected = steps[0]
    for number, weights in enumerate(steps[1:], start=1):
        share = min(1 - 1 / (number + 1), 0.7)
        expected = [
            share * old + (1 - share) * new for old, new in zip(expected, weights, strict=True)
        ]
    for value, twin in zip(
        learner.recorder(SnapshotRecorder).teacher.parameters(), expected, strict=True
    ):
        torch.testing.assert_close(value.double(), twin, rtol=1e-4, atol=1e-6)
    check_statistics(learner, learner.recorder(SnapshotRecorder).teacher, epoch=3)


@pytest.mark.parametrize(("counter", "steps"), [("trial", 8 + 1), ("cycle", 1)])
def test_the_moving_average_starts_anew_and_its_counter_as_pinned(
    counter: str, steps: int, tmp_path: Path
) -> None:
    learner, _, _ = trained(made(**EMA, ema_counter=counter), tmp_path)
    fresh = copy.deepcopy(learner.student)
    nn.init.constant_(fresh.get_parameter("head.bias"), 3.0)
    start = CycleStart(learner.protocol.training, fresh, frozenset(), np.arange(0), lambda: fresh)
    learner.recorder(SnapshotRecorder).start_cycle(start)
    assert torch.equal(
        learner.recorder(SnapshotRecorder).teacher.get_parameter("head.bias"),
        fresh.get_parameter("head.bias"),
    )
    with torch.no_grad():
        fresh.get_parameter("head.bias").zero_()
    learner.recorder(SnapshotRecorder).before_step()
    learner.recorder(SnapshotRecorder).after_step(fresh)
    share = min(1 - 1 / (steps + 1), 0.7)
    torch.testing.assert_close(
        learner.recorder(SnapshotRecorder).teacher.get_parameter("head.bias"),
        torch.full((10,), 3.0 * share),
    )


def test_one_pass_of_the_teacher_and_of_each_student_over_the_candidates(tmp_path: Path) -> None:
    asked = made()
    learner, _, _ = trained(asked, tmp_path)
    strategy, _ = assembled(asked, tmp_path)
    calls = 0

    def count(module: nn.Module, *_: Any) -> None:
        nonlocal calls
        calls += type(module) is type(learner.student)

    hook = torch.nn.modules.module.register_module_forward_hook(count)
    try:
        view, _ = acquire(
            strategy, learner, Pool(np.arange(40), np.arange(40, 900), 900), 0, asked.protocol, 40
        )
    finally:
        hook.remove()
    batches = -(-len(view.candidates) // asked.protocol.evaluation.batch_size)
    assert batches == 1 and calls == (2 + 1) * batches
    assert view["students.logits"].shape == (2, 120, 10)


def results(asked: Trial, out: Path, cache: Path, shared: Path | None = None) -> list[CycleResult]:
    strategy, learner = assembled(asked, cache)
    live = session(asked, out, shared)
    run(asked.protocol, strategy, learner, live)
    return live.results


@pytest.mark.parametrize(
    "trajectory",
    [{}, EMA, {"student_bn": "refreshed", "students": "all5"}],
    ids=["swa", "ema", "refreshed"],
)
def test_resume_at_every_point_equals_the_uninterrupted_trial(
    trajectory: dict[str, Any], tmp_path: Path
) -> None:
    asked = made(**trajectory)
    whole = results(asked, tmp_path / "whole", tmp_path)
    stops = 0
    while True:
        strategy, learner = assembled(asked, tmp_path)
        live = session(asked, tmp_path / "cut", stop_after=2)
        try:
            run(asked.protocol, strategy, learner, live)
            break
        except TrainingInterrupted:
            stops += 1
    assert stops >= 6
    assert live.results == whole
    assert all(result.metrics["accuracy/averaged"] > 0 for result in whole)


def test_a_shared_first_training_brings_its_snapshots(tmp_path: Path) -> None:
    alone = results(made(), tmp_path / "alone", tmp_path)
    results(
        made(strategy=Component(name="random")), tmp_path / "first", tmp_path, tmp_path / "shared"
    )
    assert results(made(), tmp_path / "second", tmp_path, tmp_path / "shared") == alone
    told = [
        e.reused
        for e, _ in events.read_events(tmp_path / "second/events.jsonl")
        if isinstance(e, CycleFinished)
    ]
    assert told == [True, False, False]


def test_the_state_between_cycles_holds_no_snapshots(tmp_path: Path) -> None:
    learner, _, _ = trained(made(), tmp_path)
    assert set(learner.state()["trail"]) == {"ema_steps"}
    assert set(learner.trained()["trail"]) == {"ema_steps", "average", "snapshots"}


@pytest.mark.parametrize(
    ("trajectory", "said"),
    [
        ({"start": 160, "every": 10}, "do not end on a snapshot"),
        ({"start": 20, "every": 10, "average": "ema"}, "ema_decay"),
        ({"start": 20, "every": 10, "ema_decay": 0.9}, "ema_decay"),
        ({"start": 25, "every": 10}, "no epoch at which"),
        ({"start": 10, "every": 4}, "no epoch at which"),
    ],
)
def test_trajectories_that_cannot_be_are_refused(trajectory: dict[str, Any], said: str) -> None:
    recipe = {
        "epochs": 100,
        "batch_size": 8,
        "shuffle": True,
        "drop_last": False,
        "start": "fresh",
        "optimizer": {"name": "adam", "lr": 0.1, "weight_decay": 0.0},
        "schedule": {"kind": "cosine"},
    }
    assert (
        Training.model_validate({**recipe, "trajectory": {"start": 60, "every": 10}}).trajectory
        is not None
    )
    with pytest.raises(ValueError, match=said):
        Training.model_validate({**recipe, "trajectory": trajectory})
