"""Float64 arithmetic reaches every part of a trial, and orders and weights can be given instead of
drawn."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.al.learner import Learner
from benchmark.al.networks.ofa import HardSigmoid, HardSwish
from benchmark.al.objectives.base import CycleData, DrawnOrders
from benchmark.al.training.numerics import Numerics, prepare
from benchmark.worker import assemble
from tests.helpers import trials as kit

FP64 = Numerics(torch.device("cpu"), "fp64")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def learner_of(method: str, cache: Path) -> Learner:
    asked = kit.trial(method, sets={"protocol.models.0.params": {"width": 16, "heads": 2}})
    _, learner = assemble(asked, kit.dataset(asked, cache), FP64, cache)
    assert isinstance(learner, Learner)
    return learner


@pytest.mark.parametrize("method", ["random", "random+cod", "ll4al"])
def test_nothing_is_rounded_to_float32(method: str, cache: Path) -> None:
    learner = learner_of(method, cache)
    seen: list[torch.dtype] = []
    whole = learner.objective.loss
    learner.objective.loss = lambda model, batch: (
        seen.append((found := whole(model, batch)).dtype) or found
    )  # type: ignore[method-assign, func-returns-value]
    indices = torch.arange(40).numpy()
    learner.fit(0, indices, torch.arange(40, 200).numpy(), ())
    assert set(seen) == {torch.float64}
    names = {"logits", "features"} | ({"predicted_loss"} if method == "ll4al" else set())
    assert {value.dtype for value in learner.outputs(names, indices, 0).values()} == {torch.float64}
    assert learner.scoring_images(indices).dtype == torch.float64
    modules = [learner.student, *learner.objective.modules().values()]
    assert {value.dtype for module in modules for value in module.parameters()} == {torch.float64}


def test_pixels_are_normalised_in_float64(cache: Path) -> None:
    indices = torch.arange(5)
    double = learner_of("random", cache).parts.test.batch(indices)
    _, single = kit.assembled(kit.trial(), cache)
    rounded = single.parts.test.batch(indices)
    torch.testing.assert_close(double, rounded.double(), rtol=0, atol=1e-6)
    assert not torch.equal(double, rounded.double()), "a float32 result that was only widened"


def test_prepare_takes_it() -> None:
    assert prepare("cpu", "fp64", 1).dtype == torch.float64
    assert prepare("cpu", "fp32", 1).dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "plain"), [(HardSwish, F.hardswish), (HardSigmoid, F.hardsigmoid)]
)
def test_gradients_of_hard_activations_are_exact_in_float64(
    kind: type[nn.Module], plain: object
) -> None:
    x = torch.linspace(-4, 4, 81, dtype=torch.float64).requires_grad_()
    kind()(x).sum().backward()
    inside = (x > -3) & (x < 3)
    slope = (2 * x + 3) / 6 if kind is HardSwish else torch.full_like(x, 1 / 6)
    right = torch.where(inside, slope, (x >= 3).double() * (1 if kind is HardSwish else 0))
    corners = (x.abs() - 3).abs() < 1e-9
    assert x.grad is not None
    torch.testing.assert_close(x.grad[~corners], right.detach()[~corners], rtol=1e-14, atol=1e-14)
    single = torch.linspace(-4, 4, 81)
    assert torch.equal(kind()(single), plain(single))  # type: ignore[operator]


def test_orders_and_weights_are_taken_where_given(cache: Path) -> None:
    made: list[tuple[str, int]] = []
    orders: list[tuple[str, int]] = []

    class Given(DrawnOrders):
        def labelled(self, data: CycleData, epoch: int, use: int) -> Tensor:
            orders.append(("labelled", epoch))
            return data.labelled.flip(0)

        def unlabelled(self, data: CycleData, number: int) -> Tensor:
            orders.append(("unlabelled", number))
            return data.unlabelled

    def initial(name: str, cycle: int, module: nn.Module) -> None:
        made.append((name, cycle))
        with torch.no_grad():
            for value in module.parameters():
                value.fill_(0.25)

    drawn = learner_of("random+cod", cache)
    learner = Learner(
        drawn.protocol,
        drawn.objective,
        drawn.parts,
        drawn.streams,
        FP64,
        orders=Given(),
        initial=initial,
    )
    assert ("student", 0) in made
    assert ("teacher", 0) in made
    assert all(bool((value == 0.25).all()) for value in learner.student.parameters())
    labelled, unlabelled = torch.arange(40), torch.arange(40, 200)
    data = learner._cycle_data(1, labelled.numpy(), unlabelled.numpy())
    batches = list(learner.objective.batches(data, 0))
    assert torch.equal(
        torch.cat([batch.labels for batch in batches]), data.labels[labelled.flip(0)]
    )
    assert orders == [("labelled", 0), ("unlabelled", 0), ("unlabelled", 1)]


REUSED = """
import resource
import torch
from benchmark.al.training.numerics import prepare

prepare("cpu", "fp32", 1)
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    maps = [torch.ones(2**27) for _ in range(5)]
    del maps
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""A step whose activations take 2.5 GiB, five times; it prints the page faults of each."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_a_step_of_some_gigabytes_faults_no_page_the_second_time() -> None:
    run = subprocess.run([sys.executable, "-c", REUSED], capture_output=True, text=True, check=True)
    faults = [int(line) for line in run.stdout.split()]
    assert faults[-1] * 100 < max(faults)  # a page is 4 KiB or, where the system says so, 2 MiB
