"""What is pinned of a training: networks, optimiser, schedule, recorders, pretext stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from benchmark.spec.base import Fraction, Natural, Positive, Reference, Spec
from benchmark.spec.transforms import Transform


class WeightsFile(Spec):
    """Weights that a network starts from, in a local file."""

    file: Annotated[str, Field(pattern=r"\.(pth|pt|bin|safetensors)$")]
    """Path below the folder `weights` of the data root, or an absolute one; not part of the
    identity."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the file (hex)."""


class Model(Spec):
    """A network by its registered name, or `file.py:Class` / `package.module:Class` for one's
    own."""

    name: Reference
    params: dict[str, JsonValue] = {}
    """Keyword arguments of the network besides the number of classes."""
    weights: Literal["scratch", "pretrained"] = "scratch"
    """`pretrained`: needs a weights file whose checksum is pinned by the network; without it the
    trial is blocked."""
    size: Positive | None = None
    """Side of the square input in pixels where it differs per network; replaces the `size` of the
    last spatial transform."""
    code: str | None = None
    """sha256 of the file that defines it, for `file.py:Class`: part of the identity, filled in when
    trials are made."""
    start: WeightsFile | None = None
    """File of the weights where they are `pretrained` and the network does not name a file of its
    own."""

    @model_validator(mode="after")
    def _started(self) -> Model:
        if self.start is not None and self.weights != "pretrained":
            raise ValueError('model.start belongs to weights = "pretrained"')
        return self


class Sgd(Spec):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    lr: Annotated[float, Field(gt=0)]
    momentum: Fraction
    weight_decay: Annotated[float, Field(ge=0)]
    nesterov: bool
    exempt: tuple[str, ...] = ()
    """Parameters whose name contains one of these strings have no weight decay."""


class Adam(Spec):
    """Adam with its usual betas (0.9, 0.999) and eps 1e-8."""

    name: Literal["adam"]
    lr: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]


Coordinates = Literal["rows", "principal"]
"""In which logistic regression is solved; see `Lbfgs.coordinates`."""


SolverPrecision = Literal["double", "single"]
"""In which logistic regression is solved; see `Lbfgs.precision`."""


class Lbfgs(Spec):
    """The optimum itself of a linear network's loss over all labelled images, found from zero by
    L-BFGS.

    The loss is the sum of the cross-entropies plus `l2` * d / 2 times the squared length of the
    weights, for features of d numbers; the bias is free. On standardised features `l2 = 1` is the
    prior that an image's logits have variance 1. Batches, their order and the schedule have no
    part.
    """

    name: Literal["lbfgs"]
    l2: Annotated[float, Field(gt=0)]
    tolerance: Annotated[float, Field(gt=0)]
    """Largest entry of the gradient at which it stops."""
    iterations: Positive
    """Most iterations. A trial in which they do not suffice fails."""
    coordinates: Coordinates = "rows"
    """In which the gradient is measured and the steps are taken. `principal` turns the features to
    their principal axes and gives each the unit in which the loss curves alike at zero: the same
    optimum, to the tolerance, in fewer iterations."""
    precision: SolverPrecision = "double"
    """Of the solver's numbers: float64, or float32, which takes a third of the time to a tolerance
    of 0.001. Rounding sets a limit to the gradients that float32 reaches."""


class MultiStep(Spec):
    """Multiply the rate by gamma when an epoch index reaches a milestone."""

    kind: Literal["multistep"]
    milestones: tuple[Positive, ...]
    gamma: Annotated[float, Field(gt=0)]
    late: bool = False
    """The drop lands one epoch late, as when a scheduler is stepped with the explicit epoch index
    after the epoch."""
    last_gamma: Annotated[float, Field(gt=0)] | None = None
    """Gamma of the last cycle, towards which it changes linearly from cycle to cycle (None: the
    same in all)."""


class Cosine(Spec):
    """Cosine from the full rate at the first step to zero after the last, updated every step."""

    kind: Literal["cosine"]


class CosineRestarts(Spec):
    """Constant until `start` epochs are done, then cosine cycles of `period` epochs from gamma * lr
    to `floor`."""

    kind: Literal["cosine_restarts"]
    start: Natural
    period: Positive
    gamma: Annotated[float, Field(gt=0)]
    floor: Annotated[float, Field(ge=0)] = 0.0
    """Rate that a cosine cycle falls to."""
    last_gamma: Annotated[float, Field(gt=0)] | None = None
    """Gamma of the last cycle, towards which it changes linearly from cycle to cycle (None: the
    same in all)."""


class Trajectory(Spec):
    """Snapshots of the weights along one training, their average, and who is compared with whom
    (ST-CoNAL section 2.1-2.3)."""

    start: Positive
    """First 1-based epoch after which a snapshot may be taken."""
    every: Positive
    """Snapshots are taken after epochs divisible by this."""
    students: Literal["last4", "all5"] = "last4"
    """`last4`: (epochs - start) / every newest snapshots are students; `all5`: every averaged
    snapshot is one."""
    average: Literal["swa", "ema"] = "swa"
    """The teacher: arithmetic mean of the snapshots, or an exponential moving average updated every
    step."""
    ema_decay: Fraction | None = None
    """Largest weight of the old average (`ema` only); it is min(1 - 1/(n+1), ema_decay) at step n =
    1, 2, ..."""
    ema_counter: Literal["trial", "cycle"] = "trial"
    """Whether n counts over the whole trial, as released, or starts again in every cycle."""
    ema_start: Literal["student", "random"] = "student"
    """Where the moving average starts in each cycle: at the network as it is before its first step,
    or, as released, at an unrelated random network of its own, never pre-trained."""
    student_bn: Literal["running", "refreshed"] = "running"
    """Batch-norm statistics of students: their own running ones, or re-estimated like the
    teacher's."""

    @model_validator(mode="after")
    def _complete(self) -> Trajectory:
        if (self.average == "ema") != (self.ema_decay is not None):
            raise ValueError("trajectory.ema_decay belongs to average 'ema' and only to it")
        if self.ema_start == "random" and self.average != "ema":
            raise ValueError("trajectory.ema_start belongs to average 'ema' and only to it")
        if self.start % self.every:
            raise ValueError(
                f"trajectory.start {self.start} is no epoch at which a snapshot is taken (every "
                f"{self.every})"
            )
        return self


class Training(Spec):
    """How a network is trained in every cycle."""

    epochs: Positive
    batch_size: Positive
    shuffle: bool
    """Draw a new order of the labelled images every epoch (False: list order, always)."""
    drop_last: bool
    """Leave out a last batch that is not full."""
    optimizer: Annotated[Sgd | Adam | Lbfgs, Field(discriminator="name")]
    schedule: Annotated[MultiStep | Cosine | CosineRestarts, Field(discriminator="kind")]
    start: Literal["fresh", "warm", "warm_best"]
    """Weights at the start of a cycle: new ones, the last ones of the previous cycle, or its
    best-test-epoch ones."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    trajectory: Trajectory | None = None
    same_init: bool = False
    """Fresh starts take the same initial weights in every cycle (False: new ones)."""
    vote_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the epochs, counted from the last one back, after which a snapshot votes where a
    method asks for votes (DIAM, CAL): round(epochs * vote_fraction) of them, halves to even."""

    @model_validator(mode="after")
    def _students(self) -> Training:
        trail = self.trajectory
        if self.optimizer.name == "lbfgs" and (
            self.epochs != 1 or self.start != "fresh" or trail is not None or self.label_smoothing
        ):
            raise ValueError(
                "training.optimizer 'lbfgs' finds the optimum: epochs = 1, start = 'fresh', no "
                "trajectory, no label_smoothing"
            )
        if trail is not None and (
            self.epochs < trail.start + trail.every or (self.epochs - trail.start) % trail.every
        ):
            raise ValueError(
                f"training.trajectory: {self.epochs} epochs do not end on a snapshot after start "
                f"{trail.start}, every {trail.every}"
            )
        return self


class Pretext(Spec):
    """A self-supervised stage before the first cycle, trained once per seed and shared by every
    method that needs it."""

    task: Literal["rotation"]
    model: Model
    training: Training
    view: tuple[Transform, ...]
    """Transforms while training the pretext task."""
    test_view: tuple[Transform, ...]
    """Transforms while its accuracy, losses and features are measured on the pool."""
    keep: Literal["best", "last"]
    """Checkpoint used afterwards: highest rotation accuracy on the training pool, or the last
    epoch."""
    clusters: Positive | None = None
    """k of k-means on the features (None: no clustering)."""
    n_init: Positive | None = None
    """Restarts of k-means; without influence on `mini_batch`."""
    k_means: Literal["full", "mini_batch"] = "full"
    """`mini_batch`: one pass over the features in the pool's order, in blocks of ten images per
    cluster."""
    upright: bool = True
    """Describe each image by its upright features (False: under one uniformly random rotation, as
    released)."""

    @model_validator(mode="after")
    def _possible(self) -> Pretext:
        if (self.clusters is None) != (self.n_init is None):
            raise ValueError("pretext.clusters and pretext.n_init go together")
        if self.training.start != "fresh":
            raise ValueError('pretext.training.start must be "fresh": the stage is trained once')
        return self
