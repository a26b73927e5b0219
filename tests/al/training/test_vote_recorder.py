"""Votes of snapshots keep apart as many classes as there are."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.al.training.recorder import CycleStart, EpochEnd
from benchmark.al.training.vote_recorder import VoteRecorder


class Fixed:
    """Says one class of each image, whatever the network."""

    def __init__(self, labels: list[int], classes: int) -> None:
        self.logits = torch.eye(classes)[labels]

    def outputs(self, networks: Any, names: Any, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.logits}


@pytest.mark.parametrize(
    ("classes", "kind"), [(10, torch.uint8), (256, torch.uint8), (300, torch.int32)]
)
def test_votes_are_stored_in_as_many_bytes_as_the_classes_need(
    classes: int, kind: torch.dtype
) -> None:
    recorder, model = VoteRecorder(), torch.nn.Linear(1, 1)
    training = SimpleNamespace(epochs=3, vote_fraction=2 / 3)
    recorder.start_cycle(
        CycleStart(training, model, frozenset({"votes"}), np.array([7, 3, 5]), lambda: model)
    )
    asked: list[str] = []
    for epoch, labels in enumerate([[0, 0, 0], [1, classes - 1, 0], [1, 0, classes - 1]]):

        def inference(name: str, labels: list[int] = labels) -> Fixed:
            asked.append(name)
            return Fixed(labels, classes)

        recorder.after_epoch(EpochEnd(epoch + 1, model, list, inference, nullcontext))
    assert asked == ["votes 1", "votes 2"]
    again = VoteRecorder()
    again.load_state(recorder.state(), model)
    for kept in (recorder, again):
        votes = kept.outputs({"votes", "logits"}, np.array([5, 7]))["votes"]
        assert votes.dtype == kind and votes.tolist() == [[0, 1], [classes - 1, 1]]


def test_nothing_is_recorded_that_is_not_needed() -> None:
    recorder, model = VoteRecorder(), torch.nn.Linear(1, 1)
    training = SimpleNamespace(epochs=3, vote_fraction=1.0)
    for needs, kept in ((frozenset({"votes"}), True), (frozenset({"logits"}), False)):
        recorder.start_cycle(CycleStart(training, model, needs, np.array([7, 3, 5]), lambda: model))
        assert bool(recorder.state()) is kept and bool(recorder.recorded(needs)) is kept
    recorder.after_epoch(
        EpochEnd(3, model, list, lambda name: pytest.fail("no pass is due"), nullcontext)
    )
    assert recorder.outputs({"logits"}, np.array([7])) == {}
