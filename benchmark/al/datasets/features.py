"""Features of all images of a data set that were computed elsewhere, read from a file that is pinned by its digest.

A file holds `train` (pool, d) and, where anybody needs them, `test` (test, d): one row for each image in the order of the data
set as the protocol makes it. `data` is the digest of that data set, which every record shows. There are two formats: `.npz` with
the three as arrays, and `.safetensors` with two tensors and `data` in its metadata (needs the package safetensors).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmark import files
from benchmark.al.datasets.dataset import Dataset
from benchmark.errors import DataError, UsageError
from benchmark.spec.models import FeatureFile

FOLDER = "features"
"""Folder of the data root with such files."""
LARGEST = 8 * 2**30
"""Most bytes of a file that is read."""
Rows: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """What a file says of each image, float32."""

    train: Rows
    """(pool, d)."""
    test: Rows | None
    """(test, d), where the file has them."""


def read_features(pinned: FeatureFile, root: Path, dataset: Dataset) -> Features:
    """The features of a data set from `<root>/features/<file>`.

    Raises DataError where the file is absent, has another digest, or belongs to other images; UsageError for a format that
    cannot be read here.
    """
    path = root / FOLDER / pinned.file
    remedy = "put the file that the suite pins there"
    try:
        content = files.read(path, LARGEST)
    except OSError as error:
        raise DataError(f"no such features: {error}", where=str(path), remedy=remedy) from error
    found = hashlib.sha256(content).hexdigest()
    if found != pinned.sha256:
        raise DataError(f"sha256 is {found[:16]}..., not {pinned.sha256[:16]}...", where=str(path), remedy=remedy)
    arrays, data = _safetensors(path, content) if path.suffix == ".safetensors" else _npz(path, content)
    if data != dataset.digest:
        raise DataError(
            f"the features belong to data with the digest '{data[:12]}', not {dataset.digest[:12]}", where=str(path),
            remedy="compute them for these images, in this order",
        )  # fmt: skip
    parts = {"train": len(dataset.train), "test": len(dataset.test)}
    for name, count in parts.items():
        rows = arrays.get(name)
        if rows is None and name == "test":
            continue
        if rows is None or rows.ndim != 2 or len(rows) != count or rows.dtype.kind != "f":
            raise DataError(
                f"'{name}' is {'absent' if rows is None else f'{rows.dtype} of shape {rows.shape}'}", where=str(path),
                remedy=f"store floating-point numbers of shape ({count}, d)",
            )  # fmt: skip
    test = arrays.get("test")
    return Features(arrays["train"].astype(np.float32), None if test is None else test.astype(np.float32))


def write_features(path: Path, dataset: Dataset, train: npt.NDArray[Any], test: npt.NDArray[Any] | None = None) -> str:
    """Write a `.npz` file of features for these images and return its sha256, which a suite pins."""
    arrays: dict[str, Any] = {"train": train, "data": np.array(dataset.digest)}
    arrays |= {} if test is None else {"test": test}
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(content, **arrays)
    files.write(path, content.getvalue())
    return hashlib.sha256(content.getvalue()).hexdigest()


def synthetic_features(pinned: FeatureFile, root: Path, dataset: Dataset) -> Features:
    """Random numbers in place of a file, for dry runs on synthetic images."""
    rng = np.random.default_rng(0)
    train, test = (rng.standard_normal((len(part), 8)).astype(np.float32) for part in (dataset.train, dataset.test))
    return Features(train, test)


def _npz(path: Path, content: bytes) -> tuple[Mapping[str, npt.NDArray[Any]], str]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("train", "test", "data") if name in archive}
    except (OSError, ValueError) as error:
        raise DataError(
            f"not an npz file of plain arrays: {error}", where=str(path), remedy="write it with numpy.savez"
        ) from error
    return arrays, str(arrays.pop("data", ""))


def _safetensors(path: Path, content: bytes) -> tuple[Mapping[str, npt.NDArray[Any]], str]:
    try:
        from safetensors import SafetensorError, safe_open
        from safetensors.numpy import load
    except ImportError as error:
        raise UsageError(
            "safetensors is not installed",
            where=str(path),
            remedy="install it (`pip install safetensors`), or store .npz",
        ) from error
    try:
        arrays = load(content)
        with safe_open(str(path), framework="np") as opened:
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise DataError(f"not a safetensors file: {error}", where=str(path), remedy="write it again") from error
    return arrays, str(metadata.get("data", ""))
