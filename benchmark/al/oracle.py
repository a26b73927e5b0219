"""A greedy oracle: what somebody would buy who knew all labels, those of the test images included.

It is no strategy, as a strategy sees no label of a candidate: what it buys is a table of indices,
which a trial replays. Each image is the best of a few candidates, so the curve shows how much a
better order of buying could still gain. Greedy choices from a sample are no upper bound, and the
best of many values on the test images is optimistic about other images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from benchmark.al.acquisition import drawn_pool
from benchmark.al.datasets.dataset import Dataset
from benchmark.al.datasets.features import Features
from benchmark.al.feature_rows import FeatureRows, Standard
from benchmark.al.functional.logistic import fit_by_recipe
from benchmark.al.pool import Indices
from benchmark.al.random.streams import Streams
from benchmark.errors import UsageError
from benchmark.spec.protocol import Protocol
from benchmark.spec.training import Lbfgs

OnPick = Callable[[int, int], None]
"""Called with images bought and images to be bought in all."""


def buy_greedily(
    protocol: Protocol,
    seed: int,
    dataset: Dataset,
    features: Features,
    sample: int,
    on_pick: OnPick = lambda *_: None,
) -> list[Indices]:
    """The data set indices that the oracle buys: the first labelled set of a trial with this seed,
    then those of each cycle.

    For each image, `sample` of the cycle's candidates are drawn, the classifier is solved with each
    of them added to what is labelled, and the one with the highest accuracy on the test images is
    bought; of equals that with the lowest cross-entropy. Raises UsageError where the classifier is
    not solved to its optimum, or a strategy picks the first labelled set.
    """
    recipe, acquisition = protocol.training.optimizer, protocol.acquisition
    if not isinstance(recipe, Lbfgs) or features.test is None:
        raise UsageError(
            "an oracle trains a linear classifier for every candidate, on frozen features",
            where="protocol.training.optimizer",
            remedy="name a suite such as frozen/cifar10",
        )
    cpu = torch.device("cpu")
    standard = Standard.of(features.train)
    streams = Streams(protocol.seed, seed)
    pool_rows = FeatureRows(features.train, standard, cpu)
    test = (
        FeatureRows(features.test, standard, cpu).batch(torch.arange(len(dataset.test))).flatten(1)
    )
    labels, truth = (
        torch.from_numpy(np.array(part.labels)) for part in (dataset.train, dataset.test)
    )

    def value(labelled: Indices) -> tuple[int, float]:
        """Test images that are right, and less the cross-entropy, after training on these
        images."""
        images = torch.from_numpy(labelled)
        rows = pool_rows.batch(images).flatten(1)
        found = fit_by_recipe(rows, labels[images], protocol.data.classes, recipe)
        logits = F.linear(test, found.weight.float(), found.bias.float())
        return int((logits.argmax(dim=1) == truth).sum()), -float(F.cross_entropy(logits, truth))

    pool = drawn_pool(protocol, dataset.train.labels, streams)
    cycles, whole = [pool.labelled], sum(acquisition.budgets())
    for cycle, budget in enumerate(acquisition.budgets()):
        draw = streams.generator("query", cycle, "oracle")
        candidates = pool.candidates(acquisition.candidates)
        bought = np.empty(0, dtype=np.int64)
        for _ in range(min(budget, len(candidates))):
            left = candidates[~np.isin(candidates, bought)]
            tried = draw.choice(left, size=min(sample, len(left)), replace=False)
            values = [value(np.concatenate([pool.labelled, bought, [one]])) for one in tried]
            bought = np.append(bought, tried[values.index(max(values))])
            on_pick(sum(map(len, cycles[1:])) + len(bought), whole)
        cycles.append(bought)
        pool = pool.label(bought, streams.generator("pool", cycle + 1))
    return cycles
