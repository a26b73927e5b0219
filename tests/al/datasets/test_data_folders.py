"""Data sets of JPEG files: Caltech-101, Caltech-256, Tiny ImageNet, and class folders."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.al.datasets import load
from benchmark.al.datasets.caltech import CALTECH101, CALTECH256
from benchmark.al.datasets.source import File
from benchmark.errors import DataError

SQUARE = [{"op": "resize", "size": [16, 16]}]


def _rgb(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


# ------------------------------------------------------------------------------------------ caltech


def _caltech256(root: Path, jpeg: Any) -> Path:
    """Three classes and clutter, 10 images each of different sizes; the strays of the published
    archive too."""
    folder = root / "caltech256" / "256_ObjectCategories"
    for place, name in enumerate(("001.ak47", "056.dog", "198.spider", "257.clutter")):
        for number in range(1, 11):
            mode = "L" if number == 3 else "RGB"
            jpeg(folder / name / f"{name[:3]}_{number:04d}.jpg", 20 + number, 40 - 3 * place, mode)
    (folder / "198.spider" / "RENAME2").write_text("mv")
    (folder / "056.dog" / "greg").mkdir()
    (folder / "001.ak47" / "._001_0001.jpg").write_bytes(b"\0\5\x16\7")
    return folder


def test_caltech256_keeps_sizes_where_they_differ(
    spec: Any, per_class: Any, places: Any, jpeg: Any
) -> None:
    from torchvision import transforms

    root, cache = places
    folder = _caltech256(root, jpeg)
    data = spec(
        "caltech256",
        24,
        6,
        3,
        split=per_class(0.8, "floor", "by_name"),
        decode=[{"op": "resize", "shorter": 12}],
    )
    found = load(data, root, cache)
    assert found.class_names == ("001.ak47", "056.dog", "198.spider")
    paths = sorted(folder.glob("0*/*_*.jpg")) + sorted(folder.glob("198*/*.jpg"))
    paths = [path for path in paths if not path.name.startswith(".")]
    expected = [np.asarray(transforms.Resize(12)(_rgb(path))) for path in paths]
    seen = []
    for part in (found.train, found.test):
        assert part.sizes is not None and part.offsets is not None and part.pixels.ndim == 1
        assert np.bincount(part.labels).tolist() == [len(part) // 3] * 3
        assert part.sizes.min() == 12 and len(part.pixels) == int(
            (part.sizes.prod(axis=1) * 3).sum()
        )
        for index, label in enumerate(part.labels):
            matches = [
                place
                for place, image in enumerate(expected)
                if np.array_equal(image, part.image(index))
            ]
            assert len(matches) == 1 and matches[0] // 10 == label
            seen += matches
    assert sorted(seen) == list(range(30)), "every image is in exactly one part"


def test_caltech256_decodes_as_torchvision(
    spec: Any, per_class: Any, places: Any, jpeg: Any
) -> None:
    from torchvision import datasets

    root, cache = places
    folder = root / "caltech256" / "256_ObjectCategories"
    for place, name in enumerate(
        ("001.ak47", "002.american-flag", "003.backpack", "004.baseball-bat"), 1
    ):
        for number in range(1, 11):
            jpeg(
                folder / name / f"{place:03d}_{number:04d}.jpg",
                20 + number,
                40 - place,
                "L" if number == 3 else "RGB",
            )
    oracle = datasets.Caltech256(str(root))
    found = load(spec("caltech256", 20, 20, 4, split=per_class(0.5), decode=SQUARE), root, cache)
    pairs = {}
    for part in (found.train, found.test):
        pairs |= {
            part.pixels[place].tobytes(): int(part.labels[place]) for place in range(len(part))
        }
    for image, label in (oracle[place] for place in range(len(oracle))):
        resized = image.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR)
        assert pairs.pop(np.asarray(resized).tobytes()) == label
    assert not pairs


def test_equal_sizes_after_decoding_are_one_array(
    spec: Any, per_class: Any, places: Any, jpeg: Any
) -> None:
    root, cache = places
    _caltech256(root, jpeg)
    decode = [{"op": "resize", "shorter": 14}, {"op": "center_crop", "size": 12}]
    found = load(spec("caltech256", 20, 20, 4, split=per_class(0.5), decode=decode), root, cache)
    assert found.train.pixels.shape == (20, 12, 12, 3) and found.train.sizes is None


def test_what_counts_as_the_published_caltech() -> None:
    """8,677 and 29,780 object images, with or without background; nothing else."""
    for kind, clutter in ((CALTECH101, "BACKGROUND_Google"), (CALTECH256, "257.clutter")):
        sizes = [kind.images // kind.classes] * kind.classes
        sizes[0] += kind.images - sum(sizes)
        files = [
            File("", f"c{place:03d}/{n}.jpg", 1, 0, 0)
            for place, size in enumerate(sizes)
            for n in range(size)
        ]
        background = [File("", f"{clutter}/{n}.jpg", 1, 0, 0) for n in range(5)]
        assert kind.differs(files) == kind.differs(files + background) == ""
        assert f"{kind.images - 1:,} images in {kind.classes} object classes" in kind.differs(
            files[1:]
        )
        assert kind.differs([*files, File("", "new/0.jpg", 1, 0, 0)]) != ""


def test_archives_are_torchvisions() -> None:
    from torchvision import datasets

    for ours, theirs in ((CALTECH101, datasets.Caltech101), (CALTECH256, datasets.Caltech256)):
        source = inspect.getsource(theirs)
        assert (
            ours.origin.downloads[0].urls[0] in source
            and ours.origin.downloads[0].file.md5 in source
        )


def test_a_subset_is_refused_with_both_numbers(
    spec: Any, per_class: Any, places: Any, jpeg: Any
) -> None:
    root, cache = places
    _caltech256(root, jpeg)
    with pytest.raises(
        DataError,
        match=r"3 classes where the suite pins 256, 27 images in the pool where .* 24,660",
    ):
        load(
            spec("caltech256", 24_660, 5_119, 256, split=per_class(drop="by_name"), decode=SQUARE),
            root,
            cache,
        )


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_image_is_named(
    spec: Any, per_class: Any, places: Any, jpeg: Any, damage: str
) -> None:
    root, cache = places
    path = _caltech256(root, jpeg) / "056.dog" / "056_0004.jpg"
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "text": b"<html>", "empty": b""}[damage])
    with pytest.raises(DataError, match=r"056.dog/056_0004.jpg is not an image") as caught:
        load(spec("caltech256", 20, 20, 4, split=per_class(0.5), decode=SQUARE), root, cache)
    assert caught.value.where == str(path)


def test_a_missing_or_empty_folder_is_named(spec: Any, per_class: Any, places: Any) -> None:
    root, cache = places
    data = spec("caltech101", 7_766, 911, 101, split=per_class())
    with pytest.raises(DataError, match="caltech101/101_ObjectCategories is missing"):
        load(data, root, cache)
    (root / "caltech101" / "101_ObjectCategories" / "accordion").mkdir(parents=True)
    with pytest.raises(
        DataError, match="every image in caltech101/101_ObjectCategories is missing"
    ):
        load(data, root, cache)


# ------------------------------------------------------------------------------------ tiny imagenet


def _tiny(root: Path, jpeg: Any) -> Path:
    folder = root / "tiny-imagenet-200"
    wnids = ["n02", "n01", "n03"]
    for wnid in wnids:
        for number in (0, 1, 10, 2):
            mode = "L" if number == 1 else "RGB"
            jpeg(folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", 64, 64, mode)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t9\t9\n")
    lines = []
    for number in range(6):
        jpeg(folder / "val" / "images" / f"val_{number}.JPEG", 64, 64)
        lines.append(f"val_{number}.JPEG\t{wnids[number % 3]}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(wnids))
    (folder / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn99\tnothing\n")
    return folder


def test_tiny_imagenet_train_is_torchvisions_image_folder(
    spec: Any, places: Any, jpeg: Any
) -> None:
    from torchvision import datasets

    root, cache = places
    folder = _tiny(root, jpeg)
    found = load(spec("tiny_imagenet", 12, 6, 3), root, cache)
    oracle = datasets.ImageFolder(str(folder / "train"))
    assert found.train.pixels.shape == (12, 64, 64, 3)
    assert found.train.labels.tolist() == [label for _, label in oracle.samples]
    assert all(
        np.array_equal(found.train.pixels[place], np.asarray(oracle[place][0]))
        for place in range(12)
    )
    assert found.class_names == ("goldfish, Carassius auratus", "n02", "n03")
    assert "12 + 6 images in 3 classes" in found.canonical_note


def test_tiny_imagenet_test_labels_come_from_the_annotations(
    spec: Any, places: Any, jpeg: Any
) -> None:
    root, cache = places
    folder = _tiny(root, jpeg)
    found = load(spec("tiny_imagenet", 12, 6, 3), root, cache)
    assert found.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    for place, number in enumerate((1, 4, 0, 3, 2, 5)):
        assert np.array_equal(
            found.test.pixels[place],
            np.asarray(_rgb(folder / "val" / "images" / f"val_{number}.JPEG")),
        )


def test_what_counts_as_the_published_tiny_imagenet(tmp_path: Path) -> None:
    from benchmark.al.datasets.tiny_imagenet import TINY_IMAGENET

    wnids = [f"n{place:08d}" for place in range(200)]
    (tmp_path / "wnids.txt").write_text("\n".join(wnids))
    val = [f"val_{place}.JPEG" for place in range(10_000)]
    (tmp_path / "a.txt").write_text(
        "".join(f"{name}\t{wnids[place % 200]}\t0\n" for place, name in enumerate(val))
    )
    files = [File(str(tmp_path / "wnids.txt"), "wnids.txt", 1, 0, 0)]
    files += [File(str(tmp_path / "a.txt"), "val/val_annotations.txt", 1, 0, 0)]
    files += [File("", f"val/images/{name}", 1, 0, 0) for name in val]
    files += [
        File("", f"train/{wnid}/images/{wnid}_{n}.JPEG", 1, 0, 0)
        for wnid in wnids
        for n in range(500)
    ]
    assert TINY_IMAGENET.differs(files) == ""
    assert "99,999 + 10,000 images in 200 classes" in TINY_IMAGENET.differs(files[:-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("wnids.txt", r"tiny-imagenet-200/wnids.txt is missing"),
        ("val/val_annotations.txt", r"val_annotations.txt is missing"),
        ("val/images/val_3.JPEG", r"it names 'val_3.JPEG', which is not there"),
        ("blank", r"its line 3 is blank"),
        ("unlisted", r"it does not name val/images/val_9.JPEG"),
        ("stranger", r"its class n77 is not in wnids.txt"),
        ("train", r"every image in tiny-imagenet-200/train/ is missing"),
    ],
)
def test_tiny_imagenet_that_does_not_fit_is_refused(
    spec: Any, places: Any, jpeg: Any, change: str, message: str
) -> None:
    root, cache = places
    folder = _tiny(root, jpeg)
    if change == "blank":
        annotations = folder / "val" / "val_annotations.txt"
        lines = annotations.read_text().splitlines()
        annotations.write_text("\n".join([*lines[:2], "", *lines[2:]]) + "\n")
    elif change == "unlisted":
        jpeg(folder / "val" / "images" / "val_9.JPEG", 64, 64)
    elif change == "stranger":
        jpeg(folder / "train" / "n77" / "images" / "n77_0.JPEG", 64, 64)
    elif change == "train":
        (folder / "train").rename(folder / "other")
    else:
        (folder / change).unlink()
    with pytest.raises(DataError, match=message):
        load(spec("tiny_imagenet", 12, 6, 3), root, cache)


# ------------------------------------------------------------------------------------ class folders


def _folders(root: Path, jpeg: Any, name: str = "mine", classes: int = 11) -> Path:
    for part, count in (("train", 3), ("test", 2)):
        for label in range(classes):
            for number in range(count):
                jpeg(root / name / part / str(label) / f"cat_{number}.jpg", 32, 32)
    return root / name


def test_class_folders_are_numbered_not_sorted_as_text(spec: Any, places: Any, jpeg: Any) -> None:
    root, cache = places
    folder = _folders(root, jpeg)
    found = load(spec("mine", 33, 22, 11, layout="class_folders"), root, cache)
    assert found.train.labels.tolist() == [label for label in range(11) for _ in range(3)]
    assert np.array_equal(
        found.train.pixels[31], np.asarray(_rgb(folder / "train" / "10" / "cat_1.jpg"))
    )
    assert np.array_equal(
        found.test.pixels[5], np.asarray(_rgb(folder / "test" / "2" / "cat_1.jpg"))
    )
    assert (
        found.class_names[10] == "10"
        and not found.canonical
        and "class folders" in found.canonical_note
    )


def test_class_folders_of_a_known_name(spec: Any, places: Any, jpeg: Any, cifar10: Any) -> None:
    """The layout decides, not the name."""
    root, cache = places
    cifar10(root)
    _folders(root, jpeg, "cifar10", 10)
    assert len(load(spec("cifar10", 30, 20, 10, layout="class_folders"), root, cache).train) == 30
    assert len(load(spec("cifar10", 100, 30, 10), root, cache).train) == 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train/4>train/11", r"numbers up to 11 but no 4"),
        ("train/4>train/dog", r"'dog' is not a class number"),
        ("test>tset", r"mine/test is missing"),
    ],
)
def test_class_folders_that_do_not_fit_are_refused(
    spec: Any, places: Any, jpeg: Any, change: str, message: str
) -> None:
    root, cache = places
    folder = _folders(root, jpeg)
    old, new = change.split(">")
    (folder / old).rename(folder / new)
    if old == "train/4":
        for image in (folder / "test" / "4").iterdir():
            image.unlink()
    with pytest.raises(DataError, match=message):
        load(spec("mine", 33, 22, 11, layout="class_folders"), root, cache)


@pytest.mark.parametrize(
    ("part", "height", "width"), [("train", 64, 64), ("test", 28, 28), ("test", 32, 40)]
)
def test_class_folders_of_another_size_are_refused_unless_decoding_resizes(
    spec: Any, places: Any, jpeg: Any, part: str, height: int, width: int
) -> None:
    """CIFAR-10 is 32 pixels: a crop would make others fit while training and leave the test images
    as they are."""
    root, cache = places
    folder = _folders(root, jpeg, "cifar10", 10)
    jpeg(folder / part / "3" / "cat_1.jpg", height, width)
    message = rf"{part}/3/cat_1.jpg has {height} x {width} pixels instead of 32 x 32"
    with pytest.raises(DataError, match=message) as caught:
        load(spec("cifar10", 30, 20, 10, layout="class_folders"), root, cache)
    assert "size = [32, 32]" in caught.value.remedy
    resized = spec(
        "cifar10", 30, 20, 10, layout="class_folders", decode=[{"op": "resize", "size": [32, 32]}]
    )
    assert load(resized, root, cache).train.pixels.shape == (30, 32, 32, 3)


def test_an_unknown_name_lists_the_known_ones(spec: Any, places: Any) -> None:
    root, cache = places
    with pytest.raises(DataError, match="no data set 'mine'") as caught:
        load(spec("mine", 33, 22, 11), root, cache)
    assert "cifar10, cifar100, svhn" in caught.value.remedy
