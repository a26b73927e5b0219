"""CIFAR in its official layout."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.al.datasets import describe, load
from benchmark.al.datasets.cifar import CIFAR10, CIFAR100
from benchmark.errors import DataError


def _folder(root: Path) -> Path:
    return root / "cifar-10-batches-py"


def test_images_labels_names(spec: Any, places: Any, cifar10: Any) -> None:
    root, cache = places
    made = cifar10(root)
    found = load(spec("cifar10", 100, 30, 10), root, cache)
    assert found.train.pixels.shape == (100, 32, 32, 3) and found.train.pixels.dtype == np.uint8
    assert (
        found.train.sizes is None
        and found.train.channels == 3
        and not found.train.pixels.flags.writeable
    )
    rows, labels = made["data_batch_3"]
    for row, column, channel in ((0, 0, 0), (5, 9, 1), (31, 30, 2)):
        assert (
            found.train.pixels[40 + 7, row, column, channel]
            == rows[7, channel * 1024 + row * 32 + column]
        )
    assert found.train.labels[40:60].tolist() == labels
    assert found.test.labels.tolist() == made["test_batch"][1]
    assert found.class_names[0] == "airplane" and len(found.class_names) == 10
    assert not found.canonical and "data_batch_1" in found.canonical_note


def test_as_torchvision_reads_it(
    spec: Any, places: Any, monkeypatch: pytest.MonkeyPatch, rng: Any
) -> None:
    from torchvision import datasets

    root, cache = places
    folder = root / "cifar-100-python"
    folder.mkdir()
    for name, count in (("train", 200), ("test", 100)):
        body = {
            "data": rng.integers(0, 256, (count, 3072), dtype=np.uint8),
            "fine_labels": rng.permutation(count).astype(int).tolist()
            if count == 100
            else [place % 100 for place in range(200)],
            "coarse_labels": [0] * count,
            "filenames": ["x.png"] * count,
        }
        (folder / name).write_bytes(pickle.dumps(body, protocol=2))
    names = [f"class {place}" for place in range(100)]
    (folder / "meta").write_bytes(
        pickle.dumps({"fine_label_names": names, "coarse_label_names": ["x"]})
    )
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    found = load(spec("cifar100", 200, 100, 100), root, cache)
    for part, train in ((found.train, True), (found.test, False)):
        oracle = datasets.CIFAR100(str(root), train=train)
        assert np.array_equal(part.pixels, oracle.data) and part.labels.tolist() == oracle.targets
    assert list(found.class_names) == oracle.classes


def test_published_checksums_are_torchvisions() -> None:
    from torchvision import datasets

    for ours, theirs in ((CIFAR10, datasets.CIFAR10), (CIFAR100, datasets.CIFAR100)):
        assert [[file.name, file.md5] for file in ours.train] == theirs.train_list
        assert [[file.name, file.md5] for file in ours.test] == theirs.test_list
        assert (ours.meta.name, ours.meta.md5) == (theirs.meta["filename"], theirs.meta["md5"])
        download = ours.origin.downloads[0]
        assert (download.file.name, download.file.md5, download.urls) == (
            theirs.filename,
            theirs.tgz_md5,
            (theirs.url,),
        )
        assert ours.origin.place == theirs.base_folder


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
def test_a_missing_file_is_named_with_its_remedy(
    spec: Any, places: Any, cifar10: Any, name: str
) -> None:
    root, cache = places
    cifar10(root)
    (_folder(root) / name).unlink()
    with pytest.raises(DataError, match=f"cifar-10-batches-py/{name} is missing") as caught:
        load(spec("cifar10", 100, 30, 10), root, cache)
    for part in (
        "albench fetch cifar10",
        "170,498,071 bytes",
        "c58f30108f718f92721af3b95e74349a",
        "cs.toronto.edu",
    ):
        assert part in caught.value.remedy


def test_a_missing_root_says_so(spec: Any, tmp_path: Path) -> None:
    data = spec("cifar10", 100, 30, 10)
    with pytest.raises(DataError, match="the data root does not exist"):
        load(data, tmp_path / "nowhere", tmp_path / "cache")
    status = describe(data, tmp_path / "nowhere", tmp_path / "cache")
    assert (status.present, status.digest, status.canonical) == (False, None, False)
    assert "the data root does not exist" in status.note and not (tmp_path / "cache").exists()


def test_a_truncated_file_is_one_data_error(spec: Any, places: Any, cifar10: Any) -> None:
    root, cache = places
    cifar10(root)
    path = _folder(root) / "data_batch_4"
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match="cifar10 is damaged") as caught:
        load(spec("cifar10", 100, 30, 10), root, cache)
    for part in (
        f"{path.stat().st_size:,} bytes",
        "31,035,696 bytes",
        "634d18415352ddfa80567beed471001a",
    ):
        assert part in caught.value.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"data": np.zeros((20, 3071), np.uint8), "labels": [0] * 20}, "shape"),
        ({"data": np.zeros((20, 3072), np.float32), "labels": [0] * 20}, "not a table of bytes"),
        ({"data": [1, 2], "labels": [0] * 20}, "not a table of bytes"),
        ({"data": np.zeros((20, 3072), np.uint8), "labels": [0] * 19}, "shape"),
        ({"data": np.zeros((20, 3072), np.uint8), "labels": [10] * 20}, "outside 0..9"),
        ({"data": np.zeros((20, 3072), np.uint8), "labels": [-1] * 20}, "outside 0..9"),
        ({"data": np.zeros((20, 3072), np.uint8), "labels": ["cat"] * 20}, "not numbers"),
        ({"data": np.zeros((20, 3072), np.uint8)}, "not numbers"),
    ],
)
def test_wrong_content_is_one_data_error(
    spec: Any, places: Any, cifar10: Any, body: dict[str, Any], message: str
) -> None:
    root, cache = places
    cifar10(root)
    (_folder(root) / "data_batch_1").write_bytes(pickle.dumps(body))
    with pytest.raises(DataError, match=message):
        load(spec("cifar10", 100, 30, 10), root, cache)


def test_flipped_bits_change_the_digest_or_are_one_data_error(
    spec: Any, places: Any, cifar10: Any, rng: Any
) -> None:
    root, cache = places
    rows = cifar10(root)["data_batch_1"][0].tobytes()
    data = spec("cifar10", 100, 30, 10)
    digest = load(data, root, cache).digest
    path = _folder(root) / "data_batch_1"
    content = path.read_bytes()
    start = content.index(rows)
    pixels = {
        start,
        start + len(rows) - 1,
        *(start + int(place) for place in rng.integers(0, len(rows), 5)),
    }
    around = {*range(0, start, 7), *range(start + len(rows), len(content), 7)}
    for place in pixels | around:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            changed = load(data, root, cache)
        except DataError:
            assert place in around
        else:
            assert place in around or changed.digest != digest
    path.write_bytes(content)
    assert load(data, root, cache).digest == digest


def test_the_digest_is_of_content_not_of_packing(
    spec: Any, places: Any, cifar10: Any, tmp_path: Path
) -> None:
    root, cache = places
    cifar10(root)
    data = spec("cifar10", 100, 30, 10)
    digest = load(data, root, cache).digest
    for path in _folder(root).iterdir():
        path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes()), protocol=2))
    assert load(data, root, tmp_path / "other").digest == digest
