"""What a step of TOD with COD loss on ResNet-18 costs a device: kernel launches, graph nodes,
waits. No clock is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.al.objectives.base import Batch
from benchmark.al.training.batch_counters import counted_once
from benchmark.al.training.cuda_graphs import WARM_UP
from benchmark.al.training.numerics import Numerics
from tests.bench import baselines
from tests.simcuda.device import World, pretended
from tests.simcuda.kit import needs_simcuda

pytestmark = needs_simcuda
STEPS = 8


def counted(step: str, cycle: int, precision: str = "bf16") -> tuple[World, float, float, float]:
    """The device afterwards; launches of images, launches of the rest, and graph nodes, each of one
    step."""
    torch.set_num_threads(1)
    with pretended() as world:
        learner = baselines.tod_learner(
            Numerics(torch.device("cuda"), precision, step=step), batch=2
        )
        update = learner.updates(learner._optimizer())
        data = learner._cycle_data(cycle, np.arange(64), np.arange(64, 200))
        learner.objective.start_cycle(cycle, learner.student)
        learner.student.train()
        batches = learner.objective.batches(data, 0)
        networks = [learner.student, *learner.objective.modules().values()]
        with counted_once(networks):
            return _counted(world, update, batches)


def _counted(
    world: World, update: Callable[[Batch], Tensor], batches: Iterator[Batch]
) -> tuple[World, float, float, float]:
    for _ in range(WARM_UP + 1):
        update(next(batches))
    world.clear()
    images = 0
    for _ in range(STEPS):
        before = world.launches.total()
        batch = next(batches)
        images += world.launches.total() - before
        update(batch)
    nodes = world.graphs[0].nodes.total() if world.graphs else 0
    return world, images / STEPS, (world.launches.total() - images) / STEPS, nodes


GATES = {("eager", 1): 520, ("captured", 0): 8, ("captured", 1): 8}
"""Launches from the host in a step, its images included; 1,192 and 323 before images were made
several batches at a time, batches counted once for each network, weights cast together, and
gradients of both halves added together."""
NODES = 360
"""Of the graph of a captured step in half precision; 831 and 416 before. 220 of them are
convolutions and batch norms: two statistics for each layer of two networks, and their gradients,
which torch's operations give in two tensors that are joined."""


@pytest.mark.parametrize(("step", "cycle"), GATES)
def test_launches_of_a_step(step: str, cycle: int) -> None:
    world, images, rest, nodes = counted(step, cycle)
    assert world.waits.total() == 0, world.waits
    assert images + rest <= GATES[step, cycle], world.launches.most_common(20)
    assert nodes <= NODES, world.graphs[0].nodes.most_common(20)
    assert (nodes > 0) == (step == "captured")
