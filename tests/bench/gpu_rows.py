"""Every figure that needs a GPU, in one call of a few minutes: `cd tests && python -m bench.gpu_rows [--out rows.json]`.

The step of TOD with COD loss at batch 128 as `--step` has it (eager; together: one batch of 256 with statistics per half;
captured: that as a CUDA graph) and compiled, in fp32, tf32 and bf16, deterministic or not, against the plain loop on the same
host; a whole short trial over its pure steps; k-center against one feature pass. Steps make their images. Wall time between
synchronisations, medians and minima. What fails is written as its error: a variant that does not work must not hide the
others. `--device cpu --tiny` only tries the script.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
from torch import Tensor

from benchmark.al.functional.kcenter import k_center_greedy
from benchmark.al.learner import Learner
from benchmark.al.loop import run
from benchmark.al.training.cuda_graphs import WARM_UP
from benchmark.al.training.inference import Inference
from benchmark.al.training.numerics import Numerics, prepare
from tests.bench import baselines
from tests.helpers import trials as kit
from tests.helpers.fake_cuda_graphs import Rerun

FLOP, PEAK = 1.137e12, 790e12
"""Floating-point operations of a step of 128 + 128 images; bf16 operations per second the device reaches in products."""
Row = dict[str, Any]


class Bench:
    """Rows as they are found."""

    def __init__(self, device: str, tiny: bool, seconds: float) -> None:
        self.device, self.tiny, self.end = device, tiny, time.monotonic() + seconds
        self.rows: list[Row] = []
        self.cuda = device.startswith("cuda")

    def row(self, name: str, measure: Callable[[], Row]) -> None:
        """Measure and keep; errors are results too."""
        if time.monotonic() > self.end:
            self.rows.append({"row": name, "error": "no time left"})
            return
        try:
            if self.cuda:
                torch.cuda.reset_peak_memory_stats()
            found = measure()
            if self.cuda:
                found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        self.rows.append({"row": name, **found})
        print(json.dumps(self.rows[-1]), flush=True)

    def timed(self, do: Callable[[], Any], rounds: int, per_round: int = 1) -> Row:
        """Milliseconds of one call; warmed up, `per_round` calls between synchronisations."""
        rounds, per_round = (2, 1) if self.tiny else (rounds, per_round)
        spent = []
        for number in range(rounds + 2):
            self.wait()
            start = time.perf_counter()
            for _ in range(per_round):
                do()
            self.wait()
            if number >= 2:
                spent.append(1e3 * (time.perf_counter() - start) / per_round)
        return {"ms": round(statistics.median(spent), 3), "minimum_ms": round(min(spent), 3)}

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    # ------------------------------------------------------------------------------------------------------- the step

    def steps(self) -> None:
        batch = 4 if self.tiny else 128
        self.row("plain loop: Pillow, eager, NCHW, TF32 convolutions", lambda: self.timed(self._plain(batch), 5, 5))
        for precision in ("fp32", "tf32", "bf16"):
            self.row(f"eager, {precision}", lambda p=precision: self._step(batch, p))  # type: ignore[misc]
        for precision in ("tf32", "bf16"):
            self.row(f"eager, {precision}, determinism off", lambda p=precision: self._step(batch, p, loose=True))  # type: ignore[misc]
        self.row("together, bf16", lambda: self._step(batch, "bf16", "together"))
        for precision in ("fp32", "tf32", "bf16"):
            for loose in (False, True):
                name = f"captured, {precision}{', determinism off' * loose}"
                self.row(name, lambda p=precision, o=loose: self._captured(batch, p, o))  # type: ignore[misc]
        self.row("compiled, bf16, determinism off", lambda: self._step(batch, "bf16", loose=True, compiled=True))

    def _plain(self, batch: int) -> Callable[[], Any]:
        """The loop of `baselines.plain_step` with networks and batches moved to the device."""
        torch.set_deterministic_debug_mode("default")
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
        torch.backends.cudnn.allow_tf32 = True
        student, teacher = (baselines.ResNetCifar(10, heads=2).to(self.device) for _ in range(2))
        teacher.requires_grad_(False)
        optimizer = torch.optim.SGD(student.parameters(), 0.1, 0.9, weight_decay=5e-4, foreach=False)
        feed, other = baselines._pillow_batches(batch), baselines._pillow_batches(batch)

        def step() -> None:
            images, labels, others = (part.to(self.device) for part in (*next(feed), next(other)[0]))
            baselines.plain_update(student, teacher, optimizer, images, labels, others, 1)

        return step

    def _step(
        self, batch: int, precision: str, step: str = "eager", loose: bool = False, compiled: bool = False
    ) -> Row:
        learner = self._learner(self._prepare(precision, loose, step), batch)
        if compiled:
            learner.student = torch.compile(learner.student)  # type: ignore[assignment]
        return self._share(self.timed(baselines.stepper(learner), 7, 20))

    def _captured(self, batch: int, precision: str, loose: bool) -> Row:
        """How far some captured steps end from the same steps made eagerly, then what one takes."""
        ends = []
        for step in ("together", "captured"):
            learner = self._learner(self._prepare(precision, loose, step), batch)
            do = baselines.stepper(learner)
            for _ in range(WARM_UP + 5):
                do()
            ends.append(self._weights(learner))
        apart = float((ends[0] - ends[1]).abs().max())
        return self._step(batch, precision, "captured", loose) | {"largest_difference_to_together": apart}

    def _weights(self, learner: Learner) -> Tensor:
        return torch.cat([value.detach().flatten() for value in learner.student.parameters()])

    def _learner(self, numerics: Numerics, batch: int) -> Learner:
        learner = baselines.tod_learner(numerics, batch)
        if not self.cuda:
            learner.graphs = lambda _: Rerun()
        return learner

    def _prepare(self, precision: str, loose: bool, step: str = "eager") -> Numerics:
        numerics = prepare(self.device, precision, 1, step)
        if loose:
            torch.set_deterministic_debug_mode("default")
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
        return numerics

    def _share(self, found: Row) -> Row:
        return found | {"share_of_peak": round(FLOP / PEAK / (found["ms"] / 1e3), 3)}

    # ------------------------------------------------------------------------------------------------ trials and picks

    def trial(self, step: str) -> Row:
        """Training seconds of a short trial over steps times the milliseconds of a pure step."""
        numerics = self._prepare("bf16", False, step)
        pure = self.timed(baselines.stepper(self._learner(numerics, 128)), 5, 20)["ms"] if not self.tiny else 1.0
        learner = self._learner(numerics, 4 if self.tiny else 128)
        epochs, labelled = 4, 16 if self.tiny else 4_992
        learner.protocol = learner.protocol.model_copy(
            update={"training": learner.protocol.training.model_copy(update={"epochs": epochs})}
        )
        parts = baselines.np.arange(labelled), baselines.np.arange(labelled, baselines.POOL)
        learner.fit(0, *parts, frozenset())
        self.wait()
        start = time.perf_counter()
        learner.fit(0, *parts, frozenset())
        if not self.tiny:
            learner.finish_cycle()
        self.wait()
        steps = epochs * -(-labelled // learner.protocol.training.batch_size)
        spent = time.perf_counter() - start
        return {"seconds": round(spent, 3), "over_pure_steps": round(spent / (steps * pure / 1e3), 3)}

    def whole(self) -> Row:
        """A tiny trial from start to end: the loop works on this device."""
        numerics = self._prepare("fp32", loose=False)
        made = kit.trial("tod+cod")
        with tempfile.TemporaryDirectory() as folder:
            strategy, learner = kit.assemble(made, kit.dataset(made, Path(folder)), numerics, Path(folder))
            session = kit.session(made, Path(folder) / "out")
            run(made.protocol, strategy, learner, session)
        return {"accuracies": [result.metrics["accuracy"] for result in session.results]}

    def features(self, count: int) -> Row:
        """One pass over the pool's images, read in turns."""
        numerics = self._prepare("bf16", loose=False)
        learner = baselines.tod_learner(numerics)
        asked = Inference(learner.parts.pool, 8 if self.tiny else 250, numerics)
        indices = torch.arange(count) % baselines.POOL
        return self.timed(lambda: asked.outputs({"": learner.student}, {"features"}, indices), 2)

    def picks(self, count: int, labelled: int, budget: int) -> Row:
        """k-center on the device."""
        self._prepare("fp32", loose=False)
        points = torch.randn(count + labelled, 512, generator=torch.Generator().manual_seed(0)).to(self.device)
        return self.timed(lambda: k_center_greedy(points[:count], points[count:], budget), 2)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="try the script: its numbers mean nothing")
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device: nothing is measured", file=sys.stderr)
        return 3
    bench = Bench(options.device, options.tiny, options.seconds)
    bench.row("a small trial", bench.whole)
    for step in ("eager", "captured"):
        bench.row(f"trial over its pure steps, {step}", lambda s=step: bench.trial(s))  # type: ignore[misc]
    count, labelled, budget = (500, 100, 25) if options.tiny else (50_000, 10_000, 2_500)
    bench.row(f"feature pass of {count} images", lambda: bench.features(16 if options.tiny else count))
    bench.row(
        f"k-center, {count} points, {labelled} labelled, {budget} picks", lambda: bench.picks(count, labelled, budget)
    )
    bench.steps()
    if options.out is not None:
        name = torch.cuda.get_device_name() if bench.cuda else "cpu"
        options.out.write_text(json.dumps({"device": name, "torch": torch.__version__, "rows": bench.rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
