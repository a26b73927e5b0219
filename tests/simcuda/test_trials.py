"""Every kind of method on the pretended device: whole rehearsals under every arithmetic, against
the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.al import registry
from benchmark.al.committee import Committee
from benchmark.al.datasets import Dataset
from benchmark.al.dry_run import dry_run
from benchmark.al.training import cuda_graphs as stepping
from benchmark.al.training.numerics import Numerics
from benchmark.spec.load import find_suite
from benchmark.spec.suite import Trial
from benchmark.worker import assemble
from tests.helpers.trials import SUITES
from tests.simcuda.device import World, pretended
from tests.simcuda.kit import needs_simcuda

pytestmark = needs_simcuda
ARITHMETIC = [
    (precision, step)
    for precision in ("fp32", "bf16")
    for step in ("eager", "together", "captured")
]
QUICKSTART = find_suite("quickstart/digits", SUITES)


def ends(made: Trial, device: str, precision: str, step: str, cache: Path) -> list[str]:
    """Digests of what a rehearsed trial trained."""
    torch.set_num_threads(1)
    learners: list[Any] = []

    def assembled(small: Trial, data: Dataset) -> Any:
        numerics = Numerics(torch.device(device), precision, step=step)
        strategy, learner = assemble(small, data, numerics, cache / "weights")
        learners.extend(learner.members if isinstance(learner, Committee) else [learner])
        return strategy, learner

    dry_run(made, assembled)
    return [learner.weights() for learner in learners]


def on_device(made: Trial, precision: str, step: str, cache: Path) -> tuple[list[str], World]:
    """What it trained on the pretended device, where any fault raises, and the device
    afterwards."""
    debug = torch.get_deterministic_debug_mode()
    try:
        torch.set_deterministic_debug_mode("error")
        with pretended() as world:
            found = ends(made, "cuda", precision, step, cache)
    finally:
        torch.set_deterministic_debug_mode(debug)
    return found, world


@pytest.fixture(autouse=True)
def _early_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of step is captured at its second, so that a rehearsal's few steps reach replays."""
    monkeypatch.setattr(stepping, "WARM_UP", 1)


def held(made: Trial, cache: Path, arithmetic: Iterable[tuple[str, str]]) -> bool:
    """No fault under any arithmetic, and in fp32 the CPU's bits where the device draws nothing;
    whether it drew.

    In bf16 CUDA's autocast takes losses to fp32 that the CPU's leaves alone, so bits may differ.
    """
    drew = False
    for precision, step in arithmetic:
        found, world = on_device(made, precision, step, cache)
        drew |= bool(world.draws)
        assert bool(world.graphs) == (step == "captured")
        if precision == "fp32" and not world.draws:
            assert found == ends(
                made, "cpu", precision, "together" if step == "captured" else step, cache
            ), step
    return drew


DRAWING = {"uncertain_gcn", "core_gcn", "vaal", "ta_vaal"}
"""Methods whose strategies train networks with dropout or noise, which a device draws by itself."""
TRAININGS = {"random", "tod+cod", "ll4al", "stconal"}
"""A method of every objective and protocol of the quickstart; how a step is made concerns nothing
else."""


@pytest.mark.parametrize("method", QUICKSTART.suite.methods)
def test_quickstart(method: str, tmp_path: Path) -> None:
    (made,) = QUICKSTART.trials(methods=[method], seeds=[0])
    arithmetic = ARITHMETIC if method in TRAININGS else (("fp32", "eager"), ("bf16", "captured"))
    assert held(made, tmp_path, arithmetic) == (method in DRAWING)


PAPERS = (
    "bal/cifar10-small/bal",
    "bal/cifar10-small/confidence",
    "diam/mnist-2/diam",
    "diam/mnist-2/diam_qp",
    "diam/mnist-2/cal",
    "diam/mnist-2/coreset",
    "pt4al/cifar10/pt4al",
    "st-conal/cifar10/stconal",
    "st-conal/cifar10/vaal",
    "st-conal/cifar10/ta_vaal",
    "st-conal/cifar10/ll4al",
    "st-conal/caltech256/stconal",
    "tod/cifar10/tod+cod",
    "tod/cifar10/random+ll4al",
)
"""Every objective, and every kind of network of the papers, and the strategies that the quickstart
has not. Left out for its time: tod/caltech101/tod+cod, more than eight minutes of images of 224
pixels; its network is the one of st-conal/caltech256."""


def capturable(made: Trial) -> bool:
    objective = registry.find_class("objectives", made.objective.name)
    return objective.capturable and made.protocol.training.optimizer.name != "adam"


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_papers(name: str, tmp_path: Path) -> None:
    suite, _, method = name.rpartition("/")
    (made,) = find_suite(suite, SUITES).trials(methods=[method], seeds=[0])
    held(
        made,
        tmp_path,
        (("fp32", "eager"), ("bf16", "captured" if capturable(made) else "together")),
    )
