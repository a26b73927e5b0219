"""Every figure that needs a GPU, in one call: `python -m tests.bench.gpu_rows --device cuda --out
rows.jsonl`.

Runs in the project's folder with any Python from 3.11 and torch from 2.7, for instance the bare
Python 3.12 and torch 2.11 of a borrowed machine without a network. Beside torch and numpy it needs
pydantic, pydantic-core (built for that Python), annotated-types and typing-inspection as wheels;
scikit-learn, torchvision and Pillow for the rows that name them; pytest, pytest-benchmark and
hypothesis for the tests; click and rich for trials.

The first three minutes answer what is open: the step of TOD with COD loss at batch 128 captured,
together and eager in bf16; fp32 and tf32 in either layout; images alone, the graph alone; a step of
LL4AL and one of a DIAM network; whether bits repeat; two and three trials at once. The plain loop,
determinism off, whole trials, k-center and compilation follow, then the tests marked `gpu`, then
trials of the paper profiles that `--trials` selects, in that order, resumed where they were left.

Wall time between synchronisations, medians and minima. A row is written as soon as it is measured,
and what fails is written as its error: a variant that does not work must not hide the others.
`--device cpu --tiny`, or `--pretended --tiny` on the pretended device of the tests, only tries the
script.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
if "--pretended" in sys.argv:  # before torch
    from tests.simcuda import build

    build.load()

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
"""Floating-point operations of a step of 128 + 128 images; bf16 operations per second the device
reaches in products."""
Row = dict[str, Any]
COD = "tod/cifar10/tod+cod"
ROOT = Path(__file__).parents[2]


class Bench:
    """Rows as they are found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device, self.tiny = options, options.device, options.tiny
        self.end = time.monotonic() + options.seconds
        device = self.device
        self.cuda = device.startswith("cuda")

    def row(self, name: str, measure: Callable[[], Row]) -> None:
        """Measure and keep; errors are results too."""
        if time.monotonic() > self.end:
            self.keep({"row": name, "error": "no time left"})
            return
        started = time.monotonic()
        try:
            if self.cuda:
                torch.cuda.reset_peak_memory_stats()
            found = measure()
            if self.cuda:
                found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        except Exception as error:
            found = {
                "error": (
                    f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                )
            }
        self.keep({"row": name, **found, "took_s": round(time.monotonic() - started, 1)})

    def keep(self, row: Row) -> None:
        """Print and write at once."""
        print(json.dumps(row), flush=True)
        if self.options.out is not None:
            with self.options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def timed(self, do: Callable[[], Any], rounds: int, per_round: int = 1) -> Row:
        """Milliseconds of one call; warmed up, `per_round` calls between synchronisations."""
        rounds, per_round, warm = (1, 1, 1) if self.tiny else (rounds, per_round, 2)
        spent = []
        for number in range(rounds + warm):
            self.wait()
            start = time.perf_counter()
            for _ in range(per_round):
                do()
            self.wait()
            if number >= warm:
                spent.append(1e3 * (time.perf_counter() - start) / per_round)
        return {"ms": round(statistics.median(spent), 3), "minimum_ms": round(min(spent), 3)}

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    # ------------------------------------------------------------------------------------- the step

    def questions(self) -> None:
        """What is open, in the order of what depends on it."""
        for step in ("captured", "together", "eager"):
            self.row(f"{step}, bf16", lambda s=step: self._step("bf16", s))  # type: ignore[misc]
        for precision in ("fp32", "tf32"):
            for layout in ("channels_last", "contiguous"):
                name = f"eager, {precision}, {'NHWC' if layout == 'channels_last' else 'NCHW'}"
                self.row(name, lambda p=precision, m=layout: self._step(p, layout=m))  # type: ignore[misc]
        self.row("bits, captured, bf16", lambda: self._bits("bf16"))
        self.row("bits, captured, fp32", lambda: self._bits("fp32"))
        self.row("images alone, bf16", self._images)
        self.row("graph alone, bf16", self._graph)
        for step in ("captured", "eager"):
            self.row(
                f"LL4AL, {step}, bf16", lambda s=step: self._step("bf16", s, of="tod/cifar10/ll4al")
            )  # type: ignore[misc]
        for precision, layout in (
            ("fp32", "channels_last"),
            ("fp32", "contiguous"),
            ("bf16", "channels_last"),
        ):
            name = f"DIAM network, {precision}, {'NHWC' if layout == 'channels_last' else 'NCHW'}"
            self.row(
                name,
                lambda p=precision, m=layout: self._step(p, layout=m, of="diam/mnist-2/random"),
            )  # type: ignore[misc]
        for count in (1, 2, 3):
            self.row(f"{count} at once, captured, bf16", lambda c=count: self._at_once(c))  # type: ignore[misc]

    def steps(self) -> None:
        """The rest of the step: against the plain loop, determinism off, compiled."""
        self.row(
            "plain loop: Pillow, eager, NCHW, TF32 convolutions",
            lambda: self.timed(self._plain(self.batch), 5, 5),
        )
        for precision in ("fp32", "tf32"):
            self.row(f"captured, {precision}", lambda p=precision: self._step(p, "captured"))  # type: ignore[misc]
        for precision in ("tf32", "bf16"):
            self.row(
                f"eager, {precision}, determinism off",
                lambda p=precision: self._step(p, loose=True),
            )  # type: ignore[misc]
        self.row(
            "captured, bf16, determinism off", lambda: self._step("bf16", "captured", loose=True)
        )
        if not self.options.pretended:
            self.row(
                "compiled, bf16, determinism off",
                lambda: self._step("bf16", loose=True, compiled=True),
            )

    @property
    def batch(self) -> int:
        return 4 if self.tiny else 128

    def _plain(self, batch: int) -> Callable[[], Any]:
        """The loop of `baselines.plain_step` with networks and batches moved to the device."""
        torch.set_deterministic_debug_mode("default")
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
        torch.backends.cudnn.allow_tf32 = True
        student, teacher = (baselines.ResNetCifar(10, heads=2).to(self.device) for _ in range(2))
        teacher.requires_grad_(False)
        optimizer = torch.optim.SGD(
            student.parameters(), 0.1, 0.9, weight_decay=5e-4, foreach=False
        )
        feed, other = baselines._pillow_batches(batch), baselines._pillow_batches(batch)

        def step() -> None:
            images, labels, others = (
                part.to(self.device) for part in (*next(feed), next(other)[0])
            )
            baselines.plain_update(student, teacher, optimizer, images, labels, others, 1)

        return step

    def _step(
        self,
        precision: str,
        step: str = "eager",
        loose: bool = False,
        compiled: bool = False,
        layout: str = "channels_last",
        of: str = COD,
    ) -> Row:
        learner = self._learner(self._prepare(precision, loose, step, layout), of)
        if compiled:
            learner.student = torch.compile(learner.student)  # type: ignore[assignment]
        found = self.timed(baselines.stepper(learner), 7, 20)
        return self._share(found) if of == COD else found

    def _images(self) -> Row:
        """Labelled and unlabelled images of a step."""
        _, batches = baselines.fed(self._learner(self._prepare("bf16")))
        return self.timed(lambda: next(batches), 7, 20)

    def _graph(self) -> Row:
        """A captured step on the same batch again and again."""
        update, batches = baselines.fed(self._learner(self._prepare("bf16", step="captured")))
        batch = next(batches)
        for _ in range(WARM_UP + 1):
            update(batch)
        return self._share(self.timed(lambda: update(batch), 7, 20))

    def _bits(self, precision: str) -> Row:
        """Whether two captured trainings of a few steps end in the same bits, and how far from
        those made together."""
        ends = []
        for step in ("captured", "captured", "together"):
            learner = self._learner(self._prepare(precision, step=step))
            do = baselines.stepper(learner)
            for _ in range(WARM_UP + 5):
                do()
            ends.append(self._weights(learner))
        apart = float((ends[0] - ends[2]).abs().max())
        return {
            "same_bits": bool(torch.equal(ends[0], ends[1])),
            "largest_difference_to_together": apart,
        }

    def _at_once(self, count: int) -> Row:
        """Steps a second of so many processes, all together."""
        seconds, start = (0.5, 5.0) if self.tiny else (8.0, 20.0)
        command = [
            sys.executable,
            "-m",
            "tests.bench.gpu_rows",
            "--device",
            self.device,
            "--count",
            f"{time.time() + start},{seconds}",
        ]
        command += ["--tiny"] * self.tiny + ["--pretended"] * self.options.pretended
        running = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]
        said = [process.communicate()[0] for process in running]
        if any(process.returncode for process in running):
            raise RuntimeError(
                f"a process ended with {[process.returncode for process in running]}"
            )
        rates = [json.loads(text.splitlines()[-1])["steps_per_second"] for text in said]
        return {"steps_per_second": round(sum(rates), 2), "of_each": rates}

    def count(self, at: float, seconds: float) -> Row:
        """Steps a second from a time of the clock on."""
        do = baselines.stepper(self._learner(self._prepare("bf16", step="captured")))
        for _ in range(WARM_UP + 2):
            do()
        self.wait()
        late = time.time() - at
        time.sleep(max(-late, 0))
        start, made = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            do()
            self.wait()
            made += 1
        return {
            "steps_per_second": round(made / (time.perf_counter() - start), 2),
            "late_s": round(max(late, 0), 1),
        }

    def _weights(self, learner: Learner) -> Tensor:
        return torch.cat([value.detach().flatten() for value in learner.student.parameters()])

    def _learner(self, numerics: Numerics, of: str = COD) -> Learner:
        if self.tiny:
            of = of.replace("tod/cifar10", "quickstart/digits")
        learner = baselines.suite_learner(
            of, numerics, self.batch if of == COD or self.tiny else None
        )
        if not self.cuda:
            learner.graphs = lambda _: Rerun()
        return learner

    def _prepare(
        self,
        precision: str,
        loose: bool = False,
        step: str = "eager",
        layout: str = "channels_last",
    ) -> Numerics:
        numerics = prepare(self.device, precision, 1, step, layout)
        if loose:
            torch.set_deterministic_debug_mode("default")
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
        return numerics

    def _share(self, found: Row) -> Row:
        return found | {"share_of_peak": round(FLOP / PEAK / (found["ms"] / 1e3), 3)}

    # ----------------------------------------------------------------------------- trials and picks

    def trial(self, step: str) -> Row:
        """Training seconds of a short trial over steps times the milliseconds of a pure step."""
        numerics = self._prepare("bf16", False, step)
        pure = (
            self.timed(baselines.stepper(self._learner(numerics)), 5, 20)["ms"]
            if not self.tiny
            else 1.0
        )
        learner = self._learner(numerics)
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
        return {
            "seconds": round(spent, 3),
            "over_pure_steps": round(spent / (steps * pure / 1e3), 3),
        }

    def whole(self) -> Row:
        """A tiny trial from start to end: the loop works on this device."""
        numerics = self._prepare("fp32", loose=False)
        made = kit.trial("tod+cod")
        with tempfile.TemporaryDirectory() as folder:
            strategy, learner = kit.assemble(
                made, kit.dataset(made, Path(folder)), numerics, Path(folder)
            )
            session = kit.session(made, Path(folder) / "out")
            run(made.protocol, strategy, learner, session)
        return {"accuracies": [result.metrics["accuracy"] for result in session.results]}

    def features(self, count: int) -> Row:
        """One pass over the pool's images, read in turns."""
        numerics = self._prepare("bf16", loose=False)
        learner = self._learner(numerics)
        asked = Inference(learner.parts.pool, 8 if self.tiny else 250, numerics)
        indices = torch.arange(count) % baselines.POOL
        return self.timed(lambda: asked.outputs({"": learner.student}, {"features"}, indices), 2)

    def picks(self, count: int, labelled: int, budget: int) -> Row:
        """k-center on the device."""
        self._prepare("fp32", loose=False)
        points = torch.randn(count + labelled, 512, generator=torch.Generator().manual_seed(0)).to(
            self.device
        )
        return self.timed(lambda: k_center_greedy(points[:count], points[count:], budget), 2)

    # ----------------------------------------------------------------------- tests and whole trials

    def tests(self) -> Row:
        """The project's tests that need a GPU; on the pretended device those that run them
        there."""
        asked = ["tests/simcuda/test_gpu_tests.py"] if self.options.pretended else ["-m", "gpu"]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            "0",
            "-q",
            "-p",
            "no:cacheprovider",
            *asked,
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return {"exit": done.returncode, "said": done.stdout.strip().splitlines()[-1:]}

    def selected(self, selector: str) -> Row:
        """Trials of paper profiles, as far as the time goes."""
        left = max(int(self.end - time.monotonic()), 1)
        command = [
            sys.executable,
            "-m",
            "benchmark",
            "--runs",
            str(self.options.runs),
            "run",
            selector,
            "--device",
            self.device,
            "--precision",
            "bf16",
            "--step",
            "captured",
            "--jobs",
            "1",
            "--time-limit",
            f"{left}s",
            "--no-tracking",
            "--progress",
            "plain",
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return {"exit": done.returncode, "said": done.stdout.strip().splitlines()[-3:]}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--tiny", action="store_true", help="try the script: its numbers mean nothing"
    )
    parser.add_argument(
        "--pretended", action="store_true", help="on the pretended device of the tests"
    )
    parser.add_argument(
        "--seconds", type=float, default=540.0, help="no row begins later than this"
    )
    parser.add_argument(
        "--out", type=Path, help="a line of JSON for each row, added as it is measured"
    )
    parser.add_argument("--no-tests", action="store_true", help="without the tests marked gpu")
    parser.add_argument(
        "--trials", nargs="*", default=[], metavar="SELECTOR", help="afterwards, in this order"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="store of those trials")
    parser.add_argument(
        "--count", metavar="CLOCK,SECONDS", help="only count steps from that time on"
    )
    options = parser.parse_args(argv)
    with ExitStack() as stack:
        if options.pretended:
            from tests.simcuda.device import pretended

            torch.use_deterministic_algorithms(
                True
            )  # imports the compiler, which the device must not see
            stack.enter_context(pretended())
        return measure(options)


def measure(options: argparse.Namespace) -> int:
    """All rows."""
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device: nothing is measured", file=sys.stderr)
        return 3
    bench = Bench(options)
    if options.count:
        at, seconds = map(float, options.count.split(","))
        print(json.dumps(bench.count(at, seconds)))
        return 0
    name = torch.cuda.get_device_name() if bench.cuda else "cpu"
    bench.keep(
        {
            "row": "machine",
            "device": name,
            "torch": torch.__version__,
            "python": sys.version.split()[0],
        }
    )
    bench.questions()
    bench.row("a small trial", bench.whole)
    for step in ("eager", "captured"):
        bench.row(f"trial over its pure steps, {step}", lambda s=step: bench.trial(s))  # type: ignore[misc]
    count, labelled, budget = (500, 100, 25) if options.tiny else (50_000, 10_000, 2_500)
    bench.row(
        f"feature pass of {count} images", lambda: bench.features(16 if options.tiny else count)
    )
    bench.row(
        f"k-center, {count} points, {labelled} labelled, {budget} picks",
        lambda: bench.picks(count, labelled, budget),
    )
    bench.steps()
    if not options.no_tests:
        bench.row("tests marked gpu", bench.tests)
    for selector in options.trials:
        bench.row(f"trials of {selector}", lambda s=selector: bench.selected(s))  # type: ignore[misc]
    return 0


if __name__ == "__main__":
    sys.exit(main())
