"""The promises of an objective, one check each, on a small network and synthetic images: seconds,
and no data are needed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.al.dry_run import synthetic_dataset
from benchmark.al.learner import Learner, TrainingInterrupted
from benchmark.al.objectives.base import Batch, CycleData, Objective
from benchmark.al.training.numerics import Numerics
from benchmark.conformance.checks import Broken, Finding, Result, disturb_generators
from benchmark.errors import AlbenchError
from benchmark.spec.identity import canonical_json
from benchmark.spec.protocol import Protocol
from benchmark.spec.suite import Component, Trial
from benchmark.worker import assemble

LABELLED, POOL = 18, 24
"""Labelled images, so that the last batch of an epoch is a smaller one, and images of the pool."""
EPOCHS, BATCH, CLASSES = 2, 8, 5
MakeObjective = Callable[[], Objective]
"""A new objective with its parameters."""

_PROTOCOL: dict[str, Any] = {
    "seed": 0,
    "data": {
        "name": "cifar10",
        "train_size": POOL,
        "test_size": 8,
        "classes": CLASSES,
        "split": {"rule": "official"},
    },
    "views": {
        "train": [
            {"op": "random_crop", "size": 32, "padding": 4},
            {"op": "normalise", "mean": [0.5] * 3, "std": [0.3] * 3},
        ],
        "test": [{"op": "normalise", "mean": [0.5] * 3, "std": [0.3] * 3}],
        "pool": "test",
    },
    "models": [{"name": "resnet_cifar", "params": {"heads": 2, "widths": [8, 16, 32, 64]}}],
    "acquisition": {"initial": {"rule": "uniform", "size": LABELLED}, "budget": 2, "cycles": 3},
    "training": {
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "shuffle": True,
        "drop_last": False,
        "start": "warm",
        "optimizer": {
            "name": "sgd",
            "lr": 0.05,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "nesterov": False,
        },
        "schedule": {"kind": "cosine"},
    },
    "evaluation": {"epoch": "last", "batch_size": 8},
}
"""A protocol around it: a narrow ResNet-18 with two heads and four maps, channels 8, 16, 32 and
64."""


def check_objective_contract(make: MakeObjective) -> Iterator[Finding]:
    """All checks of the objective that `make` makes, one finding each."""
    for name, run in OBJECTIVE_CHECKS.items():
        try:
            with disturb_generators(1):
                said = run(make)
            yield Finding(name, Result.NOTE if said else Result.OK, said)
        except (Broken, AlbenchError) as error:
            yield Finding(name, Result.FAILED, " ".join(str(error).split()))
        except Exception as error:
            yield Finding(
                name,
                Result.FAILED,
                f"raised {type(error).__name__}: {' '.join(str(error).split())}",
            )


def loss_is_finite_with_gradients(make: MakeObjective) -> str:
    """Every batch of an epoch, the smaller last one too, gives a finite number that the network's
    weights have gradients of."""
    learner = _make_learner(make)
    learner.student.train()
    for batch in _make_batches(learner):
        learner.objective.before_step(batch)
        loss = learner.objective.loss(learner.student, batch)
        _require(
            isinstance(loss, Tensor) and loss.shape == (),
            f"the loss is {_describe_shape(loss)}, not a single number",
        )
        _require(bool(loss.isfinite()), "the loss is not finite")
        _require(loss.requires_grad, "the loss has no gradient")
        learner.student.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        grads = [weight.grad for weight in learner.student.parameters()]
        _require(
            any(grad is not None and bool(grad.any()) for grad in grads),
            "no weight of the network has a gradient",
        )
        _require(
            all(grad is None or bool(grad.isfinite().all()) for grad in grads),
            "a gradient is not finite",
        )
    return ""


def epochs_have_the_steps_they_say(make: MakeObjective) -> str:
    """An epoch has `epoch_steps` batches, and steps are counted from 0 over the epochs of a
    cycle."""
    learner = _make_learner(make)
    data, steps = _make_data(learner), learner.objective.epoch_steps(_make_data(learner))
    for epoch in range(EPOCHS):
        batches = list(learner.objective.batches(data, epoch))
        _require(
            len(batches) == steps,
            f"an epoch has {len(batches)} batches, and epoch_steps gives {steps}",
        )
        counted = [(batch.epoch, batch.step) for batch in batches]
        wanted = [(epoch, epoch * steps + number) for number in range(steps)]
        _require(
            counted == wanted,
            f"batches of epoch {epoch} are counted as {counted[:2]}, not {wanted[:2]}",
        )
        sizes = {(len(batch.images), len(batch.labels)) for batch in batches}
        _require(
            all(one == two for one, two in sizes),
            "a batch has other numbers of images and of labels",
        )
    return ""


def same_seed_same_training(make: MakeObjective) -> str:
    """Two trainings with one seed give equal weights, regardless of where the global generators
    stand."""
    one, two = _train_cycle(_make_learner(make)), _train_cycle(_make_learner(make), world=2)
    _require_equal(one, two, "after one seed two trainings differ in")
    return ""


def hidden_labels_are_unread(make: MakeObjective) -> str:
    """Other labels of images that are not labelled change nothing."""
    one, learner = _train_cycle(_make_learner(make)), _make_learner(make)
    learner.parts.train_labels[LABELLED:] = (learner.parts.train_labels[LABELLED:] + 1) % CLASSES
    _require_equal(one, _train_cycle(learner), "labels of images that are not labelled change")
    return ""


def use_of_unlabelled_is_declared(make: MakeObjective) -> str:
    """Without `uses_unlabelled` the list of images that are not labelled changes nothing."""
    learner = _make_learner(make)
    if learner.objective.uses_unlabelled:
        return "trains on images that are not labelled, and declares it"
    one = _train_cycle(_make_learner(make))
    two = _train_cycle(learner, unlabelled=np.arange(LABELLED, POOL)[::-1][:3].copy())
    _require_equal(
        one, two, "uses_unlabelled is False, but the images that are not labelled change"
    )
    return ""


def resumed_equals_uninterrupted(make: MakeObjective) -> str:
    """Stopped after an epoch and gone on with in another process, it gives the bits of an
    uninterrupted training."""
    whole, first, second = _make_learner(make), _make_learner(make), _make_learner(make)
    kept: dict[str, Any] = {}

    def stop(epochs: int, _: float, state: Callable[[], dict[str, Any]]) -> None:
        if epochs == 1:
            kept.update(copy.deepcopy(state()))
            raise TrainingInterrupted

    wanted = _train_cycle(whole)
    with suppress(TrainingInterrupted):
        _fit(first, after_epoch=stop)
    with disturb_generators(3):
        _fit(second, resume=kept)
    _require_equal(wanted, _collect_state(second), "a resumed training differs in")
    return ""


def next_cycle_goes_on(make: MakeObjective) -> str:
    """A second cycle on more labels works, and so does a fresh start; branches, counters and
    weights go through a saved state."""
    learner = _make_learner(make)
    _train_cycle(learner)
    kept, other = copy.deepcopy(learner.state()), _make_learner(make)
    other.load_state(kept)
    _require_equal(
        _train_cycle(learner, cycle=1, labelled=np.arange(LABELLED + 2)),
        _train_cycle(other, cycle=1, labelled=np.arange(LABELLED + 2)),
        "after a saved state the next cycle differs in",
    )
    fresh = _make_learner(make, start="fresh")
    _train_cycle(fresh)
    _train_cycle(fresh, cycle=1)
    return ""


def heads_and_branches(make: MakeObjective) -> str:
    """Further outputs have a row for each image and are finite; branches that are evaluated are
    networks."""
    learner = _make_learner(make)
    _train_cycle(learner)
    heads = learner.objective.heads()
    found = learner.outputs(heads, np.arange(LABELLED, POOL), 0) if heads else {}
    for name, value in found.items():
        _require(
            len(value) == POOL - LABELLED,
            f"the output {name} is {_describe_shape(value)} for {POOL - LABELLED} images",
        )
        _require(bool(value.isfinite().all()), f"the output {name} is not finite")
    evaluated = learner.objective.evaluated()
    for name, module in evaluated.items():
        learner.evaluate(module)
        _require(
            any(module is one for one in learner.objective.modules().values()),
            f"the branch {name} is not saved",
        )
    names = [
        *(f"output {name}" for name in heads),
        *(f"branch {name}" for name in learner.objective.modules()),
    ]
    return f"adds {', '.join(names)}" if names else ""


def other_arithmetic(make: MakeObjective) -> str:
    """A training in bf16, and one whose labelled and unlabelled images are run together, end with
    finite weights."""
    for numerics in (
        Numerics(torch.device("cpu"), "bf16"),
        Numerics(torch.device("cpu"), step="together"),
    ):
        state = _train_cycle(_make_learner(make, numerics=numerics))
        bad = [
            name
            for name, value in state.items()
            if value.is_floating_point() and not bool(value.isfinite().all())
        ]
        _require(
            not bad,
            f"under {numerics.precision}, step {numerics.step}, {', '.join(bad[:3])} is not finite",
        )
    return (
        ""
        if make().capturable
        else "steps cannot be captured as CUDA graphs: it does not declare `capturable`"
    )


OBJECTIVE_CHECKS: dict[str, Callable[[MakeObjective], str]] = {
    "the loss is finite and has gradients": loss_is_finite_with_gradients,
    "epochs have the steps they say": epochs_have_the_steps_they_say,
    "same seed same training": same_seed_same_training,
    "hidden labels are unread": hidden_labels_are_unread,
    "use of unlabelled images is declared": use_of_unlabelled_is_declared,
    "resumed equals uninterrupted": resumed_equals_uninterrupted,
    "next cycle": next_cycle_goes_on,
    "further outputs and branches": heads_and_branches,
    "bf16 and joint batches": other_arithmetic,
}
"""Checks by the name that is shown."""


def _make_learner(
    make: MakeObjective, start: str = "warm", numerics: Numerics | None = None
) -> Learner:
    raw = _PROTOCOL | {"training": _PROTOCOL["training"] | {"start": start}}
    protocol = Protocol.model_validate_json(canonical_json(raw))
    trial = Trial(
        suite="conformance/objective",
        method_name="objective",
        profile="paper",
        variant="as_published",
        seed=0,
        protocol=protocol,
        strategy=Component(name="random"),
        objective=Component(name="supervised"),
        data_digest=None,
    )
    chosen = numerics or Numerics(torch.device("cpu"))
    _, learner = assemble(trial, synthetic_dataset(protocol), chosen, Path("weights"))
    assert isinstance(learner, Learner)
    return Learner(protocol, make(), learner.parts, learner.streams, chosen)


def _fit(
    learner: Learner, cycle: int = 0, labelled: Any = None, unlabelled: Any = None, **given: Any
) -> None:
    chosen = np.arange(LABELLED) if labelled is None else labelled
    rest = np.arange(len(chosen), POOL) if unlabelled is None else unlabelled
    learner.fit(cycle, chosen, rest, (), **given)


def _train_cycle(
    learner: Learner, cycle: int = 0, labelled: Any = None, unlabelled: Any = None, world: int = 1
) -> dict[str, Tensor]:
    """The state after a cycle; `world` is where the global generators stand before it."""
    with disturb_generators(world):
        _fit(learner, cycle, labelled, unlabelled)
    return _collect_state(learner)


def _collect_state(learner: Learner) -> dict[str, Tensor]:
    """Every tensor of the network and of the branches, and every counter, by name."""
    modules = {"the network": learner.student, **learner.objective.modules()}
    found = {
        f"{name}: {key}": value
        for name, one in modules.items()
        for key, value in one.state_dict().items()
    }
    return found | {
        f"counter {name}": torch.tensor(value)
        for name, value in learner.objective.counters().items()
    }


def _make_data(learner: Learner) -> CycleData:
    indices = torch.arange(POOL)
    return CycleData(
        0,
        indices[:LABELLED],
        indices[LABELLED:],
        learner.parts.train_labels,
        learner.parts.train,
        learner.streams,
        learner.protocol.training,
        learner.numerics.device,
        learner.orders,
    )


def _make_batches(learner: Learner) -> list[Batch]:
    learner.objective.start_cycle(0, learner.student)
    return list(learner.objective.batches(_make_data(learner), 0))


def _require_equal(one: dict[str, Tensor], two: dict[str, Tensor], words: str) -> None:
    different = [name for name in one if name not in two or not torch.equal(one[name], two[name])]
    _require(not different, f"{words} {', '.join(different[:3])}")


def _describe_shape(value: Any) -> str:
    return (
        f"a tensor of shape {tuple(value.shape)}"
        if isinstance(value, Tensor)
        else type(value).__name__
    )


def _require(kept: bool, words: str) -> None:
    if not kept:
        raise Broken(words)
