"""Features of all images of a data set that were computed elsewhere, read from a file that is
pinned by its digest.

A file holds `train` (pool, d) and, where anybody needs them, `test` (test, d): one row for each
image in the order of the data set as the protocol makes it. `data` is the digest of that data set,
which every record shows. There are two formats: `.npz` with the three as arrays, and `.safetensors`
with two tensors and `data` in its metadata.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from benchmark import files
from benchmark.al.datasets import digest
from benchmark.al.datasets.cache import Cache, SourceFacts
from benchmark.al.datasets.dataset import Dataset
from benchmark.al.datasets.source import file_info
from benchmark.errors import DataError
from benchmark.spec.protocol import FeatureFile, FeatureNetwork

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
    """The features of a data set from `<root>/features/<file>`; of a safetensors file they are a
    map of the file.

    Raises DataError where the file is absent, is not the one that is pinned, or belongs to other
    images; UsageError for a format that cannot be read here.
    """
    path = root / FOLDER / pinned.file
    remedy = (
        "put the file that the suite pins there"
        if pinned.made is None
        else _how_made(pinned, dataset.name)
    )
    try:
        # What is pinned by what made it has no digest to be compared with, and is read by hundreds
        # of trials.
        found = _digest_file(path) if pinned.sha256 is not None else _open_file(path)
    except OSError as error:
        raise DataError(f"no such features: {error}", where=str(path), remedy=remedy) from error
    if pinned.sha256 is not None and found != pinned.sha256:
        raise DataError(
            f"sha256 is {found[:16]}..., not {pinned.sha256[:16]}...",
            where=str(path),
            remedy=remedy,
        )
    arrays, metadata = _read_safetensors(path) if path.suffix == ".safetensors" else _read_npz(path)
    data = metadata.get("data", "")
    if data != dataset.digest:
        raise DataError(
            f"the features belong to data with the digest '{data[:12]}', not {dataset.digest[:12]}",
            where=str(path),
            remedy="compute them for these images, in this order",
        )
    if pinned.made is not None and (
        other := _describe_difference(_read_origin(metadata), pinned.made)
    ):
        raise DataError(f"the features were made with {other}", where=str(path), remedy=remedy)
    parts = {"train": len(dataset.train), "test": len(dataset.test)}
    for name, count in parts.items():
        rows = arrays.get(name)
        if rows is None and name == "test":
            continue
        if rows is None or rows.ndim != 2 or len(rows) != count or rows.dtype.kind != "f":
            raise DataError(
                f"'{name}' is "
                f"{'absent' if rows is None else f'{rows.dtype} of shape {rows.shape}'}",
                where=str(path),
                remedy=f"store floating-point numbers of shape ({count}, d)",
            )
    test = arrays.get("test")
    return Features(
        np.asarray(arrays["train"], dtype=np.float32),
        None if test is None else np.asarray(test, dtype=np.float32),
    )


def digest_features(pinned: FeatureFile, root: Path, cache: Path) -> str:
    """sha256 (hex) of a features file. A file that is pinned by what made it has no such digest in
    its pin.

    It is kept in the cache of data sets, so that hundreds of trials do not read the whole file: it
    is computed again as soon as size or times of the file have changed. Raises DataError for a file
    that cannot be read.
    """
    path = root / FOLDER / pinned.file
    try:
        known = file_info(path, pinned.file)
        if known is None:
            raise FileNotFoundError(f"{path.name} is not there")
        store, stamp = Cache(cache), digest.digest_json([FOLDER, digest.stamp_files([known])])
        if (facts := store.facts(stamp)) is None:
            facts = SourceFacts(_digest_file(path), "")
            store.remember(stamp, facts)
        return facts.sources
    except OSError as error:
        raise DataError(
            f"no such features: {error}", where=str(path), remedy="put the file back"
        ) from error


def feature_path(root: Path, data: str, made: FeatureNetwork, pool: str = "") -> Path:
    """Where features of a data set are written:
    `<root>/features/<data>[-<pool>]-<network>-<size>.safetensors`."""
    names = "-".join(part for part in (data, pool, made.network) if part)
    return root / FOLDER / f"{names}-{made.size}.safetensors"


def read_made(path: Path) -> tuple[str, FeatureNetwork] | None:
    """Digest of the data and what made a features file; None where there is no such file."""
    if files.stat_file(path) is None:
        return None
    try:
        _, metadata = _read_safetensors(path)
    except DataError:
        return None
    made = _read_origin(metadata)
    return None if made is None else (metadata.get("data", ""), made)


def write_made(path: Path, dataset: Dataset, made: FeatureNetwork, train: Rows, test: Rows) -> None:
    """Write a safetensors file whose metadata hold the digest of the data, what made it, and the
    identity of both."""
    said = {
        "data": dataset.digest,
        "made": made.model_dump_json(),
        "identity": identity_of(dataset.digest, made),
    }
    # Written here and not by the library, which orders metadata at random: equal features are equal
    # files.
    ends = (train.nbytes, train.nbytes + test.nbytes)
    header = {
        "__metadata__": said,
        "train": {"dtype": "F32", "shape": train.shape, "data_offsets": (0, ends[0])},
        "test": {"dtype": "F32", "shape": test.shape, "data_offsets": ends},
    }
    content = json.dumps(header).encode()
    content += b" " * (-(8 + len(content)) % 64)
    try:
        files.write(
            path,
            len(content).to_bytes(8, "little")
            + content
            + train.astype("<f4").tobytes()
            + test.astype("<f4").tobytes(),
        )
    except OSError as error:
        raise DataError(
            f"the features cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="free space there",
        ) from error


def identity_of(data: str, made: FeatureNetwork) -> str:
    """sha256 (hex) over the digest of the data, the digest of the weights, the preprocessing and
    the code of the network."""
    return digest.digest_json({"data": data, "made": made.model_dump(mode="json")})


class Blocks:
    """Rows of a pass that is under way, in a folder beside the file that they will become."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, part: str, start: int) -> Rows | None:
        """The rows from image `start` on, where they have been saved."""
        try:
            content = files.read(self._folder / f"{part}-{start:08}.npy", files.STATE)
            rows: Rows = np.load(io.BytesIO(content), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return rows

    def save(self, part: str, start: int, rows: Rows) -> None:
        """Keep the rows from image `start` on. The file is whole or absent."""
        content = io.BytesIO()
        np.save(content, rows, allow_pickle=False)
        files.write(self._folder / f"{part}-{start:08}.npy", content.getvalue())


@contextmanager
def open_blocks(path: Path, dataset: Dataset, made: FeatureNetwork) -> Iterator[Blocks]:
    """The blocks of the file `path`, which go when it is written. Raises DataError where there is
    no space for them."""
    # Blocks of other images, weights or code lie in another folder.
    folder = path.with_name(f".{path.name}.{identity_of(dataset.digest, made)[:16]}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield Blocks(folder)
        files.remove(folder, base=path.parent)
    except OSError as error:
        raise DataError(
            f"the features cannot be saved: {error.strerror or error}",
            where=str(folder),
            remedy="free space there",
        ) from error


def write_features(
    path: Path, dataset: Dataset, train: npt.NDArray[Any], test: npt.NDArray[Any] | None = None
) -> str:
    """Write a `.npz` file of features for these images and return its sha256, which a suite
    pins."""
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
    train, test = (
        rng.standard_normal((len(part), 8)).astype(np.float32)
        for part in (dataset.train, dataset.test)
    )
    return Features(train, test)


def _how_made(pinned: FeatureFile, data: str) -> str:
    made = pinned.made
    assert made is not None
    # Another name is that of a part of the data set, which only its suite says.
    if not pinned.file.startswith(f"{data}-{made.network}-"):
        return "run `albench features SUITE` with the suite's name"
    return f"run `albench features {data} --network {made.network} --size {made.size}`"


def _read_origin(metadata: Mapping[str, str]) -> FeatureNetwork | None:
    try:
        return FeatureNetwork.model_validate_json(metadata.get("made", ""))
    except ValidationError:
        return None


def _describe_difference(found: FeatureNetwork | None, pinned: FeatureNetwork) -> str:
    """How what made a file differs from what the suite pins, in words; empty where it does not."""
    if found is None:
        return "nothing that the file names"
    had, wanted = found.model_dump(), pinned.model_dump()
    return ", ".join(
        f"{name} = {had[name]} instead of {wanted[name]}"
        for name in wanted
        if had[name] != wanted[name]
    )


def _digest_file(path: Path) -> str:
    if (found := files.stat_file(path)) is not None and found.st_size > LARGEST:
        raise OSError(f"{path.name} has {found.st_size:,} bytes")
    with os.fdopen(files.open_fd(path), "rb") as file:
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()


def _open_file(path: Path) -> str:
    os.close(files.open_fd(path))
    return ""


def _read_npz(path: Path) -> tuple[Mapping[str, npt.NDArray[Any]], Mapping[str, str]]:
    try:
        with np.load(io.BytesIO(files.read(path, LARGEST)), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("train", "test", "data") if name in archive}
    except (OSError, ValueError) as error:
        raise DataError(
            f"not an npz file of plain arrays: {error}",
            where=str(path),
            remedy="write it with numpy.savez",
        ) from error
    return arrays, {"data": str(arrays.pop("data", ""))}


NUMBERS = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
"""Types of safetensors that features may have."""
HEADER = 2**20
"""Most bytes of a header that is read."""


def _read_safetensors(path: Path) -> tuple[Mapping[str, npt.NDArray[Any]], Mapping[str, str]]:
    """Tensors as read-only maps of the file, so that processes share its pages; and its metadata.

    The format: eight bytes with the length of a JSON header, the header, and the numbers; offsets
    count from the header's end.
    """
    try:
        with os.fdopen(files.open_fd(path), "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > HEADER:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(file.read(length))
            metadata = header.pop("__metadata__", {})
            arrays = {}
            for name, said in header.items():
                if name in ("train", "test") and said["dtype"] in NUMBERS:
                    kind = np.dtype(NUMBERS[said["dtype"]])
                    first, end = said["data_offsets"]
                    if end - first != kind.itemsize * int(np.prod(said["shape"])):
                        raise ValueError(f"'{name}' has {end - first} bytes for {said['shape']}")
                    where, shape = 8 + length + first, tuple(said["shape"])
                    arrays[name] = np.memmap(file, dtype=kind, mode="r", offset=where, shape=shape)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"not a safetensors file: {error}", where=str(path), remedy="write it again"
        ) from error
    return arrays, {str(name): str(value) for name, value in metadata.items()}
