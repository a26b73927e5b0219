"""Data sets: which there are, and bringing them here."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from benchmark.api.workspace import Workspace
from benchmark.errors import UsageError


def list_data() -> dict[str, str]:
    """Titles of the data sets that can be fetched, by name."""
    from benchmark.al import datasets

    return {name: origin.title for name, origin in sorted(datasets.SOURCES.items())}


def data_names(names: Iterable[str], workspace: Workspace | None = None) -> list[str]:
    """The data sets of these names, and those that suites (by selector) need, each once. Raises
    UsageError."""
    from benchmark.al import datasets
    from benchmark.spec.selectors import match_suites, parse_selector

    known, found = set(datasets.SOURCES), dict[str, None]()
    for name in names:
        if name in known:
            found[name] = None
        elif "/" in name or "*" in name:
            for suite in match_suites(
                parse_selector(name).suite, (workspace or Workspace()).suites
            ):
                found[suite.suite.protocol.data.name] = None
        else:
            raise UsageError(
                f"no data set or suite '{name}'", remedy=f"data sets: {', '.join(sorted(known))}"
            )
    return list(found)


def fetch(
    name: str,
    workspace: Workspace | None = None,
    *,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> None:
    """Download a data set into the data root and check it; an interrupted download goes on where it
    stopped.

    `on_progress` is called with file, bytes so far and bytes of the whole (0: not known). Raises
    DataError.
    """
    from benchmark.al import datasets

    datasets.fetch(name, (workspace or Workspace()).data, on_progress)
