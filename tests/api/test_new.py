"""`albench new suite`: what it measures of a folder, what it proposes, and that check, plan and a
trial take it as it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
