"""The real data sets, where ALBENCH_TEST_DATA names a data root that holds them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.al.datasets import describe, digest, load
from benchmark.errors import DataError

ROOT = Path(os.environ.get("ALBENCH_TEST_DATA", ""))


def _needs(place: str) -> None:
    if "ALBENCH_TEST_DATA" not in os.environ:
        pytest.skip("ALBENCH_TEST_DATA names no data root")
    if not (ROOT / place).exists():
        pytest.skip(f"{ROOT} holds no {place}")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_mnist_is_the_published_one_in_the_published_order(spec: Any, cache: Path) -> None:
    import torch
    from torchvision import datasets

    _needs("MNIST/raw")
    found = load(spec("mnist", 60_000, 10_000, 10), ROOT, cache)
    assert found.canonical and found.train.pixels.shape == (60_000, 28, 28, 1)
    reader = (
        datasets.mnist.read_image_file
        if (ROOT / "MNIST/raw/t10k-images-idx3-ubyte").exists()
        else None
    )
    if reader is not None:
        oracle = reader(str(ROOT / "MNIST/raw/t10k-images-idx3-ubyte")).numpy()
        assert np.array_equal(found.test.pixels[..., 0], oracle)
    # Class counts of DIAM's first 3,000 images (its seed, torch's permutation): they depend on the
    # order of the labels.
    first = torch.randperm(60_000, generator=torch.Generator().manual_seed(2147483647))[
        :3_000
    ].numpy()
    assert np.bincount(found.train.labels[first]).tolist() == [
        313,
        350,
        287,
        318,
        291,
        270,
        286,
        308,
        282,
        295,
    ]


@pytest.mark.parametrize(
    ("name", "folder", "classes", "labels", "files"),
    [
        (
            "cifar10",
            "cifar-10-batches-py",
            10,
            "labels",
            [f"data_batch_{place}" for place in range(1, 6)],
        ),
        ("cifar100", "cifar-100-python", 100, "fine_labels", ["train"]),
    ],
)
def test_cifar(
    spec: Any, cache: Path, name: str, folder: str, classes: int, labels: str, files: list[str]
) -> None:
    _needs(folder)
    found = load(spec(name, 50_000, 10_000, classes), ROOT, cache)
    assert found.train.pixels.shape == (50_000, 32, 32, 3) and len(found.class_names) == classes
    assert np.bincount(found.train.labels).tolist() == [50_000 // classes] * classes
    assert np.bincount(found.test.labels).tolist() == [10_000 // classes] * classes
    # The digest of this content, and Python's own reader, are independent of ours.
    batches = [
        pickle.loads((ROOT / folder / file).read_bytes(), encoding="bytes") for file in files
    ]
    rows = np.concatenate([batch[b"data"] for batch in batches])
    assert np.array_equal(found.train.pixels, rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert found.train.labels.tolist() == [
        label for batch in batches for label in batch[labels.encode()]
    ]
    assert found.canonical == (found.canonical_note == "")


def test_the_imbalanced_cifar10_has_the_published_size(spec: Any, cache: Path) -> None:
    _needs("cifar-10-batches-py")
    rule = {"kind": "step", "majority": 5000, "minority": 50}
    found = load(spec("cifar10", 25_250, 10_000, 10, imbalance=rule), ROOT, cache)
    assert np.bincount(found.train.labels).tolist() == [50, 5000] * 5
    assert (np.diff(found.train.labels) >= 0).all(), "class-sorted"


def test_caltech101_by_what_is_there(spec: Any, per_class: Any, cache: Path) -> None:
    _needs("caltech101/101_ObjectCategories")
    folder = ROOT / "caltech101" / "101_ObjectCategories"
    sizes = {path.name: len(list(path.glob("*.jpg"))) for path in folder.iterdir() if path.is_dir()}
    sizes.pop("BACKGROUND_Google", None)
    train = sum(9 * size // 10 for size in sizes.values())
    test = sum(sizes.values()) - train
    square = [{"op": "resize", "size": [256, 256]}, {"op": "center_crop", "size": 224}]
    cut = per_class(0.9, "floor", "by_name")
    found = load(spec("caltech101", train, test, 101, split=cut, decode=square), ROOT, cache)
    assert found.train.pixels.shape == (train, 224, 224, 3)
    assert np.bincount(found.train.labels).tolist() == [
        9 * sizes[name] // 10 for name in found.class_names
    ]
    assert found.digest == digest.digest_content(
        digest.digest_part(found.train), digest.digest_part(found.test)
    )
    assert found.canonical == (train + test == 8_677)
    if not found.canonical:
        with pytest.raises(DataError, match="where the suite pins 7,766"):
            load(spec("caltech101", 7_766, 911, 101, split=cut, decode=square), ROOT, cache)
    else:
        assert (train, test) == (7_766, 911)


def test_describe_agrees_with_load(spec: Any, cache: Path) -> None:
    _needs("MNIST/raw")
    data = spec("mnist", 100, 50, 10, limit={"train": 100, "test": 50})
    status = describe(data, ROOT, cache)
    assert status.present and status.canonical and status.digest == load(data, ROOT, cache).digest
