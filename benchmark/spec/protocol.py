"""A protocol: every field that can change a number."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmark.spec.base import Name, Natural, Positive, Spec
from benchmark.spec.data import Data
from benchmark.spec.training import Model, Pretext, Training
from benchmark.spec.transforms import Views


class FeatureNetwork(Spec):
    """The fixed network that made a features file, and what it was shown: `albench features` writes
    this into the file."""

    network: Name
    """Name of the network."""
    weights: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """sha256 of its weights file."""
    code: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """sha256 over the syntax tree of the network's code."""
    size: Positive
    """Side in pixels to which images are resized, regardless of their height and width."""
    resize: Literal["bicubic"]
    """Without antialiasing, and without clipping of what overshoots."""
    mean: float
    """Subtracted from the pixels 0..255."""
    std: Annotated[float, Field(gt=0)]
    """What they are divided by then."""


class FeatureFile(Spec):
    """Features of all images that were computed elsewhere, such as by a self-supervised network."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*\.(npz|safetensors)$")]
    """Name of the file in the folder `features` of the data root; not part of the identity."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Digest of the file (hex)."""
    made: FeatureNetwork | None = None
    """In place of the digest: what made the file. Machines round differently, so the same network
    gives other bits elsewhere."""

    @model_validator(mode="after")
    def _one(self) -> FeatureFile:
        if (self.sha256 is None) == (self.made is None):
            raise ValueError("a features file is pinned by exactly one of sha256 and made")
        if self.made is not None and not self.file.endswith(".safetensors"):
            raise ValueError(
                "a features file that is pinned by what made it is a .safetensors file"
            )
        return self


class Initial(Spec):
    """The first labelled set."""

    rule: Literal["uniform", "balanced", "torch_randperm", "strategy"]
    """`uniform`: the seed's own shuffle. `balanced`: as many of every class, drawn uniformly.
    `torch_randperm`: the first entries of torch.randperm under `seed`, the same for every trial.
    `strategy`: the strategy picks it before the first training (the paper's cycle 0
    acquisition)."""
    size: Natural
    """Images; with rule `strategy` this is the strategy's first budget."""
    seed: int | None = None


class Acquisition(Spec):
    """How labels are bought."""

    initial: Initial
    budget: Positive | tuple[Positive, ...]
    """Images per acquisition: one number, or one for each of the `cycles - 1` acquisitions."""
    cycles: Positive
    """Trainings; the number of acquisitions between them is one less."""
    candidates: Positive | None = None
    """Size of the uniform random subset of the unlabelled images that is scored (None: all of
    them)."""

    def budgets(self) -> tuple[int, ...]:
        """Images bought after each training but the last: `cycles - 1` numbers."""
        return (self.budget,) * (self.cycles - 1) if isinstance(self.budget, int) else self.budget

    def labelled(self) -> tuple[int, ...]:
        """Labelled images at each training: `cycles` numbers."""
        sizes = [self.initial.size]
        for bought in self.budgets():
            sizes.append(sizes[-1] + bought)
        return tuple(sizes)

    @model_validator(mode="after")
    def _lengths(self) -> Acquisition:
        if len(self.budgets()) != self.cycles - 1:
            raise ValueError(
                f"budget lists {len(self.budgets())} acquisitions, but {self.cycles} cycles have "
                f"{self.cycles - 1}"
            )
        if self.initial.size == 0:
            raise ValueError("initial.size must be at least 1")
        if (self.initial.rule == "torch_randperm") != (self.initial.seed is not None):
            raise ValueError("initial.seed belongs to rule 'torch_randperm' and only to it")
        return self


class Evaluation(Spec):
    """What accuracy means here."""

    epoch: Literal["last", "best"]
    """Which epoch's test accuracy is the published one; `best` is the maximum over epochs
    (selection on the test set)."""
    every: Positive | None = None
    """Also evaluate every so many epochs (needed by `best`)."""
    batch_size: Positive
    weights: Literal["raw", "averaged"] = "raw"
    """Raw final weights, or the averaged teacher of the trajectory."""
    size: Positive | None = None
    """Side in pixels at which every network is tested and scored, where it differs from the
    training size."""

    @model_validator(mode="after")
    def _best(self) -> Evaluation:
        if self.epoch == "best" and self.every is None:
            raise ValueError("evaluation.epoch 'best' needs evaluation.every")
        return self


class Protocol(Spec):
    """Everything that can move a number."""

    seed: int
    """Base of every random stream; combined with the trial's seed."""
    data: Data
    views: Views
    models: Annotated[tuple[Model, ...], Field(min_length=1)]
    """Target models trained on the same labelled set; more than one only where the paper does
    so."""
    members: Annotated[tuple[Natural, ...], Field(min_length=1)] | None = None
    """Places in `models` of those that are trained, for profiles that keep a part of the protocol;
    None: all. Nothing of a model's training depends on the others."""
    acquisition: Acquisition
    training: Training
    evaluation: Evaluation
    pretext: Pretext | None = None
    extractor: Model | None = None
    """A fixed network beside the trained ones, never trained, whose outputs strategies may ask for
    as `extractor.<output>`."""
    features: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], FeatureFile] = {}
    """Files of features by name, which strategies ask for as `features.<name>`."""
    inputs: str | None = None
    """Which of `features` the networks are shown in place of images, standardised by mean and
    deviation over the pool; views have no part then."""

    @model_validator(mode="after")
    def _possible(self) -> Protocol:
        labelled, pool = self.acquisition.labelled(), self.data.train_size
        if self.acquisition.initial.rule == "balanced" and labelled[0] % self.data.classes:
            raise ValueError(
                f"initial.rule 'balanced': {labelled[0]} labels are no multiple of the "
                f"{self.data.classes} classes"
            )
        if labelled[-1] > pool:
            raise ValueError(
                f"the budget needs {labelled[-1]} labels, but the pool has {pool} images"
            )
        wanted = self.acquisition.candidates
        if wanted is not None and wanted < max(self.acquisition.budgets(), default=0):
            raise ValueError(
                f"candidates ({wanted}) are fewer than one budget "
                f"({max(self.acquisition.budgets())})"
            )
        for size, bought in zip(labelled, self.acquisition.budgets(), strict=False):
            if wanted is not None and min(wanted, pool - size) < bought:
                raise ValueError(
                    f"at {size} labels only {pool - size} images are left, fewer than the budget "
                    f"{bought}"
                )
        if self.members is not None and sorted(set(self.members)) != [*self.members]:
            raise ValueError(f"members {list(self.members)} must ascend, each once")
        if self.members is not None and self.members[-1] >= len(self.models):
            raise ValueError(
                f"there are {len(self.models)} models, counted from 0: no member {self.members[-1]}"
            )
        if self.evaluation.weights == "averaged" and self.training.trajectory is None:
            raise ValueError("evaluation.weights 'averaged' needs training.trajectory")
        if self.inputs is not None and self.data.validation is not None:
            raise ValueError("data.validation is made of images, but inputs name features")
        if self.inputs is not None and self.inputs not in self.features:
            raise ValueError(f"inputs name '{self.inputs}', which is not among the features")
        if self.inputs is not None and self.pretext is not None:
            raise ValueError("a pretext stage is trained on images, but inputs name features")
        if self.training.optimizer.name == "lbfgs" and (
            self.inputs is None or self.evaluation.every is not None
        ):
            raise ValueError(
                "training.optimizer 'lbfgs' needs inputs, and takes no evaluation.every"
            )
        if self.training.start == "warm_best" and self.evaluation.every is None:
            raise ValueError("training.start 'warm_best' needs evaluation.every")
        return self

    def networks(self) -> tuple[Model, ...]:
        """Every network of the protocol: those trained, the fixed one and that of the pretext
        stage."""
        fixed = () if self.extractor is None else (self.extractor,)
        stage = () if self.pretext is None else (self.pretext.model,)
        return (*self.models, *fixed, *stage)

    def trained(self) -> tuple[int, ...]:
        """Places of the models that are trained."""
        return self.members if self.members is not None else tuple(range(len(self.models)))
