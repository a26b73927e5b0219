"""new: files to begin with."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from benchmark.api.workspace import Workspace
from benchmark.errors import Exit


@click.group()
def new() -> None:
    """Write a file to begin with: a suite about your own images."""


@new.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the suite below suites/own.  [default: that of the folder]")
@click.option(
    "--side",
    type=click.IntRange(8, 1024),
    metavar="PIXELS",
    help=(
        "Make the images squares of this size, where they are not squares of one size.  [default: "
        "64]"
    ),
)
@click.pass_obj
def suite(workspace: Workspace, folder: Path, name: str | None, side: int | None) -> int:
    """Look at FOLDER and write a suite about it, with a recipe for training that it inherits.

    FOLDER holds train/CLASS/IMAGE and test/CLASS/IMAGE, or CLASS/IMAGE alone; or it is the name of
    files below the data root, torchvision:NAME or huggingface:NAME. Sizes, classes, mean,
    deviation and the digest of the files are measured; budgets are proposed, and marked as
    proposed.
    """
    from benchmark.api.new import write_suite

    made = write_suite(folder, workspace, name=name, side=side)
    found = made.survey
    click.echo(
        f"{found.train} images in the pool, {found.test} to test, {found.classes} classes, squares "
        f"of {found.side} pixels"
    )
    for path in made.written:
        click.echo(f"wrote {path} ({len(path.read_text(encoding='utf-8').splitlines())} lines)")
    for command in made.commands:
        click.echo(f"  {command}")
    return Exit.OK
