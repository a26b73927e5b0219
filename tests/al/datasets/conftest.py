"""Small data sets in the layouts that the published ones have, written by the tests themselves."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.spec.data import Data

OFFICIAL = {"rule": "official"}


@pytest.fixture
def spec() -> Callable[..., Data]:
    def make(name: str, train: int, test: int, classes: int, **more: Any) -> Data:
        return Data.model_validate_json(
            json.dumps(
                {
                    "name": name,
                    "train_size": train,
                    "test_size": test,
                    "classes": classes,
                    "split": OFFICIAL,
                }
                | more
            )
        )

    return make


@pytest.fixture
def per_class() -> Callable[..., dict[str, Any]]:
    def make(
        fraction: float = 0.9, rounding: str = "floor", drop: str | None = None, seed: int = 0
    ) -> dict[str, Any]:
        return {
            "rule": "per_class",
            "train_fraction": fraction,
            "rounding": rounding,
            "drop": drop,
            "seed": seed,
        }

    return make


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """An empty data root and a cache that does not exist yet."""
    root = tmp_path / "root"
    root.mkdir()
    yield root, tmp_path / "cache"


@pytest.fixture
def cifar10(rng: np.random.Generator) -> Callable[[Path], dict[str, Any]]:
    """Write a CIFAR-10 of 5 x 20 + 30 images with byte keys and without `filenames`; returns rows
    and labels."""

    def write(root: Path) -> dict[str, Any]:
        folder = root / "cifar-10-batches-py"
        folder.mkdir(parents=True)
        made = {}
        for name, count in [
            *((f"data_batch_{place}", 20) for place in range(1, 6)),
            ("test_batch", 30),
        ]:
            rows = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
            labels = [int(value) for value in rng.permutation(np.arange(count) % 10)]
            made[name] = (rows, labels)
            (folder / name).write_bytes(
                pickle.dumps({b"data": rows, b"labels": labels}, protocol=4)
            )
        names = [
            b"airplane",
            b"automobile",
            b"bird",
            b"cat",
            b"deer",
            b"dog",
            b"frog",
            b"horse",
            b"ship",
            b"truck",
        ]
        (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}, protocol=2))
        return made

    return write


@pytest.fixture
def idx() -> Callable[..., None]:
    """Write an array of bytes as an idx file, gzipped when its name says so."""

    def write(path: Path, values: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
        content = head + values.astype(np.uint8).tobytes()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

    return write


@pytest.fixture
def jpeg(rng: np.random.Generator) -> Callable[..., None]:
    """Write a JPEG file of random smooth content; mode `L` is grey."""

    def write(path: Path, height: int, width: int, mode: str = "RGB") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (4, 5, 3) if mode == "RGB" else (4, 5)
        small = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        small.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)

    return write
