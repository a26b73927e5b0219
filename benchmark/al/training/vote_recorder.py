"""Hard labels that the snapshots along a training give to the unlabelled images: DIAM's and CAL's
hypothesis set (Tang and Huang, NeurIPS 2022; tangypnuaa/DIAM at cddf397, train_net.py).

They are cast while training, after each of the last epochs (`schedules.snapshot_epochs`), through
the train view at the network's own size, and stored one byte an image where there are no more than
256 classes. Casting draws from its own stream, so a training that records votes gives the same
weights as one that does not; the released program trains each network a second time for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.al.pool import Indices
from benchmark.al.training.recorder import CycleStart, EpochEnd, TrainingRecorder
from benchmark.al.training.schedules import snapshot_epochs
from benchmark.errors import UsageError

VOTES = "votes"
"""The output's name."""
BYTE = 256
"""Classes that a byte can distinguish."""


class VoteRecorder(TrainingRecorder):
    """Votes of one network in one cycle, where the strategy asks for them."""

    key: ClassVar[str] = "ballot"

    def __init__(self) -> None:
        self.voters: Indices | None = None
        """Data set indices that are voted on; None where no votes are recorded."""
        self.first_epoch = 0
        """First 0-based epoch after which votes are cast."""
        self.votes: list[Tensor] = []

    def start_cycle(self, start: CycleStart) -> None:
        """Forget the votes; cast new ones where they are needed. Raises UsageError where no epoch
        would cast one."""
        self.voters, self.votes = None, []
        if not self.recorded(start.needs):
            return
        training = start.training
        voting = snapshot_epochs(training.epochs, training.vote_fraction)
        if not voting:
            raise UsageError(
                f"votes are asked for, but {training.vote_fraction} of {training.epochs} epochs "
                "round to none",
                where="protocol.training",
                remedy="raise training.epochs or training.vote_fraction",
            )
        self.voters, self.first_epoch = start.candidates, voting[0]

    def after_epoch(self, end: EpochEnd) -> None:
        """Cast the votes of the weights after an epoch, if they count."""
        epoch = end.done - 1
        if self.voters is None or epoch < self.first_epoch:
            return
        passes = end.inference(f"{VOTES} {epoch}")
        logits = passes.outputs({"": end.model}, {"logits"}, torch.from_numpy(self.voters))[
            "logits"
        ]
        # In a byte class 256 would be class 0.
        kind = torch.uint8 if logits.shape[1] <= BYTE else torch.int32
        self.votes.append(logits.argmax(dim=1).to(kind))

    def recorded(self, needs: Iterable[str]) -> frozenset[str]:
        """The votes, where they are among the needs."""
        return frozenset({VOTES}).intersection(needs)

    def outputs(self, names: Iterable[str], indices: Indices) -> dict[str, Tensor]:
        """(snapshots, n) votes on these images; they must have been voted on."""
        return {name: self.of(indices) for name in self.recorded(names)}

    def of(self, indices: Indices) -> Tensor:
        """(snapshots, n) uint8 or int32 votes on these images; they must have been voted on."""
        assert self.voters is not None, "votes are recorded by a training that was asked for them"
        order = np.argsort(self.voters, kind="stable")
        indexes = order[np.searchsorted(self.voters, indices, sorter=order)]
        return torch.stack(self.votes)[:, torch.from_numpy(indexes)]

    def state(self) -> dict[str, Any]:
        """Tensors to save; empty where no votes are recorded."""
        if self.voters is None:
            return {}
        return {
            "voters": torch.from_numpy(self.voters),
            "votes": list(self.votes),
            "first": torch.tensor(self.first_epoch),
        }

    def load_state(self, state: Mapping[str, Any], like: nn.Module) -> None:
        """Take saved votes back, onto the device of `like`."""
        device = next(like.parameters()).device
        self.voters, self.first_epoch = state["voters"].numpy(), int(state["first"])
        self.votes = [votes.to(device) for votes in state["votes"]]
