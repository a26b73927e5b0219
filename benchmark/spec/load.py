"""Suite files: TOML to validated models, with file, line and remedy for everything that is wrong.

A suite's `id` is its path below the suites folder without the suffix: `tod/cifar10`. Profiles,
variants and `--set` replace values by dotted path before validation, so an override is checked
exactly like a pinned value.

A suite may inherit from a base (`inherit`): what comes out is validated like any other suite, and
an error names the file that says what is wrong, be it the suite's own or the base's.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from benchmark.errors import SuiteError, UsageError
from benchmark.spec.base import flatten_leaves
from benchmark.spec.data import Data
from benchmark.spec.inherit import (
    Source,
    is_only_base,
    locate,
    locate_first,
    override,
    read_suite,
)
from benchmark.spec.inherit import (
    suite_files as suite_files,
)
from benchmark.spec.protocol import Protocol
from benchmark.spec.published import ReportedResult, read_reported
from benchmark.spec.suite import Component, Method, Suite, Trial
from benchmark.spec.training import Model

Named = TypeVar("Named", Component, Model, Data)
PINNED = ("protocol", "methods", "rule", "seeds")
"""The parts of a suite whose every value needs a source."""


@dataclass(frozen=True)
class SuiteFile:
    """A suite as it lies on disk: raw values, their lines, and the validated model."""

    id: str
    path: Path
    raw: dict[str, Any]
    """With what the suite inherits."""
    text: str
    """The suite's own file."""
    suite: Suite
    sources: tuple[Source, ...] = ()
    """The files the suite is made of, its own first; empty means the own one only."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Values that replace pinned ones under every profile and variant, by dotted path: what --set
    and --network give. With any, this is no published protocol."""

    @cached_property
    def reported(self) -> tuple[ReportedResult, ...]:
        """Published numbers of `<name>.reported.csv`; empty where the suite has none, or is
        changed."""
        if self.changes:
            return ()
        table = self.path.with_name(f"{self.path.stem}.reported.csv")
        return read_reported(table) if table.exists() else ()

    def with_reported(self, rows: Iterable[ReportedResult]) -> SuiteFile:
        """The suite with other numbers to be compared with."""
        other = replace(self)
        other.__dict__["reported"] = tuple(rows)
        return other

    def with_changes(self, changes: Mapping[str, Any]) -> SuiteFile:
        """The suite with further values replaced. What it is then compared with is nothing: it has
        no published number."""
        return replace(self, changes={**self.changes, **changes}) if changes else self

    @property
    def files(self) -> tuple[Source, ...]:
        """The files the suite is made of: its own first, then its base, the base's base and so
        on."""
        return self.sources or (Source(self.path, self.text),)

    def locate(self, path: str) -> tuple[Path, int]:
        """File and 1-based line that give the value at a dotted path."""
        return locate(self.files, path)

    def source(self, path: str) -> str:
        """Source of the pinned value at a dotted path: the entry of `sources` with the longest
        matching prefix."""
        parts = path.split(".")
        for length in range(len(parts), 0, -1):
            found = self.suite.sources.get(".".join(parts[:length]))
            if found is not None:
                return found
        return ""

    def changed_by(self, path: str, profile: str = "paper", variant: str = "as_published") -> str:
        """What gives the value at a dotted path under a profile and a variant, with its reason: a
        profile before a variant, a deviation where the variant is `corrected`. Empty where neither
        does."""
        if profile != "paper" and _set_by(self.suite.profiles[profile].set, path):
            return f"profile {profile}: {self.suite.profiles[profile].note}"
        if variant == "corrected":
            found = [
                f"deviation {name}, corrected: {item.topic}"
                for name, item in self.suite.deviations.items()
                if _set_by([one.path for one in item.switches], path)
            ]
            return found[-1] if found else ""
        if variant != "as_published" and _set_by(self.suite.variants[variant].set, path):
            return f"variant {variant}: {self.suite.variants[variant].note}"
        return ""

    def resolve(
        self,
        profile: str = "paper",
        variant: str = "as_published",
        sets: Mapping[str, Any] | None = None,
    ) -> Suite:
        """The suite under a profile, a variant, its changes and further overrides. Raises
        UsageError for unknown names or paths."""
        overrides: dict[str, Any] = {}
        sets = {**self.changes, **(sets or {})}
        if variant == "corrected":
            overrides |= {
                switch.path: switch.corrected
                for item in self.suite.deviations.values()
                for switch in item.switches
            }
        elif variant != "as_published":
            overrides |= _pick_entry(
                self.suite.variants, variant, "variant", self.id, "as_published", "corrected"
            ).set
        if profile != "paper":
            overrides |= _pick_entry(self.suite.profiles, profile, "profile", self.id, "paper").set
        if self.changes and self.raw.get("rule", {}).get("reference") == "records":
            overrides["rule.reference"] = "reported"  # committed records are of the suite as it is
        overrides |= sets
        if not overrides:
            return self.suite
        raw = copy.deepcopy(self.raw)
        for path, value in overrides.items():
            file, line = locate_first(self.files, self._setters(path, profile, variant))
            where = (
                "--set" if path in sets else f"{file}:{line}: profile {profile}, variant {variant}"
            )
            override(raw, path, value, where)
        for path in self.changes:
            _source_change(raw, path)
        try:
            return _validate_suite(raw, self.files)
        except SuiteError as error:
            if not sets:
                raise
            where = f"{error.where} with --set {', '.join(sets)}"
            raise SuiteError(error.message, where=where, remedy=error.remedy) from error

    def _setters(self, path: str, profile: str, variant: str) -> list[str]:
        """Dotted paths of what may set the value at `path` under a profile and a variant."""
        switched = [
            f"deviations.{name}.switches"
            for name, item in self.suite.deviations.items()
            if any(switch.path == path for switch in item.switches)
        ]
        return [f"profiles.{profile}.set.{path}", f"variants.{variant}.set.{path}", *switched]

    def trials(
        self,
        profile: str = "paper",
        variant: str = "as_published",
        methods: Iterable[str] | None = None,
        seeds: Iterable[int] | None = None,
        data_digest: str | None = None,
        extra: Mapping[str, Method] | None = None,
        sets: Mapping[str, Any] | None = None,
    ) -> list[Trial]:
        """Trials of a selection, method by method, seed by seed. `extra` are plug-in methods by
        name."""
        suite = self.resolve(profile, variant, sets)
        shrunk = suite.profiles.get(profile)
        known = dict(suite.methods) | dict(extra or {})
        chosen = (
            list(methods)
            if methods is not None
            else [*((shrunk and shrunk.methods) or suite.methods), *(extra or {})]
        )
        trials: list[Trial] = []
        for name in chosen:
            method = _pick_entry(known, name, "method", self.id)
            protocol = suite.protocol
            if method.set:
                raw = copy.deepcopy(protocol.model_dump(mode="json"))
                for path, value in method.set.items():
                    file, line = self.locate(f"methods.{name}.set.{path}")
                    override(raw, path, value, f"{file}:{line}: method {name}")
                protocol = _validate_strictly(type(protocol), raw, self.files, "protocol")
            protocol = with_own_code(protocol, self.path.parent)
            strategy, objective = (
                with_code_digest(part, self.path.parent)
                for part in (method.strategy, method.objective)
            )
            chosen_seeds = (
                seeds if seeds is not None else ((shrunk and shrunk.seeds) or suite.seeds)
            )
            trials.extend(
                Trial(
                    suite=self.id,
                    method_name=name,
                    profile=profile,
                    variant=variant,
                    seed=seed,
                    protocol=protocol,
                    strategy=strategy,
                    objective=objective,
                    data_digest=data_digest,
                )
                for seed in chosen_seeds
            )
        return trials


def load_suite(path: Path, root: Path) -> SuiteFile:
    """Read and validate one suite file over its bases. Raises SuiteError with file, line and
    remedy."""
    raw = read_suite(path)
    own = raw.sources[0]
    suite = _validate_suite(raw.values, raw.sources)
    return SuiteFile(
        path.relative_to(root).with_suffix("").as_posix(),
        path,
        raw.values,
        own.text,
        suite,
        raw.sources,
    )


def find_suite(name: str, root: Path) -> SuiteFile:
    """The suite with this id. Raises UsageError with the nearest names when there is none."""
    path = root / f"{name}.toml"
    if not path.is_file() or is_only_base(path):
        ids = [found.relative_to(root).with_suffix("").as_posix() for found in suite_files(root)]
        raise UsageError(f"no suite '{name}' under {root}", remedy=_nearest_names(name, ids))
    return load_suite(path, root)


def plugin_component(name: str) -> Component:
    """A component of the user's own, `file.py:Class`, with the digest of the file in its
    identity."""
    file, _, _ = name.rpartition(":")
    if name.endswith(".py"):
        raise UsageError(
            f"the plug-in {name} names a file, but no class of it", remedy=f"give {name}:Class"
        )
    if not file.endswith(".py"):
        return Component(name=name)
    return with_code_digest(Component(name=name), Path())


def with_code_digest(item: Named, folder: Path) -> Named:
    """A component of the user's own, `file.py:Class`, with its absolute path and the digest of the
    file; any other as it is.

    `folder` is where a relative path begins. Raises UsageError where the file cannot be read.
    """
    file, _, attribute = item.name.rpartition(":")
    if item.code is not None or not file.endswith(".py"):
        return item
    path = (folder / file).resolve()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the plug-in {file}: {error.strerror}",
            remedy="give `path/to/file.py:Class`",
        ) from error
    return item.model_copy(
        update={"name": f"{path}:{attribute}", "code": hashlib.sha256(content).hexdigest()}
    )


def with_own_code(protocol: Protocol, folder: Path) -> Protocol:
    """The protocol with the digests of files that define its data set and its networks."""
    found: dict[str, Any] = {
        "data": with_code_digest(protocol.data, folder),
        "models": tuple(with_code_digest(model, folder) for model in protocol.models),
    }
    if protocol.extractor is not None:
        found["extractor"] = with_code_digest(protocol.extractor, folder)
    if protocol.pretext is not None:
        model = with_code_digest(protocol.pretext.model, folder)
        found["pretext"] = protocol.pretext.model_copy(update={"model": model})
    return protocol.model_copy(update=found)


def _validate_suite(raw: dict[str, Any], sources: Sequence[Source]) -> Suite:
    suite: Suite = _validate_strictly(Suite, raw, sources)
    pinned = {
        key: value
        for key, value in suite.model_dump(mode="json", exclude_unset=True).items()
        if key in PINNED
    }
    paths = [leaf for leaf, _ in flatten_leaves(pinned) if not leaf.endswith((".title", ".note"))]
    for leaf in paths:
        if not any(leaf == key or leaf.startswith(f"{key}.") for key in suite.sources):
            raise SuiteError(
                f"{leaf} has no source",
                where=_place_of(sources, leaf),
                remedy=f'add "{leaf}" or a prefix of it to [sources]',
            )
    known = {
        prefix
        for leaf in [leaf for leaf, _ in flatten_leaves(suite.model_dump(mode="json"))]
        for prefix in _dotted_prefixes(leaf)
    }
    for key in suite.sources:
        if key not in known:
            raise SuiteError(
                f"[sources] names '{key}', which is not a value of this suite",
                where=_place_of(sources, f"sources.{key}"),
                remedy=_nearest_names(key, known),
            )
    return suite


def _place_of(sources: Sequence[Source], dotted: str) -> str:
    file, line = locate(sources, dotted)
    return f"{file}:{line}"


def _dotted_prefixes(path: str) -> Iterator[str]:
    parts = path.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _validate_strictly(
    model: Any, raw: dict[str, Any], sources: Sequence[Source], prefix: str = ""
) -> Any:
    try:
        # Through JSON: strict mode then accepts arrays for tuples and still refuses "5" for 5 and
        # 5.0 for 5.
        return model.model_validate_json(json.dumps(raw, allow_nan=False))
    except ValidationError as error:
        found = []
        for item in error.errors():
            # Tags of discriminated unions are part of pydantic's location but not of the file's.
            dotted = ".".join([*([prefix] if prefix else []), *map(str, item["loc"])])
            file, line = locate(sources, dotted)
            nearness = next(index for index, source in enumerate(sources) if source.path == file)
            found.append((nearness, line, dotted, item["msg"], item["type"]))
        nearness, line, dotted, message, kind = min(found, key=lambda entry: entry[:2])
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        remedy = (
            "remove or rename the key"
            if kind == "extra_forbidden"
            else "see `albench show` and suites/schema.json"
        )
        where = f"{sources[nearness].path}:{line}"
        raise SuiteError(f"{dotted}: {message}{more}", where=where, remedy=remedy) from error
    except (ValueError, TypeError, RecursionError) as error:
        dotted = next(_unrepresentable_paths(raw, prefix), "")
        raise SuiteError(
            f"{dotted or 'the file'} holds a value JSON has no name for: {error}",
            where=_place_of(sources, dotted),
            remedy="dates, inf and nan are not allowed",
        ) from error


def _unrepresentable_paths(value: Any, place: str) -> Iterator[str]:
    """Dotted paths of values that TOML can hold and JSON cannot."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _unrepresentable_paths(inner, f"{place}.{key}" if place else str(key))
    elif not isinstance(value, str | int | float) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        yield place


def _source_change(raw: dict[str, Any], path: str) -> None:
    """Make the change itself the source of the value at a dotted path where the replaced value had
    sources of its own."""
    sources = raw.get("sources")
    if isinstance(sources, dict) and path.partition(".")[0] in PINNED:
        for key in [key for key in sources if key.startswith(f"{path}.")]:
            del sources[key]
        if not any(_set_by([key], path) for key in sources):
            sources[path] = "replaced for this run"


def _set_by(paths: Iterable[str], path: str) -> bool:
    """Whether one of these dotted paths is `path` or leads to it."""
    return any(path == one or path.startswith(f"{one}.") for one in paths)


def _pick_entry(table: Mapping[str, Any], name: str, kind: str, where: str, *built_in: str) -> Any:
    if name not in table:
        raise UsageError(
            f"{where} has no {kind} '{name}'", remedy=_nearest_names(name, [*table, *built_in])
        )
    return table[name]


def _nearest_names(name: str, names: Iterable[str]) -> str:
    pool = sorted(names)
    close = difflib.get_close_matches(name, pool, n=3, cutoff=0.4) or pool[:8]
    return f"did you mean {', '.join(close)}?" if close else "there are none"
