"""A real trial, made small: digits, the small network, two or three cycles of two epochs. Seconds
on one core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmark.al import datasets
from benchmark.al.learner import Learner
from benchmark.al.session import Session
from benchmark.al.strategies import Strategy
from benchmark.al.training.numerics import Numerics
from benchmark.spec.load import find_suite
from benchmark.spec.suite import Component, Trial
from benchmark.worker import assemble

SUITES = Path(__file__).parents[2] / "suites"
SMALL = {
    "protocol.acquisition.cycles": 3,
    "protocol.acquisition.candidates": 120,
    "protocol.training.epochs": 2,
    "protocol.training.schedule.milestones": [1],
    "protocol.models.0.params": {"width": 4, "heads": 2},
}


def trial(
    method: str = "random",
    seed: int = 0,
    sets: dict[str, Any] | None = None,
    **components: Component,
) -> Trial:
    """A shrunken quickstart trial; `strategy=` and `objective=` replace the method's."""
    (made,) = find_suite("quickstart/digits", SUITES).trials(
        methods=[method], seeds=[seed], sets=SMALL | (sets or {})
    )
    return made.model_copy(update=components)


def dataset(made: Trial, cache: Path) -> datasets.Dataset:
    return datasets.load(made.protocol.data, cache / "no data root", cache)


def assembled(made: Trial, cache: Path) -> tuple[Strategy, Learner]:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    return assemble(made, dataset(made, cache), Numerics(torch.device("cpu")), cache / "weights")


def session(
    made: Trial, out: Path, cache: Path | None = None, stop_after: int | None = None
) -> Session:
    """A session whose clock says stop after so many epochs or cycle ends."""
    out.mkdir(parents=True, exist_ok=True)
    asked = 0

    def must_stop() -> bool:
        nonlocal asked
        asked += 1
        return stop_after is not None and asked >= stop_after

    return Session(made, "t" * 64, "e" * 64, out, cache, save_every=1e9, must_stop=must_stop)


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """CUDA's float32 products in TF32 or not, and back. By hand: monkeypatch deletes this flag
    where it should restore it."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
