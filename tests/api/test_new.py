"""`albench new suite`: what it measures of a folder, what it proposes, and that check, plan and a
trial take it as it is."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from benchmark.al import datasets
from benchmark.api.check import check
from benchmark.api.new import proposed_budget, write_suite
from benchmark.api.plan import PlanOptions, plan
from benchmark.api.workspace import Workspace
from benchmark.cli import invoke
from benchmark.errors import DataError, UsageError
from benchmark.spec.load import find_suite

RED, BLUE = (200, 0, 0), (0, 0, 100)


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (12, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def divided(tmp_path: Path) -> Workspace:
    """data/flowers: 2 classes, 30 red and 10 blue images in the pool, 6 to test; 12 pixels."""
    for part, red, blue in (("train", 30, 10), ("test", 3, 3)):
        for name, count, colour in (("rose", red, RED), ("iris", blue, BLUE)):
            for number in range(count):
                picture(tmp_path / "data" / "flowers" / part / name / f"{number:02d}.png", colour)
    return Workspace(tmp_path / "suites", tmp_path / "runs", tmp_path / "data")


@pytest.fixture
def undivided(tmp_path: Path) -> Workspace:
    """As Caltech-101: data/things with three classes and clutter, ten images each, of different
    sizes."""
    for place, name in enumerate(("ant", "BACKGROUND_Google", "bass", "chair")):
        for number in range(10):
            picture(
                tmp_path / "data" / "things" / name / f"{number}.png",
                (10 * place, number, 0),
                (40 + number, 30),
            )
    return Workspace(tmp_path / "suites", tmp_path / "runs", tmp_path / "data")


def test_sizes_classes_means_and_digest_are_measured(divided: Workspace) -> None:
    made = write_suite(divided.data / "flowers", divided)
    suite = find_suite("own/flowers", divided.suites).suite
    data, views = suite.protocol.data, suite.protocol.views
    assert (data.train_size, data.test_size, data.classes, data.split.rule) == (
        40,
        6,
        2,
        "official",
    )
    assert data.decode == () and made.survey.side == 12
    normalise = views.test[0]
    assert normalise.op == "normalise"
    pixels = np.array([[200, 0, 0]] * 30 + [[0, 0, 100]] * 10) / 255
    assert normalise.mean == tuple(pixels.mean(axis=0).round(4))
    assert normalise.std == (pixels.std(axis=0).round(4)[0], 1e-4, pixels.std(axis=0).round(4)[2])
    names = sorted(
        (path.relative_to(divided.data / "flowers") for path in divided.data.rglob("*.png")),
        key=order,
    )
    total = hashlib.sha256()
    for name in names:
        content = hashlib.sha256((divided.data / "flowers" / name).read_bytes()).hexdigest()
        total.update(f"{name.as_posix()}\0{content}\n".encode())
    assert data.files == total.hexdigest()
    assert suite.protocol.models[0].name == "small_cnn", (
        "a network for 32 pixels would leave nothing of 12"
    )


def order(path: Path) -> tuple[bool, str]:
    """The pool before the test set, and then by class and name."""
    return path.parts[0] == "test", path.as_posix()


def test_an_undivided_folder_is_divided_and_made_square(undivided: Workspace) -> None:
    write_suite(undivided.data / "things", undivided, name="other", side=16)
    suite = find_suite("own/other", undivided.suites).suite
    data = suite.protocol.data
    assert (data.train_size, data.test_size, data.classes) == (24, 6, 3), (
        "eight of ten, without the clutter"
    )
    assert data.split.drop == "by_name"
    found = datasets.load(data, undivided.data, undivided.cache)
    assert found.train.pixels.shape == (24, 16, 16, 3) and found.class_names == (
        "ant",
        "bass",
        "chair",
    )
    assert found.canonical, "the files are those that the suite pins"
    assert {"protocol.acquisition", "protocol.data.split"} <= set(suite.unknowns)
    assert all("proposed" in reason for reason in suite.unknowns.values())


def test_files_that_changed_are_not_those_that_the_suite_pins(undivided: Workspace) -> None:
    write_suite(undivided.data / "things", undivided, side=16)
    data = find_suite("own/things", undivided.suites).suite.protocol.data
    picture(undivided.data / "things" / "ant" / "3.png", (255, 255, 255))
    found = datasets.load(data, undivided.data, undivided.cache)
    assert not found.canonical and "the suite pins" in found.canonical_note


def test_files_below_the_data_root_by_the_name_of_a_library(divided: Workspace) -> None:
    """What `huggingface:NAME` is: grey squares of 12 pixels, in a parquet file for each part."""
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    for part, count in (("train", 40), ("test", 6)):
        rows = []
        for number in range(count):
            out = io.BytesIO()
            Image.new("L", (12, 12), 51 * (number % 2)).save(out, "PNG")
            rows.append({"bytes": out.getvalue(), "path": None})
        table = {"image": pyarrow.array(rows, kind), "label": [k % 2 for k in range(count)]}
        path = divided.data / "some-one" / "squares" / f"{part}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.table(table), path)
    made = write_suite("huggingface:some-one/squares", divided)
    assert made.id == "own/some-one-squares" and made.survey.side == 12
    protocol = find_suite(made.id, divided.suites).suite.protocol
    data, normalise = protocol.data, protocol.views.test[0]
    assert data.name == "huggingface:some-one/squares" and data.layout == "official"
    assert (data.train_size, data.test_size, data.classes) == (40, 6, 2)
    assert normalise.op == "normalise" and normalise.mean == normalise.std == (0.1,) * 3
    assert datasets.load(data, divided.data, divided.cache).canonical
    with pytest.raises(DataError, match="gtsrb is missing"):
        write_suite("torchvision:GTSRB", divided)
    assert made.commands[0] == f"albench check own/some-one-squares --data {divided.data}"


def test_grey_images_of_torchvision_keep_their_one_channel(divided: Workspace) -> None:
    folder = divided.data / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 40), ("t10k", 10)):
        head = bytes([0, 0, 8, 3]) + b"".join(k.to_bytes(4, "big") for k in (count, 28, 28))
        pixels = np.repeat(np.arange(count) % 2 * 255, 28 * 28).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        head = bytes([0, 0, 8, 1]) + count.to_bytes(4, "big")
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            head + bytes([*range(10)] * (count // 10))
        )
    made = write_suite("torchvision:FashionMNIST", divided)
    protocol = find_suite("own/fashionmnist", divided.suites).suite.protocol
    (normalise,) = protocol.views.test
    assert normalise.op == "normalise" and (normalise.mean, normalise.std) == ((0.5,), (0.5,))
    assert made.survey.sizes == ((28, 28),) and protocol.data.decode == ()
    assert datasets.load(protocol.data, divided.data, divided.cache).canonical


@pytest.mark.slow
def test_it_passes_check_and_is_planned_at_once(divided: Workspace) -> None:
    write_suite(divided.data / "flowers", divided)
    assert all(result.is_good for result in check("own/flowers", divided)), check(
        "own/flowers", divided
    )
    for selector in ("own/flowers", "own/flowers/random@0"):
        planned = plan(selector, divided, PlanOptions(device="cpu"))
        assert planned.trials and planned.count("new") == len(planned.trials)


@pytest.mark.slow
def test_a_trial_runs_and_is_measured(
    divided: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red against blue: whatever learns at all is right after three cycles."""
    places = [f"--{name}={getattr(divided, name)}" for name in ("suites", "runs", "data")]
    assert invoke(["new", "suite", str(divided.data / "flowers"), *places]) == 0
    said = capsys.readouterr().out
    assert "40 images in the pool, 6 to test, 2 classes, squares of 12 pixels" in said
    assert "albench run own/flowers --profile smoke" in said
    run = ["own/flowers/random", "--profile", "smoke", *places]
    assert invoke(["run", *run, "--device", "cpu", "--no-tracking", "-q"]) == 0
    assert invoke(["compare", *run]) == 0
    assert "100.00" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("pool", "classes", "budget"),
    [(50_000, 10, 2000), (40, 2, 4), (24, 3, 2), (7_766, 101, 310), (1_000, 101, 124)],
)
def test_proposed_budgets(pool: int, classes: int, budget: int) -> None:
    """4 % of 50,000 are 2,000 and of 7,766 are 310.64; 4 of 40 are twice two classes; an eighth of
    24 is 3 and of 1,000 is 125."""
    assert proposed_budget(pool, classes) == budget


def test_what_is_refused(divided: Workspace, tmp_path: Path) -> None:
    write_suite(divided.data / "flowers", divided)
    with pytest.raises(UsageError, match="already a suite"):
        write_suite(divided.data / "flowers", divided)
    with pytest.raises(UsageError, match="no folder"):
        write_suite(tmp_path / "nothing", divided)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="every image in empty is missing"):
        write_suite(tmp_path / "empty", divided)
    picture(tmp_path / "one" / "class" / "a.png", RED)
    with pytest.raises(DataError, match="1 class"):
        write_suite(tmp_path / "one", divided)
    broken = divided.data / "flowers" / "train" / "rose" / "05.png"
    broken.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train/rose/05.png is not an image"):
        write_suite(divided.data / "flowers", divided, name="again")


def test_an_empty_folder_gets_suites_of_its_own(
    divided: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never into the suites of an installed package."""
    monkeypatch.chdir(tmp_path)
    made = write_suite("data/flowers", Workspace())
    assert [path.as_posix() for path in made.written] == [
        "suites/own/flowers.toml",
        "suites/own/_recipe.toml",
        "suites/schema.json",
    ]
