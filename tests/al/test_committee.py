"""Several target models: each is what it would be alone; resume is exact; votes are recorded
without disturbing training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.al.committee import Committee
from benchmark.al.learner import TrainingInterrupted
from benchmark.al.loop import run
from benchmark.al.strategies import Picks, Strategy
from benchmark.al.training.vote_recorder import VoteRecorder
from benchmark.errors import UsageError
from tests.helpers.trials import assembled, session, trial

MODELS = [
    {"name": "small_cnn", "params": {"width": 4, "heads": 2}},
    {"name": "small_cnn", "params": {"width": 6}},
    {"name": "small_cnn", "params": {"width": 3, "dropout": 0.2}},
]
SETS = {
    "protocol.training.start": "fresh",
    "protocol.training.same_init": True,
    "protocol.acquisition.candidates": 1257,
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


class Voted(Strategy):
    """Buys what the snapshots of all models disagree on most."""

    needs = frozenset({"votes"})

    def select(self, view, budget):
        votes = view["votes"]  # (models, snapshots, n)
        assert votes.dtype == torch.uint8 and votes.shape[2] == len(view.candidates)
        return Picks(
            (votes != votes[:, :1])
            .any(dim=1)
            .sum(dim=0)
            .argsort(stable=True, descending=True)[:budget]
        )


def committee(cache: Path, members: tuple[int, ...] | None = None):
    made = trial(sets=SETS)
    models = tuple(type(made.protocol.models[0]).model_validate(model) for model in MODELS)
    protocol = made.protocol.model_copy(update={"models": models, "members": members})
    made = made.model_copy(update={"protocol": protocol})
    strategy, learner = assembled(made, cache)
    assert isinstance(learner, Committee)
    return made, strategy, learner


def test_each_member_is_what_it_is_alone(tmp_path: Path, cache: Path) -> None:
    made, strategy, learner = committee(cache)
    live = session(made, tmp_path / "together")
    run(made.protocol, strategy, learner, live)
    metrics = live.results[0].metrics
    accuracies = [metrics[f"accuracy/model{i}"] for i in range(3)]
    assert metrics["accuracy"] == pytest.approx(np.mean(accuracies)) and metrics[
        "spread/models"
    ] == pytest.approx(np.std(accuracies))
    alone = trial(sets=SETS)
    strategy, first = assembled(alone, cache)
    live = session(alone, tmp_path / "alone")
    run(alone.protocol, strategy, first, live)
    assert live.results[0].metrics["accuracy"] == accuracies[0]


@pytest.mark.parametrize("members", [(0, 2), (1,)])
def test_a_part_of_the_members_is_what_it_is_among_all(
    tmp_path: Path, cache: Path, members: tuple[int, ...]
) -> None:
    found = {}
    for name, kept in (("all", None), ("part", members)):
        made, strategy, learner = committee(cache, kept)
        live = session(made, tmp_path / name)
        run(made.protocol, strategy, learner, live)
        found[name] = live.results[0].metrics
    own = {f"accuracy/model{place}" for place in members}
    assert {name for name in found["part"] if name.startswith("accuracy/")} == own
    assert {name: found["all"][name] for name in own} == {name: found["part"][name] for name in own}
    with pytest.raises(UsageError, match="model"):
        learner.outputs({f"model{3 - sum(members)}.logits"}, np.arange(4), 0)


def test_resume_inside_and_between_members_is_exact(tmp_path: Path, cache: Path) -> None:
    made, _, learner = committee(cache)
    whole = session(made, tmp_path / "whole")
    run(made.protocol, Voted(), learner, whole)
    stops = 0
    while True:
        _, _, learner = committee(cache)
        live = session(made, tmp_path / "cut", stop_after=3)
        try:
            run(made.protocol, Voted(), learner, live)
            break
        except TrainingInterrupted:
            stops += 1
    assert stops >= 4 and live.results == whole.results


def test_recording_votes_does_not_change_the_weights(tmp_path: Path, cache: Path) -> None:
    made, strategy, learner = committee(cache)
    plain = session(made, tmp_path / "plain")
    run(made.protocol, strategy, learner, plain)
    _, _, learner = committee(cache)
    voted = session(made, tmp_path / "voted")
    run(made.protocol, Voted(), learner, voted)
    assert voted.results[0].weights == plain.results[0].weights
    assert voted.results[0].training != plain.results[0].training
    assert learner.members[0].recorder(VoteRecorder).voters is None, (
        "after the last training nothing is bought, so nothing is recorded"
    )


def test_votes_belong_to_their_images(cache: Path) -> None:
    _, _, learner = committee(cache)
    voters = np.array([900, 5, 77, 3, 400])
    learner.fit(0, np.arange(40), voters, {"votes"})
    votes = learner.outputs({"votes"}, voters, 0)["votes"]
    assert votes.shape == (3, 1, 5) and learner.members[0].recorder(VoteRecorder).first_epoch == 1
    assert torch.equal(learner.outputs({"votes"}, voters[[3, 0]], 0)["votes"], votes[:, :, [3, 0]])


def test_a_fraction_of_the_epochs_that_rounds_to_none_is_refused_before_training(
    cache: Path,
) -> None:
    _, _, learner = committee(cache)
    member = learner.members[0]
    training = member.protocol.training.model_copy(update={"vote_fraction": 0.1})
    member.protocol = member.protocol.model_copy(update={"training": training})
    with pytest.raises(UsageError, match=r"0\.1 of \d+ epochs round to none"):
        learner.fit(0, np.arange(40), np.arange(40, 90), {"votes"})


def test_same_initial_weights_in_every_cycle_where_pinned(cache: Path) -> None:
    _, _, learner = committee(cache)
    before = learner.weights()
    learner.fit(0, np.arange(40), np.arange(40, 90), set())
    assert learner.weights() != before
    learner.start_cycle(1, set())
    assert learner.weights() == before
