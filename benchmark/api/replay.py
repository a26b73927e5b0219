"""Selections that were stored, read for being bought again."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

from benchmark import files
from benchmark.errors import UsageError
from benchmark.spec.selectors import StoredSelection, parse_seeds

CYCLE, INDEX = "cycle", "index"
"""Columns of a table: the cycle that the image is trained on from (0: the first labelled set), and
its data set index."""


def read_selection(path: Path | str) -> StoredSelection:
    """What a finished trial bought, from its run folder, or a table of indices.

    A table is a CSV with the columns `cycle` and `index`, in the order of buying: cycle 0 is the
    first labelled set, cycle 1 what the second training has more, and so on. Raises UsageError for
    what is neither.
    """
    place = Path(path)
    return _from_run(place) if place.is_dir() else _from_table(place)


def read_selections(text: str) -> list[StoredSelection]:
    """Stored selections from `RUN`, `TABLE.csv`, or `PICKS:METHOD[@SEED,...]` of committed trials.

    PICKS is a file `results/SUITE/picks.csv.gz`. Raises UsageError where there is no such
    selection, StoreError for a damaged file.
    """
    place, colon, method = text.rpartition(":")
    if not (colon and place.endswith(".csv.gz")):
        return [read_selection(text)]
    from benchmark.runs.picks import read_picks

    name, at, seeds = method.partition("@")
    wanted = parse_seeds(seeds) if at else None
    found = [
        StoredSelection(
            one.method,
            tuple(one.indices.tolist()),
            one.sizes,
            "",
            one.seed,
            f"{place}:{one.method}@{one.seed}",
        )
        for one in read_picks(Path(place))
        if one.method == name and (wanted is None or one.seed in wanted)
    ]
    if not found:
        known = sorted({f"{one.method}@{one.seed}" for one in read_picks(Path(place))})
        raise UsageError(
            f"{place} holds no selection of {method}",
            remedy=f"give PICKS:METHOD@SEED, one of {', '.join(known[:8]) or 'none'}",
        )
    return found


def _from_run(folder: Path) -> StoredSelection:
    import numpy as np

    from benchmark.runs.store import check_record, output_folder

    try:
        record = check_record(folder)
        with np.load(
            io.BytesIO(files.read(output_folder(folder) / "indices.npz", files.SMALL)),
            allow_pickle=False,
        ) as stored:
            labelled, sizes = stored["labelled"].tolist(), stored["sizes"].tolist()
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"holds no finished trial with its picks: {error}",
            where=str(folder),
            remedy="give a folder runs/TRIAL/ENVIRONMENT, or a CSV of indices",
        ) from error
    return StoredSelection(
        record.trial.method_name,
        tuple(labelled),
        tuple(sizes),
        record.data.digest,
        record.trial.seed,
        str(folder),
    )


def _from_table(path: Path) -> StoredSelection:
    remedy = f"write the columns {CYCLE},{INDEX}: whole numbers, cycles ascending from 0"
    try:
        rows = list(csv.DictReader(io.StringIO(files.read(path, files.SMALL).decode("utf-8-sig"))))
        pairs = [(int(row[CYCLE]), int(row[INDEX])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"is not a table of a selection: {error}", where=str(path), remedy=remedy
        ) from error
    cycles, indices = [cycle for cycle, _ in pairs], [index for _, index in pairs]
    if (
        cycles != sorted(cycles)
        or sorted(set(cycles)) != list(range(len(set(cycles))))
        or not cycles
    ):
        raise UsageError("the cycles do not ascend from 0", where=str(path), remedy=remedy)
    if min(indices) < 0 or len(set(indices)) != len(indices):
        raise UsageError("an index is negative or there twice", where=str(path), remedy=remedy)
    counts, total = Counter(cycles), 0
    sizes = []
    for cycle in range(len(counts)):
        total += counts[cycle]
        sizes.append(total)
    return StoredSelection(path.stem, tuple(indices), tuple(sizes), place=str(path))
