"""Whole trainings of TOD, LL4AL and ST-CoNAL: items 32 to 35 (`TRAJECTORIES.md` says how inputs are
made)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import nn

from adapters import Expected, adapter, clause, close, given
from adapters._replay import (
    RecordedOrders,
    Row,
    acquisition_of,
    bn_sums,
    by_epoch,
    learner_of,
    norm,
    rounds_by_epoch,
    sgd_training,
    watched,
    weights,
)
from benchmark.al.acquisition import acquire
from benchmark.al.learner import Learner
from benchmark.al.objectives.base import Objective
from benchmark.al.objectives.cod import Cod
from benchmark.al.objectives.learning_loss import LearningLoss
from benchmark.al.objectives.mean_teacher import MeanTeacher
from benchmark.al.objectives.supervised import Supervised
from benchmark.al.pool import Pool
from benchmark.al.strategies.base import Strategy
from benchmark.al.strategies.learning_loss import PredictedLoss
from benchmark.al.strategies.random import Random
from benchmark.al.strategies.stconal import StConal
from benchmark.al.strategies.tod import Tod
from benchmark.al.training.snapshots import SnapshotRecorder
from benchmark.spec.training import Trajectory

Arrays = Mapping[str, np.ndarray]
COUNTED = "abs 1e-9"
"""Tolerance of accuracies: equal counts, divided and multiplied in one order or another."""


def bounds_of(tolerance: Mapping[str, str]) -> tuple[str, str, str]:
    """Tolerances of loss, norms and sums, of scores, and of rates, out of `loss, norms, sums: rel
    1e-7; scores: abs 1e-6; ...`."""
    text = tolerance["float64"]
    return (
        clause(text, "loss", "rel 1e-7"),
        clause(text, "scores", "abs 1e-6"),
        clause(text, "lr", "abs 1e-15"),
    )


def check_steps(rows: list[Row], steps: list[Expected], tolerance: Mapping[str, str]) -> None:
    """Every recorded number of every step."""
    loss, _, rate = bounds_of(tolerance)
    assert len(rows) == len(steps), f"{len(rows)} steps instead of {len(steps)}"
    for row, step in zip(rows, steps, strict=True):
        for name in step:
            if name in ("epoch", "labelled", "unlabelled", "images"):
                step[name]  # fed, not compared
            else:
                close(row[name], step[name], rate if name.endswith("lr") else loss)


def check_acquired(
    learner: Learner,
    strategy: Strategy,
    cycle: int,
    expected: Expected,
    tolerance: Mapping[str, str],
) -> None:
    """The strategy through `acquire` on the recorded lists: scores of the candidates, and who is
    bought."""
    pool = Pool(
        np.array(expected["labelled_list"]),
        np.array(expected["unlabelled_shuffled"]),
        len(learner.parts.train_labels),
    )
    if "newly_labelled_in_order" not in expected:
        return
    acquisition = learner.protocol.acquisition
    bought = list(expected["newly_labelled_in_order"])
    assert not isinstance(acquisition.budget, tuple)
    candidates = pool.candidates(acquisition.candidates).tolist()
    if isinstance(strategy, Random):
        assert len(bought) == min(acquisition.budget, len(candidates))
        if strategy.replacement:
            assert set(bought) <= set(candidates)  # drawn by the release, so only fed
        else:
            assert sorted(bought) == sorted(
                candidates[: len(bought)]
            )  # the head of a shuffled list
        return
    view, picks = acquire(strategy, learner, pool, cycle, learner.protocol, acquisition.budget)
    assert picks.scores is not None
    scores = -picks.scores if isinstance(strategy, Tod) and cycle == 0 else picks.scores
    if "scores" in expected:
        close(scores, expected["scores"], bounds_of(tolerance)[1])
    assert sorted(view.candidates[picks.positions.numpy()].tolist()) == sorted(bought)


# ------------------------------------------------------------------------------------ TOD and LL4AL


def tod_strategy(inputs: Any) -> Strategy:
    return {"TOD": Tod(), "LL4AL": PredictedLoss(), "RANDOM": Random()}[inputs["sampling"]]


@adapter("32_tod_trajectory", "33_ll4al_trajectory")
def tod_and_learning_loss(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    config, cycles = inputs["config"], expected["cycles"]
    objective: Objective = Supervised()
    measure: dict[str, Callable[[Learner], float]] = {
        "student_norm": lambda learner: norm(learner.student)
    }
    if "module_canonical" in inputs:
        sides = [32 >> stage for stage in range(len(inputs["widths"]))]
        objective = LearningLoss(
            joint=inputs["auxiliary"] == "LL4AL",
            channels=tuple(inputs["widths"]),
            windows=tuple(sides),
            joint_until=config["EPOCHL"],
            margin=config["MARGIN"],
            hidden=inputs["module_hidden"],
        )
        measure["module_norm"] = lambda learner: norm(
            learner.objective.modules()["loss_prediction"]
        )
    elif inputs["auxiliary"] == "TOD":
        objective = Cod(weight=config["WEIGHT"], first_batch="drawn_once")
        measure["ema_norm"] = lambda learner: norm(learner.objective.modules()["teacher"])
    orders = RecordedOrders()
    training = sgd_training(
        epochs=config["EPOCH"],
        batch=config["BATCH"],
        lr=config["LR"],
        milestones=config["MILESTONES"],
        gamma=0.1,
        momentum=config.get("MOMENTUM", 0.9),
        weight_decay=config.get("WDECAY", 5e-4),
        late=False,
        start="warm",
    )
    learner = learner_of(
        inputs,
        objective,
        training,
        acquisition_of(config["START"], config["ADDENDUM"], config["CYCLES"], config["SUBSET"]),
        orders,
        weights(
            inputs,
            {
                "student": ("backbone", "canonical"),
                "teacher": ("ema", "canonical"),
                "reference": ("cod", "canonical"),
                "loss_prediction": ("module", "module_canonical"),
            },
        ),
        config["NUM_TRAIN"],
    )
    rows = watched(
        learner, {name: lambda take=take: take(learner) for name, take in measure.items()}
    )
    strategy = tod_strategy(inputs)
    assert 0 < len(cycles) <= config["CYCLES"]
    for cycle, wanted in enumerate(cycles):
        steps = wanted["steps"]
        orders.labelled_by_epoch.append(by_epoch(steps, lambda step: list(step["labelled"])))
        orders.unlabelled_by_step.append(
            {
                place: list(step["unlabelled"])
                for place, step in enumerate(steps)
                if "unlabelled" in step
            }
        )
        rows.clear()
        labelled = np.array(wanted["labelled_list"])
        unlabelled = np.array(wanted["unlabelled_shuffled"])
        learner.fit(cycle, labelled, unlabelled, strategy.needs)
        check_steps(rows, steps, tolerance)
        check_end(
            learner,
            wanted,
            tolerance,
            {"student": learner.student, "ema": learner.objective.modules().get("teacher")},
        )
        if "ema_counter" in wanted:
            given(wanted, "ema_counter", learner.objective.counters()["steps"])
        check_acquired(learner, strategy, cycle, wanted, tolerance)


def check_end(
    learner: Learner,
    wanted: Expected,
    tolerance: Mapping[str, str],
    networks: Mapping[str, nn.Module | None],
) -> None:
    """Accuracy, sums of batch statistics and norms at the end of a cycle."""
    evaluated = learner.finish_cycle()
    if "accuracy" in wanted:
        close(evaluated.accuracy, wanted["accuracy"], COUNTED)
    text = bounds_of(tolerance)[0]
    for name, network in networks.items():
        for field, measured in ((f"{name}_bn_sums", bn_sums), (f"{name}_norm", norm)):
            if field in wanted:
                assert network is not None, f"{field}: no such network here"
                close(measured(network), wanted[field], text)


# ----------------------------------------------------------------------------------------- ST-CoNAL


LETTERS = {
    "b": "budget",
    "c": "cycles",
    "m": "method_type",
    "e": "num_epochs",
    "d": "dataset",
    "subset-size": "subset",
}
"""Other names of the release's options."""
OPTION = re.compile(r"--?([A-Za-z][\w-]*)(?:=(.*))?$")


def options(arguments: list[str]) -> dict[str, str]:
    """Command-line options by name; a flag's value is empty."""
    found: dict[str, str] = {}
    name = ""
    for word in map(str, arguments):
        option = OPTION.match(word)
        if option:
            name = LETTERS.get(option[1], option[1])
            found[name] = option[2] or ""
        elif name:
            found[name] = word
    return found


def trajectory_of(epochs: int, first: int, every: int, ema: bool, decay: float) -> Trajectory:
    """Snapshots after the epochs from `first` on that `every` divides; the (epochs - first) //
    every newest are students."""
    start = -(-first // every) * every
    taken, students = (epochs - start) // every + 1, (epochs - first) // every
    return Trajectory(
        start=start,
        every=every,
        average="ema" if ema else "swa",
        students="all5" if students == taken else "last4",
        ema_decay=decay if ema else None,
        ema_start="random" if ema else "student",
    )


def gamma_of(asked: Mapping[str, str], config: Mapping[str, Any]) -> float:
    """The command line's gamma; 0 leaves that of the configuration."""
    gamma = float(asked.get("gamma", 1.0))
    return gamma or float(config.get("optimizer_opt.scheduler_params.gamma", 0.1))


@adapter("34_stconal_trajectory", "35_stconal_semi_trajectory")
def stconal(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    asked, config, cycles = options(inputs["arguments"]), inputs["config"], expected["cycles"]
    batch = config["training_opt.batch_size"]
    epochs = config["training_opt.num_epochs"] + int(asked.get("additional_epochs", 0))
    milestones = config["optimizer_opt.scheduler_params.step"]
    method = inputs.get("method", asked.get("method_type", "ST-CoNAL"))
    semi, ema = "use_semi_learning" in asked, method == "ST-CoNAL-EMA"
    known = int(asked.get("labeled_batch_size", 32))
    decay, interval = float(asked.get("ema_decay", 0.97)), int(asked.get("lr_interval", 10))
    trajectory = None
    if not semi and (method != "Random" or "SWA_inference" in asked):
        trajectory = trajectory_of(epochs, milestones[0], interval, ema, decay)
    objective: Objective = Supervised()
    if semi:
        objective = MeanTeacher(
            labelled=known,
            unlabelled=batch - known,
            weight=float(asked.get("consistency", 100.0)),
            ramp_epochs=int(asked.get("consistency_rampup", 5)),
            ema_decay=decay,
            counter="trial",
            start="random",
            second_pass=True,
        )
    orders = RecordedOrders()
    recipe = "optimizer_opt.optim_params."
    training = sgd_training(
        epochs=epochs,
        batch=batch,
        lr=config.get(f"{recipe}lr", 0.1),
        milestones=milestones,
        gamma=gamma_of(asked, config),
        late=True,
        start="fresh",
        trajectory=trajectory,
        momentum=config.get(f"{recipe}momentum", 0.9),
        weight_decay=config.get(f"{recipe}weight_decay", 5e-4),
        last_gamma=0.1 if "linear_gamma" in asked else None,
        cosine=asked.get("lr_type", "lr_multistep"),
        period=interval,
        floor=float(asked.get("lr_min", 0)),
    )
    budget = int(asked.get("budget", 1000))
    subset = None if "use_no_subset" in asked else int(asked.get("subset", 10000))
    learner = learner_of(
        inputs,
        objective,
        training,
        acquisition_of(budget, budget, int(asked.get("cycles", 5)), subset),
        orders,
        weights(
            inputs,
            {
                "student": ("backbone", "canonical"),
                "average": ("backbone_ema", "canonical"),
                "mean_teacher": ("backbone_ema", "canonical"),
            },
        ),
        inputs["train_images"],
    )

    def average() -> nn.Module:
        if semi:
            return learner.objective.modules()["mean_teacher"]
        return learner.recorder(SnapshotRecorder).teacher

    measure: dict[str, Callable[[], float]] = {"student_norm": lambda: norm(learner.student)}
    if ema or semi:
        measure["ema_norm"] = lambda: norm(average())
    rows = watched(learner, measure)
    strategy: Strategy = Random(replacement=True)
    if method != "Random":
        strategy = StConal(temperature=float(asked.get("sharpening_temp", 0.7)))
    assert 0 < len(cycles) <= int(asked.get("cycles", 5))
    for cycle, wanted in enumerate(cycles):
        steps = wanted["steps"]
        if semi:
            orders.labelled_by_epoch.append(rounds_by_epoch(steps, known))
            orders.unlabelled_by_step.append(
                by_epoch(steps, lambda step: list(step["images"][known:]))
            )
        else:
            orders.labelled_by_epoch.append(by_epoch(steps, lambda step: list(step["images"])))
            orders.unlabelled_by_step.append({})
        passes = wanted.get("refresh_batches", [])
        orders.refreshed.append(
            [[image for part in batches for image in part] for batches in passes]
        )
        rows.clear()
        labelled = np.array(wanted["labelled_list"])
        unlabelled = np.array(wanted["unlabelled_shuffled"])
        learner.fit(cycle, labelled, unlabelled, strategy.needs)
        check_steps(rows, steps, tolerance)
        assert not orders.refreshed[cycle], "passes that re-estimate batch norm are left over"
        averaged = average() if trajectory or semi else None
        check_end(
            learner,
            wanted,
            tolerance,
            {"student": learner.student, "average": averaged, "ema": averaged},
        )
        for name in ("accuracy_ema", "accuracy_swa"):
            if name in wanted:
                close(
                    learner.metrics[f"accuracy/{'mean_teacher' if semi else 'averaged'}"],
                    wanted[name],
                    COUNTED,
                )
        check_acquired(learner, strategy, cycle, wanted, tolerance)
