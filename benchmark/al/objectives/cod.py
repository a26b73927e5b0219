"""The unsupervised loss of TOD with an EMA teacher (Huang et al., ICCV 2021, section 3.4, called
COD loss in the release and EMAOD in the paper; official code siyuhuang/TOD at 883494b).

Every step also sees an unlabelled batch. A second head of the student is tied to the first one
(residual terms) and to the teacher's first head, by mean squared errors of raw logits, on labelled
and unlabelled images alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from benchmark.al.functional.averaging import ema_update
from benchmark.al.functional.losses import cod_loss
from benchmark.al.objectives.base import UNLABELLED, Batch, Build, CycleData, Objective, in_groups

ONCE = 2**32 - 1
"""Number of the order that the batch of `drawn_once` is cut from; no step has it."""


@dataclass(eq=False)
class Cod(Objective):
    """Cross-entropy + weight * four consistency terms, with an EMA teacher."""

    weight: float
    """lambda; multiplies errors averaged over the K logits, so the weight per image distance is
    weight / K."""
    ema_decay: float = 0.999
    first_batch: Literal["fixed", "fresh", "drawn_once"] = "fixed"
    """Unlabelled batches of cycle 0. `drawn_once`: in every step the same images, which have
    nothing to do with who is a candidate later on, as released (main_TOD.py: the head of the list
    as it stood before training, which is shuffled again before the candidates are cut). `fixed`: in
    every step the head of the unlabelled list, all of whose images are candidates too. `fresh`:
    drawn again in every step."""
    teacher_start: Literal["random", "student"] = "random"
    """Weights of the teacher before the first step: an unrelated random network (as released) or
    the student's."""
    teacher_carry: Literal["carry", "reset"] = "carry"
    """Whether teacher and step counter go on across cycles (as released) or start at the student in
    every later cycle; where the teacher of cycle 0 starts, `teacher_start` alone decides."""
    teacher_mode: Literal["train", "eval"] = "train"
    """Batch statistics (as released) or the student's running statistics in the teacher's forward
    passes."""

    uses_unlabelled: ClassVar[bool] = True
    step_cost: ClassVar[Mapping[str, bool]] = {"unlabelled": True, "teacher": True}
    capturable: ClassVar[bool] = True

    def build(self, build: Build) -> None:
        """The teacher is a network of the same kind with random weights of its own."""
        self._teacher = build.network("teacher").requires_grad_(False)
        self._steps, self._alpha, self._halves = 0, build.number(), build.halves
        self._first = self._counted_before(cycle=0)

    def modules(self) -> Mapping[str, nn.Module]:
        """The teacher."""
        return {"teacher": self._teacher}

    def counters(self) -> Mapping[str, int]:
        """t of the EMA's warm-up, counted over the whole trial."""
        return {"steps": self._steps}

    def load_counters(self, counters: Mapping[str, int]) -> None:
        """Take t back."""
        self._steps = counters["steps"]

    def start_cycle(self, cycle: int, model: nn.Module) -> None:
        """Put the teacher where the switches say."""
        at_student = (
            self.teacher_start == "student" if cycle == 0 else self.teacher_carry == "reset"
        )
        if at_student:
            self._teacher.load_state_dict(model.state_dict())
            self._steps = 0

    def _counted_before(self, cycle: int) -> int:
        """Networks in the average before a cycle's first step: a random start is one of them, the
        student's own is not."""
        return int(self.teacher_start == "random" and (cycle == 0 or self.teacher_carry == "carry"))

    def batches(self, data: CycleData, epoch: int) -> Iterator[Batch]:
        """Labelled batches as usual, each with one unlabelled batch of the nominal size."""
        self._first = self._counted_before(
            data.cycle
        )  # here and not in `start_cycle`, which a resumed cycle skips
        # Keyed by step, not epoch: the fixed batch of cycle 0 differs from step to step by
        # augmentation.
        images = data.views(self._unlabelled(data, epoch), UNLABELLED)
        for batch in super().batches(data, epoch):
            yield replace(batch, unlabelled=next(images))

    def _unlabelled(self, data: CycleData, epoch: int) -> Iterator[tuple[Tensor, int]]:
        """Unlabelled indices of every step of an epoch, and the step."""
        listed, steps = data.unlabelled, range(epoch * data.steps, (epoch + 1) * data.steps)
        size = min(data.training.batch_size, len(listed))
        if data.cycle == 0 and self.first_batch == "fixed":
            yield from ((listed[:size], step) for step in steps)
            return
        if data.cycle == 0 and self.first_batch == "drawn_once":
            once = data.unlabelled_order(ONCE)[:size]
            yield from ((once, step) for step in steps)
            return
        for some in in_groups(steps, data.ahead):
            yield from zip(data.unlabelled_heads(some, size), some, strict=True)

    def before_step(self, batch: Batch) -> None:
        """a = min(1 - 1/(t+1), decay), t = 1, 2, ..."""
        self._steps += 1
        self._alpha.set(min(1 - 1 / (self._steps + self._first), self.ema_decay))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Student and teacher run on labelled and unlabelled images, whose batch statistics stay
        apart."""
        assert batch.unlabelled is not None
        labelled, unlabelled = self._halves(model, batch.images, batch.unlabelled)
        self._teacher.train(self.teacher_mode == "train")
        with torch.no_grad():
            target, unlabelled_target = self._halves(self._teacher, batch.images, batch.unlabelled)
        return cod_loss(
            labelled, unlabelled, target.logits, unlabelled_target.logits, batch.labels, self.weight
        )

    def after_step(self, model: nn.Module) -> None:
        """w_teacher <- a w_teacher + (1 - a) w_student."""
        ema_update(self._teacher, model, self._alpha.value, buffers=self.teacher_mode == "eval")
