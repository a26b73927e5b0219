"""What is measured: the project's way and a plain way of the same mathematics, as functions that
prepare it and return it.

The plain ways are what one writes first: one Pillow image at a time through a DataLoader, eager
float32 in torch's default layout, one tensor after the other in the optimiser and the moving
average, a matrix of all distances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.al.dry_run import synthetic_dataset
from benchmark.al.functional.kcenter import k_center_greedy
from benchmark.al.learner import Learner
from benchmark.al.networks.resnet_cifar import ResNetCifar
from benchmark.al.training.inference import Inference
from benchmark.al.training.numerics import Numerics, prepare
from benchmark.spec.load import find_suite
from benchmark.worker import assemble

Do = Callable[[], Any]
SUITES = Path(__file__).parents[2] / "suites"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
LABELLED, POOL, SCORED = 5_000, 10_000, 250
COD_WEIGHT, EMA = 0.02, 0.999


# ----------------------------------------------------------------------------------------- one step


def plain_step(batch: int) -> Do:
    """A TOD step with COD loss as one writes it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    student, teacher = ResNetCifar(10, heads=2), ResNetCifar(10, heads=2).requires_grad_(False)
    optimizer = torch.optim.SGD(student.parameters(), 0.1, 0.9, weight_decay=5e-4, foreach=False)
    feed, other = _pillow_batches(batch), _pillow_batches(batch)
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        images, labels = next(feed)
        plain_update(student, teacher, optimizer, images, labels, next(other)[0], steps)

    return step


def plain_update(
    student: nn.Module,
    teacher: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    unlabelled: Tensor,
    steps: int,
) -> float:
    """Two forward passes of each network, the loss, the update and the teacher's, tensor by
    tensor."""
    mine, others = student(images), student(unlabelled)
    with torch.no_grad():
        target, other_target = teacher(images).logits, teacher(unlabelled).logits
    ties = F.mse_loss(mine.logits, mine.consistency) + F.mse_loss(others.logits, others.consistency)
    ties = (
        ties + F.mse_loss(mine.consistency, target) + F.mse_loss(others.consistency, other_target)
    )
    loss = F.cross_entropy(mine.logits, labels) + COD_WEIGHT * ties
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    alpha = min(1 - 1 / (steps + 1), EMA)
    for average, value in zip(teacher.parameters(), student.parameters(), strict=True):
        average.data.mul_(alpha).add_(value.data, alpha=1 - alpha)
    return loss.item()


def step(
    batch: int,
    precision: str = "fp32",
    device: str = "cpu",
    deterministic: bool = True,
    step: str = "eager",
    memory_format: str = "channels_last",
) -> Do:
    """The same step as a trial makes it."""
    numerics = prepare(device, precision, 1, step, memory_format)
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    learner = tod_learner(numerics, batch)
    return stepper(learner)


def tod_learner(numerics: Numerics, batch: int = 128) -> Learner:
    """A learner of the TOD suite on synthetic images of CIFAR's shape."""
    return suite_learner("tod/cifar10/tod+cod", numerics, None if batch == 128 else batch)


def suite_learner(name: str, numerics: Numerics, batch: int | None = None) -> Learner:
    """A learner of `suite/method` on synthetic images, with another batch size where one is given;
    the last target model's."""
    suite, _, method = name.rpartition("/")
    sets = {} if batch is None else {"protocol.training.batch_size": batch}
    (trial,) = find_suite(suite, SUITES).trials(methods=[method], seeds=[0], sets=sets)
    amounts = {"train_size": POOL, "test_size": SCORED}
    protocol = trial.protocol.model_copy(
        update={"data": trial.protocol.data.model_copy(update=amounts)}
    )
    trial = trial.model_copy(update={"protocol": protocol})
    _, learner = assemble(trial, synthetic_dataset(protocol), numerics, Path("weights"))
    return learner if isinstance(learner, Learner) else learner.members[-1]


def stepper(learner: Learner) -> Do:
    """A function that makes one more step of the learner's first training."""
    update, batches = fed(learner)
    return lambda: update(next(batches))


def fed(learner: Learner) -> tuple[Callable[[Any], Tensor], Iterator[Any]]:
    """What makes a step of the learner's first training, and the batches it is made of, without
    end."""
    update, objective = learner.updates(learner._optimizer()), learner.objective
    data = learner._cycle_data(0, np.arange(LABELLED), np.arange(LABELLED, POOL))
    objective.start_cycle(0, learner.student)
    learner.student.train()

    def feed() -> Iterator[Any]:
        full = LABELLED // data.training.batch_size
        epoch = 0
        while True:
            for batch, _ in zip(objective.batches(data, epoch), range(full), strict=False):
                yield batch
            epoch += 1

    return update, feed()


# --------------------------------------------------------------------------------------- the images


class PillowCifar(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images of an array, one Pillow image at a time, as torchvision's CIFAR classes have them."""

    def __init__(self, pixels: np.ndarray) -> None:
        from torchvision import transforms as tv

        self.pixels = pixels
        self.transform = tv.Compose(
            [
                tv.RandomHorizontalFlip(),
                tv.RandomCrop(32, padding=4),
                tv.ToTensor(),
                tv.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), index % 10


def _pillow_batches(batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    pixels = np.random.default_rng(0).integers(0, 256, (LABELLED, 32, 32, 3), dtype=np.uint8)
    loader = torch.utils.data.DataLoader(PillowCifar(pixels), batch, shuffle=True, drop_last=True)
    while True:
        yield from loader


def plain_batches(batch: int) -> Do:
    """Training images through a DataLoader."""
    torch.set_num_threads(1)
    feed = _pillow_batches(batch)
    return lambda: next(feed)


def batches(batch: int) -> Do:
    """Training images as a trial makes them."""
    learner = tod_learner(prepare("cpu", "fp32", 1))
    data = learner._cycle_data(0, np.arange(LABELLED), np.arange(LABELLED, POOL))
    generator = torch.Generator().manual_seed(0)
    return lambda: data.view(torch.randint(0, LABELLED, (batch,), generator=generator), 0)


# ----------------------------------------------------------------------------- scoring and choosing


def plain_scoring() -> Do:
    """Logits of pool images by torch's defaults, the images at hand."""
    torch.set_num_threads(1)
    model, images = ResNetCifar(10, heads=2).eval(), torch.randn(SCORED, 3, 32, 32)

    def score() -> Tensor:
        with torch.no_grad():
            return model(images).logits

    return score


def scoring(precision: str) -> Do:
    """Logits of pool images as a trial asks for them, making the images included."""
    numerics = prepare("cpu", precision, 1)
    learner, indices = tod_learner(numerics), torch.arange(SCORED)
    asked = Inference(learner.parts.pool, SCORED, numerics)
    return lambda: asked.outputs({"": learner.student}, {"logits"}, indices)


def _points(count: int, width: int, labelled: int) -> tuple[Tensor, Tensor]:
    points = torch.randn(count + labelled, width, generator=torch.Generator().manual_seed(0))
    return points[:count], points[count:]


def plain_k_center(count: int, width: int, labelled: int, budget: int) -> Do:
    """Greedy k-center as active-learning code has it: the matrix of all distances, then every
    distance for every pick."""
    from sklearn.metrics import pairwise_distances

    features, centres = (points.numpy() for points in _points(count, width, labelled))

    def pick() -> list[int]:
        nearest = pairwise_distances(features, centres).min(axis=1)
        picks: list[int] = []
        for _ in range(budget):
            picks.append(int(np.argmax(nearest)))
            nearest = np.minimum(nearest, pairwise_distances(features, features[picks[-1:]])[:, 0])
        return picks

    return pick


def k_center(count: int, width: int, labelled: int, budget: int) -> Do:
    """The same picks."""
    prepare("cpu", "fp32", 1)
    features, centres = _points(count, width, labelled)
    return lambda: k_center_greedy(features, centres, budget)


# ------------------------------------------------------------------------------------------- starts


def import_torch() -> Do:
    """A fresh interpreter that imports torch."""
    return lambda: _fresh("import torch")


def first_step() -> Do:
    """A fresh interpreter that imports the worker and rehearses a TOD trial of the small digits:
    two cycles of training."""
    return lambda: _fresh(
        "from pathlib import Path\n"
        "import benchmark.worker as w\n"
        "from benchmark.spec.load import find_suite\n"
        "(trial,) = find_suite('quickstart/digits', "
        f"Path({str(SUITES)!r})).trials(methods=['tod+cod'], seeds=[0])\n"
        "numerics = w.prepare('cpu', 'fp32', 1)\n"
        "w.dry_run(trial, lambda small, data: w.assemble(small, data, numerics, Path('weights')))\n"
    )


def _fresh(program: str) -> None:
    import subprocess
    import sys

    subprocess.run([sys.executable, "-c", program], check=True, cwd=SUITES.parent)
