"""doctor: whether this machine is as it must be, and how to fix what is not."""

from __future__ import annotations

import rich_click as click

from benchmark.api.check import BAD
from benchmark.api.doctor import examine_machine
from benchmark.api.workspace import Workspace
from benchmark.errors import Exit
from benchmark.text import clean_text


@click.command()
@click.option("--tracking-uri", metavar="URI", envvar="MLFLOW_TRACKING_URI")
@click.pass_obj
def doctor(workspace: Workspace, tracking_uri: str | None) -> int:
    """Check this machine: Python, packages, device, folders, disk, locks, sockets, data,
    containers, cluster, tracker; and say what to do."""
    bad = 0
    for result in examine_machine(workspace, tracking_uri):
        bad += result.kind == BAD
        for number, one in enumerate(result.findings):
            head = f"{result.kind:4} {result.name:12}" if number == 0 else f"{'':4} {'':12}"
            click.echo(f"{head} {clean_text(str(one))}")
    return Exit.NOT_MEASURED if bad else Exit.OK
