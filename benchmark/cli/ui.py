"""ui: MLflow's user interface on this machine."""

from __future__ import annotations

import socket
import subprocess

import rich_click as click

from benchmark.api.tracking import ui_command
from benchmark.api.workspace import Workspace
from benchmark.cli.options import TRACKING_URI
from benchmark.errors import Exit, UsageError


@click.command()
@TRACKING_URI
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.pass_obj
def ui(workspace: Workspace, tracking_uri: str | None, port: int) -> int:
    """Serve MLflow's user interface to browsers on this machine. Ctrl-C ends it."""
    _require_free(port)
    command = ui_command(workspace, tracking_uri=tracking_uri, port=port)
    click.echo(f"http://127.0.0.1:{port}")
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return Exit.OK


def _require_free(port: int) -> None:
    """Raises UsageError if somebody listens at this port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just left is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be used: {error.strerror}", remedy="name another with --port"
            ) from error
