"""What is pinned of a data set: size, split, imbalance, limits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmark.spec.base import DataReference, Fraction, Positive, Spec
from benchmark.spec.transforms import Transform


class Split(Spec):
    """How the pool and the test set are divided where a data set has no official division."""

    rule: Literal["official", "per_class"]
    """`official`: the published train and test parts. `per_class`: a seeded cut inside every
    class."""
    train_fraction: Fraction | None = None
    """Share of each class that goes to the pool (`per_class` only)."""
    rounding: Literal["floor", "ceil"] | None = None
    """How `train_fraction * class size` becomes a whole number."""
    test_per_class: Positive | None = None
    """Images of each class that go to the test set (`per_class`, in place of `train_fraction` and
    `rounding`)."""
    drop: Literal["by_name", "first_sorted"] | None = None
    """Which class folder is left out: the background or clutter class by name, or blindly the first
    one in sorted order."""
    seed: int | None = None
    """Seed of the cut."""

    @model_validator(mode="after")
    def _complete(self) -> Split:
        share, count = (self.train_fraction, self.rounding), self.test_per_class
        given = any(value is not None for value in share)
        if self.rule == "per_class" and (
            self.seed is None or (None in share if count is None else given)
        ):
            raise ValueError(
                "split.rule 'per_class' needs a seed and either train_fraction and rounding or "
                "test_per_class"
            )
        if self.rule == "official" and (given or count is not None or self.seed is not None):
            raise ValueError(
                "split.rule 'official' takes no train_fraction, rounding, test_per_class or seed"
            )
        return self


class Imbalance(Spec):
    """Class counts of an artificially imbalanced pool: the first n_c images of every class c in
    native order are kept."""

    kind: Literal["step", "long_tail"]
    """`step`: even class ids keep `minority`, odd ones `majority`. `long_tail`: trunc(majority *
    ratio^(c/(K-1)))."""
    majority: Positive
    """Images per large class (`step`) or of class 0 before capping at what exists (`long_tail`)."""
    minority: Positive | None = None
    """Images per small class (`step` only)."""
    ratio: Fraction | None = None
    """Smallest over largest class (`long_tail` only)."""

    @model_validator(mode="after")
    def _complete(self) -> Imbalance:
        if (self.minority is None) != (self.kind != "step") or (self.ratio is None) != (
            self.kind != "long_tail"
        ):
            raise ValueError(
                "imbalance 'step' takes minority and no ratio, 'long_tail' takes ratio and no "
                "minority"
            )
        return self


class Limit(Spec):
    """Only the first images of a seeded shuffle are used: for profiles that shrink a protocol,
    never for `paper`."""

    train: Positive
    test: Positive
    classes: Annotated[int, Field(ge=2)] | None = None
    """Only images of the first so many classes are drawn from: there are more of each."""


class Validation(Spec):
    """Images of the train part that are kept from the pool, to see what training does without the
    test set. They are drawn after split and imbalance, the same for every trial."""

    size: Positive
    """Images."""
    rule: Literal["uniform", "balanced"]
    """`uniform`: regardless of class. `balanced`: as many of every class."""
    seed: int
    """Seed of the draw."""


class Data(Spec):
    """Which images, how they are divided, and how many must be there."""

    name: DataReference
    """A data set by its registered name (`albench fetch` lists them), `torchvision:NAME` or
    `huggingface:FOLDER` where their files are below the data root, `file.py:Class` /
    `package.module:Class` for one's own, or the name of a folder where `layout` is
    class_folders."""
    train_size: Positive
    """Images in the pool (labelled and unlabelled together) after split, imbalance, validation and
    limit."""
    test_size: Positive
    """Images in the test set after split and limit."""
    classes: Annotated[int, Field(ge=2)]
    """Number of classes, after split and limit."""
    split: Split
    decode: tuple[Transform, ...] = ()
    """Deterministic transforms applied once when the images are decoded (resize, centre crop); the
    result is cached as uint8."""
    imbalance: Imbalance | None = None
    limit: Limit | None = None
    validation: Validation | None = None
    """Images that are in no pool, and whose accuracy and loss are recorded in each cycle:
    `accuracy/validation`, of the weights that are kept. None: there are none."""
    layout: Literal["official", "class_folders"] = "official"
    """`class_folders`: `<root>/<name>/{train,test}/<class>/<file>` as in the BAL paper's README, or
    undivided, without the folders `train` and `test`, where `split` is per_class."""
    files: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """sha256 over names and contents of the files of one's own data: with it, these count as the
    data that are meant."""
    code: str | None = None
    """sha256 of the file that defines it, for `file.py:Class`: part of the identity, filled in when
    trials are made."""

    @model_validator(mode="after")
    def _folder(self) -> Data:
        drawn = self.validation
        if drawn is not None and drawn.rule == "balanced" and drawn.size % self.classes:
            raise ValueError(
                f"validation.rule 'balanced': {drawn.size} images are no multiple of the "
                f"{self.classes} classes"
            )
        if self.layout == "class_folders" and ":" in self.name:
            raise ValueError("data.layout 'class_folders' takes the name of a folder")
        if self.files is not None and self.layout == "official" and ":" not in self.name:
            raise ValueError(
                "data.files belongs to data of one's own: class folders, `file.py:Class`, or a "
                "library's"
            )
        return self
