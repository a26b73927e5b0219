"""Every figure that needs a GPU, in one call of a few minutes: `cd tests && python -m bench.gpu_rows [--out rows.json]`.

The step of TOD with COD loss at batch 128 (plain loop on the same host; eager, compiled and captured as a CUDA graph; fp32,
tf32 and bf16; deterministic or not; two batches of 128 or one of 256 with statistics per half), a whole short trial over its
pure steps, and k-center against one feature pass. Wall time between synchronisations, medians and minima. What fails is
written as its error: a variant that does not work must not hide the others. `--device cpu --tiny` only tries the script.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
from al import kit
from bench import ways
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.al.functional.kcenter import k_center_greedy
from benchmark.al.inference import Inference
from benchmark.al.loop import run
from benchmark.al.numerics import Numerics, prepare

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
        self.row("bf16, one batch with statistics per half", lambda: self._step(batch, "bf16", halves=True))
        for loose in (False, True):
            for halves in (False, True):
                name = f"graph, bf16{', halves' * halves}{', determinism off' * loose}"
                self.row(name, lambda h=halves, o=loose: self._captured(batch, h, o))  # type: ignore[misc]
        self.row("compiled, bf16, determinism off", lambda: self._step(batch, "bf16", loose=True, compiled=True))

    def _plain(self, batch: int) -> Callable[[], Any]:
        """The loop of `ways.plain_step` with networks and batches moved to the device."""
        torch.set_deterministic_debug_mode("default")
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
        torch.backends.cudnn.allow_tf32 = True
        student, teacher = (ways.ResNetCifar(10, heads=2).to(self.device) for _ in range(2))
        teacher.requires_grad_(False)
        optimizer = torch.optim.SGD(student.parameters(), 0.1, 0.9, weight_decay=5e-4, foreach=False)
        feed, other = ways._pillow_batches(batch), ways._pillow_batches(batch)

        def step() -> None:
            images, labels, others = (part.to(self.device) for part in (*next(feed), next(other)[0]))
            ways.plain_update(student, teacher, optimizer, images, labels, others, 1)

        return step

    def _step(
        self, batch: int, precision: str, loose: bool = False, halves: bool = False, compiled: bool = False
    ) -> Row:
        numerics = self._prepare(precision, loose)
        learner = ways.tod_learner(numerics, batch)
        if compiled:
            learner.student = torch.compile(learner.student)  # type: ignore[assignment]
        if halves:
            _together(learner)
        return self._share(self.timed(ways.stepper(learner, numerics), 7, 20))

    def _captured(self, batch: int, halves: bool, loose: bool) -> Row:
        """Forward, backward, update and moving average as one graph over fixed batches; images are made outside of it.

        Checked before it is timed: eager steps from the same weights must end in the same weights.
        """
        numerics = self._prepare("bf16", loose)
        ends = []
        for captured in (False, True):
            learner = ways.tod_learner(numerics, batch)
            if halves:
                _together(learner)
            step, static = self._static(learner, numerics)
            if captured:
                step = _graph(step)
            else:
                for _ in range(3):  # what warms a graph up
                    step()
            for _ in range(5):
                step()
            ends.append(torch.cat([value.detach().flatten() for value in learner.student.parameters()]))
        data = learner._cycle_data(0, ways.np.arange(ways.LABELLED), ways.np.arange(ways.LABELLED, ways.POOL))
        batches = learner.objective.batches(data, 0)

        def whole() -> None:
            nonlocal batches
            new = next(batches, None)
            if new is None or len(new.labels) != len(static.labels):
                batches = learner.objective.batches(data, 0)
                new = next(batches)
            static.images.copy_(new.images)
            static.labels.copy_(new.labels)
            static.unlabelled.copy_(new.unlabelled)
            step()

        found = self._share(self.timed(whole, 7, 20))
        return found | {"difference_to_eager": float((ends[0] - ends[1]).abs().max())}

    def _static(self, learner: Any, numerics: Numerics) -> tuple[Callable[[], None], Any]:
        objective, student, optimizer = learner.objective, learner.student, learner._optimizer()
        data = learner._cycle_data(0, ways.np.arange(ways.LABELLED), ways.np.arange(ways.LABELLED, ways.POOL))
        objective.load_counters(
            {"steps": 10**6}
        )  # a graph keeps the factor of the moving average that it was recorded with
        static = next(iter(objective.batches(data, 0)))
        student.train()

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with numerics.autocast():
                loss = objective.loss(student, static)
            loss.backward()
            optimizer.step()
            objective.after_step(student)

        return step, static

    def _prepare(self, precision: str, loose: bool) -> Numerics:
        numerics = prepare(self.device, precision, 1)
        if loose:
            torch.set_deterministic_debug_mode("default")
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
        return numerics

    def _share(self, found: Row) -> Row:
        return found | {"share_of_peak": round(FLOP / PEAK / (found["ms"] / 1e3), 3)}

    # ------------------------------------------------------------------------------------------------ trials and picks

    def trial(self) -> Row:
        """Training seconds of a short trial over steps times the milliseconds of a pure step."""
        numerics = self._prepare("bf16", loose=False)
        pure = self.timed(ways.stepper(ways.tod_learner(numerics), numerics), 5, 20)["ms"] if not self.tiny else 1.0
        learner = ways.tod_learner(numerics, 4 if self.tiny else 128)
        epochs, labelled = 4, 16 if self.tiny else 4_992
        learner.protocol = learner.protocol.model_copy(
            update={"training": learner.protocol.training.model_copy(update={"epochs": epochs})}
        )
        parts = ways.np.arange(labelled), ways.np.arange(labelled, ways.POOL)
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
        learner = ways.tod_learner(numerics)
        asked = Inference(learner.parts.pool, 8 if self.tiny else 250, numerics)
        indices = torch.arange(count) % ways.POOL
        return self.timed(lambda: asked.outputs({"": learner.student}, {"features"}, indices), 2)

    def picks(self, count: int, labelled: int, budget: int) -> Row:
        """k-center on the device."""
        self._prepare("fp32", loose=False)
        points = torch.randn(count + labelled, 512, generator=torch.Generator().manual_seed(0)).to(self.device)
        return self.timed(lambda: k_center_greedy(points[:count], points[count:], budget), 2)


def _graph(step: Callable[[], None]) -> Callable[[], None]:
    """A step recorded once and replayed: warmed up on a side stream, as capturing asks for. Rates are those of capture."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _together(learner: Any) -> None:
    """Let both networks see labelled and unlabelled images as one batch, with batch-norm statistics per half."""
    objective = learner.objective
    plain = type(objective).loss

    def loss(model: nn.Module, batch: Any) -> Tensor:
        def both(network: nn.Module) -> Callable[[Tensor], Any]:
            with _halved(network):
                out = network(torch.cat([batch.images, batch.unlabelled]))
            first, second = (type(out)(*parts) for parts in zip(*(_split(part) for part in out), strict=True))
            answers = iter((first, second))
            return lambda _: next(answers)

        with torch.no_grad():
            objective._teacher.train()
            teacher = both(objective._teacher)
        shown = copy.copy(objective)
        shown._teacher = _Answers(teacher)
        result: Tensor = plain(shown, both(model), batch)
        return result

    objective.loss = loss


class _Answers:
    """Looks like a network that has already answered."""

    def __init__(self, answer: Callable[[Tensor], Any]) -> None:
        self._answer = answer

    def train(self, mode: bool = True) -> None:
        """Nothing to switch."""

    def __call__(self, images: Tensor) -> Any:
        return self._answer(images)


def _split(part: Any) -> tuple[Any, Any]:
    if part is None:
        return None, None
    if isinstance(part, Tensor):
        first, second = part.chunk(2)
        return first, second
    halves = [_split(one) for one in part]
    return tuple(first for first, _ in halves), tuple(second for _, second in halves)


@contextmanager
def _halved(network: nn.Module) -> Iterator[None]:
    """Batch norm of every layer sees one half after the other."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        forward = norm.forward
        norm.forward = lambda x, f=forward: torch.cat([f(half) for half in x.chunk(2)])  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


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
    bench.row("trial over its pure steps", bench.trial)
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
