"""A recorded training of an official program played again by the real Learner: its images, orders
and weights by formula.

All that a case says is read from it: sizes, widths, options, which batches, how many cycles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapters import load_canonical
from adapters._networks import stages_of
from benchmark.al.learner import Learner, LearnerData
from benchmark.al.objectives.base import LABELLED, REFRESH, CycleData, Objective, Orders
from benchmark.al.objectives.mean_teacher import AGAIN, ROUNDS
from benchmark.al.random.streams import Streams
from benchmark.al.training.numerics import Numerics
from benchmark.spec.data import Data, Split
from benchmark.spec.protocol import Acquisition, Evaluation, Initial, Protocol
from benchmark.spec.training import CosineRestarts, Model, MultiStep, Sgd, Training, Trajectory
from benchmark.spec.transforms import Views

FP64 = Numerics(torch.device("cpu"), "fp64", channels_last=False)
SIDE = 32
TEST_FROM = 10_000
"""Test image k is image TEST_FROM + k of the formula."""


class FormulaImages:
    """Image i = sin(x_step * arange(3072) + x_shift * (first + i)); the second view of a pair is
    mirrored."""

    shape = (3, SIDE, SIDE)

    def __init__(self, x_step: float, x_shift: float, first: int = 0) -> None:
        self._ramp, self._shift, self._first = x_step * np.arange(3 * SIDE * SIDE), x_shift, first
        self._made: dict[int, Tensor] = {}

    def batch(
        self, indices: Tensor, counter: object = None, epoch: int = 0, pass_: int = 0
    ) -> Tensor:
        images = torch.stack([self._image(int(i)) for i in indices])
        return images.flip(3) if pass_ >= AGAIN else images

    def _image(self, index: int) -> Tensor:
        if index not in self._made:
            values = np.sin(self._ramp + self._shift * (self._first + index))
            self._made[index] = torch.from_numpy(values.reshape(self.shape))
        return self._made[index]


def labels_of(count: int, classes: int) -> Tensor:
    """Label of image i: (i * i + i // 3) % 10, or modulo the classes where there are fewer."""
    i = torch.arange(count)
    return (i * i + i // 3) % min(classes, 10)


@dataclass
class RecordedOrders(Orders):
    """Orders given as lists of image numbers, by cycle."""

    labelled_by_epoch: list[dict[int, list[int]]] = field(default_factory=list)
    unlabelled_by_step: list[dict[int, list[int]]] = field(default_factory=list)
    refreshed: list[list[list[int]]] = field(default_factory=list)

    def labelled(self, data: CycleData, epoch: int, use: int) -> Tensor:
        """The epoch's labelled images, or those of the next pass that re-estimates batch norm."""
        if use == REFRESH:
            return torch.tensor(self.refreshed[data.cycle].pop(0))
        assert use == LABELLED
        return torch.tensor(self.labelled_by_epoch[data.cycle][epoch])

    def unlabelled(self, data: CycleData, number: int) -> Tensor:
        """The unlabelled images of that number; any that is not a step's is the first step's."""
        found = self.unlabelled_by_step[data.cycle]
        return torch.tensor(found[number if number in found else 0])

    def turns(self, data: CycleData, epoch: int, indices: Tensor) -> Tensor:
        raise AssertionError("no rotations here")


def by_epoch(steps: list[Any], images: Callable[[Any], list[int]]) -> dict[int, list[int]]:
    """The batches of each epoch, one after the other."""
    found: dict[int, list[int]] = {}
    for step in steps:
        found.setdefault(step["epoch"], []).extend(images(step))
    return found


def rounds_by_epoch(steps: list[Any], labelled: int) -> dict[int, list[int]]:
    """Labelled halves of mixed batches, under the number of an epoch's first round."""
    whole = by_epoch(steps, lambda step: step["images"][:labelled])
    return {epoch * ROUNDS: images for epoch, images in whole.items()}


def weights(
    inputs: Mapping[str, Any],
    names: Mapping[str, tuple[str, str]],
    rename: Callable[[str], str] = str,
) -> Callable[[str, int, nn.Module], None]:
    """Initial weights by formula: `names` gives for each network of ours the fill and the canonical
    list of the case."""

    def initial(name: str, cycle: int, module: nn.Module) -> None:
        if name not in names or names[name][0] not in inputs["fills"]:
            return
        rule = dict(inputs["fills"][names[name][0]])
        rule["mul"] += rule.get("add_to_mul_per_cycle", 0) * cycle
        load_canonical(module, inputs[names[name][1]], rule, rename)

    return initial


def learner_of(
    inputs: Mapping[str, Any],
    objective: Objective,
    training: Training,
    acquisition: Acquisition,
    orders: RecordedOrders,
    initial: Callable[[str, int, nn.Module], None],
    pool: int,
) -> Learner:
    """The real learner on the case's images."""
    shapes = {name: shape for _, name, shape in inputs["canonical"]}
    blocks, widths = stages_of(shapes)
    heads = 2 if "fc_b.weight" in shapes else 1
    protocol = Protocol(
        seed=0,
        data=Data(
            name="formula",
            train_size=pool,
            test_size=inputs["test_images"],
            classes=inputs["classes"],
            split=Split(rule="official"),
        ),
        views=Views(train=(), test=(), pool="test"),
        models=(
            Model(name="resnet_cifar", params={"blocks": blocks, "widths": widths, "heads": heads}),
        ),
        acquisition=acquisition,
        training=training,
        evaluation=Evaluation(epoch="last", batch_size=training.batch_size),
    )
    step, shift = inputs["images"]["x_step"], inputs["images"]["x_shift"]
    train = FormulaImages(step, shift)
    parts = LearnerData(
        train=train,
        pool=train,
        test=FormulaImages(step, shift, TEST_FROM),
        train_labels=labels_of(pool, inputs["classes"]),
        test_labels=labels_of(inputs["test_images"], inputs["classes"]),
    )
    return Learner(protocol, objective, parts, Streams(0, 0), FP64, orders=orders, initial=initial)


def sgd_training(
    *,
    epochs: int,
    batch: int,
    lr: float,
    milestones: list[int],
    gamma: float,
    late: bool,
    start: str,
    momentum: float,
    weight_decay: float,
    trajectory: Trajectory | None = None,
    last_gamma: float | None = None,
    cosine: str = "lr_multistep",
    period: int = 10,
    floor: float = 0.0,
) -> Training:
    """SGD as both papers have it; `cosine` is ST-CoNAL's name of a schedule."""
    schedule: MultiStep | CosineRestarts = MultiStep(
        kind="multistep",
        milestones=tuple(milestones),
        gamma=gamma,
        late=late,
        last_gamma=last_gamma,
    )
    if cosine != "lr_multistep":
        warm = cosine == "lr_constwarmup_CLR_cosine"
        schedule = CosineRestarts(
            kind="cosine_restarts",
            start=milestones[0] + 1 if warm else 1,
            period=period,
            floor=floor,
            gamma=gamma if warm else 1.0,
            last_gamma=last_gamma if warm else None,
        )
    return Training(
        epochs=epochs,
        batch_size=batch,
        shuffle=True,
        drop_last=False,
        start=start,
        trajectory=trajectory,  # type: ignore[arg-type]
        optimizer=Sgd(
            name="sgd", lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=False
        ),
        schedule=schedule,
    )


def acquisition_of(initial: int, budget: int, cycles: int, candidates: int | None) -> Acquisition:
    return Acquisition(
        initial=Initial(rule="uniform", size=initial),
        budget=budget,
        cycles=cycles,
        candidates=candidates,
    )


# ------------------------------------------------------------------------------------- measurements


def norm(module: nn.Module) -> float:
    """L2 norm of all parameters."""
    return float(torch.sqrt(sum(value.detach().square().sum() for value in module.parameters())))  # type: ignore[arg-type]


def bn_sums(module: nn.Module) -> list[float]:
    """Sum of all running means, and of all running variances."""
    state = module.state_dict()
    return [
        float(sum(value.sum() for name, value in state.items() if name.endswith(end)))
        for end in ("running_mean", "running_var")
    ]


Row = dict[str, float]


def watched(learner: Learner, measure: Mapping[str, Callable[[], float]]) -> list[Row]:
    """Makes the learner's updates leave a row a step: the loss, the rates in force and what is
    measured afterwards."""
    rows: list[Row] = []
    made = learner.updates

    def updates(optimizer: torch.optim.Optimizer) -> Callable[[Any], Tensor]:
        update = made(optimizer)

        def step(batch: Any) -> Tensor:
            loss = update(batch)
            rates = {
                "lr": optimizer.param_groups[0]["lr"],
                "module_lr": optimizer.param_groups[-1]["lr"],
            }
            rows.append(
                {"loss": float(loss), **rates} | {name: take() for name, take in measure.items()}
            )
            return loss

        return step

    learner.updates = updates  # type: ignore[method-assign]
    return rows
