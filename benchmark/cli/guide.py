"""What `--help` shows beside options: groups of verbs and of options, examples, and the commands to
begin with."""

from __future__ import annotations

from typing import Any

import rich_click as click
from rich.markup import escape

BEGIN = (
    (
        "albench run quickstart/digits",
        "every method on real handwritten digits: two CPU cores, two minutes",
    ),
    ("albench ls", "the suites, each a published protocol"),
    (
        "albench run tod/cifar10 --profile smoke",
        "a paper's methods in minutes; without the profile, in full",
    ),
)
"""The commands to begin with, and what they do."""
VERBS = {
    "Begin": ("new",),
    "Look": ("ls", "show", "check", "doctor", "status"),
    "Run": (
        "fetch",
        "features",
        "oracle",
        "plan",
        "run",
        "verify",
        "verify-method",
        "verify-network",
        "verify-objective",
    ),
    "Judge": ("compare", "judge", "report", "export"),
    "Keep": ("sync", "ui", "clean", "schema"),
}
"""Verbs by purpose, in the order of help."""
OPTIONS = {
    "Which trials": (
        "--profile",
        "--variant",
        "--methods",
        "--seeds",
        "--models",
        "--method",
        "--objective",
        "--network",
        "--weights",
        "--replay",
        "--set",
        "--only",
    ),
    "Where and how they run": (
        "--executor",
        "--jobs",
        "--device",
        "--precision",
        "--step",
        "--threads",
        "--allow-noncanonical-data",
    ),
    "How far": ("--time-limit", "--until-decided", "--max-seeds", "--fresh"),
    "What is printed": ("--all", "--verdicts", "--quiet", "--progress", "--junit", "--github"),
    "MLflow": ("--no-tracking", "--tracking-uri", "--port"),
}
"""Options by purpose; what is not here is listed after them."""
EXAMPLES = {
    "ls": ("albench ls",),
    "show": ("albench show tod/cifar10", "albench show tod/cifar10 --profile smoke"),
    "schema": ("albench schema",),
    "check": ("albench check --quick", "albench check tod/cifar10 --device cuda"),
    "doctor": ("albench doctor",),
    "new": (
        "albench new suite data/flowers",
        "albench new suite data/flowers --side 32 --name flowers32",
        "albench new suite torchvision:FashionMNIST",
    ),
    "fetch": ("albench fetch cifar10",),
    "features": ("albench features frozen/cifar10",),
    "oracle": ("albench oracle frozen/cifar10@0",),
    "plan": ("albench plan tod/cifar10", "albench plan 'tod/*' --profile smoke"),
    "run": (
        "albench run quickstart/digits",
        "albench run tod/cifar10 --profile smoke --methods random,tod",
        "albench run tod/cifar10/tod+cod@0-2 --time-limit 8h",
        "albench run tod/cifar10 --method gini.py:Gini --methods random",
    ),
    "status": ("albench status", "albench status 'tod/*'"),
    "compare": (
        "albench compare quickstart/digits",
        "albench compare tod/cifar10 --all",
        "albench compare quickstart/digits --regress --quiet",
    ),
    "judge": ("albench judge own.csv --suite tod/cifar10",),
    "report": (
        "albench report quickstart/digits",
        "albench report 'tod/*' --committed --out pages",
    ),
    "export": ("albench export quickstart/digits --to csv",),
    "verify": ("albench verify quickstart/digits/margin@0",),
    "verify-method": ("albench verify-method gini.py:Gini",),
    "verify-network": (
        "albench verify-network small_cnn",
        "albench verify-network tiny.py:Tiny --size 64",
    ),
    "verify-objective": (
        "albench verify-objective cod --params '{\"weight\": 0.05}'",
        "albench verify-objective focal.py:Focal",
    ),
    "sync": ("albench sync", "albench sync 'tod/*' --tracking-uri http://127.0.0.1:5000"),
    "ui": ("albench ui", "albench ui --port 5001"),
    "clean": ("albench clean --dry-run",),
}
"""Command lines of each verb that can be typed as they are, in a folder with what they name."""


def configure() -> None:
    """Set groups and colours of help; called before the first command line is parsed."""
    settings = click.rich_click
    settings.TEXT_MARKUP = None
    settings.SHOW_ARGUMENTS = False
    settings.OPTIONS_TABLE_COLUMN_TYPES = ["required", "opt_long", "opt_short", "help"]
    settings.OPTIONS_TABLE_HELP_SECTIONS = [
        "help",
        "deprecated",
        "envvar",
        "default",
        "required",
        "metavar",
    ]
    settings.MAX_WIDTH = 110
    settings.COMMAND_GROUPS = {
        "albench": [{"name": name, "commands": list(verbs)} for name, verbs in VERBS.items()]
    }
    groups: list[Any] = [
        {"name": name, "options": list(options)} for name, options in OPTIONS.items()
    ]
    settings.OPTION_GROUPS = {
        f"albench {verb}": groups for verbs in VERBS.values() for verb in verbs
    }


def write_epilog(verb: str) -> Any:
    """Examples of a verb as the last paragraph of its help; None for a verb without any."""
    from rich.text import Text

    lines = EXAMPLES.get(verb)
    return Text("\n".join(["Examples:", *(f"  {line}" for line in lines)])) if lines else None


def write_beginning() -> str:
    """What bare `albench` prints: what it is, and the commands to begin with. Markup of rich."""
    width = max(len(command) for command, _ in BEGIN)
    lines = [
        "albench reruns active-learning papers and judges their published numbers. To begin with:",
        "",
    ]
    lines += [
        f"  [cyan]{escape(command):{width}}[/cyan]  {escape(text)}" for command, text in BEGIN
    ]
    return "\n".join(
        [
            *lines,
            "",
            "albench --help lists all commands, albench COMMAND --help shows one with examples.",
        ]
    )
