"""CPU seconds that mirroring one trial of TOD's length (7 cycles of 200 epochs) to MLflow takes,
the first in a new store and the next: `python -m tests.bench.tracking_cost`.

To be set against what such a trial takes: 137,600 steps, which at the few milliseconds that a GPU
could need are minutes.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmark.runs import events
from benchmark.runs.events import CycleFinished, EpochFinished
from benchmark.tracking.mlflow import MlflowSync
from tests.helpers.runs import result, say_started, toy_trial

CYCLES, EPOCHS = 7, 200


def told(folder: Path, seed: int) -> Path:
    """A run folder with the events of a whole trial."""
    folder.mkdir()
    trial = toy_trial(seed=seed)
    (folder / "trial.json").write_text(trial.model_dump_json())
    say_started(folder, trial)
    log, done = folder / "events.jsonl", result(trial, 0)
    for cycle in range(CYCLES):
        for epoch in range(1, EPOCHS + 1):
            events.append_event(
                log,
                EpochFinished(
                    time=float(epoch), cycle=cycle, epoch=epoch, epochs=EPOCHS, loss=1.0 / epoch
                ),
            )
        events.append_event(
            log,
            CycleFinished(
                time=1.0,
                result=done.model_copy(update={"cycle": cycle}),
                seconds={"train": 1.0},
                reused=False,
            ),
        )
    return folder


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        syncer = MlflowSync(runs=Path(root))
        for seed, name in enumerate(("first", "second", "third")):
            start = time.process_time()
            folder = told(Path(root) / name, seed)
            begun = time.process_time()
            syncer.sync_run(folder)
            print(
                f"{name}: {begun - start:.3f} s telling events, {time.process_time() - begun:.2f} "
                "s mirroring them"
            )
        syncer.close()


if __name__ == "__main__":
    main()
