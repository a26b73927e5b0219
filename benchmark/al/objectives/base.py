"""What a training objective is: the loss of one step, the batches it sees, and the branches that come with it."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from benchmark.al.halves import Halves, in_turn
from benchmark.al.images import Images
from benchmark.al.models.outputs import Outputs
from benchmark.al.numerics import Number
from benchmark.al.streams import Streams
from benchmark.spec.models import Training

LABELLED, UNLABELLED = 0, 1
"""Passes of the train view: the same image used twice in a step is augmented independently."""

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
    images: Images
    """The train view of the pool."""
    streams: Streams
    training: Training
    device: torch.device

    def order(self, epoch: int) -> Tensor:
        """(m,) labelled indices in the order of an epoch. A sample's place is drawn by its index, not its list position."""
        if not self.training.shuffle:
            return self.labelled
        keys = self.streams.counter("order", self.cycle).bits(self.labelled, epoch, LABELLED, n=2)
        # Two 31-bit draws make a 62-bit key that fits int64; ties are broken by list position.
        key = ((keys[:, 0] >> 1) << 31) | (keys[:, 1] >> 1)
        return self.labelled[torch.argsort(key, stable=True)]

    def chunks(self, epoch: int) -> Iterator[Tensor]:
        """The epoch's labelled indices in batches."""
        order, size = self.order(epoch), self.training.batch_size
        end = len(order) - len(order) % size if self.training.drop_last else len(order)
        return (order[start : min(start + size, end)] for start in range(0, end, size))

    def view(self, indices: Tensor, epoch: int, use: int = LABELLED) -> Tensor:
        """(b, c, h, w) augmented images; `epoch` may be any number that tells repeated uses apart."""
        return self.images.batch(indices, self.streams.counter("augment", self.cycle), epoch, use)

    @property
    def ahead(self) -> int:
        """Batches of images that are made in one go: one on a CPU, whose caches they would leave, several on a device, which
        launches a kernel for a single batch as slowly as for all of them."""
        values = self.training.batch_size * math.prod(self.images.shape)
        return 1 if self.device.type == "cpu" else min(max(BUDGET // values, 1), AHEAD)

    def views(self, asked: Iterable[tuple[Tensor, int]], use: int = LABELLED) -> Iterator[Tensor]:
        """`view` of many batches, each of (indices, epoch): the same images, made `ahead` batches at a time."""
        for some in in_groups(asked, self.ahead):
            if len(some) == 1:
                yield self.view(*some[0], use)
                continue
            sizes = [len(indices) for indices, _ in some]
            # Filled on the device: a table of epochs from the host would be waited for.
            when = [torch.full((len(indices),), epoch, device=self.device) for indices, epoch in some]
            counter = self.streams.counter("augment", self.cycle)
            images = self.images.batch(torch.cat([indices for indices, _ in some]), counter, torch.cat(when), use)
            yield from torch.split(images, sizes)

    @property
    def steps(self) -> int:
        """Optimiser steps of one epoch over the labelled set."""
        size = self.training.batch_size
        return len(self.labelled) // size if self.training.drop_last else -(-len(self.labelled) // size)


@dataclass(frozen=True)
class Build:
    """What an objective may use to build its own branches."""

    network: Callable[[str], nn.Module]
    """A new network of the protocol's kind with its own random initial weights, by a name of the caller's choice."""
    seeded: Callable[[str], Any]
    """Context manager that seeds torch's generator for the initialisation of a named module."""
    training: Training
    classes: int
    halves: Halves = in_turn
    """Runs a network on labelled and on unlabelled images, so that batch statistics stay apart."""
    number: Callable[[], Number] = Number
    """Makes what a number that changes from step to step is kept in."""


@dataclass(eq=False)
class Objective(ABC):
    """A training loss with its branches. Dataclass fields are its parameters; `build` makes its state."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)
    uses_unlabelled: ClassVar[bool] = False
    """Whether the unlabelled list influences training; it is then part of a training's identity."""
    capturable: ClassVar[bool] = False
    """Whether `loss` and `after_step` may be recorded once and repeated: they change tensors in place, and read what differs
    from step to step from the batch's tensors and from a `Build.number` that `before_step` sets."""

    def build(self, build: Build) -> None:  # noqa: B027  most objectives have no branches
        """Create branches (teachers, extra modules). Called once per trial."""

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
        """The batches of one epoch. By default: the labelled images in a new order, last partial batch kept."""
        chunks = list(data.chunks(epoch))
        for number, images in enumerate(data.views((indices, epoch) for indices in chunks)):
            yield Batch(images, data.labels[chunks[number]], epoch, epoch * data.steps + number)

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
