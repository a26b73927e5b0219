"""What depends on amounts is refused before training, with the number to change; the tables are
those of the networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.al.functional.losses import margin_ranking_loss
from benchmark.al.networks import build_network
from benchmark.al.networks.loss_prediction import LossPrediction
from benchmark.al.parameters import declared_value
from benchmark.al.registry import NETWORKS, OBJECTIVES, find_class
from benchmark.errors import SuiteError, UsageError
from benchmark.planning import amounts
from benchmark.spec.load import load_suite, suite_files
from benchmark.spec.suite import Component, Trial
from benchmark.spec.training import Model
from tests.helpers.runs import toy_trial

SUITES = Path(__file__).parents[2] / "suites"
SMALL: dict[str, dict[str, Any]] = {
    "resnet_cifar": {"widths": [4, 6, 8, 10]},
    "resnet_imagenet": {"blocks": [1, 1, 1, 1], "widths": [4, 6, 8, 10]},
    "ofa": {"net": 11},
}


def paired(
    labelled: int, batch: int, *, drop_last: bool = False, objective: str = "learning_loss"
) -> Trial:
    trial = toy_trial(
        0, acquisition__initial=labelled, acquisition__cycles=1, acquisition__budget=10
    )
    training = trial.protocol.training.model_copy(
        update={"batch_size": batch, "drop_last": drop_last}
    )
    protocol = trial.protocol.model_copy(update={"training": training})
    return trial.model_copy(update={"protocol": protocol, "objective": Component(name=objective)})


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch", [2, 3, 4, 8])
def test_pairs_are_refused_exactly_where_the_loss_would_refuse_them(
    batch: int, drop_last: bool
) -> None:
    for labelled in range(1, 40):
        whole = labelled - labelled % batch if drop_last else labelled
        sizes = {min(batch, whole - start) for start in range(0, whole, batch)}
        fails = not sizes
        for size in sizes:
            try:
                margin_ranking_loss(torch.zeros(size), torch.zeros(size), 1.0)
            except UsageError:
                fails = True
        assert bool(amounts.find_obstacle(paired(labelled, batch, drop_last=drop_last))) == fails, (
            labelled,
            batch,
            drop_last,
        )


def test_the_number_to_change_is_named() -> None:
    told = amounts.find_obstacle(paired(41, 8))
    assert "cycle 0 trains on 41 images in batches of 8: the last one has 1" in told
    assert "takes pairs -> initial.size = 42, or drop_last = true" in told
    assert "batch_size: learning_loss takes pairs, and 7 is odd -> 8" in amounts.find_obstacle(
        paired(40, 7)
    )
    assert "at most 5, or drop_last = false" in amounts.find_obstacle(
        paired(5, 8, drop_last=True, objective="supervised")
    )
    assert not amounts.find_obstacle(paired(41, 8, objective="supervised"))


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize(("budget", "setting"), [(41, "budget = 42"), ((40, 41), "budget[1] = 42")])
def test_the_budget_that_is_named_leaves_no_odd_batch(
    size: int, budget: int | tuple[int, ...], setting: str
) -> None:
    def trial(bought: int | tuple[int, ...]) -> Trial:
        given = paired(40, size)
        acquisition = given.protocol.acquisition.model_copy(update={"cycles": 3, "budget": bought})
        return given.model_copy(
            update={"protocol": given.protocol.model_copy(update={"acquisition": acquisition})}
        )

    assert f"takes pairs -> {setting}, or drop_last = true" in amounts.find_obstacle(trial(budget))
    assert not amounts.find_obstacle(trial(42 if isinstance(budget, int) else (40, 42)))


def test_an_objective_from_outside_declares_what_it_takes(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from benchmark import Objective\n"
        "from benchmark.al.objectives.learning_loss import LearningLoss\n"
        "raise SystemExit('a plan runs no file')\n"
        "class Triples(Objective):\n"
        "    batch_multiple = 3\n"
        "class Own(Triples):\n"
        "    own_batches = True\n"
        "class Heir(LearningLoss):\n"
        "    pass\n"
    )
    told = amounts.find_obstacle(paired(40, 9, objective=f"{file}:Triples"))
    assert "the last one has 4" in told and "takes multiples of 3 -> initial.size = 42" in told
    assert not amounts.find_obstacle(
        paired(42, 9, objective=f"{file}:Triples").model_copy(
            update={
                "protocol": paired(42, 9).protocol.model_copy(
                    update={
                        "acquisition": paired(42, 9).protocol.acquisition.model_copy(
                            update={"budget": 9}
                        )
                    }
                )
            }
        )
    )
    assert "batch_size" in amounts.find_obstacle(paired(40, 8, objective=f"{file}:Triples"))
    assert not amounts.find_obstacle(paired(40, 8, objective=f"{file}:Own"))
    assert "takes pairs" in amounts.find_obstacle(paired(41, 8, objective=f"{file}:Heir"))


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize(
    "attribute", ["batch_multiple", "own_batches", "map_windows", "step_cost", "tied_to_size"]
)
def test_what_is_read_from_the_file_is_what_the_class_has(name: str, attribute: str) -> None:
    assert declared_value("objectives", name, attribute) == getattr(
        find_class("objectives", name), attribute
    )


WITHOUT_SIDES = {"linear_probe"}
"""Networks of features, which have no height and width."""


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - WITHOUT_SIDES))
def test_the_tables_are_those_of_the_networks(name: str) -> None:
    """Sides of stage outputs, and where a batch of one image cannot be normalised, by running the
    networks themselves."""
    known = amounts.NETWORKS[name]
    made = build_network(Model(name=name, params=SMALL.get(name, {})), 3, 3).train()
    fitting = 0
    for side in (8, 16, 17, 28, 32, 33, 48, 64):
        try:
            maps = made(torch.zeros(2, 3, side, side)).maps
        except (RuntimeError, ValueError, UsageError):
            continue  # the network does not take this size at all
        fitting += 1
        assert [known.divide(side, stride) for stride in known.maps] == [
            found.shape[2] for found in maps
        ], side
        needs_two = known.normalised is not None and known.divide(side, known.normalised) == 1
        try:
            made(torch.zeros(1, 3, side, side))
        except ValueError as error:
            assert needs_two, (side, error)
        else:
            assert not needs_two, side
    assert fitting >= 3


def test_a_batch_of_one_image_is_refused_where_it_cannot_be_normalised() -> None:
    trial = paired(41, 8, objective="supervised")

    def at(name: str, size: int) -> str:
        models = (Model(name=name, size=size),)
        return amounts.find_obstacle(
            trial.model_copy(
                update={"protocol": trial.protocol.model_copy(update={"models": models})}
            )
        )

    assert (
        "resnet_imagenet at 32 pixels normalises single pixels over a batch -> another budget"
        in at("resnet_imagenet", 32)
    )
    assert not at("resnet_imagenet", 64)
    assert not at("resnet_cifar", 32)


@pytest.mark.parametrize("side", [8, 28, 32, 48, 63, 64, 224])
def test_windows_are_refused_exactly_where_the_module_would_refuse_them(side: int) -> None:
    for window in (0, 1, 2, 4, 8, 16, 32, 64):
        trial = paired(40, 8)
        windows = [window, 0, 0, 0]
        objective = Component(name="learning_loss", params={"windows": windows})
        protocol = trial.protocol.model_copy(
            update={"models": (Model(name="resnet_cifar", size=side),)}
        )
        told = amounts.find_obstacle(
            trial.model_copy(update={"protocol": protocol, "objective": objective})
        )
        module = LossPrediction(channels=(1, 1, 1, 1), windows=windows)
        maps = [
            torch.zeros(2, 1, -(-side // stride), -(-side // stride)) for stride in (1, 2, 4, 8)
        ]
        try:
            module(maps)
        except UsageError:
            assert (
                f"windows[0] is {window}, and the map of resnet_cifar on {side} pixels is "
                f"{side}x{side} -> {side}" in told
            )
        else:
            assert not told


def test_no_shipped_trial_is_refused() -> None:
    count = 0
    for path in suite_files(SUITES):
        suite = load_suite(path, SUITES)
        for profile in ("paper", *suite.suite.profiles):
            try:
                trials = suite.trials(profile, seeds=[0])
            except SuiteError:  # told by tests of suites
                continue
            for trial in trials:
                count += 1
                assert not amounts.find_obstacle(trial), (suite.id, profile, trial.method_name)
    assert count > 300
