"""The decoded cache: made once, never half, checked, made again when damaged."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.al.datasets import Dataset, cache, describe, digest, load, loading
from benchmark.al.datasets.cifar import Cifar
from benchmark.errors import DataError


@pytest.fixture
def ready(spec: Any, places: Any, cifar10: Any) -> tuple[Any, Path, Path]:
    root, folder = places
    cifar10(root)
    return spec("cifar10", 100, 30, 10), root, folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every time the source files are decoded."""
    seen: list[int] = []
    original = Cifar.read
    monkeypatch.setattr(
        Cifar, "read", lambda self, files: (seen.append(1), original(self, files))[1]
    )
    return seen


def _same(one: Dataset, two: Dataset) -> bool:
    return one.digest == two.digest and all(
        np.array_equal(mine.pixels, other.pixels) and np.array_equal(mine.labels, other.labels)
        for mine, other in ((one.train, two.train), (one.test, two.test))
    )


def _entry(folder: Path) -> Path:
    (found,) = (path.parent for path in (folder / "data").glob("*/entry.json"))
    return found


def test_the_second_time_nothing_is_read(
    ready: Any, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root, folder = ready
    first = load(data, root, folder)
    monkeypatch.setattr(digest, "digest_file", lambda *_: pytest.fail("a file was read"))
    monkeypatch.setattr(cache, "_pixel_digest", lambda _: pytest.fail("pixels were read"))
    second = load(data, root, folder)
    assert _same(first, second) and reads == [1]
    assert (
        isinstance(second.train.pixels, np.memmap) and second.canonical_note == first.canonical_note
    )
    assert describe(data, root, folder).digest == first.digest


def test_the_digest_is_of_what_is_in_it(ready: Any) -> None:
    data, root, folder = ready
    found = load(data, root, folder)
    assert found.digest == digest.digest_content(
        digest.digest_part(found.train), digest.digest_part(found.test)
    )


def test_validation_images_are_cached_checked_and_in_the_digest(
    spec: Any, ready: Any, reads: list[int]
) -> None:
    plain, root, folder = ready
    drawn = {"size": 20, "rule": "balanced", "seed": 0}
    data = spec("cifar10", 80, 30, 10, validation=drawn)
    found, again = load(data, root, folder), load(data, root, folder)
    assert reads == [1] and found.validation is not None and again.validation is not None
    assert np.bincount(found.validation.labels).tolist() == [2] * 10
    assert np.array_equal(found.validation.pixels, again.validation.pixels)
    parts = (found.train, found.test, found.validation)
    assert found.digest == digest.digest_content(*map(digest.digest_part, parts))
    assert found.digest != digest.digest_content(*map(digest.digest_part, parts[:2]))
    with (_entry(folder) / "validation.npy").open("r+b") as file:
        file.seek(200)
        file.write(b"other pixels")
    assert load(data, root, folder).digest == found.digest and reads == [1, 1]
    assert load(plain, root, folder).validation is None


def test_copies_from_before_there_was_validation_stay_valid(ready: Any) -> None:
    data, root, folder = ready
    load(data, root, folder)
    old = data.model_dump(mode="json", exclude={"code", "files", "validation"})
    (name,) = (path.name for path in (folder / "data").glob("cifar10-*"))
    facts = json.loads(next((folder / "data" / "index").glob("*.json")).read_text())
    assert name == f"cifar10-{digest.digest_json([facts['sources'], old])[:24]}"


def test_the_digest_of_images_of_different_sizes(
    spec: Any, per_class: Any, places: Any, jpeg: Any
) -> None:
    root, folder = places
    for name, height in (("a", 9), ("b", 12)):
        for number in range(4):
            jpeg(
                root / "caltech101" / "101_ObjectCategories" / name / f"image_{number}.jpg",
                height,
                10 + number,
            )
    found = load(spec("caltech101", 4, 4, 2, split=per_class(0.5)), root, folder)
    assert found.train.sizes is not None
    assert found.digest == digest.digest_content(
        digest.digest_part(found.train), digest.digest_part(found.test)
    )
    again = load(spec("caltech101", 4, 4, 2, split=per_class(0.5)), root, folder)
    assert all(
        np.array_equal(found.train.image(place), again.train.image(place)) for place in range(4)
    )


def test_every_number_of_the_content_is_in_the_digest(ready: Any) -> None:
    data, root, folder = ready
    part = load(data, root, folder).train
    base = digest.digest_part(part)
    pixels, labels = np.array(part.pixels), np.array(part.labels)
    pixels[99, 31, 31, 2] ^= 1
    labels[0] += 1
    assert (
        digest.digest_part(type(part)(pixels, part.labels, None, None, 3))["pixels"]
        != base["pixels"]
    )
    assert (
        digest.digest_part(type(part)(part.pixels, labels, None, None, 3))["labels"]
        != base["labels"]
    )
    other = digest.digest_part(
        type(part)(part.pixels.reshape(100, 16, 64, 3), part.labels, None, None, 3)
    )
    assert other["pixels"] == base["pixels"] and other["shapes"] != base["shapes"]


@pytest.mark.parametrize(
    "change",
    [
        {"limit": {"train": 10, "test": 5}},
        {"imbalance": {"kind": "step", "majority": 8, "minority": 2}},
        {"decode": [{"op": "resize", "size": [8, 8]}]},
    ],
)
def test_another_spec_is_another_entry(spec: Any, ready: Any, change: dict[str, Any]) -> None:
    data, root, folder = ready
    sizes = {"limit": (10, 5), "imbalance": (50, 30), "decode": (100, 30)}[next(iter(change))]
    assert (
        load(data, root, folder).digest
        != load(spec("cifar10", *sizes, 10, **change), root, folder).digest
    )
    assert len(list((folder / "data").glob("*/entry.json"))) == 2


def test_changed_files_are_read_again(ready: Any, cifar10: Any, tmp_path: Path) -> None:
    data, root, folder = ready
    first = load(data, root, folder).digest
    path = root / "cifar-10-batches-py" / "test_batch"
    times = path.stat()
    cifar10(tmp_path / "other")
    path.write_bytes((tmp_path / "other" / "cifar-10-batches-py" / "test_batch").read_bytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size and path.stat().st_mtime_ns == times.st_mtime_ns
    assert load(data, root, folder).digest != first, "a change that keeps size and date is noticed"


def test_moved_files_are_not_decoded_again(ready: Any, reads: list[int]) -> None:
    data, root, folder = ready
    first = load(data, root, folder)
    root.rename(root.with_name("moved"))
    assert _same(load(data, root.with_name("moved"), folder), first) and reads == [1]


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: _flip(entry / "train.npy", 200_000),
        lambda entry: _flip(entry / "train.npy", 128),
        lambda entry: _flip(entry / "test.npy", -1),
        lambda entry: _flip(entry / "train.npy", 5),
        lambda entry: (entry / "train.npy").write_bytes((entry / "train.npy").read_bytes()[:-1]),
        lambda entry: (entry / "train.npy").write_bytes(b""),
        lambda entry: (entry / "train.npy").write_bytes(
            (entry / "train.npy").read_bytes().replace(b"(100, 32, 32, 3)", b"(100, 64, 16, 3)")
        ),
        lambda entry: (entry / "test.npy").unlink(),
        lambda entry: _flip(entry / "train_labels.npy", 140),
        lambda entry: (entry / "test_labels.npy").unlink(),
        lambda entry: _flip(entry / "entry.json", 40),
        lambda entry: (entry / "entry.json").write_text("{}"),
        lambda entry: (entry / "entry.json").unlink(),
    ],
    ids=[
        "pixel",
        "first pixel",
        "last pixel",
        "header",
        "cut",
        "emptied",
        "reshaped",
        "no pixels",
        "label",
        "no labels",
        "entry",
        "emptied entry",
        "no entry",
    ],
)
def test_a_damaged_entry_is_made_again(
    ready: Any, reads: list[int], damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    data, root, folder = ready
    first = load(data, root, folder)
    keep = Dataset(**{**first.__dict__, "train": _copied(first.train), "test": _copied(first.test)})
    damage(_entry(folder))
    with caplog.at_level(logging.WARNING):
        assert _same(load(data, root, folder), keep)
    assert reads == [1, 1] and "is damaged and is made again" in caplog.text
    assert _same(load(data, root, folder), keep) and reads == [1, 1]


def _copied(part: Any) -> Any:
    return type(part)(
        np.array(part.pixels), np.array(part.labels), part.sizes, part.offsets, part.channels
    )


def test_a_changed_digest_in_the_entry_is_noticed(ready: Any, reads: list[int]) -> None:
    data, root, folder = ready
    first = load(data, root, folder)
    path = _entry(folder) / "entry.json"
    path.write_text(path.read_text().replace(first.digest, "0" * 64))
    assert load(data, root, folder).digest == first.digest and reads == [1, 1]


def test_a_copied_cache_is_checked_once_and_kept(
    ready: Any, reads: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root, folder = ready
    first = load(data, root, folder)
    subprocess.run(["cp", "-r", str(folder), str(tmp_path / "copy")], check=True)
    assert _same(load(data, root, tmp_path / "copy"), first) and reads == [1]
    monkeypatch.setattr(cache, "_pixel_digest", lambda _: pytest.fail("pixels were read again"))
    assert _same(load(data, root, tmp_path / "copy"), first)


def test_silent_damage_is_found_on_demand(
    ready: Any, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that changes bits without a trace: only reading everything can tell."""
    data, root, folder = ready
    monkeypatch.setattr(cache, "_file_facts", lambda _: [0, 0, 0])
    first = load(data, root, folder).digest
    _flip(_entry(folder) / "train.npy", 5000)
    assert load(data, root, folder).digest == first and reads == [1], "not noticed without reading"
    found = load(data, root, folder, check=True)
    assert reads == [1, 1]
    assert (
        digest.digest_content(digest.digest_part(found.train), digest.digest_part(found.test))
        == first
    )


@pytest.mark.parametrize("after", [0, 50, 129])
def test_an_interrupted_write_leaves_nothing(
    ready: Any, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root, folder = ready
    original, count = loading.decode_images, 0

    def interrupted(*arguments: Any) -> Iterator[Any]:
        nonlocal count
        for image in original(*arguments):
            if count == after:
                raise KeyboardInterrupt
            count += 1
            yield image

    monkeypatch.setattr(loading, "decode_images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(data, root, folder)
    assert not [
        path for path in (folder / "data").iterdir() if path.is_dir() and path.name != "index"
    ]
    monkeypatch.setattr(loading, "decode_images", original)
    found = load(data, root, folder)
    assert found.digest == digest.digest_content(
        digest.digest_part(found.train), digest.digest_part(found.test)
    )


def test_what_a_killed_process_left_is_cleared(ready: Any, tmp_path: Path) -> None:
    data, root, folder = ready
    script = (
        "import os, sys, pathlib\n"
        "from benchmark.al.datasets import cache, load\n"
        "from benchmark.spec.data import Data\n"
        "cache._save_file = lambda *_: os._exit(9)\n"
        "load(Data.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]), "
        "pathlib.Path(sys.argv[3]))\n"
    )
    killed = _python(script, data.model_dump_json(), str(root), str(folder))
    assert killed.returncode == 9
    (left,) = (folder / "data").glob(".*.partial")
    assert (left / "train.npy").stat().st_size > 100_000
    found = load(data, root, folder)
    assert not left.exists() and _same(found, load(data, root, tmp_path / "fresh"))


def _python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    project = Path(__file__).parents[3]
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_processes_that_start_together_decode_once(ready: Any, reads: list[int]) -> None:
    data, root, folder = ready
    found: list[Dataset] = []
    threads = [
        threading.Thread(target=lambda: found.append(load(data, root, folder))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(found) == 6 and all(_same(found[0], other) for other in found) and reads == [1]


def test_a_cache_that_cannot_be_written(ready: Any, tmp_path: Path) -> None:
    data, root, _ = ready
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="the cache cannot be written") as caught:
        load(data, root, tmp_path / "file")
    assert "another folder" in caught.value.remedy


def test_a_full_disk_is_a_data_error_and_leaves_nothing(
    ready: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root, folder = ready

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_save_file", full)
    with pytest.raises(DataError, match="No space left on device"):
        load(data, root, folder)
    assert not list((folder / "data").glob(".*.partial"))


def test_a_read_only_cache_serves_what_it_has(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data, root, folder = ready
    first = load(data, root, folder)
    os.utime(_entry(folder) / "train.npy")

    def refuse(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(cache, "_write_sealed", refuse)
    assert _same(load(data, root, folder), first)


def test_a_warm_start_imports_nothing_heavy(ready: Any) -> None:
    data, root, folder = ready
    load(data, root, folder)
    script = (
        "import json, sys, pathlib\n"
        "from benchmark.al.datasets import describe, load\n"
        "from benchmark.spec.data import Data\n"
        "arguments = Data.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]), "
        "pathlib.Path(sys.argv[3])\n"
        "found, status = load(*arguments), describe(*arguments)\n"
        "assert found.digest == status.digest and len(found.train) == 100\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = _python(script, data.model_dump_json(), str(root), str(folder))
    assert done.returncode == 0, done.stderr
    heavy = {
        "torch",
        "torchvision",
        "PIL",
        "scipy",
        "sklearn",
        "matplotlib",
        "mlflow",
        "click",
        "docker",
        "ray",
    }
    assert not heavy & set(json.loads(done.stdout))
