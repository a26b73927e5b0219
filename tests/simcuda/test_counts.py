"""What a step of TOD with COD loss on ResNet-18 costs a device: kernel launches, graph nodes, waits. No clock is read."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from bench import ways

from benchmark.al.numerics import Numerics
from benchmark.al.step import WARM_UP
from simcuda.device import World, pretended
from simcuda.kit import needs_simcuda

pytestmark = needs_simcuda
STEPS = 2


def counted(step: str, cycle: int, precision: str = "bf16") -> tuple[World, float, float, float]:
    """The device afterwards; launches of images, launches of the rest, and graph nodes, each of one step."""
    torch.set_num_threads(1)
    with pretended() as world:
        learner = ways.tod_learner(Numerics(torch.device("cuda"), precision, step=step), batch=2)
        update, data = (
            learner.updates(learner._optimizer()),
            learner._cycle_data(cycle, np.arange(64), np.arange(64, 200)),
        )
        learner.objective.start_cycle(cycle, learner.student)
        learner.student.train()
        batches = learner.objective.batches(data, 0)
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


GATES = {
    ("eager", 0): 10000,
    ("eager", 1): 10000,
    ("together", 1): 10000,
    ("captured", 0): 10000,
    ("captured", 1): 10000,
}
"""Launches from the host in a step, its images included."""
NODES = 10000
"""Of the graph of a captured step."""


@pytest.mark.parametrize(("step", "cycle"), GATES)
def test_launches_of_a_step(step: str, cycle: int) -> None:
    world, images, rest, nodes = counted(step, cycle)
    print(
        step,
        cycle,
        images,
        rest,
        nodes,
        Counter(world.launches).most_common(40),
        world.graphs and world.graphs[0].nodes.most_common(40),
    )
    assert world.waits.total() == 0, world.waits
    assert images + rest <= GATES[step, cycle]
    assert nodes <= NODES
    assert (nodes > 0) == (step == "captured")
