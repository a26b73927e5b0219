"""Suites refuse what cannot be meant: unknown keys, wrong types, impossible protocols, unsourced
values."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import SuiteError, UsageError
from benchmark.spec.base import flatten_leaves
from benchmark.spec.load import find_suite, load_suite, suite_files
from benchmark.spec.protocol import Acquisition, Initial

ROOT = Path(__file__).parents[2] / "suites"


@pytest.fixture
def edited(tmp_path: Path):
    """A function that loads tod/cifar10 after replacing text in it."""

    def load(old: str, new: str):
        folder = tmp_path / "tod"
        folder.mkdir(exist_ok=True)
        texts = {name: (ROOT / "tod" / name).read_text() for name in ("cifar10.toml", "_base.toml")}
        says = next((name for name, text in texts.items() if old in text), None)
        assert says, f"the suite no longer holds {old!r}"
        texts[says] = texts[says].replace(old, new, 1)
        for name, text in texts.items():
            (folder / name).write_text(text)
        return load_suite(folder / "cifar10.toml", tmp_path)

    return load


def line(path: Path, text: str) -> int:
    return next(
        number for number, found in enumerate(path.read_text().splitlines(), 1) if text in found
    )


@pytest.mark.parametrize(
    "path", list(suite_files(ROOT)), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_suite_is_valid_and_every_pinned_value_has_a_source(path: Path) -> None:
    file = load_suite(path, ROOT)
    pinned = flatten_leaves({"protocol": file.raw["protocol"], "methods": file.raw["methods"]})
    assert all(file.source(leaf) for leaf, _ in pinned if not leaf.endswith((".title", ".note")))
    assert all(
        file.resolve(profile, variant)
        for profile in ("paper", *file.suite.profiles)
        for variant in ("as_published", "corrected")
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("epochs = 200", "epochs = 200\nepoch = 3", "epoch"),
        ("epochs = 200", 'epochs = "200"', "integer"),
        ("epochs = 200", "epochs = 200.0", "integer"),
        ("epochs = 200", "epochs = 0", "greater than 0"),
        (
            "budget = 2_500",
            "budget = 9_000",
            "the budget needs 59000 labels, but the pool has 50000 images",
        ),
        ("candidates = 25_000", "candidates = 1_000", "fewer than one budget"),
        ("weight_decay = 5e-4", "weight_decay = inf", "JSON"),
        ('start = "warm"', 'start = "lukewarm"', "'fresh', 'warm'"),
        ('better = "tod+cod"', 'better = "tood"', "unknown method 'tood'"),
        (
            '{ op = "horizontal_flip", p = 0.5 }',
            '{ op = "vertical_flip", p = 0.5 }',
            "horizontal_flip",
        ),
    ],
)
def test_wrong_values_are_refused(edited, old: str, new: str, said: str) -> None:
    with pytest.raises(SuiteError, match=said):
        edited(old, new)


def test_the_message_names_file_and_line(edited, tmp_path: Path) -> None:
    with pytest.raises(SuiteError) as caught:
        edited("milestones = [160]", 'milestones = ["160"]')
    path = tmp_path / "tod/_base.toml"
    assert caught.value.where == f"{path}:{line(path, 'milestones')}"


def test_a_syntax_error_names_its_line(edited, tmp_path: Path) -> None:
    with pytest.raises(SuiteError) as caught:
        edited("cycles = 7", "cycles = = 7")
    path = tmp_path / "tod/_base.toml"
    assert caught.value.where == f"{path}:{line(path, 'cycles = = 7')}"


def test_an_unsourced_value_is_refused(edited) -> None:
    with pytest.raises(SuiteError, match=r"protocol\.training\.epochs has no source"):
        edited('"protocol.training.epochs" = "', '#"protocol.training.epochs" = "')


def test_a_source_of_nothing_is_refused(edited) -> None:
    with pytest.raises(SuiteError, match="not a value of this suite"):
        edited(
            '"protocol.training.epochs" = "',
            '"protocol.training.epochz" = "x"\n"protocol.training.epochs" = "',
        )


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="tod/cifar10"):
        find_suite("tod/cifar-10", ROOT)
    file = find_suite("tod/cifar10", ROOT)
    with pytest.raises(UsageError, match=r"tod\+cod"):
        file.trials(methods=["tod_cod"])
    with pytest.raises(UsageError, match="smoke"):
        file.resolve(profile="smok")


def test_overrides_are_checked_like_pinned_values() -> None:
    file = find_suite("tod/cifar10", ROOT)
    assert file.resolve(sets={"protocol.training.epochs": 3}).protocol.training.epochs == 3
    with pytest.raises(SuiteError, match="epochs"):
        file.resolve(sets={"protocol.training.epochs": "3"})
    with pytest.raises(UsageError, match="names nothing"):
        file.resolve(sets={"protocol.trainin.epochs": 3})


def test_corrected_flips_every_switch_and_as_published_is_the_pin() -> None:
    file = find_suite("tod/cifar10", ROOT)
    corrected = file.resolve(variant="corrected")
    assert corrected.methods["tod+cod"].objective.params["teacher_start"] == "student"
    assert file.suite.methods["tod+cod"].objective.params.get("teacher_start", "random") == "random"


def test_labelled_counts_of_tod() -> None:
    acquisition = find_suite("tod/cifar10", ROOT).suite.protocol.acquisition
    assert acquisition.labelled() == (5_000, 7_500, 10_000, 12_500, 15_000, 17_500, 20_000)


def test_a_budget_list_must_match_the_cycles() -> None:
    with pytest.raises(ValueError, match="budget lists 2 acquisitions, but 2 cycles have 1"):
        Acquisition(initial=Initial(rule="uniform", size=1), budget=(1, 2), cycles=2)
