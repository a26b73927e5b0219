"""What a trial costs in image passes, counted before it runs. The counts follow the protocol; nothing is measured.

A backward pass is counted as two forwards. Agreement with the published protocols' own tables is tested.
"""

from __future__ import annotations

from benchmark.spec.models import MethodCost, Natural, Protocol, Spec


class Work(Spec):
    """Images passed through networks, by purpose, and optimiser steps."""

    steps: Natural = 0
    labelled: Natural = 0
    """Labelled images trained on (forward and backward)."""
    unlabelled: Natural = 0
    """Unlabelled images trained on (forward and backward)."""
    teacher: Natural = 0
    """Images a second network sees while training (forward)."""
    test: Natural = 0
    """Test images evaluated (forward)."""
    acquisition: Natural = 0
    """Pool images scored (forward)."""

    @property
    def forward_equivalents(self) -> int:
        """Everything in units of one forward pass of one image."""
        return 3 * (self.labelled + self.unlabelled) + self.teacher + self.test + self.acquisition

    def __add__(self, other: Work) -> Work:
        return Work(**{name: getattr(self, name) + getattr(other, name) for name in Work.model_fields})


def total(parts: tuple[Work, ...]) -> Work:
    """The sum of several amounts of work."""
    return sum(parts, Work())


def evaluations(protocol: Protocol) -> int:
    """Passes over the test set in one cycle: after every `evaluation.every` epochs and after the last one."""
    every = protocol.evaluation.every or protocol.training.epochs
    return -(-protocol.training.epochs // every)


def work(protocol: Protocol, method: MethodCost) -> tuple[Work, ...]:
    """Work of each cycle: its training, its evaluations, and the acquisition after it (none after the last)."""
    last = protocol.acquisition.cycles - 1
    return tuple(
        _cycle(protocol, method, size, cycle == last) for cycle, size in enumerate(protocol.acquisition.labelled())
    )


def _cycle(protocol: Protocol, method: MethodCost, labelled: int, last: bool) -> Work:
    training, models = protocol.training, len(protocol.models)
    whole, rest = divmod(labelled, training.batch_size)
    seen = whole * training.batch_size if training.drop_last else labelled
    steps = training.epochs * (whole + (rest > 0 and not training.drop_last)) * models
    left = protocol.data.train_size - labelled
    trained = training.epochs * seen * models
    unlabelled = steps * min(training.batch_size, left) if method.unlabelled else 0
    candidates = left if protocol.acquisition.candidates is None else min(protocol.acquisition.candidates, left)
    scored = 0 if last else candidates + (labelled if method.scores_labelled else 0)
    return Work(
        steps=steps,
        labelled=trained,
        unlabelled=unlabelled,
        teacher=trained + unlabelled if method.teacher else 0,
        test=evaluations(protocol) * protocol.data.test_size * models,
        acquisition=method.scoring * scored,
    )
