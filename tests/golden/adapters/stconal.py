"""ST-CoNAL (soony1213/ST-CoNAL at 43cb8c9): items 08-13 and 26_nets_stconal."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adapters import (
    Expected,
    adapter,
    check_ends,
    close,
    close_to_scale,
    contains,
    float_kind,
    given,
    load_canonical,
    part,
    referenced,
    tensor,
)
from adapters._networks import check_counts, check_trunk, counted_network, forward, network_like
from adapters._views import Listed, view_of
from benchmark.al.functional.averaging import WeightAverage, refresh_batch_norm
from benchmark.al.functional.kcenter import k_center_greedy
from benchmark.al.functional.scores import consistency, top_positions
from benchmark.al.networks.loss_prediction import LossPrediction
from benchmark.al.networks.outputs import Outputs
from benchmark.al.networks.resnet_cifar import ResNetCifar
from benchmark.al.networks.resnet_imagenet import ResNetImagenet
from benchmark.al.networks.vgg_plain import VggPlain
from benchmark.al.pool import Pool
from benchmark.al.strategies.random import Random
from benchmark.al.training.schedules import learning_rate_at
from benchmark.spec.data import Imbalance
from benchmark.spec.training import CosineRestarts, MultiStep

Arrays = Mapping[str, np.ndarray]

# -------------------------------------------------------------------------------------- acquisition


@adapter("08_stconal_score")
def score(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    teacher, students = tensor(inputs["teacher_logits"]), tensor(inputs["student_logits"])
    text = tolerance[float_kind(inputs["teacher_logits"])]
    sharpening = inputs.get("T", 0.7)
    found = consistency(teacher, students, sharpening, "prob")
    assert found.dtype == teacher.dtype
    given(expected, "score_is_nan", torch.nonzero(torch.isnan(found)).flatten().tolist())
    close(found, expected["score"], text)
    exact = consistency(teacher.double(), students.double(), sharpening, "logspace")
    if "derived_logspace_score_f64" in expected:
        close(exact, expected["derived_logspace_score_f64"], tolerance["float64"] + " + rel 1e-10")
    assert bool(torch.isfinite(consistency(teacher, students, sharpening, "logspace")).all())


@adapter("09_stconal_selection")
def selection(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    unlabelled, labelled = np.array(inputs["unlabelled_shuffled"]), np.array(inputs["labelled"])
    candidates, budget = unlabelled[: inputs["SUBSET_SIZE"]], inputs["BUDGET"]
    if "numpy_legacy_seed" in inputs:
        _random_with_replacement(inputs, expected, candidates)
        return
    teacher = tensor(inputs["teacher_logits_by_pool_index"])[candidates]
    students = tensor(inputs["student_logits_by_pool_index"])[:, candidates]
    scores = consistency(teacher, students, inputs.get("T", 0.7))
    kind = float_kind(inputs["teacher_logits_by_pool_index"])
    if "score_of_candidate" in expected:
        close(scores, expected["score_of_candidate"], part(tolerance["scores"], kind))
    picked = candidates[top_positions(scores, budget).numpy()]
    if "must_contain" in expected:
        contains(picked, expected)
        return
    if "new_labelled_set" in expected:
        assert sorted(picked) == sorted(expected["new_labelled_set"])
    given(
        expected, "new_labelled_in_order", picked[::-1].tolist()
    )  # the release appends in ascending order of score
    size = int(max(unlabelled.max(), labelled.max(initial=0))) + 1
    after = Pool(labelled, unlabelled, size).label(picked, Listed())  # type: ignore[arg-type]
    if "unlabelled_after" in expected:
        assert sorted(after.unlabelled) == sorted(expected["unlabelled_after"])


def _random_with_replacement(inputs: Any, expected: Expected, candidates: np.ndarray) -> None:
    """The strategy with the positions that the official draw gave."""

    class Stored:
        def integers(self, low: int, high: int, size: int) -> np.ndarray:
            assert (low, high, size) == (0, len(candidates), inputs["SUBSET_SIZE"])
            return np.array(expected["positions"], dtype=np.int64)

    drawn = np.random.RandomState(inputs["numpy_legacy_seed"]).randint(
        0, len(candidates), inputs["SUBSET_SIZE"]
    )
    np.testing.assert_array_equal(drawn, expected["positions"])
    labelled, unlabelled = np.array(inputs["labelled"]), np.array(inputs["unlabelled_shuffled"])
    view = view_of(candidates, labelled, 0, {}, Stored())
    picks = Random(replacement=True).select(view, inputs["BUDGET"])
    assert picks.returned is not None
    bought, returned = candidates[picks.positions.numpy()], candidates[picks.returned.numpy()]
    given(expected, "new_labelled_in_order", bought.tolist())
    given(expected, "new_labelled_unique", len(set(bought)))
    # Beyond the candidates the unlabelled list goes on as it was.
    left = np.concatenate([returned, unlabelled[len(candidates) :]])
    given(expected, "unlabelled_after_unique", len(set(left)))
    both = "still_in_unlabelled_although_labelled"
    for name, found in (
        ("new_labelled_set", bought),
        ("unlabelled_after", left),
        (both, set(left) & set(bought)),
    ):
        if name in expected:
            assert sorted(found) == sorted(expected[name]), name


@adapter("13_stconal_kcenter")
def k_center(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    features = torch.from_numpy(referenced(inputs["features"], npz))
    if "subset_size" in inputs:
        points, centres = features[: inputs["subset_size"]], features[inputs["subset_size"] :]
        assert len(centres) == inputs["labelled"]
    else:
        points = features
        centres = features[torch.tensor(inputs["already_selected"], dtype=torch.int64)]
    for kind in (torch.float32, torch.float64):
        picks = k_center_greedy(points.to(kind), centres.to(kind), inputs["N"])
        assert picks.tolist() == expected["picks_in_order"]
    covering = torch.cat([centres, points[picks]]).double()
    if "max_min_distance_after" in expected:
        close(
            torch.cdist(points.double(), covering).amin(dim=1).max(),
            expected["max_min_distance_after"],
            "rel 1e-6",
        )
    order = [i for i in range(len(points)) if i not in set(picks.tolist())] + picks.tolist()
    check_ends(order, expected, "full_order")
    given(expected, "full_order", order)


# -------------------------------------------------------------------------------- data and training


@adapter("10_stconal_lr")
def learning_rate(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    lr, epochs, milestones = inputs.get("lr", 0.1), inputs["epochs"], tuple(inputs["milestones"])
    gamma = inputs.get("gamma_used") or inputs.get("gamma_option", 1.0) or 0.1
    period, floor = inputs.get("lr_interval", 10), inputs.get("lr_min", 0.0)
    schedule: MultiStep | CosineRestarts
    match inputs.get("lr_type", "lr_multistep"):
        case "lr_multistep":
            schedule = MultiStep(kind="multistep", milestones=milestones, gamma=gamma, late=True)
            text = tolerance["multistep"]
        case (
            "lr_CLR_cosine"
        ):  # stepped with the explicit epoch index after the epoch: the first epoch counts twice
            batches = next((inputs[name] for name in inputs if "batches" in name), 0)
            schedule = CosineRestarts(
                kind="cosine_restarts",
                start=1,
                period=(batches // 128 + 1) * period,
                gamma=1.0,
                floor=floor,
            )
            text = tolerance["cosine"]
        case "lr_constwarmup_CLR_cosine":
            schedule = CosineRestarts(
                kind="cosine_restarts",
                start=milestones[0] + 1,
                period=period,
                gamma=gamma,
                floor=floor,
            )
            text = tolerance["cosine"]
        case other:
            raise AssertionError(f"an unknown schedule: {other}")
    rates = [learning_rate_at(schedule, lr, epoch, epoch, epochs, 1) for epoch in range(epochs)]
    assert any(name.startswith("lr_per_epoch") for name in expected)
    for name in expected:
        if name.startswith("lr_per_epoch"):
            close(rates, expected[name], text)


@adapter("11_stconal_imbalanced")
def imbalanced(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    from benchmark.al.datasets.split import class_counts, kept_indices

    if "imb_type" in inputs:
        _count_rule(inputs, expected)
        return
    labels = referenced(inputs["labels"], npz)
    classes = int(labels.max()) + 1
    available = np.bincount(labels, minlength=classes)
    # Pinned by the protocol: step 50 / 5000 and 5 / 500 images, long tail from 5000 with ratio
    # 0.01.
    if inputs["dataset"].endswith("imlong"):
        rule = Imbalance(kind="long_tail", majority=5000, ratio=0.01)
    else:
        rule = Imbalance(kind="step", majority=50_000 // classes, minority=500 // classes)
    counts = class_counts(rule, available)
    kept = kept_indices(labels, counts)
    given(expected, "class_counts", list(counts))
    given(expected, "pool_size", len(kept))
    given(expected, "num_classes", classes)
    given(expected, "sum_of_indices", int(np.sum(kept)))
    text = "\n".join(str(int(index)) for index in kept)
    given(expected, "sha1_indices", hashlib.sha1(text.encode()).hexdigest())
    for name in expected:
        match = re.fullmatch(r"(first|last)_(\d+)_indices", name)
        if match:
            count = int(match[2])
            assert (
                list(kept[:count] if match[1] == "first" else kept[len(kept) - count :])
                == expected[name]
            ), name


def _count_rule(inputs: Any, expected: Expected) -> None:
    """The release's counting function by itself, with as many images in every class as it may ask
    for."""
    from benchmark.al.datasets.split import class_counts

    majority, ratio, wanted = inputs["img_max"], inputs["imb_factor"], expected["img_num_per_cls"]
    available = np.full(inputs["num_classes"], majority)
    match inputs["imb_type"]:
        case "exp":
            assert (
                list(
                    class_counts(
                        Imbalance(kind="long_tail", majority=majority, ratio=ratio), available
                    )
                )
                == wanted
            )
        case (
            "step"
        ):  # large classes first; no data set uses this order, the step variants alternate
            rule = Imbalance(kind="step", majority=majority, minority=int(majority * ratio))
            # Of an odd number of classes, both orders give the small share one more.
            assert sorted(class_counts(rule, available), reverse=True) == wanted
        case "none":
            assert list(available) == wanted
        case other:
            raise AssertionError(f"an unknown rule: {other}")


@adapter("12_stconal_swa_bn")
def weight_average(
    inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected
) -> None:
    network = TinyNet(inputs["channels"], inputs["classes"]).double()
    average, text = WeightAverage(), tolerance["float64"]
    for norm in (network.bn1, network.bn2):
        norm.momentum = expected.get("bn_momentum_restored", norm.momentum)
    batches = [tensor(batch) for batch in inputs["bn_batches"]]
    for number, snapshot in enumerate(inputs["snapshots"]):
        network.load_state_dict({name: tensor(value) for name, value in snapshot.items()})
        module = average.update(network)
        refresh_batch_norm(module, batches)
        state, wanted = module.state_dict(), expected["state_after_each_update"][number]
        assert set(state) == set(wanted)
        for name, value in state.items():
            close(value, wanted[name], text)
    if "probe_logits_eval" in expected:
        with torch.no_grad():
            close(
                module.eval()(tensor(inputs["probe"])).logits, expected["probe_logits_eval"], text
            )
    given(expected, "bn_momentum_restored", module.get_submodule("bn1").momentum)


class TinyNet(nn.Module):
    """conv 3x3 - BN - ReLU - conv 3x3 stride 2 - BN - ReLU - global mean - linear: the network of
    the SWA vectors."""

    def __init__(self, channels: list[int], classes: int) -> None:
        super().__init__()
        first, second = channels
        self.conv1, self.bn1 = nn.Conv2d(3, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first)
        self.conv2, self.bn2 = nn.Conv2d(first, second, 3, 2, 1, bias=False), nn.BatchNorm2d(second)
        self.fc = nn.Linear(second, classes)

    def forward(self, x: Tensor) -> Outputs:
        x = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        features = x.mean(dim=(2, 3))
        return Outputs(self.fc(features), features)


# ----------------------------------------------------------------------------------------- networks


@adapter("26_nets_stconal")
def networks(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    if "canonical" not in inputs:
        _counted(expected)
        return
    # Only the 224-pixel network gives its last map pooled.
    network = network_like(inputs["canonical"], dropout=0.5, pool_last_map=True).double()
    load_canonical(network, inputs["canonical"], inputs["fill"])
    check_counts(network, expected)
    out = forward(network, inputs)
    assert out.consistency is None
    check_trunk(out, expected, tolerance["float64"])
    if "logits" not in expected:
        return
    close_to_scale(out.logits, expected["logits"], tolerance["float64"])
    close_to_scale(
        forward(network, inputs, single=True).logits, expected["logits"], tolerance["float32"]
    )
    if "logits_float32_run" in expected:
        close_to_scale(expected["logits_float32_run"], expected["logits"], tolerance["float32"])


def _counted(expected: Expected) -> None:
    """A case that says nothing but counts."""
    families = [
        lambda classes: LossPrediction(),
        *(partial(ResNetCifar, blocks=blocks) for blocks in ((2, 2, 2, 2), (3, 4, 6, 3))),
        *(
            partial(ResNetImagenet, dropout=0.5, trainable=trained, blocks=blocks)
            for trained in ("all", "stage4")
            for blocks in ((2, 2, 2, 2), (3, 4, 6, 3))
        ),
        VggPlain,
    ]
    network = counted_network(families, expected)
    check_counts(network, expected)
    if "trainable_tensors" in expected:
        names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
        assert names == expected["trainable_tensors"]
