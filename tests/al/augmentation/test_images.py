"""Views of images: equal to torchvision's transforms on Pillow images bit for bit, and independent
of batches."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from benchmark.al.augmentation import images as module
from benchmark.al.augmentation.images import ImageView, at_size, upload
from benchmark.al.datasets import Part
from benchmark.al.random.philox import Counter
from benchmark.errors import UsageError
from benchmark.spec.transforms import Transform
from tests.helpers import trials as kit
from tests.helpers.pillow_reference import reference, widths_first

CPU = torch.device("cpu")
KEY = 0x0123456789ABCDEF
NORMALISE = {"op": "normalise", "mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}
FLIP, RGB, SWAP = {"op": "horizontal_flip", "p": 0.5}, {"op": "to_rgb"}, {"op": "swap_red_blue"}
TURN = {"op": "random_rotation", "degrees": 10.0}
JITTER = {
    "op": "color_jitter",
    "brightness": (0.6, 1.4),
    "contrast": (0.6, 1.4),
    "saturation": (0.6, 1.4),
    "hue": (-0.1, 0.1),
}
DIAM_JITTER = {
    "op": "color_jitter",
    "brightness": (1 - 32 / 255, 1 + 32 / 255),
    "saturation": (0.5, 1.5),
}


def crop(size: int, padding: int = 0) -> dict[str, Any]:
    return {"op": "random_crop", "size": size, "padding": padding}


def middle(size: int) -> dict[str, Any]:
    return {"op": "center_crop", "size": size}


def resized_crop(size: int, scale: tuple[float, float] = (0.08, 1.0)) -> dict[str, Any]:
    return {"op": "random_resized_crop", "size": size, "scale": scale, "ratio": (3 / 4, 4 / 3)}


def shorter(size: int) -> dict[str, Any]:
    return {"op": "resize", "shorter": size}


def view(*transforms: dict[str, Any]) -> tuple[Transform, ...]:
    return TypeAdapter(tuple[Transform, ...]).validate_python(transforms)


def pictures(*shapes: tuple[int, int, int], seed: int = 0) -> list[np.ndarray]:
    """Half noise, half slopes: noise shows misplaced pixels, slopes rounding."""
    rng = np.random.default_rng(seed)
    made = []
    for number, (height, width, channels) in enumerate(shapes):
        slope = np.add.outer(
            np.arange(height) * rng.uniform(1, 6), np.arange(width) * rng.uniform(1, 6)
        )
        slope = slope[:, :, None] * rng.uniform(0.3, 1.2, channels) + rng.uniform(0, 40, channels)
        noise = rng.integers(0, 256, (height, width, channels))
        made.append((slope % 256 if number % 2 else noise).astype(np.uint8))
    return made


def equal(height: int, width: int, channels: int, count: int = 12) -> Part:
    pixels = np.stack(pictures(*[(height, width, channels)] * count))
    pixels.flags.writeable = False  # as the memory maps are
    return Part(pixels, np.zeros(count, np.int64), None, None, channels)


def ragged(made: Sequence[np.ndarray]) -> Part:
    sizes = np.array([picture.shape[:2] for picture in made])
    lengths = [picture.size for picture in made]
    pixels = np.concatenate([picture.ravel() for picture in made])
    offsets = np.cumsum([0, *lengths[:-1]])
    return Part(pixels, np.zeros(len(made), np.int64), sizes, offsets, made[0].shape[2])


def uneven(channels: int = 3) -> Part:
    sides = [(40, 50), (61, 38), (38, 38), (90, 41), (45, 120), (50, 49)]
    return ragged(pictures(*[(height, width, channels) for height, width in sides]))


CASES = {
    "crop then flip, as ST-CoNAL and BAL": (
        equal(32, 32, 3, 40),
        view(crop(32, 4), FLIP, NORMALISE),
    ),
    "flip then crop, as TOD": (equal(32, 32, 3, 40), view(FLIP, crop(32, 4), NORMALISE)),
    "not square": (equal(20, 31, 3), view(FLIP, crop(18, 2), FLIP, NORMALISE)),
    "grey": (
        equal(8, 8, 1),
        view(crop(8, 1), {"op": "normalise", "mean": (0.3053,), "std": (0.3761,)}),
    ),
    "plain": (equal(9, 7, 3), view(NORMALISE)),
    "no transform": (equal(9, 7, 3), ()),
    "red for blue, as BAL's test loader": (equal(12, 12, 3), view(SWAP, FLIP, NORMALISE)),
    "padding after a crop": (equal(24, 24, 3), view(crop(16, 3), FLIP, crop(18, 4), NORMALISE)),
    "crop larger than the image": (
        equal(10, 15, 3),
        view(FLIP, middle(13), crop(12, 0), NORMALISE),
    ),
    "centre crops of odd spare": (equal(31, 28, 3), view(middle(20), middle(17), FLIP, NORMALISE)),
    "DIAM train": (equal(28, 28, 1, 24), view(RGB, resized_crop(48), FLIP, DIAM_JITTER, NORMALISE)),
    "DIAM test": (equal(28, 28, 1), at_size(view(RGB, shorter(256), middle(224), NORMALISE), 56)),
    "Tiny ImageNet train": (
        equal(64, 64, 3, 24),
        view(TURN, resized_crop(72), FLIP, JITTER, NORMALISE),
    ),
    "Tiny ImageNet test": (equal(64, 64, 3), view(shorter(100), middle(88), NORMALISE)),
    "shrinking": (equal(60, 80, 3), view(FLIP, shorter(23), crop(20), NORMALISE)),
    "exact resize": (equal(30, 50, 3), view({"op": "resize", "size": (44, 21)}, FLIP, NORMALISE)),
    "grey jitter": (equal(16, 16, 1), view(JITTER, FLIP)),
    "grey jitter, said to be RGB": (equal(16, 16, 1), view(RGB, JITTER, NORMALISE)),
    "uneven sizes cropped, as Caltech-256": (uneven(), view(crop(36), FLIP, NORMALISE)),
    "uneven sizes padded": (uneven(), view(FLIP, crop(40, 5), NORMALISE)),
    "uneven sizes, middle": (uneven(), view(middle(42), FLIP, NORMALISE)),
    "uneven sizes, resized crop": (uneven(), view(resized_crop(30), FLIP, NORMALISE)),
    "uneven sizes, resized": (uneven(1), view({"op": "resize", "size": (33, 47)}, FLIP)),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_torchvision_on_pillow_images(case: str) -> None:
    part, transforms = CASES[case]
    made = ImageView(part, transforms, CPU)
    count = len(part.labels)
    indices = torch.arange(count).flip(0)
    batch = made.batch(indices, Counter(KEY), epoch=5, pass_=3)
    assert batch.dtype == torch.float32
    assert batch.shape == (count, *made.shape)
    assert batch.is_contiguous()
    with widths_first():
        for got, index in zip(batch, indices.tolist(), strict=True):
            wanted = reference(part.image(index), transforms, KEY, index, epoch=5, pass_=3)
            assert torch.equal(got, wanted), (
                f"image {index}: {int((got != wanted).sum())} of {got.numel()} values differ"
            )


def test_real_photographs_within_one_level_of_the_installed_pillow() -> None:
    from sklearn.datasets import load_sample_images

    part = ragged(
        [np.ascontiguousarray(load_sample_images().images[k][:400, : 500 + 60 * k]) for k in (0, 1)]
    )
    transforms = view(resized_crop(224, (0.3, 1.0)), FLIP)
    batch = ImageView(part, transforms, CPU).batch(torch.tensor([0, 1, 1]), Counter(KEY))
    for got, index in zip(batch, (0, 1, 1), strict=True):
        wanted = reference(part.image(index), transforms, KEY, index)
        assert float((got - wanted).abs().max()) < 1.001 / 255


@pytest.mark.parametrize(
    "case",
    ["crop then flip, as ST-CoNAL and BAL", "Tiny ImageNet train", "uneven sizes, resized crop"],
)
def test_an_image_does_not_depend_on_its_batch(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part, transforms = CASES[case]
    counter, count = Counter(KEY), len(part.labels)
    together = ImageView(part, transforms, CPU).batch(torch.arange(count), counter)
    monkeypatch.setitem(module.CHUNK, "cpu", 1)
    made = ImageView(part, transforms, CPU)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    assert torch.equal(made.batch(order, counter), together[order])
    assert torch.equal(made.batch(order[:1], counter), together[order[:1]])
    assert made.batch(order[:0], counter).shape == (0, *made.shape)


def test_epochs_and_passes_differ_and_return() -> None:
    made = ImageView(CASES["crop then flip, as ST-CoNAL and BAL"][0], view(crop(32, 4), FLIP), CPU)
    indices = torch.arange(30)
    seen = [
        made.batch(indices, Counter(key), epoch, pass_)
        for key, epoch, pass_ in [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1)]
    ]
    for first in range(4):
        for second in range(first):
            assert not torch.equal(seen[first], seen[second])
    assert torch.equal(seen[3], made.batch(indices, Counter(1), 0, 1))


def test_random_says_whether_anything_is_drawn() -> None:
    part = equal(16, 16, 3)
    assert not ImageView(part, view(shorter(12), middle(10), SWAP, NORMALISE), CPU).random
    for transform in (crop(16, 2), FLIP, resized_crop(8), JITTER, TURN):
        made = ImageView(part, view(transform), CPU)
        assert made.random
        with pytest.raises(UsageError, match="no counter"):
            made.batch(torch.arange(2))


def test_autocast_around_a_batch_changes_nothing() -> None:
    part, transforms = CASES["Tiny ImageNet train"]
    made = ImageView(part, transforms, CPU)
    plain = made.batch(torch.arange(4), Counter(KEY))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made.batch(torch.arange(4), Counter(KEY)), plain)


def test_layout_on_request() -> None:
    part, transforms = CASES["flip then crop, as TOD"]
    made = ImageView(part, transforms, CPU)
    plain = made.batch(torch.arange(4), Counter(KEY))
    made.memory_format = torch.channels_last
    last = made.batch(torch.arange(4), Counter(KEY))
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, plain)


def test_views_of_a_part_share_its_bytes() -> None:
    part = equal(16, 16, 3)
    first, second = (ImageView(part, view(*ops), CPU) for ops in ([crop(16, 2)], [NORMALISE]))
    pixels = upload(part, CPU)
    assert first._pixels is second._pixels is pixels
    assert pixels.flat.data_ptr() == part.pixels.ctypes.data  # nothing was copied
    assert upload(equal(16, 16, 3), CPU) is not pixels
    before = len(module._uploaded)
    del first, second, pixels
    gc.collect()
    assert len(module._uploaded) < before


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([RGB, resized_crop(224), FLIP], [RGB, resized_crop(160), FLIP]),
        ([shorter(256), middle(224)], [shorter(183), middle(160)]),
        (
            [{"op": "resize", "size": (256, 256)}, middle(224), FLIP],
            [{"op": "resize", "size": (183, 183)}, middle(160), FLIP],
        ),
        ([shorter(256), crop(224)], [shorter(256), crop(160)]),
        ([{"op": "resize", "size": (30, 40)}, FLIP], [{"op": "resize", "size": (160, 160)}, FLIP]),
        ([middle(200), shorter(90)], [middle(200), shorter(160)]),
    ],
)
def test_a_network_of_another_size(
    given: list[dict[str, Any]], expected: list[dict[str, Any]]
) -> None:
    assert at_size(view(*given), 160) == view(*expected)


def test_the_test_view_of_224_pixels_resizes_to_256() -> None:
    assert at_size(view(shorter(7), middle(5)), 224) == view(shorter(256), middle(224))
    made = ImageView(
        equal(28, 28, 1), view(RGB, shorter(256), middle(224), NORMALISE), CPU, size=40
    )
    assert made.shape == (3, 40, 40)


@pytest.mark.parametrize(
    ("part", "transforms", "message"),
    [
        (equal(8, 8, 3), view(NORMALISE, FLIP), "follows normalise"),
        (equal(8, 8, 3), view(crop(11, 1)), "random_crop of 11"),
        (uneven(), view(crop(39)), "smallest sides"),
        (uneven(), view(FLIP, NORMALISE), "different sizes"),
        (uneven(), view(FLIP, resized_crop(8)), "different sizes"),
        (uneven(), view(shorter(20), middle(10)), "different sizes"),
        (uneven(), view(TURN, crop(10)), "different sizes"),
        (equal(8, 8, 1), view(NORMALISE), "3 means"),
    ],
)
def test_views_that_cannot_be_are_refused(
    part: Part, transforms: tuple[Transform, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ImageView(part, transforms, CPU)


def test_sizes_and_passes_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="no transform"):
        ImageView(equal(8, 8, 3), view(FLIP, NORMALISE), CPU, size=6)
    made = ImageView(equal(8, 8, 3), view(FLIP), CPU)
    for pass_ in (-1, 64):
        with pytest.raises(UsageError, match="pass"):
            made.batch(torch.arange(2), Counter(0), 0, pass_)


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_the_same_pixels_on_a_gpu(case: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    part, transforms = CASES[case]
    counter, indices = Counter(KEY), torch.arange(len(part.labels))
    wanted = ImageView(part, transforms, CPU).batch(indices, counter)
    made = ImageView(part, transforms, torch.device("cuda"))
    for tf32 in (False, True):
        with kit.tf32(tf32):
            assert torch.equal(made.batch(indices.cuda(), counter).cpu(), wanted)


def test_a_flag_of_torch_is_put_back() -> None:
    """Without a GPU too: pytest's monkeypatch deletes what torch's backends only pretend to hold,
    and leaves TF32 on."""
    before = torch.backends.cuda.matmul.allow_tf32
    with pytest.raises(ZeroDivisionError), kit.tf32(not before):
        assert torch.backends.cuda.matmul.allow_tf32 is not before
        raise ZeroDivisionError
    assert torch.backends.cuda.matmul.allow_tf32 is before
