"""A suite: the protocol of one paper on one data set with its methods, profiles, deviations and
claims; and a trial of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from benchmark.spec.base import Name, Natural, Positive, Spec
from benchmark.spec.protocol import Protocol


class Component(Spec):
    """A strategy or an objective by its registered name, or `file.py:Class` /
    `package.module:Class` for one's own."""

    name: Annotated[str, Field(min_length=1)]
    params: dict[str, JsonValue] = {}
    code: str | None = None
    """sha256 of the file that defines it, for components outside the project: part of the
    identity."""


class GameCost(Spec):
    """What an autoencoder that plays against a discriminator costs in every acquisition (VAAL). The
    discriminator sees codes of some thirty numbers: its price is left out."""

    forward_macs: Positive
    """Multiply-accumulates of one image through the autoencoder."""
    encoder_macs: Positive
    """Of these, its encoder's: all that the discriminator's step and the scores need."""
    steps: Positive
    """Steps of the autoencoder per iteration, each on one batch of labelled images and one of
    candidates."""
    batch_size: Positive
    passes: Positive
    """An acquisition after cycle c has as many iterations as batches in this number of rounds over
    budget * (c + 1) + candidates images."""
    iterations: Positive | None = None
    """A fixed number instead."""


class MethodCost(Spec):
    """What a method adds to plain training and scoring, so that a plan can be priced without
    loading it."""

    unlabelled: bool = False
    """Every step also trains on an unlabelled batch of the nominal size."""
    mixed: tuple[Positive, Positive] | None = None
    """Labelled and unlabelled images of every step, where an epoch is one pass over the unlabelled
    images in full batches instead of one over the labelled ones."""
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
    """Multiply-accumulates of one forward pass of the scoring network, where it is not one of those
    trained."""
    votes: Natural = 0
    """Snapshots of each trained network that label every candidate while training."""
    narrowed: Positive | None = None
    """The most candidates that are scored in one acquisition, where the method looks at a part of
    the pool."""
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
    """Named values that replace pinned ones, by dotted path from the suite's root
    (`protocol.training.epochs`)."""

    note: str
    set: dict[str, JsonValue] = {}


class Profile(Overrides):
    """A named shrinking of the protocol: part of the identity."""

    seeds: tuple[Natural, ...] | None = None
    methods: tuple[str, ...] | None = None
    part: bool = False
    """Says that the profile only leaves things out (methods, seeds, models, later cycles), so that
    what it measures is what the whole would measure, bit for bit, and may stand beside published
    numbers. No other profile is compared with them."""

    @model_validator(mode="after")
    def _only_leaves_out(self) -> Profile:
        others = sorted(
            path for path in self.set if path not in LEAVING_OUT and not path.startswith("cost.")
        )
        if self.part and others:
            raise ValueError(
                f"a profile that is a part of the protocol cannot change {', '.join(others)}"
            )
        return self


class Switch(Spec):
    """The dotted path that flips a deviation, and its values."""

    path: str
    as_published: JsonValue
    corrected: JsonValue


class Deviation(Spec):
    """Where paper and official code disagree, or a quirk influences results; what is pinned, and
    how to flip it."""

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
    """A published comparison. With `better` and `worse` it is judged by paired statistics; without,
    it is only cited."""

    text: str
    source: str
    """Where it is published. One that begins with `ours` marks a question of this project: it is
    answered like a claim, counts as none, and no answer is a discrepancy."""
    better: str | None = None
    """Method that is claimed to be better; or `reported:<name>` for a published constant."""
    worse: str | None = None
    labelled: tuple[Positive, ...] | Literal["all", "after_first", "last"] | None = None
    worse_labelled: Positive | None = None
    """Labels at which the worse side is read, where the claim is that the better one gets there
    with fewer."""
    each_model: bool = False
    """The claim is about the curve of every single target model: `better` has the best one among
    all methods."""
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
    """What is compared with: the reported table, or the suite's own committed records (paired by
    seed)."""
    curve: Literal["area", "mean"] = "area"
    """The one number of a curve: its normalised area over the labels (trapezoids), or the plain
    mean over its sizes."""
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
    """Multiply-accumulates of one forward pass of one image (convolutions and linear layers); of
    several target models the mean."""
    trained_macs: Positive | None = None
    """The same of one image trained on, forward and backward, where that is not three forward
    passes: layers that are not trained have no gradient of their weights, and none of their inputs
    where nothing before them is trained."""
    scored_macs: Positive | None = None
    """The same at `evaluation.size`: where that is set, images are tested and scored at this
    price."""
    pretext_macs: Positive | None = None
    """The same of the pretext stage's network, if it is another one."""
    note: str = ""


class Suite(Spec):
    """One paper's protocol on one data set, with its methods, reported numbers, claims and
    deviations."""

    format: Literal[1]
    title: str
    headline: str
    """The number a reader would look up first, with its source."""
    about: str = ""
    """How the method works under this protocol, in words and numbers, for a reader who has only the
    paper."""
    paper: Paper
    seeds: Annotated[tuple[Natural, ...], Field(min_length=1)]
    device: Literal["cpu", "cuda"] | None = None
    """Where its trials run by default (`--device auto`): advice, part of no identity. None: a GPU
    where there is one."""
    protocol: Protocol
    methods: Annotated[dict[Name, Method], Field(min_length=1)]
    profiles: dict[Name, Profile] = {}
    variants: dict[Name, Overrides] = {}
    deviations: dict[Name, Deviation] = {}
    """By id, the one of the notes and of the sources (Q7)."""
    unknowns: dict[str, str] = {}
    """Values that no source establishes, by dotted path, each with why. The pinned one is a
    proposal, said in every line made from this suite."""
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
                if (
                    side is not None
                    and not side.startswith("reported:")
                    and side not in self.methods
                ):
                    raise ValueError(f"claim {name} names the unknown method '{side}'")
            if claim.each_model and (claim.better not in self.methods or claim.worse is not None):
                raise ValueError(
                    f"claim {name} about every model names a method that is better, and none that "
                    "is worse"
                )
        return self


class Trial(Spec):
    """The unit of execution, caching and containers: one method, one seed, one fully resolved
    protocol."""

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
