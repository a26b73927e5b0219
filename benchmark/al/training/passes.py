"""What a trained network offers beside its outputs: its last linear layer, passes with dropout, and
passes with other weights.

Masks and noise are counter-based draws (`random/philox.py`) of a stream of the cycle. They depend
on neither the images nor the size of a batch: every image meets the same masks and the same
weights, so that the k passes are k models that all images share. Methods that compare images across
passes need this (the joint entropies of BatchBALD: Kirsch et al., NeurIPS 2019, section 3.2).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.al.networks.outputs import Outputs
from benchmark.al.random.philox import Counter, to_uniform
from benchmark.errors import UsageError

SITES = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
"""Modules at which a network drops numbers. Calls of `torch.nn.functional.dropout` are no sites."""
CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""Those that drop whole channels."""
ASSUMED = 0.5
"""Share that is dropped of the input of the last linear layer where a network drops nothing by
itself."""
PERTURBATION = 0.01
"""Length of the noise that is added to a weight tensor, in units of the tensor's own length."""
WORDS = 2**16
"""Counters that are drawn together: four numbers each."""


def find_head(network: nn.Module, images: Tensor) -> nn.Linear:
    """The linear layer that makes a network's logits (b, classes) from its features (b, d).
    `images` is any batch.

    Raises UsageError for a network without such a layer.
    """
    seen: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Linear)
        seen.append((module, inputs[0], output))

    handles = [
        module.register_forward_hook(watch)
        for module in network.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with torch.no_grad():
            made: Outputs = network.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
    for module, given, output in seen:
        if (
            output is made.logits
            and given.shape == made.features.shape
            and torch.equal(given, made.features)
        ):
            return module
    raise UsageError(
        f"{type(network).__name__} does not make its logits from its features with one linear "
        "layer",
        remedy=(
            "use a network that does, or a strategy that needs no `head.` and no `dropout<k>.` "
            "output"
        ),
    )


def head_outputs(layer: nn.Linear, output: str) -> Tensor:
    """A copy of the layer's `weight` (classes, d) or `bias` (classes,), zeros where it has none.
    Raises UsageError."""
    if output == "weight":
        return layer.weight.detach().float().clone()
    if output == "bias":
        bias = layer.bias
        return (
            layer.weight.new_zeros(len(layer.weight))
            if bias is None
            else bias.detach().float().clone()
        )
    raise UsageError(
        f"the last linear layer has no '{output}'", remedy="ask for head.weight or head.bias"
    )


class DropoutPass(nn.Module):
    """One pass: the network with one mask at each of its sites, the same for all images of all
    batches.

    Where the network drops nothing by itself (no site, or a share of 0), the input of its last
    linear layer is masked with a share of `ASSUMED`, although the network was not trained so.
    """

    def __init__(self, network: nn.Module, index: int, counter: Counter, images: Tensor) -> None:
        """`index`: which of the passes. `images`: any batch, by which the last linear layer is
        found."""
        super().__init__()
        self.network, self._index, self._counter = network, index, counter
        self._sites: Mapping[nn.Module, float] = {
            module: module.p
            for module in network.modules()
            if isinstance(module, SITES) and module.p > 0
        }
        self._head = None if self._sites else find_head(network, images)
        self._masks: dict[int, Tensor] = {}

    def forward(self, images: Tensor) -> Outputs:
        """(b, channels, h, w) -> the outputs of the masked network."""
        with self._masked():
            outputs: Outputs = self.network(images)
        return outputs

    @contextmanager
    def _masked(self) -> Iterator[None]:
        handles: list[Any] = []
        for place, (module, share) in enumerate(self._sites.items()):

            def drop(
                module: nn.Module,
                inputs: tuple[Tensor, ...],
                _: Tensor,
                place: int = place,
                share: float = share,
            ) -> Tensor:
                return inputs[0] * self._mask(
                    place, inputs[0], share, channels=isinstance(module, CHANNELS)
                )

            handles.append(module.register_forward_hook(drop))
        if self._head is not None:
            handles.append(
                self._head.register_forward_pre_hook(
                    lambda _, inputs: (
                        inputs[0] * self._mask(0, inputs[0], ASSUMED, channels=False),
                    )
                )
            )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _mask(self, place: int, seen: Tensor, share: float, *, channels: bool) -> Tensor:
        """(1, ...): 0 for what is dropped, 1 / (1 - share) for what is kept; drawn when a site is
        first met."""
        if place not in self._masks:
            shape = (seen.shape[1], *[1] * (seen.dim() - 2)) if channels else tuple(seen.shape[1:])
            where = torch.tensor([place], device=seen.device)
            drawn = self._counter.uniform(where, self._index, 0, math.prod(shape))
            self._masks[place] = ((drawn >= share).float() / (1 - share)).view(1, *shape)
        return self._masks[place].to(seen.dtype)


def dropout_passes(
    network: nn.Module, count: int, counter: Counter, images: Tensor
) -> list[nn.Module]:
    """`count` passes of one network in evaluation mode, each with masks of its own."""
    return [DropoutPass(network, index, counter, images) for index in range(count)]


def perturbed_copies(network: nn.Module, count: int, counter: Counter) -> list[nn.Module]:
    """`count` copies of a network whose weights are moved a little, each in a direction of its own.

    Every parameter of two or more dimensions (kernels of convolutions, matrices of linear layers)
    gets Gaussian noise of `PERTURBATION` times its own Euclidean length, as parameters are
    perturbed in proportion to their norm by Li et al., AAAI 2024 (noise stability). Biases, the
    parameters of normalisations and running statistics stay.
    """
    found = []
    for index in range(count):
        moved = copy.deepcopy(network)
        with torch.no_grad():
            for place, parameter in enumerate(moved.parameters()):
                if parameter.dim() >= 2:
                    noise = draw_normal(counter, place, index, parameter.numel()).view(
                        parameter.shape
                    )
                    length = PERTURBATION * float(parameter.double().norm() / noise.double().norm())
                    parameter.add_((length * noise).to(parameter))
        found.append(moved)
    return found


def draw_normal(counter: Counter, purpose: int, index: int, count: int) -> Tensor:
    """(count,) float32 standard normal numbers on the CPU, by the transform of Box and Muller
    (1958)."""
    pieces = []
    for start in range(0, -(-count // 4), WORDS):
        samples = torch.arange(start, min(start + WORDS, -(-count // 4)))
        drawn = to_uniform(counter.bits(samples, index, purpose)).double()
        radius, angle = (-2 * torch.log1p(-drawn[:, :2])).sqrt(), 2 * math.pi * drawn[:, 2:]
        pieces.append(
            torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1).flatten().float()
        )
    return torch.cat(pieces)[:count]
