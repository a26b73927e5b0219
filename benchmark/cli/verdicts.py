"""How verbs print verdicts: the sentence, one screen, or every number."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, TypeVar

import rich_click as click
from rich.markup import escape

from benchmark.api.compare import MISSING, ComparisonResult
from benchmark.api.report import find_page
from benchmark.api.tracking import suite_page
from benchmark.api.workspace import Workspace
from benchmark.cli.tables import make_console
from benchmark.spec.selectors import Selection

Command = TypeVar("Command", bound=Callable[..., Any])
Detail = Literal["quiet", "answer", "all"]
"""The sentence only, one screen, or every number."""


def detail_options(command: Command) -> Command:
    """Options --all, --verbose and --quiet; the verb gets what was asked for as `detail`."""

    @wraps(command)
    def call(*arguments: Any, everything: bool, quiet: bool, **given: Any) -> Any:
        detail: Detail = "all" if everything else "quiet" if quiet else "answer"
        return command(*arguments, detail=detail, **given)

    options = [
        click.option(
            "--all",
            "-v",
            "--verbose",
            "everything",
            is_flag=True,
            help="Print every number, claim and note.",
        ),
        click.option("--quiet", "-q", is_flag=True, help="Print one sentence for each suite."),
    ]
    for option in reversed(options):
        call = option(call)
    return call  # type: ignore[return-value]


def print_verdicts(
    workspace: Workspace,
    selection: Selection,
    item: ComparisonResult,
    detail: Detail,
    *,
    command: str = "",
    tracking_uri: str | None = None,
) -> None:
    """Print a judged suite. `command` is the verb whose exit code the sentence names where that is
    not the caller's own."""
    from benchmark.reports import answer, terminal

    out = make_console()
    if detail == "all":
        terminal.show(item.judgement, out, item.cost_note, item.commands)
        return
    if detail == "quiet":
        out.print(escape(answer.write_sentence(item.judgement, command)), soft_wrap=True)
        return
    page = find_page(selection, item.suite)
    report = item.commands["Compare"].replace("albench compare", "albench report", 1)
    shown = suite_page(item.suite.id, workspace, tracking_uri=tracking_uri)
    served = bool(tracking_uri and tracking_uri.startswith("http"))
    places = {"Report": str(page) if page is not None else f"{report}"}
    places |= {"MLflow": shown if served else f"albench ui, then {shown}"} if shown else {}
    context = answer.AnswerContext(
        command, item.commands.get(MISSING, ""), places, f"{item.commands['Compare']} --all"
    )
    answer.show_answer(item.judgement, out, context)
