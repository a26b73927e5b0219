"""What is pinned of how images become inputs of a network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmark.spec.base import Fraction, Natural, Positive, Spec


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
    """Bilinear resize with antialiasing (as Pillow's): to exactly (height, width), or the shorter
    side to a length."""

    op: Literal["resize"]
    size: tuple[Positive, Positive] | None = None
    shorter: Positive | None = None

    @model_validator(mode="after")
    def _one(self) -> Resize:
        if (self.size is None) == (self.shorter is None):
            raise ValueError(
                "resize needs exactly one of size = [height, width] and shorter = pixels"
            )
        return self


class CenterCrop(Spec):
    """Crop the middle square."""

    op: Literal["center_crop"]
    size: Positive


class RandomResizedCrop(Spec):
    """Crop of a uniformly drawn area share and log-uniform aspect ratio (ten tries, then centre
    crop), resized bilinearly."""

    op: Literal["random_resized_crop"]
    size: Positive
    scale: tuple[float, float]
    ratio: tuple[float, float]


class ColorJitter(Spec):
    """Brightness, contrast, saturation factors and hue shift drawn uniformly from the given ranges,
    in random order."""

    op: Literal["color_jitter"]
    brightness: tuple[float, float] | None = None
    contrast: tuple[float, float] | None = None
    saturation: tuple[float, float] | None = None
    hue: tuple[float, float] | None = None


class Rotation(Spec):
    """Rotate by an angle drawn uniformly from [-degrees, degrees], nearest neighbour, zero fill
    (torchvision's default)."""

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
    """The transforms in order, per use. Images enter as uint8 and leave as float32 (channels,
    height, width)."""

    train: tuple[Transform, ...]
    """For optimisation."""
    test: tuple[Transform, ...]
    """For the test set."""
    pool: Literal["train", "test"] | tuple[Transform, ...]
    """Which of the two the unlabelled images are scored through, or transforms of their own."""
