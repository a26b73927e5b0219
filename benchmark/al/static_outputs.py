"""What a strategy is shown of every image of the pool from before the first training on."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from benchmark.al.output_name import FEATURES, OutputName
from benchmark.al.pretext.stage import pretext_outputs
from benchmark.al.session import Session
from benchmark.al.strategies.base import Strategy
from benchmark.al.trainable import TrainableModel
from benchmark.errors import UsageError
from benchmark.spec.protocol import Protocol


def static_outputs(
    protocol: Protocol, strategy: Strategy, learner: TrainableModel, session: Session
) -> Mapping[str, Tensor]:
    """Arrays (pool, ...) by name: `pretext.<name>` from the stage before the first cycle,
    `features.<name>` from files.

    Raises UsageError for what the protocol does not have. May raise `TrainingInterrupted`.
    """
    found = dict(pretext_outputs(protocol, strategy, learner, session))
    for need in map(OutputName.parse, strategy.needs):
        if need.network == FEATURES:
            if need.output not in learner.parts.features:
                raise UsageError(
                    f"the strategy needs '{need.unlabelled}'",
                    where="protocol.features",
                    remedy=(
                        f'pin {need.output} = {{ file = "NAME.npz", sha256 = "..." }} there '
                        "(docs/add-a-strategy.md)"
                    ),
                )
            found[str(need.unlabelled)] = learner.parts.features[need.output]
    return found
