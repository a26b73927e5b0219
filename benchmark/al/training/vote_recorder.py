"""Hard labels that the snapshots along a training give to the unlabelled images: DIAM's and CAL's hypothesis set
(Tang and Huang, NeurIPS 2022; tangypnuaa/DIAM at cddf397, train_net.py).

They are cast while training, after each of the last epochs (`schedules.snapshot_epochs`), through the train view at the
network's own size, and stored one byte an image where there are no more than 256 classes. Casting draws from its own stream,
so a training that records votes gives the same weights as one that does not; the released program trains each network a
second time for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.al.pool import Indices
from benchmark.al.training.inference import Inference

BYTE = 256
"""Classes that a byte can tell apart."""


class VoteRecorder:
    """Votes of one network in one cycle."""

    def __init__(self, voters: Indices, first_epoch: int) -> None:
        """`voters`: data set indices that are voted on; `first_epoch`: first 0-based epoch after which votes are cast."""
        self.voters, self.first_epoch = voters, first_epoch
        self.votes: list[Tensor] = []

    def after_epoch(self, epoch: int, model: nn.Module, inference: Inference) -> None:
        """Cast the votes of the weights after 0-based `epoch`, if they count."""
        if epoch >= self.first_epoch:
            logits = inference.outputs({"": model}, {"logits"}, torch.from_numpy(self.voters))["logits"]
            # In a byte class 256 would be class 0.
            kind = torch.uint8 if logits.shape[1] <= BYTE else torch.int32
            self.votes.append(logits.argmax(dim=1).to(kind))

    def of(self, indices: Indices) -> Tensor:
        """(snapshots, n) uint8 votes on these images; they must have been voted on."""
        order = np.argsort(self.voters, kind="stable")
        places = order[np.searchsorted(self.voters, indices, sorter=order)]
        return torch.stack(self.votes)[:, torch.from_numpy(places)]

    def state_dict(self) -> dict[str, Any]:
        """Tensors to save."""
        return {
            "voters": torch.from_numpy(self.voters),
            "votes": list(self.votes),
            "first": torch.tensor(self.first_epoch),
        }

    @staticmethod
    def load(state: Mapping[str, Any], device: torch.device) -> VoteRecorder:
        """A saved ballot."""
        made = VoteRecorder(state["voters"].numpy(), int(state["first"]))
        made.votes = [votes.to(device) for votes in state["votes"]]
        return made
