"""TOD (siyuhuang/TOD at 883494b): items 01-07 and 26_nets_tod."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adapters import (
    Expected,
    adapter,
    close,
    close_to_scale,
    contains,
    float_kind,
    load_canonical,
    part,
    tensor,
)
from adapters._networks import check_counts, check_trunk, counted_network, forward, network_like
from adapters._views import Listed, logits_with_discrepancy, view_of
from benchmark.al.functional.averaging import ema_update, warmup_alpha
from benchmark.al.functional.losses import cod_loss, margin_ranking_loss
from benchmark.al.functional.scores import discrepancy
from benchmark.al.networks.loss_prediction import LossPrediction
from benchmark.al.networks.outputs import Outputs
from benchmark.al.networks.resnet_cifar import ResNetCifar
from benchmark.al.networks.resnet_imagenet import ResNetImagenet
from benchmark.al.objectives.base import Batch
from benchmark.al.objectives.cod import Cod
from benchmark.al.objectives.learning_loss import LearningLoss
from benchmark.al.objectives.supervised import Supervised
from benchmark.al.pool import Pool
from benchmark.al.strategies.base import ScoreStrategy
from benchmark.al.strategies.learning_loss import PredictedLoss
from benchmark.al.strategies.random import Random
from benchmark.al.strategies.tod import Tod
from benchmark.al.training.joint_batch import forward_separately
from benchmark.al.training.numerics import Number
from benchmark.al.training.schedules import rate
from benchmark.errors import AlbenchError
from benchmark.spec.models import MultiStep

Arrays = Mapping[str, np.ndarray]


@adapter("01_tod_uncertainty")
def uncertainty(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    current, snapshot = tensor(inputs["current_logits"]), tensor(inputs["snapshot_logits"])
    batches = zip(current.split(inputs["batch"]), snapshot.split(inputs["batch"]), strict=True)
    scores = torch.cat([discrepancy(now, before) for now, before in batches])
    assert scores.dtype == current.dtype
    close(scores, expected["uncertainty"], tolerance[float_kind(inputs["current_logits"])])


# --------------------------------------------------------------------------------------------------------- training


def objective_build(network: nn.Module | None = None) -> Any:
    """What an objective may use to build its branches, for objectives without smoothing."""
    return SimpleNamespace(
        network=lambda name: network,
        seeded=lambda name: torch.random.fork_rng(),
        training=SimpleNamespace(label_smoothing=0.0),
        halves=forward_separately,
        number=Number,
    )


@adapter("02_tod_cod_loss")
def loss_of_one_step(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    kind = float_kind(inputs["A_L"])
    texts = {word: part(tolerance[kind], word) for word in ("loss", "grad")} if kind == "float64" else tolerance[kind]
    for setting in expected:
        wanted = expected[setting]
        logits = {name: tensor(inputs[name]).requires_grad_() for name in ("A_L", "B_L", "A_U", "B_U", "T_L", "T_U")}
        if setting == "auxiliary_NONE":
            text, gradient_text = (texts["loss"], texts["grad"]) if kind == "float64" else (texts, "abs 1e-6")
            objective = Supervised()
            objective.build(objective_build())
            out = Outputs(logits["A_L"], logits["A_L"], consistency=logits["B_L"])
            loss = objective.loss(lambda _, out=out: out, Batch(logits["A_L"], tensor(inputs["y"]), 0, 0))  # type: ignore[arg-type]
        else:
            text, gradient_text = (texts["loss"], texts["grad"]) if kind == "float64" else (texts, texts)
            labelled = Outputs(logits["A_L"], logits["A_L"], consistency=logits["B_L"])
            unlabelled = Outputs(logits["A_U"], logits["A_U"], consistency=logits["B_U"])
            weight = float(re.fullmatch(r"weight_([0-9.]+)", setting).group(1))  # type: ignore[union-attr]
            loss = cod_loss(labelled, unlabelled, logits["T_L"], logits["T_U"], tensor(inputs["y"]), weight)
        close(loss, wanted["total_loss"], text)
        loss.backward()
        assert logits["T_L"].grad is None and logits["T_U"].grad is None, "the teacher gets no gradient"
        for name, gradient in ((name, wanted[name]) for name in wanted if name.startswith("grad_")):
            found = logits[name.removeprefix("grad_")].grad
            if gradient is None:
                assert found is None, f"{name} should be absent"
            else:
                close(found, gradient, gradient_text)


class TwoHeads(nn.Module):
    """Two linear heads on the input itself: the miniature network of the EMA vectors."""

    def __init__(self, start: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        outputs, inputs = start["a.weight"].shape
        self.a, self.b = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)
        self.to(torch.from_numpy(start["a.weight"]).dtype)
        self.load_state_dict({name: tensor(value) for name, value in start.items()})

    def forward(self, x: Tensor) -> Outputs:
        return Outputs(self.a(x), x, (), self.b(x))


@adapter("03_tod_ema")
def ema(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    if "student_per_step" in inputs:
        text = tolerance[float_kind(inputs["ema_start"])]
        average, student = (
            nn.ParameterList([tensor(inputs["ema_start"])]),
            nn.ParameterList([tensor(inputs["ema_start"])]),
        )
        seen = []
        for weights, step in zip(inputs["student_per_step"], inputs["t_per_step"], strict=True):
            student[0].data.copy_(tensor(weights))
            ema_update(average, student, warmup_alpha(step, inputs["alpha"]))
            seen.append(average[0].detach().clone())
        close(torch.stack(seen), expected["ema_after_step"], text)
        return
    text = tolerance[float_kind(inputs["weights_start"]["student"]["a.weight"])]
    student_net, teacher = TwoHeads(inputs["weights_start"]["student"]), TwoHeads(inputs["weights_start"]["ema"])
    objective = Cod(weight=inputs["weight"])
    objective.build(objective_build(teacher))
    objective.start_cycle(0, student_net)
    optimizer = torch.optim.SGD(student_net.parameters(), **inputs["sgd"])
    losses, unlabelled = [], tensor(inputs["unlabelled_x_same_every_step"])
    for epoch in range(inputs["epochs"]):
        for images, labels in zip(inputs["labelled_x"], inputs["labelled_y"], strict=True):
            batch = Batch(tensor(images), tensor(labels), epoch, len(losses), unlabelled)
            objective.before_step(batch)
            loss = objective.loss(student_net, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            objective.after_step(student_net)
            losses.append(loss.item())
        for name, value in teacher.state_dict().items():
            close(value, expected["ema_after_epoch"][epoch][name], text)
    close(losses, expected["loss_per_step"], text)
    for name, value in student_net.state_dict().items():
        close(value, expected["student_final"][name], text)
    assert sum(objective.counters().values()) == expected["iteration_counter_end"]


@adapter("04_tod_lr")
def learning_rate(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    schedule = MultiStep(kind="multistep", milestones=tuple(inputs["milestones"]), gamma=inputs.get("gamma", 0.1))
    epochs = inputs["epochs"]
    for name in expected:
        constant = "module" in name and "lr" in name
        rates = [inputs["lr"] if constant else rate(schedule, inputs["lr"], e, e, epochs, 1) for e in range(epochs)]
        close(rates, expected[name], tolerance["abs"])


@adapter("05_tod_ll4al_loss")
def ranking_loss(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    if "raises" in expected:
        assert expected["raises"] == "AssertionError"  # ours says more than an assertion
        with pytest.raises(AlbenchError, match="even batch"):
            margin_ranking_loss(torch.zeros(inputs["size"]), torch.zeros(inputs["size"]))
        return
    predicted = tensor(inputs["pred_loss"]).requires_grad_()
    text = tolerance[float_kind(inputs["pred_loss"])]
    if "logits" in inputs:
        _total_loss(inputs, expected, predicted, text)
        return
    losses = tensor(inputs["target_loss"]).requires_grad_()
    loss = margin_ranking_loss(predicted, losses, inputs["margin"])
    close(loss, expected["loss_mean"], text)
    close(margin_ranking_loss(predicted, losses, inputs["margin"], reduction="none"), expected["per_pair"], text)
    loss.backward()
    close(predicted.grad, expected["grad_pred"], text)
    assert losses.grad is None, "no gradient into the true losses"


def _total_loss(inputs: Any, expected: Expected, predicted: Tensor, text: str) -> None:
    """The whole objective, with a module that returns the stored predictions and notes whether its input is attached."""
    logits, attached = tensor(inputs["logits"]).requires_grad_(), []

    class Stored(nn.Module):
        def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
            attached.append(maps[0].requires_grad)
            return predicted

    out = Outputs(logits, logits, (logits[:, :, None, None] * 1,))
    for row in expected["per_epoch"]:
        objective = LearningLoss(
            joint=row["auxiliary"] == "LL4AL",
            channels=(1,),
            windows=(0,),
            joint_until=inputs["EPOCHL"],
            margin=inputs["margin"],
        )
        objective._module = Stored()  # type: ignore[assignment]
        logits.grad = predicted.grad = None
        loss = objective.loss(lambda _: out, Batch(logits, tensor(inputs["y"]), row["epoch"], 0))  # type: ignore[arg-type]
        close(loss, row["total_loss"], text)
        assert attached[-1] != row["features_detached"]
    losses = torch.nn.functional.cross_entropy(logits, tensor(inputs["y"]), reduction="none")
    total = losses.mean() + margin_ranking_loss(predicted, losses, inputs["margin"])
    close(total, expected["per_epoch"][0]["total_loss"], text)
    logits.grad = predicted.grad = None
    total.backward()
    close(logits.grad, expected["grad_logits"], text)
    close(predicted.grad, expected["grad_pred"], text)


# -------------------------------------------------------------------------------------------------------- acquisition


@adapter("06_tod_selection")
def selection(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    unlabelled, labelled = np.array(inputs["unlabelled_shuffled"]), np.array(inputs["labelled"])
    candidates = unlabelled[: inputs["SUBSET"]]
    score = np.array(inputs["score_of_candidate"])
    strategies: dict[str, tuple[Any, dict[str, Tensor]]] = {
        "TOD": (Tod(), logits_with_discrepancy(score)),
        "LL4AL": (PredictedLoss(), {"predicted_loss": torch.from_numpy(score)}),
        "RANDOM": (Random(), {}),
    }
    strategy, outputs = strategies[inputs["sampling"]]
    view = view_of(candidates, labelled, inputs["cycle"], outputs, Listed())
    picks = strategy.select(view, inputs["ADDENDUM"])
    bought = candidates[picks.positions.numpy()]
    if "must_contain" in expected:
        contains(bought, expected)
        if "picked_scores_sorted" in expected:
            close(np.sort(score[picks.positions.numpy()]), np.sort(expected["picked_scores_sorted"]), "abs 0")
        return
    # The release appends in ascending order of score, ours buys the best first: the set is the protocol.
    assert sorted(bought) == expected["new_labelled_set"]
    in_order = list(bought)
    if isinstance(strategy, ScoreStrategy) and not (inputs["sampling"] == "TOD" and inputs["cycle"] == 0):
        in_order.reverse()
    assert in_order == expected["new_labelled_in_order"]
    # What is left is shuffled before its order matters again, so it is compared as a set.
    size = int(max(unlabelled.max(), labelled.max())) + 1
    after = Pool(labelled, unlabelled, size).label(bought, Listed())  # type: ignore[arg-type]
    assert sorted(after.unlabelled) == sorted(expected["unlabelled_after"])
    assert list(after.labelled) == [*labelled, *bought]


# ----------------------------------------------------------------------------------------------------------- networks


@adapter("07_tod_parameter_counts")
def parameter_counts(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    families = [lambda classes: LossPrediction(), *(partial(kind, heads=2) for kind in (ResNetCifar, ResNetImagenet))]
    check_counts(counted_network(families, expected), expected)


def loss_module_names(name: str) -> str:
    """FC1 ... FC4 are our branches 0 ... 3."""
    return re.sub(r"^FC(\d)", lambda found: f"branches.{int(found.group(1)) - 1}", name)


@adapter("26_nets_tod")
def networks(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    network = network_like(inputs["canonical"]).double()
    load_canonical(network, inputs["canonical"], inputs["fill"])
    check_counts(network, expected)
    out = forward(network, inputs)
    assert out.consistency is not None
    close_to_scale(out.logits, expected["head_A_logits"], tolerance["float64"])
    close_to_scale(out.consistency, expected["head_B_logits"], tolerance["float64"])
    check_trunk(out, expected, tolerance["float64"])
    single = forward(network, inputs, single=True)
    close_to_scale(single.logits, expected["head_A_logits"], tolerance["float32"])
    if "head_A_logits_float32_run" in expected:
        close_to_scale(expected["head_A_logits_float32_run"], expected["head_A_logits"], tolerance["float32"])
    if "loss_module_prediction" not in expected:
        return
    (canonical,) = (inputs[name] for name in inputs if name.startswith("loss_module_canonical"))
    shapes = [shape for _, name, shape in canonical if re.match(r"FC\d.weight", name)]
    # TOD's windows are those of 32-pixel images whatever the size.
    module = LossPrediction(
        [shape[1] for shape in shapes], [32 >> stage for stage in range(len(shapes))], shapes[0][0]
    ).double()
    load_canonical(module, canonical, inputs["fill"], rename=loss_module_names)
    close_to_scale(module(out.maps), expected["loss_module_prediction"], tolerance["float64"])
