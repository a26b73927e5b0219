"""Captured steps against steps as written: bitwise on a CPU, where operations in a row stand for a
graph, and on CUDA."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark.al.learner import Learner, TrainingInterrupted
from benchmark.al.loop import run
from benchmark.al.objectives.supervised import Supervised
from benchmark.al.strategies import Strategy
from benchmark.al.training import numerics as arithmetic
from benchmark.al.training import optimizers
from benchmark.al.training.cuda_graphs import WARM_UP, CudaGraphs
from benchmark.al.training.numerics import Number, Numerics
from benchmark.errors import UsageError
from benchmark.runs.events import CycleResult
from benchmark.spec.suite import Component, Trial
from benchmark.spec.training import Cosine
from benchmark.worker import assemble
from tests.helpers.fake_cuda_graphs import Rerun, Tape
from tests.helpers.trials import dataset, session, trial

CPU = torch.device("cpu")
EPOCHS = 2 * WARM_UP + 2
SMALL: dict[str, Any] = {
    "protocol.acquisition.cycles": 2,
    "protocol.training.epochs": EPOCHS,
    "protocol.training.schedule.milestones": [2, WARM_UP + 2],
    "protocol.training.start": "fresh",
    "protocol.evaluation.batch_size": 100,
    "protocol.data.limit": {"train": 200, "test": 100},
    "protocol.data.train_size": 200,
    "protocol.data.test_size": 100,
}
WIDE = {"protocol.models.0.params": {"width": 16, "heads": 2}}
JOINT = {"methods.ll4al.objective.params.joint_until": WARM_UP}
"""The ranking loss reaches the network in the first half of the epochs: steps of two kinds."""
DROPOUT = {"protocol.models.0.params": {"width": 4, "heads": 2, "dropout": 0.5}}
EMA = {
    "protocol.training.trajectory": {
        "start": 2,
        "every": 1,
        "average": "ema",
        "ema_decay": 0.7,
        "ema_counter": "trial",
    }
}
TEACHER = Component(
    name="mean_teacher",
    params={"labelled": 8, "unlabelled": 60, "weight": 100.0, "ramp_epochs": 5, "ema_decay": 0.97},
)
CASES: dict[str, Callable[[], Trial]] = {
    "supervised": lambda: trial("random", sets=SMALL),
    "supervised, dropout, cosine": lambda: cosine(trial("random", sets=SMALL | DROPOUT)),
    "cod": lambda: trial("tod+cod", sets=SMALL),
    "cod, teacher in eval mode": lambda: trial(
        "tod+cod",
        sets=SMALL,
        objective=Component(name="cod", params={"weight": 0.05, "teacher_mode": "eval"}),
    ),
    "learning loss": lambda: trial("ll4al", sets=SMALL | WIDE | JOINT),
    "mean teacher, moving average": lambda: trial(
        "random", sets=SMALL | DROPOUT | EMA, objective=TEACHER
    ),
}


def cosine(asked: Trial) -> Trial:
    """The trial at a rate that changes every step."""
    training = asked.protocol.training.model_copy(update={"schedule": Cosine(kind="cosine")})
    return asked.model_copy(
        update={"protocol": asked.protocol.model_copy(update={"training": training})}
    )


def made(
    asked: Trial, cache: Path, step: str, graphs: Any = None, device: torch.device = CPU
) -> tuple[Strategy, Learner]:
    """A learner on its device, or on a CPU that takes what it is given for graphs."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    strategy, learner = assemble(
        asked, dataset(asked, cache), Numerics(device, step=step), cache / "weights"
    )
    assert isinstance(learner, Learner)
    if graphs is not None:
        learner.graphs = lambda _: graphs
    return strategy, learner


def trained(learner: Learner, cycles: int = 1) -> tuple[list[float], list[Tensor]]:
    """Losses of all epochs, and everything that the training leaves: weights, statistics, branches,
    momentum."""
    losses: list[float] = []
    state: dict[str, Any] = {}

    def after_epoch(_: int, loss: float, progress: Callable[[], dict[str, Any]]) -> None:
        nonlocal state
        losses.append(loss)
        state = progress()

    for cycle in range(cycles):
        learner.fit(cycle, np.arange(40), np.arange(40, 200), set(), None, after_epoch)
    return losses, list(
        leaves(
            {
                name: state[name]
                for name in ("student", "modules", "optimizer", "trail")
                if name in state
            }
        )
    )


def leaves(state: Any) -> Iterator[Tensor]:
    return (leaf for leaf in torch.utils._pytree.tree_leaves(state) if isinstance(leaf, Tensor))


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return len(found) == len(expected) > 0 and all(
        torch.equal(*pair) for pair in zip(found, expected, strict=True)
    )


# ---------------------------------------------------------------------------- without CUDA: bitwise


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("graphs", [Rerun, Tape])
def test_a_captured_training_is_the_training(
    case: str, graphs: type[Rerun], tmp_path: Path
) -> None:
    """Two trainings with rates that change, averages that warm up, and a short last batch: every
    bit of what they leave."""
    asked, stand_in = CASES[case](), graphs()
    losses, expected = trained(made(asked, tmp_path, "together")[1], cycles=2)
    captured_losses, found = trained(made(asked, tmp_path, "captured", stand_in)[1], cycles=2)
    assert captured_losses == losses
    assert same(found, expected)
    kinds = {"learning loss": 4, "mean teacher, moving average": 1}.get(case, 2)
    assert stand_in.captured == 2 * kinds
    assert stand_in.replayed > 0


def test_every_size_of_batch_is_warmed_up_and_captured_once_in_a_training(tmp_path: Path) -> None:
    graphs = Tape()
    _, learner = made(CASES["cod"](), tmp_path, "captured", graphs)
    trained(learner, cycles=2)
    assert graphs.captured == 2 * 2
    assert graphs.warmed == 2 * 2 * WARM_UP
    assert graphs.replayed == 2 * 2 * (EPOCHS - WARM_UP)


@pytest.mark.parametrize("case", ["cod", "mean teacher, moving average"])
def test_a_tape_keeps_a_number_that_lies_in_no_fixed_place(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the tests above would see it."""
    _, expected = trained(made(CASES[case](), tmp_path, "together")[1])
    monkeypatch.setattr(arithmetic.Numerics, "number", lambda _: Number())
    _, found = trained(made(CASES[case](), tmp_path, "captured", Tape())[1])
    assert not same(found, expected)
    _, expected = trained(made(CASES[case](), tmp_path, "together")[1])
    _, found = trained(made(CASES[case](), tmp_path, "captured", Rerun())[1])
    assert same(found, expected)


@pytest.mark.parametrize("case", ["cod", "mean teacher, moving average"])
def test_resumed_anywhere_it_ends_where_an_uninterrupted_eager_trial_ends(
    case: str, tmp_path: Path
) -> None:
    asked = CASES[case]()
    strategy, learner = made(asked, tmp_path, "together")
    whole = session(asked, tmp_path / "whole")
    run(asked.protocol, strategy, learner, whole)
    results: list[CycleResult] = []
    stops = 0
    while not results:
        strategy, learner = made(asked, tmp_path, "captured", Tape())
        live = session(asked, tmp_path / "cut", stop_after=WARM_UP + 2)
        try:
            run(asked.protocol, strategy, learner, live)
            results = live.results
        except TrainingInterrupted:
            stops += 1
    assert stops >= 2 and results == whole.results


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("first", ["plain", "capturable"])
def test_both_ways_of_sgd_take_each_others_state(
    first: str, momentum: float, nesterov: bool
) -> None:
    """Three steps of one and three of the other, at two rates, against six of the plain one."""
    if nesterov and not momentum:
        pytest.skip("torch has no such optimiser")
    recipe = {"lr": 0.1, "momentum": momentum, "weight_decay": 5e-4, "nesterov": nesterov}

    def optimizer(kind: str, network: nn.Module) -> torch.optim.Optimizer:
        groups = [
            {"params": [network[0].weight], "weight_decay": 0.0},
            {"params": [network[0].bias, *network[1:].parameters()]},
        ]  # type: ignore[index]
        if kind == "plain":
            return optimizers.SGD(groups, **recipe, foreach=True)
        return optimizers.CapturableSgd(groups, lambda: Number(CPU), **recipe)

    def steps(first: str, second: str) -> list[Tensor]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 3)).to(
            memory_format=torch.channels_last
        )
        images = torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last)
        before = optimizer(first, network)
        for number in range(6):
            if number == 3:
                state = before.state_dict()
                before = optimizer(second, network)
                before.load_state_dict(state)
            before.param_groups[1]["lr"] = 0.1 / (1 + number)
            before.zero_grad(set_to_none=True)
            network(images).square().mean().backward()
            if isinstance(before, optimizers.CapturableSgd):
                before.before_step()
            before.step()
        return [value.detach() for value in network.parameters()]

    second = "capturable" if first == "plain" else "plain"
    for found, expected in zip(steps(first, second), steps("plain", "plain"), strict=True):
        torch.testing.assert_close(
            found, expected, rtol=1e-5, atol=1e-7
        )  # a product and a sum round once more


@pytest.mark.parametrize("swapped", ["gradient", "momentum", "neither"])
def test_weights_are_updated_alike_whatever_the_layout_of_what_moves_them(swapped: str) -> None:
    """The fused kernel goes through memory in order, so that layouts must not differ."""
    torch.manual_seed(0)
    start, gradient, held = (torch.randn(4, 3, 5, 5) for _ in range(3))
    last, found = torch.channels_last, []
    for kind in ("plain", "capturable"):
        weight = nn.Parameter(start.clone().contiguous(memory_format=last))
        recipe = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
        if kind == "plain":
            made = optimizers.SGD([weight], **recipe)
        else:
            made = optimizers.CapturableSgd([{"params": [weight]}], lambda: Number(CPU), **recipe)
            made.before_step()
        layouts = dict.fromkeys(("gradient", "momentum"), last)
        if kind == "capturable":
            layouts |= {swapped: torch.contiguous_format}
        weight.grad = gradient.clone().contiguous(memory_format=layouts["gradient"])
        momentum = held.clone().contiguous(memory_format=layouts["momentum"])
        made.state[weight]["momentum_buffer"] = momentum
        made.step()
        found.append((weight.detach(), made.state[weight]["momentum_buffer"]))
    for mine, expected in zip(*found, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_captured_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adam = {"protocol.training.optimizer": {"name": "adam", "lr": 0.001, "weight_decay": 0.0}}
    with pytest.raises(UsageError, match="a step of adam is not captured"):
        made(trial(sets=adam), tmp_path, "captured")
    made(trial(sets=adam), tmp_path, "together")
    monkeypatch.setattr(Supervised, "capturable", False)
    with pytest.raises(UsageError, match="the loss of Supervised is not captured") as refused:
        made(trial(), tmp_path, "captured")
    assert "--step" in refused.value.remedy


# ---------------------------------------------------------------------------------------- with CUDA

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
WITHIN = {"rtol": 1e-3, "atol": 1e-4}
"""Of weights after a training of small networks in fp32: one fused kernel rounds otherwise than
several."""


@pytest.mark.gpu
@cuda
@pytest.mark.parametrize("case", CASES)
def test_graphs_end_where_eager_steps_end(case: str, tmp_path: Path) -> None:
    device = torch.device("cuda")
    ends = []
    for step in ("together", "captured"):
        _, learner = made(CASES[case](), tmp_path, step, device=device)
        ends.append(trained(learner, cycles=2))
    (losses, expected), (captured_losses, found) = ends
    assert captured_losses == pytest.approx(losses, rel=1e-3)
    for value, other in zip(found, expected, strict=True):
        torch.testing.assert_close(value, other, **WITHIN)


@pytest.mark.gpu
@cuda
def test_a_graph_gives_the_same_bits_every_time(tmp_path: Path) -> None:
    ends = [
        trained(made(CASES["cod"](), tmp_path, "captured", device=torch.device("cuda"))[1])[1]
        for _ in range(2)
    ]
    assert same(*ends)


@pytest.mark.gpu
@cuda
def test_no_captured_step_waits_for_the_device(tmp_path: Path) -> None:
    """Making its images included."""
    _, learner = made(CASES["cod"](), tmp_path, "captured", device=torch.device("cuda"))
    update = learner.updates(learner._optimizer())
    data = learner._cycle_data(1, np.arange(64), np.arange(64, 200))
    learner.objective.start_cycle(1, learner.student)
    learner.student.train()
    for epoch in range(WARM_UP + 1):
        for batch in learner.objective.batches(data, epoch):
            update(batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in learner.objective.batches(data, WARM_UP + 1):
            update(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert learner.graphs is CudaGraphs
