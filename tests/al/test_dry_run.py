"""Made-up images have the shape that the real ones decode to."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark import worker
from benchmark.al.dry_run import (
    describe_dry_run,
    dry_run,
    shrink_protocol,
    side_of,
    synthetic_dataset,
)
from benchmark.al.registry import DATASETS
from benchmark.al.training.numerics import prepare
from benchmark.api.check import _split_evenly
from benchmark.spec.load import find_suite
from benchmark.spec.protocol import Protocol
from benchmark.spec.suite import Trial
from benchmark.worker import assemble

ROOT = Path(__file__).parents[2] / "suites"


SHAPES = {
    "cifar10": (32, 32, 3),
    "cifar100": (32, 32, 3),
    "svhn": (32, 32, 3),
    "tiny_imagenet": (64, 64, 3),
    "mnist": (28, 28, 1),
    "kmnist": (28, 28, 1),
    "digits": (8, 8, 1),
    "caltech101": (32, 32, 3),
    "caltech256": (32, 32, 3),
}
"""Height, width and channels of synthetic images; those of Caltech have sizes of their own."""


def few_images(protocol: Protocol, **data: str) -> Protocol:
    amounts = {"train_size": 6, "test_size": 3}
    return protocol.model_copy(update={"data": protocol.data.model_copy(update=amounts | data)})


def test_every_data_set_is_there() -> None:
    assert set(SHAPES) == set(DATASETS)


@pytest.mark.parametrize("name", SHAPES)
def test_synthetic_images_have_the_shape_of_the_data_set(name: str) -> None:
    made = synthetic_dataset(
        few_images(find_suite("quickstart/digits", ROOT).suite.protocol, name=name)
    )
    assert made.train.pixels.shape == (6, *SHAPES[name]) and len(made.test.pixels) == 3


@pytest.mark.parametrize(
    ("suite", "other", "method", "same"),
    [
        ("st-conal/cifar10", "st-conal/cifar10im", "stconal", True),  # amounts of a class
        ("diam/mnist", "diam/kmnist", "diam", True),  # images of one shape
        ("st-conal/cifar10", "st-conal/cifar100", "stconal", False),  # classes
        ("bal/caltech101-base", "bal/caltech101-large", "bal", False),  # a parameter
        ("tod/cifar10", "tod/caltech101", "tod", False),  # networks and pixels
    ],
)
def test_trials_whose_dry_runs_are_the_same(
    suite: str, other: str, method: str, same: bool
) -> None:
    first, second = (
        find_suite(name, ROOT).trials(methods=[method], seeds=[0])[0] for name in (suite, other)
    )
    assert (describe_dry_run(first) == describe_dry_run(second)) is same


def test_a_fault_is_reported_for_every_trial_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trials whose dry runs are the same are tried once; each has its line, and what was wrong."""
    tried: list[str] = []

    def fail(trial: Trial, _: object) -> None:
        tried.append(trial.suite)
        raise ValueError("no such thing")

    monkeypatch.setattr(worker, "dry_run", fail)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    names = ("st-conal/cifar10", "st-conal/cifar10im")
    trials = [find_suite(name, ROOT).trials(methods=["stconal"], seeds=[0])[0] for name in names]
    (tmp_path / "trials").write_text("".join(f"{trial.model_dump_json()}\n" for trial in trials))
    assert worker.check(tmp_path / "trials") == 2
    assert tried == ["st-conal/cifar10"]
    assert capsys.readouterr().out.splitlines() == [
        f"{name}/stconal\tno such thing" for name in names
    ]


def test_processes_share_trials_evenly_and_keep_what_is_alike_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    shares = _split_evenly([["b1"], ["a1", "a2", "a3"], ["c1", "c2"]])
    assert shares == [["a1", "a2", "a3"], ["c1", "c2", "b1"]]


def test_validation_images_are_rehearsed_too() -> None:
    drawn = {"size": 200, "rule": "balanced", "seed": 0}
    sets = {"protocol.data.train_size": 1_097, "protocol.data.validation": drawn}
    (trial,) = find_suite("quickstart/digits", ROOT).trials(
        methods=["random"], seeds=[0], sets=sets
    )
    made = synthetic_dataset(shrink_protocol(trial.protocol))
    assert made.validation is not None and len(made.validation) == len(made.test) == 8
    dry_run(
        trial, lambda small, data: assemble(small, data, prepare("cpu", "fp32", 1), Path("weights"))
    )


@pytest.mark.parametrize(
    ("name", "side"),
    [("tod/caltech101", 224), ("st-conal/caltech256", 256), ("bal/caltech101-base", 224)],
)
def test_images_of_many_sizes_are_as_large_as_they_are_decoded(name: str, side: int) -> None:
    made = synthetic_dataset(few_images(find_suite(name, ROOT).suite.protocol))
    assert made.test.pixels.shape == (3, side, side, 3)


@pytest.mark.parametrize("name", ["tod/caltech101", "st-conal/caltech256", "bal/caltech101-base"])
def test_a_dry_run_decodes_to_few_pixels(name: str) -> None:
    """Networks that take what is decoded would otherwise see 224 pixels, minutes a method."""
    (trial,) = find_suite(name, ROOT).trials(methods=["random"], seeds=[0])
    made = synthetic_dataset(shrink_protocol(trial.protocol, side_of(trial)))
    assert made.train.pixels.shape[1:3] == (64, 64)


def test_what_holds_for_one_size_only_is_rehearsed_at_that_size() -> None:
    """LL4AL's pooling windows are pinned for 224 pixels; everything else is rehearsed on small
    crops."""
    suite = find_suite("st-conal/caltech256", ROOT)
    trials = {name: suite.trials(methods=[name], seeds=[0])[0] for name in ("ll4al", "random")}
    crops = {
        name: shrink_protocol(trial.protocol, side_of(trial)).views.train[0]
        for name, trial in trials.items()
    }
    assert {name: getattr(crop, "size", None) for name, crop in crops.items()} == {
        "ll4al": 224,
        "random": 64,
    }
    dry_run(
        trials["ll4al"],
        lambda small, data: assemble(small, data, prepare("cpu", "fp32", 1), Path("weights")),
    )


def test_a_strategy_is_shown_images_of_a_side_that_it_takes() -> None:
    """VAAL's autoencoder takes 32 or 224 pixels: the dry run's crops of 64 would be a false
    alarm."""
    for name in ("st-conal/caltech256", "st-conal/tiny-imagenet"):
        (trial,) = find_suite(name, ROOT).trials(methods=["vaal"], seeds=[0])
        assert side_of(trial) == 32
    sets = {"methods.vaal.strategy.params.iterations": 1}
    (trial,) = find_suite("st-conal/caltech256", ROOT).trials(
        methods=["vaal"], seeds=[0], sets=sets
    )
    dry_run(
        trial, lambda small, data: assemble(small, data, prepare("cpu", "fp32", 1), Path("weights"))
    )
