"""The stage before the first cycle: a self-supervised task, trained once, that ranks the whole pool
for good.

Rotation prediction as in PT4AL (Yi et al., ECCV 2022; johnsk95/PT4AL at 9a0da4a) and BAL (Li et
al., TPAMI 2024; dvlab-research/BAL at 140d279). A strategy asks for what it leaves behind by name:

`pretext.loss`  (pool,) mean cross-entropy over the four rotations of each image. `pretext.cdd`
(pool,) difference of the distances to the two nearest cluster centres
(`functional/cluster_distance.py`). `pretext.features`   (pool, d) float32 features of each image.
They are kept only where a strategy asks for them.

The network is trained by an ordinary `Learner` whose labelled set is the pool; only batches, loss
and test set are the task's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.al.functional.cluster_distance import cluster_distance_difference, k_means
from benchmark.al.learner import Learner, LearnerData
from benchmark.al.objectives.base import TURNS
from benchmark.al.output_name import PRETEXT, OutputName
from benchmark.al.pool import Indices
from benchmark.al.pretext.rotation import RotatedImages, Rotation
from benchmark.al.random.streams import Name, Streams
from benchmark.al.session import AfterEpoch, Session
from benchmark.al.state.training_cache import TrainingState
from benchmark.al.strategies.base import Strategy
from benchmark.al.trainable import TrainableModel
from benchmark.errors import UsageError
from benchmark.spec.protocol import Evaluation, Protocol
from benchmark.spec.training import Pretext

STAGE = "pretext"
FEATURES = "pretext.features"


def pretext_outputs(
    protocol: Protocol, strategy: Strategy, learner: TrainableModel, session: Session
) -> Mapping[str, Tensor]:
    """What the strategy declared under `pretext.`, made or found; empty if it declared nothing. May
    raise `TrainingInterrupted`.

    Raises UsageError where the protocol has no such stage or the stage does not give what is asked
    for.
    """
    needs = [OutputName.parse(name).unlabelled for name in strategy.needs]
    wanted = sorted({str(need) for need in needs if need.network == PRETEXT})
    if not wanted:
        return {}
    pretext = protocol.pretext
    if pretext is None:
        raise UsageError(
            f"the strategy needs {', '.join(wanted)}", remedy="pin [protocol.pretext] in the suite"
        )
    asked = [pretext.model_dump(mode="json", exclude_defaults=True), protocol.evaluation.batch_size]
    if (
        keep := FEATURES in wanted
    ):  # a stage with them is another one: most strategies would read 100 MB for nothing
        asked.append(FEATURES)

    def make(resume: TrainingState | None, after_epoch: AfterEpoch) -> TrainingState:
        return compute_pretext_outputs(
            pretext, learner_of(protocol, pretext, learner), resume, after_epoch, keep_features=keep
        )

    found = session.stage(STAGE, asked, pretext.training.epochs, make)
    if missing := [name for name in wanted if name not in found]:
        raise UsageError(
            f"the pretext stage does not give {', '.join(missing)}",
            remedy="pin pretext.clusters for `pretext.cdd`",
        )
    return {name: found[name] for name in wanted}


def compute_pretext_outputs(
    pretext: Pretext,
    learner: Learner,
    resume: TrainingState | None,
    after_epoch: AfterEpoch,
    *,
    keep_features: bool = False,
) -> TrainingState:
    """Train the task and describe every image of the pool: the arrays above, and the rotation
    accuracy in percent."""
    size = len(learner.parts.train_labels)
    learner.fit(0, np.arange(size), np.empty(0, dtype=np.int64), (), resume, after_epoch)
    learner.finish_cycle()
    # Upright, or each image under one rotation of its own.
    turns = (
        np.zeros(size, np.int64)
        if pretext.upright
        else learner.orders.described(learner.streams, size).numpy()
    )
    losses, features = _describe_pool(learner, size, turns)
    found: TrainingState = {"pretext.loss": losses.cpu(), "accuracy": learner.metrics["accuracy"]}
    if keep_features:
        found[FEATURES] = features.float().cpu()
    if pretext.clusters is not None:
        assert pretext.n_init is not None
        rng = learner.streams.generator("query")
        centres = k_means(features, pretext.clusters, pretext.n_init, rng, pretext.k_means)
        found["pretext.cdd"] = cluster_distance_difference(features, centres).cpu()
    return found


def learner_of(protocol: Protocol, pretext: Pretext, learner: TrainableModel) -> Learner:
    """A learner of the task: four classes, the pool for training, its rotations for testing."""
    best = pretext.keep == "best"
    task = protocol.model_copy(
        update={
            "data": protocol.data.model_copy(update={"classes": TURNS}),
            "models": (pretext.model,),
            "training": pretext.training.model_copy(
                update={"start": "warm_best" if best else "warm"}
            ),
            "evaluation": Evaluation(
                epoch=pretext.keep,
                every=1 if best else None,
                batch_size=protocol.evaluation.batch_size,
            ),
            "pretext": None,
        }
    )
    parts, streams = learner.parts, learner.streams
    assert parts.pretext is not None and parts.pretext_test is not None
    rotated = RotatedImages(parts.pretext_test)
    turns = torch.arange(TURNS, device=parts.train_labels.device)
    own = LearnerData(
        train=parts.pretext,
        pool=rotated,
        test=rotated,
        train_labels=parts.train_labels,
        test_labels=turns.repeat(len(parts.train_labels)),
    )
    return Learner(
        task,
        Rotation(),
        own,
        StageStreams(streams.seed, streams.trial),
        learner.numerics,
        orders=learner.orders,
        initial=learner.initial,
    )


class StageStreams(Streams):
    """The stage's own streams: none of the cycles' draws is used here."""

    def key(self, name: Name, cycle: int = 0, part: str = "") -> int:
        """As in a cycle, under another name."""
        return super().key(name, cycle, f"{STAGE} {part}")


def _describe_pool(learner: Learner, size: int, turns: Indices) -> tuple[Tensor, Tensor]:
    """(pool,) float32 mean cross-entropy over the four rotations of each image, and (pool, d) what
    the last linear layer sees of it under `turns` (pool,) quarter turns; from one pass."""
    losses, features, some = [], [], learner.protocol.evaluation.batch_size
    for start in range(0, size, some):
        images = np.arange(start, min(start + some, size))
        seen = learner.outputs(
            {"logits", "features"}, (TURNS * images[:, None] + np.arange(TURNS)).reshape(-1), 0
        )
        truth = torch.arange(TURNS, device=seen["logits"].device).repeat(len(images))
        loss = F.cross_entropy(seen["logits"], truth, reduction="none")
        losses.append(loss.view(-1, TURNS).mean(dim=1))
        features.append(
            seen["features"][torch.from_numpy(TURNS * np.arange(len(images)) + turns[images])]
        )
    return torch.cat(losses), torch.cat(features)
