"""Data sets of torchvision and in Hugging Face files by name: as torchvision itself and as Pillow
read them."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from benchmark.al.datasets import describe, fetch, load
from benchmark.al.datasets.catalogue import official_format
from benchmark.al.datasets.digest import digest_files
from benchmark.al.datasets.torchvision_sets import BUILT_IN, LAYOUTS, read_labels
from benchmark.al.registry import DATASETS
from benchmark.errors import DataError
from benchmark.spec.data import Data

# ------------------------------------------------------------------------------------- torchvision


def _fashion(root: Path, idx: Any, rng: np.random.Generator) -> Path:
    folder = root / "FashionMNIST" / "raw"
    for part, count in (("train", 20), ("t10k", 10)):
        idx(folder / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28)))
        idx(folder / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    return folder


def _dtd(root: Path, jpeg: Any) -> Path:
    folder = root / "dtd" / "dtd"
    listed: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for kind in ("banded", "dotted", "woven"):
        for number, part in enumerate(("train", "train", "val", "test")):
            jpeg(folder / "images" / kind / f"{kind}_{number}.jpg", 20 + number, 30)
            listed[part].append(f"{kind}/{kind}_{number}.jpg")
    (folder / "labels").mkdir()
    for part, names in listed.items():
        (folder / "labels" / f"{part}1.txt").write_text("\n".join(names))
    return folder


@pytest.mark.parametrize("name", LAYOUTS)
def test_places_and_parts_are_torchvisions(name: str) -> None:
    from torchvision import datasets

    layout, cls = LAYOUTS[name], getattr(datasets, name)
    words = set(inspect.signature(cls).parameters)
    for asked in (layout.train, layout.test or {}):
        assert set(asked) <= words
    assert (layout.test is None) == (not words & {"train", "split"})
    source = inspect.getsource(sys.modules[cls.__module__])
    first = layout.place.partition("/")[0]
    # DTD and FashionMNIST name their folders after the class, Imagenette after its archive.
    assert f'"{first}"' in source or f"/{first}.t" in source or first in (name, name.lower())


def test_what_this_project_reads_itself_is_pointed_at(spec: Any, places: Any) -> None:
    root, cache = places
    assert set(BUILT_IN.values()) <= set(DATASETS)
    with pytest.raises(DataError, match="torchvision:CIFAR10 is 'cifar10' here") as caught:
        load(spec("torchvision:CIFAR10", 1, 1, 10), root, cache)
    assert "data.name = 'cifar10'" in caught.value.remedy


def test_a_name_that_is_not_offered_gets_the_nearest(spec: Any, places: Any) -> None:
    root, cache = places
    with pytest.raises(DataError, match="torchvision:FashionMnist is not among") as caught:
        load(spec("torchvision:FashionMnist", 1, 1, 10), root, cache)
    assert "FashionMNIST" in caught.value.remedy and "add-a-data-set.md" in caught.value.remedy


def test_fashion_mnist_is_torchvisions(spec: Any, places: Any, idx: Any, rng: Any) -> None:
    from torchvision import datasets

    root, cache = places
    _fashion(root, idx, rng)
    data = spec("torchvision:FashionMNIST", 20, 10, 10)
    found = load(data, root, cache)
    assert official_format(data.name).channels == 1 and found.train.pixels.shape == (20, 28, 28, 1)
    for part, train in ((found.train, True), (found.test, False)):
        oracle = datasets.FashionMNIST(str(root), train=train)
        for place, (image, label) in enumerate(oracle):
            assert np.array_equal(part.image(place)[..., 0], np.asarray(image))
            assert part.labels[place] == label
    assert found.class_names[:2] == ("T-shirt/top", "Trouser")


def test_images_in_files_of_torchvision(spec: Any, places: Any, jpeg: Any) -> None:
    """DTD: labels that torchvision keeps to itself, sizes that differ, and `val` left aside."""
    from torchvision import datasets

    root, cache = places
    _dtd(root, jpeg)
    found = load(spec("torchvision:DTD", 6, 3, 3), root, cache)
    oracle = datasets.DTD(str(root), split="train")
    assert [int(label) for label in read_labels(oracle)] == [label for _, label in oracle]
    assert found.class_names == ("banded", "dotted", "woven")
    for place, (image, label) in enumerate(oracle):
        assert np.array_equal(found.train.image(place), np.asarray(image))
        assert found.train.labels[place] == label
    assert found.test.labels.tolist() == [0, 1, 2]


def test_a_data_set_of_torchvision_without_division(
    spec: Any, per_class: Any, places: Any, jpeg: Any
) -> None:
    root, cache = places
    for kind in ("Forest", "River"):
        for number in range(5):
            jpeg(root / "eurosat" / "2750" / kind / f"{kind}_{number}.jpg", 64, 64)
    found = load(spec("torchvision:EuroSAT", 8, 2, 2, split=per_class(0.8)), root, cache)
    assert found.train.pixels.shape == (8, 64, 64, 3) and found.class_names == ("Forest", "River")


def test_files_of_torchvision_count_once_they_are_pinned(
    spec: Any, places: Any, idx: Any, rng: Any
) -> None:
    root, cache = places
    folder = _fashion(root, idx, rng)
    name = "torchvision:FashionMNIST"
    found = load(spec(name, 20, 10, 10), root, cache)
    assert not found.canonical and "pin data.files" in found.canonical_note
    pinned = spec(name, 20, 10, 10, files=digest_files(official_format(name).files(root)))
    assert load(pinned, root, cache).canonical
    # An archive that torchvision left is not part of the data set; other pixels are.
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"")
    assert load(pinned, root, cache).canonical
    idx(folder / "train-images-idx3-ubyte", np.zeros((20, 28, 28)))
    changed = load(pinned, root, cache)
    assert "the suite pins" in changed.canonical_note and changed.digest != found.digest


def test_what_is_missing_of_torchvision_is_said_with_its_place(spec: Any, places: Any) -> None:
    root, cache = places
    status = describe(spec("torchvision:GTSRB", 1, 1, 43), root, cache)
    assert not status.present and "gtsrb is missing" in status.note
    assert f"it belongs at {root / 'gtsrb'}" in status.note
    assert "torchvision.datasets.GTSRB.html" in status.note


def test_files_that_torchvision_refuses(spec: Any, places: Any, idx: Any, rng: Any) -> None:
    root, cache = places
    folder = _fashion(root, idx, rng)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="torchvision does not read its FashionMNIST"):
        load(spec("torchvision:FashionMNIST", 20, 10, 10), root, cache)


# ------------------------------------------------------------------------------------ Hugging Face


def _encoded(rng: np.random.Generator, side: int = 6) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def _table(
    rng: np.random.Generator,
    labels: list[int | None],
    names: list[str] | None = None,
    **more: list[Any],
) -> pyarrow.Table:
    """Images and labels as the package `datasets` writes them; with `names` also its metadata."""
    image = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    columns: Mapping[str, Any] = {
        "image": pyarrow.array([{"bytes": _encoded(rng), "path": None} for _ in labels], image),
        "label": pyarrow.array(labels, pyarrow.int64()),
    } | {name: pyarrow.array(values) for name, values in more.items()}
    made = pyarrow.table(columns)
    if names is None:
        return made
    features = {
        "image": {"_type": "Image"},
        "label": {"names": names, "_type": "ClassLabel"},
    } | {name: {"dtype": "int64", "_type": "Value"} for name in more}
    return made.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def _save(path: Path, table: pyarrow.Table) -> pyarrow.Table:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=3)
    else:
        with pyarrow.ipc.new_stream(str(path), table.schema) as stream:
            stream.write_table(table, max_chunksize=3)
    return table


LAID_OUT = {
    "parquet of the Hub": (
        "data/train-0000{}-of-00002.parquet",
        "data/test-00000-of-00001.parquet",
    ),
    "one configuration": ("plain/train-0000{}-of-00002.parquet", "plain/valid-00000-of-1.parquet"),
    "folders of parts": ("train/{}.parquet", "test/0.parquet"),
    "save_to_disk": ("train/data-0000{}-of-00002.arrow", "test/data-00000-of-00001.arrow"),
}


@pytest.mark.parametrize("layout", LAID_OUT)
@pytest.mark.parametrize("name", ["tiny", "some-one/tiny.set"])
def test_parts_rows_and_names_are_those_of_the_files(
    spec: Any, places: Any, rng: Any, layout: str, name: str
) -> None:
    root, cache = places
    train, test = LAID_OUT[layout]
    names = ["cat", "dog"]
    tables = [_save(root / name / train.format(k), _table(rng, [0, 1, 1, 0], names)) for k in "01"]
    tables.append(_save(root / name / test, _table(rng, [1, 0, 1], names)))
    # What lies beside: a cache of `map`, notes, and a part that is left aside.
    _save(root / name / "train" / "cache-0123.arrow", _table(rng, [0] * 9))
    (root / name / "README.md").write_text("about it")
    found = load(spec(f"huggingface:{name}", 8, 3, 2), root, cache)
    assert found.class_names == ("cat", "dog")
    rows = [row for table in tables for row in table.to_pylist()]
    parts = [(found.train, place) for place in range(8)] + [(found.test, k) for k in range(3)]
    for row, (part, place) in zip(rows, parts, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
        assert np.array_equal(part.image(place), pixels) and part.labels[place] == row["label"]


def test_test_comes_before_validation(spec: Any, places: Any, rng: Any) -> None:
    root, cache = places
    for part, labels in (("train", [0, 1]), ("validation", [0, 0, 0]), ("test", [1, 1, 0, 0])):
        _save(root / "tiny" / f"{part}-0.parquet", _table(rng, labels))
    found = load(spec("huggingface:tiny", 2, 4, 2), root, cache)
    assert found.test.labels.tolist() == [1, 1, 0, 0] and found.class_names == ("0", "1")


@pytest.mark.parametrize("file", ["data-00000-of-00001.arrow", "dataset.arrow", "all.parquet"])
def test_a_folder_without_parts_is_divided_by_the_protocol(
    spec: Any, per_class: Any, places: Any, rng: Any, file: str
) -> None:
    root, cache = places
    _save(root / "tiny" / file, _table(rng, [0, 1] * 5))
    found = load(spec("huggingface:tiny", 8, 2, 2, split=per_class(0.8)), root, cache)
    assert found.train.labels.tolist().count(0) == 4 and len(found.test) == 2


def test_without_metadata_the_column_label_is_taken(spec: Any, places: Any, rng: Any) -> None:
    root, cache = places
    for part in ("train", "test"):
        _save(root / "tiny" / f"{part}.parquet", _table(rng, [0, 1], id=[7, 8]))
    assert load(spec("huggingface:tiny", 2, 2, 2), root, cache).train.labels.tolist() == [0, 1]


def _without(table: pyarrow.Table, column: str) -> pyarrow.Table:
    return table.drop_columns([column])


def _paths_only(table: pyarrow.Table) -> pyarrow.Table:
    image = table.schema.field("image").type
    rows = pyarrow.array([{"bytes": None, "path": "a.png"}] * len(table), image)
    return table.set_column(0, "image", rows)


@pytest.mark.parametrize(
    ("files", "message", "remedy"),
    [
        ({}, r"every parquet or arrow file in tiny is missing", "it belongs at"),
        ({"train.parquet": None}, r"a file cannot be read", "get the data again"),
        (
            {"train.parquet": [lambda table: _without(table, "image")]},
            r"0 columns hold images, of label: int64",
            "one column of images",
        ),
        (
            {"train.parquet": [lambda table: _without(table, "label")]},
            r"0 columns hold labels, of image: struct",
            "integer labels named 'label'",
        ),
        (
            {"train.parquet": [_paths_only]},
            r"image 0 is not in the table, only its path a.png",
            "save_to_disk",
        ),
        ({"train.parquet": [0, -1]}, r"labels in 'label' are -1..0, outside", "get the data again"),
        ({"train.parquet": [0, None]}, r"1 values of 'label' are missing", "get the data again"),
        ({"one.parquet": [0], "test.parquet": [0]}, r"there is no part 'train'", "train-"),
        (
            {"a/train.parquet": [0, 1], "b/train.parquet": [0, 1]},
            r"'train' lies in several places: a/\*.parquet, b/\*.parquet",
            "keep one configuration",
        ),
    ],
)
def test_files_that_cannot_be_used_are_named(
    spec: Any,
    per_class: Any,
    places: Any,
    rng: Any,
    files: dict[str, list[Any] | None],
    message: str,
    remedy: str,
) -> None:
    root, cache = places
    for name, content in files.items():
        path = root / "tiny" / name
        if content is None:
            path.parent.mkdir(parents=True)
            path.write_bytes(b"PAR1 and then something else")
        elif callable(content[0]):
            _save(path, content[0](_table(rng, [0, 1] * 2)))
        else:
            _save(path, _table(rng, content))
    with pytest.raises(DataError, match=message) as caught:
        load(spec("huggingface:tiny", 2, 2, 2, split=per_class(0.5)), root, cache)
    assert remedy in caught.value.remedy and str(root) in str(caught.value)


def test_nothing_is_fetched_and_what_is_there_stays(places: Any, rng: Any) -> None:
    root, _ = places
    with pytest.raises(DataError, match="every parquet or arrow file in tiny is missing") as caught:
        fetch("huggingface:tiny", root, lambda *_: None)
    assert f"it belongs at {root / 'tiny'}" in caught.value.remedy
    _save(root / "tiny" / "train.parquet", _table(rng, [0, 1]))
    before = sorted(root.rglob("*"))
    fetch("huggingface:tiny", root, lambda *_: None)
    assert sorted(root.rglob("*")) == before


def test_the_cache_needs_no_pyarrow(
    spec: Any, places: Any, rng: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container has no pyarrow: it takes what planning has put into the cache."""
    root, cache = places
    for part in ("train", "test"):
        _save(root / "tiny" / f"{part}.parquet", _table(rng, [0, 1]))
    data = spec("huggingface:tiny", 2, 2, 2)
    first = load(data, root, cache)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError):
        importlib.import_module("pyarrow")
    assert load(data, root, cache).digest == first.digest
    with pytest.raises(DataError, match="pyarrow is missing") as caught:
        load(data, root, cache.with_name("other"))
    assert "install pyarrow" in caught.value.remedy


@pytest.mark.parametrize("name", ["tiny", "owner/tiny-set.v2"])
def test_names_of_the_hub_are_names_here(name: str) -> None:
    assert _named(f"huggingface:{name}").name == f"huggingface:{name}"


@pytest.mark.parametrize("name", ["../tiny", "/tmp/tiny", "a/b/c", ".hidden", ""])
def test_paths_are_no_names(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        _named(f"huggingface:{name}")


def _named(name: str) -> Data:
    plain = {"name": name, "train_size": 1, "test_size": 1, "classes": 2}
    return Data.model_validate_json(json.dumps(plain | {"split": {"rule": "official"}}))
