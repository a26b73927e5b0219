"""What a training objective is: the loss of one step, the batches it sees, and the branches that
come with it."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from benchmark.al.augmentation.images import ImageSource
from benchmark.al.networks.outputs import Outputs
from benchmark.al.random.streams import Streams
from benchmark.al.training.joint_batch import JointBatch, forward_separately
from benchmark.al.training.numerics import Number
from benchmark.spec.training import Training

TURNS = 4
"""Multiples of 90 degrees."""
LABELLED, UNLABELLED = 0, 1
"""Passes of the train view: the same image used twice in a step is augmented independently."""
SCORING, REFRESH = 2, 3
"""Passes of a random view that are not an objective's steps: scoring, and re-estimating batch-norm
statistics."""

AHEAD, BUDGET = 16, 2**25
"""Most batches of images that are made in one go on a device, and most numbers in them: 128 MiB."""
Item = TypeVar("Item")


def in_groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one shorter."""
    rest = iter(items)
    while some := list(itertools.islice(rest, size)):
        yield some


@dataclass
class Batch:
    """One optimiser step's images. Labels exist for the labelled ones only."""

    images: Tensor
    """(b, c, h, w) labelled images through the train view."""
    labels: Tensor
    """(b,) int64."""
    epoch: int
    step: int
    """Steps done in this cycle before this one."""
    unlabelled: Tensor | None = None
    """(u, c, h, w) unlabelled images through the train view."""


@dataclass
class CycleData:
    """What an objective draws its batches from in one cycle."""

    cycle: int
    labelled: Tensor
    """(m,) data set indices in the order they were bought."""
    unlabelled: Tensor
    """(u,) data set indices in list order."""
    labels: Tensor
    """(pool,) int64 labels by data set index; objectives read those of labelled images only."""
    images: ImageSource
    """The train view of the pool."""
    streams: Streams
    training: Training
    device: torch.device
    orders: Orders

    def order(self, epoch: int, use: int = LABELLED) -> Tensor:
        """(m,) labelled indices in the order of an epoch."""
        return self.orders.labelled(self, epoch, use) if self.training.shuffle else self.labelled

    def unlabelled_order(self, number: int) -> Tensor:
        """(u,) unlabelled indices in the random order of that number."""
        return self.orders.unlabelled(self, number)

    def unlabelled_heads(self, numbers: Sequence[int], size: int) -> Iterator[Tensor]:
        """The first `size` unlabelled indices in the random order of each of these numbers."""
        return self.orders.unlabelled_heads(self, numbers, size)

    def chunks(self, epoch: int, use: int = LABELLED) -> Iterator[Tensor]:
        """The epoch's labelled indices in batches."""
        order, size = self.order(epoch, use), self.training.batch_size
        end = len(order) - len(order) % size if self.training.drop_last else len(order)
        return (order[start : min(start + size, end)] for start in range(0, end, size))

    def view(self, indices: Tensor, epoch: int, use: int = LABELLED) -> Tensor:
        """(b, c, h, w) augmented images; `epoch` may be any number that distinguishes repeated
        uses."""
        return self.images.batch(indices, self.streams.counter("augment", self.cycle), epoch, use)

    @property
    def ahead(self) -> int:
        """Batches of images that are made in one go: one on a CPU, whose caches they would leave,
        several on a device, which launches a kernel for a single batch as slowly as for all of
        them."""
        values = self.training.batch_size * math.prod(self.images.shape)
        return 1 if self.device.type == "cpu" else min(max(BUDGET // values, 1), AHEAD)

    def views(self, asked: Iterable[tuple[Tensor, int]], use: int = LABELLED) -> Iterator[Tensor]:
        """`view` of many batches, each of (indices, epoch): the same images, made `ahead` batches
        at a time."""
        for some in in_groups(asked, self.ahead):
            if len(some) == 1:
                yield self.view(*some[0], use)
                continue
            sizes = [len(indices) for indices, _ in some]
            # Filled on the device: a table of epochs from the host would be waited for.
            when = [
                torch.full((len(indices),), epoch, device=self.device) for indices, epoch in some
            ]
            counter = self.streams.counter("augment", self.cycle)
            images = self.images.batch(
                torch.cat([indices for indices, _ in some]), counter, torch.cat(when), use
            )
            yield from torch.split(images, sizes)

    @property
    def steps(self) -> int:
        """Optimiser steps of one epoch over the labelled set."""
        size = self.training.batch_size
        return (
            len(self.labelled) // size
            if self.training.drop_last
            else -(-len(self.labelled) // size)
        )


class Orders(Protocol):
    """In which random orders a cycle's images are gone through."""

    def labelled(self, data: CycleData, epoch: int, use: int) -> Tensor:
        """(m,) labelled indices in the order of an epoch; `use` distinguishes training from passes
        of another kind."""
        ...

    def unlabelled(self, data: CycleData, number: int) -> Tensor:
        """(u,) unlabelled indices in the random order of that number in this cycle."""
        ...

    def unlabelled_heads(
        self, data: CycleData, numbers: Sequence[int], size: int
    ) -> Iterator[Tensor]:
        """The first `size` indices of each of these orders."""
        return (self.unlabelled(data, number)[:size] for number in numbers)

    def turns(self, data: CycleData, epoch: int, indices: Tensor) -> Tensor:
        """(b, 4) a permutation of the four quarter turns for each of (b,) images in an epoch."""
        ...

    def described(self, streams: Streams, size: int) -> Tensor:
        """(size,) the quarter turn under which each image of the pool is described, where that is
        random."""
        ...


class DrawnOrders(Orders):
    """Orders drawn from the trial's streams: each image's place by its index, independent of its
    place in the list."""

    def labelled(self, data: CycleData, epoch: int, use: int) -> Tensor:
        """The same order for every use in an epoch."""
        keys = data.streams.counter("order", data.cycle).bits(data.labelled, epoch, LABELLED, n=2)
        # Two 31-bit draws make a 62-bit key that fits int64; ties are broken by list position.
        key = ((keys[:, 0] >> 1) << 31) | (keys[:, 1] >> 1)
        return data.labelled[torch.argsort(key, stable=True)]

    def unlabelled(self, data: CycleData, number: int) -> Tensor:
        """Another order for every number."""
        drawn = data.streams.counter("order", data.cycle).bits(
            data.unlabelled, number, UNLABELLED, n=1
        )[:, 0]
        return data.unlabelled[torch.argsort(drawn, stable=True)]

    def unlabelled_heads(
        self, data: CycleData, numbers: Sequence[int], size: int
    ) -> Iterator[Tensor]:
        """The same orders, drawn for all numbers in one launch."""
        listed, device = data.unlabelled, data.device
        if len(numbers) == 1:
            return super().unlabelled_heads(data, numbers, size)
        when = torch.cat([torch.full((len(listed),), number, device=device) for number in numbers])
        drawn = data.streams.counter("order", data.cycle).bits(
            listed.repeat(len(numbers)), when, UNLABELLED, n=1
        )
        order = torch.argsort(drawn.view(len(numbers), len(listed)), dim=1, stable=True)
        return iter(listed[order[:, :size]])

    def turns(self, data: CycleData, epoch: int, indices: Tensor) -> Tensor:
        """By image."""
        drawn = data.streams.counter("order", data.cycle, "turns").bits(indices, epoch, 0, TURNS)
        return torch.argsort(drawn, dim=1, stable=True)

    def described(self, streams: Streams, size: int) -> Tensor:
        """Each turn with equal probability."""
        return torch.from_numpy(streams.generator("augment").integers(TURNS, size=size))


@dataclass(frozen=True)
class Build:
    """What an objective may use to build its own branches."""

    network: Callable[[str], nn.Module]
    """A new network of the protocol's kind with its own random initial weights, by a name of the
    caller's choice."""
    seeded: Callable[[str], Any]
    """Context manager that seeds torch's generator for the initialisation of a named module."""
    training: Training
    classes: int
    halves: JointBatch = forward_separately
    """Runs a network on labelled and on unlabelled images, so that batch statistics stay apart."""
    number: Callable[[], Number] = Number
    """Makes what a number that changes from step to step is kept in."""
    first: bool = True
    """Whether the trial begins; False where a cycle of a protocol with fresh starts does."""


@dataclass(eq=False)
class Objective(ABC):
    """A training loss with its branches. Dataclass fields are its parameters; `build` makes its
    state."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)
    uses_unlabelled: ClassVar[bool] = False
    """Whether the unlabelled list influences training; it is then part of a training's identity."""
    tied_to_size: ClassVar[bool] = False
    """Whether its parameters hold for one side of the images only, as pooling windows do."""
    batch_multiple: ClassVar[int] = 1
    """What the number of labelled images of every batch is a multiple of: 2 for a loss over pairs.
    A plan reads this and the next three without running the file, so they are literals."""
    own_batches: ClassVar[bool] = False
    """Whether labelled batches have a size of the objective's own in place of the protocol's."""
    map_windows: ClassVar[str] = ""
    """The parameter that holds the side of a pooling window for each of the network's maps, 0 for
    the whole map; empty where there is none."""
    step_cost: ClassVar[Mapping[str, bool | str | tuple[str, ...]]] = {}
    """What a step adds to supervised training, by fields of `MethodCost`
    (benchmark/spec/suite.py): True, or the names of the parameters that hold the value."""
    capturable: ClassVar[bool] = False
    """Whether `loss` and `after_step` may be recorded once and repeated: they change tensors in
    place, and read what differs from step to step from the batch's tensors and from a
    `Build.number` that `before_step` sets."""

    def build(self, build: Build) -> None:  # noqa: B027  most objectives have no branches
        """Create branches (teachers, extra modules). Called once per trial, and again before every
        later cycle where the protocol starts afresh: what is made here is new in that cycle, and
        what belongs to the trial, such as a counter that goes on, is kept unless `build.first`."""

    def modules(self) -> Mapping[str, nn.Module]:
        """Branches by name: moved to the device, saved with every state."""
        return {}

    def counters(self) -> Mapping[str, int]:
        """Plain numbers that belong to the state."""
        return {}

    def load_counters(self, counters: Mapping[str, int]) -> None:  # noqa: B027
        """Take back what `counters` returned."""

    def parameter_groups(self, training: Training) -> list[dict[str, Any]]:
        """Further optimiser groups. `scheduled: False` keeps the group's rate constant."""
        return []

    def start_cycle(self, cycle: int, model: nn.Module) -> None:  # noqa: B027
        """Called before the first step of every cycle."""

    def epoch_steps(self, data: CycleData) -> int:
        """Optimiser steps of one epoch."""
        return data.steps

    def batches(self, data: CycleData, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch. By default: the labelled images in a new order, last partial
        batch kept."""
        chunks = list(data.chunks(epoch))
        for number, images in enumerate(data.views((indices, epoch) for indices in chunks)):
            yield Batch(images, data.labels[chunks[number]], epoch, epoch * data.steps + number)

    def refresh_batches(self, data: CycleData, epoch: int) -> Iterator[Tensor]:
        """Images from which batch-norm statistics of an average are re-estimated after an epoch, in
        batches. By default: the labelled images once more through the train view, with new
        augmentation."""
        return data.views(((indices, epoch) for indices in data.chunks(epoch, REFRESH)), REFRESH)

    def evaluated(self) -> Mapping[str, nn.Module]:
        """Branches whose accuracy is recorded after every cycle, as `accuracy/<name>`."""
        return {}

    def before_step(self, batch: Batch) -> None:  # noqa: B027
        """Called before every step, for what is counted on the host."""

    def kind(self, batch: Batch) -> Hashable:
        """Steps of equal kind, on batches of equal sizes, are the same operations."""
        return None

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Scalar loss of one step; called in train mode with gradients."""

    def after_step(self, model: nn.Module) -> None:  # noqa: B027
        """Called after every optimiser step."""

    def heads(self) -> Mapping[str, Callable[[Outputs], Tensor]]:
        """Further outputs of the trained model by name, computed in the same scoring pass."""
        return {}
