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
    given,
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
from benchmark.al.training.schedules import learning_rate_at
from benchmark.errors import AlbenchError
from benchmark.spec.training import MultiStep

Arrays = Mapping[str, np.ndarray]


@adapter("01_tod_uncertainty")
def uncertainty(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    current, snapshot = tensor(inputs["current_logits"]), tensor(inputs["snapshot_logits"])
    batch = inputs.get("batch", len(current))
    batches = zip(current.split(batch), snapshot.split(batch), strict=True)
    scores = torch.cat([discrepancy(now, before) for now, before in batches])
    assert scores.dtype == current.dtype
    close(scores, expected["uncertainty"], tolerance[float_kind(inputs["current_logits"])])


# ----------------------------------------------------------------------------------------- training


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
def loss_of_one_step(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    kind = float_kind(inputs["A_L"])
    text, gradient_text = part(tolerance[kind], "loss"), part(tolerance[kind], "grad")
    for setting in expected:
        wanted = expected[setting]
        logits = {
            name: tensor(inputs[name]).requires_grad_()
            for name in ("A_L", "B_L", "A_U", "B_U", "T_L", "T_U")
        }
        if setting == "auxiliary_NONE":
            objective = Supervised()
            objective.build(objective_build())
            out = Outputs(logits["A_L"], logits["A_L"], consistency=logits["B_L"])
            loss = objective.loss(
                lambda _, out=out: out, Batch(logits["A_L"], tensor(inputs["y"]), 0, 0)
            )  # type: ignore[arg-type]
        else:
            labelled = Outputs(logits["A_L"], logits["A_L"], consistency=logits["B_L"])
            unlabelled = Outputs(logits["A_U"], logits["A_U"], consistency=logits["B_U"])
            weight = float(re.fullmatch(r"weight_([0-9.e+-]+)", setting).group(1))  # type: ignore[union-attr]
            loss = cod_loss(
                labelled, unlabelled, logits["T_L"], logits["T_U"], tensor(inputs["y"]), weight
            )
        close(loss, wanted["total_loss"], text)
        loss.backward()
        assert logits["T_L"].grad is None and logits["T_U"].grad is None, (
            "the teacher gets no gradient"
        )
        for name, gradient in ((name, wanted[name]) for name in wanted if name.startswith("grad_")):
            found = logits[name.removeprefix("grad_")].grad
            if gradient is None:
                assert found is None, f"{name} should be absent"
            elif (
                kind == "float32"
            ):  # single entries of a gradient are small beside the rounding of its terms
                close_to_scale(found, gradient, gradient_text)
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
        average = nn.ParameterList([tensor(inputs["ema_start"])])
        student = nn.ParameterList([tensor(inputs["ema_start"])])
        seen = []
        for weights, step in zip(inputs["student_per_step"], inputs["t_per_step"], strict=True):
            student[0].data.copy_(tensor(weights))
            ema_update(average, student, warmup_alpha(step, inputs["alpha"]))
            seen.append(average[0].detach().clone())
        close(torch.stack(seen), expected["ema_after_step"], text)
        return
    text = tolerance[float_kind(inputs["weights_start"]["student"]["a.weight"])]
    student_net = TwoHeads(inputs["weights_start"]["student"])
    teacher = TwoHeads(inputs["weights_start"]["ema"])
    objective = Cod(weight=inputs["weight"], ema_decay=inputs.get("alpha", 0.999))
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
        if "ema_after_epoch" in expected:
            check_state(teacher, expected["ema_after_epoch"][epoch], text)
    if "loss_per_step" in expected:
        close(losses, expected["loss_per_step"], text)
    for name, network in (("student_final", student_net), ("ema_final", teacher)):
        if name in expected:
            check_state(network, expected[name], text)
    given(expected, "iteration_counter_end", sum(objective.counters().values()))


def check_state(network: nn.Module, wanted: Mapping[str, Any], text: str) -> None:
    """Every tensor of a network that the case gives."""
    state = network.state_dict()
    for name in wanted:
        close(state[name], wanted[name], text)


@adapter("04_tod_lr")
def learning_rate(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    schedule = MultiStep(
        kind="multistep", milestones=tuple(inputs["milestones"]), gamma=inputs.get("gamma", 0.1)
    )
    epochs = inputs["epochs"]
    for name in expected:
        constant = "module" in name and "lr" in name
        rates = [
            inputs["lr"] if constant else learning_rate_at(schedule, inputs["lr"], e, e, epochs, 1)
            for e in range(epochs)
        ]
        close(rates, expected[name], tolerance["abs"])


@adapter("05_tod_ll4al_loss")
def ranking_loss(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
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
    pairs = margin_ranking_loss(predicted, losses, inputs["margin"], reduction="none")
    loss.backward()
    for name, found in (("loss_mean", loss), ("per_pair", pairs), ("grad_pred", predicted.grad)):
        if name in expected:
            close(found, expected[name], text)
    assert losses.grad is None, "no gradient into the true losses"


def _total_loss(inputs: Any, expected: Expected, predicted: Tensor, text: str) -> None:
    """The whole objective, with a module that returns the stored predictions and notes whether its
    input is attached."""
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
        if "features_detached" in row:
            assert attached[-1] != row["features_detached"]
    losses = torch.nn.functional.cross_entropy(logits, tensor(inputs["y"]), reduction="none")
    total = losses.mean() + margin_ranking_loss(predicted, losses, inputs["margin"])
    for row in expected["per_epoch"]:
        close(total, row["total_loss"], text)
    logits.grad = predicted.grad = None
    total.backward()
    for name, found in (("grad_logits", logits.grad), ("grad_pred", predicted.grad)):
        if name in expected:
            close(found, expected[name], text)


# -------------------------------------------------------------------------------------- acquisition


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
    picks = strategy.select(view, min(inputs["ADDENDUM"], len(candidates)))
    bought = candidates[picks.positions.numpy()]
    if "must_contain" in expected:
        contains(bought, expected)
        if "picked_scores_sorted" in expected:
            close(
                np.sort(score[picks.positions.numpy()]),
                np.sort(expected["picked_scores_sorted"]),
                "abs 0",
            )
        return
    # The release appends in ascending order of score, ours buys the best first: the set is the
    # protocol.
    in_order = bought.tolist()
    if isinstance(strategy, ScoreStrategy) and not (
        inputs["sampling"] == "TOD" and inputs["cycle"] == 0
    ):
        in_order.reverse()
    given(expected, "new_labelled_in_order", in_order)
    if "new_labelled_set" in expected:
        assert sorted(in_order) == sorted(expected["new_labelled_set"])
    # What is left is shuffled before its order matters again, so it is compared as a set.
    size = int(max(unlabelled.max(), labelled.max(initial=0))) + 1
    after = Pool(labelled, unlabelled, size).label(bought, Listed())  # type: ignore[arg-type]
    if "unlabelled_after" in expected:
        assert sorted(after.unlabelled) == sorted(expected["unlabelled_after"])
    assert list(after.labelled) == [*labelled, *bought]


# ----------------------------------------------------------------------------------------- networks


@adapter("07_tod_parameter_counts")
def parameter_counts(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    families = [
        lambda classes: LossPrediction(),
        *(
            partial(kind, heads=heads, blocks=blocks)
            for heads in (2, 1)
            for blocks in ((2, 2, 2, 2), (3, 4, 6, 3))
            for kind in (ResNetCifar, ResNetImagenet)
        ),
    ]
    check_counts(counted_network(families, expected), expected)


def loss_module_names(name: str) -> str:
    """FC1 ... FC4 are our branches 0 ... 3; other items have our names already."""
    return re.sub(r"^FC(\d)", lambda found: f"branches.{int(found.group(1)) - 1}", name)


@adapter("26_nets_tod")
def networks(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    network = network_like(inputs["canonical"]).double()
    load_canonical(network, inputs["canonical"], inputs["fill"])
    check_counts(network, expected)
    out = forward(network, inputs)
    single = forward(network, inputs, single=True)
    heads = {
        "head_A_logits": ("logits", out.logits, single.logits),
        "head_B_logits": ("consistency", out.consistency, single.consistency),
    }
    for name, (kind, exact, rough) in heads.items():
        if name not in expected:
            continue
        assert exact is not None, f"{name}: the network has no {kind}"
        close_to_scale(exact, expected[name], tolerance["float64"])
        close_to_scale(rough, expected[name], tolerance["float32"])
        if f"{name}_float32_run" in expected:
            close_to_scale(expected[f"{name}_float32_run"], expected[name], tolerance["float32"])
    check_trunk(out, expected, tolerance["float64"])
    if "loss_module_prediction" not in expected:
        return
    (canonical,) = (inputs[name] for name in inputs if re.match(r"(loss_)?module_canonical", name))
    named = {loss_module_names(name): shape for _, name, shape in canonical}
    shapes = [named[name] for name in sorted(named) if re.match(r"branches\.\d\.weight", name)]
    # TOD's windows are those of 32-pixel images whatever the size.
    module = LossPrediction(
        [shape[1] for shape in shapes], [32 >> stage for stage in range(len(shapes))], shapes[0][0]
    ).double()
    load_canonical(module, canonical, inputs["fill"], rename=loss_module_names)
    close_to_scale(module(out.maps), expected["loss_module_prediction"], tolerance["float64"])
