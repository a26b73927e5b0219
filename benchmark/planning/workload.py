"""What a trial costs in image passes, counted before it runs. The counts follow the protocol;
nothing is measured.

A backward pass is counted as two forwards where the suite does not say what training on an image
costs. Agreement with the published protocols' own tables is tested.
"""

from __future__ import annotations

from pydantic import ValidationError

from benchmark.al.parameters import declared_value
from benchmark.errors import UsageError
from benchmark.spec.base import Natural, Spec
from benchmark.spec.protocol import Protocol
from benchmark.spec.suite import Component, Cost, MethodCost
from benchmark.spec.training import Training


class Workload(Spec):
    """Images passed through networks, by purpose, and optimiser steps."""

    steps: Natural = 0
    labelled: Natural = 0
    """Labelled images trained on (forward and backward)."""
    unlabelled: Natural = 0
    """Unlabelled images trained on (forward and backward)."""
    teacher: Natural = 0
    """Images a second network sees while training (forward)."""
    repeated: Natural = 0
    """Labelled images that pass a second time in a step (forward)."""
    refresh: Natural = 0
    """Labelled images that re-estimate batch-norm statistics of averaged weights (forward)."""
    test: Natural = 0
    """Test images evaluated (forward)."""
    acquisition: Natural = 0
    """Pool images scored (forward)."""
    votes: Natural = 0
    """Pool images labelled by snapshots while training (forward)."""
    game: Natural = 0
    """Images that networks of the strategy's own are trained on (forward and backward)."""
    coded: Natural = 0
    """Images that only the encoder of those networks sees (forward)."""
    pretext: Natural = 0
    """Rotated images that the pretext stage trains on (forward and backward)."""
    pretext_checks: Natural = 0
    """Rotated images evaluated and described by the pretext stage (forward)."""
    macs: Natural = 0
    """Multiply-accumulates of all that; 0 where the price of a forward pass is not known."""

    @property
    def forward_equivalents(self) -> int:
        """Everything in units of one forward pass of one image, but for networks that are not those
        of the protocol: the strategy's own, and the pretext stage's, which whichever trial comes
        first does for all."""
        return (
            3 * (self.labelled + self.unlabelled)
            + self.teacher
            + self.repeated
            + self.refresh
            + self.test
            + self.acquisition
            + self.votes
        )

    def __add__(self, other: Workload) -> Workload:
        return Workload(
            **{name: getattr(self, name) + getattr(other, name) for name in Workload.model_fields}
        )


UNKNOWN_PRICE = Cost()


def add_step_cost(cost: MethodCost, objective: Component) -> MethodCost:
    """The cost of a method with what its objective declares that a step adds (`step_cost`). Suites
    of this project pin the same.

    Raises UsageError for a declaration that is no field of `MethodCost` or has no such value.
    """
    added = declared_value("objectives", objective.name, "step_cost")
    if not added:
        return cost
    try:
        given = {field: _resolve_declared(value, objective) for field, value in added.items()}
        return MethodCost.model_validate(cost.model_dump() | given)
    except (ValidationError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{objective.name}: step_cost is {added}: {' '.join(str(error).split())}",
            remedy="use fields of MethodCost in benchmark/spec/suite.py",
        ) from error


def _resolve_declared(value: bool | str | tuple[str, ...], objective: Component) -> object:
    """A declared value, or that of the parameters that it names; False where one is left out."""
    if isinstance(value, str):
        return objective.params.get(value, False)
    if isinstance(value, tuple):
        return tuple(objective.params.get(name, False) for name in value)
    return value


def sum_workloads(parts: tuple[Workload, ...]) -> Workload:
    """The sum of several amounts of work."""
    return sum(parts, Workload())


def count_evaluations(protocol: Protocol) -> int:
    """Passes over the test set in one cycle: after every `evaluation.every` epochs and after the
    last one, and one more with averaged weights where there are any."""
    every = protocol.evaluation.every or protocol.training.epochs
    return -(-protocol.training.epochs // every) + (protocol.training.trajectory is not None)


def count_refreshes(protocol: Protocol) -> int:
    """Passes over the labelled images that only re-estimate batch-norm statistics, in one cycle:
    one per snapshot for the average, and one more where the snapshots are refreshed too."""
    trajectory = protocol.training.trajectory
    if trajectory is None:
        return 0
    snapshots = (protocol.training.epochs - trajectory.start) // trajectory.every + 1
    return snapshots * (2 if trajectory.student_bn == "refreshed" else 1)


def estimate_workload(
    protocol: Protocol, method: MethodCost, price: Cost = UNKNOWN_PRICE
) -> tuple[Workload, ...]:
    """Work of each cycle: its training, its evaluations, and the acquisition after it (none after
    the last)."""
    last = protocol.acquisition.cycles - 1
    sizes = protocol.acquisition.labelled()
    counted = (
        _cycle_workload(protocol, method, size, cycle == last)
        + _adversarial_workload(protocol, method, cycle, sizes)
        for cycle, size in enumerate(sizes)
    )
    first, *rest = counted
    stage = (
        _pretext_workload(protocol)
        if method.pretext and protocol.pretext is not None
        else Workload()
    )
    if protocol.evaluation.size is None:
        price = price.model_copy(
            update={"scored_macs": None}
        )  # each network is tested at its own size
    return tuple(
        part.model_copy(update={"macs": _count_macs(part, method, price)})
        for part in (first + stage, *rest)
    )


def _pretext_workload(protocol: Protocol) -> Workload:
    """The pretext stage: four rotations of every image of the pool per epoch, for training and,
    where the best epoch is kept, for its accuracy; and once more for losses and features."""
    pretext = protocol.pretext
    assert pretext is not None
    training, rotated = pretext.training, 4 * protocol.data.train_size
    steps = training.epochs * -(-protocol.data.train_size // training.batch_size)
    checks = training.epochs if pretext.keep == "best" else 1
    return Workload(
        steps=steps, pretext=training.epochs * rotated, pretext_checks=(checks + 1) * rotated
    )


def _adversarial_workload(
    protocol: Protocol, method: MethodCost, cycle: int, sizes: tuple[int, ...]
) -> Workload:
    """What the strategy trains for itself in the acquisition after a cycle, and the candidates that
    it then codes."""
    game, last = method.game, len(sizes) - 1
    if game is None or cycle == last:
        return Workload()
    candidates, batch = _count_candidates(protocol, sizes[cycle]), 2 * game.batch_size
    seen = (sizes[cycle + 1] - sizes[cycle]) * (cycle + 1) + candidates
    iterations = game.iterations or seen * game.passes // game.batch_size
    return Workload(game=iterations * game.steps * batch, coded=iterations * batch + candidates)


def _count_candidates(protocol: Protocol, labelled: int) -> int:
    left, most = protocol.data.train_size - labelled, protocol.acquisition.candidates
    return left if most is None else min(most, left)


def _count_macs(part: Workload, method: MethodCost, price: Cost) -> int:
    if price.forward_macs is None:
        return 0
    scored = price.scored_macs or price.forward_macs
    trained = (part.labelled + part.unlabelled) * (price.trained_macs or 3 * price.forward_macs)
    watched = (part.teacher + part.repeated + part.refresh + part.votes) * price.forward_macs
    stage = (3 * part.pretext + part.pretext_checks) * (price.pretext_macs or price.forward_macs)
    own = 0
    if method.game is not None:
        own = 3 * part.game * method.game.forward_macs + part.coded * method.game.encoder_macs
    return (
        trained
        + watched
        + part.test * scored
        + part.acquisition * (method.scoring_macs or scored)
        + stage
        + own
    )


def _cycle_workload(protocol: Protocol, method: MethodCost, labelled: int, last: bool) -> Workload:
    training, models = protocol.training, len(protocol.trained())
    left = protocol.data.train_size - labelled
    steps, trained, unlabelled = (
        count * models for count in _count_steps(training, method, labelled, left)
    )
    candidates = _count_candidates(protocol, labelled)
    looked_at = candidates if method.narrowed is None else min(method.narrowed, candidates)
    kept = 0 if protocol.data.validation is None else protocol.data.validation.size
    scored = 0 if last else looked_at + (labelled if method.scores_labelled else 0)
    return Workload(
        steps=steps,
        labelled=trained,
        unlabelled=unlabelled,
        teacher=trained + unlabelled if method.teacher else 0,
        repeated=trained if method.second_pass else 0,
        refresh=count_refreshes(protocol) * labelled * models,
        test=(count_evaluations(protocol) * protocol.data.test_size + kept) * models,
        acquisition=method.scoring * scored,
        votes=0 if last else method.votes * candidates * models,
    )


def _count_steps(
    training: Training, method: MethodCost, labelled: int, left: int
) -> tuple[int, int, int]:
    """Steps of one network in one cycle, and the labelled and unlabelled images that pass in
    them."""
    if method.mixed is not None:
        known, unknown = method.mixed
        steps = training.epochs * max(left // unknown, 1)
        return steps, steps * known, steps * min(unknown, left)
    whole, rest = divmod(labelled, training.batch_size)
    seen = whole * training.batch_size if training.drop_last else labelled
    steps = training.epochs * (whole + (rest > 0 and not training.drop_last))
    return (
        steps,
        training.epochs * seen,
        steps * min(training.batch_size, left) if method.unlabelled else 0,
    )
