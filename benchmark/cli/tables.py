"""Tables for people: consoles, suites, plans."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from benchmark.text import escape_controls, format_flops, without_secrets

if TYPE_CHECKING:
    from benchmark.planning.plan import Plan
    from benchmark.planning.value import MethodValue

WIDE = 160
"""Columns where the output is not a terminal: logs need no wrapping at 80."""
SHORT_NOTE = 40
"""Characters up to which a note stands in its row."""
STATES = {
    "finished": "green",
    "resumable": "yellow",
    "running": "cyan",
    "blocked": "red",
    "failed": "red",
    "new": "default",
}


class CleanConsole(Console):
    """A console that writes control characters out: names and messages come from suites, records,
    plug-ins and engines."""

    def render_str(self, text: str, **options: Any) -> Text:
        """See `Console.render_str`; every string that is printed, also in tables, passes here."""
        return super().render_str(escape_controls(without_secrets(text)), **options)


def make_console(*, stderr: bool = False) -> Console:
    """The console of this process."""
    stream = sys.stderr if stderr else sys.stdout
    return CleanConsole(file=stream, width=None if stream.isatty() else WIDE, highlight=False)


@contextmanager
def make_ticker(every: float = 10.0) -> Iterator[Callable[[str], None]]:
    """Says on standard error how far something is: in place on a terminal, every so many seconds
    elsewhere."""
    terminal, last = sys.stderr.isatty(), time.monotonic()
    pause, clear = (0.2, "\r\x1b[K") if terminal else (every, "")

    def tick(said: str) -> None:
        nonlocal last
        if time.monotonic() - last >= pause:
            click.echo(f"{clear}{said}", nl=not terminal, err=True)
            last = time.monotonic()

    try:
        yield tick
    finally:
        click.echo(clear, nl=False, err=True)


def format_value(value: Any) -> str:
    """A pinned value as it would stand in TOML, near enough."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def make_grid(*heads: str, title: str = "") -> Table:
    """A table with headings."""
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=None,
        pad_edge=False,
    )
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def _ditto_sign(out: Console) -> str:
    """The sign for "as above" that the output can show."""
    try:
        "〃".encode(out.encoding)
    except (UnicodeEncodeError, LookupError):
        return '"'
    return "〃"


def print_suite(facts: dict[str, Any]) -> None:
    """Everything `show` has to say."""
    out = make_console()
    paper = facts["paper"]
    out.print(f"[bold]{escape(facts['id'])}[/bold]  {escape(facts['title'])}")
    out.print(
        escape(
            f"{paper['title']}, {paper['venue']} {paper['year']}  {paper.get('url', '')}".rstrip()
        )
    )
    if paper.get("code"):
        out.print(escape(f"official code: {paper['code']}"))
    out.print(escape(f"headline: {facts['headline']}"))
    out.print(
        escape(f"profile {facts['profile']}, variant {facts['variant']}, file {facts['file']}"),
        style="dim",
    )
    if facts["about"]:
        out.print(escape(f"\n{facts['about'].strip()}"))
    _print_values(out, facts["values"])
    _print_methods(out, facts["methods"])
    for name, item in facts["deviations"].items():
        out.print(f"\n[bold]{escape(name)}[/bold] {escape(item['topic'])}")
        for key in ("paper", "code", "pinned", "effect", "source"):
            out.print(escape(f"  {key + ':':8} {item[key]}"))
        for switch in item.get("switches", ()):
            flip = (
                f"  switch:  {switch['path']} = {format_value(switch['corrected'])} (as published "
                f"{format_value(switch['as_published'])})"
            )
            out.print(escape(flip))
    _print_section(
        out,
        "Unknown: no source establishes these values",
        [f"{path}: {note}" for path, note in facts["unknowns"].items()],
    )
    _print_section(
        out,
        "Claims",
        [f"{name}: {item['text']} ({item['source']})" for name, item in facts["claims"].items()],
    )
    _print_reported(out, facts["reported"])
    for kind in ("profiles", "variants"):
        for name, item in facts[kind].items():
            lines = [
                f"{path} = {format_value(value)}" for path, value in item.get("set", {}).items()
            ]
            lines += [
                f"{key} = {format_value(item[key])}"
                for key in ("seeds", "methods")
                if item.get(key)
            ]
            _print_section(out, f"{kind[:-1].capitalize()} {name}: {item['note']}", lines)


def _print_values(out: Console, values: list[dict[str, Any]]) -> None:
    table = make_grid("path", "value", "source", title="\nPinned values")
    before = ""
    for path, items in _group_rows(values):
        value = " ".join(
            (f"{item['path'].removeprefix(f'{path}.')}=" if len(items) > 1 else "")
            + format_value(item["value"])
            + (
                f" (paper: {'off' if item['pinned'] is None else format_value(item['pinned'])})"
                if "pinned" in item
                else ""
            )
            for item in items
        )
        source = items[0]["source"] + (
            "  [UNKNOWN]" if any(item["unknown"] for item in items) else ""
        )
        changed = any("pinned" in item for item in items)
        table.add_row(
            escape(path),
            escape(value),
            _ditto_sign(out) if source == before else escape(source),
            style="yellow" if changed else "",
        )
        before = source
    out.print(table)
    out.print("What is not listed is off.", style="dim")


def _group_rows(values: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Values that belong to one element of a list (one transform, one network) share a row."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for item in values:
        element = re.match(r"(.*\.\d+)\.", item["path"])
        rows.setdefault(element[1] if element else item["path"], []).append(item)
    return list(rows.items())


def _print_methods(out: Console, methods: dict[str, Any]) -> None:
    table = make_grid("method", "strategy", "objective", "title", title="\nMethods")
    for name, item in methods.items():
        parts = [
            item["strategy"]["name"],
            item.get("objective", {}).get("name", "supervised"),
            item["title"],
        ]
        table.add_row(escape(name), *map(escape, parts))
    out.print(table)


def _print_section(out: Console, title: str, lines: list[str]) -> None:
    if lines:
        out.print(f"\n[bold]{escape(title)}[/bold]")
        for line in lines:
            out.print(escape(f"  {line}"))


def _print_reported(out: Console, groups: list[dict[str, Any]]) -> None:
    if not groups:
        return
    table = make_grid(
        "method", "role", "numbers", "labelled", "means", "source", title="\nReported numbers"
    )
    for group in groups:
        sizes = [str(size) for size in group["labelled"]]
        means = [f"{value:g}" for value in group["means"]]
        table.add_row(
            escape(group["method"]),
            group["role"],
            str(group["numbers"]),
            _shorten_parts(sizes),
            _shorten_parts(means),
            escape("; ".join(group["sources"])),
        )
    out.print(table)


def _shorten_parts(parts: list[str]) -> str:
    return " ".join(parts if len(parts) <= 8 else [*parts[:3], "...", *parts[-3:]])


class Notes:
    """Long notes that many rows share are said once below the table."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, note: str) -> str:
        """The note itself where it is short, else its number."""
        if len(note) <= SHORT_NOTE:
            return note
        return f"see {self._numbers.setdefault(note, len(self._numbers) + 1)})"

    def lines(self) -> list[str]:
        """The numbered notes."""
        return [f"  {number}) {note}" for note, number in self._numbers.items()]


def print_plan(plan: Plan) -> None:
    """A plan as a table, and what it adds up to."""
    from benchmark.planning.plan import name_of
    from benchmark.text import format_duration

    out, notes = make_console(), Notes()
    table = make_grid(
        "trial", "id", "state", "cycles", "steps", "forward passes", "cost", "left", "note"
    )
    for planned in plan.trials:
        whole = planned.total
        table.add_row(
            escape(name_of(planned)),
            planned.trial_id[:12],
            f"[{STATES[planned.state]}]{planned.state}[/]",
            f"{planned.cycles_done}/{len(planned.work)}",
            f"{whole.steps:,}",
            f"{whole.forward_equivalents:,}",
            format_flops(None if planned.macs is None else 2 * planned.macs),
            "" if planned.seconds is None else format_duration(planned.seconds),
            escape(notes.mark(planned.note)),
        )
    out.print(table)
    for line in notes.lines():
        out.print(escape(line), soft_wrap=True)  # addresses and paths stay whole
    for data in plan.data:
        if data.present and not data.canonical:
            out.print(f"[red]NOT CANONICAL[/red] {escape(f'{data.name}: {data.note}')}")
    out.print(escape(summarize_plan(plan)))
    environment = plan.environment
    out.print(
        escape(
            f"environment {environment.env_id[:12]}: {environment.device} "
            f"({environment.device_model}), torch {environment.torch}, "
            f"{environment.precision}, {environment.threads} thread(s)"
            f"{'' if environment.step == 'eager' else f', steps {environment.step}'}"
        ),
        style="dim",
    )


def print_value(values: Sequence[MethodValue]) -> None:
    """Methods by what a published number costs, the cheapest first, and the command that runs them
    in this order."""
    from benchmark.text import format_duration

    if not values:
        click.echo("nothing of this can run here; without --by value the plan shows why")
        return
    table = make_grid("method", "trials", "cost", "published numbers", "cost of a number", "left")
    for value in values:
        table.add_row(
            escape(value.selector),
            str(value.trials),
            format_flops(2 * value.macs or None),
            str(value.numbers),
            format_flops(2 * value.macs_per_number) if value.macs and value.numbers else "",
            "" if value.seconds is None else format_duration(value.seconds),
        )
    make_console().print(table)
    first = " ".join(value.selector for value in values[:3] if value.numbers)
    if first:
        click.echo(f"run the first ones with: albench run {first}")


def summarize_plan(plan: Plan) -> str:
    """A plan in one line."""
    from benchmark.text import format_duration

    states = [
        f"{number} {state}"
        for state in STATES
        if (number := sum(item.state == state for item in plan.trials))
    ]
    left = [item.remaining.macs for item in plan.todo]
    whole = len(plan.trials)
    words = [f"{whole} trial{'s' * (whole != 1)}: {', '.join(states) or 'none'}"]
    if plan.todo and all(left):
        words.append(f"{format_flops(2 * sum(left))} to do")
    seconds = [item.seconds for item in plan.todo]
    if plan.todo and None not in seconds:
        words.append(
            f"about {format_duration(sum(value or 0 for value in seconds))} of computation"
        )
    return "; ".join([*words, f"plan {plan.digest[:12]}"])
