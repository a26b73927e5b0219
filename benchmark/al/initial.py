"""The first labelled set, by the rule the protocol pins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchmark.al.acquisition import acquire
from benchmark.al.pool import Indices, Pool
from benchmark.al.strategies.base import BEFORE_FIRST_TRAINING, Strategy
from benchmark.al.trainable import TrainableModel
from benchmark.errors import UsageError
from benchmark.spec.models import Protocol


def initial_pool(
    protocol: Protocol, strategy: Strategy, learner: TrainableModel, statics: Mapping[str, Tensor] | None = None
) -> Pool:
    """The pool before the first training. It does not depend on the strategy, unless the rule says so."""
    rule, size = protocol.acquisition.initial, protocol.data.train_size
    if rule.rule == "torch_randperm":
        assert rule.seed is not None
        return Pool(*torch_randperm(size, rule.size, rule.seed), size)
    rng = learner.streams.generator("pool")
    if rule.rule == "balanced":
        return balanced(learner.parts.train_labels.cpu().numpy(), rule.size, protocol.data.classes, rng)
    if rule.rule == "uniform":
        return Pool.shuffled(size, rule.size, rng)
    empty = replace(Pool.shuffled(size, 0, rng), unlabelled=np.arange(size))
    view, picks = acquire(strategy, learner, empty, BEFORE_FIRST_TRAINING, protocol, rule.size, statics)
    return empty.label(view.candidates[picks.positions.cpu().numpy()], rng)


def balanced(labels: Indices, initial: int, classes: int, rng: np.random.Generator) -> Pool:
    """initial / classes images of every class, class by class, drawn uniformly without replacement; the rest is shuffled.

    labels: (pool,). soony1213/ST-CoNAL at 43cb8c9, main.py, option use_balanced_init. Raises UsageError where a class has
    fewer images, as there the release stops.
    """
    each, order = initial // classes, rng.permutation(len(labels)).astype(np.int64)
    chosen = [order[labels[order] == label][:each] for label in range(classes)]
    for label, found in enumerate(chosen):
        if len(found) < each:
            raise UsageError(
                f"class {label} has {len(found)} images in the pool, but {each} of every class are asked for",
                where="protocol.acquisition.initial",
                remedy=f"ask for at most {len(found) * classes}, or pin rule = 'uniform'",
            )
    labelled = np.concatenate(chosen)
    return Pool(labelled, order[~np.isin(order, labelled)], len(labels))


def torch_randperm(size: int, initial: int, seed: int) -> tuple[Indices, Indices]:
    """Labelled and unlabelled lists cut from torch's CPU permutation of 0..size-1 under `seed`: its head and its tail.

    DIAM's split (tangypnuaa/DIAM at cddf397, base_provider.py random_sample_valid_set); the same for every trial.
    """
    order: Indices = torch.randperm(size, generator=torch.Generator().manual_seed(seed)).numpy().astype(np.int64)
    return order[:initial], order[initial:]
