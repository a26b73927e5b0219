"""What the loop trains: one learner, or several side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from torch import Tensor

from benchmark.al.learner import InitialWeights, LearnerData
from benchmark.al.objectives.base import Orders
from benchmark.al.pool import Indices
from benchmark.al.random.streams import Streams
from benchmark.al.training.inference import Evaluated
from benchmark.al.training.numerics import Numerics


class TrainableModel(Protocol):
    """Is trained, evaluated and asked for outputs, cycle after cycle; knows nothing of pools."""

    @property
    def streams(self) -> Streams:
        """The trial's streams."""

    @property
    def numerics(self) -> Numerics:
        """How arithmetic is done."""

    @property
    def orders(self) -> Orders:
        """In which orders images are gone through."""

    @property
    def initial(self) -> InitialWeights | None:
        """Where networks start, if not where they are drawn."""

    @property
    def parts(self) -> LearnerData:
        """Images and labels."""

    @property
    def metrics(self) -> dict[str, float]:
        """Numbers about the last training by name, `accuracy` among them."""

    @property
    def epochs(self) -> int:
        """Epochs of one cycle."""

    def start_cycle(self, cycle: int, needs: Iterable[str]) -> None:
        """Get ready for a cycle, whether it is trained here or taken over from an identical
        training."""

    def fit(
        self,
        cycle: int,
        labelled: Indices,
        unlabelled: Indices,
        needs: Iterable[str],
        resume: Mapping[str, Any] | None = None,
        after_epoch: Callable[[int, float, Callable[[], dict[str, Any]]], None] = lambda *_: None,
    ) -> None:
        """Train for one cycle. `after_epoch(epochs done, mean loss, state)` may raise
        `TrainingInterrupted`; `resume` is such a state."""

    def finish_cycle(self) -> Evaluated:
        """Evaluate after the last epoch and fill `metrics`."""

    def outputs(self, names: Iterable[str], indices: Indices, cycle: int) -> dict[str, Tensor]:
        """Outputs by name for pool images through the scoring view, all from one pass."""

    def scoring_images(self, indices: Indices | Tensor) -> Tensor:
        """(b, c, h, w) pool images through the scoring view."""

    def state(self) -> dict[str, Any]:
        """What is carried to the next cycle."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""

    def trained(self) -> dict[str, Any]:
        """What an identical training would leave behind."""

    def load_progress(self, progress: Mapping[str, Any]) -> None:
        """Take back what `trained` returned."""

    def uses_unlabelled(self, needs: Iterable[str]) -> bool:
        """Whether the unlabelled list influences training or what is recorded during it."""

    def recorded(self, needs: Iterable[str]) -> frozenset[str]:
        """Which needs are recorded while training and cannot be computed afterwards."""

    def weights(self) -> str:
        """sha256 of all parameters and buffers."""

    def kept_weights(self) -> str:
        """The same as `finish_cycle` leaves them: what the record of the cycle holds."""
