"""The stage before the first cycle: exact resume, one training for many trials, arrays against slow
twins, best epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.al.learner import Learner, TrainingInterrupted
from benchmark.al.loop import run
from benchmark.al.pretext.rotation import RotatedImages, Rotation, rotate_images
from benchmark.al.pretext.stage import compute_pretext_outputs, learner_of
from benchmark.errors import SuiteError, UsageError
from benchmark.runs import events
from benchmark.runs.events import CycleResult, EpochFinished
from benchmark.spec.suite import Component, Trial
from tests.helpers.trials import assembled, session, trial

TRAINING = {
    "epochs": 3,
    "batch_size": 64,
    "shuffle": True,
    "drop_last": False,
    "start": "fresh",
    "optimizer": {
        "name": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "nesterov": False,
    },
    "schedule": {"kind": "multistep", "milestones": [2], "gamma": 0.1},
}
NORMALISE = {"op": "normalise", "mean": [0.3053], "std": [0.3761]}
PRETEXT = {
    "task": "rotation",
    "model": {"name": "small_cnn", "params": {"width": 4}},
    "training": TRAINING,
    "keep": "best",
    "view": [{"op": "random_crop", "size": 8, "padding": 1}, NORMALISE],
    "test_view": [NORMALISE],
    "clusters": 5,
    "n_init": 2,
}
LIMIT = {"train": 300, "test": 100}
BASE: dict[str, Any] = {
    "protocol.data.limit": LIMIT,
    "protocol.data.train_size": 300,
    "protocol.data.test_size": 100,
    "protocol.acquisition.initial.rule": "strategy",
    "protocol.acquisition.candidates": None,
    "protocol.acquisition.initial.size": 30,
    "protocol.acquisition.budget": 30,
}
STRATEGIES = {
    "bal": Component(name="bal", params={"beta": 1.0}),
    "pt4al": Component(name="pt4al", params={"stride": 3}),
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def made(
    method: str = "bal", seed: int = 0, sets: dict[str, Any] | None = None, **pretext: Any
) -> Trial:
    changes = BASE | {"protocol.pretext": PRETEXT | pretext} | (sets or {})
    return trial("random", seed, changes, strategy=STRATEGIES[method])


def results(
    asked: Trial, out: Path, cache: Path, shared: Path | None = None, stop: int | None = None
) -> list[CycleResult]:
    strategy, learner = assembled(asked, cache)
    live = session(asked, out, shared, stop)
    run(asked.protocol, strategy, learner, live)
    return live.results


def stage_learner(asked: Trial, cache: Path) -> Learner:
    _, learner = assembled(asked, cache)
    assert asked.protocol.pretext is not None
    return learner_of(asked.protocol, asked.protocol.pretext, learner)


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Epochs of pretext training that are really done."""
    done: list[int] = []
    original = Rotation.batches

    def counted(self: Rotation, data: Any, epoch: int) -> Any:
        done.append(epoch)
        return original(self, data, epoch)

    monkeypatch.setattr(Rotation, "batches", counted)
    return done


# -------------------------------------------------------------------------------- resuming, sharing


@pytest.mark.parametrize(("method", "keep"), [("bal", "best"), ("pt4al", "last")])
@pytest.mark.parametrize("with_cache", [True, False])
def test_resume_inside_the_stage_equals_the_uninterrupted_trial(
    method: str, keep: str, with_cache: bool, tmp_path: Path, cache: Path, epochs: list[int]
) -> None:
    asked = made(method, keep=keep)
    whole = results(asked, tmp_path / "whole", cache)
    epochs.clear()
    shared = tmp_path / "shared" if with_cache else None
    stops = 0
    while True:
        try:
            found = results(asked, tmp_path / "cut", cache, shared, stop=1)
            break
        except TrainingInterrupted:
            stops += 1
    assert found == whole
    assert epochs == [0, 1, 2]  # one epoch per attempt, none twice
    assert stops >= 3


def test_a_paused_stage_is_continued_by_another_trial(
    tmp_path: Path, cache: Path, epochs: list[int]
) -> None:
    shared = tmp_path / "shared"
    with pytest.raises(TrainingInterrupted):
        results(made("bal"), tmp_path / "a", cache, shared, stop=2)
    assert epochs == [0, 1]
    results(made("pt4al"), tmp_path / "b", cache, shared)
    assert epochs == [0, 1, 2]


def test_the_stage_is_trained_once_for_trials_that_share_it(
    tmp_path: Path, cache: Path, epochs: list[int]
) -> None:
    alone = results(made("pt4al"), tmp_path / "alone", cache)
    shared = tmp_path / "shared"
    epochs.clear()
    results(made("bal"), tmp_path / "first", cache, shared)
    # Another regime: budgets and cycles are no part of the stage.
    results(
        made("bal", sets={"protocol.acquisition.budget": 20}), tmp_path / "second", cache, shared
    )
    assert results(made("pt4al"), tmp_path / "third", cache, shared) == alone
    assert epochs == [0, 1, 2]
    told = [
        event
        for event, _ in events.read_events(tmp_path / "first/events.jsonl")
        if isinstance(event, EpochFinished)
    ]
    assert [event.stage for event in told if event.epoch == 3] == ["pretext"]
    assert not any(
        event.stage
        for event, _ in events.read_events(tmp_path / "third/events.jsonl")
        if isinstance(event, EpochFinished)
    )
    for other in (made(seed=1), made(upright=False), made(sets={"protocol.seed": 5})):
        results(other, tmp_path / str(len(epochs)), cache, shared)
    assert epochs == [0, 1, 2] * 4


def test_a_damaged_result_is_made_again(tmp_path: Path, cache: Path, epochs: list[int]) -> None:
    shared = tmp_path / "shared"
    whole = results(made(), tmp_path / "a", cache, shared)
    (state,) = (shared / "pretext").glob("*.state")
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(bytes(content))
    (shared / "trainings").rename(shared / "gone")
    assert results(made(), tmp_path / "b", cache, shared) == whole
    assert epochs == [0, 1, 2] * 2


# ----------------------------------------------------------------------------------------- refusals


def test_a_strategy_without_its_stage_is_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UsageError, match=r"pretext\.cdd"):
        results(made(sets={"protocol.pretext": None}), tmp_path / "a", cache)
    with pytest.raises(UsageError, match=r"does not give pretext\.cdd"):
        results(made(clusters=None, n_init=None), tmp_path / "b", cache)


def test_a_method_that_asks_for_nothing_trains_no_stage(
    tmp_path: Path, cache: Path, epochs: list[int]
) -> None:
    asked = trial(
        "random",
        0,
        BASE | {"protocol.pretext": PRETEXT, "protocol.acquisition.initial.rule": "uniform"},
    )
    plain = trial("random", 0, BASE | {"protocol.acquisition.initial.rule": "uniform"})
    with_stage, without = (
        results(item, tmp_path / str(i), cache) for i, item in enumerate((asked, plain))
    )
    assert not epochs
    assert [r.weights for r in with_stage] == [r.weights for r in without]


def test_a_trained_model_is_not_there_before_the_first_training(
    tmp_path: Path, cache: Path
) -> None:
    asked = trial("entropy", 0, BASE)
    with pytest.raises(UsageError, match="before the first training"):
        results(asked, tmp_path, cache)


def test_stage_is_checked_when_the_suite_is_read() -> None:
    with pytest.raises(SuiteError, match="go together"):
        made(n_init=None)
    with pytest.raises(SuiteError, match="fresh"):
        made(training=TRAINING | {"start": "warm"})


# --------------------------------------------------------------------------------------- slow twins


def test_rotations_are_quarter_turns() -> None:
    images = torch.randn(8, 3, 5, 5)
    turns = torch.tensor([0, 1, 2, 3, 3, 0, 2, 1])
    for image, turn, found in zip(images, turns, rotate_images(images, turns), strict=True):
        assert np.array_equal(np.rot90(image.numpy(), int(turn), (1, 2)), found.numpy())


def test_every_image_is_seen_under_its_four_rotations_in_a_random_order(cache: Path) -> None:
    learner = stage_learner(made(), cache)
    data = learner._cycle_data(0, np.arange(300), np.empty(0, dtype=np.int64))
    found = list(Rotation().batches(data, 0))
    assert [len(batch.images) for batch in found] == [64, 64, 64, 64, 44]
    turns = torch.cat([batch.labels for batch in found])
    assert torch.equal(turns.sort(dim=1).values, torch.arange(4).expand(300, 4))
    assert len(torch.unique(turns, dim=0)) == 24
    again = torch.cat([batch.labels for batch in Rotation().batches(data, 1)])
    assert not torch.equal(turns, again)


def test_loss_is_the_mean_over_four_passes(cache: Path) -> None:
    learner = stage_learner(made(), cache)
    data = learner._cycle_data(0, np.arange(300), np.empty(0, dtype=np.int64))
    batch = next(iter(Rotation().batches(data, 0)))
    learner.student.train()
    slow = []
    for step in range(4):
        turned = torch.stack(
            [
                torch.rot90(x, int(k), (1, 2))
                for x, k in zip(batch.images, batch.labels[:, step], strict=True)
            ]
        )
        slow.append(F.cross_entropy(learner.student(turned).logits, batch.labels[:, step]))
    learner.student.train()
    assert torch.allclose(Rotation().loss(learner.student, batch), sum(slow) / 4, atol=1e-6)


@pytest.mark.parametrize("upright", [True, False])
def test_arrays_of_the_kept_network(upright: bool, cache: Path) -> None:
    from sklearn.cluster import KMeans

    asked = made(upright=upright)
    pretext = asked.protocol.pretext
    assert pretext is not None
    learner = stage_learner(asked, cache)
    assert isinstance(learner.parts.test, RotatedImages)
    accuracies = []
    original = learner.evaluate
    learner.evaluate = lambda model: accuracies.append(original(model).accuracy) or original(model)  # type: ignore[method-assign, func-returns-value]
    found = compute_pretext_outputs(pretext, learner, None, lambda *_: None)
    assert found["accuracy"] == max(accuracies[:3])

    network = learner.student.eval()
    images = learner.parts.pool._images.batch(torch.arange(300))  # type: ignore[attr-defined]
    with torch.no_grad():
        passes = [network(images.rot90(turn, (2, 3))) for turn in range(4)]
    losses = torch.stack(
        [
            F.cross_entropy(out.logits, torch.full((300,), k), reduction="none")
            for k, out in enumerate(passes)
        ]
    )
    assert torch.allclose(found["pretext.loss"], losses.mean(dim=0), atol=1e-5)
    assert float(
        torch.stack([(out.logits.argmax(1) == k).float() for k, out in enumerate(passes)]).mean()
    ) * 100 == pytest.approx(found["accuracy"], abs=0.01)

    turns = (
        np.zeros(300, dtype=int)
        if upright
        else learner.streams.generator("augment").integers(4, size=300)
    )
    features = np.stack([passes[turn].features[i].numpy() for i, turn in enumerate(turns)])
    seed = int(learner.streams.generator("query").integers(2**31))
    centres = KMeans(5, n_init=2, random_state=seed).fit(features).cluster_centers_
    two = np.sort(np.linalg.norm(features[:, None].astype(float) - centres[None], axis=2), axis=1)[
        :, :2
    ]
    assert np.allclose(found["pretext.cdd"], two[:, 1] - two[:, 0], atol=1e-4)
    assert len(np.unique(turns)) == (1 if upright else 4)


def test_the_stage_has_streams_of_its_own(cache: Path) -> None:
    asked = made(model={"name": "small_cnn", "params": {"width": 4, "heads": 2}})
    _, main = assembled(asked, cache)
    stage = stage_learner(asked, cache)
    first, second = (next(iter(learner.student.parameters())) for learner in (main, stage))
    assert first.shape == second.shape and not torch.equal(first, second)


# -------------------------------------------------------------------------------------- best epochs


def test_maximum_over_epochs_is_recorded_beside_the_last_and_carried_on(
    tmp_path: Path, cache: Path
) -> None:
    asked = made(
        sets={
            "protocol.evaluation": {"epoch": "best", "every": 1, "batch_size": 100},
            "protocol.training.start": "warm_best",
            "protocol.training.epochs": 6,
            "protocol.training.schedule.milestones": [6],
            "protocol.training.optimizer.lr": 1.0,
        }
    )
    strategy, learner = assembled(asked, cache)
    seen: list[tuple[float, float]] = []
    original = learner.evaluate

    def watched(model: torch.nn.Module) -> Any:
        found = original(model)
        seen.append((found.accuracy, float(next(iter(model.parameters())).detach().double().sum())))
        return found

    learner.evaluate = watched  # type: ignore[method-assign]
    live = session(asked, tmp_path)
    run(asked.protocol, strategy, learner, live)
    assert len(seen) == 3 * 7
    for cycle, result in enumerate(live.results):
        epochs, last = seen[7 * cycle : 7 * cycle + 6], seen[7 * cycle + 6]
        assert (
            result.metrics["accuracy"]
            == result.metrics["accuracy/best"]
            == max(accuracy for accuracy, _ in epochs)
        )
        assert result.metrics["accuracy/last"] == last[0] == epochs[-1][0]
        assert result.metrics["epoch/best"] == 1 + int(
            np.argmax([accuracy for accuracy, _ in epochs])
        )
    assert any(
        result.metrics["accuracy/best"] > result.metrics["accuracy/last"] for result in live.results
    )
    # The network that is asked for picks and goes on is the best epoch's.
    best = max(seen[14:20], key=lambda pair: pair[0])
    assert float(next(iter(learner.student.parameters())).detach().double().sum()) == best[1]
