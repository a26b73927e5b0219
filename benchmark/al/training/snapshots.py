"""Snapshots along one training, their average, and who is compared with whom (ST-CoNAL, ACCV 2022;
official code soony1213/ST-CoNAL at 43cb8c9, main.py and train_test.py: train, swa_optim,
update_batchnorm, update_ema_variables).

Networks by name: `teacher` is the average, `students` the snapshots that are compared with it,
newest first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmark.al.functional.averaging import (
    WeightAverage,
    ema_update,
    refresh_batch_norm,
    warmup_alpha,
)
from benchmark.al.training.numerics import Number
from benchmark.al.training.recorder import CycleStart, EpochEnd, TrainingRecorder
from benchmark.spec.training import Training

Batches = Callable[[], Iterable[Tensor]]
"""The labelled images of this cycle in batches through the train view, for batch-norm
statistics."""


class SnapshotRecorder(TrainingRecorder):
    """Takes snapshots of a network while it is trained in one cycle."""

    key: ClassVar[str] = "trail"

    def __init__(self, training: Training, number: Callable[[], Number] = Number) -> None:
        """`number` makes what the factor of a moving average is kept in."""
        assert training.trajectory is not None
        self.spec, self.epochs = training.trajectory, training.epochs
        self.average = WeightAverage()
        self.snapshots: dict[int, dict[str, Tensor]] = {}
        self._ema_steps, self._alpha = 0, number()
        self._shape: nn.Module | None = None

    def start_cycle(self, start: CycleStart) -> None:
        """Forget the cycle before. A moving average starts at the network as it is before its first
        step or, as released (main.py, task_model_ema), at an unrelated random one.

        Its step counter goes on where the protocol says so: from the second cycle on the start is
        then left at once with the full decay, as released.
        """
        self.snapshots.clear()
        self._shape, self.average = start.model, WeightAverage()
        if self.spec.average == "ema":
            self.average.update(
                start.unrelated() if self.spec.ema_start == "random" else start.model
            )
            if self.spec.ema_counter == "cycle":
                self._ema_steps = 0

    def before_step(self) -> None:
        """Count the step for the exponential average, where it is one."""
        if self.spec.average == "ema":
            assert self.spec.ema_decay is not None
            self._ema_steps += 1
            self._alpha.set(warmup_alpha(self._ema_steps, self.spec.ema_decay))

    def after_step(self, model: nn.Module) -> None:
        """Move the exponential average, where it is one."""
        if self.spec.average == "ema":
            ema_update(self.teacher, model, self._alpha.value)

    def after_epoch(self, end: EpochEnd) -> None:
        """Take a snapshot after an epoch if it is due: weights with their own buffers, and the
        average."""
        if end.done >= self.spec.start and end.done % self.spec.every == 0:
            # Statistics of a network are those of the arithmetic that it is evaluated in.
            with end.autocast():
                self._take(end.done, end.model, end.batches)

    def _take(self, done: int, model: nn.Module, batches: Batches) -> None:
        self.snapshots[done] = {
            name: value.detach().clone() for name, value in model.state_dict().items()
        }
        if self.spec.average == "swa":
            self.average.update(model)
        refresh_batch_norm(self.teacher, batches())
        if self.spec.student_bn == "refreshed":
            self.snapshots[done] = self._refreshed(self.snapshots[done], model, batches)

    def students(self) -> list[int]:
        """Epochs of the snapshots that are compared with the teacher, newest first."""
        taken = sorted(self.snapshots, reverse=True)
        count = (self.epochs - self.spec.start) // self.spec.every
        return taken[:count] if self.spec.students == "last4" else taken

    @property
    def teacher(self) -> nn.Module:
        """The averaged network of the training that is over."""
        assert self.average.module is not None
        return self.average.module

    def networks(self) -> dict[str, nn.Module | list[nn.Module]]:
        """The teacher and the students; nothing before the first training."""
        if self.average.module is None:
            return {}
        return {
            "teacher": self.teacher,
            "students": [self._network(self.snapshots[e]) for e in self.students()],
        }

    def _network(self, state: Mapping[str, Tensor]) -> nn.Module:
        assert self._shape is not None
        made = copy.deepcopy(self._shape).requires_grad_(False)
        made.load_state_dict(state)
        return made

    def _refreshed(
        self, state: Mapping[str, Tensor], model: nn.Module, batches: Batches
    ) -> dict[str, Tensor]:
        made = copy.deepcopy(model).requires_grad_(False)
        made.load_state_dict(state)
        refresh_batch_norm(made, batches())
        return dict(made.state_dict())

    def evaluated(self) -> Mapping[str, nn.Module]:
        """The averaged network."""
        return {"averaged": self.teacher}

    def carried(self) -> dict[str, Any]:
        """What the next cycle needs of this one: no weights."""
        return {"ema_steps": torch.tensor(self._ema_steps)}

    def state(self) -> dict[str, Any]:
        """Everything that a resumed training, or scoring after it, needs."""
        return self.carried() | {
            "average": self.average.state_dict(),
            "snapshots": {str(epoch): state for epoch, state in self.snapshots.items()},
        }

    def load_state(self, state: Mapping[str, Any], like: nn.Module) -> None:
        """Take back what `carried` or `state` returned; `like` is a network of the same kind on the
        right device."""
        self._ema_steps = int(state["ema_steps"])
        if "average" not in state:
            return
        self._shape, device = like, next(like.parameters()).device
        self.average.load_state_dict(state["average"], like)
        self.snapshots = {
            int(epoch): {name: value.to(device) for name, value in snapshot.items()}
            for epoch, snapshot in state["snapshots"].items()
        }
