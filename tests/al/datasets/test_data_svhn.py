"""SVHN in its official layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from benchmark.al.datasets import load
from benchmark.al.datasets.svhn import SVHN
from benchmark.errors import DataError


def _write(folder: Path, rng: np.random.Generator, compressed: bool = True) -> None:
    folder.mkdir(exist_ok=True)
    for part, count in (("train", 30), ("test", 20)):
        body = {
            "X": rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8),
            "y": (np.arange(count) % 10 + 1).astype(np.uint8)[:, None],
        }
        savemat(folder / f"{part}_32x32.mat", body, do_compression=compressed)


@pytest.mark.parametrize("folder", ["", "svhn"])
def test_as_torchvision_reads_it(
    spec: Any, places: Any, rng: Any, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    root, cache = places
    _write(root / folder, rng)
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *_: True)
    found = load(spec("svhn", 30, 20, 10), root, cache)
    for part, name in ((found.train, "train"), (found.test, "test")):
        oracle = datasets.SVHN(str(root / folder), split=name)
        assert np.array_equal(part.pixels, oracle.data.transpose(0, 2, 3, 1))
        assert part.labels.tolist() == oracle.labels.tolist()
    assert found.train.labels.min() == 0 and not found.canonical


def test_published_checksums_are_torchvisions() -> None:
    from torchvision import datasets

    for ours, download, part in zip(
        SVHN.published, SVHN.origin.downloads, ("train", "test"), strict=True
    ):
        assert [download.urls[0], ours.name, ours.md5] == datasets.SVHN.split_list[part]


def test_a_missing_file_is_named_with_its_remedy(spec: Any, places: Any, rng: Any) -> None:
    root, cache = places
    _write(root, rng)
    (root / "test_32x32.mat").unlink()
    with pytest.raises(DataError, match=r"test_32x32.mat is missing") as caught:
        load(spec("svhn", 30, 20, 10), root, cache)
    assert "eb5a983be6a315427106f1b164d9cef3" in caught.value.remedy


@pytest.mark.parametrize("compressed", [True, False])
def test_a_truncated_file_is_one_data_error(
    spec: Any, places: Any, rng: Any, compressed: bool
) -> None:
    root, cache = places
    _write(root, rng, compressed)
    path = root / "train_32x32.mat"
    content = path.read_bytes()
    for size in (0, 60, 130, 5000, len(content) - 400):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"svhn is damaged.*182,040,794 bytes"):
            load(spec("svhn", 30, 20, 10), root, cache)


@pytest.mark.parametrize(
    "body",
    [
        {"X": np.zeros((32, 32, 3, 30))},
        {"X": np.zeros((32, 32, 3, 30)), "y": np.ones((30, 1))},
        {"X": np.zeros((30, 32, 32, 3), np.uint8), "y": np.ones((30, 1))},
        {"X": np.zeros((32, 32, 3, 30), np.uint8), "y": np.ones((29, 1))},
        {"X": np.zeros((32, 32, 3, 30), np.uint8), "y": np.full((30, 1), 11)},
    ],
    ids=["no labels", "floats", "other order", "fewer labels", "label 11"],
)
def test_wrong_content_is_one_data_error(
    spec: Any, places: Any, rng: Any, body: dict[str, Any]
) -> None:
    root, cache = places
    _write(root, rng)
    savemat(root / "train_32x32.mat", body)
    with pytest.raises(DataError, match="svhn is damaged"):
        load(spec("svhn", 30, 20, 10), root, cache)
