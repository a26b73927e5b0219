"""A trial on frozen features: the whole way of a worker, resuming, what is refused, and picks
beside another library's."""

from __future__ import annotations

import hashlib
import importlib
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from benchmark import worker
from benchmark.al import registry
from benchmark.al.datasets.features import digest_features, synthetic_features, write_features
from benchmark.al.dry_run import dry_run
from benchmark.al.learner import TrainingInterrupted
from benchmark.al.loop import run
from benchmark.al.probe import Probe, check_method
from benchmark.al.strategies import Picks, Strategy, View
from benchmark.al.training.numerics import Numerics
from benchmark.errors import DataError, UsageError
from benchmark.runs.conditions import summarize_conditions
from benchmark.runs.events import DataUsed, parse_record
from benchmark.spec.identity import trial_id
from benchmark.spec.load import find_suite
from benchmark.spec.protocol import FeatureFile
from benchmark.spec.suite import Component, Trial
from tests.helpers import trials as kit

WIDTH, L2 = 40, 0.1
FROZEN = [
    f"frozen/{data}{kind}"
    for data in ("cifar10", "cifar100")
    for kind in ("", "middle", "im", "imlong")
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return kit.dataset(kit.trial(), tmp_path_factory.mktemp("cache"))


def features_of(part: Any) -> Any:
    """Random projections of the pixels, rectified."""
    drawn = np.random.default_rng(0).standard_normal((64, WIDTH)).astype(np.float32)
    pixels = np.stack([part.image(place).reshape(-1) for place in range(len(part))]).astype(
        np.float32
    )
    return np.maximum(pixels @ drawn / 100, 0)


@pytest.fixture(scope="module")
def root(data: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a features file, whose digest is in `sha256`."""
    folder = tmp_path_factory.mktemp("data")
    digest = write_features(
        folder / "features" / "x.npz", data, features_of(data.train), features_of(data.test)
    )
    (folder / "sha256").write_text(digest)
    return folder


def trial(
    method: str = "margin", digest: str = "0" * 64, cycles: int = 4, **components: Component
) -> Trial:
    recipe = {
        "epochs": 1,
        "batch_size": 100,
        "shuffle": False,
        "drop_last": False,
        "start": "fresh",
        "optimizer": {"name": "lbfgs", "l2": L2, "tolerance": 1e-6, "iterations": 2000},
        "schedule": {"kind": "multistep", "milestones": [], "gamma": 1.0},
    }
    sets = {
        "protocol.inputs": "own",
        "protocol.features": {"own": {"file": "x.npz", "sha256": digest}},
        "protocol.models": [{"name": "linear_probe"}],
        "protocol.training": recipe,
        "protocol.acquisition.initial": {"rule": "balanced", "size": 20},
        "protocol.acquisition.budget": 10,
        "protocol.acquisition.cycles": cycles,
        "protocol.acquisition.candidates": 200,
    }
    suite = find_suite("quickstart/digits", kit.SUITES)
    (made,) = suite.trials(methods=[method], seeds=[0], sets=sets)
    return made.model_copy(update=components)


def assembled(made: Trial, data: Any, root: Path) -> tuple[Any, Any]:
    torch.set_num_threads(1)
    return worker.assemble(made, data, Numerics(torch.device("cpu")), root / "weights")


def pinned(root: Path, method: str = "margin", **given: Any) -> Trial:
    return trial(method, (root / "sha256").read_text(), **given)


def test_a_cycle_is_the_optimum_on_standardised_features(
    data: Any, root: Path, tmp_path: Path
) -> None:
    made = pinned(root, "random")
    strategy, learner = assembled(made, data, root)
    assert isinstance(learner, Probe)
    live = kit.session(made, tmp_path)
    run(made.protocol, strategy, learner, live)
    assert live.pool is not None
    rows, test = features_of(data.train), features_of(data.test)
    mean, deviation = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1
    bought = live.pool.labelled
    other = LogisticRegression(C=1 / (L2 * WIDTH), tol=1e-9, max_iter=5000)
    other.fit((rows[bought] - mean) / deviation, data.train.labels[bought])
    expected = float((other.predict((test - mean) / deviation) == data.test.labels).mean()) * 100
    assert [result.labelled for result in live.results] == [20, 30, 40, 50]
    assert live.results[-1].metrics["accuracy"] == pytest.approx(expected, abs=0.21), (
        "one image of 500 may fall on the border"
    )
    assert expected > 60
    theirs = other.predict_proba((rows[:50] - mean) / deviation)
    ours = learner.outputs(["logits"], np.arange(50), 0)["logits"].softmax(dim=1).numpy()
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_the_worker_runs_and_repeats_it_bit_for_bit(data: Any, root: Path, tmp_path: Path) -> None:
    made = pinned(root).model_copy(update={"data_digest": data.digest})
    (tmp_path / "trial.json").write_text(made.model_dump_json())
    digests, pin = [], (root / "sha256").read_text()
    for name in ("first", "second"):
        places = [
            "--data",
            str(root),
            "--cache",
            str(tmp_path / f"cache of {name}"),
            "--device",
            "cpu",
        ]
        assert worker.main([str(tmp_path / "trial.json"), str(tmp_path / name), *places]) == 0
        record = parse_record((tmp_path / name / "record.json").read_bytes())
        digests.append(record.digest)
        assert record.data.features == {"own": pin}, (
            "the record names the features that it was made from"
        )
        assert f"features own {pin}" in summarize_conditions([record])[0].data
    assert digests[0] == digests[1]


def test_a_stopped_trial_goes_on_to_the_same_end(data: Any, root: Path, tmp_path: Path) -> None:
    made = pinned(root, "tod")
    whole = kit.session(made, tmp_path / "whole")
    run(made.protocol, *assembled(made, data, root), whole)
    for stop_after in (1, 3, 4):
        out = tmp_path / str(stop_after)
        strategy, learner = assembled(made, data, root)
        with pytest.raises(TrainingInterrupted):
            run(made.protocol, strategy, learner, kit.session(made, out, stop_after=stop_after))
        resumed = kit.session(made, out)
        run(made.protocol, *assembled(made, data, root), resumed)
        assert resumed.results == whole.results


def test_a_trial_on_images_is_recorded_as_before_features_were_named() -> None:
    plain = {"name": "digits", "digest": "d", "canonical": True, "note": ""}
    assert DataUsed.model_validate(plain).model_dump(mode="json") == plain


def test_the_digest_of_a_features_file_follows_its_content(tmp_path: Path) -> None:
    path, pin = tmp_path / "features" / "x.npz", FeatureFile(file="x.npz", sha256="0" * 64)
    path.parent.mkdir()
    for content in (b"one", b"other", b"other"):
        path.write_bytes(content)
        assert (
            digest_features(pin, tmp_path, tmp_path / "cache")
            == hashlib.sha256(content).hexdigest()
        )
    path.unlink()
    with pytest.raises(DataError, match="not there"):
        digest_features(pin, tmp_path, tmp_path / "cache")


METHODS = {
    "ll4al": "its objective trains in batches over many epochs",
    "tod+cod": "its objective trains in batches over many epochs",
    "stconal": "it compares snapshots along a training of many epochs",
    "bal": "it needs a pretext stage",
}


@pytest.mark.parametrize("method", METHODS)
def test_methods_of_a_suite_that_cannot_run_are_refused_by_name(
    method: str, data: Any, root: Path
) -> None:
    made = pinned(root)
    (other,) = find_suite("quickstart/digits", kit.SUITES).trials(methods=[method], seeds=[0])
    made = made.model_copy(
        update={"method_name": method, "strategy": other.strategy, "objective": other.objective}
    )
    with pytest.raises(UsageError, match=METHODS[method]) as error:
        assembled(made, data, root)
    assert f"the method '{method}' cannot be run on frozen features" in str(error.value)


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        ("learning_loss", "a probe has none"),
        ("ta_vaal", "takes images of a certain size"),
        ("diam", "snapshots vote"),
        ("pt4al", "needs a pretext stage"),
    ],
)
def test_strategies_that_cannot_run_are_refused_with_the_reason(strategy: str, reason: str) -> None:
    @dataclass(frozen=True)
    class Named(Strategy):
        needs = frozenset(NEEDS.get(strategy, ()))
        sides = registry.find_class("strategies", strategy).sides

        def select(self, view: View, budget: int) -> Picks:
            raise NotImplementedError

    with pytest.raises(UsageError, match=reason) as error:
        check_method("mine", Named(), Component(name="supervised"))
    assert "the method 'mine' cannot be run" in str(error.value)


NEEDS = {
    "learning_loss": ["predicted_loss"],
    "diam": ["votes"],
    "pt4al": ["logits", "pretext.loss"],
}
"""What these strategies declare; `ta_vaal` is refused because it declares sizes of images."""


def test_a_file_without_test_images_is_refused(data: Any, root: Path, tmp_path: Path) -> None:
    digest = write_features(tmp_path / "features" / "x.npz", data, features_of(data.train))
    with pytest.raises(DataError, match="has no 'test'"):
        assembled(trial(digest=digest), data, tmp_path)


def test_what_inputs_and_the_solver_need_is_checked_where_the_suite_is_read() -> None:
    suite = find_suite("quickstart/digits", kit.SUITES)
    for sets, said in (
        ({"protocol.inputs": "own"}, "not among the features"),
        (
            {
                "protocol.inputs": "own",
                "protocol.data.validation": {"size": 100, "rule": "uniform", "seed": 0},
            },
            "data.validation is made of images",
        ),
        (
            {
                "protocol.training.optimizer": {
                    "name": "lbfgs",
                    "l2": 1.0,
                    "tolerance": 1e-4,
                    "iterations": 9,
                }
            },
            "epochs = 1",
        ),
    ):
        with pytest.raises(Exception, match=said):
            suite.trials(methods=["random"], seeds=[0], sets=sets)


def test_the_suites_pin_the_code_of_the_network_as_it_is() -> None:
    from benchmark.al.networks import efficientnet_lite
    from benchmark.runs.code_digest import digest_file

    for name in FROZEN:
        made = find_suite(name, kit.SUITES).suite.protocol.features["lite0"].made
        assert made is not None and made.code == digest_file(Path(efficientnet_lite.__file__))


@pytest.mark.parametrize("kind", ["im", "imlong"])
@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_imbalanced_pools_are_those_of_the_papers_suites(data: str, kind: str) -> None:
    ours, theirs = (
        find_suite(f"{paper}/{data}{kind}", kit.SUITES).suite.protocol
        for paper in ("frozen", "st-conal")
    )
    assert ours.data == theirs.data and ours.data.imbalance is not None
    balanced = find_suite(f"frozen/{data}", kit.SUITES).suite
    assert ours.acquisition.labelled() == balanced.protocol.acquisition.labelled()
    assert ours.acquisition.initial.rule == "uniform", (
        "a balanced start would have to know the rare classes"
    )


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_middle_budgets_go_from_100_to_2000(data: str) -> None:
    suite, few = (find_suite(f"frozen/{data}{kind}", kit.SUITES).suite for kind in ("middle", ""))
    assert suite.protocol.acquisition.labelled() == tuple(range(100, 2001, 100))
    assert (suite.rule, suite.seeds, suite.methods) == (few.rule, few.seeds, few.methods)


def test_every_method_of_the_suite_dry_runs() -> None:
    numerics, suite = Numerics(torch.device("cpu")), find_suite("frozen/cifar10", kit.SUITES)
    for made in suite.trials(seeds=[0]):
        dry_run(
            made,
            lambda small, data: worker.assemble(
                small, data, numerics, Path("weights"), synthetic_features
            ),
        )


def test_what_made_the_features_is_part_of_the_identity_and_the_file_name_is_not() -> None:
    suite, pin = find_suite("frozen/cifar10", kit.SUITES), "protocol.features.lite0"
    (plain,), (renamed,), (other,) = (
        suite.trials(methods=["random"], seeds=[0], sets=sets)
        for sets in ({}, {f"{pin}.file": "x.safetensors"}, {f"{pin}.made.size": 96})
    )
    assert trial_id(plain) == trial_id(renamed) != trial_id(other)


# -------------------------------------------------------------- the same picks as another library's


def seen_by(learner: Any, labelled: Any, candidates: Any, needs: Any, seed: int) -> View:
    outputs: dict[str, Tensor] = {}
    for name in needs:
        known = name.startswith("labelled.")
        given = learner.outputs(
            [name.removeprefix("labelled.")], labelled if known else candidates, 0
        )
        outputs[name] = given[name.removeprefix("labelled.")]
    return View(
        cycle=0,
        cycles=2,
        classes=10,
        candidates=candidates,
        labelled=labelled,
        pool_size=1297,
        rng=np.random.Generator(np.random.Philox(key=seed)),
        device=torch.device("cpu"),
        outputs=outputs,
    )


@dataclass(frozen=True)
class Beside:
    """One cycle of a trained probe, and the same features, labels and weights for
    scikit-activeml."""

    learner: Any
    labelled: Any
    candidates: Any
    rows: Any
    labels: Any
    model: Any
    """A classifier of theirs with the weights of ours."""

    def ours(self, method: str, budget: int, draws: list[float] | None = None) -> list[int]:
        strategy = registry.build_component("strategies", Component(name=method))
        seen = seen_by(self.learner, self.labelled, self.candidates, strategy.needs, 0)
        if draws is not None:
            seen = replace(seen, rng=SimpleNamespace(random=lambda: draws.pop(0)))
        picks: list[int] = strategy.select(seen, budget).positions.tolist()
        return picks

    def theirs(self, query: Any, budget: int, **given: Any) -> list[int]:
        found = query.query(X=self.rows, y=self.labels, batch_size=budget, **given)
        return [int(place) - len(self.labelled) for place in found]


def cycle_of(seed: int, data: Any, root: Path) -> Beside:
    _, learner = assembled(pinned(root), data, root)
    order = np.random.default_rng(seed).permutation(1297)
    labelled, candidates = order[:60], order[60:460]
    learner.fit(0, labelled, candidates, [])
    known, unknown = (
        learner.outputs(["features"], part, 0)["features"].double().numpy()
        for part in (labelled, candidates)
    )
    labels = np.r_[data.train.labels[labelled].astype(float), np.full(len(candidates), np.nan)]
    model = pytest.importorskip("skactiveml.classifier").SklearnClassifier(
        LogisticRegression(max_iter=1), classes=list(range(10))
    )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # one iteration of theirs does not converge, and its weights are replaced
        model.fit(known, data.train.labels[labelled])
    head = learner.student.get_submodule("head")
    model.estimator_.coef_ = head.weight.detach().double().numpy()
    model.estimator_.intercept_ = head.bias.detach().double().numpy()
    return Beside(learner, labelled, candidates, np.concatenate([known, unknown]), labels, model)


UNCERTAIN = {
    "margin": "margin_sampling",
    "entropy": "entropy",
    "least_confidence": "least_confident",
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("method", UNCERTAIN)
def test_the_most_uncertain_are_those_of_another_library(
    method: str, seed: int, data: Any, root: Path
) -> None:
    pool = pytest.importorskip("skactiveml.pool")
    beside = cycle_of(seed, data, root)
    query = pool.UncertaintySampling(method=UNCERTAIN[method], random_state=0)
    assert beside.ours(method, 20) == beside.theirs(query, 20, clf=beside.model, fit_clf=False)


@pytest.mark.parametrize("seed", range(3))
def test_margin_picks_are_those_of_another_library_that_trains_its_own_model(
    seed: int, data: Any, root: Path
) -> None:
    pool = pytest.importorskip("skactiveml.pool")
    beside = cycle_of(seed, data, root)
    model = pytest.importorskip("skactiveml.classifier").SklearnClassifier(
        LogisticRegression(C=1 / (L2 * WIDTH), tol=1e-9, max_iter=5000), classes=list(range(10))
    )
    query = pool.UncertaintySampling(method="margin_sampling", random_state=0)
    assert set(beside.ours("margin", 10)) == set(beside.theirs(query, 10, clf=model))


@pytest.mark.parametrize("seed", range(5))
def test_core_set_picks_are_those_of_another_library(seed: int, data: Any, root: Path) -> None:
    pool = pytest.importorskip("skactiveml.pool")
    beside = cycle_of(seed, data, root)
    assert beside.ours("coreset", 20) == beside.theirs(pool.CoreSet(random_state=0), 20)


def ignore_the_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    """scikit-activeml caps each squared distance at the squared length of the embedding, as if the
    origin were the first seed. The algorithm's distances are those to the seeds."""
    module = importlib.import_module("skactiveml.pool._badge")
    plain = module._d_2

    def distances(rows: Any, seeds: Any, before: Any = None) -> Any:
        if before is not None and np.array_equal(before, plain(rows, [])):
            before = np.full(len(rows), np.inf)
        return plain(rows, seeds, before)

    monkeypatch.setattr(module, "_d_2", distances)


@pytest.mark.parametrize("seed", range(5))
def test_badge_picks_are_those_of_another_library_with_the_same_draws(
    seed: int, data: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours gets, for each of their picks, the middle of what its probability gives it in their
    cumulative distribution."""
    pool = pytest.importorskip("skactiveml.pool")
    beside = cycle_of(seed, data, root)
    ignore_the_origin(monkeypatch)
    found, chances = pool.Badge(random_state=seed).query(
        beside.rows,
        beside.labels,
        beside.model,
        fit_clf=False,
        batch_size=20,
        return_utilities=True,
    )
    picks = [int(place) - len(beside.labelled) for place in found]
    ends = np.nan_to_num(chances[:, len(beside.labelled) :]).cumsum(axis=1)
    middles = [
        float(row[pick] + (row[pick - 1] if pick else 0)) / 2
        for row, pick in zip(ends, picks, strict=True)
    ]
    draws = middles[1:]  # the first is the embedding of largest norm
    assert beside.ours("badge", 20, draws) == picks and not draws
