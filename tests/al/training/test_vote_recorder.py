"""Votes of snapshots keep apart as many classes as there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmark.al.training.vote_recorder import VoteRecorder


class Fixed:
    """Says one class of each image, whatever the network."""

    def __init__(self, labels: list[int], classes: int) -> None:
        self.logits = torch.eye(classes)[labels]

    def outputs(self, networks: Any, names: Any, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.logits}


@pytest.mark.parametrize(("classes", "kind"), [(10, torch.uint8), (256, torch.uint8), (300, torch.int32)])
def test_votes_are_stored_in_as_many_bytes_as_the_classes_need(classes: int, kind: torch.dtype) -> None:
    ballot, model = VoteRecorder(np.array([7, 3, 5]), first_epoch=1), torch.nn.Identity()
    for epoch, labels in enumerate([[0, 0, 0], [1, classes - 1, 0], [1, 0, classes - 1]]):
        ballot.after_epoch(epoch, model, Fixed(labels, classes))  # type: ignore[arg-type]
    for kept in (ballot, VoteRecorder.load(ballot.state_dict(), torch.device("cpu"))):
        votes = kept.of(np.array([5, 7]))
        assert votes.dtype == kind and votes.tolist() == [[0, 1], [classes - 1, 1]]
