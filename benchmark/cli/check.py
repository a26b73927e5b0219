"""check: whether the suites are as they must be."""

from __future__ import annotations

import rich_click as click

from benchmark.api.check import BAD, GOOD, Arithmetic, CheckResult, check_device, check_each
from benchmark.api.workspace import Workspace
from benchmark.cli.tables import make_console, make_grid, make_ticker
from benchmark.errors import Exit
from benchmark.text import clean_text


@click.command()
@click.argument("selectors", nargs=-1, metavar="[SUITE...]")
@click.option("--quick", is_flag=True, help="Skip building the methods (which imports torch).")
@click.option(
    "--device",
    help=(
        "Instead try methods on cpu, cuda or cuda:N under every precision and step: what holds "
        "there."
    ),
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="NAME[(KEY=VALUE)]",
    help=(
        "With this network in place of the suites': FILE.py:Class, timm:NAME, torchvision:NAME, ..."
    ),
)
@click.pass_obj
def check(
    workspace: Workspace,
    selectors: tuple[str, ...],
    quick: bool,
    device: str | None,
    networks: tuple[str, ...],
) -> int:
    """Check suites (all): that they load, that reported tables fit them, that data are there, that
    every method builds.

    Missing data are noted, not failed: a suite is valid without them. With --device a table says
    which arithmetic works there: whether each method runs, repeats bit by bit, gives captured what
    it gives together, and agrees with the CPU.
    """
    if device is not None:
        return _check_device(workspace, selectors, device)
    bad = 0
    with make_ticker() as tick:
        for result in check_each(selectors, workspace, quick=quick, networks=networks, report=tick):
            _print_result(result)
            bad += not result.is_good
    return Exit.USAGE if bad else Exit.OK


def _print_result(result: CheckResult) -> None:
    click.echo(f"{GOOD if result.is_good else BAD:4} {result.name}")
    for kind, text in result.findings:
        if kind != GOOD:
            click.echo(f"     {kind}: {clean_text(' '.join(text.split()))}")


def _check_device(workspace: Workspace, selectors: tuple[str, ...], device: str) -> int:
    """The table of what holds on a device."""
    with make_ticker() as tick:
        result = check_device(device, selectors, workspace, report=tick)
    table = make_grid("method", *(f"{precision} {step}" for precision, step in result.arithmetics))
    for name, cells in result.failures.items():
        table.add_row(
            name, *("NO" if cells.get(column) else "holds" for column in result.arithmetics)
        )
    make_console().print(table)
    for name, cells in result.failures.items():
        for words, places in _by_words(cells).items():
            click.echo(f"{name}: {', '.join(places)}: {words}")
    click.echo(
        f"{result.holding} of {result.asked} methods hold on {result.device} under every arithmetic"
    )
    if result.broke_off:
        click.echo(f"Error: the dry run broke off: {result.broke_off}", err=True)
    return result.exit_code


def _by_words(cells: dict[Arithmetic, tuple[str, ...]]) -> dict[str, list[str]]:
    """Where each thing that does not hold was seen, so that one cause is one line."""
    found: dict[str, list[str]] = {}
    for (precision, step), failures in cells.items():
        for words in failures:
            found.setdefault(words, []).append(f"{precision} {step}")
    return found
