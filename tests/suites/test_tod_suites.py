"""The TOD suites say what siyuhuang/TOD at 883494b says, and their smoke profiles run: on real
images where they are to be had (ALBENCH_TEST_DATA), else on small files in the official layout."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch

from benchmark.al import datasets, registry
from benchmark.al.networks import build_network
from benchmark.al.training.schedules import learning_rate_at
from benchmark.runs import events
from benchmark.spec.load import SuiteFile, find_suite
from benchmark.worker import main
from tests.helpers.network_cost import macs, parameters

ROOT = Path(__file__).parents[2] / "suites"
# Labelled sizes; candidates, pool, test, classes; epochs, batch, rate, last epoch of it; lambda;
# steps per epoch; parameters.
RELEASED: dict[str, dict[str, Any]] = {
    "cifar10": {
        "labelled": (5_000, 7_500, 10_000, 12_500, 15_000, 17_500, 20_000),
        "sizes": (25_000, 50_000, 10_000, 10),
        "recipe": (200, 128, 0.1, 160),
        "weight": 0.02,
        "steps": (40, 59, 79, 98, 118, 137, 157),
        "parameters": 11_179_092,
    },
    "cifar100": {
        "labelled": (5_000, 7_500, 10_000, 12_500, 15_000, 17_500, 20_000),
        "sizes": (25_000, 50_000, 10_000, 100),
        "recipe": (200, 128, 0.1, 160),
        "weight": 0.05,
        "steps": (40, 59, 79, 98, 118, 137, 157),
        "parameters": 11_271_432,
    },
    "svhn": {
        "labelled": (7_324, 10_986, 14_648, 18_310, 21_972, 25_634, 29_296),
        "sizes": (29_302, 73_257, 26_032, 10),
        "recipe": (200, 128, 0.1, 160),
        "weight": 0.005,
        "steps": (58, 86, 115, 144, 172, 201, 229),
        "parameters": 11_179_092,
    },
    "caltech101": {
        "labelled": (868, 1_302, 1_736, 2_170, 2_604, 3_038, 3_472),
        "sizes": (4_340, 7_766, 911, 101),
        "recipe": (50, 64, 0.01, 40),
        "weight": 0.1,
        "steps": (14, 21, 28, 34, 41, 48, 55),
        "parameters": 11_280_138,
    },
}
REAL = pytest.mark.skipif(
    "ALBENCH_TEST_DATA" not in os.environ, reason="ALBENCH_TEST_DATA names no data root"
)


@pytest.fixture(scope="module", params=RELEASED)
def suite(request: pytest.FixtureRequest) -> SuiteFile:
    return find_suite(f"tod/{request.param}", ROOT)


def published(suite: SuiteFile) -> dict[str, Any]:
    return RELEASED[suite.id.partition("/")[2]]


def test_sizes_and_recipe_are_the_released_ones(suite: SuiteFile) -> None:
    protocol, expected = suite.suite.protocol, published(suite)
    assert protocol.acquisition.labelled() == expected["labelled"]
    data = protocol.data
    assert (
        protocol.acquisition.candidates,
        data.train_size,
        data.test_size,
        data.classes,
    ) == expected["sizes"]
    epochs, batch, lr, drop = expected["recipe"]
    training = protocol.training
    assert (training.epochs, training.batch_size, training.start, training.drop_last) == (
        epochs,
        batch,
        "warm",
        False,
    )
    rates = [
        learning_rate_at(training.schedule, training.optimizer.lr, epoch, 0, epochs, 1)
        for epoch in range(epochs)
    ]
    assert rates[:drop] == [lr] * drop and rates[drop:] == pytest.approx(
        [lr / 10] * (epochs - drop)
    )
    assert tuple(-(-size // batch) for size in expected["labelled"]) == expected["steps"]
    assert all(
        size % batch % 2 == 0 for size in expected["labelled"]
    )  # the ranking loss pairs images
    assert {
        m.objective.params["weight"]
        for m in suite.suite.methods.values()
        if m.objective.name == "cod"
    } == {expected["weight"]}


def test_every_combination_of_both_official_scripts_is_there(suite: SuiteFile) -> None:
    pairs = {
        (m.strategy.name, m.objective.name, m.objective.params.get("joint"))
        for m in suite.suite.methods.values()
    }
    assert pairs >= {
        ("random", "supervised", None),
        ("tod", "supervised", None),
        ("random", "cod", None),
        ("tod", "cod", None),
        ("learning_loss", "learning_loss", False),
        ("random", "learning_loss", True),
        ("learning_loss", "learning_loss", True),
    }


def test_switches_begin_at_what_is_pinned_and_every_variant_can_be_built(suite: SuiteFile) -> None:
    def at(raw: Any, path: str) -> Any:
        for step in path.split("."):
            raw = raw[int(step)] if isinstance(raw, list) else raw[step]
        return raw

    flipped = suite.resolve(variant="corrected").model_dump(mode="json", exclude_unset=True)
    for switch in [switch for item in suite.suite.deviations.values() for switch in item.switches]:
        assert at(suite.raw, switch.path) == switch.as_published != switch.corrected, switch.path
        assert json.dumps(at(flipped, switch.path)) == json.dumps(switch.corrected)
    for profile in ("paper", "smoke"):
        for variant in ("corrected", *suite.suite.variants):
            for trial in suite.trials(profile, variant, seeds=[0]):
                registry.build_component("strategies", trial.strategy)
                registry.build_component("objectives", trial.objective)


def test_claims_are_those_of_the_paper(suite: SuiteFile) -> None:
    """Sections 5.4 and 5.2 (v) speak of some data sets only."""
    name = suite.id.partition("/")[2]
    found = set(suite.suite.claims)
    assert {"C1", "C2", "C10", "C12"} <= found
    assert ("C3" in found) == (name in ("cifar10", "svhn"))
    assert {"C4", "C5", "C5-ll4al", "C7", "C7-ll4al"} & found == (
        {"C4", "C5", "C5-ll4al", "C7", "C7-ll4al"} if name in ("cifar10", "cifar100") else set()
    )


def test_network_and_its_cost(suite: SuiteFile) -> None:
    protocol = suite.suite.protocol
    made = build_network(
        protocol.models[0].model_copy(update={"weights": "scratch"}), protocol.data.classes, 3
    )
    assert parameters(made) == published(suite)["parameters"]
    side = 224 if protocol.data.decode else 32
    assert macs(made, side) == suite.suite.cost.forward_macs


def test_smoke_on_svhn_in_the_official_layout(tmp_path: Path) -> None:
    """Every method once, with a narrow network so that it takes seconds; images and labels as in
    the .mat files."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 820), ("test", 220)):
        labels = rng.integers(1, 11, size=(count, 1)).astype(
            np.uint8
        )  # the file says 10 for the digit 0
        scipy.io.savemat(
            tmp_path / f"{part}_32x32.mat",
            {"X": rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8), "y": labels},
        )
    narrow = {
        "protocol.models.0.params": {"heads": 2, "widths": [8, 16, 32, 64], "blocks": [1, 1, 1, 1]}
    }
    channels = {
        f"methods.{name}.objective.params.channels": [8, 16, 32, 64]
        for name, method in find_suite("tod/svhn", ROOT).suite.methods.items()
        if method.objective.name == "learning_loss"
    }
    once = {"protocol.training.epochs": 1, "protocol.training.schedule.milestones": [1]}
    run_smoke("svhn", tmp_path, tmp_path, narrow | channels | once)


@REAL
@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar100", "caltech101"])
def test_smoke_on_real_images(name: str, tmp_path: Path) -> None:
    """Real images: TOD with the COD loss, the costliest method."""
    run_smoke(name, Path(os.environ["ALBENCH_TEST_DATA"]), tmp_path, {}, methods=["tod+cod"])


def run_smoke(
    name: str, root: Path, place: Path, sets: dict[str, Any], methods: list[str] | None = None
) -> None:
    file = find_suite(f"tod/{name}", ROOT)
    status = datasets.describe(file.resolve("smoke").protocol.data, root, place / "cache")
    assert status.present, status.note
    for trial in file.trials(
        "smoke", methods=methods, seeds=[0], data_digest=status.digest, sets=sets
    ):
        out = place / trial.method_name
        out.mkdir()
        (out / "trial.json").write_text(json.dumps(trial.model_dump(mode="json")))
        argv = [
            str(out / "trial.json"),
            str(out),
            "--data",
            str(root),
            "--cache",
            str(place / "cache"),
            "--device",
            "cpu",
        ]
        torch.set_num_threads(1)
        assert main([*argv, "--allow-noncanonical-data"]) == 0, (out / "events.jsonl").read_text()
        record = events.read_record(out / "record.json")
        assert [cycle.labelled for cycle in record.cycles] == list(
            trial.protocol.acquisition.labelled()
        )
        assert not record.data.canonical and record.data.note
        if trial.strategy.name == "tod":
            assert {"cod/mean", "score/mean", "loss/mean", "loss/by_score_group"} <= set(
                record.cycles[0].diagnostics
            )
