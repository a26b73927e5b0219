"""Seconds and memory of each newer method at 50,000 candidates with 512 features: `python -m
tests.bench.modern_cost [METHOD...]`.

Each method selects in a process of its own, on one thread, on Linux. Memory is the peak of the
process above what it held when the inputs were made. The inputs are clusters of random numbers, not
features of images.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.al import registry
from benchmark.al.output_name import OutputName
from benchmark.al.strategies import Strategy, View
from benchmark.spec.groups import MODERN
from benchmark.spec.suite import Component

POOL, WIDTH, CLASSES, KNOWN, BUDGET = 50_000, 512, 10, 1_000, 1_000


def world(strategy: Strategy, pool: int = POOL, width: int = WIDTH, known: int = KNOWN) -> View:
    """A view with what the strategy needs: points around 50 centres, and logits of a random linear
    layer on them."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(50, width, generator=generator)
    names = torch.randint(50, (pool + known,), generator=generator)
    features = (centres[names] + torch.randn(pool + known, width, generator=generator)).relu_()
    weight = torch.randn(CLASSES, width, generator=generator) / width**0.5
    bias = torch.zeros(CLASSES)
    given: dict[str, Tensor] = {}
    for need in map(OutputName.parse, strategy.needs):
        rows = features[pool:] if need.labelled else features[:pool]
        if need.headed is not None:
            given[str(need)] = weight if need.output == "weight" else bias
        elif need.output == "labels":
            given[str(need)] = names[pool:] % CLASSES
        elif need.passes is not None:
            masks = torch.rand(need.passes[1], width, generator=generator) < 0.5
            given[str(need)] = torch.stack([rows @ (2 * mask * weight).T for mask in masks])
        else:
            given[str(need)] = rows @ weight.T + bias if need.output == "logits" else rows.clone()
    return View(
        cycle=1,
        cycles=4,
        classes=CLASSES,
        candidates=np.arange(pool),
        labelled=np.arange(pool, pool + known),
        pool_size=pool + known,
        rng=np.random.Generator(np.random.Philox(key=0)),
        device=torch.device("cpu"),
        outputs=given,
    )


def measure(name: str, budget: int = BUDGET) -> Mapping[str, float | str]:
    """One selection in this process."""
    torch.set_num_threads(1)
    strategy = registry.build_component("strategies", Component(name=name))
    seen = world(strategy)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before, start, busy = _memory("VmRSS"), time.perf_counter(), time.process_time()
    with torch.no_grad():
        strategy.select(seen, budget)
    return {
        "method": name,
        "budget": budget,
        "seconds": round(time.perf_counter() - start, 1),
        "processor": round(time.process_time() - busy, 1),
        "megabytes": round((_memory("VmHWM") - before) / 1e6),
        "inputs": round(sum(value.nbytes for value in seen.outputs.values()) / 1e6),
    }


def _memory(name: str) -> int:
    """Bytes of a line of Linux' account of this process."""
    (line,) = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(f"{name}:")
    ]
    return int(line.split()[1]) * 1024


def main(arguments: list[str]) -> None:
    """A line of JSON for each method; `NAME:BUDGET` for another budget than 1,000."""
    if arguments[:1] == ["--one"]:
        name, _, budget = arguments[1].partition(":")
        print(json.dumps(measure(name, int(budget or BUDGET))))
        return
    for name in arguments or MODERN:
        subprocess.run([sys.executable, "-m", "tests.bench.modern_cost", "--one", name], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
