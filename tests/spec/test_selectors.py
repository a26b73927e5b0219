"""Selectors, seeds, overrides and plug-ins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import UsageError
from benchmark.spec.selectors import (
    Selection,
    Selector,
    format_seeds,
    parse_seeds,
    parse_selector,
    parse_set,
)
from tests.helpers.runs import SUITE, write_suite


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tod/cifar10", Selector("tod/cifar10")),
        ("tod/*", Selector("tod/*")),
        ("*", Selector("*")),
        ("tod/cifar10/tod+cod@0,1", Selector("tod/cifar10", "tod+cod", (0, 1))),
        ("tod/cifar10@3", Selector("tod/cifar10", None, (3,))),
        ("*/*/*cod@0-2,7", Selector("*/*", "*cod", (0, 1, 2, 7))),
    ],
)
def test_selectors(text: str, expected: Selector) -> None:
    assert parse_selector(text) == expected
    assert parse_selector(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "/", "a//b", "a/b/c/d", "a/b@", "a/b@x", "a/b@1,", "a/b@-1", "a/b@3-1", "a/b@0-99999999"],
)
def test_wrong_selectors(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_selector(text)
    assert caught.value.remedy


@given(st.lists(st.integers(0, 10_000), min_size=1, unique=True))
def test_seeds_survive_the_trip(seeds: list[int]) -> None:
    assert parse_seeds(",".join(map(str, seeds))) == tuple(seeds)
    assert parse_seeds(format_seeds(seeds)) == tuple(sorted(seeds))


def test_seeds_in_a_row_are_a_range() -> None:
    assert format_seeds([4, 0, 1, 7, 5, 6, 9]) == "0,1,4-7,9"
    assert str(parse_selector("a/b@0,1,2")) == "a/b@0-2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("protocol.training.epochs=5", ("protocol.training.epochs", 5)),
        ("a.b = 1e-3", ("a.b", 1e-3)),
        ('a="x=y"', ("a", "x=y")),
        ("a=[1, 2]", ("a", [1, 2])),
        ("a={ x = true }", ("a", {"x": True})),
    ],
)
def test_sets(text: str, expected: tuple[str, Any]) -> None:
    assert parse_set(text) == expected


@pytest.mark.parametrize("text", ["a", "=1", "a=", "a=text", "a=1\nb=2", "a=1 2"])
def test_wrong_sets(text: str) -> None:
    with pytest.raises(UsageError, match="path=value"):
        parse_set(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_suite(tmp_path)
    return write_suite(tmp_path, "toy/two", SUITE.replace("seeds = [0, 1]", "seeds = [5]"))


def names(root: Path, *selectors: str, **options: Any) -> list[str]:
    chosen = Selection([parse_selector(text) for text in selectors], **options)
    trials = [asked.trial for asked in chosen.trials(root)]
    return [f"{trial.suite}/{trial.method_name}@{trial.seed}" for trial in trials]


def test_trials(root: Path) -> None:
    assert names(root, "toy/one") == [
        f"toy/one/{method}@{seed}"
        for method in ("random", "entropy", "random+cod")
        for seed in (0, 1)
    ]
    assert names(root, "toy/*/entropy") == [
        "toy/one/entropy@0",
        "toy/one/entropy@1",
        "toy/two/entropy@5",
    ]
    assert names(root, "toy/one/random*@9") == ["toy/one/random@9", "toy/one/random+cod@9"]
    assert names(root, "*/two", methods=("random",), seeds=(1, 2)) == [
        "toy/two/random@1",
        "toy/two/random@2",
    ]
    assert names(root, "toy/one", profile="smoke") == ["toy/one/random@7"]
    assert names(root, "toy/one/entropy", profile="smoke") == ["toy/one/entropy@7"]


def test_overlapping_selectors_give_each_trial_once(root: Path) -> None:
    assert names(root, "toy/one/random@0", "toy/one/random", "toy/*/random@1") == [
        "toy/one/random@0",
        "toy/one/random@1",
        "toy/two/random@1",
    ]


def test_prices_come_along(root: Path) -> None:
    asked = Selection([parse_selector("toy/one")]).trials(root)
    assert [item.cost.scoring for item in asked[::2]] == [0, 1, 0]
    assert asked[4].cost.teacher
    assert asked[0].price.forward_macs == 1_000


def test_sets_and_variants_change_the_protocol(root: Path) -> None:
    def epochs(**options: Any) -> int:
        return (
            Selection([Selector("toy/one")], **options)
            .trials(root)[0]
            .trial.protocol.training.epochs
        )

    assert (
        epochs(),
        epochs(variant="corrected"),
        epochs(sets={"protocol.training.epochs": 3}),
    ) == (4, 5, 3)


@pytest.mark.parametrize(
    ("selector", "options", "message"),
    [
        ("toy/three", {}, "toy/one"),
        ("toy", {}, "toy/"),
        ("nothing/*", {}, "albench ls"),
        ("toy/one/entropie", {}, "entropy"),
        ("toy/one", {"methods": ("rnadom",)}, "random"),
        ("toy/one", {"profile": "smok"}, "smoke"),
        ("toy/one", {"variant": "wrong"}, "variant"),
        ("toy/one", {"objective": "cod"}, "--method"),
        ("toy/one", {"plugin": "gone.py:Mine"}, "gone.py"),
        ("toy/one", {"plugin": "entropy"}, "--methods"),
        ("toy/one", {"sets": {"protocol.nothing.at.all": 1}}, "names nothing"),
        ("toy/one", {"sets": {"protocol.training.epochs": -1}}, "epochs"),
        ("toy/one", {"sets": {"protocol.acquisition.budget": 1000}}, "labels"),
    ],
)
def test_what_does_not_exist(
    root: Path, selector: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        names(root, selector, **options)
    assert message in str(caught.value)


def test_plugin(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    file.write_text("class Mine: ...")
    plugin = f"{file}:Mine"
    assert names(root, "toy/one", plugin=plugin) == ["toy/one/Mine@0", "toy/one/Mine@1"]
    assert names(root, "toy/one@0", plugin=plugin, methods=("random",)) == [
        "toy/one/random@0",
        "toy/one/Mine@0",
    ]
    assert names(root, "toy/one@0", plugin=plugin, objective="cod") == ["toy/one/Mine+cod@0"]
    (paired,) = Selection([parse_selector("toy/one@0")], plugin=plugin, objective="cod").trials(
        root
    )
    assert paired.trial.objective.params == {"weight": 0.02}
    assert paired.cost.teacher
    assert paired.cost.scoring == 1
    first = paired.trial.strategy.code
    file.write_text("class Mine: x = 1")
    (changed,) = Selection([parse_selector("toy/one@0")], plugin=plugin).trials(root)
    assert changed.trial.strategy.code not in (None, first)


def test_an_objective_with_two_sets_of_parameters_is_ambiguous(tmp_path: Path) -> None:
    second = (
        '[methods."entropy+cod"]\ntitle = "x"\nstrategy = { name = "entropy" }\nobjective = { name '
        '= "cod" }\n[profiles.smoke]'
    )
    root = write_suite(tmp_path, text=SUITE.replace("[profiles.smoke]\n", second + "\n"))
    with pytest.raises(UsageError, match="different parameters"):
        names(root, "toy/one", plugin="package.module:Mine", objective="cod")


SUITES = Path(__file__).parents[2] / "suites"


@pytest.mark.parametrize(
    ("selector", "models", "expected"),
    [
        ("diam/mnist", 12, {"diam/mnist"}),
        ("diam/mnist", 2, {"diam/mnist-2"}),
        ("diam/kmnist-8/diam", 8, {"diam/kmnist-8"}),
        ("diam/*", 4, {"diam/mnist-4", "diam/kmnist-4"}),
        ("*/cifar10", 1, {"tod/cifar10", "st-conal/cifar10", "pt4al/cifar10", "frozen/cifar10"}),
    ],
)
def test_number_of_target_models(selector: str, models: int, expected: set[str]) -> None:
    selection = Selection([parse_selector(selector)], models=models)
    trials = [item.trial for item in selection.trials(SUITES)]
    assert {trial.suite for trial in trials} == expected
    assert {len(trial.protocol.models) for trial in trials} == {models}


def test_a_number_of_target_models_that_no_suite_has() -> None:
    with pytest.raises(UsageError, match="no suite 'diam/mnist' has 3 target models") as caught:
        Selection([parse_selector("diam/mnist")], models=3).suites(SUITES)
    assert caught.value.remedy == "--models 2, 4, 6, 8, 12"
