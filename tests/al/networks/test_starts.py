"""Where every network starts: spread, range and kind of each tensor, against the tables of what the
releases draw.

Trajectories load weights and parameter counts see nothing; a network that starts at the wrong
spread passes both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.al.networks.gcn import Gcn
from benchmark.al.networks.loss_prediction import LossPrediction
from benchmark.al.networks.resnet_cifar import ResNetCifar
from benchmark.al.networks.resnet_imagenet import ResNetImagenet
from benchmark.al.networks.vae import Discriminator, Vae
from benchmark.al.networks.vgg_plain import VggPlain
from benchmark.spec.load import find_suite

Law = tuple[str, float]
"""(`normal`, standard deviation), (`uniform`, bound) or (`constant`, value)."""


def of_default(module: nn.Module, kind: str) -> Law:
    """torch's default of plain and transposed convolutions and linear layers: uniform in
    +-1/sqrt(fan_in), weights and biases."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return "uniform", 1 / math.sqrt(weight[0].numel())


def laws(
    network: nn.Module, special: Callable[[str, nn.Module, str], Law | None]
) -> dict[str, Law]:
    """The law of every parameter: what `special` says of it, else batch norm's 1 and 0 or torch's
    default."""
    found: dict[str, Law] = {}
    for name, module in network.named_modules():
        for kind, _ in module.named_parameters(recurse=False):
            law = special(name, module, kind)
            if law is None and isinstance(module, nn.BatchNorm2d):
                law = ("constant", 1.0 if kind == "weight" else 0.0)
            found[f"{name}.{kind}"] = law or of_default(module, kind)
    return found


def check(network: nn.Module, expected: Mapping[str, Law]) -> None:
    """Mean and spread within four standard errors, uniform draws inside their bound and near it,
    normal ones beyond it."""
    values = dict(network.named_parameters())
    assert set(values) == set(expected)
    for name, (kind, size) in expected.items():
        value = values[name].detach().double()
        count = value.numel()
        if kind == "constant":
            assert bool((value == size).all()), f"{name}: not {size}"
            continue
        spread = size if kind == "normal" else size / math.sqrt(3)
        assert abs(float(value.mean())) < 5 * spread / math.sqrt(count), (
            f"{name}: mean {float(value.mean()):.2g}"
        )
        if count > 50:
            # Relative error of a standard deviation: sqrt((kurtosis - 1) / 4n).
            error = math.sqrt((2.0 if kind == "normal" else 0.8) / (4 * count))
            assert abs(float(value.std()) / spread - 1) < 5 * error + 1e-3, (
                f"{name}: spread {float(value.std()):.4g}, not {spread:.4g}"
            )
        if kind == "uniform":
            assert float(value.abs().max()) <= size * (1 + 1e-6), f"{name}: beyond {size:.4g}"
            assert count < 200 or float(value.abs().max()) > 0.9 * size, name
        elif count > 200:
            assert float(value.abs().max()) > math.sqrt(3) * spread, f"{name}: not normal"


def default(name: str, module: nn.Module, kind: str) -> None:
    return None


def fan_out(name: str, module: nn.Module, kind: str) -> Law | None:
    if isinstance(module, nn.Conv2d):
        return "normal", math.sqrt(2 / (module.out_channels * module.kernel_size[0] ** 2))
    return None


def vgg(name: str, module: nn.Module, kind: str) -> Law:
    if kind == "bias":
        return "constant", 0.0
    if isinstance(module, nn.Conv2d):
        return "normal", math.sqrt(2 / (9 * module.out_channels))
    return "normal", 0.01


def graph(name: str, module: nn.Module, kind: str) -> Law:
    return "uniform", 1 / math.sqrt(module.weight.shape[1])  # type: ignore[union-attr, index]


def adversarial(name: str, module: nn.Module, kind: str) -> Law | None:
    reached = name.startswith(("encoder", "net")) or name == "decoder.0"
    if isinstance(module, nn.Conv2d | nn.Linear) and reached:
        return (
            ("constant", 0.0)
            if kind == "bias"
            else ("normal", math.sqrt(2 / module.weight[0].numel()))
        )
    return None


@pytest.mark.parametrize(
    ("build", "special"),
    [
        (lambda: ResNetCifar(10), default),
        (lambda: ResNetCifar(100, heads=2), default),
        (lambda: ResNetCifar(10, blocks=(3, 4, 6, 3)), default),
        (lambda: ResNetImagenet(101, heads=2), fan_out),
        (lambda: ResNetImagenet(200, dropout=0.5, init="default"), default),
        (lambda: VggPlain(100, hidden=512, init="released"), vgg),
        (LossPrediction, default),
        (lambda: Gcn(512, init="outputs"), graph),
        (lambda: Vae(width=64, init="kaiming"), adversarial),
        (lambda: Vae(width=32, conditions=1, side=224, init="kaiming"), adversarial),
        (lambda: Discriminator(33, init="kaiming"), adversarial),
    ],
    ids=[
        "tod-cifar-none",
        "tod-cifar",
        "resnet34",
        "tod-caltech",
        "stconal-224",
        "vgg16",
        "learning-loss",
        "gcn",
        "vae",
        "vae-224",
        "discriminator",
    ],
)
def test_every_tensor_is_drawn_as_released(build: Callable[[], nn.Module], special: Any) -> None:
    torch.manual_seed(1)
    network = build()
    check(network, laws(network, special))


def test_the_check_notices_the_starts_that_were_wrong() -> None:
    torch.manual_seed(1)
    for wrong, special in (
        (Gcn(512), graph),
        (Vae(width=16), adversarial),
        (Discriminator(), adversarial),
        (VggPlain(10, hidden=64), vgg),
        (ResNetImagenet(10, widths=(8, 16, 32, 64)), default),
    ):
        with pytest.raises(AssertionError):
            check(wrong, laws(wrong, special))


def test_vgg_spreads_its_logits_and_shows_the_map() -> None:
    """Logits of 16 images spread by 2e-3 as released, by 7e-8 from torch's default, from which it
    does not learn."""
    params = (
        find_suite("st-conal/cifar100", Path(__file__).parents[3] / "suites")
        .resolve(variant="vgg16")
        .protocol.models[0]
        .params
    )
    assert params == {"init": "released", "features": "map"}
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    network = VggPlain(10, **params).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        out = network(images)
    assert 5e-4 < float(out.logits.std(dim=0).mean()) < 1e-2
    assert out.features.shape == (16, 25_088)
    with torch.no_grad():
        again = network.fc(network.hidden(out.features))
    torch.testing.assert_close(again, out.logits)
