"""A trial played through in seconds on synthetic images: does everything its suite names exist and
fit together?

Only amounts are shrunk (images, epochs, budgets, pixels of large crops); kind of data, networks,
objective, strategy, schedule and loop are the trial's own. What would fail after hours of training
because an output is missing fails here.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmark.al import registry
from benchmark.al.datasets import Dataset, Part
from benchmark.al.datasets.catalogue import format_of
from benchmark.al.loop import run
from benchmark.al.session import Session
from benchmark.al.strategies import Strategy
from benchmark.al.trainable import TrainableModel
from benchmark.spec.protocol import Protocol
from benchmark.spec.suite import Trial
from benchmark.spec.training import Model, Pretext
from benchmark.spec.transforms import (
    CenterCrop,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    Transform,
    Views,
)

POOL, TEST, BATCH = 24, 8, 4
MODELS, SIDE, WHOLE = 2, 64, sys.maxsize
"""Most target models that are trained side by side, and most pixels of a crop or of a network's own
size: few, or all."""
ANY_SIDE = 32
"""Pixels of the synthetic images of a data set whose images have sizes of their own."""


def dry_run(
    trial: Trial, assemble: Callable[[Trial, Dataset], tuple[Strategy, TrainableModel]]
) -> None:
    """Run the shrunken trial once. Raises what the real one would raise."""
    small = shrink_trial(trial)
    strategy, learner = assemble(small, synthetic_dataset(small.protocol))
    with tempfile.TemporaryDirectory() as folder:
        session = Session(
            small, "0" * 64, "0" * 64, Path(folder), None, save_every=1e9, must_stop=lambda: False
        )
        run(small.protocol, strategy, learner, session)


def shrink_trial(trial: Trial) -> Trial:
    """The trial that a dry run makes."""
    return trial.model_copy(update={"protocol": shrink_protocol(trial.protocol, side_of(trial))})


def describe_dry_run(trial: Trial) -> str:
    """What a dry run of the trial depends on: equal for trials whose dry runs are the same.

    Synthetic images have the shape of the data set's; its name and its imbalance change nothing.
    """
    small = shrink_trial(trial).protocol
    shape = format_of(small.data)
    data = small.data.model_copy(
        update={"name": f"{shape.channels} x {shape.side}", "imbalance": None}
    )
    return repr(
        (
            small.model_copy(update={"data": data}),
            trial.strategy.model_dump_json(),
            trial.objective.model_dump_json(),
        )
    )


def side_of(trial: Trial) -> int:
    """Most pixels of an image's side: those of the protocol where the objective's parameters hold
    for these alone, and no others than the strategy takes."""
    if registry.find_class("objectives", trial.objective.name).tied_to_size:
        return WHOLE
    sides = registry.find_class("strategies", trial.strategy.name).sides
    return max((side for side in sides if side <= SIDE), default=WHOLE) if sides else SIDE


def shrink_protocol(protocol: Protocol, side: int = SIDE) -> Protocol:
    """The protocol with two cycles of one epoch on a handful of images of at most `side` pixels."""
    training, acquisition, kept = protocol.training, protocol.acquisition, protocol.data.validation
    # A probe cannot be solved without images, and rows of features cost nothing: an image of every
    # class.
    first = (
        protocol.data.classes
        if protocol.inputs and acquisition.initial.rule == "balanced"
        else 2 * BATCH
    )
    trajectory = training.trajectory and training.trajectory.model_copy(
        update={"start": 1, "every": 1, "students": "all5"}
    )
    return protocol.model_copy(
        update={
            "data": protocol.data.model_copy(
                update={
                    "train_size": max(POOL, first + POOL // 2),
                    "test_size": TEST,
                    "decode": _shrink_view(protocol.data.decode, side),
                    "validation": kept and kept.model_copy(update={"size": TEST}),
                }
            ),
            "views": _shrunk_views(protocol.views, side),
            "models": tuple(
                _shrink_model(protocol.models[place], side) for place in protocol.trained()[:MODELS]
            ),
            "members": None,
            "extractor": protocol.extractor and _shrink_model(protocol.extractor, side),
            "pretext": protocol.pretext and _shrink_pretext(protocol.pretext, side),
            "acquisition": acquisition.model_copy(
                update={
                    "initial": acquisition.initial.model_copy(update={"size": first}),
                    "budget": BATCH,
                    "cycles": 2,
                    "candidates": None,
                }
            ),
            "training": training.model_copy(
                update={
                    "epochs": 1,
                    "batch_size": BATCH,
                    "trajectory": trajectory,
                    "vote_fraction": 1.0,
                }
            ),
            "evaluation": protocol.evaluation.model_copy(
                update={
                    "batch_size": TEST,
                    "size": protocol.evaluation.size and min(protocol.evaluation.size, side),
                }
            ),
        }
    )


def _shrink_model(model: Model, side: int) -> Model:
    return model.model_copy(
        update={"weights": "scratch", "size": model.size and min(model.size, side)}
    )


def _shrink_pretext(stage: Pretext, side: int) -> Pretext:
    training = stage.training.model_copy(update={"epochs": 1, "batch_size": BATCH})
    clusters = stage.clusters and min(stage.clusters, BATCH)
    views = {name: _shrink_view(getattr(stage, name), side) for name in ("view", "test_view")}
    return stage.model_copy(
        update=views
        | {
            "model": _shrink_model(stage.model, side),
            "training": training,
            "clusters": clusters,
            "n_init": stage.n_init and 1,
        }
    )


def _shrunk_views(views: Views, side: int) -> Views:
    pool = views.pool if isinstance(views.pool, str) else _shrink_view(views.pool, side)
    return views.model_copy(
        update={
            "train": _shrink_view(views.train, side),
            "test": _shrink_view(views.test, side),
            "pool": pool,
        }
    )


def _shrink_view(view: tuple[Transform, ...], side: int) -> tuple[Transform, ...]:
    """Crops and sizes of at most `side` pixels: every network takes what comes."""
    made = []
    for transform in view:
        if isinstance(transform, RandomCrop | RandomResizedCrop | CenterCrop):
            transform = transform.model_copy(update={"size": min(transform.size, side)})
        elif isinstance(transform, Resize):
            size, shorter = transform.size, transform.shorter
            transform = transform.model_copy(
                update={
                    "size": size and (min(size[0], side), min(size[1], side)),
                    "shorter": shorter and min(shorter, side),
                }
            )
        made.append(transform)
    return tuple(made)


def synthetic_dataset(protocol: Protocol) -> Dataset:
    """Noise of the shape that the data set decodes to, in as many images as the protocol says."""
    rng, kept = np.random.default_rng(0), protocol.data.validation
    return Dataset(
        name=protocol.data.name,
        train=_synthetic_part(protocol, protocol.data.train_size, rng),
        test=_synthetic_part(protocol, protocol.data.test_size, rng),
        class_names=tuple(str(k) for k in range(protocol.data.classes)),
        digest="0" * 64,
        canonical=True,
        canonical_note="",
        validation=None if kept is None else _synthetic_part(protocol, kept.size, rng),
    )


def _synthetic_part(protocol: Protocol, count: int, rng: np.random.Generator) -> Part:
    kind = format_of(protocol.data)
    side = kind.side or ANY_SIDE
    for transform in protocol.data.decode:
        if isinstance(transform, CenterCrop):
            side = transform.size
        elif isinstance(transform, Resize):
            side = transform.shorter or (transform.size or (side,))[0]
    return Part(
        pixels=rng.integers(0, 256, (count, side, side, kind.channels), dtype=np.uint8),
        labels=np.arange(count, dtype=np.int64) % protocol.data.classes,
        sizes=None,
        offsets=None,
        channels=kind.channels,
    )
