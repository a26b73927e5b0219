"""What depends on amounts and is known before anything runs: batches that an objective cannot take,
windows that fit no map.

A dry run shrinks amounts and so cannot see these; the trial itself would fail at them, hours later.
No torch here: what the networks do to sizes is a table, held to the networks by
tests/planning/test_amounts.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmark.al.parameters import declared_value
from benchmark.spec.protocol import Acquisition, Protocol
from benchmark.spec.suite import Trial
from benchmark.spec.training import Model
from benchmark.spec.transforms import CenterCrop, RandomCrop, RandomResizedCrop, Resize, Transform

PAIR = 2
GROUPS = {PAIR: "pairs"}
"""What batches of a multiple of images hold, in a word."""


@dataclass(frozen=True)
class Sides:
    """What a network does to the side of its input: strides of the stage outputs that it hands out,
    and of the last layer that is normalised over the batch (None: none is)."""

    maps: tuple[int, ...]
    normalised: int | None
    divide: Callable[[int, int], int]


def _divide_up(side: int, stride: int) -> int:
    return -(-side // stride)


def _divide_down(side: int, stride: int) -> int:
    return side // stride


NETWORKS = {
    "small_cnn": Sides((1, 2, 4, 4), 4, _divide_up),
    "resnet_cifar": Sides((1, 2, 4, 8), 8, _divide_up),
    "resnet_bottleneck": Sides((1, 2, 4, 8), 8, _divide_up),
    "resnet_imagenet": Sides((4, 8, 16, 32), 32, _divide_up),
    "vgg_bn": Sides((4, 8, 16, 32), 16, _divide_down),
    "vgg_plain": Sides((4, 8, 16, 32), None, _divide_down),
    "ofa": Sides((), 32, _divide_up),
}


def find_obstacle(trial: Trial) -> str:
    """Why a trial would fail in the middle by its amounts, and the number to change; empty if it
    would not."""
    return next(iter((*_unusable_batches(trial), *_unusable_windows(trial))), "")


def _unusable_batches(trial: Trial) -> Iterator[str]:
    """Batches of each cycle that the objective or the network cannot take."""
    training, name = trial.protocol.training, trial.objective.name
    size = training.batch_size
    if declared_value("objectives", name, "own_batches"):
        return
    multiple = declared_value("objectives", name, "batch_multiple")
    takes = f"{name} takes {GROUPS.get(multiple, f'multiples of {multiple}')}"
    if size % multiple and max(trial.protocol.acquisition.labelled()) >= size:
        yield (
            f"protocol.training.batch_size: {takes}, and {size} is "
            f"{'odd' if multiple == PAIR else 'none'} -> {size + multiple - size % multiple}"
        )
    for cycle, labelled in enumerate(trial.protocol.acquisition.labelled()):
        left = labelled % size or min(labelled, size)
        if training.drop_last and labelled >= size:
            continue
        place = (
            f"protocol.acquisition: cycle {cycle} trains on {labelled} images in batches of {size}"
        )
        if training.drop_last:
            yield (
                f"{place}, and drop_last leaves none -> a batch_size of at most {labelled}, or "
                "drop_last = false"
            )
        elif left % multiple:
            # The sizes before were multiples, so some more images in this step make this one a
            # multiple, and all later ones of a constant budget.
            more = multiple - left % multiple
            changed = _more_images(trial.protocol.acquisition, cycle, more)
            yield (
                f"{place}: the last one has {left}, and {takes} -> {changed}, or drop_last = true"
            )
        elif left == 1 and (reason := _needs_two(trial.protocol)):
            yield (
                f"{place}: the last one has 1, and {reason} -> another budget or batch_size, or "
                "drop_last = true"
            )


def _more_images(acquisition: Acquisition, cycle: int, more: int) -> str:
    """The setting by which so many images more are bought before the training of a cycle."""
    if cycle == 0:
        return f"initial.size = {acquisition.initial.size + more}"
    place = "" if isinstance(acquisition.budget, int) else f"[{cycle - 1}]"
    return f"budget{place} = {acquisition.budgets()[cycle - 1] + more}"


def _needs_two(protocol: Protocol) -> str:
    """Why a batch of one image cannot be trained on: a network whose last maps are single pixels
    normalises over the batch."""
    for place in protocol.trained():
        known = NETWORKS.get(protocol.models[place].name)
        side = train_side(protocol, protocol.models[place])
        if known and known.normalised and side and known.divide(side, known.normalised) == 1:
            return (
                f"{protocol.models[place].name} at {side} pixels normalises single pixels over a "
                "batch"
            )
    return ""


def _unusable_windows(trial: Trial) -> Iterator[str]:
    """Pooling windows that do not leave one value of a map of the network at this size."""
    parameter = declared_value("objectives", trial.objective.name, "map_windows")
    windows = trial.objective.params.get(parameter)
    if not isinstance(windows, list):
        return
    for place in trial.protocol.trained():
        model = trial.protocol.models[place]
        side, known = train_side(trial.protocol, model), NETWORKS.get(model.name)
        if side is None or known is None or len(known.maps) != len(windows):
            continue
        maps = [known.divide(side, stride) for stride in known.maps]
        if model.params.get("pool_last_map"):
            maps[-1] = 1
        for index, (window, found) in enumerate(zip(windows, maps, strict=True)):
            if isinstance(window, int) and window and not window <= found < 2 * window:
                yield (
                    f"objective.params.{parameter}[{index}] is {window}, and the map of "
                    f"{model.name} on {side} pixels is {found}x{found} -> {found}, or 0 for the "
                    "whole map"
                )


def train_side(protocol: Protocol, model: Model) -> int | None:
    """Side in pixels of the square images that a network is trained on; None where images keep
    their own sizes."""
    from benchmark.al.datasets.catalogue import side_of  # which needs numpy: `--help` does not

    decoded = _side_after(protocol.data.decode, side_of(protocol.data.name))
    return model.size or _side_after(protocol.views.train, decoded)


def _side_after(transforms: tuple[Transform, ...], side: int | None) -> int | None:
    for transform in transforms:
        if isinstance(transform, RandomCrop | RandomResizedCrop | CenterCrop):
            side = transform.size
        elif isinstance(transform, Resize):
            side = transform.size[0] if transform.size and len(set(transform.size)) == 1 else None
    return side
