"""A linear network on frozen features, trained to its optimum instead of in epochs.

All that differs from `Learner` is how a cycle's weights are found: multinomial logistic regression
over all labelled images at once. Nothing is drawn for it, so two trials with the same labelled set
have the same weights, regardless of their seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from benchmark.al.functional.logistic import fit_by_recipe
from benchmark.al.learner import Learner
from benchmark.al.output_name import PRETEXT, OutputName
from benchmark.al.pool import Indices
from benchmark.al.strategies.base import Strategy
from benchmark.errors import UsageError
from benchmark.spec.suite import Component
from benchmark.spec.training import Lbfgs

IMAGES = "it takes images of a certain size, and there are only their features"
OUTPUTS = {
    "votes": "snapshots vote along a training of many epochs, and a probe is solved at once",
    "predicted_loss": (
        "its loss prediction reads the inner maps of a network that is trained with it, and a "
        "probe has none"
    ),
}
"""Outputs that a probe cannot give, and why."""
SNAPSHOTS = "it compares snapshots along a training of many epochs, and a probe is solved at once"
STAGE = "it needs a pretext stage, which is trained on images, and there are only their features"
OBJECTIVE = "its objective trains in batches over many epochs, and a probe is solved at once"


class Probe(Learner):
    """One linear layer on features, at the optimum of its regularised loss."""

    def fit(
        self,
        cycle: int,
        labelled: Indices,
        unlabelled: Indices,
        needs: Iterable[str],
        resume: Mapping[str, Any] | None = None,
        after_epoch: Callable[[int, float, Callable[[], dict[str, Any]]], None] = lambda *_: None,
    ) -> None:
        """Solve for the weights of one cycle: one epoch, after which the state can be saved."""
        self.start_cycle(cycle, needs)
        if resume is not None:
            self.load_progress(resume)
            return
        self.objective.start_cycle(cycle, self.student)
        self.best = (-1.0, 0)
        recipe = self.protocol.training.optimizer
        images = torch.from_numpy(labelled).to(self.numerics.device)
        assert isinstance(recipe, Lbfgs), "Learner trains everything else"
        rows, labels = self.parts.train.batch(images).flatten(1), self.parts.train_labels[images]
        found = fit_by_recipe(rows, labels, self.protocol.data.classes, recipe)
        head = self.student.get_submodule("head")
        assert isinstance(head, nn.Linear)
        with torch.no_grad():
            head.weight.copy_(found.weight)
            head.bias.copy_(found.bias)
        after_epoch(1, found.loss / max(len(labelled), 1), lambda: self.trained() | {"epochs": 1})


def check_method(method: str, strategy: Strategy, objective: Component) -> None:
    """Refuse a method that cannot be run on a probe. Raises UsageError with its name and the
    reason."""
    needs = [OutputName.parse(need).unlabelled for need in strategy.needs]
    reasons = [
        *([OBJECTIVE] if objective.name != "supervised" else []),
        *([IMAGES] if strategy.sides else []),
        *(OUTPUTS[need.output] for need in needs if need.output in OUTPUTS),
        *(SNAPSHOTS for need in needs if need.network in ("teacher", "students", "average")),
        *(STAGE for need in needs if need.network == PRETEXT),
    ]
    if reasons:
        raise UsageError(
            f"the method '{method}' cannot be run on frozen features: {reasons[0]}",
            where="training.optimizer 'lbfgs'",
            remedy="leave it out (--methods), or run it in a suite that trains on images",
        )
