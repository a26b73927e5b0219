"""How often the host waits for a device outside the training step: not once for each batch, class,
pick or seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.al.functional.averaging import refresh_batch_norm
from benchmark.al.functional.badge import kmeanspp_seeds
from benchmark.al.functional.kcenter import k_center_greedy
from benchmark.al.strategies.base import View
from benchmark.al.strategies.vaal import AdversarialPair, AdversarialTraining
from benchmark.al.training.numerics import Numerics
from tests.bench import baselines
from tests.simcuda.device import World, pretended
from tests.simcuda.kit import needs_simcuda

pytestmark = needs_simcuda


@pytest.fixture
def world() -> Iterator[World]:
    torch.set_num_threads(1)
    with pretended() as made:
        yield made


def points(count: int, width: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(width))


def waits(world: World, do: Callable[[], object]) -> int:
    world.clear()
    do()
    return world.waits.total()


def test_statistics_are_estimated_anew_without_a_wait(world: World) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
    ).cuda()
    batches = [points(4, 3 * 8 * 8).view(4, 3, 8, 8).cuda() for _ in range(5)]
    assert waits(world, lambda: refresh_batch_norm(network, batches)) == 0


def test_an_evaluation_waits_for_its_figures_alone(world: World) -> None:
    learner = baselines.tod_learner(Numerics(torch.device("cuda")), batch=2)
    learner.evaluate(learner.student)  # uploads
    assert waits(world, lambda: learner.evaluate(learner.student)) == 1, world.waits


@pytest.mark.parametrize("budget", [5, 60])
def test_picks_of_k_center(budget: int, world: World) -> None:
    """Finite features and centres, then the distances and the features for the host, and the picks
    back to the device."""
    features, centres = points(200, 16), points(20, 16)
    expected = k_center_greedy(features, centres, budget)
    on_device = features.cuda(), centres.cuda()
    found: list[torch.Tensor] = []
    assert waits(world, lambda: found.append(k_center_greedy(*on_device, budget))) == 5, world.waits
    assert found[0].is_cuda and found[0].tolist() == expected.tolist()


@pytest.mark.parametrize("budget", [5, 60])
def test_seeds_of_badge(budget: int, world: World) -> None:
    residual, features = points(200, 10), points(200, 16)
    expected = kmeanspp_seeds(residual, features, budget, np.random.default_rng(0))
    on_device = residual.cuda(), features.cuda()
    found: list[torch.Tensor] = []

    def seeds() -> None:
        found.append(kmeanspp_seeds(*on_device, budget, np.random.default_rng(0)))

    assert waits(world, seeds) == 1, world.waits
    assert found[0].tolist() == expected.tolist()


def test_iterations_of_vaal_copy_nothing_from_the_host(world: World) -> None:
    images = points(40, 3 * 32 * 32).view(40, 3, 32, 32).cuda()
    recipe = AdversarialTraining(
        latent=4,
        width=4,
        batch_size=8,
        lr=1e-3,
        passes=1,
        iterations=None,
        vae_steps=2,
        kl="mean",
        train_mode=True,
        redraw=True,
    )
    view = View(
        cycle=0,
        cycles=2,
        classes=10,
        candidates=np.arange(16, 40),
        labelled=np.arange(16),
        pool_size=40,
        rng=np.random.default_rng(0),
        device=torch.device("cuda:0"),
        outputs={},
        images=lambda indices: images[torch.as_tensor(indices).cuda()],
    )
    pair = AdversarialPair(view, recipe)
    assert waits(world, lambda: pair.play(4)) == 0, world.waits
