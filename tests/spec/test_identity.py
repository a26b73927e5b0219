"""Identities are frozen: a change here orphans every result ever stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.spec.data import Data, Split, Validation
from benchmark.spec.identity import canonical_json, digest, trial_id
from benchmark.spec.load import find_suite
from benchmark.spec.protocol import Acquisition, Evaluation, Initial, Protocol
from benchmark.spec.suite import Component, Trial
from benchmark.spec.training import Model, MultiStep, Sgd, Training
from benchmark.spec.transforms import Normalise, RandomCrop, Views

PROTOCOL = Protocol(
    seed=7,
    data=Data(
        name="digits", train_size=1_297, test_size=500, classes=10, split=Split(rule="official")
    ),
    views=Views(
        train=(
            RandomCrop(op="random_crop", size=8, padding=1),
            Normalise(op="normalise", mean=(0.5,), std=(0.25,)),
        ),
        test=(Normalise(op="normalise", mean=(0.5,), std=(0.25,)),),
        pool="test",
    ),
    models=(Model(name="small_cnn"),),
    acquisition=Acquisition(initial=Initial(rule="uniform", size=40), budget=40, cycles=5),
    training=Training(
        epochs=20,
        batch_size=32,
        shuffle=True,
        drop_last=False,
        start="warm",
        optimizer=Sgd(name="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=False),
        schedule=MultiStep(kind="multistep", milestones=(16,), gamma=0.1),
    ),
    evaluation=Evaluation(epoch="last", batch_size=250),
)


def trial(**changes: object) -> Trial:
    values = {
        "suite": "a/b",
        "method_name": "m",
        "profile": "paper",
        "variant": "as_published",
        "seed": 3,
        "protocol": PROTOCOL,
        "strategy": Component(name="random"),
        "objective": Component(name="supervised"),
        "data_digest": "d" * 64,
    }
    return Trial.model_validate(values | changes)


def test_golden_trial_id() -> None:
    assert trial_id(trial()) == "bb1a0f3464fe47caeee552375db807e197de7aeb70cd287862a408abe240f858"


def test_what_is_not_asked_is_not_in_the_identity() -> None:
    assert trial_id(trial(suite="x/y", method_name="other", variant="named")) == trial_id(trial())


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 4},
        {"profile": "smoke"},
        {"data_digest": None},
        {"strategy": Component(name="random", params={"replacement": True})},
        {"objective": Component(name="cod", params={"weight": 0.1})},
        {"protocol": PROTOCOL.model_copy(update={"seed": 8})},
    ],
)
def test_everything_that_can_move_a_number_is_in_the_identity(changes: dict[str, object]) -> None:
    assert trial_id(trial(**changes)) != trial_id(trial())


def test_a_plugin_is_its_code_not_its_place() -> None:
    here = trial(strategy=Component(name="/a/my.py:Mine", code="c" * 64))
    assert trial_id(here) == trial_id(
        trial(strategy=Component(name="/b/other.py:Mine", code="c" * 64))
    )
    assert trial_id(here) != trial_id(
        trial(strategy=Component(name="/a/my.py:Mine", code="e" * 64))
    )


def test_a_field_at_its_default_is_not_hashed() -> None:
    explicit = PROTOCOL.model_copy(
        update={"training": PROTOCOL.training.model_copy(update={"label_smoothing": 0.0})}
    )
    assert digest(explicit) == digest(PROTOCOL)


def test_canonical_json_is_one_text_per_value() -> None:
    assert canonical_json({"b": 1, "a": [True, None, 0.1]}) == '{"a":[true,null,0.1],"b":1}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


def test_validation_images_are_part_of_the_question() -> None:
    """And a protocol without them is what it was: see the golden ids."""
    assert "validation" not in canonical_json(PROTOCOL.model_dump(exclude_defaults=True))
    drawn = {"size": 100, "rule": "uniform", "seed": 0}
    ids = {
        trial_id(trial(protocol=with_data(validation=Validation.model_validate(drawn | change))))
        for change in ({}, {"size": 200}, {"rule": "balanced"}, {"seed": 1})
    }
    assert len(ids | {trial_id(trial())}) == 5


def with_data(**changes: object) -> Protocol:
    return PROTOCOL.model_copy(update={"data": PROTOCOL.data.model_copy(update=changes)})


GOLDEN_SUITES = Path(__file__).with_name("golden_ids.txt")


@pytest.mark.parametrize("row", GOLDEN_SUITES.read_text().split("\n")[:-1])
def test_golden_ids_of_pinned_suites(row: str) -> None:
    suite, method, profile, seed, expected = row.split()
    file = find_suite(suite, Path(__file__).parents[2] / "suites")
    (found,) = file.trials(profile=profile, methods=[method], seeds=[int(seed)])
    assert trial_id(found) == expected
