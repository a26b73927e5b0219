"""What objectives and recorders carry from cycle to cycle, through real cycles of protocols that
start afresh and warm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.al.learner import Learner
from benchmark.al.registry import component_names
from benchmark.al.training.snapshots import SnapshotRecorder
from benchmark.spec.suite import Component
from tests.helpers.trials import assembled, trial

OBJECTIVES: dict[str, dict[str, Any]] = {
    "supervised": {},
    "cod": {"weight": 0.05},
    "learning_loss": {"joint": True, "channels": [16, 32, 64, 64], "windows": [0, 0, 0, 0]},
    "mean_teacher": {
        "labelled": 8,
        "unlabelled": 24,
        "weight": 1.0,
        "ramp_epochs": 2,
        "ema_decay": 0.97,
    },
}
LABELLED = (np.arange(40), np.arange(64))


def cycles(
    start: str, objective: str, params: dict[str, Any], cache: Path, **sets: Any
) -> list[tuple[Learner, dict[str, Any]]]:
    """The learner after each of two real cycles, with a copy of its carried state."""
    made = trial(
        sets={
            "protocol.training.start": start,
            "protocol.models.0.params": {"width": 16, "heads": 2},
            "protocol.training.epochs": 2,
        }
        | sets,
        objective=Component(name=objective, params=OBJECTIVES[objective] | params),
    )
    _, learner = assembled(made, cache)
    found = []
    for cycle, labelled in enumerate(LABELLED):
        learner.fit(cycle, labelled, np.arange(len(labelled), 200), ())
        learner.finish_cycle()
        state = {
            "counters": dict(learner.objective.counters()),
            "steps": learner.objective.epoch_steps(
                learner._cycle_data(cycle, labelled, np.arange(len(labelled), 200))
            )
            * 2,
        }
        found.append((learner, state))
    return found


def test_every_objective_is_taken_through_cycles() -> None:
    assert set(component_names("objectives")) == set(OBJECTIVES)


@pytest.mark.parametrize("start", ["fresh", "warm"])
@pytest.mark.parametrize(
    ("objective", "params", "goes_on"),
    [
        (
            "cod",
            {},
            {"warm": True, "fresh": False},
        ),  # with fresh starts its teacher is new in every cycle, and so is its count
        ("cod", {"teacher_carry": "reset"}, {"warm": False, "fresh": False}),
        ("mean_teacher", {}, {"warm": True, "fresh": True}),
        ("mean_teacher", {"start": "random", "second_pass": True}, {"warm": True, "fresh": True}),
        ("mean_teacher", {"counter": "cycle"}, {"warm": False, "fresh": False}),
    ],
)
def test_step_counters_go_on_or_begin_anew(
    start: str, objective: str, params: dict[str, Any], goes_on: dict[str, bool], tmp_path: Path
) -> None:
    (_, first), (_, second) = cycles(start, objective, params, tmp_path)
    assert first["counters"]["steps"] == first["steps"]
    before = first["steps"] if goes_on[start] else 0
    assert second["counters"]["steps"] == before + second["steps"]


@pytest.mark.parametrize("counter", ["trial", "cycle"])
@pytest.mark.parametrize("start", ["fresh", "warm"])
def test_the_moving_average_counts_over_the_trial_or_the_cycle(
    start: str, counter: str, tmp_path: Path
) -> None:
    trail = {
        "start": 1,
        "every": 1,
        "average": "ema",
        "ema_decay": 0.97,
        "ema_counter": counter,
        "ema_start": "random",
    }
    (_, first), (learner, second) = cycles(
        start, "supervised", {}, tmp_path, **{"protocol.training.trajectory": trail}
    )
    counted = second["steps"] + (first["steps"] if counter == "trial" else 0)
    assert int(learner.recorder(SnapshotRecorder).carried()["ema_steps"]) == counted


def test_snapshots_are_those_of_the_last_cycle(tmp_path: Path) -> None:
    trail = {"start": 1, "every": 1}
    (_, _), (learner, _) = cycles(
        "fresh", "supervised", {}, tmp_path, **{"protocol.training.trajectory": trail}
    )
    assert sorted(learner.recorder(SnapshotRecorder).snapshots) == [1, 2]
    assert learner.recorder(SnapshotRecorder).average.count == 2
    assert torch.equal(
        learner.recorder(SnapshotRecorder).snapshots[2]["head.weight"],
        learner.student.state_dict()["head.weight"],
    )


def test_random_starts_are_new_in_every_fresh_cycle_and_not_the_students(tmp_path: Path) -> None:
    starts: list[tuple[str, int, float]] = []
    made = trial(
        sets={
            "protocol.training.start": "fresh",
            "protocol.training.trajectory": {
                "start": 1,
                "every": 1,
                "average": "ema",
                "ema_decay": 0.97,
                "ema_start": "random",
            },
        },
        objective=Component(
            name="mean_teacher", params=OBJECTIVES["mean_teacher"] | {"start": "random"}
        ),
    )
    _, drawn = assembled(made, tmp_path)
    learner = Learner(
        drawn.protocol,
        drawn.objective,
        drawn.parts,
        drawn.streams,
        drawn.numerics,
        initial=lambda name, cycle, module: starts.append(
            (name, cycle, float(module.get_parameter("head.weight").detach().sum()))
        ),
    )
    for cycle, labelled in enumerate(LABELLED):
        learner.fit(cycle, labelled, np.arange(len(labelled), 200), ())
    sums = {
        (name, cycle): total
        for name, cycle, total in starts
        if name in ("student", "average", "mean_teacher")
    }
    assert set(sums) == {
        (name, cycle) for name in ("student", "average", "mean_teacher") for cycle in (0, 1)
    }
    assert len(set(sums.values())) == 6


def test_the_mean_teachers_accuracy_is_recorded(tmp_path: Path) -> None:
    (_, _), (learner, _) = cycles("fresh", "mean_teacher", {"start": "random"}, tmp_path)
    teacher = learner.objective.modules()["mean_teacher"]
    assert learner.metrics["accuracy/mean_teacher"] == learner.evaluate(teacher).accuracy


def test_a_second_pass_moves_statistics_twice_and_not_the_loss(tmp_path: Path) -> None:
    counts = []
    for second_pass in (False, True):
        (learner, state), _ = cycles(
            "fresh", "mean_teacher", {"second_pass": second_pass}, tmp_path
        )
        tracked = {
            int(value)
            for name, value in learner.student.state_dict().items()
            if name.endswith("num_batches_tracked")
        }
        counts.append((tracked, state["steps"]))
    (once,), (twice,) = counts[0][0], counts[1][0]
    assert twice == 2 * once


def test_mixed_batches_re_estimate_the_average(tmp_path: Path) -> None:
    trail = {"protocol.training.trajectory": {"start": 1, "every": 1}}
    shapes = {}
    for refresh in ("labelled", "mixed"):
        ((learner, _), _) = cycles("fresh", "mean_teacher", {"refresh": refresh}, tmp_path, **trail)
        data = learner._cycle_data(0, LABELLED[0], np.arange(40, 200))
        shapes[refresh] = [len(images) for images in learner.objective.refresh_batches(data, 1)]
    assert shapes == {"labelled": [32, 8], "mixed": [32] * (160 // 24)}
