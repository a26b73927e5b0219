"""Every kind of method on the pretended device: whole rehearsals under every arithmetic, against the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.al.committee import Committee
from benchmark.al.datasets import Dataset
from benchmark.al.dry_run import dry_run
from benchmark.al.training import cuda_graphs as stepping
from benchmark.al.training.numerics import Numerics
from benchmark.spec.load import find_suite
from benchmark.spec.models import Trial
from benchmark.worker import assemble
from tests.helpers.trials import SUITES
from tests.simcuda.device import pretended
from tests.simcuda.kit import needs_simcuda

pytestmark = needs_simcuda
ARITHMETIC = [(precision, step) for precision in ("fp32", "bf16") for step in ("eager", "together", "captured")]
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


def on_device(made: Trial, precision: str, step: str, cache: Path) -> tuple[list[str], int]:
    """What it trained on the pretended device, where any fault raises, and how many graphs were captured."""
    debug = torch.get_deterministic_debug_mode()
    try:
        torch.set_deterministic_debug_mode("error")
        with pretended() as world:
            found = ends(made, "cuda", precision, step, cache)
    finally:
        torch.set_deterministic_debug_mode(debug)
    return found, len(world.graphs)


@pytest.fixture(autouse=True)
def _early_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of step is captured at its second, so that a rehearsal's few steps reach replays."""
    monkeypatch.setattr(stepping, "WARM_UP", 1)


def held(made: Trial, cache: Path) -> None:
    """No fault under any arithmetic, and in fp32 the CPU's bits. In bf16 CUDA's autocast takes losses to fp32 that the CPU's
    leaves alone, so bits may differ."""
    for precision, step in ARITHMETIC:
        found, graphs = on_device(made, precision, step, cache)
        assert (graphs > 0) == (step == "captured")
        if precision == "fp32":
            assert found == ends(made, "cpu", precision, "together" if step == "captured" else step, cache), step


@pytest.mark.parametrize("method", QUICKSTART.suite.methods)
def test_quickstart(method: str, tmp_path: Path) -> None:
    (made,) = QUICKSTART.trials(methods=[method], seeds=[0])
    held(made, tmp_path)
