"""Options that several verbs share, and what they become."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from benchmark.api.replay import read_selections
from benchmark.api.selection import select
from benchmark.spec.selectors import parse_seeds, parse_set

if TYPE_CHECKING:
    from benchmark.planning.plan import Plan
    from benchmark.runs.store import RejectedRecord
    from benchmark.spec.selectors import Selection

Command = TypeVar("Command", bound=Callable[..., Any])
TRACKING_URI = click.option(
    "--tracking-uri",
    metavar="URI",
    envvar="MLFLOW_TRACKING_URI",
    help="[default: sqlite in the runs folder]",
)
SELECTOR = click.argument("selectors", nargs=-1, required=True, metavar="SELECTOR...")


def parse_names(text: str | None) -> tuple[str, ...] | None:
    """Names from a comma-separated option; None where it is absent or empty."""
    found = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    return found or None


def selection_options(*, required: bool = True) -> Callable[[Command], Command]:
    """Selector arguments and the options that narrow and change them; the verb gets a `Selection`
    as `selection`.

    Where selectors are not `required`, it gets None for a command line without any of these options
    beside the selectors.
    """
    options = [
        SELECTOR if required else click.argument("selectors", nargs=-1, metavar="[SELECTOR...]"),
        click.option(
            "--profile", help="paper, or a named shrinking such as smoke.  [default: paper]"
        ),
        click.option(
            "--variant", help="as_published, corrected, or a named one.  [default: as_published]"
        ),
        click.option(
            "--methods",
            metavar="NAME,...",
            help="Only these; `all` are the suite's, `modern` newer ones that any suite takes.",
        ),
        click.option("--seeds", metavar="N,...", help="Only these seeds: 0,1 or 0-4."),
        click.option(
            "--models",
            type=click.IntRange(1),
            metavar="N",
            help="With N target models, where a paper ran "
            "several numbers of them: diam/mnist --models 2 is diam/mnist-2.",
        ),
        click.option(
            "--method",
            "plugin",
            metavar="FILE.py:Class",
            help=(
                "A strategy of your own, run under the protocol; baselines come along with "
                "--methods."
            ),
        ),
        click.option(
            "--objective", metavar="NAME", help="Objective to pair it with.  [default: supervised]"
        ),
        click.option(
            "--network",
            "networks",
            multiple=True,
            metavar="NAME[(KEY=VALUE)]",
            help=(
                "Train this network in place of the suite's: FILE.py:Class, timm:NAME, "
                "torchvision:NAME, ..."
            ),
        ),
        click.option(
            "--weights",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Weights that --network starts from.  [default: random ones]",
        ),
        click.option(
            "--replay",
            "replays",
            multiple=True,
            metavar="RUN|CSV|PICKS:METHOD",
            help=(
                "Buy again what a finished trial bought: its run folder, a table of indices, or "
                "committed picks."
            ),
        ),
        click.option(
            "--set",
            "sets",
            multiple=True,
            metavar="PATH=VALUE",
            help="Replace a pinned value (TOML).",
        ),
    ]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def call(*arguments: Any, **given: Any) -> Any:
            selectors = given.pop("selectors")
            chosen = {name: given.pop(name) for name in NARROWING}
            if not required and not any(chosen.values()):
                return command(*arguments, selection=None, selectors=selectors, **given)
            selection = _select(selectors or ("*/*",), **chosen)
            extra = {} if required else {"selectors": selectors}
            return command(*arguments, selection=selection, **extra, **given)

        return _with_options(call, options)  # type: ignore[return-value]

    return decorate


NARROWING = (
    "profile",
    "variant",
    "methods",
    "seeds",
    "models",
    "plugin",
    "objective",
    "networks",
    "weights",
    "replays",
    "sets",
)
"""Parameters of the options that narrow or change a selection."""


def _select(
    selectors: tuple[str, ...],
    *,
    profile: str | None,
    variant: str | None,
    methods: str | None,
    seeds: str | None,
    replays: Sequence[str],
    sets: Sequence[str],
    **given: Any,
) -> Selection:
    """The selection that these options describe. Raises UsageError."""
    return select(
        *selectors,
        profile=profile or "paper",
        variant=variant or "as_published",
        methods=parse_names(methods),
        seeds=parse_seeds(seeds) if seeds else None,
        sets=dict(parse_set(text) for text in sets),
        replays=[one for text in replays for one in read_selections(text)],
        **given,
    )


def arithmetic_options(command: Command) -> Command:
    """Options that name an environment, and what data may run in it."""
    options = [
        click.option(
            "--device",
            default="auto",
            show_default=True,
            help="auto (the suite's advice, else a usable GPU), cpu, cuda or cuda:N.",
        ),
        click.option(
            "--precision",
            type=click.Choice(["fp32", "tf32", "tf32-conv", "bf16"]),
            default="fp32",
            show_default=True,
        ),
        click.option(
            "--step",
            type=click.Choice(["eager", "together", "captured"]),
            default="eager",
            show_default=True,
            help="Training steps as published; labelled and unlabelled images in one batch of "
            "convolutions, statistics apart; or that as a CUDA graph.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(1, 1024),
            help="CPU threads of a trial.  [default: 1; 4 on a GPU]",
        ),
        click.option(
            "--allow-noncanonical-data",
            is_flag=True,
            help="Accept other than the published data; every line says so.",
        ),
    ]
    return _with_options(command, options)


def machine_options(command: Command) -> Command:
    """Options of where and how trials run."""
    executors = click.Choice(["local", "docker", "ray", "slurm", "auto"])
    return _with_options(
        arithmetic_options(command),
        [
            click.option("--executor", type=executors, default="local", show_default=True),
            click.option(
                "--fresh", is_flag=True, help="Do finished trials again and resume nothing."
            ),
        ],
    )


def report_line(text: str) -> None:
    """Print what a call reports on the way, on standard error."""
    click.echo(text, err=True)


def report_refused(refused: RejectedRecord) -> None:
    """Print which record file was left out, and why, on standard error."""
    click.echo(f"ignored {refused.path}: {refused.reason}", err=True)


def report_empty_plan(plan: Plan, only: Sequence[str]) -> None:
    """Print that a plan has no trials, where it has none."""
    if not plan.trials:
        why = f"\n  -> --only {' '.join(only)} matches no trial of the selection" if only else ""
        click.echo(f"Error: the plan is empty{why}", err=True)


def _with_options(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


if TYPE_CHECKING:  # generic since click 8.4; older versions do all that is needed
    _Time = click.ParamType[float]
else:
    _Time = click.ParamType


class Seconds(_Time):
    """A span of time: 90s, 9m, 1.5h, 2d, or plain seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds; fails for anything else."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(value).strip())
        if not found or float(found[1]) == 0:
            self.fail(f"'{value}' is not a span of time such as 90s, 9m or 1.5h", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]
