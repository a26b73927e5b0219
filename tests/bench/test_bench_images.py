"""How much faster a batch is made than by a per-sample Pillow loader: CIFAR's training view, one thread, one run.

Run with `make bench`. Both ways are timed in turns, in CPU time; the ratios are reported (`extra_info`), never asserted.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

from benchmark.al.data import Part
from benchmark.al.images import Images
from benchmark.al.philox import Counter
from benchmark.spec.models import Transform

BATCH, IMAGES = 128, 5120
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
VIEW = [
    {"op": "random_crop", "size": 32, "padding": 4},
    {"op": "horizontal_flip", "p": 0.5},
    {"op": "normalise", "mean": MEAN, "std": STD},
]


class PillowCifar(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Images of an array, one Pillow image at a time, as torchvision's CIFAR classes have them."""

    def __init__(self, pixels: np.ndarray) -> None:
        from torchvision import transforms as tv

        self.pixels = pixels
        self.transform = tv.Compose(
            [tv.RandomCrop(32, padding=4), tv.RandomHorizontalFlip(), tv.ToTensor(), tv.Normalize(MEAN, STD)]
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), 0


def test_training_view_of_cifar(benchmark: Any) -> None:
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    part = Part(pixels, np.zeros(IMAGES, np.int64), None, None, 3)
    made = Images(part, TypeAdapter(tuple[Transform, ...]).validate_python(tuple(VIEW)), torch.device("cpu"))
    made.memory_format = torch.channels_last
    counter, generator = Counter(0), torch.Generator().manual_seed(0)
    loader = torch.utils.data.DataLoader(PillowCifar(pixels), BATCH, shuffle=True)
    feed = iter(loader)

    def one_by_one() -> torch.Tensor:
        nonlocal feed
        batch = next(feed, None)
        if batch is None:
            feed = iter(loader)
            batch = next(feed)
        return batch[0]

    def batched() -> torch.Tensor:
        return made.batch(torch.randint(0, IMAGES, (BATCH,), generator=generator), counter)

    assert one_by_one().shape == batched().shape == (BATCH, 3, 32, 32)
    rounds = 5 if benchmark.disabled else 60
    slow, fast = [], []
    for _ in range(rounds):
        for way, spent in ((one_by_one, slow), (batched, fast)):
            start = time.process_time()
            way()
            spent.append(time.process_time() - start)
    benchmark.extra_info |= {
        "pillow ms per 128": round(1e3 * statistics.median(slow), 3),
        "batched ms per 128": round(1e3 * statistics.median(fast), 3),
        "ratio of medians": round(statistics.median(slow) / statistics.median(fast), 2),
        "ratio of minima": round(min(slow) / min(fast), 2),
    }
    benchmark(batched)


@pytest.mark.gpu
def test_training_view_of_cifar_on_a_gpu(benchmark: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    part = Part(pixels, np.zeros(IMAGES, np.int64), None, None, 3)
    made = Images(part, TypeAdapter(tuple[Transform, ...]).validate_python(tuple(VIEW)), torch.device("cuda"))
    made.memory_format = torch.channels_last
    indices, counter = torch.randint(0, IMAGES, (BATCH,), device="cuda"), Counter(0)

    def batched() -> None:
        made.batch(indices, counter)
        torch.cuda.synchronize()

    benchmark(batched)
