"""Learning rates as plain functions of the place in a training: nothing to save, nothing to
step."""

from __future__ import annotations

import math

from benchmark.spec.training import Cosine, CosineRestarts, MultiStep


def learning_rate_at(
    schedule: MultiStep | Cosine | CosineRestarts,
    lr: float,
    epoch: int,
    step: int,
    epochs: int,
    steps: int,
) -> float:
    """Rate in force at a 0-based `epoch` and, in it, the 0-based `step` counted from the start of
    the training.

    `lr` is the full rate, `epochs` and `steps` the length of the training and of one epoch. Only
    `Cosine` looks at steps.
    """
    if isinstance(schedule, MultiStep):
        return multistep_rate(schedule, lr, epoch)
    if isinstance(schedule, CosineRestarts):
        return cosine_restarts(schedule, lr, epoch)
    return 0.5 * lr * (1 + math.cos(math.pi * step / (epochs * steps)))


def in_cycle(
    schedule: MultiStep | Cosine | CosineRestarts, cycle: int, cycles: int
) -> MultiStep | Cosine | CosineRestarts:
    """The schedule of a 0-based `cycle` of so many: gamma changes linearly towards `last_gamma`
    where that is set.

    soony1213/ST-CoNAL at 43cb8c9, main.py, option linear_gamma: g - c (g - 0.1) / (cycles - 1).
    """
    if isinstance(schedule, Cosine) or schedule.last_gamma is None or cycles == 1:
        return schedule
    gamma = schedule.gamma - cycle * (schedule.gamma - schedule.last_gamma) / (cycles - 1)
    return schedule.model_copy(update={"gamma": gamma})


def multistep_rate(schedule: MultiStep, lr: float, epoch: int) -> float:
    """lr * gamma^(milestones reached). A milestone is reached by the epoch of that index, or one
    later if `late`."""
    reached = epoch - 1 if schedule.late else epoch
    return lr * schedule.gamma ** sum(milestone <= reached for milestone in schedule.milestones)


def cosine_restarts(schedule: CosineRestarts, lr: float, epoch: int) -> float:
    """lr for the first `start` epochs, then half cosines of `period` epochs from gamma * lr towards
    `floor`."""
    if epoch < schedule.start:
        return lr
    place = (epoch - schedule.start) % schedule.period
    if schedule.floor == 0:
        return 0.5 * schedule.gamma * lr * (1 + math.cos(math.pi * place / schedule.period))
    return schedule.floor + 0.5 * (schedule.gamma * lr - schedule.floor) * (
        1 + math.cos(math.pi * place / schedule.period)
    )


def snapshot_epochs(epochs: int, fraction: float) -> list[int]:
    """0-based epochs after which snapshots vote: the last round(epochs * fraction), halves to even,
    the final one included.

    Empty where that rounds to 0. Option --DIS_frac of train_net.py (tangypnuaa/DIAM at cddf397): 10
    of 20 by default.
    """
    return list(range(max(epochs - round(epochs * fraction), 0), epochs))
