"""Batched transforms against Pillow and torchvision one image at a time, and what is drawn against
torchvision's draws."""

from __future__ import annotations

import importlib
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import stats

from benchmark.al.augmentation.kernels import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    ORDERS,
    SATURATION,
    Frames,
    draw_angle,
    draw_box,
    draw_jitter,
    interpolation_matrices,
    jitter_colours,
    resample,
    rotate,
)
from benchmark.al.random.philox import Counter
from tests.helpers.pillow_reference import Scripted

SIDE = st.integers(1, 90)
RATIO = (3 / 4, 4 / 3)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def words(count: int, n: int, key: int = 1) -> torch.Tensor:
    return Counter(key).bits(torch.arange(count), 0, 0, n)


# ----------------------------------------------------------------------------------------- resizing


def resized(
    image: np.ndarray, box: tuple[int, int, int, int], height: int, width: int
) -> np.ndarray:
    top, left, high, wide = (torch.tensor([value]) for value in box)
    by_row = interpolation_matrices(top, high, height, image.shape[0])
    by_column = interpolation_matrices(left, wide, width, image.shape[1])
    return resample(torch.from_numpy(image)[None], by_row, by_column)[0].numpy()


@settings(deadline=None, max_examples=150)
@given(SIDE, SIDE, SIDE, SIDE, st.data())
def test_resizing_a_box_equals_pillow(
    height: int, width: int, tall: int, wide: int, data: st.DataObject
) -> None:
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    box = (
        top,
        left,
        data.draw(st.integers(1, height - top)),
        data.draw(st.integers(1, width - left)),
    )
    image = noise(height, width, data.draw(st.sampled_from([1, 3])), data.draw(st.integers(0, 99)))
    cut = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
    cut = cut.crop((left, top, left + box[3], top + box[2]))
    bilinear_ = Image.Resampling.BILINEAR
    twice = np.asarray(cut.resize((wide, box[2]), bilinear_).resize((wide, tall), bilinear_))
    got = resized(image, box, tall, wide)
    np.testing.assert_array_equal(got.reshape(twice.shape), twice)
    once = np.asarray(cut.resize((wide, tall), bilinear_)).astype(int)
    assert np.abs(got.reshape(once.shape) - once).max() <= 1


@pytest.mark.parametrize(("size", "out"), [(700, 9), (700, 33), (257, 256), (28, 224)])
def test_long_sides_equal_pillow(size: int, out: int) -> None:
    image = noise(3, size)
    whole = np.asarray(Image.fromarray(image).resize((out, 3), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resized(image, (0, 0, 3, size), 3, out), whole)


# -------------------------------------------------------------------------------------------- boxes


@pytest.mark.parametrize(
    ("height", "width", "scale", "fallbacks"),
    [
        (28, 28, (0.08, 1.0), 0),
        (64, 48, (0.08, 1.0), 0),
        (200, 14, (0.8, 1.0), 200),
        (11, 200, (0.8, 1.0), 200),
        (30, 30, (1.2, 1.5), 200),
    ],
)
def test_boxes_equal_torchvision_given_its_draws(
    height: int, width: int, scale: tuple[float, float], fallbacks: int
) -> None:
    module = importlib.import_module("torchvision.transforms.transforms")
    drawn = words(200, 22)
    got = draw_box(drawn, height, width, scale, RATIO)
    sides = torch.full((200,), height), torch.full((200,), width)
    assert torch.equal(got, draw_box(drawn, *sides, scale, RATIO))
    image, centred = torch.empty(3, height, width), 0
    for row, box in zip(drawn.tolist(), got.tolist(), strict=True):
        script = Scripted(row[:20], row[20:], torch.float64)
        with patch.object(module, "torch", script):
            assert tuple(box) == module.RandomResizedCrop.get_params(image, scale, RATIO)
        centred += next(script._integers, None) is not None
    assert centred == fallbacks


@pytest.mark.parametrize(
    ("height", "width", "scale"), [(28, 28, (0.08, 1.0)), (60, 40, (0.5, 1.0))]
)
def test_boxes_are_distributed_as_torchvisions(
    height: int, width: int, scale: tuple[float, float]
) -> None:
    from torchvision.transforms import RandomResizedCrop

    image, count = torch.empty(3, height, width), 4000
    ours = draw_box(words(count, 22), height, width, scale, RATIO).numpy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = np.array(
            [RandomResizedCrop.get_params(image, list(scale), list(RATIO)) for _ in range(count)]
        )
    for side in range(4):
        assert stats.ks_2samp(ours[:, side], theirs[:, side]).pvalue > 0.01
    assert stats.ks_2samp(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]).pvalue > 0.01


# ----------------------------------------------------------------------------------------- rotation


@settings(deadline=None, max_examples=100)
@given(SIDE, SIDE, st.floats(-400, 400), st.integers(0, 99))
def test_rotation_equals_pillow(height: int, width: int, degrees: float, seed: int) -> None:
    image = noise(height, width, 3, seed)
    wanted = np.asarray(
        Image.fromarray(image).rotate(degrees, Image.Resampling.NEAREST, fillcolor=(0, 0, 0))
    )
    got = rotate(torch.from_numpy(image)[None], torch.tensor([degrees], dtype=torch.float64))[
        0
    ].numpy()
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("degrees", [0.0, 90.0, 180.0, 270.0, 360.0, -90.0])
def test_quarter_turns_equal_pillow(degrees: float) -> None:
    image = noise(21, 21)
    got = rotate(torch.from_numpy(image)[None], torch.tensor([degrees], dtype=torch.float64))[
        0
    ].numpy()
    np.testing.assert_array_equal(got, np.asarray(Image.fromarray(image).rotate(degrees)))


def test_angles_are_uniform() -> None:
    drawn = draw_angle(words(5000, 1), 10.0).numpy()
    assert stats.kstest(drawn, "uniform", (-10, 20)).pvalue > 0.01


# ------------------------------------------------------------------------------------------- colour


def adjusted(image: np.ndarray, adjustment: int, factor: float) -> np.ndarray:
    factors = torch.full((1, 4), factor)
    turns = torch.tensor([[adjustment]])
    return jitter_colours(torch.from_numpy(image)[None], turns, factors, (adjustment,))[0].numpy()


@pytest.mark.parametrize("factor", [0.0, 0.35, 0.8, 1.0, 1.2, 1.93])
@pytest.mark.parametrize(
    ("adjustment", "enhance"),
    [
        (BRIGHTNESS, ImageEnhance.Brightness),
        (CONTRAST, ImageEnhance.Contrast),
        (SATURATION, ImageEnhance.Color),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_blends_equal_pillow(adjustment: int, enhance: type, factor: float, channels: int) -> None:
    image = noise(61, 47, channels)
    image[:20] //= 5  # an uneven histogram, so that mean and middle differ
    picture = Image.fromarray(image.squeeze(2) if channels == 1 else image)
    wanted = np.asarray(enhance(picture).enhance(float(np.float32(factor)))).reshape(image.shape)
    np.testing.assert_array_equal(adjusted(image, adjustment, factor), wanted)


@pytest.mark.parametrize("factor", [0.0, 0.004, -0.004, 0.1, -0.1, 0.37, 0.5, -0.5])
def test_hue_equals_torchvision_on_a_grid_of_all_colours(factor: float) -> None:
    from torchvision.transforms.functional import adjust_hue

    levels = np.arange(0, 256, 5, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(52, -1, 3)
    wanted = np.asarray(adjust_hue(Image.fromarray(colours), float(np.float32(factor))))
    np.testing.assert_array_equal(adjusted(colours, HUE, factor), wanted)


def test_each_image_has_its_own_order() -> None:
    from torchvision.transforms import functional

    steps = [
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    ]
    images = np.stack([noise(15, 20, 3, seed) for seed in range(len(ORDERS))])
    factors = torch.tensor([[1.3, 0.7, 1.4, 0.2]]).expand(len(ORDERS), 4)
    got = jitter_colours(
        torch.from_numpy(images),
        torch.tensor(ORDERS),
        factors,
        (BRIGHTNESS, CONTRAST, SATURATION, HUE),
    ).numpy()
    for image, order, one in zip(images, ORDERS, got, strict=True):
        picture = Image.fromarray(image)
        for name in order:
            picture = steps[name](picture, float(factors[0, name]))
        np.testing.assert_array_equal(one, np.asarray(picture))


def test_jitter_is_distributed_as_torchvisions() -> None:
    from torchvision.transforms import ColorJitter

    count, limits = 3000, [(0.6, 1.4), (0.5, 1.5), (0.9, 1.0), (-0.1, 0.1)]
    low, high = torch.tensor(limits).unbind(dim=1)
    order, factors = draw_jitter(words(count, 5), low, high)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = np.array([ColorJitter.get_params(*limits)[1:] for _ in range(count)])
    for name in range(4):
        assert stats.ks_2samp(factors[:, name].double().numpy(), theirs[:, name]).pvalue > 0.01
    assert stats.chisquare(torch.bincount(order, minlength=24).numpy()).pvalue > 0.01
    assert abs(np.corrcoef(factors.T.numpy())[np.triu_indices(4, 1)]).max() < 0.06


# ------------------------------------------------------------------------------------------- pixels


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), SIDE, SIDE, st.sampled_from([1, 3]), st.data())
def test_one_size_is_read_as_many_sizes_are(
    count: int, height: int, width: int, channels: int, data: st.DataObject
) -> None:
    images = torch.from_numpy(
        np.stack([noise(height, width, channels, seed) for seed in range(count)])
    )
    fast = Frames.of(images)
    sizes = torch.full((count,), height), torch.full((count,), width)
    slow = Frames(fast.pixels, fast.start, *sizes, channels)
    place = st.integers(-9, 99)
    rows = torch.tensor(
        data.draw(st.lists(st.tuples(place, place), min_size=count, max_size=count))
    )
    columns = torch.tensor(
        data.draw(st.lists(st.tuples(place, place, place), min_size=count, max_size=count))
    )
    got = fast.take(rows, columns)
    assert torch.equal(got, slow.take(rows, columns))
    for n in range(count):
        for i, row in enumerate(rows[n].tolist()):
            for j, column in enumerate(columns[n].tolist()):
                inside = 0 <= row < height and 0 <= column < width
                assert got[n, i, j].tolist() == (
                    images[n, row, column].tolist() if inside else [0] * channels
                )
