"""Situations in which a strategy is asked to buy: the loop's own acquisition with a stand-in for
the trained network.

The stand-in answers random numbers of the declared shapes, keyed by image, so that order, ties,
damage and lack of candidates can be arranged. Nothing is trained besides what the strategy trains
itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from benchmark.al.acquisition import acquire, initial_pool
from benchmark.al.output_name import PRETEXT, OutputName
from benchmark.al.pool import Indices, Pool
from benchmark.al.random.streams import Streams
from benchmark.al.strategies.base import BEFORE_FIRST_TRAINING, Picks, Strategy, View
from benchmark.spec.identity import canonical_json
from benchmark.spec.protocol import Protocol

CLASSES, FEATURES, SNAPSHOTS, SIDE = 10, 16, 4, 32
"""Shape of what the stand-in answers: classes, width of features, snapshots and students, pixels of
images."""
TAILS = {"logits": (CLASSES,), "features": (FEATURES,)}
"""Shapes of what the stand-in answers for one image; other outputs are one number."""
CYCLES = 4
"""Trainings of the stand-in's protocol; after the last one nothing is bought."""


@dataclass(frozen=True)
class Scenario:
    """A situation in which a strategy is asked to buy."""

    candidates: int = 60
    labelled: int = 20
    budget: int = 12
    cycle: int = 1
    models: int = 1
    """Target models; with several, their outputs have a leading axis of models."""
    seed: int = 0
    """Of the strategy's own stream; the network's answers do not depend on it."""
    tied: bool = False
    """All images look alike to the network."""
    one_class: bool = False
    """The network, and every snapshot of it, predicts class 0 for all images."""
    spoilt: str = ""
    """The output that is not a number for one candidate."""
    spoilt_image: int = -1
    order: tuple[int, ...] = ()
    """The candidates' order, as places in the usual one (empty: the usual one)."""

    @property
    def size(self) -> int:
        """Images of the pool."""
        return self.candidates + self.labelled

    @property
    def pool(self) -> Pool:
        """Who is labelled: a shuffle that does not depend on `seed`."""
        usual = Pool.shuffled(
            self.size, self.labelled, np.random.Generator(np.random.Philox(key=5))
        )
        return (
            replace(usual, unlabelled=usual.unlabelled[list(self.order)]) if self.order else usual
        )

    @property
    def protocol(self) -> Protocol:
        """A protocol around it."""
        return Protocol.model_validate_json(
            canonical_json(
                _PROTOCOL
                | {
                    "data": _DATA | {"train_size": self.size},
                    "acquisition": {
                        "initial": {
                            "rule": "strategy",
                            "size": min(self.budget, self.size - CYCLES),
                        },
                        "budget": 1,
                        "cycles": CYCLES,
                    },
                }
            )
        )


_DATA: dict[str, Any] = {
    "name": "cifar10",
    "test_size": 1,
    "classes": CLASSES,
    "split": {"rule": "official"},
}
_PROTOCOL: dict[str, Any] = {
    "seed": 0,
    "views": {"train": [], "test": [], "pool": "test"},
    "models": [{"name": "stand_in"}],
    "training": {
        "epochs": 1,
        "batch_size": 1,
        "shuffle": True,
        "drop_last": False,
        "start": "fresh",
        "optimizer": {
            "name": "sgd",
            "lr": 0.1,
            "momentum": 0.0,
            "weight_decay": 0.0,
            "nesterov": False,
        },
        "schedule": {"kind": "cosine"},
    },
    "evaluation": {"epoch": "last", "batch_size": 1},
}


class FakeLearner:
    """In place of a trained network: numbers by name and image. It has labels like a learner, and
    notices who reads them."""

    def __init__(self, world: Scenario) -> None:
        self.world = world
        self.streams = Streams(0, world.seed)
        self.numerics = SimpleNamespace(device=torch.device("cpu"))
        self.label_reads = 0
        self.parts = _Watched(self)

    def outputs(self, names: Iterable[str], indices: Indices, cycle: int) -> dict[str, Tensor]:
        """As a learner's: (n, ...) for each name, with leading axes of models, snapshots or
        students where it has them."""
        return {name: self._output(name, torch.from_numpy(np.asarray(indices))) for name in names}

    def scoring_images(self, indices: Indices | Tensor) -> Tensor:
        """(b, 3, 32, 32) images of noise."""
        noise = self._noise("images", (self.world.size, 3, 8, 8))
        chosen = torch.as_tensor(indices) * (not self.world.tied)
        return noise[chosen].repeat_interleave(SIDE // 8, dim=2).repeat_interleave(SIDE // 8, dim=3)

    def statics(self, names: Iterable[str]) -> dict[str, Tensor]:
        """What a stage before the first cycle would have left: (pool size,) numbers for each
        name."""
        needs = {OutputName.parse(name).unlabelled for name in names}
        shapes = {
            str(need): TAILS.get(need.output, ())
            for need in needs
            if need.is_static and need.network == PRETEXT
        }
        shapes |= {
            str(need): (FEATURES,) for need in needs if need.is_static and need.network != PRETEXT
        }
        return {
            name: self._spoil(name, self._rows(name, tail).abs()[None])[0]
            for name, tail in shapes.items()
        }

    def _output(self, name: str, indices: Tensor) -> Tensor:
        asked = OutputName.parse(name)
        network, kind = asked.owner, asked.output
        if asked.headed is not None:
            return self._head(name, kind)
        lead: tuple[int, ...] = (
            (self.world.models,) if self.world.models > 1 and not network else ()
        )
        lead += (SNAPSHOTS,) if kind == "votes" or network == "students" else ()
        lead += () if asked.passes is None else (asked.passes[1],)
        tail = TAILS.get(kind, ())
        count = int(np.prod(lead))
        rows = torch.stack([self._one(f"{name} {number}", kind, tail) for number in range(count)])
        return self._spoil(name, rows)[:, indices].reshape(*lead, len(indices), *tail)

    def _head(self, name: str, kind: str) -> Tensor:
        """(classes, d) weights or (classes,) biases of a last linear layer."""
        values = self._noise(name, (CLASSES, FEATURES) if kind == "weight" else (CLASSES,))
        if name == self.world.spoilt:
            values[0] = torch.nan
        return values

    def _one(self, name: str, kind: str, tail: tuple[int, ...]) -> Tensor:
        rows = self._rows(name, tail)
        if kind == "votes":
            return (
                torch.zeros(self.world.size, dtype=torch.int64)
                if self.world.one_class
                else (rows.abs() * 2).long() % CLASSES
            )
        if kind == "logits" and self.world.one_class:
            rows[:, 0] = rows.amax(dim=1) + 1
        return rows.abs() if kind == "features" else rows  # what leaves a rectifier

    def _rows(self, name: str, tail: tuple[int, ...]) -> Tensor:
        if self.world.tied:
            return self._noise(name, (1, *tail)).expand(self.world.size, *tail).clone()
        return self._noise(name, (self.world.size, *tail))

    def _spoil(self, name: str, rows: Tensor) -> Tensor:
        if name == self.world.spoilt and rows.is_floating_point():
            rows[:, self.world.spoilt_image] = torch.nan
        return rows

    def _noise(self, name: str, shape: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(Streams(0, 0).key("query", part=name) >> 1)
        return torch.randn(shape, generator=generator)


class _Watched:
    """A learner's images and labels; any look at them through a view's callables is counted."""

    def __init__(self, owner: FakeLearner) -> None:
        self._owner = owner

    def __getattr__(self, name: str) -> Tensor:
        self._owner.label_reads += 1
        return torch.arange(self._owner.world.size) % CLASSES


@dataclass
class Acquired:
    """What a strategy did in a world."""

    images: list[int]
    """Data set indices, in the order of buying."""
    view: View
    picks: Picks
    positions: list[int]
    drew: bool
    """Whether it took numbers from its stream."""
    label_reads: int
    touched: list[str] = field(default_factory=list)
    """Inputs that it changed."""


def acquire_in(
    strategy: Strategy, world: Scenario, around: AbstractContextManager[Any] | None = None
) -> Acquired:
    """Let a strategy buy through the loop's own acquisition, `select` inside `around`. Raises what
    it raises."""
    learner = FakeLearner(world)
    watch = _Watch(strategy, around or nullcontext(), learner)
    watched = cast(Strategy, watch)
    statics = learner.statics(strategy.needs)
    if world.cycle == BEFORE_FIRST_TRAINING:
        initial_pool(world.protocol, watched, cast(Any, learner), statics)
    else:
        acquire(
            watched,
            cast(Any, learner),
            world.pool,
            world.cycle,
            world.protocol,
            world.budget,
            statics,
        )
    if watch.view is None or watch.picks is None:  # nothing was left to choose from
        empty = Picks(torch.empty(0, dtype=torch.int64))
        return Acquired([], cast(View, None), empty, [], False, watch.label_reads)
    positions = watch.picks.positions.cpu().tolist()
    images = watch.view.candidates[watch.picks.positions.cpu().numpy()].tolist()
    return Acquired(
        images, watch.view, watch.picks, positions, watch.drew, watch.label_reads, watch.touched
    )


class _Watch:
    """The strategy itself, with its view kept and compared afterwards."""

    def __init__(
        self, strategy: Strategy, around: AbstractContextManager[Any], learner: FakeLearner
    ) -> None:
        self._strategy = strategy
        self.needs = strategy.needs
        self._around = around
        self._learner = learner
        self.label_reads = 0
        self.stream = strategy.stream
        self.view: View | None = None
        self.picks: Picks | None = None
        self.drew, self.touched = False, list[str]()

    def narrow(self, view: View) -> Tensor | None:
        with self._counted():
            return self._strategy.narrow(view)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts what the strategy reads of the learner; the loop itself reads the labels of
        labelled images for it."""
        before = self._learner.label_reads
        yield
        self.label_reads += self._learner.label_reads - before

    def select(self, view: View, budget: int) -> Picks:
        before, state = _view_content(view), canonical_json(_as_plain(view.rng.bit_generator.state))
        self.view = view
        with self._counted(), self._around:
            self.picks = self._strategy.select(view, budget)
        self.drew = canonical_json(_as_plain(view.rng.bit_generator.state)) != state
        after = _view_content(view)
        self.touched = [name for name in before if before[name] != after[name]]
        return self.picks


def _view_content(view: View) -> dict[str, bytes]:
    arrays = {"candidates": view.candidates, "labelled": view.labelled}
    tensors = {name: value.numpy() for name, value in {**view.outputs, **view.statics}.items()}
    return {
        name: np.ascontiguousarray(value).tobytes() for name, value in {**arrays, **tensors}.items()
    }


def _as_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
