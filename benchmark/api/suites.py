"""The suites: which there are, what each pins, and the schema of their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.api.workspace import Workspace
from benchmark.errors import AlbenchError, UsageError
from benchmark.text import SHORT, clean_text

if TYPE_CHECKING:
    from benchmark.spec.load import SuiteFile


def load_suite(name: str, workspace: Workspace | None = None) -> SuiteFile:
    """A suite by its id, such as `tod/cifar10`. Raises UsageError with the nearest ids where there
    is none, SuiteError for a file that is not valid."""
    from benchmark.spec.load import find_suite

    return find_suite(name, (workspace or Workspace()).suites)


def list_suites(pattern: str = "*", workspace: Workspace | None = None) -> dict[str, str]:
    """Suites whose id matches a pattern, in the order of their ids, each with one line: methods,
    seeds, title, headline.

    Files are read without validation: `check` is for that. Raises UsageError where nothing matches.
    """
    from fnmatch import fnmatchcase

    from benchmark.spec.inherit import suite_files

    root = (workspace or Workspace()).suites
    names = (path.relative_to(root).with_suffix("").as_posix() for path in suite_files(root))
    chosen = [
        name
        for name in sorted(names)
        if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}/*")
    ]
    if not chosen:
        raise UsageError(
            f"no suite matches '{pattern}' under {root}",
            remedy="`albench ls` lists all; --suites names the folder",
        )
    return {name: _summary_line(root / f"{name}.toml") for name in chosen}


def _summary_line(path: Path) -> str:
    """One line of a suite, read without validation: `check` is for that."""
    from benchmark.spec.inherit import read_suite

    try:
        raw = read_suite(path).values
        counts = f"{len(raw['methods']):2} methods  {len(raw['seeds'])} seeds"
        return clean_text(f"{counts}  {raw['title']}; {raw['headline']}".replace("\n", " "), SHORT)
    except (AlbenchError, ValueError, LookupError, TypeError, RecursionError):
        return "not valid: see `albench check`"


def describe(
    found: SuiteFile, profile: str = "paper", variant: str = "as_published"
) -> dict[str, Any]:
    """Everything `show` says, as plain values."""
    from benchmark.spec.base import flatten_leaves
    from benchmark.spec.load import PINNED

    suite = found.resolve(profile, variant)
    whole = suite.model_dump(mode="json", exclude_unset=True)
    base = dict(flatten_leaves(found.suite.model_dump(mode="json", exclude_unset=True)))
    values = flatten_leaves({part: whole[part] for part in PINNED if part in whole})
    return {
        "id": found.id,
        "file": str(found.path),
        **{key: whole[key] for key in ("title", "headline", "paper")},
        "about": suite.about,
        "profile": profile,
        "variant": variant,
        "values": [
            {
                "path": path,
                "value": value,
                "source": (base.get(path) != value and found.changed_by(path, profile, variant))
                or found.source(path),
                "unknown": any(_is_below(path, top) for top in suite.unknowns),
            }
            | ({"pinned": base.get(path)} if base.get(path) != value else {})
            for path, value in values
        ],
        **{
            key: whole.get(key, {})
            for key in (
                "methods",
                "deviations",
                "unknowns",
                "claims",
                "profiles",
                "variants",
                "cost",
            )
        },
        "reported": _reported_groups(found),
    }


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}.")


def _reported_groups(found: SuiteFile) -> list[dict[str, Any]]:
    """The reported table in short: numbers, budgets and sources of each method and role."""
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for row in found.reported:
        groups.setdefault((row.method, row.metric, row.role), []).append(row)
    return [
        {
            "method": method,
            "metric": metric,
            "role": role,
            "numbers": len(rows),
            "labelled": sorted({row.labelled for row in rows if row.labelled is not None}),
            "means": [row.mean for row in rows if row.mean is not None],
            "sources": sorted({row.source for row in rows}),
        }
        for (method, metric, role), rows in groups.items()
    ]


def schema_is_current(workspace: Workspace) -> bool:
    """Whether schema.json in the suites folder is what `write_schema` would write, byte by byte."""
    path = workspace.suites / "schema.json"
    return path.is_file() and path.read_text(encoding="utf-8") == schema_text()


def write_schema(workspace: Workspace) -> Path:
    """Write schema.json into the suites folder: editors then complete and check suite files."""
    from benchmark.runs.events import write_bytes

    path = workspace.suites / "schema.json"
    write_bytes(path, schema_text().encode())
    return path


def schema_text() -> str:
    """The JSON Schema of suite files, as it is committed. No table need be whole, for it may
    inherit: `albench check` says what is missing."""
    from benchmark.spec.suite import Suite

    model = Suite.model_json_schema()
    chosen = {
        "op",
        "kind",
        "name",
        "rule",
        "task",
    }  # what distinguishes inline tables; they replace, so they are whole
    for table in (model, *model["$defs"].values()):
        if not chosen.intersection(table.get("required", ())):
            table.pop("required", None)
    model["properties"] |= {
        "base": {
            "type": "string",
            "description": (
                "File beside this one from which everything is inherited that is not said."
            ),
        },
        "drop": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Dotted paths of the base that are left out.",
        },
        "set": {
            "type": "object",
            "description": "Values that replace inherited ones, by dotted path.",
        },
    }
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
