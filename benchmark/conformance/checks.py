"""The promises of `benchmark.al.strategies.base`, one check each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from benchmark.al.output_name import OutputName
from benchmark.al.pool import Indices
from benchmark.al.strategies.base import BEFORE_FIRST_TRAINING, Strategy
from benchmark.al.strategies.random import Random
from benchmark.al.training.vote_recorder import VOTES
from benchmark.conformance.scenario import CYCLES, Acquired, FakeLearner, Scenario, acquire_in
from benchmark.errors import AlbenchError

STEEPEST = 1.5
"""Exponent of the number of candidates up to which the largest temporary counts as growing in
proportion to it."""
Make = Callable[[], Strategy]


class Result(StrEnum):
    """Outcome of a check."""

    OK = "ok"
    FAILED = "FAILED"
    NOTE = "note"
    """Nothing to check here, or something to know."""


@dataclass(frozen=True)
class Finding:
    """One check of one strategy."""

    check: str
    result: Result
    said: str = ""


class Broken(Exception):
    """A promise that is not kept, in words."""


def check(make: Make, models: int = 1) -> Iterator[Finding]:
    """All checks of the strategy that `make` makes, one finding each."""
    world = Scenario(models=models)
    for name, run in CHECKS.items():
        try:
            said = run(make, world)
            yield Finding(name, Result.NOTE if said else Result.OK, said)
        except Broken as error:
            yield Finding(name, Result.FAILED, str(error))
        except AlbenchError as error:
            yield Finding(name, Result.FAILED, " ".join(str(error).split()))
        except Exception as error:
            yield Finding(name, Result.FAILED, f"raised {type(error).__name__}: {error}")


def same_seed_same_picks(make: Make, world: Scenario) -> str:
    """Twice the same picks in the same order, by two objects, independent of the state of the
    global generators."""
    for cycle in range(CYCLES - 1):
        with disturb_generators(1):
            one = acquire_in(make(), replace(world, cycle=cycle))
        with disturb_generators(2):
            two = acquire_in(make(), replace(world, cycle=cycle))
        _require(
            one.images == two.images,
            f"cycle {cycle}: two runs with one seed bought {_describe_difference(one, two)}",
        )
    return ""


def distinct_candidates(make: Make, world: Scenario) -> str:
    """Positions are distinct, inside the candidates and at most the budget, in every cycle and for
    several sizes."""
    short = 0
    for cycle in range(CYCLES - 1):
        for candidates, budget in ((60, 12), (100, 1), (64, 60)):
            bought = acquire_in(
                make(), replace(world, cycle=cycle, candidates=candidates, budget=budget)
            )
            known = set(replace(world, candidates=candidates).pool.unlabelled.tolist())
            _require(
                len(set(bought.images)) == len(bought.images) or bought.picks.returned is not None,
                "an image twice",
            )
            _require(set(bought.images) <= known, "an image that is not unlabelled")
            _require(
                len(bought.images) <= budget,
                f"{len(bought.images)} images for a budget of {budget}",
            )
            short += len(bought.images) < min(budget, candidates)
    return f"buys less than the budget in {short} of 9 situations" if short else ""


def labels_unread(make: Make, world: Scenario) -> str:
    """Nothing of the learner's own images and labels is looked at, not even around the view."""
    bought = acquire_in(make(), world)
    _require(
        bought.label_reads == 0,
        f"it looked {bought.label_reads} times at what a view does not give",
    )
    return ""


def inputs_untouched(make: Make, world: Scenario) -> str:
    """Index lists and outputs of the view are as they were: others use them too."""
    bought = acquire_in(make(), world)
    _require(not bought.touched, f"it changed {', '.join(bought.touched)} in place")
    return ""


def ties_are_stable(make: Make, world: Scenario) -> str:
    """Of equal scores the earlier candidate is bought; where all candidates look alike and nothing
    is drawn, the first ones."""
    tied = replace(world, tied=True)
    one, two = acquire_in(make(), tied), acquire_in(make(), tied)
    _require(one.images == two.images, "equal candidates, and two runs differ")
    scores = one.picks.scores
    if scores is not None and bool((scores != scores[0]).any()):
        ranked = torch.argsort(scores, descending=True, stable=True)[: len(one.positions)].tolist()
        _require(
            one.drew or one.positions == ranked,
            "its picks are not the largest of its scores, earlier ones first",
        )
        return "equal images get unequal scores: rounding depends on the place in the list"
    if one.drew:
        return "draws from its stream; the draw is repeatable"
    first = list(range(len(one.positions)))
    _require(
        one.positions == first,
        f"equal candidates, bought positions {one.positions[:6]}... instead of the first",
    )
    return ""


def not_a_number_is_refused(make: Make, world: Scenario) -> str:
    """An output that is not finite for a candidate ends in an AlbenchError, or has no influence at
    all."""
    declared = [name for name in sorted(make().needs) if OutputName.parse(name).output != VOTES]
    # Asked for later means asked for a part of the candidates: there must be enough of them for
    # that part to count.
    situations = [(name, world) for name in declared]
    situations += [
        (name, replace(world, candidates=600))
        for name in _later_outputs(make, replace(world, candidates=600))
    ]
    ignored = []
    for name, place in situations:
        changed, refused = "", 0
        plain = acquire_in(make(), place)
        for image in _revealing_images(plain, place, name):
            try:
                bought = acquire_in(
                    make(), replace(place, spoilt=_without_labelled(name), spoilt_image=image)
                )
                changed = changed or (
                    _describe_difference(plain, bought) if bought.images != plain.images else ""
                )
            except AlbenchError:
                refused += 1
        _require(
            not changed,
            f"with a NaN in {name} for one image, the picks changed instead of raising an error: "
            f"{changed}",
        )
        if refused:
            continue
        ignored.append(name)
    return (
        f"not read for this: {', '.join(ignored)}"
        if ignored
        else ""
        if situations
        else "reads no numbers"
    )


def _revealing_images(plain: Acquired, world: Scenario, name: str) -> list[int]:
    """Images whose damage would show: the first one bought and one that was not, or a labelled
    one."""
    if OutputName.parse(name).labelled:
        return [int(world.pool.labelled[0])]
    candidates = (
        world.pool.unlabelled.tolist() if plain.view is None else plain.view.candidates.tolist()
    )
    return [*plain.images[:1], *[image for image in candidates if image not in plain.images][:1]]


def _later_outputs(make: Make, world: Scenario) -> list[str]:
    """Outputs asked for later, through `view.ask`."""
    seen: set[str] = set()
    usual = FakeLearner.outputs

    def outputs(
        self: FakeLearner, names: Iterable[str], indices: Indices, cycle: int
    ) -> dict[str, Tensor]:
        seen.update(names := list(names))
        return usual(self, names, indices, cycle)

    FakeLearner.outputs = outputs  # type: ignore[method-assign]
    try:
        acquire_in(make(), world)
    finally:
        FakeLearner.outputs = usual  # type: ignore[method-assign]
    declared = {_without_labelled(name) for name in make().needs}
    return sorted(name for name in seen - declared if OutputName.parse(name).output != VOTES)


def _without_labelled(name: str) -> str:
    return str(OutputName.parse(name).unlabelled)


def one_predicted_class(make: Make, world: Scenario) -> str:
    """Works where the network gives all images the same class."""
    bought = acquire_in(make(), replace(world, one_class=True))
    return "" if bought.images else "picks nothing when all predictions are the same class"


def fewer_candidates_than_budget(make: Make, world: Scenario) -> str:
    """Works with fewer candidates than the budget, and with a single one."""
    for candidates in (7, 1):
        bought = acquire_in(make(), replace(world, candidates=candidates, budget=20))
        _require(
            len(bought.images) <= candidates,
            f"{len(bought.images)} images from {candidates} candidates",
        )
    return ""


def order_has_no_influence(make: Make, world: Scenario) -> str:
    """Where the strategy claims it: the same images are bought regardless of the candidates'
    order."""
    if not make().equivariant:
        return "not claimed"
    usual = acquire_in(make(), world)
    for seed in range(3):
        order = tuple(np.random.default_rng(seed).permutation(world.candidates).tolist())
        other = acquire_in(make(), replace(world, order=order))
        _require(
            set(other.images) == set(usual.images),
            f"another order of candidates bought {_describe_difference(usual, other)}",
        )
    return ""


def before_the_first_training(make: Make, world: Scenario) -> str:
    """Strategies that read a stage before the first cycle can pick the first labelled set."""
    if not any(OutputName.parse(name).is_static for name in make().needs):
        return "asks for nothing that is there before the first training"
    bought = acquire_in(make(), replace(world, cycle=BEFORE_FIRST_TRAINING, labelled=0))
    _require(bool(bought.images), "it buys no first labelled set")
    return ""


def own_stream(make: Make, world: Scenario) -> str:
    """What it draws is not what random sampling draws from the same seed: where all images are
    alike to it, the two would be one method under two names."""
    drew = False
    for situation in (world, replace(world, tied=True), replace(world, candidates=100, budget=5)):
        bought, plain = acquire_in(make(), situation), acquire_in(Random(), situation)
        if type(make()) is Random or not bought.drew:
            continue
        drew = True
        _require(
            set(bought.images) != set(plain.images),
            "it buys the images that random sampling buys, by the stream alone",
        )
    _require(
        type(make()) is Random or make().stream != "", "it draws from the stream of random sampling"
    )
    return "" if drew else "draws nothing, or is random sampling itself"


def memory(make: Make, world: Scenario) -> str:
    """The largest temporary grows in proportion to the candidates; where it grows faster, that is
    said."""
    few, many = (
        _largest_temporary(make, replace(world, candidates=count)) for count in (300, 1200)
    )
    exponent = float(np.log(max(many, 1) / max(few, 1)) / np.log(4))
    if exponent <= STEEPEST:
        return ""
    return f"its largest temporary grows like n^{exponent:.1f}: {many} numbers for 1200 candidates"


def _largest_temporary(make: Make, world: Scenario) -> int:
    watch = LargestTemporary()
    acquire_in(make(), world, watch)
    return watch.numbers


class LargestTemporary(TorchFunctionMode):
    """Numbers in the largest storage behind any tensor that torch's functions return."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            with torch._C.DisableTorchFunction():
                self.numbers = max(
                    self.numbers, out.untyped_storage().nbytes() // out.element_size()
                )
        return out


CHECKS: dict[str, Callable[[Make, Scenario], str]] = {
    "same seed, same picks": same_seed_same_picks,
    "distinct candidates": distinct_candidates,
    "labels unread": labels_unread,
    "inputs untouched": inputs_untouched,
    "ties stable": ties_are_stable,
    "not a number refused": not_a_number_is_refused,
    "one predicted class": one_predicted_class,
    "fewer candidates than budget": fewer_candidates_than_budget,
    "order of candidates": order_has_no_influence,
    "first labelled set": before_the_first_training,
    "own stream": own_stream,
    "memory": memory,
}
"""Checks by name, in the order of the table."""


def _require(kept: bool, words: str) -> None:
    if not kept:
        raise Broken(words)


def _describe_difference(one: Acquired, two: Acquired) -> str:
    different = len(set(one.images) ^ set(two.images))
    return f"{different} different images" if different else "the same images in another order"


@contextmanager
def disturb_generators(seed: int) -> Iterator[None]:
    """Other states of the global generators, restored afterwards."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
