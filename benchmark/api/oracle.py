"""What a greedy oracle buys, as a table that a trial replays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark import files
from benchmark.api.replay import CYCLE, INDEX
from benchmark.api.selection import Selectors, as_selection
from benchmark.api.workspace import Workspace
from benchmark.errors import UsageError


@dataclass(frozen=True)
class OracleSelection:
    """A table of what the oracle bought."""

    path: Path
    images: int
    """Bought after the first labelled set."""
    note: str
    """Why the data are not the published ones; empty where they are."""


def write_oracle(
    selectors: Selectors,
    out: Path | str,
    workspace: Workspace | None = None,
    *,
    sample: int = 20,
    on_pick: Callable[[int, int], None] = lambda *_: None,
) -> OracleSelection:
    """Let a greedy oracle buy for one suite on frozen features and one seed, and write the columns
    `cycle` and `index` to `out`.

    The oracle reads the labels of all images, those of the test images included: it is a line to
    compare curves with, and no method. `sample` candidates are tried for each image. `on_pick` is
    called with images bought and images in all. Raises UsageError for a selection of several suites
    or seeds and for suites that train in epochs, DataError for absent files.
    """
    from benchmark.al import datasets
    from benchmark.al.datasets.features import read_features
    from benchmark.al.oracle import buy_greedily

    workspace = workspace or Workspace()
    trials = [item.trial for item in as_selection(selectors).trials(workspace.suites)]
    first = trials[0]
    protocol = first.protocol
    pinned = protocol.features.get(protocol.inputs or "")
    if pinned is None:
        raise UsageError(
            f"{first.suite} does not train on frozen features",
            remedy="name a suite such as frozen/cifar10@0",
        )
    if any(
        (trial.suite, trial.seed, trial.protocol) != (first.suite, first.seed, protocol)
        for trial in trials
    ):
        raise UsageError(
            "the selection has several suites, seeds or protocols",
            remedy="name one, such as frozen/cifar10@0",
        )
    dataset = datasets.load(protocol.data, workspace.data, workspace.cache)
    features = read_features(pinned, workspace.data, dataset)
    cycles = buy_greedily(protocol, first.seed, dataset, features, sample, on_pick)
    rows = [f"{cycle},{index}" for cycle, bought in enumerate(cycles) for index in bought.tolist()]
    path = Path(out)
    files.write(path, "\n".join([f"{CYCLE},{INDEX}", *rows, ""]).encode())
    return OracleSelection(path, sum(map(len, cycles[1:])), dataset.canonical_note)
