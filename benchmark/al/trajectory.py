"""Snapshots along one training, their average, and who is compared with whom (ST-CoNAL, ACCV 2022; official code
soony1213/ST-CoNAL at 43cb8c9, sheet sections 2.1 to 2.3).

Networks by name: `teacher` is the average, `students` the snapshots that are compared with it, newest first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.al.functional.averaging import WeightAverage, ema_update, refresh_batch_norm, warmup_alpha
from benchmark.spec.models import Training

Batches = Callable[[], Iterable[Tensor]]
"""The labelled images of this cycle in batches through the train view, for batch-norm statistics."""


class SnapshotTrail:
    """Takes snapshots of a network while it is trained in one cycle."""

    def __init__(self, training: Training) -> None:
        assert training.trajectory is not None
        self.spec, self.epochs = training.trajectory, training.epochs
        self.average = WeightAverage()
        self.snapshots: dict[int, dict[str, Tensor]] = {}
        self._ema_steps = 0
        self._shape: nn.Module | None = None

    def start_cycle(self, model: nn.Module) -> None:
        """Forget the snapshots of the cycle before. The step counter of a moving average goes on, as released."""
        self.snapshots.clear()
        self._shape = model
        if self.spec.average == "swa":
            self.average = WeightAverage()
        elif self.average.module is None:
            self.average.update(model)

    def after_step(self, model: nn.Module) -> None:
        """Move the exponential average, where it is one."""
        if self.spec.average == "ema":
            assert self.average.module is not None and self.spec.ema_decay is not None
            self._ema_steps += 1
            ema_update(self.average.module, model, warmup_alpha(self._ema_steps, self.spec.ema_decay))

    def after_epoch(self, done: int, model: nn.Module, batches: Batches) -> None:
        """Take a snapshot after 1-based epoch `done` if it is due: weights with their own buffers, and the average."""
        if done < self.spec.start or done % self.spec.every:
            return
        self.snapshots[done] = {name: value.detach().clone() for name, value in model.state_dict().items()}
        if self.spec.average == "swa":
            self.average.update(model)
        assert self.average.module is not None
        refresh_batch_norm(self.average.module, batches())
        if self.spec.student_bn == "refreshed":
            self.snapshots[done] = self._refreshed(self.snapshots[done], model, batches)

    def students(self) -> list[int]:
        """Epochs of the snapshots that are compared with the teacher, newest first."""
        taken = sorted(self.snapshots, reverse=True)
        count = (self.epochs - self.spec.start) // self.spec.every
        return taken[:count] if self.spec.students == "last4" else taken

    def networks(self) -> dict[str, nn.Module | list[nn.Module]]:
        """The teacher and the students."""
        assert self._shape is not None
        if self.average.module is None:
            return {}
        return {
            "teacher": self.average.module,
            "students": [self._network(self.snapshots[epoch]) for epoch in self.students()],
        }

    def _network(self, state: Mapping[str, Tensor]) -> nn.Module:
        assert self._shape is not None
        made = copy.deepcopy(self._shape).requires_grad_(False)
        made.load_state_dict(state)
        return made

    def _refreshed(self, state: Mapping[str, Tensor], model: nn.Module, batches: Batches) -> dict[str, Tensor]:
        made = copy.deepcopy(model).requires_grad_(False)
        made.load_state_dict(state)
        refresh_batch_norm(made, batches())
        return dict(made.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed training needs."""
        return {
            "average": self.average.state_dict(),
            "snapshots": {str(epoch): state for epoch, state in self.snapshots.items()},
            "ema_steps": torch.tensor(self._ema_steps),
        }

    def load_state_dict(self, state: Mapping[str, Any], like: nn.Module) -> None:
        """Take a state back; `like` is a network of the same kind on the right device."""
        self._shape, device = like, next(like.parameters()).device
        self.average.load_state_dict(state["average"], like)
        self.snapshots = {
            int(epoch): {name: value.to(device) for name, value in snapshot.items()}
            for epoch, snapshot in state["snapshots"].items()
        }
        self._ema_steps = int(state["ema_steps"])
