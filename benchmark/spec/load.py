"""Suite files: TOML to validated models, with file, line and remedy for everything that is wrong.

A suite's `id` is its path below the suites folder without the suffix: `tod/cifar10`. Profiles, variants and `--set` replace
values by dotted path before validation, so an override is checked exactly like a pinned value.

A suite that differs from another in a few values only may say `base = "<file beside it>"`: its own tables replace the
base's, and `[set]` replaces values by dotted path. What comes out is validated like any other suite.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.errors import SuiteError, UsageError
from benchmark.spec.models import Component, Method, Suite, Trial, leaves
from benchmark.spec.reported import ReportedResult, read_reported

PINNED = ("protocol", "methods", "rule", "seeds")
"""The parts of a suite whose every value needs a source."""


@dataclass(frozen=True)
class SuiteFile:
    """A suite as it lies on disk: raw values, their lines, and the validated model."""

    id: str
    path: Path
    raw: dict[str, Any]
    text: str
    suite: Suite

    @cached_property
    def reported(self) -> tuple[ReportedResult, ...]:
        """Published numbers of `<name>.reported.csv`; empty where the suite has none."""
        table = self.path.with_name(f"{self.path.stem}.reported.csv")
        return read_reported(table) if table.exists() else ()

    def source(self, path: str) -> str:
        """Source of the pinned value at a dotted path: the entry of `sources` with the longest matching prefix."""
        parts = path.split(".")
        for length in range(len(parts), 0, -1):
            found = self.suite.sources.get(".".join(parts[:length]))
            if found is not None:
                return found
        return ""

    def changed_by(self, path: str, profile: str = "paper", variant: str = "as_published") -> str:
        """What gives the value at a dotted path under a profile and a variant, with its reason: a profile before a variant, a
        deviation where the variant is `corrected`. Empty where neither does."""
        if profile != "paper" and _set_by(self.suite.profiles[profile].set, path):
            return f"profile {profile}: {self.suite.profiles[profile].note}"
        if variant == "corrected":
            found = [item for item in self.suite.deviations if _set_by([one.path for one in item.switches], path)]
            return f"deviation {found[-1].id}, corrected: {found[-1].topic}" if found else ""
        if variant != "as_published" and _set_by(self.suite.variants[variant].set, path):
            return f"variant {variant}: {self.suite.variants[variant].note}"
        return ""

    def resolve(
        self, profile: str = "paper", variant: str = "as_published", sets: Mapping[str, Any] | None = None
    ) -> Suite:
        """The suite under a profile, a variant and further overrides. Raises UsageError for unknown names or paths."""
        overrides: dict[str, Any] = {}
        if variant == "corrected":
            overrides |= {switch.path: switch.corrected for item in self.suite.deviations for switch in item.switches}
        elif variant != "as_published":
            overrides |= _pick(self.suite.variants, variant, "variant", self.id, "as_published", "corrected").set
        if profile != "paper":
            overrides |= _pick(self.suite.profiles, profile, "profile", self.id, "paper").set
        overrides |= sets or {}
        if not overrides:
            return self.suite
        raw = copy.deepcopy(self.raw)
        for path, value in overrides.items():
            places = (f"profiles.{profile}.set.{path}", f"variants.{variant}.set.{path}", "deviations")
            line = max(line_of(self.text, place) for place in places)
            where = "--set" if path in (sets or {}) else f"{self.path}:{line}: profile {profile}, variant {variant}"
            override(raw, path, value, where)
        try:
            return _validate(raw, self.path, self.text)
        except SuiteError as error:
            if not sets:
                raise
            where = f"{error.where} with --set {', '.join(sets)}"
            raise SuiteError(error.message, where=where, remedy=error.remedy) from error

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
        """Trials of a selection, method by method, seed by seed. `extra` are plug-in methods by name."""
        suite = self.resolve(profile, variant, sets)
        shrunk = suite.profiles.get(profile)
        known = dict(suite.methods) | dict(extra or {})
        chosen = (
            list(methods) if methods is not None else [*((shrunk and shrunk.methods) or suite.methods), *(extra or {})]
        )
        trials: list[Trial] = []
        for name in chosen:
            method = _pick(known, name, "method", self.id)
            protocol = suite.protocol
            if method.set:
                raw = copy.deepcopy(protocol.model_dump(mode="json"))
                for path, value in method.set.items():
                    line = line_of(self.text, f"methods.{name}.set.{path}")
                    override(raw, path, value, f"{self.path}:{line}: method {name}")
                protocol = _strict(type(protocol), raw, self.path, self.text, "protocol")
            chosen_seeds = seeds if seeds is not None else ((shrunk and shrunk.seeds) or suite.seeds)
            trials.extend(
                Trial(
                    suite=self.id, method_name=name, profile=profile, variant=variant, seed=seed, protocol=protocol,
                    strategy=method.strategy, objective=method.objective, data_digest=data_digest,
                )
                for seed in chosen_seeds
            )  # fmt: skip
        return trials


def suite_files(root: Path) -> Iterator[Path]:
    """Paths of all suite files below the suites folder, sorted. Hidden ones are none: Emacs' locks (`.#x.toml`), macOS'
    forks (`._x.toml`), folders of notebooks."""
    return iter(sorted(root.glob("[!.]*/[!.]*.toml")))


def load_suite(path: Path, root: Path, derived: tuple[Path, ...] = ()) -> SuiteFile:
    """Read and validate one suite file; `derived` are those that ask for it as their base. Raises SuiteError with file, line
    and remedy."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # Notepad and PowerShell write a byte order mark
    except FileNotFoundError as error:
        raise SuiteError("no such suite file", where=str(path), remedy="see `albench ls`") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"cannot be read: {error}", where=str(path), remedy="restore the file") from error
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        named = re.search(r"line (\d+)", str(error))
        line = named[1] if named else len(text.splitlines()) or 1  # "at end of document"
        where = f"{path}:{line}"
        raise SuiteError(f"not valid TOML: {error}", where=where, remedy="mend the syntax of this line") from error
    if "base" in raw:
        raw = _on_base(raw, path, text, root, derived)
    suite = _validate(raw, path, text)
    return SuiteFile(path.relative_to(root).with_suffix("").as_posix(), path, raw, text, suite)


def _on_base(own: dict[str, Any], path: Path, text: str, root: Path, derived: tuple[Path, ...]) -> dict[str, Any]:
    """The raw values of the base with this file's tables and `[set]` in their place."""
    name, sets = own.pop("base"), own.pop("set", {})
    plain = isinstance(name, str) and name.isprintable() and name == Path(name).name != "" and isinstance(sets, dict)
    if not plain or path.with_name(name) in (path, *derived) or not path.with_name(name).is_file():
        line = line_of(text, "base")
        raise SuiteError(
            "base must name a suite file beside this one", where=f"{path}:{line}", remedy='base = "other.toml"'
        )
    raw = copy.deepcopy(load_suite(path.with_name(name), root, (path, *derived)).raw) | own
    for place, value in sets.items():
        override(raw, place, value, f"{path}:{line_of(text, f'set.{place}')}: [set]")
    return raw


def find_suite(name: str, root: Path) -> SuiteFile:
    """The suite with this id. Raises UsageError with the nearest names when there is none."""
    path = root / f"{name}.toml"
    if not path.is_file():
        ids = [found.relative_to(root).with_suffix("").as_posix() for found in suite_files(root)]
        raise UsageError(f"no suite '{name}' under {root}", remedy=_nearest(name, ids))
    return load_suite(path, root)


def plugin_component(name: str) -> Component:
    """A component of the user's own, `file.py:Class`, with the digest of the file in its identity."""
    file, _, _ = name.rpartition(":")
    if name.endswith(".py"):
        raise UsageError(f"the plug-in {name} names a file, but no class of it", remedy=f"give {name}:Class")
    if not file.endswith(".py"):
        return Component(name=name)
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the plug-in {file}: {error.strerror}", remedy="give `path/to/file.py:Class`"
        ) from error
    return Component(name=f"{Path(file).resolve()}:{name.rpartition(':')[2]}", code=hashlib.sha256(content).hexdigest())


def override(raw: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Replace the value at a dotted path in place. Tables on the way must exist; the last key may be new (an optional field)."""
    here: Any = raw
    value = copy.deepcopy(value)  # a later path may lead into it, and it belongs to a variant or a switch
    *way, last = path.split(".")
    for step in way:
        here = here[int(step)] if isinstance(here, list) and step.isdigit() and int(step) < len(here) else (
            here.get(step) if isinstance(here, dict) else None
        )  # fmt: skip
        if here is None:
            raise UsageError(
                f"'{path}' names nothing: there is no '{step}'", where=where, remedy="see `albench show` for the paths"
            )
    if isinstance(here, list) and last.isdigit() and int(last) < len(here):
        here[int(last)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise UsageError(f"'{path}' names nothing", where=where, remedy="see `albench show` for the paths")


def _validate(raw: dict[str, Any], path: Path, text: str) -> Suite:
    suite: Suite = _strict(Suite, raw, path, text)
    pinned = {key: value for key, value in suite.model_dump(mode="json", exclude_unset=True).items() if key in PINNED}
    paths = [leaf for leaf, _ in leaves(pinned) if not leaf.endswith((".title", ".note"))]
    for leaf in paths:
        if not any(leaf == key or leaf.startswith(f"{key}.") for key in suite.sources):
            raise SuiteError(
                f"{leaf} has no source",
                where=f"{path}:{line_of(text, leaf)}",
                remedy=f'add "{leaf}" or a prefix of it to [sources]',
            )
    known = {
        prefix for leaf in [leaf for leaf, _ in leaves(suite.model_dump(mode="json"))] for prefix in _prefixes(leaf)
    }
    for key in suite.sources:
        if key not in known:
            raise SuiteError(
                f"[sources] names '{key}', which is not a value of this suite", where=f"{path}:{line_of(text, f'sources.{key}')}",
                remedy=_nearest(key, known),
            )  # fmt: skip
    return suite


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _strict(model: Any, raw: dict[str, Any], path: Path, text: str, prefix: str = "") -> Any:
    try:
        # Through JSON: strict mode then accepts arrays for tuples and still refuses "5" for 5 and 5.0 for 5.
        return model.model_validate_json(json.dumps(raw, allow_nan=False))
    except ValidationError as error:
        lines = []
        for item in error.errors():
            # Tags of discriminated unions are part of pydantic's location but not of the file's.
            loc = [str(part) for part in item["loc"]]
            dotted = ".".join(([prefix] if prefix else []) + loc)
            lines.append((line_of(text, dotted), dotted, item["msg"], item["type"]))
        line, dotted, message, kind = min(lines, key=lambda entry: entry[0])
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        remedy = (
            "remove or rename the key" if kind == "extra_forbidden" else "see `albench show` and suites/schema.json"
        )
        raise SuiteError(f"{dotted}: {message}{more}", where=f"{path}:{line}", remedy=remedy) from error
    except (ValueError, TypeError, RecursionError) as error:
        dotted = next(_nameless(raw, prefix), "")
        raise SuiteError(
            f"{dotted or 'the file'} holds a value JSON has no name for: {error}", where=f"{path}:{line_of(text, dotted)}",
            remedy="dates, inf and nan are not allowed",
        ) from error  # fmt: skip


def _nameless(value: Any, place: str) -> Iterator[str]:
    """Dotted paths of values that TOML can hold and JSON cannot."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _nameless(inner, f"{place}.{key}" if place else str(key))
    elif not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        yield place


_TABLE = re.compile(r"^\s*\[{1,2}\s*(?P<name>[^\[\]]+?)\s*\]{1,2}\s*(#.*)?$")
_KEY = re.compile(
    r"""^\s*(?P<key>(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*="""
)


def line_of(text: str, dotted: str) -> int:
    """1-based line of the key at a dotted path, or of its nearest enclosing table; 1 if nothing matches."""
    wanted = dotted.split(".")
    best, best_length = 1, 0
    table: list[str] = []
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        here: list[str] = []
        if header := _TABLE.match(line):
            table = _keys(header["name"])
            if line.lstrip().startswith("[["):
                name = ".".join(table)
                counts[name] = counts.get(name, -1) + 1
                table = [*table, str(counts[name])]
            here = table
        elif key := _KEY.match(line):
            here = [*table, *_keys(key["key"])]
        if here and len(here) > best_length and _matches(here, wanted):
            best, best_length = number, len(here)
    return best


def _keys(name: str) -> list[str]:
    return [part.strip().strip("\"'") for part in re.findall(r""""[^"]*"|'[^']*'|[^.\s]+""", name)]


def _matches(here: list[str], wanted: list[str]) -> bool:
    """Whether `here` is a prefix of `wanted`; quoted keys may themselves hold dots."""
    return ".".join(wanted) == ".".join(here) or ".".join(wanted).startswith(".".join(here) + ".")


def _set_by(paths: Iterable[str], path: str) -> bool:
    """Whether one of these dotted paths is `path` or leads to it."""
    return any(path == one or path.startswith(f"{one}.") for one in paths)


def _pick(table: Mapping[str, Any], name: str, kind: str, where: str, *built_in: str) -> Any:
    if name not in table:
        raise UsageError(f"{where} has no {kind} '{name}'", remedy=_nearest(name, [*table, *built_in]))
    return table[name]


def _nearest(name: str, names: Iterable[str]) -> str:
    pool = sorted(names)
    close = difflib.get_close_matches(name, pool, n=3, cutoff=0.4) or pool[:8]
    return f"did you mean {', '.join(close)}?" if close else "there are none"
