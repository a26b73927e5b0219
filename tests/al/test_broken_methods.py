"""What a smoke profile is for: a training that learns is far above chance, one broken on purpose
stays at it, and what does not show in accuracy is told by the rule of `compare --regress`.

On the handwritten digits that every installation has; profiles of papers are held to the threshold
that their notes name where ALBENCH_TEST_DATA names a data root.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

from benchmark.al import datasets
from benchmark.al.committee import Committee
from benchmark.al.functional.averaging import WeightAverage
from benchmark.al.learner import Learner
from benchmark.al.objectives import cod
from benchmark.al.strategies import bal
from benchmark.al.training.numerics import Numerics
from benchmark.al.training.snapshots import SnapshotRecorder
from benchmark.al.training.vote_recorder import VoteRecorder
from benchmark.errors import Exit
from benchmark.runs import events
from benchmark.spec.load import find_suite
from benchmark.verdicts.measurements import Measurement, from_records
from benchmark.verdicts.regression import RegressionState, regress
from benchmark.worker import assemble, main
from tests.helpers.trials import SUITES, assembled, trial

CHANCE = 10.0
SETS = {"protocol.training.epochs": 8, "protocol.training.schedule.milestones": [6]}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def reached(
    cache: Path, method: str = "random", damage: Callable[[Learner], None] = lambda _: None
) -> dict[str, float]:
    """Test accuracy of every network in percent after one training on 200 labels."""
    _, learner = assembled(trial(method, sets=SETS), cache)
    damage(learner)
    pool = torch.arange(1200).numpy()
    learner.fit(0, pool[:200], pool[200:], ())
    networks = {"student": learner.student, **learner.objective.modules()}
    return {name: learner.evaluate(network).accuracy for name, network in networks.items()}


def shuffle_labels(learner: Learner) -> None:
    order = draw_order(len(learner.parts.train_labels))
    learner.parts.train_labels.copy_(learner.parts.train_labels[order].clone())


def draw_order(count: int) -> torch.Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def freeze(learner: Learner) -> None:
    make = learner._optimizer
    learner._optimizer = lambda: hold_still(make())  # type: ignore[method-assign]


def hold_still(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    optimizer.step = lambda *_: None  # type: ignore[method-assign]
    return optimizer


def test_a_training_that_learns_is_far_above_chance(cache: Path) -> None:
    assert reached(cache)["student"] > 4 * CHANCE
    assert min(reached(cache, "random+cod").values()) > 2 * CHANCE


@pytest.mark.parametrize("damage", [shuffle_labels, freeze])
def test_a_broken_training_stays_at_chance(damage: Callable[[Learner], None], cache: Path) -> None:
    assert reached(cache, damage=damage)["student"] < 2 * CHANCE


def test_a_teacher_that_is_not_updated_stays_at_chance(cache: Path) -> None:
    with patch.object(cod, "ema_update", lambda *_, **__: None):
        found = reached(cache, "random+cod")
    assert found["student"] > 2 * CHANCE > found["teacher"]


# ------------------------------------------------------------------------ the rule of `--regress`

FEW: dict[str, Any] = {
    "protocol.acquisition.initial.size": 80,
    "protocol.acquisition.cycles": 2,
    "protocol.acquisition.candidates": 400,
    "protocol.training.epochs": 8,
    "protocol.training.schedule.milestones": [6],
    "methods.stconal.set": {"training.trajectory": {"start": 4, "every": 1}},
    "methods.bal.set.pretext.training.epochs": 1,
    "methods.pt4al.set.pretext.training.epochs": 1,
}
"""What shrinks the methods of the quickstart to seconds, in which they learn."""


def measure_trial(method: str, place: Path) -> list[Measurement]:
    """The two cycles of a small trial, which shares nothing with others; none where it failed."""
    (made,) = find_suite("quickstart/digits", SUITES).trials(methods=[method], seeds=[0], sets=FEW)
    place.mkdir()
    (place / "trial.json").write_text(made.model_dump_json())
    folders = ["--data", str(place / "data"), "--cache", str(place / "cache")]
    if main([str(place / "trial.json"), str(place), "--device", "cpu", *folders]) != Exit.OK:
        return []
    return from_records([events.read_record(place / "record.json")])


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Measurement]]:
    found: dict[str, list[Measurement]] = {}

    def by_method(method: str) -> list[Measurement]:
        if method not in found:
            found[method] = measure_trial(method, tmp_path_factory.mktemp("committed") / "trial")
        return found[method]

    return by_method


def shuffle_all_labels(patched: pytest.MonkeyPatch) -> None:
    load = datasets.load

    def shuffled(*given: Any, **options: Any) -> datasets.Dataset:
        found = load(*given, **options)
        order = draw_order(len(found.train.labels)).numpy()
        return replace(found, train=replace(found.train, labels=found.train.labels[order]))

    patched.setattr(datasets, "load", shuffled)


def freeze_networks(patched: pytest.MonkeyPatch) -> None:
    make = Learner._optimizer
    patched.setattr(Learner, "_optimizer", lambda learner: hold_still(make(learner)))


def keep_teacher(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(cod, "ema_update", lambda *_, **__: None)


def drop_unlabelled_term(patched: pytest.MonkeyPatch) -> None:
    whole = cod.cod_loss
    patched.setattr(cod, "cod_loss", lambda *given: whole(*given[:-1], 0.0))


def average_one_snapshot(patched: pytest.MonkeyPatch) -> None:
    update = WeightAverage.update

    def first_only(average: WeightAverage, model: nn.Module) -> None:
        if average.module is None:
            update(average, model)

    patched.setattr(WeightAverage, "update", first_only)


def keep_first_student(patched: pytest.MonkeyPatch) -> None:
    students = SnapshotRecorder.students
    patched.setattr(
        SnapshotRecorder,
        "students",
        lambda recorder: [min(recorder.snapshots)] * len(students(recorder)),
    )


def keep_first_window(patched: pytest.MonkeyPatch) -> None:
    bounds = bal.window_bounds
    patched.setattr(bal, "window_bounds", lambda _, *sizes: bounds(0, *sizes))


def level_pretext_losses(patched: pytest.MonkeyPatch) -> None:
    order = bal.hardest_first
    patched.setattr(bal, "hardest_first", lambda losses, by: order(0 * losses, by))


def vote_for_one_class(patched: pytest.MonkeyPatch) -> None:
    of = VoteRecorder.of
    patched.setattr(VoteRecorder, "of", lambda recorder, chosen: 0 * of(recorder, chosen))


def record_no_votes(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(VoteRecorder, "after_epoch", lambda *_: None)


def list_accuracies(rows: list[Measurement]) -> list[float]:
    return [row.metrics["accuracy"] for row in rows]


@pytest.mark.parametrize(
    ("method", "damage", "parted"),
    [
        ("tod+cod", shuffle_all_labels, "cycle 0: metrics.accuracy"),
        ("tod+cod", keep_teacher, "cycle 0: metrics"),
        ("tod+cod", drop_unlabelled_term, "cycle 0: metrics"),
        ("stconal", shuffle_all_labels, "cycle 0: metrics.accuracy"),
        ("stconal", freeze_networks, "cycle 0: metrics.accuracy"),
        ("stconal", average_one_snapshot, "cycle 0: metrics.accuracy/averaged"),
        ("stconal", keep_first_student, "cycle 1: labelled_digest"),
        ("bal", shuffle_all_labels, "cycle 0: metrics.accuracy"),
        ("bal", keep_first_window, "cycle 1: labelled_digest"),
        ("pt4al", level_pretext_losses, "cycle 1: labelled_digest"),
        ("diam(2)", shuffle_all_labels, "cycle 0: metrics.accuracy"),
        ("diam(2)", freeze_networks, "cycle 0: metrics.accuracy"),
        ("diam(2)", vote_for_one_class, "cycle 1: labelled_digest"),
        ("diam(2)", record_no_votes, ""),
    ],
)
def test_a_broken_part_is_caught_beside_committed_records(
    method: str,
    damage: Callable[[pytest.MonkeyPatch], None],
    parted: str,
    committed: Callable[[str], list[Measurement]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """In the environment of the committed trial, and in another one, as every change of the code
    makes it."""
    sound = committed(method)
    assert min(list_accuracies(sound)) > 4 * CHANCE
    damage(monkeypatch)
    broken = measure_trial(method, tmp_path / "broken")
    suite = find_suite("quickstart/digits", SUITES)
    here = regress(suite, broken, sound)
    elsewhere = regress(suite, [replace(row, env_id="elsewhere") for row in broken], sound)
    assert [one.state for found in (here, elsewhere) for one in found.trials] == (
        [RegressionState.LOST, RegressionState.ELSEWHERE]
        if parted
        else [RegressionState.MISSING] * 2
    )
    assert here.exit_code is (Exit.DISCREPANCY if parted else Exit.NOT_MEASURED)
    assert elsewhere.exit_code is not Exit.OK
    assert str(here.trials[0].divergence or "").startswith(parted)
    if damage in (shuffle_all_labels, freeze_networks):
        assert max(list_accuracies(broken)) < 2 * CHANCE


# --------------------------------------------------------------------------- profiles of the papers

THRESHOLDS = {
    "tod/cifar10": 20.0,
    "tod/caltech101": 4.0,
    "st-conal/cifar10": 20.0,
    "bal/cifar10-base": 20.0,
    "pt4al/cifar10": 20.0,
    "diam/mnist": 20.0,
}
"""Percent below which the notes of smoke profiles call a network broken: at least one of each
paper."""
REAL = pytest.mark.skipif(
    "ALBENCH_TEST_DATA" not in os.environ, reason="ALBENCH_TEST_DATA names no data root"
)


def reached_by_smoke(
    suite: str, method: str, cache: Path, damage: Callable[[Learner], None] = lambda _: None
) -> dict[str, float]:
    """Test accuracy of every network in percent after one training on as many labels as the smoke
    profile ends with; of several target models the mean."""
    (made,) = find_suite(suite, SUITES).trials("smoke", methods=[method], seeds=[0])
    data = datasets.load(made.protocol.data, Path(os.environ["ALBENCH_TEST_DATA"]), cache)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    _, learner = assemble(made, data, Numerics(torch.device("cpu")), cache / "weights")
    members = learner.members if isinstance(learner, Committee) else [learner]
    for member in members:
        damage(member)
    pool = torch.arange(made.protocol.data.train_size).numpy()
    labelled = made.protocol.acquisition.labelled()[-1]
    learner.fit(0, pool[:labelled], pool[labelled:], ())
    networks = {f"student{member.place}": (member, member.student) for member in members}
    networks |= {
        name: (member, module)
        for member in members
        for name, module in member.objective.modules().items()
    }
    found = {
        name: member.evaluate(network).accuracy for name, (member, network) in networks.items()
    }
    students = [found.pop(f"student{member.place}") for member in members]
    return found | {"student": sum(students) / len(students)}


@REAL
@pytest.mark.slow
@pytest.mark.parametrize(("suite", "threshold"), THRESHOLDS.items())
def test_the_threshold_of_a_profile_tells_a_broken_training(
    suite: str, threshold: float, cache: Path
) -> None:
    assert reached_by_smoke(suite, "random", cache)["student"] > threshold
    for damage in (shuffle_labels, freeze):
        found = reached_by_smoke(suite, "random", cache, damage)["student"]
        assert found < threshold, damage.__name__


@REAL
@pytest.mark.slow
def test_the_threshold_of_tods_profile_tells_a_teacher_that_is_not_updated(cache: Path) -> None:
    """On CIFAR-10: of the 101 test images of Caltech-101 a teacher recognises few."""
    threshold = THRESHOLDS["tod/cifar10"]
    assert min(reached_by_smoke("tod/cifar10", "tod+cod", cache).values()) > threshold
    with patch.object(cod, "ema_update", lambda *_, **__: None):
        assert reached_by_smoke("tod/cifar10", "tod+cod", cache)["teacher"] < threshold
