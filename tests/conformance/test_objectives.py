"""The checks of objectives find what they are for: an objective that breaks one promise fails that
check, a good one none."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.al import registry
from benchmark.al.objectives.base import Batch, Build, CycleData, Objective
from benchmark.cli import invoke
from benchmark.conformance import Result
from benchmark.conformance.objectives import check_objective_contract
from benchmark.spec.suite import Component

BUILT_IN: dict[str, dict[str, Any]] = {
    "supervised": {},
    "cod": {"weight": 0.05, "first_batch": "drawn_once"},
    "learning_loss": {
        "joint": True,
        "joint_until": 1,
        "channels": [8, 16, 32, 64],
        "windows": [0, 0, 0, 0],
    },
    "mean_teacher": {
        "labelled": 4,
        "unlabelled": 4,
        "weight": 1.0,
        "ramp_epochs": 1,
        "ema_decay": 0.99,
    },
}


@dataclass(eq=False)
class Good(Objective):
    """Nothing wrong with it."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(model(batch.images).logits.float(), batch.labels)


@dataclass(eq=False)
class PerImage(Good):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(model(batch.images).logits, batch.labels, reduction="none")


@dataclass(eq=False)
class Detached(Good):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return super().loss(model, batch).detach()


@dataclass(eq=False)
class ForeignNoise(Good):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return super().loss(model, batch) * random.random()


@dataclass(eq=False)
class ReadsLabels(Good):
    def batches(self, data: CycleData, epoch: int) -> Iterator[Batch]:
        everything = torch.cat([data.labelled, data.unlabelled])
        for batch in super().batches(data, epoch):
            yield Batch(
                batch.images,
                (batch.labels + data.labels[everything].sum()) % 5,
                batch.epoch,
                batch.step,
            )


@dataclass(eq=False)
class Undeclared(Good):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        assert batch.unlabelled is not None
        return super().loss(model, batch) + model(batch.unlabelled).logits.square().mean()

    def batches(self, data: CycleData, epoch: int) -> Iterator[Batch]:
        for batch in super().batches(data, epoch):
            batch.unlabelled = data.view(data.unlabelled[:2], epoch)
            yield batch


@dataclass(eq=False)
class Forgets(Good):
    """Its weight falls with every step, which no counter keeps."""

    def build(self, build: Build) -> None:
        self._steps = 0

    def after_step(self, model: nn.Module) -> None:
        self._steps += 1

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return super().loss(model, batch) / (1 + self._steps)


@dataclass(eq=False)
class Miscounts(Good):
    def epoch_steps(self, data: CycleData) -> int:
        return data.steps + 1


@dataclass(eq=False)
class UnsavedBranch(Good):
    def build(self, build: Build) -> None:
        self._other = build.network("other")

    def evaluated(self) -> Mapping[str, nn.Module]:
        return {"other": self._other}


@dataclass(eq=False)
class Overflows(Good):
    """A sum that is infinite in half precision."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        logits = model(batch.images).logits
        return super().loss(model, batch) * (
            float("inf") if logits.dtype == torch.bfloat16 else 1.0
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT_IN)
def test_the_objectives_of_the_project_keep_every_promise(name: str) -> None:
    assert set(BUILT_IN) == set(registry.component_names("objectives"))
    component = Component(name=name, params=BUILT_IN[name])
    found = list(
        check_objective_contract(lambda: registry.build_component("objectives", component))
    )
    assert [finding for finding in found if finding.result is Result.FAILED] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "broken"),
    [
        (Good, set()),
        (ForeignNoise, {"same seed same training", "resumed equals uninterrupted"}),
        (ReadsLabels, {"hidden labels are unread", "use of unlabelled images is declared"}),
        (Undeclared, {"use of unlabelled images is declared"}),
        (Forgets, {"resumed equals uninterrupted", "next cycle"}),
        (Miscounts, {"epochs have the steps they say"}),
        (UnsavedBranch, {"further outputs and branches"}),
        (Overflows, {"bf16 and joint batches"}),
    ],
)
def test_each_broken_promise_fails_its_check(objective: type[Objective], broken: set[str]) -> None:
    found = list(check_objective_contract(objective))
    assert {finding.check for finding in found if finding.result is Result.FAILED} == broken, found


@pytest.mark.parametrize(
    ("objective", "words"), [(PerImage, "not a single number"), (Detached, "no gradient")]
)
def test_a_loss_that_is_none(objective: type[Objective], words: str) -> None:
    found = next(check_objective_contract(objective))
    assert found.result is Result.FAILED and words in found.said


@pytest.mark.slow
def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["verify-objective", "supervised"]) == 0
    assert "keeps the contract (9 checks, 0 failed)" in capsys.readouterr().out
    (tmp_path / "wrong.py").write_text(
        "from dataclasses import dataclass\nimport torch\nfrom benchmark import "
        "Objective\n@dataclass(eq=False)\n"
        "class Wrong(Objective):\n    def loss(self, model, batch):\n        return "
        "torch.zeros(())\n"
    )
    assert invoke(["verify-objective", f"{tmp_path}/wrong.py:Wrong"]) == 1
    assert "the loss has no gradient" in capsys.readouterr().out


def test_what_cannot_be_built_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["verify-objective", "supervized"]) == 2
    assert "did you mean supervised" in capsys.readouterr().err
    assert invoke(["verify-objective", "cod", "--params", "[1]"]) == 2
    assert invoke(["verify-objective", "cod"]) == 2, "its weight has no default"
