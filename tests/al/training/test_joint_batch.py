"""Labelled and unlabelled images in one batch against one batch after the other: outputs,
gradients, running statistics."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark.al.learner import Learner
from benchmark.al.networks.outputs import Outputs
from benchmark.al.networks.resnet_cifar import ResNetCifar
from benchmark.al.training.joint_batch import _statistics_apart, forward_jointly, forward_separately
from benchmark.al.training.norm_apart import writes_apart
from benchmark.al.training.numerics import Numerics
from benchmark.spec.suite import Component
from benchmark.worker import assemble
from tests.helpers.trials import dataset, trial

RTOL, ATOL = 1e-4, 1e-5
"""Of fp32 values: sums over images in another order."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def running(network: nn.Module) -> Iterator[Tensor]:
    return (
        value for name, value in network.named_buffers() if "running" in name or "tracked" in name
    )


def tensors(out: Outputs) -> list[Tensor]:
    assert out.consistency is not None
    return [out.logits, out.features, *out.maps, out.consistency]


@pytest.mark.parametrize(("labelled", "unlabelled"), [(6, 6), (3, 8)])
def test_one_batch_says_what_two_say(labelled: int, unlabelled: int) -> None:
    torch.manual_seed(0)
    network = ResNetCifar(10, (1, 1), (8, 16), heads=2).train()
    twin, images = copy.deepcopy(network), torch.randn(labelled + unlabelled, 3, 8, 8)
    images[labelled:] += 2  # statistics of both halves differ
    parts = images[:labelled], images[labelled:]
    for apart, joined in zip(
        forward_separately(network, *parts), forward_jointly(twin, *parts), strict=True
    ):
        for one, other in zip(tensors(apart), tensors(joined), strict=True):
            torch.testing.assert_close(other, one, rtol=RTOL, atol=ATOL)
        (apart.logits.square().sum() + apart.consistency.square().sum()).backward()
        (joined.logits.square().sum() + joined.consistency.square().sum()).backward(
            retain_graph=True
        )
    for value, same in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(same.grad, value.grad, rtol=1e-3, atol=1e-4)
    for value, same in zip(running(network), running(twin), strict=True):
        torch.testing.assert_close(same, value, rtol=RTOL, atol=ATOL)
    assert all(int(value) == 2 for value in running(twin) if not value.is_floating_point()), (
        "statistics moved twice"
    )
    assert not any("forward" in vars(module) for module in twin.modules())
    mixed = network(images).logits
    assert not torch.allclose(mixed[:labelled], joined.logits[:labelled], rtol=1e-2), (
        "statistics of both together"
    )


def test_labelled_images_move_the_statistics_first() -> None:
    """The later batch weighs more, so that order shows."""
    norm = nn.BatchNorm1d(1).train()

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = norm

        def forward(self, x: Tensor) -> Outputs:
            return Outputs(self.norm(x), x)

    forward_jointly(Network(), torch.zeros(4, 1), torch.ones(4, 1) * 10)
    assert float(norm.running_mean) == pytest.approx(0.1 * 10)
    norm.reset_running_stats()
    forward_jointly(Network(), torch.ones(4, 1) * 10, torch.zeros(4, 1))
    assert float(norm.running_mean) == pytest.approx(0.9 * 0.1 * 10)


def learner(cache: Path, method: str, step: str, **components: Component) -> Learner:
    sets = {"protocol.training.epochs": 3, "protocol.models.0.params": {"width": 16, "heads": 2}}
    made = trial(method, sets=sets, **components)
    _, found = assemble(
        made, dataset(made, cache), Numerics(torch.device("cpu"), step=step), cache / "weights"
    )
    assert isinstance(found, Learner)
    return found


def test_a_training_together_ends_where_one_in_turn_ends(tmp_path: Path) -> None:
    """Six steps of TOD with COD loss, a short last batch among them, and the learning rate's
    milestone after the second."""
    ends = []
    for step in ("eager", "together"):
        found = learner(tmp_path, "tod+cod", step)
        found.fit(0, np.arange(40), np.arange(40, 400), set())
        networks = found.student, found.objective.modules()["teacher"]
        ends.append(
            [value.double() for network in networks for value in network.state_dict().values()]
        )
    for apart, joined in zip(*ends, strict=True):
        torch.testing.assert_close(
            joined, apart, rtol=1e-2, atol=5e-4
        )  # rounding grows from step to step
    assert any(not torch.equal(*pair) for pair in zip(*ends, strict=True)), (
        "this test cannot see a difference"
    )


@pytest.mark.parametrize("method", ["random", "ll4al"])
def test_where_there_is_one_batch_only_the_optimiser_rounds_otherwise(
    method: str, tmp_path: Path
) -> None:
    """Once more in every update: rates are read from where a graph can read them."""
    weights = []
    for step in ("eager", "together"):
        found = learner(tmp_path, method, step)
        found.fit(0, np.arange(40), np.arange(40, 400), set())
        weights.append([value.double() for value in found.student.state_dict().values()])
    for apart, joined in zip(*weights, strict=True):
        torch.testing.assert_close(joined, apart, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("way", ["jointly", "separately"])
def test_gradients_of_both_halves_are_added_as_one_by_one(way: str) -> None:
    torch.manual_seed(0)
    network, images = Smallest(), torch.randn(7, 3, 5, 5)
    grads = []
    for cut in (forward_jointly if way == "jointly" else forward_separately, apart_by_hand):
        given = images.clone().requires_grad_()
        network.zero_grad()
        one, two = cut(network, given[:3], given[3:])
        (one.logits.square().sum() + two.logits.exp().sum()).backward()
        grads.append([given.grad, *(value.grad.clone() for value in network.norm.parameters())])
    assert all(torch.equal(*pair) for pair in zip(*grads, strict=True))
    assert all(isinstance(value, nn.Parameter) for value in network.norm.parameters())


LAYERS = {
    "images": (nn.BatchNorm2d(6), (3, 8, 8)),
    "vectors": (nn.BatchNorm1d(6), ()),
    "no weights": (nn.BatchNorm2d(6, affine=False), (4, 4)),
    "no statistics": (nn.BatchNorm2d(6, track_running_stats=False), (4, 4)),
    "all batches weigh the same": (nn.BatchNorm2d(6, momentum=None), (4, 4)),
    "at rest": (nn.BatchNorm2d(6).eval(), (4, 4)),
}
WRITTEN_APART = {"images", "vectors"}


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_one_output_for_both_halves_has_the_bits_of_two_that_are_joined(
    case: str, kind: torch.dtype, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    layer, shape = LAYERS[case]
    images = torch.randn(9, 6, *shape[-2:]).to(kind)
    images[4:] += 2
    images = images.contiguous(memory_format=layout) if shape else images
    along, found = torch.randn(9, 6, *shape[-2:]).to(kind), []
    for way in ("written", "joined"):
        norm = copy.deepcopy(layer).to(torch.float64 if kind == torch.float64 else torch.float32)
        with torch.no_grad():
            for index, value in enumerate(norm.parameters()):
                value.copy_(torch.linspace(0.5, 2 + index, 6))
        given = images.clone().requires_grad_()
        if way == "joined":
            made = torch.cat([norm(given[:4]), norm(given[4:])])
        else:
            assert writes_apart(norm, 4, 9) == (case in WRITTEN_APART)
            with _statistics_apart(norm, 4):
                made = norm(given)
        made.backward(along)
        grads = [value.grad for value in norm.parameters()]
        found.append([made.detach(), given.grad, *grads, *norm.buffers()])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    assert (
        found[0][0].stride() == found[1][0].stride()
        and found[0][1].stride() == found[1][1].stride()
    )


def test_a_single_value_a_channel_is_refused_as_by_torch() -> None:
    norm = nn.BatchNorm1d(6)
    with (
        pytest.raises(ValueError, match="more than 1 value per channel"),
        _statistics_apart(norm, 1),
    ):
        norm(torch.randn(5, 6))


def test_outputs_in_half_precision_are_cast_once_and_their_gradients_added_in_full() -> None:
    """Of two losses on the same logits; else each would be rounded before they are added."""
    torch.manual_seed(0)
    made = torch.randn(7, 3).bfloat16().requires_grad_()

    class Network(nn.Module):
        def forward(self, x: Tensor) -> Outputs:
            return Outputs(made, made, (made,), made)

    one, two = forward_jointly(Network(), torch.zeros(3, 1), torch.zeros(4, 1))
    assert one.consistency is not None and two.consistency is not None
    assert {value.dtype for out in (one, two) for value in (out.logits, out.consistency)} == {
        torch.float32
    }
    assert torch.equal(one.logits, made[:3].float()) and torch.equal(
        two.consistency, made[3:].float()
    )
    (one.logits * 1.0 + one.logits * 2**-9).sum().backward()
    assert made.grad is not None
    assert (
        torch.equal(made.grad[:3], torch.full((3, 3), 1 + 2**-9).bfloat16())
        and not made.grad[3:].any()
    )


class Smallest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Outputs:
        made = self.norm(x) * torch.arange(5.0)
        return Outputs(made.flatten(1), made.flatten(1), (made,), None)


def apart_by_hand(network: nn.Module, first: Tensor, second: Tensor) -> tuple[Outputs, Outputs]:
    return network(first), network(second)
