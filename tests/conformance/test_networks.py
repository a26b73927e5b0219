"""The checks of networks find what they are for: a network that breaks one promise fails that
check, a good one none."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmark.al.networks.outputs import Outputs
from benchmark.cli import invoke
from benchmark.conformance import Result
from benchmark.conformance.networks import check_network_contract


class Tiny(nn.Module):
    """Nothing wrong with it."""

    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, 4, 3, padding=1)
        self.head = nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Outputs:
        features = self.convolution(x).relu().mean(dim=(2, 3))
        return Outputs(self.head(features), features)


class Plain(Tiny):
    def forward(self, x: Tensor) -> Outputs:
        return super().forward(x).logits  # type: ignore[return-value]


class ForeignStart(Tiny):
    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__(classes, channels)
        self.head.bias.data.fill_(random.random())


class AlwaysDropout(Tiny):
    def forward(self, x: Tensor) -> Outputs:
        return super().forward(nn.functional.dropout(x, 0.5))


class BatchMean(Tiny):
    def forward(self, x: Tensor) -> Outputs:
        return super().forward(x - x.mean(dim=0))


class ForeignNoise(Tiny):
    def forward(self, x: Tensor) -> Outputs:
        return super().forward(x * random.random() if self.training else x)


class Unsaved(Tiny):
    seen = 0

    def forward(self, x: Tensor) -> Outputs:
        self.seen += self.training
        return super().forward(x + self.seen)


class Detached(Tiny):
    def forward(self, x: Tensor) -> Outputs:
        found = super().forward(x)
        return Outputs(found.logits.detach(), found.features.detach())


class NoHalf(Tiny):
    def forward(self, x: Tensor) -> Outputs:
        found = super().forward(x)
        return found._replace(logits=found.logits / float(found.logits.dtype == torch.float32))


def failed(cls: type[Tiny]) -> set[str]:
    findings = check_network_contract(lambda classes, channels: cls(classes, channels), size=8)
    return {finding.check for finding in findings if finding.result is Result.FAILED}


def test_a_good_network_keeps_all() -> None:
    assert failed(Tiny) == set()


@pytest.mark.parametrize(
    ("cls", "check"),
    [
        (Plain, "outputs have the shapes of the contract"),
        (ForeignStart, "the seed decides the weights"),
        (AlwaysDropout, "eval mode is repeatable"),
        (BatchMean, "images are independent"),
        (ForeignNoise, "training draws from torch only"),
        (Unsaved, "state_dict round trip"),
        (Detached, "gradients are finite"),
        (NoHalf, "bf16"),
    ],
)
def test_a_broken_promise_is_found(cls: type[Tiny], check: str) -> None:
    assert check in failed(cls)


def test_amounts_are_those_counted_by_hand() -> None:
    """Convolution 4 x 3 x 9 + 4 weights and head 4 x 7 + 7; at 8 x 8 pixels 64 x 4 x 27 + 28
    multiply-accumulates."""
    findings = check_network_contract(lambda classes, channels: Tiny(classes, channels), size=8)
    said = next(finding.said for finding in findings if finding.check == "amounts")
    assert said == "147 parameters, 6940 multiply-accumulates per image"


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["verify-network", f"{__file__}:Tiny", "small_cnn", "--size", "8"]) == 0
    assert "keeps the contract" in capsys.readouterr().out
    assert invoke(["verify-network", f"{__file__}:AlwaysDropout", "--size", "8"]) == 1
    assert "breaks the contract" in capsys.readouterr().out
    assert invoke(["verify-network", f"{tmp_path}/gone.py:Net"]) == 2
    assert invoke(["verify-network", "small_cnn", "--params", "[1]"]) == 2
    assert "JSON object" in capsys.readouterr().err
