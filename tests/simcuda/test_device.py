"""The pretended device against the CPU and against what a real one refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from tests.simcuda.device import Fault, World, pretended
from tests.simcuda.kit import needs_simcuda

pytestmark = needs_simcuda


@pytest.fixture
def world() -> Iterator[World]:
    torch.set_num_threads(1)
    with pretended() as made:
        yield made


def test_a_backward_pass_is_that_of_the_cpu(world: World) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)
    )
    images = torch.randn(4, 3, 8, 8)
    network(images).square().sum().backward()
    expected = [value.grad.clone() for value in network.parameters()]
    running = network[1].running_mean.clone()
    network.zero_grad()
    network[1].reset_running_stats()
    network.to("cuda")
    loss = network(images.cuda()).square().sum()
    loss.backward()
    assert loss.is_cuda and loss.device == torch.device("cuda:0")
    for value, grad in zip(network.parameters(), expected, strict=True):
        assert value.grad.is_cuda and torch.equal(value.grad.cpu(), grad)
    assert torch.equal(network[1].running_mean.cpu(), running)
    assert world.launches.total() > 20


def test_what_a_device_refuses(world: World) -> None:
    on_device, on_host = torch.ones(3, device="cuda"), torch.ones(3)
    with pytest.raises(Fault, match="two devices"):
        on_device + on_host
    assert (on_device + torch.tensor(1.0)).tolist() == [2.0] * 3  # a number of the host is a scalar
    with pytest.raises(Fault, match="generator of the host"):
        torch.rand(3, device="cuda", generator=torch.Generator())
    with pytest.raises(Fault, match="generator of the device"):
        torch.rand(3, generator=torch.Generator("cuda"))
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        with pytest.raises(Fault, match="no deterministic kernel"):
            on_device.histc(3)
    finally:
        torch.set_deterministic_debug_mode(mode)


def test_what_waits(world: World) -> None:
    values = torch.arange(4.0, device="cuda")
    ways = [
        lambda: values[0].item(),
        lambda: bool(values[0] > 1),
        lambda: values.nonzero(),
        lambda: values[values > 1],
        lambda: values.cpu(),
        lambda: torch.zeros(2).to("cuda"),
        lambda: torch.tensor([1.0], device="cuda"),
        lambda: torch.cuda.synchronize(),
    ]
    for way in ways:
        world.clear()
        way()
        assert world.waits.total() >= 1
    world.clear()
    (values * 2).sum()
    assert world.waits.total() == 0 and world.launches.total() == 2


def test_a_graph_repeats_on_fixed_places(world: World) -> None:
    place, total = torch.ones(3, device="cuda"), torch.zeros(3, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        total.add_(place * 2)
    assert total.tolist() == [0.0] * 3, "capturing does nothing"
    place.fill_(3)
    graph.replay()
    graph.replay()
    assert total.tolist() == [12.0] * 3
    assert world.graphs[0].nodes.total() == 2


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("wait", "a graph waits"),
        ("copy", "a graph waits: copy from host"),
        ("number", "baked into a graph"),
    ],
)
def test_what_a_graph_refuses(name: str, match: str, world: World) -> None:
    place = torch.ones(3, device="cuda")
    ways = {
        "wait": lambda: place.sum().item(),
        "copy": lambda: place.copy_(torch.zeros(3)),
        "number": lambda: place.mul_(torch.tensor(2.0)),
    }
    with pytest.raises(Fault, match=match), torch.cuda.graph(torch.cuda.CUDAGraph()):
        ways[name]()


def test_the_device_is_gone_afterwards() -> None:
    with pretended():
        assert torch.cuda.is_available()
    assert not torch.cuda.is_available()
    assert torch.Generator().device.type == "cpu"
