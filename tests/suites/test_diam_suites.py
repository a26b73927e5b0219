"""The DIAM suites say what the release at cddf397 does, their tables are the official files, and
their smoke profiles run: on real MNIST where it is to be had (ALBENCH_TEST_DATA), else on small
files in the official layout."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections import defaultdict
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
import pytest

from benchmark.al import datasets, registry
from benchmark.planning.workload import estimate_workload, sum_workloads
from benchmark.runs import events
from benchmark.spec.load import SuiteFile, find_suite, suite_files
from benchmark.spec.training import Sgd
from benchmark.worker import main

ROOT = Path(__file__).parents[2] / "suites"
OFFICIAL = Path(__file__).parents[3] / "shared" / "protocols" / "diam_reported.csv"
COUNTS = (2, 4, 6, 8, 12)
IDS = {
    (data, count): f"diam/{data}" + ("" if count == 12 else f"-{count}")
    for data in ("mnist", "kmnist")
    for count in COUNTS
}
SIDES = (224, 192, 176, 160, 204, 176, 152, 140, 192, 192, 160, 144)
OWN = (235.80, 161.20, 108.34, 74.54, 218.63, 162.44, 99.25, 65.93, 218.01, 143.43, 94.67, 65.18)
AT_224 = (
    235.80,
    218.60,
    168.04,
    144.46,
    248.25,
    250.69,
    199.15,
    151.83,
    295.58,
    194.47,
    183.50,
    150.25,
)
"""Millions of multiply-accumulates of each network, at its own side and at 224 pixels."""
PUBLISHED = {
    "diam": "DIAM",
    "cal": "CAL",
    "entropy": "entropy",
    "margin": "margin",
    "least_conf": "least_conf",
    "coreset": "coreset",
    "random": "random",
}
REAL = pytest.mark.skipif(
    "ALBENCH_TEST_DATA" not in os.environ, reason="ALBENCH_TEST_DATA names no data root"
)


@pytest.fixture(scope="module", params=IDS, ids=lambda key: f"{key[0]}-{key[1]}")
def place(request: pytest.FixtureRequest) -> tuple[str, int]:
    return request.param


@pytest.fixture(scope="module")
def suite(place: tuple[str, int]) -> SuiteFile:
    return find_suite(IDS[place], ROOT)


def test_every_number_of_target_models_is_a_suite() -> None:
    found = {path.stem for path in suite_files(ROOT) if path.parent.name == "diam"}
    assert found == {name.partition("/")[2] for name in IDS.values()}


def test_the_protocol_is_the_released_one(suite: SuiteFile, place: tuple[str, int]) -> None:
    protocol, (data, count) = suite.suite.protocol, place
    assert (protocol.data.name, protocol.data.train_size, protocol.data.test_size) == (
        data,
        60_000,
        10_000,
    )
    assert [(model.params["net"], model.size) for model in protocol.models] == list(
        enumerate(SIDES[:count])
    )
    assert all((model.name, model.weights) == ("ofa", "scratch") for model in protocol.models)
    assert protocol.acquisition.labelled() == tuple(range(3_000, 18_001, 1_500))
    initial = protocol.acquisition.initial
    assert (initial.rule, initial.seed, protocol.acquisition.candidates) == (
        "torch_randperm",
        2_147_483_647,
        None,
    )
    training = protocol.training
    assert (training.epochs, training.batch_size, training.shuffle, training.drop_last) == (
        20,
        120,
        False,
        False,
    )
    assert (training.start, training.same_init, training.label_smoothing) == ("fresh", True, 0.1)
    assert training.optimizer == Sgd(
        name="sgd", lr=7.5e-3, momentum=0.9, weight_decay=3e-5, nesterov=True, exempt=("bn", "bias")
    )
    assert (protocol.evaluation.epoch, protocol.evaluation.size, protocol.views.pool) == (
        "last",
        224,
        "train",
    )


def test_methods_build_in_every_variant_and_corrected_flips_every_switch(suite: SuiteFile) -> None:
    assert set(suite.suite.methods) == {*PUBLISHED, "coreset+target0", "diam_qp"}
    for profile in ("paper", "smoke"):
        for variant in ("as_published", "corrected", *suite.suite.variants):
            for trial in suite.trials(profile, variant, seeds=[0]):
                registry.build_component("strategies", trial.strategy)
    fixed = suite.resolve(variant="corrected")
    assert {
        fixed.methods[name].strategy.params["scaling"]
        for name in ("margin", "entropy", "least_conf")
    } == {"per_model"}
    assert fixed.protocol.views.pool == "test" and fixed.protocol.training.shuffle
    assert fixed.protocol.evaluation.size is None
    assert {model.weights for model in suite.resolve(variant="pretrained").protocol.models} == {
        "pretrained"
    }


# -------------------------------------------------------------------------------------------- costs

# 1e15 multiply-accumulates of one trial by number of models: training, final test, scoring by
# margin, entropy or least confidence, and the second training with the pool passes of its
# snapshots.
RELEASED = {
    2: (2.75, 0.05, 0.23, 4.32),
    4: (4.02, 0.08, 0.39, 6.31),
    6: (6.66, 0.14, 0.64, 10.45),
    8: (7.80, 0.18, 0.81, 12.25),
    12: (11.42, 0.27, 1.23, 17.92),
}


def test_prices_are_those_of_the_networks(suite: SuiteFile, place: tuple[str, int]) -> None:
    price, count = suite.suite.cost, place[1]
    assert price.forward_macs is not None and price.scored_macs is not None
    assert price.forward_macs / 1e6 == pytest.approx(fmean(OWN[:count]), abs=0.006)
    assert price.scored_macs / 1e6 == pytest.approx(fmean(AT_224[:count]), abs=0.006)


def test_plans_cost_what_the_released_networks_do(suite: SuiteFile, place: tuple[str, int]) -> None:
    training, test, scoring, snapshots = RELEASED[place[1]]
    # Votes are taken in the one training. The second one would have covered all rounds but the
    # last.
    votes = snapshots - training * 97_500 / 115_500
    # Embeddings of labelled and pool images: 60,000 in each of ten rounds by a network of 564.9
    # million.
    extra = {
        "random": 0.0,
        "margin": scoring,
        "entropy": scoring,
        "least_conf": scoring,
        "cal": votes,
        "diam": votes,
        "diam_qp": votes,
        "coreset": 0.34,
    }
    counted = {
        name: sum_workloads(
            estimate_workload(
                suite.suite.protocol, suite.suite.methods[name].cost, suite.suite.cost
            )
        )
        for name in extra
    }
    assert (
        counted["random"].labelled == 2_310_000 * place[1]
        and counted["random"].test == 110_000 * place[1]
    )
    assert counted["margin"].acquisition == 502_500 * place[1]
    for name, more in extra.items():
        assert counted[name].macs / 1e15 == pytest.approx(training + test + more, abs=0.021), name


@pytest.mark.parametrize("variant", ["own_size", "corrected"])
def test_at_their_own_size_networks_are_tested_and_scored_for_less(
    variant: str, suite: SuiteFile, place: tuple[str, int]
) -> None:
    """Prices of the released networks at 224 pixels, at their own sides in its place."""
    chosen, (training, test, scoring, _), count = (
        suite.resolve(variant=variant),
        RELEASED[place[1]],
        place[1],
    )
    counted = sum_workloads(
        estimate_workload(chosen.protocol, chosen.methods["margin"].cost, chosen.cost)
    )
    smaller = (test + scoring) * fmean(OWN[:count]) / fmean(AT_224[:count])
    assert counted.macs / 1e15 == pytest.approx(training + smaller, abs=0.021)
    assert smaller < test + scoring - 0.03


# --------------------------------------------------------------------------------- reported numbers

FIRST = {
    "mnist": (94.55, 95.67, 89.52, 84.56, 95.62, 94.53, 90.07, 84.91, 96.48, 92.75, 91.95, 88.17),
    "kmnist": (70.52, 69.61, 61.93, 48.53, 73.57, 68.42, 59.63, 53.18, 75.62, 67.76, 60.25, 50.99),
}
# Rule of the official table script: mean over rounds of the mean over models, and of the spread
# over models.
TABLE = {
    ("mnist", "diam"): ((98.16, 0.13), (97.29, 0.99), (97.55, 0.85), (97.34, 1.09), (97.34, 1.04)),
    ("mnist", "coreset"): (
        (97.64, 0.13),
        (96.69, 1.07),
        (97.03, 0.97),
        (96.36, 1.82),
        (96.56, 1.40),
    ),
    ("mnist", "random"): (
        (97.81, 0.12),
        (96.93, 0.97),
        (97.21, 0.94),
        (96.83, 1.12),
        (97.03, 0.99),
    ),
    ("kmnist", "diam"): ((90.38, 0.21), (85.76, 4.69), (86.91, 4.38), (86.23, 4.68), (86.85, 4.25)),
    ("kmnist", "cal"): ((87.06, 0.34), (83.61, 4.29), (84.70, 3.88), (83.40, 4.32), (83.31, 4.53)),
    ("kmnist", "random"): (
        (87.34, 0.31),
        (82.97, 4.38),
        (84.22, 3.98),
        (83.02, 4.19),
        (83.26, 4.36),
    ),
}


def test_tables_have_every_number_with_its_role(suite: SuiteFile, place: tuple[str, int]) -> None:
    rows = defaultdict(list)
    for row in suite.reported:
        assert (
            row.n == 1 and row.dispersion is None
        )  # the spread over models is no spread over seeds
        rows[row.method, row.metric].append(row)
    per_model = [f"accuracy/model{number}" for number in range(place[1])]
    assert set(rows) == {
        (method, metric) for method in PUBLISHED for metric in ("accuracy", *per_model)
    }
    for (_, metric), found in rows.items():
        assert sorted(row.labelled or 0 for row in found) == list(range(3_000, 18_001, 1_500))
        assert {row.role for row in found} == {"target" if metric == "accuracy" else "context"}


def test_all_4928_and_770_numbers_are_there() -> None:
    rows = [row for name in IDS.values() for row in find_suite(name, ROOT).reported]
    assert sum(row.metric != "accuracy" for row in rows) == 4_928
    assert sum(row.metric == "accuracy" for row in rows) == 770


def test_the_first_round_is_one_and_the_same(suite: SuiteFile, place: tuple[str, int]) -> None:
    data, count = place
    for row in suite.reported:
        if row.labelled == 3_000 and row.metric != "accuracy":
            number = int(row.metric.removeprefix("accuracy/model"))
            assert row.value == pytest.approx(FIRST[data][number], abs=0.0101), row
            assert number < count


@pytest.mark.parametrize(("data", "method"), TABLE)
def test_the_official_table_follows(data: str, method: str) -> None:
    for count, (mean, spread) in zip(COUNTS, TABLE[data, method], strict=True):
        own: dict[int, list[float]] = defaultdict(list)
        for row in find_suite(IDS[data, count], ROOT).reported:
            if row.method == method and row.metric != "accuracy":
                own[row.labelled or 0].append(row.value)
        assert fmean(map(fmean, own.values())) == pytest.approx(mean, abs=0.0051)
        assert fmean(map(pstdev, own.values())) == pytest.approx(spread, abs=0.0051)


def test_tables_are_the_official_files(suite: SuiteFile, place: tuple[str, int]) -> None:
    if not OFFICIAL.exists():
        pytest.skip("the extracted results of the official repository are not beside the checkout")
    data, count = place
    with OFFICIAL.open() as file:
        official = {
            (row["method"], int(row["labelled"]), row["net_id"]): float(row["accuracy"])
            for row in csv.DictReader(file)
            if (row["dataset"], row["model_num"]) == (data, str(count))
        }
    ours = {
        (
            PUBLISHED[row.method],
            row.labelled,
            row.metric.removeprefix("accuracy/model").replace("accuracy", "mean"),
        ): row.value
        for row in suite.reported
    }
    assert ours == pytest.approx(official, abs=1e-6) and len(ours) == 77 * (count + 1)


# ----------------------------------------------------------------------------------- smoke profiles

SHORT = {
    "protocol.training.epochs": 10,
    "protocol.training.batch_size": 8,
    "protocol.training.optimizer.lr": 0.1,
    "protocol.training.vote_fraction": 0.9,
    "protocol.acquisition.candidates": 60,
    "protocol.acquisition.initial.size": 24,
    "protocol.acquisition.budget": 12,
    "protocol.data.limit": {"train": 600, "test": 100},
    "protocol.data.train_size": 600,
    "protocol.data.test_size": 100,
}
"""The smoke profile, shorter still: these two tests take longer than all others of this file."""


@REAL
@pytest.mark.slow
def test_smoke_on_real_mnist(tmp_path: Path) -> None:
    run_smoke("diam/mnist", Path(os.environ["ALBENCH_TEST_DATA"]), tmp_path, "diam")


def test_smoke_on_kmnist_in_the_official_layout(tmp_path: Path) -> None:
    """Idx files as published, gzipped: a header of big-endian numbers, then the bytes. Classes
    differ in brightness: networks that learn nothing never disagree."""
    rng, folder = np.random.default_rng(0), tmp_path / "KMNIST/raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 620), ("t10k", 110)):
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        pixels = rng.integers(0, 20, (count, 28, 28), dtype=np.uint8) + 25 * labels[:, None, None]
        for kind, magic, content in (("images-idx3", 2051, pixels), ("labels-idx1", 2049, labels)):
            head = np.array([magic, *content.shape], dtype=">u4").tobytes()
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(
                gzip.compress(head + content.tobytes())
            )
    record = run_smoke("diam/kmnist-2", tmp_path, tmp_path, "cal")
    assert not record.data.canonical


def run_smoke(name: str, root: Path, place: Path, method: str) -> events.Record:
    """Two cycles: two models, their mean and their spread in each; votes of snapshots that disagree
    somewhere."""
    file = find_suite(name, ROOT)
    (trial,) = file.trials("smoke", methods=[method], seeds=[0], sets=SHORT)
    digest = datasets.describe(trial.protocol.data, root, place / "cache").digest
    trial = trial.model_copy(update={"data_digest": digest})
    (place / "trial.json").write_text(json.dumps(trial.model_dump(mode="json")))
    options = [
        "--data",
        str(root),
        "--cache",
        str(place / "cache"),
        "--device",
        "cpu",
        "--allow-noncanonical-data",
    ]
    assert main([str(place / "trial.json"), str(place), *options]) == 0, (
        place / "events.jsonl"
    ).read_text()
    record = events.read_record(place / "record.json")
    assert [cycle.labelled for cycle in record.cycles] == [24, 36]
    for cycle in record.cycles:
        own = [cycle.metrics[f"accuracy/model{number}"] for number in (0, 1)]
        assert cycle.metrics["accuracy"] == pytest.approx(fmean(own))
        assert cycle.metrics["spread/models"] == pytest.approx(pstdev(own))
    assert 0 < record.cycles[0].diagnostics["disagreement/share"] <= 1
    return record
