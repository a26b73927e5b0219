"""Mean teacher (Tarvainen and Valpola, NeurIPS 2017) as the semi-supervised option of ST-CoNAL's
release has it (soony1213/ST-CoNAL at 43cb8c9, train_test.py, use_semi_learning; off by default).

Every batch has labelled and unlabelled images in fixed numbers. Student and teacher see two
augmented views of the same images, and their class probabilities are tied. One pass over the
unlabelled pool is an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.al.functional.averaging import ema_update, warmup_alpha
from benchmark.al.functional.losses import ramp_up, softmax_mse
from benchmark.al.objectives.base import (
    LABELLED,
    REFRESH,
    UNLABELLED,
    Batch,
    Build,
    CycleData,
    Objective,
)
from benchmark.al.training.numerics import promote_dtype

AGAIN = 4
"""Added to the pass of the first view gives that of the second (2 and 3 are the learner's)."""
ROUNDS = 10_000
"""More than the labelled set is gone through in one epoch."""


@dataclass
class TwoViews(Batch):
    """A batch whose images, labelled ones first, are also there in a second view."""

    again: Tensor | None = None
    """(b + u, c, h, w)."""


@dataclass(eq=False)
class MeanTeacher(Objective):
    """(cross-entropy summed over labelled images + w * squared distance of probabilities / classes)
    / batch size."""

    labelled: int
    """Labelled images per batch."""
    unlabelled: int
    """Unlabelled images per batch."""
    weight: float
    """w after the ramp."""
    ramp_epochs: int
    """w grows as weight * exp(-5 (1 - epoch/ramp_epochs)^2) until then."""
    ema_decay: float
    counter: Literal["trial", "cycle"] = "trial"
    """Whether the step counter of the average's warm-up goes on over the cycles, as released."""
    start: Literal["student", "random"] = "student"
    """Where the teacher starts: at the student as it is before a cycle's first step, or, as
    released (main.py, task_model_ema), at a random network of its own, a new one in every cycle
    that starts afresh."""
    second_pass: bool = False
    """Whether the student passes the labelled images of a batch once more after all of them, in
    train mode, as released (train_test.py, train_epoch): the output is thrown away, but running
    statistics move a second time."""
    refresh: Literal["labelled", "mixed"] = "labelled"
    """Batches that batch norm of an average of snapshots is re-estimated from: the labelled images,
    or one epoch's batches of labelled and unlabelled ones, as in a branch of the release
    (train_test.py, update_batchnorm) that no method reaches."""

    uses_unlabelled: ClassVar[bool] = True
    own_batches: ClassVar[bool] = True
    step_cost: ClassVar[Mapping[str, bool | str | tuple[str, ...]]] = {
        "mixed": ("labelled", "unlabelled"),
        "teacher": True,
        "second_pass": "second_pass",
    }
    capturable: ClassVar[bool] = True

    def build(self, build: Build) -> None:
        """The teacher: a network of the same kind with random weights of its own."""
        self._teacher = build.network("teacher").requires_grad_(False)
        self._alpha, self._tie = build.number(), build.number()
        if build.first:
            self._steps = 0

    def modules(self) -> Mapping[str, nn.Module]:
        """The teacher, under a name of its own: `teacher` is the average of a trajectory."""
        return {"mean_teacher": self._teacher}

    def counters(self) -> Mapping[str, int]:
        """n of the average's warm-up."""
        return {"steps": self._steps}

    def load_counters(self, counters: Mapping[str, int]) -> None:
        """Take n back."""
        self._steps = counters["steps"]

    def start_cycle(self, cycle: int, model: nn.Module) -> None:
        """Put teacher and counter where the switches say."""
        if self.start == "student":
            self._teacher.load_state_dict(model.state_dict())
        if self.counter == "cycle":
            self._steps = 0

    def epoch_steps(self, data: CycleData) -> int:
        """Full unlabelled batches in the unlabelled pool, at least one."""
        return max(len(data.unlabelled) // self.unlabelled, 1)

    def batches(self, data: CycleData, epoch: int) -> Iterator[Batch]:
        """The unlabelled pool once in a new order; the labelled set over and over, each round in a
        new order."""
        steps, known = self.epoch_steps(data), self._rounds(data, epoch)
        unknown = data.unlabelled_order(epoch)
        for number in range(steps):
            step = epoch * steps + number
            mine = next(known)
            others = unknown[number * self.unlabelled : (number + 1) * self.unlabelled]
            # Keyed by step: a labelled image is seen several times in an epoch.
            first, second = (
                [data.view(mine, step, LABELLED + more), data.view(others, step, UNLABELLED + more)]
                for more in (0, AGAIN)
            )
            yield TwoViews(first[0], data.labels[mine], epoch, step, first[1], torch.cat(second))

    def _rounds(self, data: CycleData, epoch: int, use: int = LABELLED) -> Iterator[Tensor]:
        """Batches of labelled indices without end; they run on over the ends of rounds."""
        left, number = data.labelled[:0], 0
        while True:
            while len(left) < self.labelled:
                left = torch.cat([left, data.order(epoch * ROUNDS + number, use)])
                number += 1
            yield left[: self.labelled]
            left = left[self.labelled :]

    def refresh_batches(self, data: CycleData, epoch: int) -> Iterator[Tensor]:
        """As `refresh` says; batches of one more epoch, labelled images first."""
        if self.refresh == "labelled":
            yield from super().refresh_batches(data, epoch)
            return
        steps = self.epoch_steps(data)
        known = self._rounds(data, epoch, REFRESH)
        unknown = data.unlabelled_order(epoch)
        for number in range(steps):
            mine = next(known)
            others = unknown[number * self.unlabelled : (number + 1) * self.unlabelled]
            yield data.view(torch.cat([mine, others]), epoch * steps + number, REFRESH)

    def evaluated(self) -> Mapping[str, nn.Module]:
        """The mean teacher, with the running statistics of its own passes."""
        return self.modules()

    def before_step(self, batch: Batch) -> None:
        """a = min(1 - 1/(n+1), decay), n = 1, 2, ..., and the weight of the tie in this epoch."""
        self._steps += 1
        self._alpha.set(warmup_alpha(self._steps, self.ema_decay))
        self._tie.set(ramp_up(self.weight, batch.epoch, self.ramp_epochs))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Both networks run on labelled and unlabelled images together, in train mode."""
        assert (
            isinstance(batch, TwoViews) and batch.unlabelled is not None and batch.again is not None
        )
        images = torch.cat([batch.images, batch.unlabelled])
        logits = promote_dtype(model(images).logits)
        if self.second_pass:
            with torch.no_grad():
                model(batch.images)
        self._teacher.train()
        with torch.no_grad():
            target = promote_dtype(self._teacher(batch.again).logits)
        task = F.cross_entropy(logits[: len(batch.labels)], batch.labels, reduction="sum")
        tie = softmax_mse(logits, target)
        return (task + self._tie.times(tie)) / len(images)

    def after_step(self, model: nn.Module) -> None:
        """w_teacher <- a w_teacher + (1 - a) w_student."""
        ema_update(self._teacher, model, self._alpha.value)
