"""Replaying a recorded run of an official program through our own parts, in float64: what several
adapters need."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from adapters import load_canonical
from benchmark.al.learner import Learner
from benchmark.al.pretext.stage import StageStreams
from benchmark.al.session import Session
from benchmark.al.strategies.base import BEFORE_FIRST_TRAINING, Picks, Strategy, View
from benchmark.al.training.inference import Evaluated
from benchmark.al.training.numerics import Numerics, prepare
from benchmark.spec.load import find_suite
from benchmark.spec.suite import Trial

SUITES = Path(__file__).parents[3] / "suites"
AUGMENTATION = {
    "random_crop",
    "random_resized_crop",
    "horizontal_flip",
    "color_jitter",
    "random_rotation",
}
"""Transforms that a recorded run leaves out, so that no draw has to be stored."""


def exact() -> Numerics:
    """Float64 on one thread of the CPU."""
    return prepare("cpu", "fp64", 1)


def pinned(suite: str, method: str, variant: str, sets: Mapping[str, Any]) -> Trial:
    """A trial of a suite as it is pinned, with the amounts of a recorded run."""
    (trial,) = find_suite(suite, SUITES).trials(
        methods=[method], seeds=[0], variant=variant, sets=dict(sets)
    )
    return trial


def without_augmentation(view: Any) -> list[dict[str, Any]]:
    """A suite's view as plain data, without what is random in it."""
    return [
        step.model_dump(mode="json", exclude_none=True)
        for step in view
        if step.op not in AUGMENTATION
    ]


def norms(model: nn.Module) -> list[float]:
    """L2 norms of all parameters, of all running means and of all running variances."""

    def norm(values: list[Tensor]) -> float:
        return float(torch.cat([value.detach().flatten() for value in values]).norm())

    buffers = dict(model.named_buffers())
    return [
        norm(list(model.parameters())),
        *(
            norm([value for name, value in buffers.items() if name.endswith(kind)])
            for kind in ("mean", "var")
        ),
    ]


@dataclass
class Rows:
    """What was seen of one kind of training."""

    steps: list[list[float]] = field(default_factory=list)
    """One row a step: loss, rate in force, and after the step the three norms."""
    tests: list[Evaluated] = field(default_factory=list)
    """Every evaluation on the test set, in order."""
    losses: list[float] = field(default_factory=list)
    """The test loss of each as the release takes it: the mean over batches of `batch` images."""


class Recorder:
    """Watches every learner: steps and evaluations, those of a stage before the first cycle apart
    from the others."""

    def __init__(self, batch: int = 100) -> None:
        self.batch, self.pretext = batch, Rows()
        self.model: dict[int, Rows] = {}
        """By place among the target models."""

    def rows(self, learner: Learner) -> Rows:
        """Where what is seen of a learner goes."""
        if isinstance(learner.streams, StageStreams):
            return self.pretext
        return self.model.setdefault(learner.place, Rows())

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts, learners are watched."""
        updates, evaluate = Learner.updates, Learner.evaluate

        def watched(learner: Learner, optimizer: torch.optim.Optimizer) -> Callable[[Any], Tensor]:
            inner, rows = updates(learner, optimizer), self.rows(learner)

            def step(batch: Any) -> Tensor:
                loss = inner(batch)
                rows.steps.append(
                    [float(loss), float(optimizer.param_groups[0]["lr"]), *norms(learner.student)]
                )
                return loss

            return step

        def evaluated(learner: Learner, model: nn.Module) -> Evaluated:
            found, rows = evaluate(learner, model), self.rows(learner)
            rows.tests.append(found)
            if not isinstance(learner.streams, StageStreams):
                labels = learner.parts.test_labels
                inference = learner._inference(learner.parts.test, 0)
                logits = inference.outputs({"": model}, {"logits"}, torch.arange(len(labels)))[
                    "logits"
                ]
                each = nn.functional.cross_entropy(logits, labels, reduction="none")
                rows.losses.append(
                    float(torch.stack([part.mean() for part in each.split(self.batch)]).mean())
                )
            return found

        with (
            patch.object(Learner, "updates", watched),
            patch.object(Learner, "evaluate", evaluated),
        ):
            yield


class Watched:
    """A strategy and what it was shown and bought, acquisition by acquisition."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy, self.needs, self.stream = strategy, strategy.needs, strategy.stream
        self.seen: list[tuple[View, Picks]] = []

    def narrow(self, view: View) -> Tensor | None:
        return self.strategy.narrow(view)

    def select(self, view: View, budget: int) -> Picks:
        picks = self.strategy.select(view, budget)
        self.seen.append((view, picks))
        return picks

    def bought(self, cycle: int) -> list[int]:
        """Images in the order of buying; the first labelled set is that of cycle 0."""
        view, picks = next(
            pair for pair in self.seen if pair[0].cycle - BEFORE_FIRST_TRAINING == cycle
        )
        images: list[int] = view.candidates[picks.positions.numpy()].tolist()
        return images


@contextlib.contextmanager
def session_of(trial: Trial) -> Iterator[Session]:
    """A session that keeps nothing."""
    with tempfile.TemporaryDirectory() as folder:
        yield Session(
            trial, "0" * 64, "0" * 64, Path(folder), None, save_every=1e9, must_stop=lambda: False
        )


def filled(module: nn.Module, canonical: list[Any], mul: int, mod: int) -> None:
    """Weights by formula in place of drawn ones."""
    load_canonical(module, canonical, {"mul": mul, "mod": mod})


def labels(count: int, salt: int) -> np.ndarray:
    """(count,) int64 labels of the synthetic images of items 40 to 42."""
    i = np.arange(count, dtype=np.int64)
    return (i * 7 + i // 5 + salt) % 10
