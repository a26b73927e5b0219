"""The promises of a network, one check each, on random images: nothing is trained and no data are
needed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.al.networks.measure import measure_network
from benchmark.al.networks.outputs import Outputs
from benchmark.conformance.checks import Broken, Finding, Result
from benchmark.errors import AlbenchError

BATCH = 6
"""Images of a batch: small, but more than one, which batch normalisation needs."""
Make = Callable[[int, int], nn.Module]
"""A new network for a number of classes and of channels."""
Fresh = Callable[[], nn.Module]
"""A new network after the same seed each time."""
T = TypeVar("T")


def check_network_contract(
    make: Make, size: int = 32, classes: int = 7, channels: int = 3
) -> Iterator[Finding]:
    """All checks of the networks that `make` makes, one finding each, on square images with sides
    of `size` pixels."""
    images = torch.randn(BATCH, channels, size, size, generator=torch.Generator().manual_seed(1))
    for name, run in NETWORK_CHECKS.items():
        try:
            with torch.random.fork_rng(devices=[]):
                said = run(lambda: _make_seeded(make, classes, channels), images, classes)
            yield Finding(name, Result.NOTE if said else Result.OK, said)
        except (Broken, AlbenchError) as error:
            yield Finding(name, Result.FAILED, " ".join(str(error).split()))
        except Exception as error:
            yield Finding(name, Result.FAILED, f"raised {type(error).__name__}: {error}")


def outputs_have_shapes(fresh: Fresh, images: Tensor, classes: int) -> str:
    """Logits (b, classes), features (b, d), maps (b, channels, h, w), consistency (b, classes) or
    none, all finite."""
    made = fresh().eval()
    with torch.no_grad():
        found = made(images)
    _require(isinstance(found, Outputs), f"forward returns {type(found).__name__}, not Outputs")
    b = len(images)
    _require(
        found.logits.shape == (b, classes),
        f"logits are {tuple(found.logits.shape)}, not {(b, classes)}",
    )
    _require(
        found.features.ndim == 2 and len(found.features) == b,
        f"features are {tuple(found.features.shape)}, not ({b}, d)",
    )
    for depth, one in enumerate(found.maps):
        _require(
            one.ndim == 4 and len(one) == b,
            f"map {depth} is {tuple(one.shape)}, not ({b}, channels, h, w)",
        )
    if found.consistency is not None:
        _require(
            found.consistency.shape == (b, classes),
            f"consistency is {tuple(found.consistency.shape)}, not {(b, classes)}",
        )
    _require(
        all(bool(one.isfinite().all()) for one in _find_tensors(found)), "an output is not finite"
    )
    lacks = [
        word
        for word, there in (("maps", found.maps), ("consistency", found.consistency is not None))
        if not there
    ]
    return (
        f"returns no {' and no '.join(lacks)}: objectives that read them refuse it" if lacks else ""
    )


def seed_decides_weights(fresh: Fresh, images: Tensor, classes: int) -> str:
    """Two networks after one seed of torch have equal weights, independent of the state of Python's
    and numpy's generators."""
    one, two = fresh().state_dict(), _run_elsewhere(fresh).state_dict()
    different = [name for name in one if name not in two or not torch.equal(one[name], two[name])]
    _require(not different, f"after one seed two networks differ in {', '.join(different[:3])}")
    return ""


def evaluation_is_repeatable(fresh: Fresh, images: Tensor, classes: int) -> str:
    """In eval mode two passes are equal, draw nothing from torch and change no weight or buffer."""
    made = fresh().eval()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    drawn = torch.get_rng_state()
    with torch.no_grad():
        one = _find_tensors(made(images))
        two = _find_tensors(_run_elsewhere(lambda: made(images)))
    _require(torch.equal(drawn, torch.get_rng_state()), "eval mode draws random numbers")
    changed = [
        name for name, value in made.state_dict().items() if not torch.equal(value, before[name])
    ]
    _require(not changed, f"eval mode changes {', '.join(changed[:3])}")
    _require(
        all(torch.equal(a, b) for a, b in zip(one, two, strict=True)),
        "two passes in eval mode differ",
    )
    return ""


def images_are_independent(fresh: Fresh, images: Tensor, classes: int) -> str:
    """In eval mode the outputs of an image do not depend on the other images of its batch, up to
    rounding."""
    made = fresh().eval()
    with torch.no_grad():
        whole, part = _find_tensors(made(images)), _find_tensors(made(images[:2]))
    for a, b in zip(whole, part, strict=True):
        _require(
            torch.allclose(a[:2], b, rtol=1e-3, atol=1e-4),
            "the outputs of an image depend on its batch in eval mode",
        )
    return ""


def training_draws_from_torch(fresh: Fresh, images: Tensor, classes: int) -> str:
    """In training mode two networks after one seed of torch agree, independent of the state of
    other generators."""
    one, two = fresh().train(), fresh().train()
    torch.manual_seed(3)
    first = _find_tensors(one(images))
    second = _find_tensors(_run_elsewhere(lambda: (torch.manual_seed(3), two(images))[1]))
    _require(
        all(torch.equal(a, b) for a, b in zip(first, second, strict=True)),
        "training draws from elsewhere than torch",
    )
    return ""


def state_round_trips(fresh: Fresh, images: Tensor, classes: int) -> str:
    """A network that loads the state of another, also after a training pass, gives its outputs."""
    one, two = fresh(), fresh()
    with torch.no_grad():
        one.train()(images)
        for weight in one.parameters():
            weight.mul_(1.1)
        two.load_state_dict(one.state_dict())
        a, b = _find_tensors(one.eval()(images)), _find_tensors(two.eval()(images))
    _require(
        all(torch.equal(x, y) for x, y in zip(a, b, strict=True)),
        "state_dict does not hold all that outputs depend on",
    )
    return ""


def gradients_are_finite(fresh: Fresh, images: Tensor, classes: int) -> str:
    """The loss of the logits gives finite gradients; weights that it does not reach are named."""
    made = fresh().train()
    target = torch.arange(len(images)) % classes
    nn.functional.cross_entropy(made(images).logits, target).backward()  # type: ignore[no-untyped-call]
    grads = {name: weight.grad for name, weight in made.named_parameters() if weight.requires_grad}
    _require(any(grad is not None for grad in grads.values()), "no weight has a gradient")
    bad = [
        name for name, grad in grads.items() if grad is not None and not bool(grad.isfinite().all())
    ]
    _require(not bad, f"gradients are not finite in {', '.join(bad[:3])}")
    unreached = [name for name, grad in grads.items() if grad is None]
    return f"the logits do not reach {', '.join(unreached[:3])}" if unreached else ""


def bf16_works(fresh: Fresh, images: Tensor, classes: int) -> str:
    """A pass under bf16 autocast is finite."""
    made = fresh().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = _find_tensors(made(images))
    _require(all(bool(one.isfinite().all()) for one in found), "an output under bf16 is not finite")
    return ""


def measure_amounts(fresh: Fresh, images: Tensor, classes: int) -> str:
    """Parameters, and multiply-accumulates of one image as torch counts them."""
    parameters, macs = measure_network(fresh(), *images.shape[1:3])
    return f"{parameters} parameters, {macs} multiply-accumulates per image"


NETWORK_CHECKS: dict[str, Callable[[Fresh, Tensor, int], str]] = {
    "outputs have the shapes of the contract": outputs_have_shapes,
    "the seed decides the weights": seed_decides_weights,
    "eval mode is repeatable": evaluation_is_repeatable,
    "images are independent": images_are_independent,
    "training draws from torch only": training_draws_from_torch,
    "state_dict round trip": state_round_trips,
    "gradients are finite": gradients_are_finite,
    "bf16": bf16_works,
    "amounts": measure_amounts,
}
"""Checks by the name that is shown."""


def _make_seeded(make: Make, classes: int, channels: int) -> nn.Module:
    torch.manual_seed(0)
    return make(classes, channels)


def _run_elsewhere(run: Callable[[], T]) -> T:
    """What `run` returns while the generators of Python and numpy stand somewhere else; they are
    put back."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(12345)
    np.random.seed(12345)  # noqa: NPY002
    try:
        return run()
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _find_tensors(found: Outputs) -> list[Tensor]:
    return [
        found.logits,
        found.features,
        *found.maps,
        *([] if found.consistency is None else [found.consistency]),
    ]


def _require(kept: bool, words: str) -> None:
    if not kept:
        raise Broken(words)
