"""ui: MLflow's user interface on this machine."""

from __future__ import annotations

import signal
import socket
import subprocess

import rich_click as click

from benchmark.api.tracking import suite_pages, ui_command, wait_until_served
from benchmark.api.workspace import Workspace
from benchmark.cli.options import TRACKING_URI
from benchmark.errors import Exit, UsageError


@click.command()
@TRACKING_URI
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.pass_obj
def ui(workspace: Workspace, tracking_uri: str | None, port: int) -> int:
    """Serve MLflow's user interface to browsers on this machine. Ctrl-C ends it.

    Once the server answers, its address is printed, and that of the runs of each suite.
    """
    _require_free(port)
    command = ui_command(workspace, tracking_uri=tracking_uri, port=port)
    address = f"http://127.0.0.1:{port}"
    click.echo("starting MLflow", err=True)
    server = subprocess.Popen(command)
    try:
        if wait_until_served(address, lambda: server.poll() is None):
            click.echo(address)
            for suite, page in suite_pages(address, workspace, tracking_uri=tracking_uri).items():
                click.echo(f"  {suite}: {page}")
        return server.wait()
    except KeyboardInterrupt:
        server.send_signal(signal.SIGINT)
        server.wait()
        return Exit.OK


def _require_free(port: int) -> None:
    """Raises UsageError if somebody listens at this port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # one that was just left is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be used: {error.strerror}", remedy="name another with --port"
            ) from error
