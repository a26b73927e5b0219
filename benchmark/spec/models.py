"""What a suite file may say: strict, frozen models of every noun that is pinned.

A suite pins one paper's protocol on one data set. Every field that can move a number is in `Protocol`; nothing in it
has a silent default except features that are off (`None`, `()` or `False`). Field docstrings become the JSON Schema.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Positive = Annotated[int, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+()-]*$")]
Reference = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.+()-]*|[^:]+:[A-Za-z_][A-Za-z0-9_]*)$")]
"""A registered name, or `file.py:Class` / `package.module:Class` for one's own."""


class Spec(BaseModel):
    """Base of everything pinned: unknown keys, wrong types, NaN and infinities are refused; instances are immutable."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


# --------------------------------------------------------------------------------------------------------------- data


class Split(Spec):
    """How the pool and the test set are divided where a data set has no official division."""

    rule: Literal["official", "per_class"]
    """`official`: the published train and test parts. `per_class`: a seeded cut inside every class."""
    train_fraction: Fraction | None = None
    """Share of each class that goes to the pool (`per_class` only)."""
    rounding: Literal["floor", "ceil"] | None = None
    """How `train_fraction * class size` becomes a whole number."""
    test_per_class: Positive | None = None
    """Images of each class that go to the test set (`per_class`, in place of `train_fraction` and `rounding`)."""
    drop: Literal["by_name", "first_sorted"] | None = None
    """Which class folder is left out: the background or clutter class by name, or blindly the first one in sorted order."""
    seed: int | None = None
    """Seed of the cut."""

    @model_validator(mode="after")
    def _complete(self) -> Split:
        share, count = (self.train_fraction, self.rounding), self.test_per_class
        given = any(value is not None for value in share)
        if self.rule == "per_class" and (self.seed is None or (None in share if count is None else given)):
            raise ValueError(
                "split.rule 'per_class' needs a seed and either train_fraction and rounding or test_per_class"
            )
        if self.rule == "official" and (given or count is not None or self.seed is not None):
            raise ValueError("split.rule 'official' takes no train_fraction, rounding, test_per_class or seed")
        return self


class Imbalance(Spec):
    """Class counts of an artificially imbalanced pool: the first n_c images of every class c in native order are kept."""

    kind: Literal["step", "long_tail"]
    """`step`: even class ids keep `minority`, odd ones `majority`. `long_tail`: trunc(majority * ratio^(c/(K-1)))."""
    majority: Positive
    """Images per large class (`step`) or of class 0 before capping at what exists (`long_tail`)."""
    minority: Positive | None = None
    """Images per small class (`step` only)."""
    ratio: Fraction | None = None
    """Smallest over largest class (`long_tail` only)."""

    @model_validator(mode="after")
    def _complete(self) -> Imbalance:
        if (self.minority is None) != (self.kind != "step") or (self.ratio is None) != (self.kind != "long_tail"):
            raise ValueError("imbalance 'step' takes minority and no ratio, 'long_tail' takes ratio and no minority")
        return self


class Limit(Spec):
    """Only the first images of a seeded shuffle are used: for profiles that shrink a protocol, never for `paper`."""

    train: Positive
    test: Positive


class Data(Spec):
    """Which images, how they are divided, and how many must be there."""

    name: Reference
    """A data set by its registered name (`albench fetch` lists them), `file.py:Class` / `package.module:Class` for one's own, or
    the name of a folder where `layout` is class_folders."""
    train_size: Positive
    """Images in the pool (labelled and unlabelled together) after split, imbalance and limit."""
    test_size: Positive
    """Images in the test set after split and limit."""
    classes: Annotated[int, Field(ge=2)]
    """Number of classes."""
    split: Split
    decode: tuple[Transform, ...] = ()
    """Deterministic transforms applied once when the images are decoded (resize, centre crop); the result is cached as uint8."""
    imbalance: Imbalance | None = None
    limit: Limit | None = None
    layout: Literal["official", "class_folders"] = "official"
    """`class_folders`: `<root>/<name>/{train,test}/<class>/<file>` as in the BAL paper's README, or undivided, without the
    folders `train` and `test`, where `split` is per_class."""
    files: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """sha256 over names and contents of the files of one's own data: with it, these count as the data that are meant."""
    code: str | None = None
    """sha256 of the file that defines it, for `file.py:Class`: part of the identity, filled in when trials are made."""

    @model_validator(mode="after")
    def _folder(self) -> Data:
        if self.layout == "class_folders" and ":" in self.name:
            raise ValueError("data.layout 'class_folders' takes the name of a folder")
        if self.files is not None and self.layout == "official" and ":" not in self.name:
            raise ValueError("data.files belongs to data of one's own: class folders, or `file.py:Class`")
        return self


# --------------------------------------------------------------------------------------------------------- transforms


class RandomCrop(Spec):
    """Crop at a uniformly drawn place after zero padding on each side."""

    op: Literal["random_crop"]
    size: Positive
    padding: Natural


class HorizontalFlip(Spec):
    """Mirror left and right with probability p."""

    op: Literal["horizontal_flip"]
    p: Fraction


class Normalise(Spec):
    """Scale to [0, 1], subtract the mean and divide by the standard deviation of each channel."""

    op: Literal["normalise"]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]


class Resize(Spec):
    """Bilinear resize with antialiasing (as Pillow's): to exactly (height, width), or the shorter side to a length."""

    op: Literal["resize"]
    size: tuple[Positive, Positive] | None = None
    shorter: Positive | None = None

    @model_validator(mode="after")
    def _one(self) -> Resize:
        if (self.size is None) == (self.shorter is None):
            raise ValueError("resize needs exactly one of size = [height, width] and shorter = pixels")
        return self


class CenterCrop(Spec):
    """Crop the middle square."""

    op: Literal["center_crop"]
    size: Positive


class RandomResizedCrop(Spec):
    """Crop of a uniformly drawn area share and log-uniform aspect ratio (ten tries, then centre crop), resized bilinearly."""

    op: Literal["random_resized_crop"]
    size: Positive
    scale: tuple[float, float]
    ratio: tuple[float, float]


class ColorJitter(Spec):
    """Brightness, contrast, saturation factors and hue shift drawn uniformly from the given ranges, in random order."""

    op: Literal["color_jitter"]
    brightness: tuple[float, float] | None = None
    contrast: tuple[float, float] | None = None
    saturation: tuple[float, float] | None = None
    hue: tuple[float, float] | None = None


class Rotation(Spec):
    """Rotate by an angle drawn uniformly from [-degrees, degrees], nearest neighbour, zero fill (torchvision's default)."""

    op: Literal["random_rotation"]
    degrees: float


class ToRgb(Spec):
    """Repeat a single grey channel three times."""

    op: Literal["to_rgb"]


class SwapRedBlue(Spec):
    """Exchange the red and blue channels: what OpenCV's BGR order does to code that expects RGB."""

    op: Literal["swap_red_blue"]


Transform = Annotated[
    RandomCrop
    | HorizontalFlip
    | Normalise
    | Resize
    | CenterCrop
    | RandomResizedCrop
    | ColorJitter
    | Rotation
    | ToRgb
    | SwapRedBlue,
    Field(discriminator="op"),
]


class Views(Spec):
    """The transforms in order, per use. Images enter as uint8 and leave as float32 (channels, height, width)."""

    train: tuple[Transform, ...]
    """For optimisation."""
    test: tuple[Transform, ...]
    """For the test set."""
    pool: Literal["train", "test"] | tuple[Transform, ...]
    """Which of the two the unlabelled images are scored through, or transforms of their own."""


# ------------------------------------------------------------------------------------------------ model and training


class WeightsFile(Spec):
    """Weights that a network starts from, in a local file."""

    file: Annotated[str, Field(pattern=r"\.(pth|pt|bin|safetensors)$")]
    """Path below the folder `weights` of the data root, or an absolute one; not part of the identity."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the file (hex)."""


class Model(Spec):
    """A network by its registered name, or `file.py:Class` / `package.module:Class` for one's own."""

    name: Reference
    params: dict[str, JsonValue] = {}
    """Keyword arguments of the network besides the number of classes."""
    weights: Literal["scratch", "pretrained"] = "scratch"
    """`pretrained`: needs a weights file whose checksum is pinned by the network; without it the trial is blocked."""
    size: Positive | None = None
    """Side of the square input in pixels where it differs per network; replaces the `size` of the last spatial transform."""
    code: str | None = None
    """sha256 of the file that defines it, for `file.py:Class`: part of the identity, filled in when trials are made."""
    start: WeightsFile | None = None
    """File of the weights where they are `pretrained` and the network does not name a file of its own."""

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


class Lbfgs(Spec):
    """The optimum itself of a linear network's loss over all labelled images, found from zero by L-BFGS in float64.

    The loss is the sum of the cross-entropies plus `l2` * d / 2 times the squared length of the weights, for features of d
    numbers; the bias is free. On standardised features `l2 = 1` is the prior that an image's logits have variance 1. Batches, their
    order and the schedule have no part.
    """

    name: Literal["lbfgs"]
    l2: Annotated[float, Field(gt=0)]
    tolerance: Annotated[float, Field(gt=0)]
    """Largest entry of the gradient at which it stops."""
    iterations: Positive
    """Most iterations. A trial in which they do not suffice fails."""


class MultiStep(Spec):
    """Multiply the rate by gamma when an epoch index reaches a milestone."""

    kind: Literal["multistep"]
    milestones: tuple[Positive, ...]
    gamma: Annotated[float, Field(gt=0)]
    late: bool = False
    """The drop lands one epoch late, as when a scheduler is stepped with the explicit epoch index after the epoch."""
    last_gamma: Annotated[float, Field(gt=0)] | None = None
    """Gamma of the last cycle, towards which it changes linearly from cycle to cycle (None: the same in all)."""


class Cosine(Spec):
    """Cosine from the full rate at the first step to zero after the last, updated every step."""

    kind: Literal["cosine"]


class CosineRestarts(Spec):
    """Constant until `start` epochs are done, then cosine cycles of `period` epochs from gamma * lr to `floor`."""

    kind: Literal["cosine_restarts"]
    start: Natural
    period: Positive
    gamma: Annotated[float, Field(gt=0)]
    floor: Annotated[float, Field(ge=0)] = 0.0
    """Rate that a cosine cycle falls to."""
    last_gamma: Annotated[float, Field(gt=0)] | None = None
    """Gamma of the last cycle, towards which it changes linearly from cycle to cycle (None: the same in all)."""


class Trajectory(Spec):
    """Snapshots of the weights along one training, their average, and who is compared with whom (ST-CoNAL section 2.1-2.3)."""

    start: Positive
    """First 1-based epoch after which a snapshot may be taken."""
    every: Positive
    """Snapshots are taken after epochs divisible by this."""
    students: Literal["last4", "all5"] = "last4"
    """`last4`: (epochs - start) / every newest snapshots are students; `all5`: every averaged snapshot is one."""
    average: Literal["swa", "ema"] = "swa"
    """The teacher: arithmetic mean of the snapshots, or an exponential moving average updated every step."""
    ema_decay: Fraction | None = None
    """Largest weight of the old average (`ema` only); it is min(1 - 1/(n+1), ema_decay) at step n = 1, 2, ..."""
    ema_counter: Literal["trial", "cycle"] = "trial"
    """Whether n counts over the whole trial, as released, or starts again in every cycle."""
    ema_start: Literal["student", "random"] = "student"
    """Where the moving average starts in each cycle: at the network as it is before its first step, or, as released, at an
    unrelated random network of its own, never pre-trained."""
    student_bn: Literal["running", "refreshed"] = "running"
    """Batch-norm statistics of students: their own running ones, or re-estimated like the teacher's."""

    @model_validator(mode="after")
    def _complete(self) -> Trajectory:
        if (self.average == "ema") != (self.ema_decay is not None):
            raise ValueError("trajectory.ema_decay belongs to average 'ema' and only to it")
        if self.ema_start == "random" and self.average != "ema":
            raise ValueError("trajectory.ema_start belongs to average 'ema' and only to it")
        if self.start % self.every:
            raise ValueError(
                f"trajectory.start {self.start} is no epoch at which a snapshot is taken (every {self.every})"
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
    """Weights at the start of a cycle: new ones, the last ones of the previous cycle, or its best-test-epoch ones."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    trajectory: Trajectory | None = None
    same_init: bool = False
    """Fresh starts take the same initial weights in every cycle (False: new ones)."""
    vote_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the epochs, counted from the last one back, after which a snapshot votes where a method asks for votes (DIAM,
    CAL): round(epochs * vote_fraction) of them, halves to even."""

    @model_validator(mode="after")
    def _students(self) -> Training:
        trail = self.trajectory
        if self.optimizer.name == "lbfgs" and (
            self.epochs != 1 or self.start != "fresh" or trail is not None or self.label_smoothing
        ):
            raise ValueError(
                "training.optimizer 'lbfgs' finds the optimum: epochs = 1, start = 'fresh', no trajectory, no label_smoothing"
            )
        if trail is not None and (self.epochs < trail.start + trail.every or (self.epochs - trail.start) % trail.every):
            raise ValueError(
                f"training.trajectory: {self.epochs} epochs do not end on a snapshot after start {trail.start}, every {trail.every}"
            )
        return self


class Pretext(Spec):
    """A self-supervised stage before the first cycle, trained once per seed and shared by every method that needs it."""

    task: Literal["rotation"]
    model: Model
    training: Training
    view: tuple[Transform, ...]
    """Transforms while training the pretext task."""
    test_view: tuple[Transform, ...]
    """Transforms while its accuracy, losses and features are measured on the pool."""
    keep: Literal["best", "last"]
    """Checkpoint used afterwards: highest rotation accuracy on the training pool, or the last epoch."""
    clusters: Positive | None = None
    """k of k-means on the features (None: no clustering)."""
    n_init: Positive | None = None
    """Restarts of k-means; without influence on `mini_batch`."""
    k_means: Literal["full", "mini_batch"] = "full"
    """`mini_batch`: one pass over the features in the pool's order, in blocks of ten images per cluster."""
    upright: bool = True
    """Describe each image by its upright features (False: under one uniformly random rotation, as released)."""

    @model_validator(mode="after")
    def _possible(self) -> Pretext:
        if (self.clusters is None) != (self.n_init is None):
            raise ValueError("pretext.clusters and pretext.n_init go together")
        if self.training.start != "fresh":
            raise ValueError('pretext.training.start must be "fresh": the stage is trained once')
        return self


class FeatureNetwork(Spec):
    """The fixed network that made a features file, and what it was shown: `albench features` writes this into the file."""

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
    """In place of the digest: what made the file. Machines round differently, so the same network gives other bits elsewhere."""

    @model_validator(mode="after")
    def _one(self) -> FeatureFile:
        if (self.sha256 is None) == (self.made is None):
            raise ValueError("a features file is pinned by exactly one of sha256 and made")
        if self.made is not None and not self.file.endswith(".safetensors"):
            raise ValueError("a features file that is pinned by what made it is a .safetensors file")
        return self


class Initial(Spec):
    """The first labelled set."""

    rule: Literal["uniform", "balanced", "torch_randperm", "strategy"]
    """`uniform`: the seed's own shuffle. `balanced`: as many of every class, drawn uniformly. `torch_randperm`: the first
    entries of torch.randperm under `seed`, the same for every trial. `strategy`: the strategy picks it before the first
    training (the paper's cycle 0 acquisition)."""
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
    """Size of the uniform random subset of the unlabelled images that is scored (None: all of them)."""

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
                f"budget lists {len(self.budgets())} acquisitions, but {self.cycles} cycles have {self.cycles - 1}"
            )
        if self.initial.size == 0:
            raise ValueError("initial.size must be at least 1")
        if (self.initial.rule == "torch_randperm") != (self.initial.seed is not None):
            raise ValueError("initial.seed belongs to rule 'torch_randperm' and only to it")
        return self


class Evaluation(Spec):
    """What accuracy means here."""

    epoch: Literal["last", "best"]
    """Which epoch's test accuracy is the published one; `best` is the maximum over epochs (selection on the test set)."""
    every: Positive | None = None
    """Also evaluate every so many epochs (needed by `best`)."""
    batch_size: Positive
    weights: Literal["raw", "averaged"] = "raw"
    """Raw final weights, or the averaged teacher of the trajectory."""
    size: Positive | None = None
    """Side in pixels at which every network is tested and scored, where it differs from the training size."""

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
    """Target models trained on the same labelled set; more than one only where the paper does so."""
    members: Annotated[tuple[Natural, ...], Field(min_length=1)] | None = None
    """Places in `models` of those that are trained, for profiles that keep a part of the protocol; None: all. Nothing of a
    model's training depends on the others."""
    acquisition: Acquisition
    training: Training
    evaluation: Evaluation
    pretext: Pretext | None = None
    extractor: Model | None = None
    """A fixed network beside the trained ones, never trained, whose outputs strategies may ask for as `extractor.<output>`."""
    features: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], FeatureFile] = {}
    """Files of features by name, which strategies ask for as `features.<name>`."""
    inputs: str | None = None
    """Which of `features` the networks are shown in place of images, standardised by mean and deviation over the pool; views have
    no part then."""

    @model_validator(mode="after")
    def _possible(self) -> Protocol:
        labelled, pool = self.acquisition.labelled(), self.data.train_size
        if self.acquisition.initial.rule == "balanced" and labelled[0] % self.data.classes:
            raise ValueError(
                f"initial.rule 'balanced': {labelled[0]} labels are no multiple of the {self.data.classes} classes"
            )
        if labelled[-1] > pool:
            raise ValueError(f"the budget needs {labelled[-1]} labels, but the pool has {pool} images")
        wanted = self.acquisition.candidates
        if wanted is not None and wanted < max(self.acquisition.budgets(), default=0):
            raise ValueError(f"candidates ({wanted}) are fewer than one budget ({max(self.acquisition.budgets())})")
        for size, bought in zip(labelled, self.acquisition.budgets(), strict=False):
            if wanted is not None and min(wanted, pool - size) < bought:
                raise ValueError(f"at {size} labels only {pool - size} images are left, fewer than the budget {bought}")
        if self.members is not None and sorted(set(self.members)) != [*self.members]:
            raise ValueError(f"members {list(self.members)} must ascend, each once")
        if self.members is not None and self.members[-1] >= len(self.models):
            raise ValueError(f"there are {len(self.models)} models, counted from 0: no member {self.members[-1]}")
        if self.evaluation.weights == "averaged" and self.training.trajectory is None:
            raise ValueError("evaluation.weights 'averaged' needs training.trajectory")
        if self.inputs is not None and self.inputs not in self.features:
            raise ValueError(f"inputs name '{self.inputs}', which is not among the features")
        if self.inputs is not None and self.pretext is not None:
            raise ValueError("a pretext stage is trained on images, but inputs name features")
        if self.training.optimizer.name == "lbfgs" and (self.inputs is None or self.evaluation.every is not None):
            raise ValueError("training.optimizer 'lbfgs' needs inputs, and takes no evaluation.every")
        if self.training.start == "warm_best" and self.evaluation.every is None:
            raise ValueError("training.start 'warm_best' needs evaluation.every")
        return self

    def networks(self) -> tuple[Model, ...]:
        """Every network of the protocol: those trained, the fixed one and that of the pretext stage."""
        fixed = () if self.extractor is None else (self.extractor,)
        stage = () if self.pretext is None else (self.pretext.model,)
        return (*self.models, *fixed, *stage)

    def trained(self) -> tuple[int, ...]:
        """Places of the models that are trained."""
        return self.members if self.members is not None else tuple(range(len(self.models)))


# ------------------------------------------------------------------------------------------- methods, profiles, claims


class Component(Spec):
    """A strategy or an objective by its registered name, or `file.py:Class` / `package.module:Class` for one's own."""

    name: Annotated[str, Field(min_length=1)]
    params: dict[str, JsonValue] = {}
    code: str | None = None
    """sha256 of the file that defines it, for components outside the project: part of the identity."""


class GameCost(Spec):
    """What an autoencoder that plays against a discriminator costs in every acquisition (VAAL). The discriminator sees codes of
    some thirty numbers: its price is left out."""

    forward_macs: Positive
    """Multiply-accumulates of one image through the autoencoder."""
    encoder_macs: Positive
    """Of these, its encoder's: all that the discriminator's step and the scores need."""
    steps: Positive
    """Steps of the autoencoder per iteration, each on one batch of labelled images and one of candidates."""
    batch_size: Positive
    passes: Positive
    """An acquisition after cycle c has as many iterations as batches in this number of rounds over budget * (c + 1) +
    candidates images."""
    iterations: Positive | None = None
    """A fixed number instead."""


class MethodCost(Spec):
    """What a method adds to plain training and scoring, so that a plan can be priced without loading it."""

    unlabelled: bool = False
    """Every step also trains on an unlabelled batch of the nominal size."""
    mixed: tuple[Positive, Positive] | None = None
    """Labelled and unlabelled images of every step, where an epoch is one pass over the unlabelled images in full batches
    instead of one over the labelled ones."""
    teacher: bool = False
    """A second network is run forward on everything the step trains on."""
    second_pass: bool = False
    """The labelled images of a step pass the trained network once more, forward."""
    game: GameCost | None = None
    """What the strategy trains for itself."""
    scoring: Natural = 0
    """Networks run forward on every candidate."""
    scores_labelled: bool = False
    """The labelled images go through the scoring pass too."""
    scoring_macs: Positive | None = None
    """Multiply-accumulates of one forward pass of the scoring network, where it is not one of those trained."""
    votes: Natural = 0
    """Snapshots of each trained network that label every candidate while training."""
    narrowed: Positive | None = None
    """The most candidates that are scored in one acquisition, where the method looks at a part of the pool."""
    pretext: bool = False
    """The method needs the protocol's pretext stage."""


class Method(Spec):
    """A named pairing of an acquisition strategy and a training objective."""

    title: str
    """As the paper calls it."""
    strategy: Component
    objective: Component = Component(name="supervised")
    set: dict[str, JsonValue] = {}
    """Protocol values that differ for this method alone, by dotted path below `protocol`."""
    cost: MethodCost = MethodCost()
    note: str = ""


LEAVING_OUT = ("protocol.members", "protocol.acquisition.cycles")
"""What a profile may set that is a part of the protocol."""


class Overrides(Spec):
    """Named values that replace pinned ones, by dotted path from the suite's root (`protocol.training.epochs`)."""

    note: str
    set: dict[str, JsonValue] = {}


class Profile(Overrides):
    """A named shrinking of the protocol: part of the identity."""

    seeds: tuple[Natural, ...] | None = None
    methods: tuple[str, ...] | None = None
    part: bool = False
    """Says that the profile only leaves things out (methods, seeds, models, later cycles), so that what it measures is what
    the whole would measure, bit for bit, and may stand beside published numbers. No other profile is compared with them."""

    @model_validator(mode="after")
    def _only_leaves_out(self) -> Profile:
        others = sorted(path for path in self.set if path not in LEAVING_OUT and not path.startswith("cost."))
        if self.part and others:
            raise ValueError(f"a profile that is a part of the protocol cannot change {', '.join(others)}")
        return self


class Switch(Spec):
    """The dotted path that flips a deviation, and its values."""

    path: str
    as_published: JsonValue
    corrected: JsonValue


class Deviation(Spec):
    """Where paper and official code disagree, or a quirk influences results; what is pinned, and how to flip it."""

    topic: str
    paper: str
    code: str
    pinned: str
    """What this suite does by default."""
    effect: str
    source: str
    switches: tuple[Switch, ...] = ()


OURS = "ours"
"""What the source of a question begins with, as against that of a published claim."""


class Claim(Spec):
    """A published comparison. With `better` and `worse` it is judged by paired statistics; without, it is only cited."""

    text: str
    source: str
    """Where it is published. One that begins with `ours` marks a question of this project: it is answered like a claim, counts as
    none, and no answer is a discrepancy."""
    better: str | None = None
    """Method that is claimed to be better; or `reported:<name>` for a published constant."""
    worse: str | None = None
    labelled: tuple[Positive, ...] | Literal["all", "after_first", "last"] | None = None
    worse_labelled: Positive | None = None
    """Labels at which the worse side is read, where the claim is that the better one gets there with fewer."""
    each_model: bool = False
    """The claim is about the curve of every single target model: `better` has the best one among all methods."""
    published: str = ""
    """Whether the claim holds in the paper's own numbers."""


class Rule(Spec):
    """How verdicts are made. Chosen before results are seen; a change is a new version."""

    version: Positive
    metric: str = "accuracy"
    margin: Annotated[float, Field(gt=0)]
    """Equivalence margin in the metric's unit (accuracy: percentage points)."""
    margin_reason: str
    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    min_trials: Positive
    """Fewer trials than this give `inconclusive`, never `reproduced`."""
    reference: Literal["reported", "records"] = "reported"
    """What is compared with: the reported table, or the suite's own committed records (paired by seed)."""
    curve: Literal["area", "mean"] = "area"
    """The one number of a curve: its normalised area over the labels (trapezoids), or the plain mean over its sizes."""
    mix_devices: bool = False
    """Whether trials from different device models may stand in one comparison."""


class Paper(Spec):
    """Where the protocol comes from."""

    key: Name
    title: str
    venue: str
    year: int
    preprint: Annotated[str, Field(pattern=r"^((arXiv|OpenReview):[\w./-]+)?$")] = ""
    """Archive and number: arXiv:2107.14153."""
    code: str = ""
    """Repository and commit of the official code."""


class Cost(Spec):
    """What one trial costs, per image, so that a plan can be priced before it runs."""

    forward_macs: Positive | None = None
    """Multiply-accumulates of one forward pass of one image (convolutions and linear layers); of several target models
    the mean."""
    trained_macs: Positive | None = None
    """The same of one image trained on, forward and backward, where that is not three forward passes: layers that are not
    trained have no gradient of their weights, and none of their inputs where nothing before them is trained."""
    scored_macs: Positive | None = None
    """The same at `evaluation.size`: where that is set, images are tested and scored at this price."""
    pretext_macs: Positive | None = None
    """The same of the pretext stage's network, if it is another one."""
    note: str = ""


class Suite(Spec):
    """One paper's protocol on one data set, with its methods, reported numbers, claims and deviations."""

    format: Literal[1]
    title: str
    headline: str
    """The number a reader would look up first, with its source."""
    about: str = ""
    """How the method works under this protocol, in words and numbers, for a reader who has only the paper."""
    paper: Paper
    seeds: Annotated[tuple[Natural, ...], Field(min_length=1)]
    device: Literal["cpu", "cuda"] | None = None
    """Where its trials run by default (`--device auto`): advice, part of no identity. None: a GPU where there is one."""
    protocol: Protocol
    methods: Annotated[dict[Name, Method], Field(min_length=1)]
    profiles: dict[Name, Profile] = {}
    variants: dict[Name, Overrides] = {}
    deviations: dict[Name, Deviation] = {}
    """By id, the one of the notes and of the sources (Q7)."""
    unknowns: dict[str, str] = {}
    """Values that no source establishes, by dotted path, each with why. The pinned one is a proposal, said in every line made
    from this suite."""
    claims: dict[Name, Claim] = {}
    """By id."""
    rule: Rule
    cost: Cost = Cost()
    sources: dict[str, str]
    """Source of every pinned value, by dotted path or a prefix of it."""

    @model_validator(mode="after")
    def _names(self) -> Suite:
        for reserved, table in (
            ("paper", self.profiles),
            ("as_published", self.variants),
            ("corrected", self.variants),
        ):
            if reserved in table:
                raise ValueError(f"'{reserved}' is built in and cannot be redefined")
        for profile in self.profiles.values():
            for method in profile.methods or ():
                if method not in self.methods:
                    raise ValueError(f"a profile names the unknown method '{method}'")
        for name, claim in self.claims.items():
            for side in (claim.better, claim.worse):
                if side is not None and not side.startswith("reported:") and side not in self.methods:
                    raise ValueError(f"claim {name} names the unknown method '{side}'")
            if claim.each_model and (claim.better not in self.methods or claim.worse is not None):
                raise ValueError(
                    f"claim {name} about every model names a method that is better, and none that is worse"
                )
        return self


class Trial(Spec):
    """The unit of execution, caching and containers: one method, one seed, one fully resolved protocol."""

    suite: str
    method_name: str
    profile: str
    variant: str
    seed: Natural
    protocol: Protocol
    strategy: Component
    objective: Component
    data_digest: str | None
    """Content digest of the data set; None while the data are absent."""


Data.model_rebuild()


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Flatten a JSON-like value into (dotted path, leaf) pairs; lists of scalars count as one leaf."""
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in leaves(item, f"{path}.{key}" if path else key)]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [leaf for place, item in enumerate(value) for leaf in leaves(item, f"{path}.{place}")]
    return [(path, value)]
