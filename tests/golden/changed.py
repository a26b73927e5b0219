"""Writes a changed copy of a folder of golden files, which the golden tests must pass as they pass
the original.

    .venv/bin/python tests/golden/changed.py SOURCE TARGET
    ALBENCH_GOLDEN=TARGET .venv/bin/python -m pytest tests/golden/test_golden.py

Files, cases and stored arrays have other names and another order, and so have the keys of every
dictionary. Lists of expected numbers are stored as arrays, texts that explain are left out, and
fields that mean nothing are added. Beside the original cases stand further ones of other sizes,
widths, classes and options. What they expect follows from what the original expects (rows that do
not depend on each other, classes in another order, a batch that is repeated, the first cycles of a
run), or from a plain second implementation, never from albench.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from adapters import ENDS, decode  # noqa: E402

Case = dict[str, Any]
Arrays = Mapping[str, np.ndarray]
Further = Callable[[Case], Case]
FURTHER: dict[str, list[Further]] = {}
"""How further cases are made of an original one, by item. One that is made for another kind of case
raises KeyError."""


def further(item: str) -> Callable[[Further], Further]:
    """Register a way to make a further case of each case of an item."""

    def register(make: Further) -> Further:
        FURTHER.setdefault(item, []).append(make)
        return make

    return register


def stored(values: Any) -> Case:
    """An array as the files store one."""
    array = np.asarray(values)
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": array.ravel().tolist()}


def mapped(
    case: Case, change: Callable[[np.ndarray], np.ndarray], inputs: list[str], expected: list[str]
) -> Case:
    """The case with named arrays changed."""
    for part, names in (("inputs", inputs), ("expected", expected)):
        for name in names:
            case[part][name] = stored(change(decode(case[part][name])))
    return case


def rows(order: slice | list[int]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: array[order]


# -------------------------------------------------------------------------------- TOD, item by item


@further("01_tod_uncertainty")
def fewer_rows(case: Case) -> Case:
    """Five rows, backwards, without the size of a batch."""
    del case["inputs"]["batch"]
    return mapped(
        case, rows([4, 3, 2, 1, 0]), ["current_logits", "snapshot_logits"], ["uncertainty"]
    )


@further("01_tod_uncertainty")
def classes_backwards(case: Case) -> Case:
    if decode(case["inputs"]["current_logits"]).dtype == np.float32:
        raise KeyError("another order of a float32 sum is another number")
    return mapped(case, lambda array: array[:, ::-1], ["current_logits", "snapshot_logits"], [])


@further("02_tod_cod_loss")
def twice_the_batch(case: Case) -> Case:
    """Every mean stays; every gradient is halved."""
    mapped(case, lambda array: np.concatenate([array, array]), list(case["inputs"]), [])
    for wanted in case["expected"].values():
        for name in [
            name for name in wanted if name.startswith("grad_") and wanted[name] is not None
        ]:
            half = decode(wanted[name]) / 2
            wanted[name] = stored(np.concatenate([half, half]))
    return case


@further("03_tod_ema")
def from_the_second_step(case: Case) -> Case:
    case["inputs"]["ema_start"] = stored(decode(case["expected"]["ema_after_step"])[0])
    case["inputs"]["t_per_step"] = case["inputs"]["t_per_step"][1:]
    return mapped(case, rows(slice(1, None)), ["student_per_step"], ["ema_after_step"])


@further("03_tod_ema")
def one_epoch(case: Case) -> Case:
    batches = len(decode(case["inputs"]["labelled_y"]))
    case["inputs"]["epochs"] = 1
    expected = case["expected"]
    case["expected"] = {
        "loss_per_step": expected["loss_per_step"][:batches],
        "ema_after_epoch": expected["ema_after_epoch"][:1],
        "iteration_counter_end": batches,
    }
    return case


@further("04_tod_lr")
def fewer_epochs(case: Case) -> Case:
    case["inputs"]["epochs"] -= 7
    case["expected"] = {name: list(values)[:-7] for name, values in case["expected"].items()}
    return case


def twice_the_pairs(values: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Entry i is paired with entry i from the end: every pair once more."""
    half = len(values) // 2
    first, second = values[:half] * scale, values[half:] * scale
    return np.concatenate([first, first, second, second])


@further("05_tod_ll4al_loss")
def pairs_twice(case: Case) -> Case:
    mapped(case, twice_the_pairs, ["pred_loss", "target_loss"], [])
    pairs = decode(case["expected"]["per_pair"])
    case["expected"]["per_pair"] = stored(np.concatenate([pairs, pairs]))
    return mapped(case, lambda array: twice_the_pairs(array, 0.5), [], ["grad_pred"])


@further("05_tod_ll4al_loss")
def another_odd_size(case: Case) -> Case:
    case["inputs"]["size"] += 2
    return case


@further("05_tod_ll4al_loss")
def fewer_of_the_epochs(case: Case) -> Case:
    case["expected"] = {"per_epoch": case["expected"]["per_epoch"][3:]}
    return case


@further("06_tod_selection")
def more_than_the_subset(case: Case) -> Case:
    """Twelve more unlabelled images behind the candidates; all others under another number."""
    inputs, expected, by = case["inputs"], case["expected"], 12
    inputs["labelled"] = [image + by for image in inputs["labelled"]]
    inputs["unlabelled_shuffled"] = [image + by for image in inputs["unlabelled_shuffled"]] + list(
        range(by)
    )
    for name in set(expected) & {
        "new_labelled_in_order",
        "new_labelled_set",
        "must_contain",
        "rest_from",
    }:
        expected[name] = [image + by for image in expected[name]]
    if "unlabelled_after" in expected:
        expected["unlabelled_after"] = [
            image + by for image in expected["unlabelled_after"]
        ] + list(range(by))
    return case


@further("07_tod_parameter_counts")
def other_classes(case: Case) -> Case:
    """Both heads are 512 -> classes with a bias."""
    if case["expected"]["bn_layers"] == 0:
        raise KeyError("no classes")
    return {
        "expected": {**case["expected"]}
        | {n: case["expected"][n] + 7 * 2 * 513 for n in ("parameters", "trainable")}
    }


# ----------------------------------------------------------------------------------------- ST-CoNAL


@further("08_stconal_score")
def students_backwards(case: Case) -> Case:
    if decode(case["inputs"]["teacher_logits"]).dtype == np.float32:
        raise KeyError("another order of a float32 sum is another number")
    del (
        case["inputs"]["batch"],
        case["inputs"]["student_order"],
        case["expected"]["derived_logspace_score_f64"],
    )
    return mapped(case, lambda array: array[::-1], ["student_logits"], [])


@further("08_stconal_score")
def fewer_images(case: Case) -> Case:
    del case["expected"]["derived_logspace_score_f64"]
    mapped(case, lambda array: array[:, :3], ["student_logits"], [])
    return mapped(case, rows(slice(3)), ["teacher_logits"], ["score"])


@further("09_stconal_selection")
def without_scores(case: Case) -> Case:
    del case["expected"]["score_of_candidate"]
    return case


@further("10_stconal_lr")
def shorter(case: Case) -> Case:
    case["inputs"]["epochs"] = 170
    case["expected"] = {name: list(values)[:170] for name, values in case["expected"].items()}
    return case


def annealed(epochs: int, period: int, floor: float, first: int, lr: float) -> list[float]:
    """Rates of torch's cosine with warm restarts, stepped after every epoch from `first` on with
    the epoch's index from there."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=period, eta_min=floor
    )
    found = []
    for epoch in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if epoch >= first:
            schedule.step(epoch - first)
    return found


@further("10_stconal_lr")
def cosine(case: Case) -> Case:
    """The release's second schedule; 200 batches an epoch make the period twice as long."""
    case["inputs"] |= {
        "lr_type": "lr_CLR_cosine",
        "epochs": 57,
        "lr_min": 0.001,
        "batches_per_epoch": 200,
        "lr_interval": 12,
    }
    case["expected"] = {"lr_per_epoch_0based": annealed(57, 24, 0.001, 0, 0.1)}
    return case


@further("10_stconal_lr")
def constant_then_cosine(case: Case) -> Case:
    """The third: constant up to and with the milestone's index, then cosine cycles from gamma times
    the rate."""
    gamma = case["inputs"]["gamma_used"]
    case["inputs"] |= {
        "lr_type": "lr_constwarmup_CLR_cosine",
        "milestones": [20, 240],
        "epochs": 46,
    }
    cycle = [gamma * 0.1 * (1 + math.cos(math.pi * place / 10)) / 2 for place in range(10)]
    case["expected"] = {"lr_per_epoch_0based": [0.1] * 21 + [*cycle, *cycle, *cycle][:25]}
    return case


@further("11_stconal_imbalanced")
def other_ends(case: Case) -> Case:
    expected = case["expected"]
    expected["first_4_indices"] = expected.pop("first_10_indices")[:4]
    expected["last_3_indices"] = expected.pop("last_10_indices")[-3:]
    del expected["sum_of_indices"]
    return case


@further("11_stconal_imbalanced")
def another_rule(case: Case) -> Case:
    inputs, count = case["inputs"], 7
    inputs |= {"num_classes": count, "imb_factor": 0.05, "img_max": 333}
    least = int(333 * 0.05)
    case["expected"]["img_num_per_cls"] = {
        "exp": [int(333 * 0.05 ** (place / (count - 1))) for place in range(count)],
        "step": [333] * (count // 2) + [least] * (count - count // 2),
        "none": [333] * count,
    }[inputs["imb_type"]]
    return case


@further("12_stconal_swa_bn")
def fewer_snapshots(case: Case) -> Case:
    case["inputs"]["snapshots"] = case["inputs"]["snapshots"][:2]
    case["expected"] = {"state_after_each_update": case["expected"]["state_after_each_update"][:2]}
    return case


@further("13_stconal_kcenter")
def fewer_picks(case: Case) -> Case:
    case["inputs"]["N"] = 7
    case["expected"] = {"picks_in_order": case["expected"]["picks_in_order"][:7]}
    return case


@further("13_stconal_kcenter")
def other_end(case: Case) -> Case:
    case["expected"]["full_order_first_9"] = case["expected"].pop("full_order_first_20")[:9]
    return case


@further("14_stconal_badge_init")
def another_width(case: Case) -> Case:
    """Columns of zeros, twice the size, another order of rows: the same shares."""
    mapped(case, lambda array: np.pad(2 * array, ((0, 0), (0, 5)))[::-1], ["X"], [])
    mapped(case, lambda array: array[::-1], [], ["probability_of_second_centre"])
    count = len(decode(case["inputs"]["X"]))
    case["expected"]["first_centre"] = count - 1 - case["expected"]["first_centre"]
    case["inputs"]["K"] = 2
    return case


# ------------------------------------------------------------------------------------ BAL and PT4AL


def bought_inside(
    size: int, shares: list[int], beta: float, addendum: int, pick: str
) -> list[Case]:
    """The windows by the protocol sheet, on plain lists: a slice may begin below 0."""
    ranks, labelled, found = list(range(size)), list[int](), []
    for cycle, share in enumerate(shares):
        overlap = (beta - 1) / 2 * addendum
        begin, end = int((cycle + 1) * addendum - overlap), int((cycle + 2) * addendum + overlap)
        if cycle == len(shares) - 1:
            begin, end = int(size - beta * addendum), size
        if cycle == 0:
            begin, end = 0, int(beta * addendum)
        inside = [rank for rank in ranks[begin:end] if rank not in labelled]
        quota = int((share * 0.01) * size)
        taken = inside[-quota:] if cycle and pick == "last" and quota else inside[:quota]
        labelled += taken
        found.append(
            {
                "cycle": cycle,
                "begin": begin,
                "end": end,
                "slice_length": len(ranks[begin:end]),
                "subpool": len(inside),
                "quota": quota,
                "taken": len(taken),
                "labelled_total": len(labelled),
                "rank_sum": sum(taken),
                "rank_min": min(taken, default=None),
                "rank_max": max(taken, default=None),
            }
        )
    return found


@further("15_bal_cdd")
def order_alone(case: Case) -> Case:
    del case["expected"]["cdd"]
    return case


@further("16_bal_windows")
def other_windows(case: Case) -> Case:
    """The last ranks in place of the first ones, another pool, and a balance factor with which
    windows begin below 0."""
    size = 331
    shares = case["inputs"]["per_samples_list"]
    addendum = 331 // len(case["inputs"]["per_samples_list"])
    beta = case["inputs"]["beta"] + 5
    case["inputs"] |= {"N": size, "addendum": addendum, "beta": beta, "pick": "last"}
    case["expected"] = {
        "num_samples_list": [int((share * 0.01) * size) for share in shares],
        "cycles": bought_inside(size, shares, beta, addendum, "last"),
    }
    return case


@further("17_bal_confidence")
def half_the_size(case: Case) -> Case:
    """Confidence is of normalised logits, so half of them gives the same; entropy is left out."""
    case["expected"] = {
        name: value for name, value in case["expected"].items() if name.startswith("confidence")
    }
    return mapped(case, lambda array: array / 2, ["logits"], [])


@further("17_bal_confidence")
def fewer_bought(case: Case) -> Case:
    scores = decode(case["expected"]["confidence_score"])
    case["inputs"]["n"] = 3
    order = np.argsort(scores, kind="stable")[:3].tolist()
    case["expected"] = {"confidence_picks_in_order": order, "confidence_picks_set": sorted(order)}
    return case


@further("18_pt4al_batches")
def shorter_ends(case: Case) -> Case:
    """Shorter heads and tails of long lists, under the names that say how long."""
    changed = False
    for name in list(case["expected"]):
        match = ENDS.match(name)
        if match and int(match["count"]) > 2:
            values, count, changed = decode(case["expected"].pop(name)), int(match["count"]), True
            values = values.tolist() if isinstance(values, np.ndarray) else values
            kept = slice(count - 2) if match["end"] == "first" else slice(2, None)
            values = [row[kept] for row in values] if match["rest"] else values[kept]
            new = name.replace(f"_{count}", f"_{count - 2}").replace(
                f"first_{count}_", f"first_{count - 2}_"
            )
            case["expected"][new] = values
    if not changed:
        raise KeyError("no long lists")
    return case


@further("18_pt4al_batches")
def another_pool(case: Case) -> Case:
    """Formula losses of another pool, sorted as printed text by plain Python, largest first."""
    if "loss_formula" not in case["inputs"]:
        raise KeyError("no formula")
    case["inputs"] |= {
        "loss_formula": (
            "k = (i*911) mod 1237; loss_i = (k+1)/512 if k mod 4 != 0 else (k+1)*2**-30"
        ),
        "n": 1200,
    }
    k = [(i * 911) % 1237 for i in range(1200)]
    losses = [(value + 1) / 512 if value % 4 else (value + 1) * 2.0**-30 for value in k]
    order = sorted(range(1200), key=lambda i: str(losses[i]), reverse=True)
    parts = [order[start : start + 200] for start in range(0, 1200, 200)]
    true = sorted(range(1200), key=lambda i: -losses[i])
    case["expected"] = {
        "batch_sizes": [200] * 6,
        "first_5_of_each_batch": [part[:5] for part in parts],
        "sum_of_each_batch": [sum(part) for part in parts],
        "cycle0_count": 40,
        "cycle0_first_7": parts[0][:35:5],
        "sha1_of_each_batch_order": [
            hashlib.sha1("\n".join(map(str, part)).encode()).hexdigest() for part in parts
        ],
        "batch0_overlap_with_true_hardest_200": len(set(parts[0]) & set(true[:200])),
    }
    return case


@further("19_bal_pt4al_lr")
def begun_later(case: Case) -> Case:
    """The schedule begins where the loop does: as many rates fewer, from the front."""
    case["inputs"]["start_epoch"] = 4
    case["expected"]["lr_per_epoch"] = list(decode(case["expected"]["lr_per_epoch"]))[:-4]
    return case


# --------------------------------------------------------------------------------------------- DIAM


@further("20_diam_votes")
def fewer_votes_bought(case: Case) -> Case:
    expected, inputs = case["expected"], case["inputs"]
    inputs["B"] -= 1
    count = 5 * inputs["B"]
    case["expected"] = {
        "first_key_D": expected["first_key_D"],
        "top_5B_in_order": expected["top_5B_in_order"][:count],
        "CAL_candidates_in_order": expected["CAL_candidates_in_order"],
        "number_bought": inputs["B"],
        "CAL_number_bought": inputs["B"],
    }
    return case


@further("21_diam_uncertainty")
def part_of_the_pool(case: Case) -> Case:
    """Every image has its own raw score; scaled ones are 0 whatever the pool."""
    case["inputs"]["B"] = 2
    mapped(case, lambda array: array[:, :9], ["logits_by_model"], [])
    mapped(case, rows(slice(9)), ["pool_list"], [])
    for kind in ("margin", "entropy", "least_conf"):
        wanted = {
            name: value
            for name, value in case["expected"][kind].items()
            if not name.startswith("derived_")
        }
        wanted["raw_score_per_model"] = stored(decode(wanted["raw_score_per_model"])[:, :9])
        wanted["official_mean_scaled_score"] = stored(
            decode(wanted["official_mean_scaled_score"])[:9]
        )
        case["expected"][kind] = wanted
    if (
        decode(case["expected"]["margin"]["raw_score_per_model"]).size == 0
        or case["expected"]["margin"]["nan_positions"]
    ):
        raise KeyError("positions would change")
    del case["expected"]["least_conf"]
    return case


@further("22_diam_coreset")
def fewer_teachers_picks(case: Case) -> Case:
    case["inputs"]["B"] = 11
    case["expected"]["picked_pool_positions_in_order"] = case["expected"][
        "picked_pool_positions_in_order"
    ][:11]
    return case


@further("23_diam_cosine_lr")
def other_steps(case: Case) -> Case:
    """The closed form: half a cosine over all steps."""
    steps, epochs, base, total = case["inputs"]["batches_per_epoch"] + 4, 7, 0.003, 0
    total = steps * epochs
    rates = [0.5 * base * (1 + math.cos(math.pi * step / total)) for step in range(total)]
    case["inputs"] = {"batches_per_epoch": steps, "epochs": epochs, "base_lr": base}
    case["expected"] = {
        "lr_first_3": rates[:3],
        "lr_last_2": rates[-2:],
        "lr_at_step": {"5": rates[5]},
        "sum": sum(rates),
    }
    return case


@further("23_diam_cosine_lr")
def another_fraction(case: Case) -> Case:
    """Halves are rounded to even: 2.5 epochs are 2."""
    if "fraction" not in case["inputs"]:
        raise KeyError("not about snapshots")
    case["inputs"] |= {"n_epochs": 20, "fraction": 0.125}
    case["expected"] = {"snapshot_epochs_0based": [18, 19]}
    return case


@further("23_diam_cosine_lr")
def fewer_settings(case: Case) -> Case:
    case["expected"] = {
        name: case["expected"][name] for name in ("n_epochs", "momentum", "dropout")
    }
    return case


@further("24_diam_label_smoothing")
def smoothed_twice(case: Case) -> Case:
    mapped(case, lambda array: np.concatenate([array, array]), ["logits", "y"], [])
    return mapped(
        case,
        lambda array: np.concatenate([array, array]) / np.asarray(2, array.dtype),
        [],
        ["grad"],
    )


@further("25_diam_split")
def another_split(case: Case) -> Case:
    order = torch.randperm(500, generator=torch.Generator().manual_seed(7)).tolist()
    case["inputs"] = {"pool": 500, "initial": 40, "seed": 7}
    case["expected"] = {
        "labelled_first_4": order[:4],
        "labelled_sum": sum(order[:40]),
        "pool_last_6": order[-6:],
    }
    return case


@further("26_diam_params_macs")
def two_nets(case: Case) -> Case:
    """Two of them; with a hundred classes the head is larger by 90 rows of its 1280 inputs and a
    bias."""
    case["inputs"]["classes"] = 100
    nets = case["expected"]["nets"][3:5]
    case["expected"]["nets"] = [
        {"id": row["id"], "R": row["R"], "parameters": row["parameters"] + 90 * 1281}
        for row in nets
    ]
    return case


def tensors_backwards(case: Case) -> Case:
    """The same tensors, listed from the last one on, and only a part of what is known of the
    network."""
    case["inputs"]["canonical"] = case["inputs"]["canonical"][::-1]
    for name in (
        "logits_float32_run",
        "head_A_logits_float32_run",
        "parameters",
        "float32_relative_deviation",
    ):
        case["expected"].pop(name, None)
    for name in [name for name in case["expected"] if name.endswith("_first_8")]:
        case["expected"][name.replace("8", "5")] = stored(decode(case["expected"].pop(name))[:, :5])
    return case


@further("26_nets_diam")
def one_net_backwards(case: Case) -> Case:
    if case["inputs"]["H"] > 150:
        raise KeyError("one of the small ones is enough")
    return tensors_backwards(case)


for network_item in ("26_nets_bal", "26_nets_stconal", "26_nets_tod"):
    further(network_item)(tensors_backwards)


@further("26_nets_stconal")
def other_heads(case: Case) -> Case:
    if (
        "canonical" in case.get("inputs", {})
        or set(case["expected"]) != {"parameters"}
        or case["expected"]["parameters"] < 1e7
    ):
        raise KeyError("not a count alone")
    case["expected"]["parameters"] += 13 * 513
    return case


# ---------------------------------------------------------------------------------------- baselines


@further("27_stconal_ll4al_variants")
def variants_twice(case: Case) -> Case:
    mapped(case, twice_the_pairs, ["pred_loss", "target_loss"], [])
    for wanted in case["expected"].values():
        wanted["grad_pred"] = stored(twice_the_pairs(decode(wanted["grad_pred"]), 0.5))
    return case


@further("28_stconal_badge_embedding")
def fewer_embedded(case: Case) -> Case:
    return mapped(
        case, rows([3, 1]), ["logits", "features", "true_labels"], ["embedding_true_label"]
    )


@further("29_stconal_semi")
def fewer_ramps(case: Case) -> Case:
    case["inputs"]["epochs"] = case["inputs"]["epochs"][2:5]
    case["expected"]["weight"] = case["expected"]["weight"][2:5]
    return case


@further("29_stconal_semi")
def twice_the_images(case: Case) -> Case:
    mapped(
        case, lambda array: np.concatenate([array, array]), ["student_logits", "teacher_logits"], []
    )
    case["expected"]["sum_over_batch_divided_by_classes"] *= 2
    return case


@further("30_gcn_baselines")
def hidden_units_backwards(case: Case) -> Case:
    """Features of thrice the length are the same once normalised; hidden units in another order are
    the same network."""
    mapped(case, lambda array: 3 * array, ["backbone_features"], [])
    start, expected = case["inputs"]["gcn_weights_start"], case["expected"]
    for name, axis in (("gc1.weight", 1), ("gc1.bias", 0), ("gc3.weight", 0)):
        start[name] = stored(np.flip(decode(start[name]), axis))
    embedded = decode(expected["final_embedding_first_row"])
    expected["final_embedding_first_row"] = stored(
        np.concatenate([embedded[:-1][::-1], embedded[-1:]])
    )
    expected["loss_at_step_2"] = [list(decode(expected.pop("loss_at_step_1_2_100_200")))[1]]
    expected["adjacency_first_2_rows"] = stored(decode(expected.pop("adjacency_first_3_rows"))[:2])
    del expected["CoreGCN"]["same_set_in_float32"]
    return case


@further("31_vaal_pieces")
def coded_twice(case: Case) -> Case:
    """Means stay; what is summed over the batch doubles with it."""
    x, recon = decode(case["inputs"]["x"]), decode(case["inputs"]["recon"])
    error = float(((x - recon) ** 2).mean())
    mapped(case, lambda array: np.concatenate([array, array]), ["x", "recon", "mu", "logvar"], [])
    summed = case["expected"]["sequential_gcn_sum_form"]
    case["expected"]["sequential_gcn_sum_form"] = error + 2 * (summed - error)
    return case


@further("31_vaal_pieces")
def fewer_codes(case: Case) -> Case:
    case["inputs"]["vae_canonical"] = case["inputs"]["vae_canonical"][::-1]
    expected = case["expected"]
    case["expected"] = {
        "mu_eval": stored(decode(expected["mu_eval"])[:, :3]),
        "discriminator_train_mode": expected["discriminator_train_mode"],
    }
    return case


@further("37_baseline_inits")
def one_network(case: Case) -> Case:
    case["inputs"] = {}
    case["expected"] = {
        name: value for name, value in case["expected"].items() if name.startswith("gcn.")
    }
    return case


# ---------------------------------------------------------------------------------- whole trainings


def one_cycle(case: Case) -> Case:
    """A training of which only the first cycle is recorded."""
    case["expected"]["cycles"] = case["expected"]["cycles"][:1]
    return case


for trained_item in (
    "32_tod_trajectory",
    "33_ll4al_trajectory",
    "34_stconal_trajectory",
    "35_stconal_semi_trajectory",
):
    further(trained_item)(one_cycle)
further("42_diam_trajectory")(one_cycle)


@further("34_stconal_trajectory")
def random_with_an_average(case: Case) -> Case:
    """The option --SWA_inference of the release: the training of ST-CoNAL, and images drawn with
    replacement."""
    if case["inputs"]["method"] != "ST-CoNAL":
        raise KeyError("another average")
    case["inputs"]["method"] = "Random"
    case["inputs"]["arguments"] = [*case["inputs"]["arguments"], "--SWA_inference"]
    case["expected"]["cycles"] = [
        {name: value for name, value in cycle.items() if name != "scores"}
        for cycle in case["expected"]["cycles"][:1]
    ]
    return case


@further("36_vaal_game")
def more_bought(case: Case) -> Case:
    """The images of the smallest outputs of the discriminator, for a larger budget that gives as
    many iterations."""
    judged = np.asarray(decode(case["expected"]["discriminator_of_candidates"])).ravel()
    inputs = case["inputs"]
    inputs["budget"] += 3
    seen = inputs["budget"] * (inputs["cycle"] + 1) + inputs["candidates"]
    assert seen * inputs["passes"] // inputs["batch_size"] == case["expected"]["iterations"]
    picked = np.argsort(judged, kind="stable")[: inputs["budget"]].tolist()
    case["expected"] = {"picked": picked, "iterations": case["expected"]["iterations"]}
    return case


@further("40_bal_trajectory")
def fewer_fields(case: Case) -> Case:
    for name in ("features", "pretext_accuracy", "ranked"):
        del case["expected"][name]
    for cycle in case["expected"]["cycles"]:
        del cycle["begin"], cycle["candidates"]
    return case


@further("41_pt4al_trajectory")
def fewer_batches(case: Case) -> Case:
    for name in ("batches", "test_loss"):
        del case["expected"][name]
    return case


# ----------------------------------------------------------------------------------------- the copy


def further_cases(content: Mapping[str, Any]) -> list[Case]:
    """The further cases of one file: of each way to make them, those of the cases that it is made
    for."""
    found = []
    for make in FURTHER.get(content["item"], []):
        for case in content["cases"]:
            try:
                found.append(make(copy.deepcopy(case)))
            except (KeyError, TypeError):  # a case of another kind
                continue
    return found


def backwards(value: Any, arrays: bool) -> Any:
    """Every dictionary with its keys in another order; with `arrays`, lists of numbers as stored
    arrays."""
    if isinstance(value, dict):
        if set(value) == {"dtype", "shape", "data"}:
            return value
        return {name: backwards(value[name], arrays) for name in reversed(list(value))}
    if isinstance(value, list):
        if arrays and len(value) > 1 and all(type(item) in (int, float) for item in value):
            array = np.array(value)
            return stored(array) if array.tolist() == value else value
        return [backwards(item, arrays) for item in value]
    return value


def changed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A golden file with other names, another order, less explanation, fields that mean nothing,
    and further cases."""
    cases = []
    for number, case in enumerate([*reversed(content["cases"]), *further_cases(content)]):
        made = {
            name: value for name, value in case.items() if name not in ("name", "note", "optimizer")
        }
        made["expected"] = backwards(made["expected"], arrays=True)
        if "inputs" in made:
            made["inputs"] = backwards(made["inputs"], arrays=False) | {
                "made_on": "another machine"
            }
        cases.append({"remark": "of a copy", **made, "name": f"case {number}"})
    kept = {name: content[name] for name in ("tolerance", "item")}
    return {**kept, "notes": [], "cases": cases, "made_by": "changed.py"}


def renamed(
    content: dict[str, Any], arrays: Arrays
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The file, with other names of the arrays beside it."""
    text, found = json.dumps(content), {}
    for number, name in enumerate(sorted(arrays, key=len, reverse=True)):
        text = text.replace(name, f"stored_{number}")
        found[f"stored_{number}"] = arrays[name]
    return json.loads(text), found


def write_copy(source: Path, target: Path) -> int:
    """Write the changed copy of a folder; the number of cases in it."""
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    for number, path in enumerate(sorted(source.glob("*.json"), reverse=True)):
        content, arrays = json.loads(path.read_text(encoding="utf-8")), {}
        if path.with_suffix(".npz").exists():
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as beside:
                arrays = {name: beside[name] for name in beside.files}
        made, arrays = renamed(changed(content), arrays)
        count += len(made["cases"])
        (target / f"file{number}.json").write_text(json.dumps(made), encoding="utf-8")
        if arrays:
            np.savez(target / f"file{number}.npz", **arrays)
    return count


if __name__ == "__main__":
    print(f"{write_copy(Path(sys.argv[1]), Path(sys.argv[2]))} cases in {sys.argv[2]}")
