"""The adapters know nothing of the public cases: the same files with other names, another order and other sizes pass too."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from adapters import ENDS, Expected, decode, discover  # noqa: E402

ADAPTERS = discover()
Case = dict[str, Any]


def run(content: Mapping[str, Any], case: Case, npz: Mapping[str, np.ndarray]) -> None:
    """A case through its adapter, which must read all that is expected."""
    wrapped = Expected(case)
    expected = wrapped["expected"]
    ADAPTERS[content["item"]](decode(case.get("inputs", {})), expected, content["tolerance"], npz, wrapped)
    assert not expected.unread()


def loaded(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    beside = path.with_suffix(".npz")
    if not beside.exists():
        return json.loads(path.read_text()), {}
    with np.load(beside, allow_pickle=False) as found:
        return json.loads(path.read_text()), {name: found[name] for name in found.files}


def trains(content: Mapping[str, Any]) -> bool:
    """Whether the cases are whole trainings, which take long: those are cut below instead of repeated."""
    return any(word in content.get("item", "") for word in ("trajectory", "game"))


FILES = [
    path
    for path in sorted(HERE.glob("*.json"))
    if (content := json.loads(path.read_text())).get("item") in ADAPTERS and not trains(content)
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_other_names_and_another_order(path: Path) -> None:
    content, npz = loaded(path)
    for number, case in enumerate(reversed(content["cases"])):
        run(content, {**copy.deepcopy(case), "name": f"case {number}"}, npz)


def rows_of(case: Case, inputs: list[str], outputs: list[str], count: int) -> Case:
    """The first so many rows of arrays in which rows do not depend on each other."""
    made = copy.deepcopy(case)
    for part, names in (("inputs", inputs), ("expected", outputs)):
        for name in names:
            array = decode(made[part][name])[:count]
            made[part][name] = {"dtype": array.dtype.name, "shape": list(array.shape), "data": array.ravel().tolist()}
    return made


def fewer_scores(case: Case) -> Case:
    return rows_of(case, ["current_logits", "snapshot_logits"], ["uncertainty"], 5)


def fewer_epochs(case: Case) -> Case:
    made = copy.deepcopy(case)
    made["inputs"]["epochs"] = 170
    for name, values in made["expected"].items():
        made["expected"][name] = (
            {**values, "data": values["data"][:170], "shape": [170]} if isinstance(values, dict) else values[:170]
        )
    return made


def fewer_losses(case: Case) -> Case:
    """The graph methods by their first losses only would still need their picks: other names of the same numbers."""
    made = copy.deepcopy(case)
    made["expected"]["loss_at_step_2"] = made["expected"].pop("loss_at_step_1_2_100_200")
    values = decode(made["expected"]["loss_at_step_2"])
    made["expected"]["loss_at_step_2"] = [float(np.asarray(values)[1])]
    return made


def one_cycle(case: Case) -> Case:
    """A training cut after its first cycle."""
    made = copy.deepcopy(case)
    made["expected"]["cycles"] = made["expected"]["cycles"][:1]
    inputs = made["inputs"]
    if "arguments" in inputs:
        inputs["arguments"][inputs["arguments"].index("--cycles") + 1] = "1"
    else:
        inputs["config"]["CYCLES"] = 1
    return made


def renamed(case: Case) -> Case:
    """The whole case: the test gives it another name."""
    return copy.deepcopy(case)


def fewer_ends(case: Case) -> Case:
    """Shorter heads and tails of long lists, under the names that say how long."""
    made = copy.deepcopy(case)
    for name in list(made["expected"]):
        match = ENDS.match(name)
        if match and int(match["count"]) > 2:
            values, count = decode(made["expected"].pop(name)), int(match["count"])
            values = values.tolist() if isinstance(values, np.ndarray) else values
            kept = slice(count - 2) if match["end"] == "first" else slice(2, None)
            values = [row[kept] for row in values] if match["rest"] else values[kept]
            made["expected"][
                name.replace(f"_{count}", f"_{count - 2}").replace(f"first_{count}_", f"first_{count - 2}_")
            ] = values
    assert made["expected"].keys() != case["expected"].keys()
    return made


def without(*names: str) -> Callable[[Case], Case]:
    """A case that leaves fields out."""

    def cut(case: Case) -> Case:
        made = copy.deepcopy(case)
        for name in names:
            made["expected"].pop(name)
        return made

    return cut


def fewer_nets(case: Case) -> Case:
    made = copy.deepcopy(case)
    made["expected"]["nets"] = made["expected"]["nets"][3:5]
    return made


def one_round(case: Case) -> Case:
    """DIAM's recorded rounds, cut after the first."""
    made = copy.deepcopy(case)
    made["expected"]["cycles"] = made["expected"]["cycles"][:1]
    return made


def shorter_rates(case: Case) -> Case:
    made = copy.deepcopy(case)
    made["inputs"]["epochs"] = epochs = made["inputs"]["epochs"] - 7
    made["expected"]["lr_per_epoch"] = list(decode(made["expected"]["lr_per_epoch"]))[:epochs]
    return made


def other_split(case: Case) -> Case:
    """A split of another size: the seeded permutation of torch, written out."""
    order = torch.randperm(500, generator=torch.Generator().manual_seed(7)).tolist()
    return {
        "inputs": {"pool": 500, "initial": 40, "seed": 7},
        "expected": {"labelled_first_4": order[:4], "labelled_sum": sum(order[:40]), "pool_last_6": order[-6:]},
    }


CUTS: dict[str, Callable[[Case], Case]] = {
    "01_tod_uncertainty": fewer_scores,
    "10_stconal_lr": fewer_epochs,
    "30_gcn_baselines": fewer_losses,
    "32_tod_trajectory": one_cycle,
    "33_ll4al_trajectory": one_cycle,
    "34_stconal_trajectory": one_cycle,
    "17_bal_confidence": without("entropy_score_array_shape_in_official_code", "entropy_official_return_shape"),
    "18_pt4al_batches": fewer_ends,
    "19_bal_pt4al_lr": shorter_rates,
    "20_diam_votes": without("top_5B_must_contain", "tie_group_at_cut", "number_from_tie_group"),
    "21_diam_uncertainty": without("margin"),
    "24_diam_label_smoothing": without("soft_target_first_row"),
    "25_diam_split": other_split,
    "26_diam_params_macs": fewer_nets,
    "35_stconal_semi_trajectory": one_cycle,
    "36_vaal_game": renamed,
    "40_bal_trajectory": renamed,
    "41_pt4al_trajectory": renamed,
    "42_diam_trajectory": one_round,
}
"""Every training is here, so that each is run under another name."""


def test_every_training_is_run_under_another_name() -> None:
    items = {
        json.loads(path.read_text()).get("item") for path in HERE.glob("*.json") if trains(json.loads(path.read_text()))
    }
    assert items <= set(CUTS)


@pytest.mark.parametrize("item", CUTS)
def test_other_sizes(item: str) -> None:
    """The last case of a file, smaller and without its name."""
    content, npz = loaded(HERE / f"{item}.json")
    made = CUTS[item](content["cases"][-1])
    run(content, {**made, "name": "another"}, npz)


def test_a_wrong_number_is_noticed() -> None:
    content, npz = loaded(HERE / "33_ll4al_trajectory.json")
    case = one_cycle(content["cases"][0])
    case["expected"]["cycles"][0]["steps"][3]["loss"] *= 1 + 1e-6
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        run(content, case, npz)
