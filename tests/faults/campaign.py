"""The fault campaign: `make faults`, or `python -m tests.faults.campaign --faults 200 --seed 0`.

Seeded: which faults meet which trial at which drawn moment is a function of the seed. Moments in
wall time fall where the machine is at that time; moments counted in changes to files repeat
exactly. Exit status 0 if every promise was kept.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmark.executors.local.executor import SLOW_IMPORTS
from tests.faults.fault_bench import METHODS, Violation, fresh, make
from tests.faults.faults import FAULTS
from tests.helpers.doc_tables import publish


@dataclass
class Tally:
    """Outcomes of one kind of fault."""

    family: str
    injected: int = 0
    interrupted: int = 0
    """After which the run was not finished: the others came when it was over, or had no
    influence."""
    broken: list[str] = field(default_factory=list)


def campaign(count: int, seed: int, only: list[str], root: Path) -> dict[str, Tally]:
    """Inject `count` faults, kinds in turn, and recover from each."""
    names = [name for name in FAULTS if not only or name in only]
    tallies = {name: Tally(FAULTS[name][0]) for name in names}
    benches = [make(root / method, method) for method in METHODS]
    for number in range(count):
        name = names[number % len(names)]
        rng = random.Random(f"{seed}/{number}/{name}")
        tally = tallies[name]
        bench = fresh(rng.choice(benches), root / "bench", shared=rng.random() < 0.8)
        tally.injected += 1
        try:
            kept = FAULTS[name][1](bench, rng)
            tally.interrupted += bench.look() != "finished"
            bench.recover(kept)
        except Exception as error:
            what = str(error) if isinstance(error, Violation) else traceback.format_exc()
            tally.broken.append(
                f"fault {number} (--seed {seed}) on {bench.trial.method_name}: {what}"
            )
            print(f"BROKEN {name}: {tally.broken[-1]}", file=sys.stderr, flush=True)
    return tallies


def table(tallies: dict[str, Tally], seed: int, seconds: float) -> str:
    """What happened, as Markdown."""
    rows = [
        "| family | fault | injected | runs interrupted | promises broken |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    rows += [
        f"| {tally.family} | {name.replace('_', ' ')} | {tally.injected} | {tally.interrupted} | "
        f"{len(tally.broken)} |"
        for name, tally in tallies.items()
    ]
    total = Counter[str]()
    for tally in tallies.values():
        total.update(
            injected=tally.injected, interrupted=tally.interrupted, broken=len(tally.broken)
        )
    rows.append(
        f"| **all** | seed {seed} | {total['injected']} | {total['interrupted']} | "
        f"{total['broken']} |"
    )
    verdict = (
        "every outcome equal to the uninterrupted run's: no finished cycle lost, no wrong record "
        "accepted"
        if not total["broken"]
        else f"{total['broken']} promises broken"
    )
    return "\n".join([*rows, "", f"{total['injected']} faults in {seconds:.0f} s: {verdict}."])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=220)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], choices=list(FAULTS), metavar="KIND")
    parser.add_argument(
        "--publish",
        type=Path,
        metavar="PAGE",
        help="also put the table into this page of the documentation",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in SLOW_IMPORTS:
        with suppress(ImportError):
            importlib.import_module(name)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="albench-faults-") as folder:
        tallies = campaign(options.faults, options.seed, options.only, Path(folder))
    text = table(tallies, options.seed, time.monotonic() - begin)
    print(text)
    if options.publish is not None:
        publish(options.publish, "faults", text)
    return int(any(tally.broken for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
