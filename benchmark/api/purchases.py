"""What the trials of a suite bought, for its report: from run folders, else from the committed
file."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from benchmark.api.compare import ComparisonResult
from benchmark.api.workspace import Workspace
from benchmark.errors import AlbenchError

if TYPE_CHECKING:
    from benchmark.reports.picks import Picks, Whole
    from benchmark.runs.picks import LabelledSet


def summarize_purchases(workspace: Workspace, item: ComparisonResult) -> Picks | None:
    """Overlap of the methods and balance of the classes; None where no labelled set is kept.
    Classes need the very data of the records in the data folder: without them there is no
    balance."""
    from benchmark.reports.picks import summarize_picks

    sets = _labelled_sets(workspace, item)
    if not sets:
        return None
    labels, names = _class_labels(workspace, item)
    protocol = item.suite.resolve(item.judgement.profile, item.judgement.variant).protocol
    order = list(dict.fromkeys(cell.method for cell in item.judgement.cells))
    return summarize_picks(sets, order, protocol.data.train_size, labels, names)


def _labelled_sets(workspace: Workspace, item: ComparisonResult) -> list[LabelledSet]:
    """The labelled sets of the trials that were judged, where they are kept and sound."""
    from benchmark.runs import picks

    wanted = {(row.trial_id, row.env_id) for row in item.measurements}
    found = {}
    with suppress(AlbenchError):
        committed = picks.read_picks(workspace.results / item.suite.id / picks.FILE)
        found = {
            (one.trial_id, one.env_id): one
            for one in committed
            if (one.trial_id, one.env_id) in wanted
        }
    for record in item.records:
        if (record.trial_id, record.env_id) in wanted:
            with suppress(OSError, ValueError):
                found[record.trial_id, record.env_id] = picks.read_labelled(workspace.runs, record)
    return list(found.values())


def _class_labels(
    workspace: Workspace, item: ComparisonResult
) -> tuple[Whole | None, tuple[str, ...]]:
    """Class by data set index, and the names of the classes; None where the data of the records are
    not here."""
    from benchmark.al.datasets import loading

    digests = {record.data.digest for record in item.records}
    if len(digests) != 1:
        return None, ()
    pinned = item.suite.resolve(item.judgement.profile, item.judgement.variant).protocol.data
    with suppress(AlbenchError):
        data = loading.load(pinned, workspace.data, workspace.cache)
        if data.digest in digests:
            return data.train.labels, data.class_names
    return None, ()
