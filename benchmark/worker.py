"""One trial in, one folder out: `python -m benchmark.worker TRIAL.json OUT`. What runs inside a
container.

OUT gets events.jsonl (appended as things happen), state/ (resumable), and at the end indices.npz
and record.json. The exit status is 0 finished, 2 the trial is not valid, 3 failed (the last event
says why), 75 stopped with the state saved.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias, get_args

import numpy as np
import torch

from benchmark import files
from benchmark.al import datasets, registry
from benchmark.al.augmentation.images import ImageView
from benchmark.al.committee import Committee
from benchmark.al.datasets.features import (
    Features,
    digest_features,
    read_features,
    synthetic_features,
)
from benchmark.al.dry_run import describe_dry_run, dry_run
from benchmark.al.feature_rows import FeatureRows, Standard
from benchmark.al.learner import Learner, LearnerData, TrainingInterrupted
from benchmark.al.loop import run
from benchmark.al.output_name import FEATURES, OutputName
from benchmark.al.probe import Probe, check_method
from benchmark.al.random.streams import Streams
from benchmark.al.session import Session
from benchmark.al.strategies import Strategy
from benchmark.al.trainable import TrainableModel
from benchmark.al.training.numerics import Numerics, prepare
from benchmark.errors import AlbenchError, DataError, Exit, StoreError, UsageError
from benchmark.runs import environment as provenance
from benchmark.runs import events
from benchmark.runs.device_probe import ask_torch
from benchmark.runs.events import (
    DataUsed,
    Environment,
    Precision,
    Record,
    Step,
    TrialFailed,
    TrialFinished,
    TrialStopped,
)
from benchmark.runs.gpus import (
    CHOSEN_GPU,
    MEMORY_SHARE,
    DeviceMissing,
    Survey,
    find_gpu,
    survey_from,
)
from benchmark.runs.variables import FIXED_NUMBERS
from benchmark.spec.identity import trial_id
from benchmark.spec.protocol import FeatureFile, Protocol
from benchmark.spec.suite import Trial
from benchmark.spec.training import Lbfgs
from benchmark.spec.transforms import Transform

provenance.loaded_code()  # now, as this code is loaded: a fork server outlives edits of the files

STOPPED = 75
"""Exit status of a clean stop with the state saved (EX_TEMPFAIL: try again later)."""


def main(argv: list[str] | None = None) -> int:
    """Run one trial; see the module's docstring for what is written and returned."""
    options = _make_parser().parse_args(argv)
    if options.check is not None:
        return check(options.check)
    if options.trial is None or options.out is None:
        print("worker: TRIAL.json and OUT are needed", file=sys.stderr)
        return int(Exit.USAGE)
    out = options.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        trial = Trial.model_validate_json(files.read(options.trial))
        return _run(trial, options)
    except TrainingInterrupted:
        stopped = TrialStopped(time=time.time(), reason="signal" if _signalled else "time_limit")
        events.append_event(out / "events.jsonl", stopped, sync=True)
        return STOPPED
    except Exception as error:
        return _report_failure(out, error)


def _run(trial: Trial, options: argparse.Namespace) -> int:
    device, survey = _resolve_device(options.device)
    environment = provenance.describe_environment(
        device,
        options.precision,
        options.threads,
        options.step,
        image=os.environ.get("ALBENCH_IMAGE", ""),
        survey=survey,
    )
    numerics = prepare(
        device, options.precision, options.threads, options.step, environment.memory_format
    )
    identity, env_id = trial_id(trial), environment.env_id
    if options.fresh:
        _forget(options.out)
    deadline = time.monotonic() + options.time_limit if options.time_limit else float("inf")
    signal.signal(signal.SIGTERM, _stop)
    session = Session(
        trial,
        identity,
        env_id,
        options.out,
        options.cache,
        options.save_every,
        must_stop=lambda: _signalled or time.monotonic() >= deadline,
        shared=options.shared,
    )
    dataset = datasets.load(trial.protocol.data, options.data, options.cache, shared=options.shared)
    used = _data_used(trial, dataset, options.allow_noncanonical_data)
    strategy, learner = assemble(trial, dataset, numerics, options.data / "weights")
    read = {
        name: digest_features(pinned, options.data, options.cache)
        for name, pinned in _features_read(trial.protocol, strategy).items()
    }
    used = used.model_copy(update={"features": read})
    run(trial.protocol, strategy, learner, session)
    _publish(trial, environment, used, session, options.out)
    return Exit.OK


def check(path: Path) -> int:
    """Try every trial of a file (one JSON trial a line) on synthetic images; print its name for
    each, and after a tab what is wrong with a bad one. Trials that differ in nothing but amounts
    are tried once.
    """
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(int(Exit.INTERRUPTED))
    )  # through what removes temporary folders
    numerics = prepare("cpu", "fp32", 1)
    bad, outcomes = 0, dict[str, str]()
    for line in path.read_text(encoding="utf-8").splitlines():
        trial = Trial.model_validate_json(line)
        wrong = _try_trial(trial, numerics, outcomes)
        bad += bool(wrong)
        print(f"{trial.suite}/{trial.method_name}\t{wrong}".rstrip("\t"), flush=True)
    return int(Exit.USAGE if bad else Exit.OK)


def _try_trial(trial: Trial, numerics: Numerics, outcomes: dict[str, str]) -> str:
    """What is wrong with a trial, in one line; empty where its dry run ends. `outcomes` holds what
    came of the dry runs so far."""
    known = wrong = ""
    try:
        known = describe_dry_run(trial)
        if known in outcomes:
            return outcomes[known]
        dry_run(
            trial,
            lambda small, data: assemble(
                small, data, numerics, Path("weights"), synthetic_features
            ),
        )
    except Exception as error:
        wrong = " ".join(str(error).split()) or type(error).__name__
    outcomes[known] = wrong
    return wrong


ReadFeatures: TypeAlias = Callable[[FeatureFile, Path, datasets.Dataset], Features]
"""(pinned file, data root, data set) -> what the file says of its images."""


def assemble(
    trial: Trial,
    dataset: datasets.Dataset,
    numerics: Numerics,
    weights: Path,
    read: ReadFeatures = read_features,
) -> tuple[Strategy, TrainableModel]:
    """The strategy and the learner of a trial, on its data. `weights` is a folder of the data root.
    Raises UsageError for what cannot be built, DataError for files that are absent or others."""
    protocol = trial.protocol
    strategy = registry.build_component("strategies", trial.strategy)
    streams = Streams(protocol.seed, trial.seed)
    wanted = _features_read(protocol, strategy)
    found = {name: read(pinned, weights.parent, dataset) for name, pinned in wanted.items()}
    asked = _features_asked(strategy) & wanted.keys()
    features = {name: torch.from_numpy(np.array(found[name].train)) for name in asked}
    inputs = None if protocol.inputs is None else found[protocol.inputs]
    solved = isinstance(protocol.training.optimizer, Lbfgs)
    if solved:
        check_method(trial.method_name, strategy, trial.objective)
    members = [
        (Probe if solved else Learner)(
            protocol,
            registry.build_component("objectives", trial.objective),
            _image_parts(protocol, place, dataset, numerics, features)
            if inputs is None
            else _feature_parts(inputs, dataset, numerics, features),
            streams,
            numerics,
            weights,
            place,
        )
        for place in protocol.trained()
    ]
    return strategy, members[0] if len(protocol.models) == 1 else Committee(members)


def _features_asked(strategy: Strategy) -> set[str]:
    return {
        need.output for need in map(OutputName.parse, strategy.needs) if need.network == FEATURES
    }


def _features_read(protocol: Protocol, strategy: Strategy) -> dict[str, FeatureFile]:
    """The features files of a trial by name: in the place of images, and what the strategy asks
    for."""
    asked = _features_asked(strategy)
    return {
        name: pinned
        for name, pinned in protocol.features.items()
        if name in asked or name == protocol.inputs
    }


def _feature_parts(
    inputs: Features,
    dataset: datasets.Dataset,
    numerics: Numerics,
    features: Mapping[str, torch.Tensor],
) -> LearnerData:
    """The rows of a features file in the place of images. Raises DataError for a file without those
    of the test images."""
    if inputs.test is None:
        raise DataError(
            "the features file has no 'test'",
            where="protocol.inputs",
            remedy="store those of the test images",
        )
    device, standard = numerics.device, Standard.of(inputs.train)
    pool = FeatureRows(inputs.train, standard, device, numerics.dtype)
    test = FeatureRows(inputs.test, standard, device, numerics.dtype, keep=True)
    return LearnerData(
        train=pool,
        pool=pool,
        test=test,
        train_labels=torch.from_numpy(np.array(dataset.train.labels)).to(device),
        test_labels=torch.from_numpy(np.array(dataset.test.labels)).to(device),
        features=features,
    )


def _image_parts(
    protocol: Protocol,
    place: int,
    dataset: datasets.Dataset,
    numerics: Numerics,
    features: Mapping[str, torch.Tensor],
) -> LearnerData:
    views, device, size = protocol.views, numerics.device, protocol.models[place].size
    named = {"train": views.train, "test": views.test}
    scoring = named[views.pool] if isinstance(views.pool, str) else views.pool
    scored_at, pretext = protocol.evaluation.size or size, protocol.pretext

    def images(
        part: datasets.Part, transforms: tuple[Transform, ...], side: int | None
    ) -> ImageView:
        made = ImageView(part, transforms, device, side, numerics.dtype)
        made.memory_format = numerics.memory_format
        return made

    return LearnerData(
        train=images(dataset.train, views.train, size),
        pool=images(dataset.train, scoring, scored_at),
        test=images(dataset.test, views.test, scored_at),
        train_labels=torch.from_numpy(np.array(dataset.train.labels)).to(device),
        test_labels=torch.from_numpy(np.array(dataset.test.labels)).to(device),
        voted=images(dataset.train, scoring, size),
        pretext=None
        if pretext is None
        else images(dataset.train, pretext.view, pretext.model.size),
        pretext_test=None
        if pretext is None
        else images(dataset.train, pretext.test_view, pretext.model.size),
        features=features,
        validation=None
        if dataset.validation is None
        else images(dataset.validation, views.test, scored_at),
        validation_labels=None
        if dataset.validation is None
        else torch.from_numpy(np.array(dataset.validation.labels)).to(device),
    )


def _data_used(trial: Trial, dataset: datasets.Dataset, allowed: bool) -> DataUsed:
    if trial.data_digest is not None and dataset.digest != trial.data_digest:
        raise DataError(
            f"{dataset.name} has changed: digest {dataset.digest[:12]}, planned with "
            f"{trial.data_digest[:12]}",
            remedy="plan again with the data as they are",
        )
    if not dataset.canonical and not allowed:
        raise DataError(
            f"{dataset.name} is not the published data: {dataset.canonical_note}",
            remedy=(
                "restore the published files, or say --allow-noncanonical-data and have every line "
                "say so"
            ),
        )
    note = "" if dataset.canonical else dataset.canonical_note
    return DataUsed(
        name=dataset.name, digest=dataset.digest, canonical=dataset.canonical, note=note
    )


def _publish(
    trial: Trial, environment: Environment, used: DataUsed, session: Session, out: Path
) -> None:
    assert session.pool is not None
    # The last pool was not extended after the last training, so its labelled list is everything
    # that was trained on.
    sizes = np.array([result.labelled for result in session.results])
    events.before_write()
    partial = out / ".indices.npz.partial"
    with files.open_writer(partial) as file:
        np.savez_compressed(file, labelled=session.pool.labelled, sizes=sizes)
    partial.replace(out / "indices.npz")
    record = Record(
        trial_id=session.trial_id,
        env_id=session.env_id,
        trial=trial,
        environment=environment,
        data=used,
        cycles=tuple(session.results),
        seconds=session.seconds,
        finished=time.time(),
        reused=session.taken,
    )
    events.write_record(out / "record.json", record)
    sealed = hashlib.sha256(files.read(out / "record.json")).hexdigest()
    events.append_event(
        session.events,
        TrialFinished(time=time.time(), digest=record.digest, file=sealed),
        sync=True,
    )
    files.remove(out / "state", base=out)


def _report_failure(out: Path, error: Exception) -> int:
    """Say why in the events and on stderr; a full disk must not hide the first error."""
    if full := _full_disk(error):
        error = StoreError(
            f"the disk is full: {full.strerror}",
            where=str(full.filename or out),
            remedy="free space there",
        )
    known = isinstance(error, AlbenchError)
    kind = type(error).__name__
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        kind = "out_of_memory"
    elif isinstance(error, DeviceMissing):
        kind = "gpu_lost"
    message = str(error) if known else f"{type(error).__name__}: {error}"
    print(error if known else traceback.format_exc(), file=sys.stderr, flush=True)
    try:
        events.append_event(
            out / "events.jsonl",
            TrialFailed(time=time.time(), kind=kind, message=message),
            sync=True,
        )
    except OSError as second:
        print(f"and the failure could not be recorded: {second}", file=sys.stderr, flush=True)
    return int(Exit.USAGE if isinstance(error, UsageError) else Exit.NOT_MEASURED)


def _full_disk(error: BaseException | None) -> OSError | None:
    """The error of a full disk that lies below others: groups, causes, and what was raised while
    they were handled."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    below = (
        ()
        if error is None
        else (*inner, error.__cause__, None if error.__suppress_context__ else error.__context__)
    )
    return next((found for one in below if one is not None and (found := _full_disk(one))), None)


def _forget(out: Path) -> None:
    """What earlier runs of this trial left, so that --fresh starts from nothing."""
    for name in ("state", "events.jsonl", "record.json", "indices.npz"):
        files.remove(out / name, base=out)


def _resolve_device(name: str) -> tuple[str, Survey | None]:
    """The device with `auto` resolved, and what is known of this process' GPUs where one is to be
    used.

    Raises DeviceMissing where torch computes on another card than the host has chosen.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return "cpu", None
    os.environ.update(
        FIXED_NUMBERS
    )  # read when CUDA starts, which is below; executors set it for all their workers
    survey = survey_from(ask_torch())
    device = "cuda" if name == "auto" else name
    planned = os.environ.get(CHOSEN_GPU, "")
    index = int(device.partition(":")[2] or 0)
    gpu = find_gpu(index, survey)
    if planned and gpu.uuid != planned:
        raise DeviceMissing(
            f"planned on the GPU {planned}, but device {device} of torch is {gpu.name} "
            f"({gpu.uuid})",
            remedy="see that nothing but the executor sets CUDA_VISIBLE_DEVICES, and run again",
        )
    share = float(os.environ.get(MEMORY_SHARE) or 1)
    if share < 1:
        torch.cuda.set_per_process_memory_fraction(share, index)
    if index:
        torch.cuda.set_device(index)
    return device, survey


_signalled = False


def _stop(*_: object) -> None:
    global _signalled
    _signalled = True


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmark.worker", description=__doc__.splitlines()[0])
    parser.add_argument("trial", type=Path, nargs="?", help="trial.json, as planned")
    parser.add_argument("out", type=Path, nargs="?", help="folder for events, state and record")
    parser.add_argument(
        "--check",
        type=Path,
        metavar="TRIALS",
        help="try the trials of a file on synthetic images, and stop",
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="data root")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("runs/.cache"),
        help="decoded images and shared trainings",
    )
    parser.add_argument(
        "--shared", type=Path, help="a cache of others that is only read, before --cache"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="fp32", choices=get_args(Precision))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--step", default="eager", choices=get_args(Step))
    parser.add_argument(
        "--time-limit", type=float, default=0.0, help="seconds; stop cleanly with the state saved"
    )
    parser.add_argument(
        "--save-every", type=float, default=120.0, help="seconds between saves inside a cycle"
    )
    parser.add_argument("--allow-noncanonical-data", action="store_true")
    parser.add_argument(
        "--fresh", action="store_true", help="forget earlier state and results of this trial"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
