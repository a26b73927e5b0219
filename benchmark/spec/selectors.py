"""Which trials are meant: one syntax for every command.

    SUITE[/METHOD][@SEED[,SEED...]]      tod/cifar10    tod/*    tod/cifar10/tod+cod@0,1    */*@0-2

Suite and method may hold shell wildcards; seeds may be ranges.
"""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from benchmark.errors import UsageError
from benchmark.spec.groups import GROUPS, expand_groups, group_methods
from benchmark.spec.load import SuiteFile, find_suite, load_suite, plugin_component, suite_files
from benchmark.spec.suite import Component, Cost, Method, MethodCost, Suite, Trial

SYNTAX = "SUITE[/METHOD][@SEED[,SEED...]]"


@dataclass(frozen=True)
class Selector:
    """One selector: patterns for suite and method (None: all the profile names), and seeds (None:
    the profile's)."""

    suite: str
    method: str | None = None
    seeds: tuple[int, ...] | None = None

    def __str__(self) -> str:
        seeds = "" if self.seeds is None else "@" + format_seeds(self.seeds)
        return self.suite + (f"/{self.method}" if self.method else "") + seeds

    def matches(self, trial: Trial) -> bool:
        """Whether a trial is meant."""
        return self.means(trial.suite, trial.method_name, trial.seed)

    def means(self, suite: str, method: str, seed: int) -> bool:
        """Whether the trial with these names is meant."""
        return (
            fnmatch.fnmatchcase(suite, self.suite)
            and (self.method is None or fnmatch.fnmatchcase(method, self.method))
            and (self.seeds is None or seed in self.seeds)
        )


def parse_selector(text: str) -> Selector:
    """A selector from its text. Raises UsageError."""
    place, at, seeds = text.strip().partition("@")
    parts = place.split("/")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise UsageError(
            f"'{text}' is not a selector", remedy=f"write {SYNTAX}, such as tod/cifar10/random@0,1"
        )
    method = parts[2] if len(parts) == 3 else None
    return Selector("/".join(parts[:2]), method, parse_seeds(seeds) if at else None)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from `0,1` or `0-4` or both. Raises UsageError."""
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last or last - first > 10_000:
            raise UsageError(f"'{text}' is not a list of seeds", remedy="write 0,1,2 or 0-4")
        seeds += range(first, last + 1)
    return tuple(dict.fromkeys(seeds))


def format_seeds(seeds: Iterable[int]) -> str:
    """Seeds in order as `parse_seeds` reads them; three or more in a row as a range."""
    found = sorted(set(seeds))
    rows = [
        [seed for _, seed in row]
        for _, row in itertools.groupby(enumerate(found), lambda pair: pair[1] - pair[0])
    ]
    return ",".join(
        f"{row[0]}-{row[-1]}" if len(row) > 2 else ",".join(map(str, row)) for row in rows
    )


def parse_network(text: str, weights: Path | None = None) -> dict[str, Any]:
    """The values of a model from `NAME` or `NAME(key=value, ...)` with TOML values; `weights` is
    the file it starts from.

    NAME is a built-in or installed name, `file.py:Class`, `package.module:Class`, `timm:NAME` or
    `torchvision:NAME`. Raises UsageError for other text and for files that cannot be read.
    """
    name, bracket, inner = text.strip().partition("(")
    try:
        params = (
            tomllib.loads(f"value = {{ {inner.removesuffix(')')} }}")["value"] if bracket else {}
        )
    except tomllib.TOMLDecodeError:
        params = None
    if params is None or not name.strip() or bool(bracket) != text.strip().endswith(")"):
        raise UsageError(
            f"'{text}' is not a network",
            remedy="write NAME or NAME(key=value): 'tiny.py:Tiny(width=16)'",
        )
    component = plugin_component(name.strip())
    found: dict[str, Any] = {"name": component.name, "params": params}
    found |= {"code": component.code} if component.code else {}
    if weights is not None:
        try:
            with weights.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UsageError(
                f"cannot read the weights {weights}: {error.strerror}",
                remedy="give a file with --weights",
            ) from error
        found |= {
            "weights": "pretrained",
            "start": {"file": str(weights.resolve()), "sha256": digest},
        }
    return found


def parse_set(text: str) -> tuple[str, Any]:
    """A dotted path and a TOML value from `path=value`. Raises UsageError."""
    path, equals, literal = text.partition("=")
    try:
        table = tomllib.loads(f"value = {literal}") if equals and path.strip() else {}
    except tomllib.TOMLDecodeError:
        table = {}
    if set(table) != {"value"}:
        raise UsageError(
            f"'{text}' is not path=value",
            remedy="the value is TOML: protocol.training.epochs=5, or path='\"text\"'",
        )
    return path.strip(), table["value"]


@dataclass(frozen=True)
class SelectedTrial:
    """A trial and what is known of its price: what its method adds, and what a forward pass
    costs."""

    trial: Trial
    cost: MethodCost
    price: Cost


@dataclass(frozen=True)
class StoredSelection:
    """What a trial bought, to be bought again."""

    name: str
    """Of the method or table it comes from."""
    labelled: tuple[int, ...]
    """Data set indices in the order in which they were labelled."""
    sizes: tuple[int, ...]
    """Labelled images at each training."""
    data: str = ""
    """Digest of the data set; empty where it is not known."""
    seed: int | None = None
    """Of the trial it comes from; None: those that are asked for."""
    place: str = field(default="", compare=False)
    """Where it was read from."""

    def method(self) -> tuple[str, Method]:
        """Name and method that buy it."""
        params: dict[str, JsonValue] = {
            "labelled": list(self.labelled),
            "sizes": list(self.sizes),
            "data": self.data,
        }
        return f"replay({self.name})", Method(
            title=f"Replay of {self.name}", strategy=Component(name="replay", params=params)
        )


@dataclass(frozen=True)
class Selection:
    """Everything that chooses trials on a command line."""

    selectors: Sequence[Selector]
    profile: str = "paper"
    variant: str = "as_published"
    methods: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    plugin: str | None = None
    """A strategy of one's own: `file.py:Class`, `package.module:Class` or an installed name."""
    objective: str | None = None
    """The objective that the plug-in is paired with."""
    sets: Mapping[str, Any] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    """Networks in place of the suite's target models: see `parse_network`."""
    weights: Path | None = None
    """File of the weights that these networks start from; None: random ones."""
    replays: tuple[StoredSelection, ...] = ()
    """Selections that are bought again, each as a method of its own."""
    models: int | None = None
    """Number of target models: a suite that has another number stands for its sibling
    `SUITE-<models>`."""

    def suites(self, root: Path) -> list[SuiteFile]:
        """The suites that are meant, each once. Raises UsageError for a selector that names
        none."""
        found: dict[str, SuiteFile] = {}
        for selector in self.selectors:
            matched = match_suites(selector.suite, root)
            for suite in (
                matched if self.models is None else self._with_models(selector.suite, matched, root)
            ):
                found.setdefault(suite.id, suite)
        return [suite.with_changes(self.changes) for suite in found.values()]

    @cached_property
    def changes(self) -> dict[str, Any]:
        """Values that replace those of the suite, by dotted path. Raises UsageError for what is no
        network."""
        if not self.networks:
            if self.weights is not None:
                raise UsageError(
                    "--weights are those of a network", remedy="give --network NAME as well"
                )
            return dict(self.sets)
        models = [parse_network(text, self.weights) for text in self.networks]
        price = {"note": "not known for this network before it is measured"}
        return {"protocol.models": models, "protocol.members": None, "cost": price, **self.sets}

    def _with_models(self, pattern: str, matched: list[SuiteFile], root: Path) -> list[SuiteFile]:
        """Those with the number of target models asked for, or the sibling that has it."""
        exact = [suite for suite in matched if len(suite.suite.protocol.models) == self.models]
        if exact:
            return exact
        siblings = [
            *matched,
            *(
                load_suite(path, root)
                for path in suite_files(root)
                if _suite_id(path, root).startswith(f"{pattern}-")
            ),
        ]
        found = [suite for suite in siblings if suite.id == f"{pattern}-{self.models}"]
        if not found:
            counts = sorted({len(suite.suite.protocol.models) for suite in siblings})
            raise UsageError(
                f"no suite '{pattern}' has {self.models} target models",
                remedy=f"--models {', '.join(map(str, counts))}",
            )
        return found

    def means(self, selector: Selector, suite: str) -> bool:
        """Whether a selector means the suite with this id."""
        return (
            fnmatch.fnmatchcase(suite, selector.suite) or suite == f"{selector.suite}-{self.models}"
        )

    def trials(self, root: Path, suites: Iterable[SuiteFile] | None = None) -> list[SelectedTrial]:
        """The trials that are meant, each once, without data digests. Raises UsageError for what
        does not exist."""
        asked: dict[tuple[str, str, int], SelectedTrial] = {}
        for suite_file in self.suites(root) if suites is None else suites:
            suite_file = suite_file.with_changes(self.changes)
            suite = suite_file.resolve(self.profile, self.variant)
            plugin, groups = self.plugin_method(suite), group_methods(suite)
            known = dict(suite.methods) | groups | plugin
            for selector in self.selectors:
                if self.means(selector, suite_file.id):
                    methods = self._methods(selector, suite, plugin, groups, suite_file.id)
                    seeds = self.seeds or selector.seeds
                    extra = plugin if methods is None else groups | plugin
                    made = suite_file.trials(
                        self.profile, self.variant, methods, seeds, extra=extra
                    )
                    for stored in self.replays:
                        name, method = stored.method()
                        known[name] = method
                        made += self._replayed(suite_file, stored, seeds)
                    for trial in made:
                        cost = known[trial.method_name].cost
                        key = (trial.suite, trial.method_name, trial.seed)
                        asked.setdefault(key, SelectedTrial(trial, cost, suite.cost))
        return list(asked.values())

    def _replayed(
        self, suite_file: SuiteFile, stored: StoredSelection, seeds: tuple[int, ...] | None
    ) -> list[Trial]:
        """Trials that buy a stored selection: with the seed it comes from, where that is known.
        Raises UsageError."""
        name, method = stored.method()
        if stored.seed is not None and seeds is not None and stored.seed not in seeds:
            return []
        own = seeds if stored.seed is None else (stored.seed,)
        trials = suite_file.trials(self.profile, self.variant, [name], own, extra={name: method})
        for trial in trials:
            planned = trial.protocol.acquisition.labelled()
            if planned != stored.sizes:
                raise UsageError(
                    f"{suite_file.id} trains on {list(planned)} images, and {stored.name} was made "
                    f"with {list(stored.sizes)}",
                    where="--replay",
                    remedy="give the profile and the budgets that the selection was made with",
                )
        return trials

    def plugin_method(self, suite: Suite) -> dict[str, Method]:
        """The plug-in as a method of this suite, by its name; nothing without a plug-in."""
        if self.plugin is None:
            if self.objective is not None:
                raise UsageError(
                    "--objective pairs a strategy of one's own",
                    remedy="give --method FILE.py:Class as well",
                )
            return {}
        strategy = plugin_component(self.plugin)
        objective, cost = self._objective(suite)
        name = self.plugin.rpartition(":")[2]
        name = name if self.objective is None else f"{name}+{self.objective.rpartition(':')[2]}"
        if name in suite.methods:
            raise UsageError(
                f"the suite has a method '{name}'",
                remedy="use --methods for it, or rename your class",
            )
        title = f"{name} (plug-in)"
        return {
            name: Method(
                title=title,
                strategy=strategy,
                objective=objective,
                cost=cost.model_copy(update={"scoring": 1}),
            )
        }

    def _objective(self, suite: Suite) -> tuple[Component, MethodCost]:
        """The objective by name with the parameters this suite gives it, and what it costs."""
        if self.objective is None or self.objective == "supervised":
            return Component(name="supervised"), MethodCost()
        users = [
            method for method in suite.methods.values() if method.objective.name == self.objective
        ]
        pinned = {method.objective.model_dump_json(): method for method in users}
        if len(pinned) > 1:
            raise UsageError(
                f"the suite gives '{self.objective}' different parameters in {len(pinned)} methods",
                remedy="make them equal with --set methods.NAME.objective.params.KEY=VALUE",
            )
        if users:
            return users[0].objective, users[0].cost
        return plugin_component(self.objective), MethodCost()

    def _methods(
        self,
        selector: Selector,
        suite: Suite,
        plugin: Mapping[str, Method],
        groups: Mapping[str, Method],
        suite_id: str,
    ) -> list[str] | tuple[str, ...] | None:
        if self.methods is not None:
            named = expand_groups(self.methods, suite)
            return [
                *self._trainable(named, suite, self.methods),
                *(name for name in plugin if name not in named),
            ]
        if (plugin or self.replays) and selector.method is None:
            return list(plugin)
        if selector.method is None:
            if not self.networks:
                return None
            shrunk = suite.profiles.get(self.profile)
            return self._trainable((shrunk and shrunk.methods) or suite.methods, suite)
        own = [*suite.methods, *plugin]
        found = [name for name in own if fnmatch.fnmatchcase(name, selector.method)]
        if selector.method in GROUPS or selector.method in groups:
            found = found or expand_groups([selector.method], suite)
        if not found:
            known = [*own, *groups, *GROUPS]
            close = difflib.get_close_matches(selector.method, known, n=3, cutoff=0.4) or own
            raise UsageError(
                f"{suite_id} has no method '{selector.method}'",
                remedy=f"did you mean {', '.join(close)}?",
            )
        return self._trainable(found, suite, [selector.method])

    def _trainable(
        self, names: Iterable[str], suite: Suite, asked: Iterable[str] = ()
    ) -> list[str]:
        """The methods that train the networks asked for; where these are given, those with networks
        of their own do not. Raises UsageError for one of these that was `asked` for by its name."""
        left_out = {
            name
            for name in names
            if self.networks and name in suite.methods and has_own_networks(suite.methods[name])
        }
        if wrong := sorted(left_out.intersection(asked)):
            raise UsageError(
                f"{', '.join(wrong)} trains networks of its own, not those of --network",
                remedy=(
                    "leave the method out with --methods, or replace its networks with --set "
                    "methods.NAME.set"
                ),
            )
        return [name for name in names if name not in left_out]


def has_own_networks(method: Method) -> bool:
    """Whether a method trains other networks than the protocol's."""
    return any(path.partition(".")[0] == "models" for path in method.set)


def match_suites(pattern: str, root: Path) -> list[SuiteFile]:
    """Suites whose id matches a pattern. Raises UsageError with the nearest names when there is
    none."""
    if not any(sign in pattern for sign in "*?["):
        return [find_suite(pattern, root)]
    paths = {_suite_id(path, root): path for path in suite_files(root)}
    found = [
        load_suite(path, root) for name, path in paths.items() if fnmatch.fnmatchcase(name, pattern)
    ]
    if not found:
        raise UsageError(
            f"no suite matches '{pattern}' under {root}",
            remedy="`albench ls` lists all; --suites names the folder",
        )
    return found


def _suite_id(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()
