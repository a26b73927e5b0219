"""fetch, sync, ui: data sets from their homes, and the MLflow view."""

from __future__ import annotations

import socket
import subprocess

import click

from benchmark.api.workspace import Workspace
from benchmark.cli.tables import ticker
from benchmark.errors import Exit, UsageError

URI = click.option(
    "--tracking-uri", metavar="URI", envvar="MLFLOW_TRACKING_URI", help="[default: sqlite in the runs folder]"
)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.pass_obj
def fetch(settings: Workspace, names: tuple[str, ...]) -> int:
    """Download data sets by name, or all that suites (by selector) need, into the data root, and check them.

    Interrupted downloads go on where they stopped. Without NAME, lists what there is.
    """
    from benchmark.al import datasets

    if not names:
        for name, origin in sorted(datasets.SOURCES.items()):
            click.echo(f"{name:16} {origin.title}")
        return Exit.OK
    for name in _data_names(names, settings, set(datasets.SOURCES)):
        click.echo(f"{name} into {settings.data}")
        with ticker() as tick:
            datasets.fetch(name, settings.data, lambda file, done, whole, tick=tick: tick(_share(file, done, whole)))  # type: ignore[misc]
        click.echo(f"{name}: complete")
    return Exit.OK


def _data_names(names: tuple[str, ...], settings: Workspace, known: set[str]) -> list[str]:
    from benchmark.spec.selectors import match_suites, parse_selector

    found: dict[str, None] = {}
    for name in names:
        if name in known:
            found[name] = None
        elif "/" in name or "*" in name:
            for suite in match_suites(parse_selector(name).suite, settings.suites):
                found[suite.suite.protocol.data.name] = None
        else:
            raise UsageError(f"no data set or suite '{name}'", remedy=f"data sets: {', '.join(sorted(known))}")
    return list(found)


def _share(file: str, done: int, whole: int) -> str:
    """How much of a file is there; `whole` is 0 where nobody says how large it is."""
    share = f" of {whole / 1e6:.0f} MB ({100 * done / whole:.0f} %)" if whole else " MB"
    return f"  {file}: {done / 1e6:.0f}{share}"


@click.command()
@click.argument("suites", nargs=-1, metavar="[SUITE...]")
@URI
@click.pass_obj
def sync(settings: Workspace, suites: tuple[str, ...], tracking_uri: str | None) -> int:
    """Bring MLflow up to the runs folder, of these suites (or 'tod/*') or of all. Repeating it changes nothing."""
    from benchmark.spec.selectors import match_suites, parse_selector
    from benchmark.tracking import mlflow as tracking

    chosen = {suite.id for text in suites for suite in match_suites(parse_selector(text).suite, settings.suites)}
    with ticker() as tick:
        done = tracking.sync(
            settings.runs, tracking_uri, chosen, lambda number, whole: tick(f"{number} of {whole} runs looked at")
        )
    click.echo(f"{done.written} runs written, {done.unchanged} were up to date, {done.empty} have not begun")
    for problem in done.problems:
        click.echo(f"skipped: {problem}", err=True)
    return Exit.NOT_MEASURED if done.problems else Exit.OK


@click.command()
@URI
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.pass_obj
def ui(settings: Workspace, tracking_uri: str | None, port: int) -> int:
    """Serve MLflow's user interface to browsers on this machine. Ctrl-C ends it."""
    from benchmark.tracking import mlflow as tracking

    _free(port)
    command = tracking.ui_argv(tracking_uri, runs=settings.runs, port=port)
    click.echo(f"http://127.0.0.1:{port}")
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return Exit.OK


def _free(port: int) -> None:
    """Raises UsageError if somebody listens at this port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just left is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be used: {error.strerror}", remedy="name another with --port"
            ) from error
