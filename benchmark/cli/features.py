"""features: the features of a data set's images from a fixed network."""

from __future__ import annotations

import os
import time

import rich_click as click

from benchmark.api import features as computing
from benchmark.api.workspace import Workspace
from benchmark.cli.tables import make_ticker
from benchmark.errors import Exit


@click.command()
@click.argument("name", metavar="DATASET|SUITE")
@click.option(
    "--network", metavar="NAME", help="Fixed network: efficientnet_lite0.  [default: the suite's]"
)
@click.option(
    "--size",
    type=click.IntRange(32, 1024),
    help="Side of the images in pixels.  [default: the suite's]",
)
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="CPU threads.  [default: one for each core]"
)
@click.pass_obj
def features(
    workspace: Workspace, name: str, network: str | None, size: int | None, threads: int | None
) -> int:
    """Run a fixed network over all images of a data set and keep its features in `<data
    root>/features`.

    Suites on frozen features read that file. It belongs to these images, these weights, this
    preprocessing and this code of the network; a call for which it exists computes nothing, and an
    interrupted one goes on where it stopped.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    start = time.monotonic()
    with make_ticker() as tick:
        found = computing.compute_features(
            name,
            workspace,
            network=network,
            size=size,
            threads=threads or cores,
            on_images=lambda done, whole: tick(
                f"  {done:,} of {whole:,} images, {time.monotonic() - start:.0f} s"
            ),
        )
    click.echo(f"{found.path}\nidentity {found.identity}")
    if found.note:
        click.echo(f"not the published data: {found.note}")
    return Exit.OK
