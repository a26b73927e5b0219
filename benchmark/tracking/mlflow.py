"""MLflow as a view of the run folders: the only file that imports it, and only inside functions.

What is written is in sync.py and run_history.py. A tracking URI of None means the embedded database
of the runs folder, `<runs>/.tracking/mlflow.db`, whose files lie beside it and are named relative
to it, so that the folder can be moved.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmark import files
from benchmark.errors import without_secrets
from benchmark.tracking.background import EVERY, BackgroundSync
from benchmark.tracking.links import database_file, embedded_uri
from benchmark.tracking.run_history import Point
from benchmark.tracking.sync import RunSyncer, SyncResult, Tracker, TrackerError, sync_run_folders
from benchmark.tracking.synced_folders import SyncedFolders

__all__ = [
    "BackgroundMlflowSync",
    "MlflowSync",
    "SyncResult",
    "TrackerError",
    "check",
    "embedded_uri",
    "load",
    "publish_verdicts",
    "sync",
    "ui_argv",
]

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Workspace of the client unless the environment says otherwise: no telemetry, and a dead server is
given up soon."""
CONNECT_SECONDS = 3.0
LOCK_SECONDS = 300.0
"""How long a server may take to answer, and another process to hold the lock: the first connection
creates the tables, which takes more than a minute at a load of 17 on two cores."""
REFUSALS = (403, 407, 502, 503, 504)
"""Answers of a proxy that will not or cannot pass a request on."""
SERVED = "mlflow-artifacts:/"
"""Where the server that we start finds files, relative to its artifact folder."""
KIND = "custom_model_development"
"""Experiments whose pages show runs, metrics and pictures; MLflow's other kind is for traces of
language models."""
BATCH_PARAMS, BATCH_METRICS = 100, 1000
"""Documented limits of one request."""
LOCKS = 8
"""Lock files for servers in the folder for temporary files: several addresses share one, so that
they stay few."""
DIGEST = 36
"""Characters of a data set digest that MLflow keeps."""
RUNS = Path("runs")


class MlflowSync(RunSyncer):
    """Syncs run folders to an MLflow tracker. `uri` None: the embedded database of `runs` (None: of
    the first run's folder). `artifacts` is the folder for files where the tracker is a sqlite file:
    beside it unless given."""

    def __init__(
        self, uri: str | None = None, *, runs: Path | None = None, artifacts: Path | None = None
    ) -> None:
        def connect(found: Path) -> Tracker:
            return MlflowTracker(uri or embedded_uri(runs or found), artifacts)

        super().__init__(
            connect, where=uri or (embedded_uri(runs) if runs else "the embedded tracker")
        )


class BackgroundMlflowSync(BackgroundSync):
    """Syncs in a thread, for the time of a run: `watch(run_dirs)`, `close()`, and `problem` if
    there was one."""

    def __init__(
        self,
        uri: str | None = None,
        *,
        runs: Path | None = None,
        artifacts: Path | None = None,
        every: float = EVERY,
    ) -> None:
        super().__init__(lambda: MlflowSync(uri, runs=runs, artifacts=artifacts), every=every)


def sync(
    runs: Path,
    uri: str | None = None,
    suites: Collection[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    artifacts: Path | None = None,
) -> SyncResult:
    """Bring the tracker up to every run folder (of these suites, or of all). Nothing doubles,
    however often.

    Raises TrackerError if the tracker fails; folders that cannot be read are named in the report.
    """
    return sync_run_folders(
        MlflowSync(uri, runs=runs, artifacts=artifacts),
        runs,
        suites,
        progress,
        _marks_of(uri or embedded_uri(runs), runs),
    )


def publish_verdicts(
    uri: str | None,
    suite_id: str,
    profile: str,
    variant: str,
    rows: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Path],
    *,
    runs: Path = RUNS,
    methods: Collection[str] | None = None,
    lead: str = "",
    about: str = "",
) -> None:
    """Put verdicts on the parent runs: tags, a description, a table and files. `rows` have
    `verdict` and usually `labelled`; those with a `method` belong to its parent, others to every
    parent. `methods` are those that were run (None: all in the rows), `figures` files by name,
    `lead` a sentence for the description of runs, `about` that of the experiment. Raises
    TrackerError."""
    MlflowSync(uri, runs=runs).publish(
        runs, suite_id, profile, variant, rows, figures, methods, lead, about
    )


def check(uri: str | None = None, *, runs: Path = RUNS) -> str:
    """The tracker's address, once it has answered; an embedded database is created. Raises
    TrackerError."""
    MlflowSync(uri, runs=runs).check(runs)
    return uri or embedded_uri(runs)


def load() -> str:
    """Version of the client library, once it has been imported as a run would; raises what the
    import raises."""
    import mlflow.tracking

    return str(mlflow.__version__)


def ui_argv(
    uri: str | None = None, *, runs: Path = RUNS, host: str = "127.0.0.1", port: int = 5000
) -> list[str]:
    """Command that serves a sqlite tracker with its files to browsers on this machine. Raises
    TrackerError."""
    address = check(uri, runs=runs)
    root = _artifact_folder(address)
    if root is None:
        raise TrackerError(
            "is served elsewhere", where=address, remedy="open its own address in a browser"
        )
    root.mkdir(parents=True, exist_ok=True)
    return [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        address,
        "--artifacts-destination",
        str(root),
        "--host",
        host,
        "--port",
        str(port),
        "--workers",
        "1",
    ]


def _marks_of(uri: str, runs: Path) -> SyncedFolders:
    """What the last sync of a runs folder to this tracker left. The time of a sqlite file shows
    whether it was changed."""
    file = database_file(uri)

    def stamp() -> str:
        if file is None:
            return ""
        try:
            files = [
                file,
                *(path for end in ("-wal", "-journal") if (path := Path(f"{file}{end}")).exists()),
            ]
            return " ".join(
                f"{found.st_mtime_ns}/{found.st_size}" for found in (path.stat() for path in files)
            )
        except OSError:
            return ""

    name = hashlib.sha256(uri.encode()).hexdigest()[:12]
    return SyncedFolders(runs / ".tracking" / f"marks-{name}.json", stamp)


class MlflowTracker:
    """See `sync.Tracker`. Raises TrackerError if nothing answers, and what MLflow raises."""

    def __init__(self, uri: str, artifacts: Path | None = None) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        _reach_directly(uri)
        _check_reachable(uri)
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.uri, self.artifacts = uri, artifacts or _artifact_folder(uri)
        # The first use of a database migrates it, and migrations in parallel break each other.
        with self.lock(), _made_whole(database_file(uri)):
            self._client: Any = MlflowClient(tracking_uri=uri)
            self._client.search_experiments(max_results=1)

    def lock(self) -> AbstractContextManager[None]:
        """Only one process of this machine creates databases, experiments and parents at a time."""
        return _tracker_lock(self.uri)

    def experiment(self, name: str) -> str:
        with self.lock():
            found = self._client.get_experiment_by_name(name) or self._renamed(name)
            if found is None:
                location = (
                    f"{SERVED}{name.replace('/', '-')}" if self.artifacts is not None else None
                )
                tags = {"albench.suite": name, "mlflow.experimentKind": KIND}
                return str(self._client.create_experiment(name, location, tags=tags))
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

    def _renamed(self, name: str) -> Any:
        """The experiment of a suite that somebody gave another name, under its own again; None if
        there is none."""
        from mlflow.entities import ViewType

        found = self._client.search_experiments(
            ViewType.ALL, filter_string=f"tags.`albench.suite` = '{name}'"
        )
        if not found:
            return None
        chosen = min(found, key=lambda one: int(one.creation_time or 0))
        if chosen.lifecycle_stage == "deleted":
            self._client.restore_experiment(chosen.experiment_id)
        self._client.rename_experiment(chosen.experiment_id, name)
        return self._client.get_experiment(chosen.experiment_id)

    def annotate(
        self, experiment: str, tags: Mapping[str, str], first: Mapping[str, str] | None = None
    ) -> None:
        held = self._client.get_experiment(experiment).tags
        wanted = {
            name: value for name, value in (first or {}).items() if not held.get(name)
        } | dict(tags)
        for name, value in wanted.items():
            if held.get(name) != value:
                self._client.set_experiment_tag(experiment, name, value)

    def search(self, experiment: str, tags: Mapping[str, str]) -> list[Any]:
        condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs([experiment], condition, page_token=token)
            found += page
            token = page.token
            if not token:
                return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def get(self, run_id: str) -> Any:
        return self._client.get_run(run_id)

    def create(
        self, experiment: str, name: str, started: int | None, tags: Mapping[str, str]
    ) -> Any:
        return self._client.create_run(
            experiment, start_time=started, run_name=name, tags=dict(tags)
        )

    def delete(self, run_id: str) -> None:
        self._client.delete_run(run_id)

    def describe(
        self, run_id: str, params: Mapping[str, str], dataset: tuple[str, str] | None
    ) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        given = [Param(key, value) for key, value in params.items()]
        for start in range(0, len(given), BATCH_PARAMS):
            self._client.log_batch(run_id, params=given[start : start + BATCH_PARAMS])
        if dataset is not None:
            source = json.dumps({"name": dataset[0], "sha256": dataset[1]})
            used = Dataset(dataset[0], dataset[1][:DIGEST], "albench", source)
            context = InputTag("mlflow.data.context", "pool and test")
            self._client.log_inputs(run_id, datasets=[DatasetInput(used, [context])])

    def log(self, run_id: str, metrics: Sequence[Point], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Metric, RunTag

        sent = [Metric(point.key, point.value, point.time, point.step) for point in metrics]
        for start in range(0, len(sent), BATCH_METRICS):
            self._client.log_batch(run_id, metrics=sent[start : start + BATCH_METRICS])
        self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def put(self, run: Any, source: Path, name: str) -> None:
        where = str(run.info.artifact_uri)
        if self.artifacts is not None and where.startswith(SERVED):
            _replace_file(source, self.artifacts / where.removeprefix(SERVED) / name)
            return
        with tempfile.TemporaryDirectory() as temporary:
            named = Path(temporary) / Path(name).name
            files.copy(source, named)
            folder = Path(name).parent.as_posix()
            self._client.log_artifact(
                run.info.run_id, str(named), None if folder == "." else folder
            )

    def set_status(self, run_id: str, status: str, ended: int | None) -> None:
        if status == "RUNNING":
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status, end_time=ended)


@contextmanager
def _made_whole(file: Path | None) -> Iterator[None]:
    """Around the first use of a sqlite tracker, under its lock. One whose making was interrupted,
    as when a run ends without waiting for it, cannot be opened by the library ever after and holds
    nothing yet: it is created again."""
    unfinished = None if file is None else file.with_name(f"{file.name}.unfinished")
    if file is None or unfinished is None or (file.exists() and not unfinished.exists()):
        yield
        return
    for end in ("", "-wal", "-shm", "-journal"):
        Path(f"{file}{end}").unlink(missing_ok=True)
    os.close(files.open_fd(unfinished, os.O_RDWR | os.O_CREAT, mode=0o600))
    yield
    unfinished.unlink(missing_ok=True)


def _artifact_folder(uri: str) -> Path | None:
    """The artifact folder of a sqlite tracker; None where the tracker takes files itself."""
    file = database_file(uri)
    return None if file is None else file.parent / "artifacts"


def _replace_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        files.copy(source, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _tracker_lock(uri: str) -> Iterator[None]:
    """Raises TrackerError if another process has held the lock for LOCK_SECONDS, or the file is
    somebody else's."""
    held = database_file(uri)
    if held is not None:
        held.parent.mkdir(parents=True, exist_ok=True)
        path = held.with_name(f"{held.name}.lock")
    else:
        place = int(hashlib.sha256(uri.encode()).hexdigest(), 16) % LOCKS
        path = Path(tempfile.gettempdir()) / f"albench-{os.getuid()}-{place}.lock"
    try:  # readable by its owner only: every user who can open a file can lock it
        handle = files.open_fd(path, os.O_RDWR | os.O_CREAT, mode=0o600)
    except OSError as error:
        remedy = "remove it, or name another folder with TMPDIR"
        raise TrackerError(
            f"the lock cannot be opened: {error.strerror}", where=str(path), remedy=remedy
        ) from error
    with os.fdopen(handle, "r+") as file:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TrackerError(
                        f"another process has held the tracker's lock for {LOCK_SECONDS:.0f} s",
                        where=str(path),
                        remedy=(
                            f"`fuser {path}` names it: end it if it is stopped or hangs, then "
                            "`albench sync`"
                        ),
                    ) from None
                time.sleep(0.05)
        yield


def _reach_directly(uri: str) -> None:
    """A proxy cannot reach a server of this very machine: leave it out for such addresses, for the
    client library too."""
    host = urlsplit(uri).hostname or ""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        for name in ("no_proxy", "NO_PROXY"):
            held = [part for part in os.environ.get(name, "").split(",") if part]
            if host not in held and "*" not in held:
                os.environ[name] = ",".join([*held, host])


def _check_reachable(uri: str) -> None:
    """Whether anybody listens, before the client library waits for minutes; asked the way the
    library will ask, through the same proxy. Raises TrackerError."""
    if urlsplit(uri).scheme not in ("http", "https"):
        return
    import requests

    parts = urlsplit(uri)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    asked = requests.utils.select_proxy(bare, requests.utils.get_environ_proxies(bare))
    proxy = without_secrets(str(asked)) if asked else ""
    remedy = "start the server, or name another with --tracking-uri or MLFLOW_TRACKING_URI"
    if proxy:
        remedy += (
            f"; if it is to be reached without the proxy {proxy}, add {parts.hostname} to NO_PROXY"
        )
    try:
        answer = requests.get(
            f"{bare.rstrip('/')}/health",
            timeout=CONNECT_SECONDS,
            stream=True,
            allow_redirects=False,
        )
    except (requests.exceptions.SSLError, requests.exceptions.ReadTimeout):
        return  # somebody is there: the library knows its own certificates and patience
    except requests.exceptions.ProxyError as error:
        raise TrackerError(
            f"the proxy {proxy} does not answer: {_innermost_cause(error)}",
            where=uri,
            remedy=remedy,
        ) from error
    except (requests.exceptions.RequestException, ValueError) as error:
        through = f" (asked through the proxy {proxy})" if proxy else ""
        raise TrackerError(
            f"no server answers{through}: {_innermost_cause(error)}", where=uri, remedy=remedy
        ) from error
    answer.close()
    if proxy and answer.status_code in REFUSALS:
        raise TrackerError(
            f"the proxy {proxy} answers {answer.status_code} for it", where=uri, remedy=remedy
        )


def _innermost_cause(error: BaseException) -> str:
    """The innermost reason, in a line."""
    inner: Any = error
    while True:
        deeper = getattr(inner, "reason", None) or next(
            (arg for arg in inner.args if isinstance(arg, Exception)), None
        )
        if not isinstance(deeper, Exception) or deeper is inner:
            break
        inner = deeper
    return (str(inner).splitlines() or [type(inner).__name__])[0][:200]
