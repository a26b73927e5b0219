"""What is recorded while a network is trained, because it cannot be computed afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from benchmark.al.pool import Indices
from benchmark.al.training.inference import Inference
from benchmark.spec.training import Training


@dataclass(frozen=True)
class CycleStart:
    """What a recorder may know before the first step of a cycle."""

    training: Training
    model: nn.Module
    """The network that is trained, as it is before the first step."""
    needs: frozenset[str]
    """What the strategy declared for the acquisition after this training; empty where none
    follows."""
    candidates: Indices
    """Data set indices of the unlabelled images that may be bought."""
    unrelated: Callable[[], nn.Module]
    """Makes a network of the same kind with random weights of its own."""


@dataclass(frozen=True)
class EpochEnd:
    """What a recorder may use after an epoch."""

    done: int
    """Epochs done in this cycle."""
    model: nn.Module
    batches: Callable[[], Iterable[Tensor]]
    """The labelled images of this cycle in batches through the train view, for batch-norm
    statistics."""
    inference: Callable[[str], Inference]
    """Passes over pool images as while training, with draws from the stream of the given name."""
    autocast: Callable[[], AbstractContextManager[Any]]
    """The arithmetic that networks are evaluated in."""


class TrainingRecorder(Protocol):
    """Called along every training. A recorder overrides what it has a use for; its draws come from
    streams of their own, so that recording changes no weights."""

    key: ClassVar[str]
    """Its name in saved states."""

    def start_cycle(self, start: CycleStart) -> None:
        """Forget the cycle before. Not called where a training is resumed. Raises UsageError for
        what cannot be recorded."""
        return

    def before_step(self) -> None:
        """Called before every step, on the host."""
        return

    def after_step(self, model: nn.Module) -> None:
        """Called after every step; what it does to tensors may be captured in a CUDA graph."""
        return

    def after_epoch(self, end: EpochEnd) -> None:
        """Called after every epoch."""
        return

    def networks(self) -> Mapping[str, nn.Module | list[nn.Module]]:
        """Networks by name, whose outputs are computed when they are asked for."""
        return {}

    def evaluated(self) -> Mapping[str, nn.Module]:
        """Networks whose accuracy is recorded after every cycle, as `accuracy/<name>`."""
        return {}

    def recorded(self, needs: Iterable[str]) -> frozenset[str]:
        """Which of these outputs it records on the unlabelled images."""
        return frozenset()

    def outputs(self, names: Iterable[str], indices: Indices) -> dict[str, Tensor]:
        """Recorded outputs by name for pool images that were candidates when the training began."""
        return {}

    def carried(self) -> dict[str, Any]:
        """What the next cycle needs of this one; empty where it is nothing."""
        return {}

    def state(self) -> dict[str, Any]:
        """Everything that a resumed training, or scoring after it, needs; empty where it is
        nothing."""
        return self.carried()

    def load_state(self, state: Mapping[str, Any], like: nn.Module) -> None:
        """Take back what `carried` or `state` returned; `like` is a network of the same kind on the
        right device."""
        return
