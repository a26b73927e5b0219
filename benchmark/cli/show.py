"""ls, show, schema: what the suites say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.api.workspace import Workspace
from benchmark.errors import AlbenchError, Exit, UsageError
from benchmark.text import SHORT, cleaned

if TYPE_CHECKING:
    from benchmark.spec.load import SuiteFile

NO_SUITE = "`albench ls` lists all; --suites names the folder"


@click.command()
@click.argument("pattern", default="*")
@click.pass_obj
def ls(settings: Workspace, pattern: str) -> int:
    """List the suites whose id matches PATTERN (all): id, methods, seeds, the headline number."""
    from fnmatch import fnmatchcase

    from benchmark.spec.inherit import suite_files

    names = (path.relative_to(settings.suites).with_suffix("").as_posix() for path in suite_files(settings.suites))
    chosen = [name for name in sorted(names) if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}/*")]
    if not chosen:
        raise UsageError(f"no suite matches '{pattern}' under {settings.suites}", remedy=NO_SUITE)
    width = max(map(len, chosen))
    for name in chosen:
        click.echo(f"{name:{width}}  {_line(settings.suites / f'{name}.toml')}")
    return Exit.OK


def _line(path: Path) -> str:
    """One line of a suite, read without validation: `check` is for that."""
    from benchmark.spec.inherit import read_suite

    try:
        raw = read_suite(path).values
        counts = f"{len(raw['methods']):2} methods  {len(raw['seeds'])} seeds"
        return cleaned(f"{counts}  {raw['title']}; {raw['headline']}".replace("\n", " "), SHORT)
    except (AlbenchError, ValueError, LookupError, TypeError, RecursionError):
        return "not valid: see `albench check`"


@click.command()
@click.argument("suite")
@click.option("--profile", default="paper", show_default=True, help="Show the values of a profile.")
@click.option("--variant", default="as_published", show_default=True, help="Show the values of a variant.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_obj
def show(settings: Workspace, suite: str, profile: str, variant: str, as_json: bool) -> int:
    """Show SUITE: every pinned value with its source, methods, deviations with their switches, unknowns, claims."""
    from benchmark.spec.load import find_suite

    facts = describe(find_suite(suite, settings.suites), profile, variant)
    if as_json:
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        from benchmark.cli.tables import print_suite

        print_suite(facts)
    return Exit.OK


def describe(found: SuiteFile, profile: str = "paper", variant: str = "as_published") -> dict[str, Any]:
    """Everything `show` says, as plain values."""
    from benchmark.spec.load import PINNED
    from benchmark.spec.models import leaves

    suite = found.resolve(profile, variant)
    whole = suite.model_dump(mode="json", exclude_unset=True)
    base = dict(leaves(found.suite.model_dump(mode="json", exclude_unset=True)))
    values = leaves({part: whole[part] for part in PINNED if part in whole})
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
                "source": (base.get(path) != value and found.changed_by(path, profile, variant)) or found.source(path),
                "unknown": any(_below(path, top) for top in suite.unknowns),
            }
            | ({"pinned": base.get(path)} if base.get(path) != value else {})
            for path, value in values
        ],
        **{
            key: whole.get(key, {})
            for key in ("methods", "deviations", "unknowns", "claims", "profiles", "variants", "cost")
        },
        "reported": _reported(found),
    }


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}.")


def _reported(found: SuiteFile) -> list[dict[str, Any]]:
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


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail if the file is not current.")
@click.pass_obj
def schema(settings: Workspace, only_check: bool) -> int:
    """Write schema.json into the suites folder: editors then complete and check suite files."""
    from benchmark.runs.events import write_bytes

    path, text = settings.suites / "schema.json", schema_text()
    if only_check:
        current = path.is_file() and path.read_text(encoding="utf-8") == text
        click.echo(f"{path} is {'current' if current else 'not current: run `albench schema`'}")
        return Exit.OK if current else Exit.USAGE
    write_bytes(path, text.encode())
    click.echo(f"wrote {path}")
    return Exit.OK


def schema_text() -> str:
    """The JSON Schema of suite files, as it is committed. No table need be whole, for it may inherit: `albench check` says
    what is missing."""
    from benchmark.spec.models import Suite

    model = Suite.model_json_schema()
    chosen = {"op", "kind", "name", "rule", "task"}  # what tells inline tables apart; they replace, so they are whole
    for table in (model, *model["$defs"].values()):
        if not chosen.intersection(table.get("required", ())):
            table.pop("required", None)
    model["properties"] |= {
        "base": {
            "type": "string",
            "description": "File beside this one from which everything is inherited that is not said.",
        },
        "drop": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Dotted paths of the base that are left out.",
        },
        "set": {"type": "object", "description": "Values that replace inherited ones, by dotted path."},
    }
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
