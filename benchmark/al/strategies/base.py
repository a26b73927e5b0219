"""What an acquisition function is, and all it may see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from pydantic import ConfigDict
from torch import Tensor

from benchmark.al import registry
from benchmark.al.functional.scores import top_positions
from benchmark.al.output_name import OutputName
from benchmark.al.pool import Indices
from benchmark.al.strategies._seeded import Chance
from benchmark.errors import UsageError

BEFORE_FIRST_TRAINING = -1
"""`View.cycle` of a strategy that picks the first labelled set, before any training."""


class ReadImages(Protocol):
    """Images of the pool through the scoring view."""

    def __call__(self, indices: Indices | Tensor) -> Tensor:
        """(b, c, h, w) for (b,) data set indices; a tensor on the view's device costs no copy from
        the host."""


class ComputeOutputs(Protocol):
    """Outputs of the trained model that a strategy asks for while it selects."""

    def __call__(self, names: Iterable[str], indices: Indices) -> dict[str, Tensor]:
        """By name, for (b,) data set indices."""


def _no_images(indices: Indices | Tensor) -> Tensor:
    raise UsageError("this view gives no images", remedy="make it with `images=`")


def _no_outputs(names: Iterable[str], indices: Indices) -> dict[str, Tensor]:
    raise UsageError("this view computes no further outputs", remedy="make it with `ask=`")


class Picks(NamedTuple):
    """What a strategy decided: positions in `View.candidates`, in the order in which they are
    bought."""

    positions: Tensor
    """(picked,) int64, distinct."""
    scores: Tensor | None = None
    """(candidates,) the score each candidate was ranked by, for diagnostics."""
    returned: Tensor | None = None
    """Positions that go back to the unlabelled list, where an official program does not return
    exactly the rest."""
    diagnostics: Mapping[str, float] | None = None
    """Numbers a paper plots about its score; recorded, never used."""


@dataclass(frozen=True)
class View:
    """What a strategy sees of one cycle: outputs of the trained model, never the labels of
    candidates."""

    cycle: int
    cycles: int
    classes: int
    candidates: Indices
    """(n,) data set indices of the images that may be bought."""
    labelled: Indices
    """(m,) data set indices of the labelled images, in the order they were bought."""
    pool_size: int
    rng: np.random.Generator
    """The strategy's own random stream of this cycle."""
    device: torch.device
    outputs: Mapping[str, Tensor]
    """Declared needs by name: (n, ...) for candidates, (m, ...) for names that begin with
    `labelled.`, with a leading axis of passes for `dropout<k>.` and `perturbed<k>.`; `head.weight`
    is (classes, d) and `head.bias` (classes,). All are finite."""
    images: ReadImages = _no_images
    """For strategies that train a model of their own."""
    ask: ComputeOutputs = _no_outputs
    """For strategies that know only later what of which images they need."""
    chance: Callable[[np.random.Generator, torch.device], Chance] | None = None
    """(rng, device) -> what networks of the strategy's own draw and where they start (None: as
    seeded by `rng`)."""
    statics: Mapping[str, Tensor] = field(default_factory=dict)
    """Declared needs that begin with `pretext.` or `features.`: (pool_size, ...) by data set index,
    there from before the first training on."""

    def __getitem__(self, name: str) -> Tensor:
        """A declared output. Raises UsageError for one that the strategy did not declare."""
        asked = OutputName.parse(name)
        if (whole := self.statics.get(str(asked.unlabelled))) is not None:
            return whole[
                torch.from_numpy(self.labelled if asked.labelled else self.candidates).to(
                    whole.device
                )
            ]
        if name not in self.outputs and self.cycle == BEFORE_FIRST_TRAINING:
            raise UsageError(
                f"the strategy reads '{name}' before the first training",
                remedy=(
                    'pin acquisition.initial.rule = "uniform" for it, or read only `pretext.` '
                    "outputs in cycle -1"
                ),
            )
        if name not in self.outputs:
            raise UsageError(
                f"the strategy reads '{name}' without declaring it",
                remedy=f"add it to `needs`: {name!r}",
            )
        return self.outputs[name]

    @property
    def logits(self) -> Tensor:
        """(n, classes) logits of the trained model."""
        return self["logits"]

    @property
    def probs(self) -> Tensor:
        """(n, classes) class probabilities of the trained model."""
        return self["logits"].softmax(dim=1)

    @property
    def features(self) -> Tensor:
        """(n, d) what the last linear layer sees."""
        return self["features"]


@dataclass(frozen=True)
class Strategy(ABC):
    """An acquisition function. Its dataclass fields are its parameters; `needs` names the model
    outputs it reads.

    Names are `<output>` of the trained model (`logits`, `features`, or what the objective adds,
    such as `predicted_loss`), `<network>.<output>` of another network the learner keeps
    (`reference.logits`), and `labelled.<name>` for the same on the labelled images, whose labels
    are `labelled.labels`. All of them come from one pass over the images. `dropout<k>.<output>` and
    `perturbed<k>.<output>` are k passes of the trained network, `head.weight` and `head.bias` its
    last linear layer. Names that begin with `pretext.` come from the protocol's pretext stage,
    those that begin with `features.` from its files of features; both are there in `narrow` too,
    and before any training.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)
    needs: ClassVar[Iterable[str]] = frozenset()
    equivariant: ClassVar[bool] = False
    """Claims that the order of the candidates has no influence on which are bought, unless they are
    equal."""

    sides: ClassVar[tuple[int, ...]] = ()
    """Sides in pixels of the only images that it takes (empty: any)."""

    @property
    def stream(self) -> str:
        """What the `query` stream is keyed by, so that two samplers that make the same draw buy
        different images: the name of a strategy of this project, and ":<class>" of any other one,
        wherever its file lies. Random sampling has the bare stream. Not to be overridden
        (conformance check "own stream")."""
        name = registry.name_of("strategies", type(self))
        return "" if name == "random" else name or f":{type(self).__qualname__}"

    def narrow(self, view: View) -> Tensor | None:
        """Positions of the candidates worth scoring (None: all). Called before any output is
        computed."""
        return None

    @abstractmethod
    def select(self, view: View, budget: int) -> Picks:
        """Choose up to `budget` of the candidates; `budget` never exceeds their number."""


@dataclass(frozen=True)
class ScoreStrategy(Strategy):
    """A strategy that ranks candidates by a number and buys the largest; ties go to the earlier
    candidate."""

    equivariant: ClassVar[bool] = True

    @abstractmethod
    def score(self, view: View) -> Tensor:
        """(n,) informativeness of each candidate, larger is bought first."""

    def select(self, view: View, budget: int) -> Picks:
        """The `budget` largest scores."""
        scores = self.score(view)
        return Picks(top_positions(scores, budget), scores)
