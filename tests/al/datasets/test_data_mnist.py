"""MNIST and KMNIST in their official layout."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.al.datasets import load
from benchmark.al.datasets.mnist import KMNIST, MNIST
from benchmark.errors import DataError

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _write(root: Path, idx: Any, rng: np.random.Generator, suffix: str = ".gz") -> list[np.ndarray]:
    shapes = ((40, 28, 28), (40,), (20, 28, 28), (20,))
    arrays = [
        rng.integers(0, 10 if len(shape) == 1 else 256, shape, dtype=np.uint8) for shape in shapes
    ]
    for name, values in zip(NAMES, arrays, strict=True):
        idx(root / "KMNIST" / "raw" / f"{name}{suffix}", values)
    return arrays


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_as_torchvision_reads_it(spec: Any, places: Any, idx: Any, rng: Any, suffix: str) -> None:
    from torchvision import datasets

    root, cache = places
    arrays = _write(root, idx, rng, suffix)
    found = load(spec("kmnist", 40, 20, 10), root, cache)
    for name, values in zip(NAMES, arrays, strict=True):
        idx(root / "KMNIST" / "raw" / name, values)
    for part, train in ((found.train, True), (found.test, False)):
        oracle = datasets.KMNIST(str(root), train=train)
        assert np.array_equal(part.pixels[..., 0], oracle.data.numpy()) and part.channels == 1
        assert part.labels.tolist() == oracle.targets.tolist()
    assert list(found.class_names) == datasets.KMNIST.classes
    assert not found.canonical
    assert ("only the gzipped files have a published md5" in found.canonical_note) == (suffix == "")


def test_published_checksums_are_torchvisions() -> None:
    from torchvision import datasets

    for ours, theirs in ((MNIST, datasets.MNIST), (KMNIST, datasets.KMNIST)):
        assert [(file.name, file.md5) for file in ours.published] == theirs.resources
        for download, (name, _) in zip(ours.origin.downloads, theirs.resources, strict=True):
            assert download.urls == tuple(f"{mirror}{name}" for mirror in theirs.mirrors)
            assert download.makes == f"{theirs.__name__}/raw/{name}"


def test_the_gzipped_file_is_preferred(spec: Any, places: Any, idx: Any, rng: Any) -> None:
    root, cache = places
    arrays = _write(root, idx, rng)
    idx(root / "KMNIST" / "raw" / NAMES[1], np.zeros(40, np.uint8))
    assert load(spec("kmnist", 40, 20, 10), root, cache).train.labels.tolist() == arrays[1].tolist()


def test_every_flipped_bit_of_a_gzipped_file_is_noticed(
    spec: Any, places: Any, idx: Any, rng: Any
) -> None:
    root, cache = places
    _write(root, idx, rng)
    path = root / "KMNIST" / "raw" / f"{NAMES[0]}.gz"
    content = path.read_bytes()
    for place in [0, 2, 20, *rng.integers(20, len(content), 10), len(content) - 6]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(DataError, match="kmnist is damaged"):
            load(spec("kmnist", 40, 20, 10), root, cache)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x0d\x01\0\0\0\x28" + bytes(40 * 4),
        b"\0\0\x08\x01\0\0\0\x28" + bytes(39),
        b"\0\0\x08\x01\0\0\0\x28" + bytes(41),
        b"\0\0\x08\x03\0\0\0\x28",
        b"\0\0\x08\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\0\0\x08\x01\0\0\0\x28" + bytes([10] * 40),
        b"\0\0\x08\x01\0\0\0\x27" + bytes(39),
    ],
    ids=["empty", "floats", "short", "long", "no shape", "huge", "label 10", "fewer labels"],
)
@pytest.mark.parametrize("suffix", [".gz", ""])
def test_wrong_content_is_one_data_error(
    spec: Any, places: Any, idx: Any, rng: Any, content: bytes, suffix: str
) -> None:
    root, cache = places
    _write(root, idx, rng, suffix)
    path = root / "KMNIST" / "raw" / f"{NAMES[1]}{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(DataError, match="kmnist is damaged"):
        load(spec("kmnist", 40, 20, 10), root, cache)


def test_a_truncated_file_says_what_was_expected(
    spec: Any, places: Any, idx: Any, rng: Any
) -> None:
    root, cache = places
    _write(root, idx, rng)
    path = root / "KMNIST" / "raw" / f"{NAMES[2]}.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"3,041,136 bytes, md5 5c965bf0a639b31b8f53240b1b52f4d7"):
        load(spec("kmnist", 40, 20, 10), root, cache)


def test_resized_and_made_rgb_while_decoding(spec: Any, places: Any, idx: Any, rng: Any) -> None:
    from PIL import Image

    root, cache = places
    arrays = _write(root, idx, rng)
    found = load(
        spec("kmnist", 40, 20, 10, decode=[{"op": "resize", "size": [32, 30]}, {"op": "to_rgb"}]),
        root,
        cache,
    )
    assert found.train.pixels.shape == (40, 32, 30, 3)
    twin = np.asarray(Image.fromarray(arrays[0][5]).resize((30, 32), Image.Resampling.BILINEAR))
    assert all(np.array_equal(found.train.pixels[5, :, :, channel], twin) for channel in range(3))
