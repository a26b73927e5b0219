"""Whole rounds of DIAM: target models trained from scratch, their votes, and what DIAM, CAL and the
scores make of them."""

from __future__ import annotations

from typing import get_args

import numpy as np
import torch
from torch import Tensor

from adapters import adapter, clause, close, given
from adapters._watching import Recorder, Watched, exact, filled, labels, pinned
from benchmark.al import registry
from benchmark.al.acquisition import acquire, torch_randperm
from benchmark.al.committee import Committee
from benchmark.al.functional.votes import Kind, cal_candidates, diam_candidates, raw_scores
from benchmark.al.learner import Learner, LearnerData
from benchmark.al.pool import Pool
from benchmark.al.random.philox import Counter
from benchmark.al.random.streams import Streams
from benchmark.al.training.schedules import snapshot_epochs

TRAINING, VOTING, SCORING, TESTING = (0.0, 0.05), (2.0, 0.11), (9.0, 0.0), (4.0, 0.0)
"""Phase of an image in epoch 0, and what every epoch adds, by use (README of the format)."""
MEMBERS = "diam/mnist"
STEPS, SCORES = "rel 1e-7", "abs 1e-9"


class Unshuffled:
    """A generator whose permutations leave everything in place: what an unseeded shuffle did cannot
    be compared."""

    def permutation(self, count: int) -> np.ndarray:
        return np.arange(count)


class ListOrder(Streams):
    """Streams under which a strategy takes the first of what it would shuffle."""

    def generator(self, name, cycle=0, part=""):
        return Unshuffled() if name == "query" else super().generator(name, cycle, part)


class Waves:
    """The synthetic images of the format's README at one side, under the phase of their use."""

    def __init__(
        self, truth: np.ndarray, side: int, phases: tuple[float, float], streams: Streams, votes=()
    ) -> None:
        self.truth = truth
        self.side = side
        self.phases = phases
        self.streams = streams
        self.votes = votes
        self.shape = (3, side, side)

    def batch(
        self, indices: Tensor, counter: Counter | None = None, epoch: int = 0, pass_: int = 0
    ) -> Tensor:
        start, every = self.phases
        i = indices.cpu().numpy().astype(np.int64)
        phase = start + every * (self.voted_after(counter) if self.votes else epoch)
        ramp = np.arange(3 * self.side * self.side)
        rows = np.sin((0.05 + 0.021 * self.truth[i])[:, None] * ramp + 0.37 * i[:, None] + phase)
        return torch.from_numpy(rows.reshape(-1, *self.shape))

    def voted_after(self, counter: Counter) -> int:
        """The epoch whose votes draw from this counter."""
        keys = {
            self.streams.counter("augment", cycle, f"votes {epoch}").key: epoch
            for cycle, epoch in self.votes
        }
        return keys[counter.key]


def committee(trial, inputs, cycles: int) -> Committee:
    """Target models with the weights, images and lists of the recorded run."""
    protocol, numerics = trial.protocol, exact()
    streams = ListOrder(protocol.seed, trial.seed)
    truth = labels(inputs["pool"], inputs["salt"])
    tested = labels(inputs["test"], inputs["salt"] + 1)
    voting = [(cycle, epoch) for cycle in range(cycles) for epoch in range(inputs["epochs"])]
    members, scored = [], inputs["sides"][0]
    for place, (side, canonical) in enumerate(
        zip(inputs["sides"], inputs["canonical"], strict=True)
    ):
        parts = LearnerData(
            train=Waves(truth, side, TRAINING, streams),
            pool=Waves(truth, scored, SCORING, streams),
            test=Waves(tested, scored, TESTING, streams),
            train_labels=torch.from_numpy(truth),
            test_labels=torch.from_numpy(tested),
            voted=Waves(truth, side, VOTING, streams, voting),
        )

        def initial(name, cycle, module, canonical=canonical) -> None:
            filled(module, canonical, inputs["mul"], inputs["fill"]["mod"])

        objective = registry.build_component("objectives", trial.objective)
        members.append(
            Learner(protocol, objective, parts, streams, numerics, place=place, initial=initial)
        )
    return Committee(members)


@adapter("42_diam_trajectory")
def rounds(inputs, expected, tolerance, npz, case):
    cycles, pool, budget = expected["cycles"], inputs["pool"], inputs["budget"]
    models = [
        {"name": "ofa", "params": {"net": net, "dropout": 0.0}, "size": side}
        for net, side in zip(inputs["nets"], inputs["sides"], strict=True)
    ]
    sets = {
        "protocol.models": models,
        "protocol.data.train_size": pool,
        "protocol.data.test_size": inputs["test"],
        "protocol.acquisition.initial.size": inputs["initial"],
        "protocol.acquisition.budget": budget,
        "protocol.acquisition.cycles": len(cycles) + 1,
        "protocol.training.epochs": inputs["epochs"],
        "protocol.training.batch_size": inputs["batch"],
        "protocol.training.optimizer.lr": inputs["lr"],
        "protocol.evaluation.batch_size": inputs["batch"],
        "protocol.evaluation.size": inputs["sides"][0],
    }
    if "fraction" in inputs:
        sets["protocol.training.vote_fraction"] = inputs["fraction"]
    trials = {name: pinned(MEMBERS, name, "as_published", sets) for name in ("diam", "cal")}
    learner, recorder = committee(trials["diam"], inputs, len(cycles)), Recorder()
    protocol = trials["diam"].protocol
    rule, classes = protocol.acquisition.initial, protocol.data.classes
    labelled, unlabelled = torch_randperm(pool, rule.size, rule.seed)
    bought: list[int] = []
    for cycle, wanted in enumerate(cycles):
        labelled = np.concatenate([labelled, np.array(bought, dtype=np.int64)])
        given(wanted, "labelled", labelled.tolist())
        if cycle == 0:
            given(wanted, "unlabelled", unlabelled.tolist())
        # Later lists went through the release's unseeded shuffle: they are taken as recorded.
        unlabelled = np.array(wanted["unlabelled"], dtype=np.int64)
        Pool(labelled, unlabelled, pool).check()
        for rows in recorder.model.values():
            rows.steps.clear()
        with recorder.watching():
            learner.fit(cycle, labelled, unlabelled, {"votes"})
            learner.finish_cycle()
        if "steps" in wanted:
            for place, steps in enumerate(wanted["steps"]):
                close(recorder.model[place].steps, steps, clause(tolerance, "steps", STEPS))
        cast = learner.outputs({"votes"}, unlabelled, cycle)["votes"]
        assert cast.shape[1] == len(
            snapshot_epochs(inputs["epochs"], protocol.training.vote_fraction)
        )
        if "votes" in wanted:
            assert cast.tolist() == np.asarray(wanted["votes"]).tolist()
        found = [learner.metrics[f"accuracy/model{place}"] for place in range(len(models))]
        if "test_accuracy" in wanted:
            close(found, wanted["test_accuracy"], SCORES)
        logits = learner.outputs({"logits"}, unlabelled, cycle)["logits"]
        for kind in get_args(Kind):
            if f"raw_{kind}" in wanted:
                close(
                    raw_scores(logits, kind),
                    wanted[f"raw_{kind}"],
                    clause(tolerance, "scores", SCORES),
                )
        bought = check_picks(
            wanted, trials, learner, Pool(labelled, unlabelled, pool), cycle, budget, classes
        )


def check_picks(wanted, trials, learner, pool, cycle, budget, classes) -> list[int]:
    """The lists from which DIAM and CAL draw, and what the strategies themselves buy where nothing
    is shuffled."""
    if not {"diam_top_5B", "diam_first_of_the_top", "cal_candidates_ascending"} & set(wanted):
        return []
    cast = learner.outputs({"votes"}, pool.unlabelled, cycle)["votes"].transpose(0, 1)
    best = pool.unlabelled[diam_candidates(cast, budget, classes).numpy()].tolist()
    disputed = pool.unlabelled[cal_candidates(cast).numpy()].tolist()
    given(wanted, "diam_top_5B", best)
    given(wanted, "cal_candidates_ascending", disputed)
    taken = {}
    for name, trial in trials.items():
        watched = Watched(registry.build_component("strategies", trial.strategy))
        view, picks = acquire(watched, learner, pool, cycle, trial.protocol, budget)
        taken[name] = view.candidates[picks.positions.numpy()].tolist()
    assert taken["diam"] == best[: len(taken["diam"])]
    given(wanted, "diam_first_of_the_top", taken["diam"])
    assert taken["cal"] == disputed[: len(taken["cal"])] and len(taken["cal"]) == min(
        budget, len(disputed)
    )
    return taken["diam"]
