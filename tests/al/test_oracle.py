"""The greedy oracle: its choices beside another library's classifier, its gain, and its table
replayed by a trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from benchmark import worker
from benchmark.al.datasets.features import read_features, write_features
from benchmark.al.loop import run
from benchmark.al.oracle import buy_greedily
from benchmark.al.random.streams import Streams
from benchmark.al.training.numerics import Numerics
from benchmark.api.oracle import write_oracle
from benchmark.api.replay import read_selection
from benchmark.api.selection import select
from benchmark.api.workspace import Workspace
from benchmark.errors import UsageError
from benchmark.spec.load import find_suite
from benchmark.spec.suite import Trial
from tests.al.test_probe import L2, WIDTH, features_of, trial
from tests.helpers import trials as kit


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return kit.dataset(kit.trial(), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def made(data: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, Path]:
    """A trial of three cycles that buys three images in each, and its data root."""
    root = tmp_path_factory.mktemp("data")
    digest = write_features(
        root / "features" / "x.npz", data, features_of(data.train), features_of(data.test)
    )
    found = trial("random", digest, cycles=3)
    acquisition = found.protocol.acquisition.model_copy(update={"budget": 3})
    return found.model_copy(
        update={"protocol": found.protocol.model_copy(update={"acquisition": acquisition})}
    ), root


def bought(made: tuple[Trial, Path], data: Any, sample: int, seed: int = 0) -> list[Any]:
    torch.set_num_threads(1)
    protocol = made[0].protocol
    return buy_greedily(
        protocol, seed, data, read_features(protocol.features["own"], made[1], data), sample
    )


def accuracy(data: Any, labelled: Any) -> float:
    """By scikit-learn, on the optimum of the same loss."""
    rows, test = features_of(data.train), features_of(data.test)
    mean, deviation = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1
    other = LogisticRegression(C=1 / (L2 * WIDTH), tol=1e-9, max_iter=5000)
    other.fit((rows[labelled] - mean) / deviation, data.train.labels[labelled])
    return float((other.predict((test - mean) / deviation) == data.test.labels).mean())


def test_each_image_is_the_best_of_those_that_were_tried(
    made: tuple[Trial, Path], data: Any
) -> None:
    first, second, _ = bought(made, data, 6)
    # The same draws again: six of the candidates, from which a library's classifier chooses.
    streams = Streams(made[0].protocol.seed, 0)
    order = streams.generator("pool").permutation(1297)
    assert set(first) <= set(order), "the first labelled set is the trial's"
    tried = streams.generator("query", 0, "oracle").choice(
        order[~np.isin(order, first)][: made[0].protocol.acquisition.candidates], 6, replace=False
    )
    assert second[0] in tried
    values = [accuracy(data, np.append(first, one)) for one in tried]
    assert accuracy(data, np.append(first, second[0])) == pytest.approx(max(values), abs=0.0021), (
        "an image on the border"
    )
    assert max(values) > min(values)


def test_it_gains_on_average_over_what_it_did_not_choose_from(
    made: tuple[Trial, Path], data: Any
) -> None:
    """With one image to choose from it is random sampling; with ten it is better by the same
    classifier."""
    gains = [
        accuracy(data, np.concatenate(bought(made, data, 10, seed)))
        - accuracy(data, np.concatenate(bought(made, data, 1, seed)))
        for seed in range(2)
    ]
    assert min(gains) > 0 and np.mean(gains) > 0.02


def test_its_table_is_replayed_by_a_trial(
    made: tuple[Trial, Path], data: Any, tmp_path: Path
) -> None:
    protocol = made[0].protocol
    sets = {
        "protocol.inputs": "own",
        "protocol.features": {
            "own": protocol.features["own"].model_dump(mode="json", exclude_none=True)
        },
        "protocol.models": [{"name": "linear_probe"}],
        "protocol.training": protocol.training.model_dump(mode="json", exclude_none=True),
        "protocol.acquisition.initial": {"rule": "balanced", "size": 20},
        "protocol.acquisition.budget": 3,
        "protocol.acquisition.cycles": 3,
        "protocol.acquisition.candidates": 200,
    }
    workspace = Workspace(suites=kit.SUITES, runs=tmp_path / "runs", data=made[1])
    selection = select("quickstart/digits", methods=["random"], seeds=[1], sets=sets)
    done: list[tuple[int, int]] = []
    found = write_oracle(
        selection,
        tmp_path / "oracle.csv",
        workspace,
        sample=2,
        on_pick=lambda *pair: done.append(pair),
    )
    assert found.images == 6 and done == [(count, 6) for count in range(1, 7)]
    stored = read_selection(found.path)
    assert stored.sizes == (20, 23, 26)
    again = select("quickstart/digits", methods=["random"], seeds=[1], sets=sets, replays=[stored])
    (replayed,) = (
        item.trial
        for item in again.trials(kit.SUITES)
        if item.trial.method_name == "replay(oracle)"
    )
    strategy, learner = worker.assemble(
        replayed, data, Numerics(torch.device("cpu")), made[1] / "weights"
    )
    live = kit.session(replayed, tmp_path)
    run(replayed.protocol, strategy, learner, live)
    assert live.pool is not None and tuple(live.pool.labelled.tolist()) == stored.labelled


def test_what_it_cannot_buy_for_is_refused(data: Any, tmp_path: Path) -> None:
    workspace = Workspace(suites=kit.SUITES, runs=tmp_path, data=tmp_path)
    for text, said in (
        ("quickstart/digits@0", "frozen features"),
        ("frozen/cifar10@0-1", "several"),
    ):
        with pytest.raises(UsageError, match=said):
            write_oracle(text, tmp_path / "oracle.csv", workspace)
    assert not (tmp_path / "oracle.csv").exists()
    protocol = find_suite("quickstart/digits", kit.SUITES).suite.protocol
    with pytest.raises(UsageError, match="a linear classifier for every candidate"):
        buy_greedily(protocol, 0, data, read_none(data), 2)


def read_none(data: Any) -> Any:
    from benchmark.al.datasets.features import Features

    return Features(features_of(data.train), features_of(data.test))
