"""Addresses of MLflow's pages, found without its library: from a sqlite database, or by one request
to a server."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import ProxyHandler, Request, build_opener, urlopen

ADDRESS = "http://127.0.0.1:5000"
"""Where `albench ui` serves unless another port is named."""
VIEW, CURVES = "albench", "albench-curves"
"""Names of the shared views that an experiment's page opens with: its methods, and its trials'
curves by method."""
SECONDS = 3.0
"""How long a server may take to answer."""


def embedded_uri(runs: Path) -> str:
    """Tracking URI of the database inside a runs folder."""
    return f"sqlite:///{(runs / '.tracking' / 'mlflow.db').resolve()}"


def database_file(uri: str) -> Path | None:
    """The file of a sqlite tracking URI; None for any other."""
    return Path(uri.split(":///", 1)[1].partition("?")[0]) if uri.startswith("sqlite:///") else None


def experiment_ids(uri: str) -> dict[str, str]:
    """Ids of the experiments of a sqlite tracker by their names; empty where it cannot be read."""
    path = database_file(uri)
    if path is None or not path.exists():
        return {}
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection,
    ):
        rows = connection.execute(
            "select name, experiment_id from experiments where lifecycle_stage = 'active'"
        )
        return {str(name): str(number) for name, number in rows}
    return {}


def experiment_id(uri: str, suite: str) -> str:
    """Id of a suite's experiment; empty where there is none, or the tracker does not answer within
    SECONDS."""
    if urlsplit(uri).scheme not in ("http", "https"):
        return experiment_ids(uri).get(suite, "")
    call = "api/2.0/mlflow/experiments/get-by-name?experiment_name="
    request = Request(f"{_bare_address(uri)}/{call}{quote(suite, safe='')}")  # noqa: S310
    try:
        with urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return str(json.load(answer)["experiment"]["experiment_id"])
    except (OSError, ValueError, KeyError):
        return ""


def wait_until_served(address: str, is_running: Callable[[], bool], every: float = 0.2) -> bool:
    """Whether a server answers at its health page; asked every so many seconds until it does or is
    no longer running."""
    opener = build_opener(ProxyHandler({}))  # no proxy reaches a server of this machine
    while is_running():
        with (
            suppress(OSError),
            opener.open(f"{_bare_address(address)}/health", timeout=SECONDS) as answer,
        ):
            return bool(answer.status == 200)
        time.sleep(every)
    return False


def runs_page(address: str, experiment: str) -> str:
    """Address of the page with an experiment's runs, as the shared view shows them."""
    return f"{_bare_address(address)}/#/experiments/{experiment}/runs?viewStateShareKey={VIEW}"


def _bare_address(address: str) -> str:
    """An address without name and password, and without a slash at its end."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
