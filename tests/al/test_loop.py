"""The loop: paired streams, exact resume, shared trainings, and refusal of what a strategy must not
do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.al.learner import TrainingInterrupted
from benchmark.al.loop import run
from benchmark.al.pool import Pool
from benchmark.al.strategies import Picks, Strategy
from benchmark.errors import AlbenchError, UsageError
from benchmark.runs import events
from benchmark.runs.events import CycleFinished, CycleResult
from benchmark.spec.identity import trial_id
from benchmark.spec.suite import Component
from tests.helpers.trials import assembled, session, trial

METHODS = ["random", "entropy", "coreset", "tod", "random+cod", "tod+cod"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def results(
    method: str,
    out: Path,
    cache: Path,
    seed: int = 0,
    shared: Path | None = None,
    **components: Component,
) -> list[CycleResult]:
    made = trial(method, seed, **components)
    strategy, learner = assembled(made, cache)
    live = session(made, out, shared)
    run(made.protocol, strategy, learner, live)
    return live.results


@pytest.mark.parametrize("method", METHODS)
def test_resume_at_every_point_equals_the_uninterrupted_trial(
    method: str, tmp_path: Path, cache: Path
) -> None:
    whole = results(method, tmp_path / "whole", cache)
    made = trial(method)
    stops = 0
    while True:
        # A new process each time: everything that is not saved is gone. Each attempt stops after
        # its second question.
        strategy, learner = assembled(made, cache)
        live = session(made, tmp_path / "cut", stop_after=2)
        try:
            run(made.protocol, strategy, learner, live)
            break
        except TrainingInterrupted:
            stops += 1
    assert stops >= 4
    assert live.results == whole
    told = {
        e.result.cycle: e.result
        for e, _ in events.read_events(tmp_path / "cut/events.jsonl")
        if isinstance(e, CycleFinished)
    }
    assert list(told.values()) == whole


def test_the_strategy_leaves_start_weights_order_and_augmentation_alone(
    tmp_path: Path, cache: Path
) -> None:
    seen = {
        method: results(method, tmp_path / method, cache)
        for method in ("random", "entropy", "coreset", "tod")
    }
    firsts = {(r[0].labelled_digest, r[0].weights, r[0].metrics["accuracy"]) for r in seen.values()}
    assert len(firsts) == 1
    assert len({r[0].picks_digest for r in seen.values()}) == len(seen)


def test_batches_do_not_depend_on_who_else_is_labelled(cache: Path) -> None:
    """Batch order and augmentation are keyed by image: the same image gets the same draw whatever
    was bought with it."""
    _, learner = assembled(trial(), cache)
    few, many = np.arange(40), np.arange(60)
    a = learner._cycle_data(1, few, many[40:])
    b = learner._cycle_data(1, many, many[60:])
    order = b.order(3)
    assert torch.equal(a.order(3), order[torch.isin(order, torch.from_numpy(few))])
    assert torch.equal(a.view(torch.tensor([7, 3]), 5), b.view(torch.tensor([1, 7, 3]), 5)[1:])
    assert not torch.equal(a.view(torch.tensor([7]), 5), a.view(torch.tensor([7]), 6))


def test_seeds_change_everything(tmp_path: Path, cache: Path) -> None:
    a, b = results("random", tmp_path / "a", cache, 0), results("random", tmp_path / "b", cache, 1)
    assert a[0].labelled_digest != b[0].labelled_digest and a[0].weights != b[0].weights


def test_identical_first_trainings_are_done_once(tmp_path: Path, cache: Path) -> None:
    alone = results("entropy", tmp_path / "alone", cache)
    shared = tmp_path / "shared"
    results("random", tmp_path / "first", cache, shared=shared)
    after = results("entropy", tmp_path / "second", cache, shared=shared)
    reused = [
        e.reused
        for e, _ in events.read_events(tmp_path / "second/events.jsonl")
        if isinstance(e, CycleFinished)
    ]
    assert reused == [True, False, False]
    assert after == alone
    other = results("tod+cod", tmp_path / "third", cache, shared=shared)
    assert other[0].training != alone[0].training


def test_a_training_taken_over_has_the_weights_that_its_record_holds(
    tmp_path: Path, cache: Path
) -> None:
    """Also where a cycle ends at its best epoch and not at its last: a record with other weights
    than these is not believed."""
    sets = {
        "protocol.evaluation": {"epoch": "best", "every": 2, "batch_size": 100},
        "protocol.training.start": "warm_best",
        "protocol.training.epochs": 3,
        "protocol.training.schedule.milestones": [3],
    }
    shared, lives = tmp_path / "shared", []
    for method in ("random", "entropy"):
        made = trial(method, sets=sets)
        strategy, learner = assembled(made, cache)
        live = session(made, tmp_path / method, shared)
        live.trial_id = trial_id(made)
        run(made.protocol, strategy, learner, live)
        lives.append(live)
    maker, taker = lives
    first = maker.results[0]
    assert first.metrics["epoch/best"] == 2, (
        "only after the second of three epochs is the test set seen on the way"
    )
    assert maker.taken is None and taker.taken is not None
    assert taker.taken.weights == taker.results[0].weights == first.weights


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_training_that_another_trial_did_meanwhile_leaves_no_trace(
    epochs: int, tmp_path: Path, cache: Path
) -> None:
    """Stopped inside the first cycle, whose training another trial then finishes and shares: later
    cycles are trained."""
    whole, shared = results("entropy", tmp_path / "whole", cache), tmp_path / "shared"
    made = trial("entropy")
    strategy, learner = assembled(made, cache)
    with pytest.raises(TrainingInterrupted):
        run(
            made.protocol,
            strategy,
            learner,
            session(made, tmp_path / "cut", shared, stop_after=epochs),
        )
    results("random", tmp_path / "other", cache, shared=shared)
    assert results("entropy", tmp_path / "cut", cache, shared=shared) == whole


def test_a_damaged_shared_training_is_done_again(tmp_path: Path, cache: Path) -> None:
    shared = tmp_path / "shared"
    whole = results("random", tmp_path / "a", cache, shared=shared)
    (state,) = (shared / "trainings").glob("*.state")
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(bytes(content))
    assert results("random", tmp_path / "b", cache, shared=shared) == whole


def test_a_damaged_state_falls_back_to_the_one_before(tmp_path: Path, cache: Path) -> None:
    whole = results("tod+cod", tmp_path / "whole", cache)
    made = trial("tod+cod")
    for stop in (4, 3):
        strategy, learner = assembled(made, cache)
        with pytest.raises(TrainingInterrupted):
            run(made.protocol, strategy, learner, session(made, tmp_path / "cut", stop_after=stop))
    newest = tmp_path / "cut/state/cycle.state"
    assert newest.exists() and newest.with_name("cycle.previous.state").exists()
    newest.write_bytes(newest.read_bytes()[:-100])
    strategy, learner = assembled(made, cache)
    live = session(made, tmp_path / "cut")
    run(made.protocol, strategy, learner, live)
    assert live.results == whole


def test_state_of_another_environment_is_not_used(tmp_path: Path, cache: Path) -> None:
    made = trial()
    strategy, learner = assembled(made, cache)
    with pytest.raises(TrainingInterrupted):
        run(made.protocol, strategy, learner, session(made, tmp_path, stop_after=3))
    other = session(made, tmp_path)
    other.checkpoint.owner = "another"
    assert other.resume(learner) == (0, None)


class Fixed(Strategy):
    """Returns what the test says."""

    answer: torch.Tensor

    def select(self, view, budget):
        return Picks(type(self).answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (torch.tensor([0, 0]), "twice"),
        (torch.tensor([0, 5_000]), "outside"),
        (torch.tensor([-1, 3]), "outside"),
        (torch.arange(41), "budget of 40"),
        (torch.tensor([0.0, 1.0]), "float32"),
    ],
)
def test_impossible_picks_are_refused(
    answer: torch.Tensor, said: str, tmp_path: Path, cache: Path
) -> None:
    made = trial()
    _, learner = assembled(made, cache)
    Fixed.answer = answer
    with pytest.raises(AlbenchError, match=said):
        run(made.protocol, Fixed(), learner, session(made, tmp_path))


def test_a_strategy_gets_nothing_it_did_not_declare(tmp_path: Path, cache: Path) -> None:
    class Greedy(Strategy):
        def select(self, view, budget):
            return Picks(view.features.norm(dim=1).topk(budget).indices)

    made = trial()
    _, learner = assembled(made, cache)
    with pytest.raises(UsageError, match="without declaring"):
        run(made.protocol, Greedy(), learner, session(made, tmp_path))


def test_a_view_holds_no_labels_of_candidates(tmp_path: Path, cache: Path) -> None:
    seen = []

    class Curious(Strategy):
        needs = frozenset({"logits", "labelled.features"})

        def select(self, view, budget):
            seen.append(view)
            return Picks(torch.arange(budget))

    made = trial()
    _, learner = assembled(made, cache)
    run(made.protocol, Curious(), learner, session(made, tmp_path))
    assert len(seen) == 2 and not hasattr(seen[0], "labels")
    assert set(seen[0].outputs) == {"logits", "labelled.features"}
    assert seen[0].outputs["logits"].shape == (120, 10) and seen[1].outputs[
        "labelled.features"
    ].shape == (80, 16)


def test_pool_bookkeeping(tmp_path: Path, cache: Path) -> None:
    made = trial("tod")
    strategy, learner = assembled(made, cache)
    live = session(made, tmp_path)
    run(made.protocol, strategy, learner, live)
    assert isinstance(live.pool, Pool)
    live.pool.check()
    assert (
        [r.labelled for r in live.results]
        == [40, 80, 120]
        == [len(live.pool.labelled) - 80, len(live.pool.labelled) - 40, 120]
    )
    assert [sum(r.acquired) for r in live.results] == [40, 40, 0]
    groups = live.results[0].diagnostics["loss/by_score_group"]
    assert len(groups) == 5
