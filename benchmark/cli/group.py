"""The group of verbs, loaded lazily, and what every command line shares: global options and the way
errors are said."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import rich_click as click
from click.exceptions import Exit as Leave

from benchmark.api.workspace import Workspace
from benchmark.cli.guide import configure, write_beginning, write_epilog
from benchmark.errors import AlbenchError, Exit

VERBS = {
    "ls": ("ls", "List the suites."),
    "show": ("show", "Show a suite: every pinned value with its source."),
    "schema": ("schema", "Write the JSON Schema of suite files for editors."),
    "check": ("check", "Check suites, reported tables, data and methods."),
    "doctor": ("doctor", "Check this machine and say how to fix what is wrong."),
    "new": ("new", "Write a suite about your own images."),
    "fetch": ("fetch", "Download data sets, with checksums."),
    "features": ("features", "Compute features of a data set's images with a fixed network."),
    "oracle": ("oracle", "Write what a greedy oracle buys on frozen features, to be replayed."),
    "plan": ("plan", "Show the trials of a selection, their state and their cost."),
    "run": ("run", "Run the trials of a selection; resumes by default."),
    "status": ("status", "Show what the runs folder holds and who works in it."),
    "compare": ("compare", "Judge records against published numbers: a verdict for each."),
    "judge": ("judge", "Judge a table of your own per-seed numbers, without a run."),
    "report": ("report", "Write reports; with --publish into results/."),
    "export": ("export", "Write results as CSV, Parquet, JSON, LaTeX or RO-Crate."),
    "verify": ("verify", "Run twice and across a kill, and name the first difference."),
    "verify-method": ("verify_method", "Check an acquisition function against the contract."),
    "verify-network": ("verify_network", "Check a network against the contract."),
    "verify-objective": ("verify_objective", "Check a training objective against the contract."),
    "sync": ("sync", "Rebuild the MLflow view of the runs folder."),
    "ui": ("ui", "Serve MLflow's user interface on this machine."),
    "clean": ("clean", "Remove leftovers of interrupted and finished runs."),
}
"""Verbs in the order of help: module of this package and one line."""


COMPLETE = "_ALBENCH_COMPLETE"
"""Variable by which a shell requests completions or the script that installs them: see
docs/see-results.md."""
GLOBAL = ("--suites", "--runs", "--data", "--cache", "--results")


class Verbs(click.RichGroup):
    """Imports a verb's module only when it is called."""

    _listing = False
    """Whether the list of verbs is being written, which needs their names and lines only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in VERBS:
            return None
        if self._listing:
            return click.RichCommand(name=cmd_name, help=VERBS[cmd_name][1])
        module = importlib.import_module(f"benchmark.cli.{VERBS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        if {"--help", "-h"} & set(ctx.meta.get("albench.arguments", ())):
            command.epilog = write_epilog(cmd_name)
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Help of the group, without importing a verb."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def shell_complete(self, ctx: click.Context, incomplete: str) -> Any:
        """Names of verbs that complete what was typed, without importing one."""
        self._listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._listing = False


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from benchmark import __version__

        click.echo(f"albench {__version__}")
        ctx.exit(Exit.OK)


@click.command(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ALBENCH"},
)
@click.option(
    "--suites", type=click.Path(path_type=Path), help="Folder of suite files.  [default: ./suites]"
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Store of runs.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Data root.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Decoded images, shared trainings.  [default: RUNS/.cache]",
)
@click.option(
    "--results", type=click.Path(path_type=Path), help="Committed results.  [default: ./results]"
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version.",
)
@click.pass_context
def albench(
    ctx: click.Context,
    suites: Path | None,
    runs: Path,
    data: Path,
    cache: Path | None,
    results: Path | None,
) -> None:
    """Re-run published deep active-learning papers as pinned, and say with statistics whether the
    numbers hold.

    Trials are named SUITE[/METHOD][@SEED[,SEED...]], with shell wildcards: tod/cifar10, 'tod/*',
    tod/cifar10/tod+cod@0-2. Every option has an environment variable: ALBENCH_RUNS, ALBENCH_DATA,
    ALBENCH_RUN_JOBS, ...

    Exit codes: 0 all well, 1 a discrepancy, 2 usage or suite invalid, 3 could not measure, 4
    inconclusive only, 130 interrupted.
    """
    ctx.obj = Workspace(
        suites, runs, data, cache, results, tuple(ctx.meta.get("albench.arguments", ()))
    )


def hoist(arguments: list[str]) -> list[str]:
    """The command line with global options in front of the verb, wherever they were given. Raises
    click.UsageError for one without its value."""
    front: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, _ = argument.partition("=")
        if argument == "--":
            rest += [argument, *waiting]
        elif name in GLOBAL:
            value = None if equals else next(waiting, None)
            if not equals and value is None:
                raise click.UsageError(f"Option '{name}' requires an argument.")
            front += [argument] if value is None else [argument, value]
        else:
            rest.append(argument)
    return front + rest


def run(arguments: list[str]) -> int:
    """Run a command line in this process and return its exit code."""
    configure()
    if instruction := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(albench, {}, "albench", COMPLETE, instruction)
    try:
        if not arguments:
            from benchmark.cli.tables import make_console

            make_console().print(write_beginning(), soft_wrap=True)
            return int(Exit.USAGE)
        with albench.make_context("albench", hoist(arguments)) as ctx:
            ctx.meta["albench.arguments"] = tuple(arguments)
            code: Any = albench.invoke(ctx)
    except Leave as error:
        return int(error.exit_code)
    except click.ClickException as error:
        error.show()
        return int(Exit.USAGE)
    except AlbenchError as error:
        click.echo(f"Error: {error}", err=True)
        return int(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return int(Exit.INTERRUPTED)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        click.echo(
            f"Error: {place}{error.strerror or error}\n  -> check permissions and free space",
            err=True,
        )
        return int(Exit.NOT_MEASURED)
    return int(code) if code is not None else int(Exit.OK)
