"""One trial's dealings with the outside: saving, resuming, reusing identical trainings, reporting,
stopping in time."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.al.learner import TrainingInterrupted
from benchmark.al.pool import Pool, indices_digest
from benchmark.al.state.checkpoint import Checkpoint
from benchmark.al.state.training_cache import TrainingState, cached_training, key_prefix
from benchmark.al.strategies.base import Strategy
from benchmark.al.trainable import TrainableModel
from benchmark.errors import DataError
from benchmark.runs import events
from benchmark.runs.events import CycleFinished, CycleResult, EpochFinished, Reused, TrialStarted
from benchmark.spec.identity import digest
from benchmark.spec.suite import Trial

REPORT_EVERY = 1.0
"""Seconds between progress events inside a cycle."""
TRAININGS = "trainings"
"""Folder of the cache with first trainings."""
AfterEpoch = Callable[[int, float, Callable[[], TrainingState]], None]
"""Called with epochs done, mean loss, and a function that gives the state to go on from."""


class Session:
    """Files and clock of one trial in one environment.

    `out` gets events.jsonl and state/; `cache` (may be None) holds trainings and stages that
    several trials share. `shared` is a cache that is only read: what a trial with code from outside
    makes is not for others.
    """

    def __init__(
        self,
        trial: Trial,
        trial_id: str,
        env_id: str,
        out: Path,
        cache: Path | None,
        save_every: float,
        must_stop: Callable[[], bool],
        shared: Path | None = None,
    ) -> None:
        self.trial, self.trial_id, self.env_id = trial, trial_id, env_id
        self.events, self.save_every, self.must_stop = out / "events.jsonl", save_every, must_stop
        self.checkpoint = Checkpoint(out / "state", f"{trial_id}/{env_id}")
        self.cache, self.shared = cache, shared
        self.taken: Reused | None = None
        self.results: list[CycleResult] = []
        self.pool: Pool | None = None
        self.seconds = 0.0
        self.training_key = ""
        self._clock: dict[str, float] = {}
        self._processor = 0.0
        self._reused = False
        self._epoch: dict[str, Any] | None = None

    # ------------------------------------------------------------------------------------- resuming

    def resume(self, learner: TrainableModel) -> tuple[int, Pool | None]:
        """The next cycle and its pool, from the saved state if there is one; the learner is put
        back as it was."""
        state = self.checkpoint.load("cycle")
        self._epoch = self.checkpoint.load("epoch")
        if state is not None:
            self.results = [CycleResult.model_validate_json(text) for text in state["results"]]
            self.pool = Pool(
                state["labelled"].numpy(), state["unlabelled"].numpy(), int(state["size"])
            )
            self.seconds, self.training_key = float(state["seconds"]), str(state["training_key"])
            self.taken = Reused.model_validate_json(state["taken"]) if state.get("taken") else None
            learner.load_state(state["learner"])
        if self._epoch is not None and self._epoch["cycle"] != len(self.results):
            self._epoch = None
        self._repair_events()
        epoch = 0 if self._epoch is None else int(self._epoch["epochs"])
        self._say(
            TrialStarted(
                time=time.time(),
                trial_id=self.trial_id,
                env_id=self.env_id,
                cycle=len(self.results),
                epoch=epoch,
            )
        )
        return len(self.results), self.pool

    def _repair_events(self) -> None:
        """State is saved before the event is written: add what a kill in between has left out."""
        known = {
            event.result.cycle
            for event, _ in events.read_events(self.events)
            if isinstance(event, CycleFinished)
        }
        for result in self.results:
            if result.cycle not in known:
                self._say(
                    CycleFinished(time=time.time(), result=result, seconds={}, reused=False),
                    sync=True,
                )

    # ------------------------------------------------------------------------------------- training

    def train(self, learner: TrainableModel, cycle: int, pool: Pool, strategy: Strategy) -> None:
        """Train for one cycle: from the saved point inside it, or from an identical training, or
        from its start."""
        self._clock, self._processor, self._reused = {}, 0.0, False
        # Taken in any case: where another trial has done this training meanwhile, the point belongs
        # to no later cycle.
        resume, self._epoch = self._epoch, None
        # After the last training nothing is bought, so nothing is recorded for it.
        buys = cycle + 1 < self.trial.protocol.acquisition.cycles
        needs: frozenset[str] = frozenset(strategy.needs) if buys else frozenset()
        self.training_key = self._key(learner, cycle, pool, needs)
        with self.timed("train"), self._sharing(cycle) as (found, publish):
            if found is not None:
                learner.start_cycle(cycle, needs)
                learner.load_progress(found)
                self.taken = self._maker(learner, found)
                self._reused = True
                return
            learner.fit(
                cycle,
                pool.labelled,
                pool.unlabelled,
                needs,
                resume,
                self._after_epoch(cycle, learner.epochs),
            )
            publish(learner.trained() | {"made": self._signature(learner)})

    def _signature(self, learner: TrainableModel) -> dict[str, str]:
        return {"trial_id": self.trial_id, "env_id": self.env_id, "weights": learner.kept_weights()}

    def _maker(self, learner: TrainableModel, found: TrainingState) -> Reused | None:
        """Who made the training that was taken over; None for this trial itself.

        Raises DataError where its weights are not those that their maker recorded.
        """
        made = found.get("made")
        if not isinstance(made, dict) or made.get("weights") != learner.kept_weights():
            raise DataError(
                "a shared training holds other weights than its maker recorded",
                where=f"{key_prefix(self.training_key)}.state in the cache's folder `trainings`",
                remedy="remove that file: the training is then done again",
            )
        own = (
            made["trial_id"] == self.trial_id and made["env_id"] == self.env_id
        )  # it was stopped before it wrote the event
        return None if own else Reused.model_validate(made)

    def _key(self, learner: TrainableModel, cycle: int, pool: Pool, needs: frozenset[str]) -> str:
        """Identity of a training: equal keys mean equal weights. The strategy is in it only by what
        training records."""
        protocol = self.trial.protocol
        return digest(
            {
                "environment": self.env_id,
                "data": self.trial.data_digest,
                "seeds": [protocol.seed, self.trial.seed],
                "recipe": [
                    part.model_dump(mode="json", exclude_defaults=True)
                    for part in (
                        protocol.data,
                        protocol.views,
                        protocol.training,
                        protocol.evaluation,
                        *protocol.models,
                    )
                ],
                "members": protocol.members,
                "objective": self.trial.objective.model_dump(mode="json"),
                "cycle": cycle,
                "labelled": indices_digest(pool.labelled),
                "unlabelled": indices_digest(pool.unlabelled)
                if learner.uses_unlabelled(needs)
                else None,
                "recorded": sorted(learner.recorded(needs)),
                "before": self.training_key if protocol.training.start != "fresh" else "",
            }
        )

    def _sharing(
        self, cycle: int
    ) -> AbstractContextManager[tuple[TrainingState | None, Callable[[TrainingState], None]]]:
        """The state of an identical training, if any, and a function that publishes ours.

        Only the first cycle is shared: later labelled sets differ between strategies.
        """
        if self.cache is None or cycle > 0:
            return cached_training(None, self.training_key)
        source = None if self.shared is None else self.shared / TRAININGS
        return cached_training(self.cache / TRAININGS, self.training_key, self.must_stop, source)

    def stage(
        self,
        name: str,
        asked: Any,
        epochs: int,
        make: Callable[[TrainingState | None, AfterEpoch], TrainingState],
    ) -> TrainingState:
        """The result of a stage before the first cycle, shared by all trials that ask the same of
        the same data.

        `make(resume, after_epoch)` makes it, from a saved point where there is one. That point lies
        beside the result, so whichever trial comes next goes on from it.
        """
        protocol = self.trial.protocol
        key = digest(
            {
                "environment": self.env_id,
                "stage": name,
                "asked": asked,
                "data": [
                    self.trial.data_digest,
                    protocol.data.model_dump(mode="json", exclude_defaults=True),
                ],
                "seeds": [protocol.seed, self.trial.seed],
            }
        )
        folder = self.cache / name if self.cache is not None else self.checkpoint.folder / name
        source = None if self.shared is None else self.shared / name
        with cached_training(folder, key, self.must_stop, source) as (found, publish):
            if found is None:
                start = time.monotonic()
                progress = Checkpoint(folder / key_prefix(key), key)
                found = make(progress.load("epoch"), self._after_epoch(0, epochs, progress, name))
                publish(found)
                progress.drop("epoch")
                self.seconds += time.monotonic() - start
        return found

    def _after_epoch(
        self, cycle: int, epochs: int, checkpoint: Checkpoint | None = None, stage: str = ""
    ) -> AfterEpoch:
        saved = reported = time.monotonic()

        def after(done: int, loss: float, state: Callable[[], dict[str, Any]]) -> None:
            nonlocal saved, reported
            now, stop = time.monotonic(), self.must_stop()
            if now - reported >= REPORT_EVERY or done == epochs:
                reported = now
                self._say(
                    EpochFinished(
                        time=time.time(),
                        cycle=cycle,
                        epoch=done,
                        epochs=epochs,
                        loss=_finite_or_none(loss),
                        stage=stage,
                    )
                )
            if stop or now - saved >= self.save_every:
                (checkpoint or self.checkpoint).save("epoch", {"cycle": cycle, **state()})
                saved = time.monotonic()
            if stop:
                raise TrainingInterrupted

        return after

    # ------------------------------------------------------------------------------------ reporting

    def finish_cycle(self, result: CycleResult, pool: Pool, learner: TrainableModel) -> None:
        """Save the state between cycles, then say what the cycle gave."""
        self.results.append(result)
        self.pool = pool
        self.seconds += sum(self._clock.values())
        self.checkpoint.save(
            "cycle",
            {
                "results": [done.model_dump_json() for done in self.results],
                "labelled": torch.from_numpy(np.ascontiguousarray(pool.labelled)),
                "unlabelled": torch.from_numpy(np.ascontiguousarray(pool.unlabelled)),
                "size": pool.size,
                "seconds": self.seconds,
                "training_key": self.training_key,
                "learner": learner.state(),
                "taken": "" if self.taken is None else self.taken.model_dump_json(),
            },
        )
        self.checkpoint.drop("epoch")
        unit = 1 if sys.platform == "darwin" else 1024
        self._say(
            CycleFinished(
                time=time.time(),
                result=result,
                seconds={part: round(spent, 6) for part, spent in self._clock.items()},
                reused=self._reused,
                peak_host_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
                peak_device_bytes=_take_device_peak(),
                cpu_seconds=round(self._processor, 6),
            ),
            sync=True,
        )
        if self.must_stop() and result.cycle + 1 < self.trial.protocol.acquisition.cycles:
            raise TrainingInterrupted

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count wall seconds towards a part of the cycle, and processor seconds towards all of
        it."""
        start, processor = time.monotonic(), time.process_time()
        try:
            yield
        finally:
            self._processor += time.process_time() - processor
            self._clock[part] = self._clock.get(part, 0.0) + time.monotonic() - start

    def _say(self, event: Any, *, sync: bool = False) -> None:
        events.append_event(self.events, event, sync=sync)


def _take_device_peak() -> int:
    """Most bytes that tensors took on the GPU in use since the last call; the worker makes its GPU
    the current one."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return 0  # no GPU, or a trial on the CPU beside one
    peak = int(torch.cuda.max_memory_allocated())
    torch.cuda.reset_peak_memory_stats()
    return peak


def _finite_or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
