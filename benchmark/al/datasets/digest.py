"""Checksums: of files, of what a data set was made from, and of what it contains."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmark.al.datasets.dataset import Part, Whole
from benchmark.al.datasets.source import File, Published

Progress = Callable[[str, int, int], None]
"""Called with what is being worked on, how much is done and how much there is (0: unknown)."""


def count_threads() -> int:
    """Threads worth starting here: hashing and image decoding release the interpreter's lock."""
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min(16, usable)


def digest_file(path: str | Path, algorithm: Literal["sha256", "md5"] = "sha256") -> str:
    """Checksum (hex) of a file. md5 is what data set authors publish; it identifies, it does not
    protect."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.new(algorithm, usedforsecurity=False)
        ).hexdigest()


def digest_array(values: npt.NDArray[Any]) -> str:
    """sha256 (hex) of an array's bytes in C order, little-endian."""
    ordered = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return hashlib.sha256(ordered.reshape(-1).view(np.uint8).data).hexdigest()


def digest_json(value: object) -> str:
    """sha256 (hex) of canonical JSON: sorted keys, no spaces."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def stamp_files(files: Iterable[File]) -> str:
    """sha256 (hex) of paths, sizes and times: changes whenever a file may have, and costs no
    reading."""
    total = hashlib.sha256()
    for file in files:
        total.update(
            f"{file.path}\0{file.size}\0{file.mtime_ns}\0{file.ctime_ns}\n".encode(
                errors="surrogateescape"
            )
        )
    return total.hexdigest()


def digest_files(files: Sequence[File]) -> str:
    """sha256 (hex) of names and contents."""
    with ThreadPoolExecutor(count_threads()) as pool:
        contents = pool.map(lambda file: digest_file(file.path), files)
        total = hashlib.sha256()
        for file, content in zip(files, contents, strict=True):
            total.update(f"{file.name}\0{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def describe_differences(files: Iterable[File], published: Iterable[Published]) -> str:
    """Which files are not the published ones, in words; empty when all are."""
    known = {entry.name: entry for entry in published}
    wrong = [
        file.name
        for file in files
        if file.name in known and digest_file(file.path, "md5") != known[file.name].md5
    ]
    if not wrong:
        return ""
    listed = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
    return f"the md5 of {listed} is not the published one"


def digest_shapes(count: int, channels: int, sizes: Whole) -> str:
    """sha256 (hex) of the images' shapes; `sizes` is (n, 2) or, for equal sizes, (2,)."""
    full = np.empty((count, 3), dtype=np.int64)
    full[:, :2], full[:, 2] = sizes, channels
    return digest_array(full)


def digest_content(
    train: dict[str, str], test: dict[str, str], validation: dict[str, str] | None = None
) -> str:
    """Identity of a data set's content: sha256 (hex) over the digests of pixels, shapes and labels
    of its parts.

    Storage does not enter: the same images give the same digest however they are kept.
    """
    third = {} if validation is None else {"validation": validation}
    return digest_json({"format": 1, "train": train, "test": test} | third)


def digest_part(part: Part) -> dict[str, str]:
    """Digests of pixels, shapes and labels of a part, from the arrays themselves."""
    sizes = (
        part.sizes if part.sizes is not None else np.array(part.pixels.shape[1:3], dtype=np.int64)
    )
    return {
        "pixels": digest_array(part.pixels),
        "shapes": digest_shapes(len(part), part.channels, sizes),
        "labels": digest_array(part.labels),
    }
