"""Every variant of a suite is priced by the network and the pixels it really has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmark.al.functional.bal_windows import window_bounds, window_step
from benchmark.al.networks import build_network
from benchmark.al.networks.vae import Vae
from benchmark.spec.data import Data
from benchmark.spec.load import find_suite, suite_files
from benchmark.spec.suite import Suite
from benchmark.spec.training import Model
from benchmark.spec.transforms import CenterCrop, RandomCrop, RandomResizedCrop, Resize, Transform
from tests.helpers.network_cost import macs

ROOT = Path(__file__).parents[2] / "suites"
PAPERS = ("tod", "st-conal", "bal", "pt4al")
SUITES = [
    path.relative_to(ROOT).with_suffix("").as_posix()
    for path in suite_files(ROOT)
    if path.parent.name in PAPERS
]


@pytest.mark.parametrize("name", SUITES)
def test_forward_passes_have_the_price_of_their_networks(name: str) -> None:
    for suite in variants(name):
        protocol, price = suite.protocol, suite.cost
        main_net = of(
            protocol.models[0], protocol.data.classes, side(protocol.data, protocol.views.test)
        )
        assert price.forward_macs == main_net
        if protocol.pretext is not None:
            stage = of(protocol.pretext.model, 4, side(protocol.data, protocol.pretext.test_view))
            assert (price.pretext_macs or price.forward_macs) == stage


@pytest.mark.parametrize("name", SUITES)
def test_training_is_priced_by_the_layers_that_are_trained(name: str) -> None:
    for suite in variants(name):
        model, price = suite.protocol.models[0], suite.cost
        trained = price.trained_macs or 3 * (price.forward_macs or 0)
        if model.params.get("trainable", "all") == "all":
            assert trained == 3 * (price.forward_macs or 0)
        else:
            assert trained == backward_too(model, suite.protocol.data.classes, 224)
            assert (
                round(2 * trained / 1e9, 2) == 5.14
            )  # counted layer by layer on the released network


@pytest.mark.parametrize("name", [name for name in SUITES if name.startswith("bal/")])
def test_windows_are_no_longer_than_what_is_priced(name: str) -> None:
    for suite in variants(name):
        assert longest_window(suite, "bal") == suite.methods["bal"].cost.narrowed


def variants(name: str) -> Iterator[Suite]:
    file = find_suite(name, ROOT)
    return (
        file.resolve(variant=variant)
        for variant in ("as_published", "corrected", *file.suite.variants)
    )


def longest_window(suite: Suite, method: str) -> int:
    """Ranks of the longest window that is scored: all but the first labelled set's."""
    size, cycles = suite.protocol.data.train_size, suite.protocol.acquisition.cycles
    params = suite.methods[method].strategy.params
    addendum = params.get("addendum") or window_step(size, cycles)
    bounds = (
        window_bounds(cycle, cycles, size, params["beta"], addendum) for cycle in range(1, cycles)
    )  # type: ignore[arg-type]
    return max(min(end, size) - begin for begin, end in bounds)


def side(data: Data, view: tuple[Transform, ...]) -> int:
    """Pixels that a network is shown."""
    for transform in (*reversed(view), *reversed(data.decode)):
        if isinstance(transform, CenterCrop | RandomCrop | RandomResizedCrop):
            return transform.size
        if isinstance(transform, Resize) and transform.size is not None:
            return transform.size[0]
    return 32


def backward_too(model: Model, classes: int, pixels: int) -> int:
    """Multiply-accumulates of training on one image: each layer once, once more for the gradient of
    its weights, and once more for that of its inputs, where there are such gradients."""
    total, made = (
        0,
        build_network(model.model_copy(update={"weights": "scratch"}), classes, 3).eval(),
    )

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.Linear)
        total += (
            output.numel()
            * module.weight[0].numel()
            * (1 + module.weight.requires_grad + inputs[0].requires_grad)
        )

    for module in made.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    made(torch.zeros(1, 3, pixels, pixels))
    return total


def of(model: Model, classes: int, pixels: int) -> int:
    return _counted(model.name, json.dumps(model.params, sort_keys=True), classes, pixels)


@lru_cache
def _counted(name: str, params: str, classes: int, pixels: int) -> int:
    return macs(build_network(Model(name=name, params=json.loads(params)), classes, 3), pixels)


@pytest.mark.parametrize("name", [name for name in SUITES if name.startswith("st-conal/")])
def test_the_game_of_vaal_is_priced_by_its_networks_and_parameters(name: str) -> None:
    file = find_suite(name, ROOT)
    shrunk = [file.resolve(profile="smoke")]
    for suite in [*variants(name), *shrunk]:
        pixels = side(suite.protocol.data, suite.protocol.views.test)
        for method, conditions in (("vaal", 0), ("ta_vaal", 1)):
            params, game = suite.methods[method].strategy.params, suite.methods[method].cost.game
            assert game is not None
            assert game.steps == params["vae_steps"]
            assert (game.batch_size, game.passes) == (params["batch_size"], params["passes"])
            assert game.iterations == params.get("iterations")
            assert (game.encoder_macs, game.forward_macs) == autoencoder(
                pixels, params["width"], conditions
            )  # type: ignore[arg-type]


@lru_cache
def autoencoder(pixels: int, width: int, conditions: int) -> tuple[int, int]:
    """Multiply-accumulates of VAAL's encoder, and of the whole autoencoder."""
    made = Vae(conditions=conditions, width=width, side=pixels).eval()
    encoder = macs(
        nn.Sequential(made.encoder, nn.Linear(made.fc_mu.in_features, 2 * made.fc_mu.out_features)),
        pixels,
    )
    decoder = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal decoder
        # A transposed convolution multiplies every input by its whole kernel.
        decoder += (inputs[0] if isinstance(module, nn.ConvTranspose2d) else output)[
            0
        ].numel() * module.weight[0].numel()  # type: ignore[operator, union-attr]

    for module in made.decoder.modules():
        if isinstance(module, nn.ConvTranspose2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.inference_mode():
        made.decode(
            torch.zeros(1, made.fc_mu.out_features), torch.zeros(1, 1) if conditions else None
        )
    return encoder, encoder + decoder
