"""A suite over its base: what adds, what replaces, what is dropped, and which file a message
names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.errors import AlbenchError, SuiteError, UsageError
from benchmark.spec.inherit import read_suite, suite_files
from benchmark.spec.load import SuiteFile, find_suite, load_suite
from tests.helpers.runs import SUITE

Make = Callable[..., SuiteFile]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that loads toy/one, which holds the given text, over `_base.toml`: the toy
    suite."""
    (tmp_path / "toy").mkdir()

    def load(own: str, base: str = SUITE) -> SuiteFile:
        (tmp_path / "toy" / "_base.toml").write_text(base)
        (tmp_path / "toy" / "one.toml").write_text(f'base = "_base.toml"\n{own}\n')
        return load_suite(tmp_path / "toy" / "one.toml", tmp_path)

    return load


def where(file: str, text: str, folder: Path) -> str:
    """File and line of the first line that holds the text."""
    path = folder / "toy" / file
    number = next(
        number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line
    )
    return f"{path}:{number}"


def test_nothing_said_is_everything_inherited(make: Make, tmp_path: Path) -> None:
    (tmp_path / "toy" / "whole.toml").write_text(SUITE)
    assert make("").suite == load_suite(tmp_path / "toy" / "whole.toml", tmp_path).suite


def test_a_table_adds_key_by_key(make: Make) -> None:
    suite = make('[protocol.training]\nepochs = 9\n[deviations.Q1]\npinned = "nine"').suite
    assert (suite.protocol.training.epochs, suite.protocol.training.start) == (9, "fresh")
    assert (suite.deviations["Q1"].pinned, suite.deviations["Q1"].topic) == ("nine", "epochs")


def test_an_inline_table_and_a_list_replace(make: Make) -> None:
    suite = make('seeds = [5]\n[methods."random+cod"]\ncost = { scoring = 2 }').suite
    cost = suite.methods["random+cod"].cost
    assert (cost.scoring, cost.unlabelled, suite.seeds) == (2, False, (5,))


def test_set_reaches_into_an_inline_table(make: Make) -> None:
    suite = make('[set]\n"methods.random+cod.objective.params.weight" = 0.5').suite
    assert suite.methods["random+cod"].objective.params["weight"] == 0.5


def test_drop_leaves_out_an_entry_and_its_source(make: Make) -> None:
    base = SUITE + '\n"methods.entropy" = "a paper, page 9"\n'
    suite = make('drop = ["methods.entropy", "deviations.Q1"]', base).suite
    assert list(suite.methods) == ["random", "random+cod"] and not suite.deviations
    assert "methods.entropy" not in suite.sources


def test_a_chain_of_bases(make: Make, tmp_path: Path) -> None:
    make("[protocol.training]\nepochs = 9")
    (tmp_path / "toy" / "two.toml").write_text(
        'base = "one.toml"\ndrop = ["deviations.Q1"]\ntitle = "Two"\n'
    )
    found = load_suite(tmp_path / "toy" / "two.toml", tmp_path)
    assert (
        found.suite.title,
        found.suite.protocol.training.epochs,
        len(found.suite.deviations),
    ) == ("Two", 9, 0)
    assert [file.path.name for file in found.files] == ["two.toml", "one.toml", "_base.toml"]


@pytest.mark.parametrize(
    ("own", "base", "file", "text", "said"),
    [
        (
            "",
            SUITE.replace("epochs = 4", "epochs = 0"),
            "_base.toml",
            "epochs = 0",
            "greater than 0",
        ),
        ("[protocol.training]\nepochs = 0", SUITE, "one.toml", "epochs = 0", "greater than 0"),
        (
            '[set]\n"protocol.training.epochs" = 0',
            SUITE,
            "one.toml",
            "protocol.training.epochs",
            "greater than 0",
        ),
        ('drop = ["protocol.training.epochs"]', SUITE, "one.toml", "drop", "Field required"),
        (
            'title = "x"\ndrop = [\n    "methods.random",\n    "deviations.Q9",\n]',
            SUITE,
            "one.toml",
            "Q9",
            "not in the base",
        ),
        ('drop = "methods.random"', SUITE, "one.toml", "drop", "must list dotted paths"),
        ("set = 3", SUITE, "one.toml", "set", "must be a table"),
        ('[set]\n"protocol.trainin.epochs" = 3', SUITE, "one.toml", "trainin", "names nothing"),
    ],
)
def test_a_message_names_the_file_and_line_that_say_it(
    make: Make, tmp_path: Path, own: str, base: str, file: str, text: str, said: str
) -> None:
    with pytest.raises(AlbenchError, match=said) as caught:
        make(own, base)
    assert caught.value.where.startswith(where(file, text, tmp_path))


def test_a_wrong_drop_is_answered_with_the_nearest(make: Make) -> None:
    with pytest.raises(SuiteError) as caught:
        make('drop = ["methods.entrop"]')
    assert "methods.entropy" in caught.value.remedy


@pytest.mark.parametrize("name", ["one.toml", "absent.toml", "../toy/_base.toml", ""])
def test_a_base_is_another_file_beside(tmp_path: Path, name: str) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "one.toml").write_text(f'title = "x"\nbase = "{name}"\n')
    with pytest.raises(SuiteError, match="beside this one") as caught:
        read_suite(tmp_path / "toy" / "one.toml")
    assert caught.value.where == f"{tmp_path}/toy/one.toml:2"


@pytest.mark.parametrize("text", ['drop = ["methods.random"]\n', '[set]\n"seeds" = [1]\n'])
def test_drop_and_set_need_a_base(tmp_path: Path, text: str) -> None:
    (tmp_path / "one.toml").write_text(text)
    with pytest.raises(SuiteError, match="without a base"):
        read_suite(tmp_path / "one.toml")


def test_a_file_that_is_only_a_base_is_no_suite(make: Make, tmp_path: Path) -> None:
    make("")
    assert [path.name for path in suite_files(tmp_path)] == ["one.toml"]
    with pytest.raises(UsageError, match="no suite 'toy/_base'"):
        find_suite("toy/_base", tmp_path)
