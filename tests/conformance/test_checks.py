"""The checks find what they are for: a strategy that breaks one promise fails that check, and a
good one none."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.al.strategies import Picks, ScoreStrategy, Strategy, View
from benchmark.cli import invoke
from benchmark.conformance import Result, Scenario, check
from benchmark.conformance.scenario import acquire_in
from benchmark.errors import AlbenchError


@dataclass(frozen=True)
class Spread(ScoreStrategy):
    """Nothing wrong with it."""

    needs = frozenset({"logits"})

    def score(self, view: View) -> torch.Tensor:
        return view.logits.std(dim=1)


class GlobalRandom(Spread):
    def score(self, view: View) -> torch.Tensor:
        noise = random.random() * np.random.rand()  # noqa: NPY002
        return view.logits.std(dim=1) + torch.rand(len(view.candidates)) + noise


class Twice(Spread):
    def select(self, view: View, budget: int) -> Picks:
        return Picks(torch.zeros(min(budget, 2), dtype=torch.int64))


class DataSetIndices(Spread):
    def select(self, view: View, budget: int) -> Picks:
        return Picks(torch.from_numpy(view.candidates[:budget]))


class Greedy(Spread):
    def select(self, view: View, budget: int) -> Picks:
        return Picks(torch.arange(min(budget + 1, len(view.candidates))))


class PlainList(Spread):
    def select(self, view: View, budget: int) -> Picks:
        return list(range(budget))  # type: ignore[return-value]


class Peeking(Spread):
    def score(self, view: View) -> torch.Tensor:
        labels = view.images.__self__.parts.train_labels
        return labels[torch.from_numpy(view.candidates)].float()


class Scribbling(Spread):
    def score(self, view: View) -> torch.Tensor:
        return view.logits.abs_().sum(dim=1)


class Shuffling(Spread):
    def select(self, view: View, budget: int) -> Picks:
        view.candidates.sort()
        return super().select(view, budget)


class LastOfEquals(Spread):
    def select(self, view: View, budget: int) -> Picks:
        scores = self.score(view)
        order = torch.argsort(scores.flip(0), descending=True, stable=True)
        return Picks(len(scores) - 1 - order[:budget], scores)


class LastOfAll(Spread):
    def select(self, view: View, budget: int) -> Picks:
        order = torch.argsort(self.score(view).flip(0), descending=True, stable=True)
        return Picks(len(order) - 1 - order[:budget])


class BuysNan(Spread):
    def select(self, view: View, budget: int) -> Picks:
        return Picks(torch.argsort(self.score(view), descending=True, stable=True)[:budget])


class NeedsTwoClasses(Spread):
    def score(self, view: View) -> torch.Tensor:
        if len(view.logits.argmax(dim=1).unique()) < 2:
            raise ZeroDivisionError("no second class")
        return super().score(view)


class NeedsTheBudget(Spread):
    def select(self, view: View, budget: int) -> Picks:
        return Picks(self.score(view).topk(9).indices[:budget])


class ByPlace(Spread):
    def score(self, view: View) -> torch.Tensor:
        return -torch.arange(len(view.candidates)).double()


class Quadratic(Spread):
    def score(self, view: View) -> torch.Tensor:
        return torch.cdist(view.logits, view.logits).sum(dim=1)


class NaturalDraw(Spread):
    """Written the natural way: equal to random sampling wherever the two share a stream."""

    def select(self, view: View, budget: int) -> Picks:
        return Picks(torch.from_numpy(view.rng.permutation(len(view.candidates))[:budget]))


class Borrowed(NaturalDraw):
    stream = ""  # type: ignore[assignment]


class Undeclared(Spread):
    needs = frozenset()


class Early(Spread):
    needs = frozenset({"logits", "pretext.loss"})


def broken(cls: type[Strategy]) -> dict[str, str]:
    return {found.check: found.said for found in check(cls) if found.result is Result.FAILED}


@pytest.mark.parametrize(
    ("cls", "name", "said"),
    [
        (GlobalRandom, "same seed, same picks", "two runs with one seed"),
        (Twice, "distinct candidates", "picked a candidate twice"),
        (DataSetIndices, "distinct candidates", "outside its candidates"),
        (Greedy, "distinct candidates", "budget of 12"),
        (PlainList, "distinct candidates", "returned list"),
        (Peeking, "labels unread", "looked 1 times"),
        (Scribbling, "inputs untouched", "it changed logits in place"),
        (Shuffling, "inputs untouched", "it changed candidates in place"),
        (LastOfEquals, "ties stable", "instead of the first"),
        (LastOfAll, "ties stable", "instead of the first"),
        (NeedsTwoClasses, "one predicted class", "ZeroDivisionError"),
        (NeedsTheBudget, "fewer candidates than budget", "out of range"),
        (ByPlace, "order of candidates", "another order of candidates bought"),
        (Borrowed, "own stream", "by the stream alone"),
        (Undeclared, "same seed, same picks", "without declaring it"),
        (Early, "first labelled set", "before the first training"),
    ],
)
def test_a_broken_promise_fails_its_check(cls: type[Strategy], name: str, said: str) -> None:
    assert said in broken(cls)[name]


def test_the_loop_refuses_what_a_strategy_would_buy() -> None:
    assert broken(BuysNan) == {}
    world = Scenario(spoilt="logits", spoilt_image=int(Scenario().pool.unlabelled[3]))
    with pytest.raises(
        AlbenchError, match="BuysNan in cycle 1: the output 'logits' has 10 of 600 numbers"
    ):
        acquire_in(BuysNan(), world)


def test_a_strategy_that_keeps_them_all() -> None:
    found = list(check(Spread))
    assert broken(Spread) == {}
    assert {finding.check for finding in found if finding.result is Result.NOTE} == {
        "first labelled set",
        "own stream",
    }


def test_a_sampler_written_the_natural_way_has_a_stream_of_its_own() -> None:
    (found,) = [finding for finding in check(NaturalDraw) if finding.check == "own stream"]
    assert found.result is Result.OK and NaturalDraw().stream == ":NaturalDraw"


def test_memory_that_grows_with_the_square_is_said() -> None:
    (found,) = [finding for finding in check(Quadratic) if finding.check == "memory"]
    assert found.result is Result.NOTE
    assert "n^2.0: 1440000 numbers for 1200 candidates" in found.said


# ----------------------------------------------------------------------------------------- the verb

PLUGIN = """
from dataclasses import dataclass
import torch
from benchmark.al.strategies import Picks, ScoreStrategy, View

@dataclass(frozen=True)
class Mine(ScoreStrategy):
    power: float
    needs = frozenset({"logits"})
    def score(self, view: View) -> torch.Tensor:
        return -view.probs.pow(self.power).sum(dim=1)

@dataclass(frozen=True)
class Bad(Mine):
    def score(self, view: View) -> torch.Tensor:
        return torch.rand(len(view.candidates))
"""


def test_the_verb_on_somebodys_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    assert invoke(["verify-method", f"{file}:Mine", "--params", '{"power": 2.0}']) == 0
    said = capsys.readouterr().out
    assert "same seed, same picks" in said and "keeps the contract" in said and "FAILED" not in said
    assert invoke(["verify-method", f"{file}:Bad", "--params", '{"power": 2.0}']) == 1
    said = capsys.readouterr().out
    assert "FAILED" in said and "two runs with one seed" in said and "breaks the contract" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{file}:Mine"], "power"),
        (["{file}:Mine", "--params", "{"], "JSON"),
        (["{file}:Mine", "--params", "[1]"], "JSON object"),
        (["{file}:Gone"], "is not a Strategy"),
        (["gone.py:Mine"], "gone.py"),
        (["entropie"], "did you mean entropy"),
        ([], "METHOD"),
    ],
)
def test_what_cannot_be_built_is_usage(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    assert (
        invoke(
            [
                "verify-method",
                *(part.format(file=file) if "{file}" in part else part for part in arguments),
            ]
        )
        == 2
    )
    said = capsys.readouterr()
    assert words in said.err + said.out
