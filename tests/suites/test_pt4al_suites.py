"""The PT4AL suite says what the release at 9a0da4a does, and its smoke profile runs on real
CIFAR-10 (ALBENCH_TEST_DATA)."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from statistics import fmean

import pytest

from benchmark.al import datasets, registry
from benchmark.al.networks import build_network
from benchmark.al.training.schedules import learning_rate_at
from benchmark.planning.workload import estimate_workload, sum_workloads
from benchmark.runs import events
from benchmark.spec.load import SuiteFile, find_suite
from benchmark.worker import main
from tests.helpers.network_cost import macs

ROOT = Path(__file__).parents[2] / "suites"


@pytest.fixture(scope="module")
def suite() -> SuiteFile:
    return find_suite("pt4al/cifar10", ROOT)


def test_the_protocol_is_the_released_one(suite: SuiteFile) -> None:
    protocol = suite.suite.protocol
    assert protocol.acquisition.labelled() == tuple(range(1_000, 10_001, 1_000))
    training = protocol.training
    assert (training.epochs, training.batch_size, training.start) == (200, 128, "warm_best")
    rates = [
        learning_rate_at(training.schedule, training.optimizer.lr, epoch, 0, 200, 1)
        for epoch in range(200)
    ]
    assert rates == pytest.approx([0.1] * 160 + [0.01] * 40)
    assert protocol.pretext is not None
    stage = protocol.pretext.training
    assert (stage.epochs, stage.batch_size, protocol.pretext.clusters) == (15, 256, None)
    assert {
        learning_rate_at(stage.schedule, stage.optimizer.lr, epoch, 0, 15, 1) for epoch in range(15)
    } == {0.1}
    views = (
        protocol.views.train,
        protocol.views.test,
        protocol.pretext.view,
        protocol.pretext.test_view,
    )
    assert all(
        sum(step.op == "swap_red_blue" for step in view) == 1 for view in views
    )  # BGR, consistently
    assert [step.op for step in protocol.pretext.view] == [
        "swap_red_blue",
        "normalise",
    ]  # no augmentation


def test_order_and_its_switch(suite: SuiteFile) -> None:
    assert suite.suite.methods["pt4al"].strategy.params == {"order": "text", "stride": 5}
    assert suite.resolve(variant="corrected").methods["pt4al"].strategy.params["order"] == "number"
    for profile in ("paper", "smoke"):
        for variant in ("as_published", "corrected", *suite.suite.variants):
            for trial in suite.trials(profile, variant, seeds=[0]):
                registry.build_component("strategies", trial.strategy)


def test_cost_is_the_released_one(suite: SuiteFile) -> None:
    protocol, price = suite.suite.protocol, suite.suite.cost
    assert macs(build_network(protocol.models[0], 10, 3), 32) == price.forward_macs
    counted = sum_workloads(estimate_workload(protocol, suite.suite.methods["pt4al"].cost, price))
    assert (counted.pretext, counted.pretext_checks) == (3_000_000, 3_200_000)
    assert (counted.labelled, counted.test, counted.acquisition) == (11_000_000, 20_000_000, 45_000)
    assert round(counted.macs / 1e15) == 36


def test_one_published_number_and_reproductions_beside_it(suite: SuiteFile) -> None:
    roles = Counter(row.role for row in suite.reported)
    assert roles == {"target_weak": 1, "reference": 23}
    (published,) = [row for row in suite.reported if row.role == "target_weak"]
    assert (published.labelled, published.mean, published.dispersion) == (10_000, 93.1, None)
    final = {
        row.source: row.value
        for row in suite.reported
        if row.labelled == 10_000 and row.n not in (None, 1)
    }
    for part, values in (
        ("issue 11, 2023-01", (89.45, 89.71, 90.05)),
        ("issue 11, maintainer", (92.83, 91.99, 92.07)),
        ("output files", (89.91, 90.05, 90.22)),
        ("main_best.txt", (90.11,)),
    ):
        (found,) = [value for source, value in final.items() if source.endswith(part)]
        assert found == pytest.approx(fmean(values), abs=0.001)


@pytest.mark.skipif(
    "ALBENCH_TEST_DATA" not in os.environ, reason="ALBENCH_TEST_DATA names no data root"
)
@pytest.mark.slow
def test_smoke_on_real_cifar10(suite: SuiteFile, tmp_path: Path) -> None:
    root = Path(os.environ["ALBENCH_TEST_DATA"])
    digest = datasets.describe(
        suite.resolve("smoke").protocol.data, root, tmp_path / "cache"
    ).digest
    (trial,) = suite.trials("smoke", methods=["pt4al"], data_digest=digest)
    (tmp_path / "trial.json").write_text(json.dumps(trial.model_dump(mode="json")))
    options = [
        "--data",
        str(root),
        "--cache",
        str(tmp_path / "cache"),
        "--device",
        "cpu",
        "--allow-noncanonical-data",
    ]
    assert main([str(tmp_path / "trial.json"), str(tmp_path), *options]) == 0, (
        tmp_path / "events.jsonl"
    ).read_text()
    record = events.read_record(tmp_path / "record.json")
    assert [cycle.labelled for cycle in record.cycles] == [200, 300, 400]
    assert all(
        cycle.metrics["accuracy/best"] >= cycle.metrics["accuracy"] for cycle in record.cycles
    )
    assert record.cycles[-1].metrics["accuracy/best"] > 20, (
        "twice the chance level: less is a broken method"
    )
