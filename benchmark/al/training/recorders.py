"""Which recorders a training has."""

from __future__ import annotations

from collections.abc import Callable

from benchmark.al.training.numerics import Number
from benchmark.al.training.recorder import TrainingRecorder
from benchmark.al.training.snapshots import SnapshotRecorder
from benchmark.al.training.vote_recorder import VoteRecorder
from benchmark.spec.training import Training


def recorders_of(
    training: Training, number: Callable[[], Number] = Number
) -> list[TrainingRecorder]:
    """New recorders for one network. `number` makes what a factor that a captured step reads is
    kept in."""
    snapshots = [] if training.trajectory is None else [SnapshotRecorder(training, number)]
    return [*snapshots, VoteRecorder()]
