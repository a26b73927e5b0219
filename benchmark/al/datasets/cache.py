"""Decoded data sets on disk, memory-mapped, one folder per (source files, Data spec).

    <cache>/data/index/<stamp>.json   what source files are, so that a warm start reads none
    <cache>/data/<name>-<key>/entry.json    shapes, checksums, class names
    <cache>/data/<name>-<key>/train.npy     pixels of the pool; test.npy, validation.npy;
                                            *_labels.npy, *_sizes.npy

A folder is made beside its place, synced, and renamed: it is whole or absent. `entry.json` keeps
its own checksum and, for the pixel files, size and times when their checksum was last known to
hold. As long as these are unchanged the pixels are not read again; otherwise they are, and a folder
that does not match is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark import files
from benchmark.al.datasets import digest
from benchmark.al.datasets.dataset import Bytes, Part, Whole
from benchmark.errors import DataError

FORMAT = 1
"""Version of the folders' content; another one is not read."""
HEADER = 128
"""Bytes kept free for the header of a pixel file, whose shape is known only when all images are
written."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a set of source files: digest of names and contents, and why they are not
    the published ones."""

    sources: str
    differs: str


@dataclass(frozen=True)
class Entry:
    """A cached data set: its parts, its class names, its content digest."""

    train: Part
    test: Part
    class_names: tuple[str, ...]
    digest: str
    validation: Part | None = None


class Cache:
    """The cache below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"

    # -------------------------------------------------------------------------------------- sources

    def facts(self, stamp: str) -> SourceFacts | None:
        """What was found out about the source files with this stamp."""
        content = _read_sealed(self.folder / "index" / f"{stamp}.json")
        return None if content is None else SourceFacts(content["sources"], content["differs"])

    def remember(self, stamp: str, facts: SourceFacts) -> None:
        """Keep what was found out."""
        with _lock_for_writing(self.folder):
            folder = self.folder / "index"
            folder.mkdir(parents=True, exist_ok=True)
            _write_sealed(
                folder / f"{stamp}.json",
                {"format": FORMAT, "sources": facts.sources, "differs": facts.differs},
            )

    # -------------------------------------------------------------------------------------- entries

    def open(self, key: str, check: bool = False) -> Entry | None:
        """The entry, or None when it is absent or damaged. `check`: read every pixel."""
        folder = self.folder / key
        content = _read_sealed(folder / "entry.json")
        if content is None:
            return None
        try:
            parts = {
                name: _open_part(folder, name, described)
                for name, described in content["parts"].items()
            }
            _check_pixels(folder, content, check)
            return Entry(
                parts["train"],
                parts["test"],
                tuple(content["class_names"]),
                content["digest"],
                parts.get("validation"),
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return None

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Be the only one to make this entry; others wait. The kernel frees the lock when its
        holder dies."""
        with _lock_for_writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = files.open_appender(self.folder / f".{key}.lock")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def store(
        self,
        key: str,
        train: tuple[Iterable[Bytes], Whole],
        test: tuple[Iterable[Bytes], Whole],
        class_names: tuple[str, ...],
        validation: tuple[Iterable[Bytes], Whole] | None = None,
    ) -> None:
        """Write an entry from images in order and their labels. Call with the lock held."""
        place, partial = self.folder / key, self.folder / f".{key}.partial"
        if place.exists():
            _log.warning("the cached copy %s is damaged and is made again", key)
        shutil.rmtree(partial, ignore_errors=True)  # of one who died: the lock is ours
        try:
            with _lock_for_writing(self.folder):
                partial.mkdir(parents=True)
                given = {"train": train, "test": test} | (
                    {} if validation is None else {"validation": validation}
                )
                parts = {name: _write_part(partial, name, *part) for name, part in given.items()}
                identity = digest.digest_content(
                    **{name: part["content"] for name, part in parts.items()}
                )
                content = {
                    "format": FORMAT,
                    "digest": identity,
                    "class_names": list(class_names),
                    "parts": parts,
                }
                _write_sealed(partial / "entry.json", content)
                shutil.rmtree(place, ignore_errors=True)
                partial.rename(place)
                _sync_folder(self.folder)
        except BaseException:
            shutil.rmtree(
                partial, ignore_errors=True
            )  # a full disk is not helped by half a data set
            raise


@contextmanager
def _lock_for_writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the cache cannot be written: {error.strerror or error}",
            where=str(folder),
            remedy="free space there, or choose another folder for the cache",
        ) from error


# -------------------------------------------------------------------------------------------- parts


def _write_part(folder: Path, name: str, images: Iterable[Bytes], labels: Whole) -> dict[str, Any]:
    sizes, shape, channels, pixels = _write_pixels(folder / f"{name}.npy", images)
    if len(sizes) != len(labels):
        raise AssertionError(f"{len(sizes)} images, {len(labels)} labels")
    equal = bool((sizes == sizes[:1]).all())
    arrays = {"labels": labels} if equal else {"labels": labels, "sizes": sizes}
    for kind, values in arrays.items():
        _save_file(folder / f"{name}_{kind}.npy", values)
    return {
        "channels": channels,
        "shape": shape,
        "arrays": {kind: digest.digest_array(values) for kind, values in arrays.items()},
        "content": {
            "pixels": pixels,
            "shapes": digest.digest_shapes(len(labels), channels, sizes),
            "labels": digest.digest_array(labels),
        },
        "file": _file_facts(folder / f"{name}.npy"),
    }


def _write_pixels(path: Path, images: Iterable[Bytes]) -> tuple[Whole, list[int], int, str]:
    """Stream images into an .npy file; returns their sizes (n, 2), the file's shape, the channels,
    the pixels' sha256."""
    total, sizes, channels = hashlib.sha256(), [], set()
    with files.open_writer(path) as file:
        file.write(b"\0" * HEADER)
        for image in images:
            content = image.tobytes()
            file.write(content)
            total.update(content)
            sizes.append(image.shape[:2])
            channels.add(image.shape[2])
        if len(channels) != 1:
            raise DataError(f"images with {sorted(channels)} channels in one part", where=path.stem)
        depth = channels.pop()
        shape = (len(sizes), *sizes[0], depth) if len(set(sizes)) == 1 else (file.tell() - HEADER,)
        file.seek(0)
        file.write(_npy_header(shape))
        file.flush()
        os.fsync(file.fileno())
    return np.array(sizes, dtype=np.int64), list(shape), depth, total.hexdigest()


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """Header of an .npy file of uint8, padded to HEADER bytes."""
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        text, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    assert len(text.getvalue()) == HEADER, "numpy pads headers to a multiple of 64 bytes"
    return text.getvalue()


def _open_part(folder: Path, name: str, content: dict[str, Any]) -> Part:
    arrays = {}
    for kind, expected in content["arrays"].items():
        values = np.load(
            io.BytesIO(files.read(folder / f"{name}_{kind}.npy", files.STATE)), allow_pickle=False
        )
        if values.dtype != np.int64 or digest.digest_array(values) != expected:
            raise ValueError(f"{name}_{kind}.npy has changed")
        values.setflags(write=False)
        arrays[kind] = values
    pixels = _map_pixels(folder / f"{name}.npy")
    sizes, channels = arrays.get("sizes"), content["channels"]
    if pixels.dtype != np.uint8 or list(pixels.shape) != content["shape"]:
        raise ValueError(f"{name}.npy has changed its shape")
    offsets = (
        None
        if sizes is None
        else np.concatenate([[0], np.cumsum(sizes.prod(axis=1) * channels)[:-1]])
    )
    return Part(pixels, arrays["labels"], sizes, offsets, channels)


def _map_pixels(path: Path) -> npt.NDArray[Any]:
    """A pixel file as a read-only map of its bytes."""
    with os.fdopen(files.open_fd(path), "rb") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{path.name} is of another format")
        shape, ordered, kind = np.lib.format.read_array_header_1_0(file)
        if kind != np.uint8 or ordered:
            raise ValueError(f"{path.name} does not hold pixels")
        return np.memmap(file, dtype=np.uint8, mode="r", offset=file.tell(), shape=shape)


def _check_pixels(folder: Path, content: dict[str, Any], always: bool) -> None:
    """Read pixel files again where they may have changed. Raises ValueError when they have."""
    doubtful = {
        name: _file_facts(folder / f"{name}.npy")
        for name, part in content["parts"].items()
        if always or part["file"] != _file_facts(folder / f"{name}.npy")
    }
    for name in doubtful:
        if _pixel_digest(folder / f"{name}.npy") != content["parts"][name]["content"]["pixels"]:
            raise ValueError(f"{name}.npy has changed")
    if any(content["parts"][name]["file"] != facts for name, facts in doubtful.items()):
        for name, facts in doubtful.items():
            content["parts"][name]["file"] = facts
        with suppress(OSError):  # a read-only cache is read again next time
            _write_sealed(folder / "entry.json", content)


def _pixel_digest(path: Path) -> str:
    with os.fdopen(files.open_fd(path), "rb") as file:
        file.seek(HEADER)
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()


def _file_facts(path: Path) -> list[int]:
    found = files.stat_file(path)
    if found is None:
        raise ValueError(f"{path.name} is no file")
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


# -------------------------------------------------------------------------------------------- files


def _save_file(path: Path, values: npt.NDArray[Any]) -> None:
    with files.open_writer(path) as file:
        np.save(file, values, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def _read_sealed(path: Path) -> dict[str, Any] | None:
    """A JSON object that carries its own checksum and the current format; None when there is
    none."""
    try:
        content = json.loads(files.read(path))
        seal = content.pop("seal")
        return (
            content if seal == digest.digest_json(content) and content["format"] == FORMAT else None
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _write_sealed(path: Path, content: dict[str, Any]) -> None:
    # A process number would not do: in containers that share a cache they are all alike.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    with files.open_writer(partial) as file:
        file.write(json.dumps(content | {"seal": digest.digest_json(content)}).encode())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
