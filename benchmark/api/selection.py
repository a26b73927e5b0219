"""Which trials a call is about, as text or as a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from benchmark.spec.selectors import Selection, Selector, StoredSelection, parse_selector

Selectors: TypeAlias = str | Selector | Selection | Iterable[str | Selector]
"""`"tod/cifar10@0"`, several of them, or a `Selection` made by `select`."""


def select(
    *selectors: str | Selector,
    profile: str = "paper",
    variant: str = "as_published",
    methods: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
    plugin: str | None = None,
    objective: str | None = None,
    models: int | None = None,
    sets: Mapping[str, Any] | None = None,
    networks: Iterable[str] = (),
    weights: Path | str | None = None,
    replays: Iterable[StoredSelection] = (),
) -> Selection:
    """The trials of these selectors (`SUITE[/METHOD][@SEED,...]`), narrowed and changed by the
    options.

    `methods` and `seeds` replace those of the profile; `plugin` adds a strategy (`file.py:Class`),
    paired with `objective`; `replays` are stored selections that are bought again
    (`benchmark.api.replay.read_selection`); `networks` (`NAME` or `NAME(key=value)`) replace the
    suite's target models and start from the file `weights`; `models` chooses the sibling suite with
    that number of target models; `sets` replaces pinned values by dotted path. Raises UsageError
    for text that is not a selector.
    """
    return Selection(
        selectors=parse_selectors(selectors),
        profile=profile,
        variant=variant,
        methods=None if methods is None else tuple(methods),
        seeds=None if seeds is None else tuple(seeds),
        plugin=plugin,
        objective=objective,
        models=models,
        sets=dict(sets or {}),
        networks=tuple(networks),
        weights=None if weights is None else Path(weights),
        replays=tuple(replays),
    )


def as_selection(selectors: Selectors) -> Selection:
    """A selection as it is, or of selectors with no further option. Raises UsageError."""
    return selectors if isinstance(selectors, Selection) else Selection(parse_selectors(selectors))


def parse_selectors(selectors: str | Selector | Iterable[str | Selector]) -> list[Selector]:
    """Each selector parsed where it is text. Raises UsageError."""
    several = [selectors] if isinstance(selectors, str | Selector) else selectors
    return [parse_selector(one) if isinstance(one, str) else one for one in several]
