"""Whole runs of BAL and PT4AL: the rotation task, what ranks the pool, the trainings, and what is
bought."""

from __future__ import annotations

import hashlib
from unittest.mock import patch

import numpy as np
import torch

from adapters import adapter, clause, close, given, tensor
from adapters._networks import stages_of
from adapters._watching import (
    Recorder,
    Watched,
    exact,
    filled,
    labels,
    pinned,
    session_of,
    without_augmentation,
)
from adapters.bal import vgg_params
from benchmark.al.datasets import Dataset, Part
from benchmark.al.functional.bal_windows import count_share, hardest_first, split_ranks
from benchmark.al.functional.cluster_distance import rank_differences
from benchmark.al.learner import Learner
from benchmark.al.loop import run
from benchmark.al.objectives.base import CycleData, Orders
from benchmark.al.pretext.stage import StageStreams
from benchmark.al.random.streams import Streams
from benchmark.al.strategies.bal import Bal
from benchmark.worker import assemble

CLASSES, TURNS, SIDE = 10, 4, 32
EXACT, SORTED = "rel 1e-9", "abs 1e-9"
"""Tolerances of the format's README, for files that give none: of steps, losses and features, and
of scores."""


# ------------------------------------------------------------------------------------------- inputs


def made_up(count: int, salt: int, digest: str) -> Part:
    """The images of the format's README, and their labels."""
    truth = labels(count, salt)
    i, label = np.arange(count, dtype=np.int64)[:, None, None, None], truth[:, None, None, None]
    y, x = np.arange(SIDE)[None, :, None, None], np.arange(SIDE)[None, None, :, None]
    c = np.arange(3)[None, None, None, :]
    noise = (i * i * 31 + y * x * (1 + i % 4) + 11 * c + 5 * salt) % 97
    pixels = (
        y * (3 + label) + x * (2 + (3 * label) % 7) + 40 * c * (label % 3) + 9 * label + noise
    ) % 256
    stored = np.ascontiguousarray(pixels.astype(np.uint8))
    assert hashlib.sha256(stored.tobytes()).hexdigest() == digest, (
        "the images are not those of the recorded run"
    )
    return Part(stored, truth, None, None, 3)


def dataset(inputs):
    return Dataset(
        name="cifar10",
        train=made_up(inputs["pool"], inputs["salt"], inputs["sha256_train"]),
        test=made_up(inputs["test"], inputs["salt"] + 1, inputs["sha256_test"]),
        class_names=tuple(map(str, range(CLASSES))),
        digest="0" * 64,
        canonical=True,
        canonical_note="",
    )


def model_of(canonical):
    """The network of the registry that a canonical list describes."""
    shapes = {name: shape for _, name, shape in canonical}
    if "conv1.weight" not in shapes:
        return {"name": "vgg_bn", "params": vgg_params(shapes)}
    blocks, widths = stages_of(shapes)
    if "layer1.0.conv3.weight" in shapes:
        return {"name": "resnet_bal", "params": {"blocks": blocks}}
    return {"name": "resnet_cifar", "params": {"blocks": blocks, "widths": widths}}


def amounts(inputs, first, budgets, views):
    """What the recorded run sets in place of the suite's values."""
    sets = {
        "protocol.data.train_size": inputs["pool"],
        "protocol.data.test_size": inputs["test"],
        "protocol.models": [model_of(inputs["canonical_main"])],
        "protocol.pretext.model": model_of(inputs["canonical_pretext"]),
        "protocol.acquisition.initial.size": first,
        "protocol.acquisition.budget": budgets,
        "protocol.acquisition.cycles": inputs["cycles"],
        "protocol.evaluation.batch_size": 20,
    }
    for name, part in (("main", "protocol.training"), ("pretext", "protocol.pretext.training")):
        sets |= {
            f"{part}.epochs": inputs[name]["epochs"],
            f"{part}.batch_size": inputs[name]["batch"],
            f"{part}.schedule.milestones": inputs[name]["milestones"],
            f"{part}.optimizer.lr": inputs["lr"],
        }
    return sets | {path: without_augmentation(view) for path, view in views.items()}


class GivenOrders(Orders):
    """The orders that the recorded run used."""

    def __init__(self, inputs) -> None:
        self.pretext, self.given = inputs["pretext_orders"], inputs["turns"]
        self.main = {(row["cycle"], row["epoch"]): row["images"] for row in inputs["main_orders"]}
        self.under = inputs["described_under"]

    def labelled(self, data: CycleData, epoch: int, use: int) -> torch.Tensor:
        task = isinstance(data.streams, StageStreams)
        order = torch.tensor(self.pretext[epoch] if task else self.main[data.cycle, epoch])
        assert torch.equal(order.sort().values, data.labelled.sort().values), (
            "another labelled set than the recorded"
        )
        return order

    def unlabelled(self, data: CycleData, number: int) -> torch.Tensor:
        raise AssertionError("nothing here trains on unlabelled images")

    def turns(self, data: CycleData, epoch: int, indices: torch.Tensor) -> torch.Tensor:
        return tensor(self.given[epoch])[indices]

    def described(self, streams: Streams, size: int) -> torch.Tensor:
        return torch.tensor(self.under)


def replayed(trial, inputs, centres=None):
    """The trial through the loop, as recorded; (recorder, watched strategy, features that were
    clustered, statics)."""
    numerics, recorder = exact(), Recorder()
    strategy, drawn = assemble(trial, dataset(inputs), numerics, None)

    def initial(name, cycle, module) -> None:
        if name == "student":
            outputs = (
                module.fc.out_features if hasattr(module, "fc") else module.classifier.out_features
            )
            which = "pretext" if outputs == TURNS else "main"
            filled(
                module, inputs[f"canonical_{which}"], inputs[f"mul_{which}"], inputs["fill"]["mod"]
            )

    learner = Learner(
        trial.protocol,
        drawn.objective,
        drawn.parts,
        drawn.streams,
        numerics,
        orders=GivenOrders(inputs),
        initial=initial,
    )
    watched, clustered = Watched(strategy), []

    def given_centres(features, *_):
        clustered.append(features)
        return tensor(centres)

    with (
        session_of(trial) as session,
        recorder.watching(),
        patch("benchmark.al.pretext.stage.k_means", given_centres),
    ):
        run(trial.protocol, watched, learner, session)
    return recorder, watched, clustered, watched.seen[0][0].statics


# ------------------------------------------------------------------------------------------- checks


def check_training(rows, wanted, epochs, cycles, tolerance):
    """Every step of the main trainings, and the test set after every epoch."""
    if "main_steps" in wanted:
        close(rows.steps, wanted["main_steps"], clause(tolerance, "main_steps", EXACT))
    kept = [
        place for place in range(len(rows.tests)) if place % (epochs + 1) != epochs
    ]  # but for that at a cycle's end
    assert len(kept) == epochs * cycles
    if "test_accuracy" in wanted:
        close([rows.tests[place].accuracy for place in kept], wanted["test_accuracy"], "abs 1e-9")
    if "test_loss" in wanted:
        close(
            [rows.losses[place] for place in kept],
            wanted["test_loss"],
            clause(tolerance, "test_loss", EXACT),
        )


def check_pretext(recorder, statics, wanted, inputs, tolerance):
    """Every step of the rotation task, its accuracy after every epoch, and the loss of every
    image."""
    accuracies = [test.accuracy for test in recorder.pretext.tests[: inputs["pretext"]["epochs"]]]
    measured = {"pretext_steps": recorder.pretext.steps, "pretext_loss": statics["pretext.loss"]}
    for name, found in measured.items():
        if name in wanted:
            close(found, wanted[name], clause(tolerance, name, EXACT))
    if "pretext_accuracy" in wanted:
        close(accuracies, wanted["pretext_accuracy"], "abs 1e-9")


def check_scores(row, view, scores, tolerance):
    """Scores of the candidates, where the case gives them."""
    if "scores_by_image" in row:
        found = dict(zip(view.candidates.tolist(), scores.tolist(), strict=True))
        wanted = row["scores_by_image"]
        assert set(map(int, wanted)) <= set(found)
        text = clause(tolerance, "scores", SORTED)
        close([found[int(image)] for image in wanted], [wanted[image] for image in wanted], text)


@adapter("40_bal_trajectory")
def bal(inputs, expected, tolerance, npz, case):
    suite, shares = "bal/cifar10-base", inputs["percent"]
    assert len(shares) >= inputs["cycles"]
    first, *budgets = [count_share(share, inputs["pool"]) for share in shares]
    released = pinned(suite, "bal", "released", {}).protocol
    views = {
        "protocol.views.train": released.views.train,
        "protocol.views.test": released.views.test,
        "protocol.views.pool": released.views.pool,
        "protocol.pretext.view": released.pretext.view,
        "protocol.pretext.test_view": released.pretext.test_view,
    }
    params = {
        "beta": inputs["beta"],
        "addendum": inputs["addendum"],
        "first": inputs.get("first", "high1st"),
    }
    sampling = inputs.get("sampling", "confidence")
    params["sampler"] = {"rand": "random"}.get(sampling, sampling)
    sets = amounts(inputs, first, budgets, views) | {"methods.bal.strategy.params": params}
    sets |= {"protocol.pretext.clusters": len(expected["centres"])}
    # The loss of every image is read too, which BAL itself does not do.
    trial = pinned(suite, "bal", "released", sets)
    with patch.object(Bal, "needs", Bal.needs | {"pretext.loss"}):
        recorder, watched, clustered, statics = replayed(trial, inputs, expected["centres"])

    check_pretext(recorder, statics, expected, inputs, tolerance)
    (features,) = clustered
    if "features" in expected:
        close(features, expected["features"], clause(tolerance, "features", EXACT))
    if "cdd" in expected:
        scale = float(np.abs(expected["cdd"]).max())
        close(statics["pretext.cdd"], expected["cdd"], f"abs {1e-6 * scale:.12f}")
    given(expected, "ranked", rank_differences(statics["pretext.cdd"]).tolist())
    check_training(
        recorder.model[0], expected, inputs["main"]["epochs"], inputs["cycles"], tolerance
    )
    assert len(watched.seen) == len(expected["cycles"])
    for cycle, (row, (view, picks)) in enumerate(
        zip(expected["cycles"], watched.seen, strict=True)
    ):
        begin, end = watched.strategy.window(view)
        given(row, "begin", begin)
        given(row, "end", end)
        given(row, "candidates", sorted(view.candidates.tolist()))
        assert watched.bought(cycle) == row["picks"]
        # The release's confidence is small where an image is wanted, its entropy large.
        sign = -1 if sampling == "confidence" else 1
        check_scores(
            row, view, sign * picks.scores if picks.scores is not None else None, tolerance
        )


@adapter("41_pt4al_trajectory")
def pt4al(inputs, expected, tolerance, npz, case):
    suite, pool = "pt4al/cifar10", inputs["pool"]
    usual = pinned(suite, "pt4al", "as_published", {}).protocol
    views = {
        "protocol.views.train": usual.views.train,
        "protocol.views.test": usual.views.test,
        "protocol.pretext.view": usual.pretext.view,
        "protocol.pretext.test_view": usual.pretext.test_view,
    }
    trial = pinned(
        suite, "pt4al", "as_published", amounts(inputs, inputs["first"], inputs["budget"], views)
    )
    recorder, watched, _, statics = replayed(trial, inputs)
    check_pretext(recorder, statics, expected, inputs, tolerance)
    losses = statics["pretext.loss"].double().numpy()
    parts = split_ranks(hardest_first(losses, trial.strategy.params["order"]), inputs["cycles"])
    if "batches" in expected:
        assert [part.tolist() for part in parts] == [list(part) for part in expected["batches"]]
    assert sum(map(len, parts)) == pool
    check_training(
        recorder.model[0], expected, inputs["main"]["epochs"], inputs["cycles"], tolerance
    )
    assert len(watched.seen) == len(expected["cycles"])
    for cycle, (row, (view, picks)) in enumerate(
        zip(expected["cycles"], watched.seen, strict=True)
    ):
        assert watched.bought(cycle) == row["picks"]
        check_scores(row, view, -picks.scores if picks.scores is not None else None, tolerance)
