"""Components of four kinds by name: built-in ones, files, packages and what installed packages
announce."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.al import registry
from benchmark.al.datasets import catalogue
from benchmark.al.networks import build_network
from benchmark.al.strategies.uncertainty import Entropy
from benchmark.errors import DataError, UsageError
from benchmark.spec.data import Data
from benchmark.spec.identity import trial_id
from benchmark.spec.training import Model
from tests.helpers.trials import assembled, trial

OWN = """
from benchmark.al.datasets.digits import DIGITS, Digits
from benchmark.al.networks.small_cnn import SmallCnn
from benchmark.al.objectives.supervised import Supervised
from benchmark.al.strategies.uncertainty import Entropy


class Least(Entropy):
    pass


class Plain(Supervised):
    pass


class Net(SmallCnn):
    pass


class Numbers(Digits):
    def __init__(self):
        super().__init__(DIGITS.origin)
"""
CLASSES = {"strategies": "Least", "objectives": "Plain", "networks": "Net", "datasets": "Numbers"}


def find(kind: str, name: str) -> Any:
    return registry.find_dataset(name) if kind == "datasets" else registry.find_class(kind, name)


def class_name(found: Any) -> str:
    return found.__name__ if isinstance(found, type) else type(found).__name__


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in registry.TABLES for name in registry.TABLES[kind]]
)
def test_every_name_stands_for_something_of_its_kind(kind: str, name: str) -> None:
    found = find(kind, name)
    if kind != "datasets":
        assert registry.name_of(kind, found) == name
    else:
        assert found.origin.name == name and found.channels in (1, 3)


@pytest.mark.parametrize("kind", registry.TABLES)
def test_ones_own_by_file_by_package_and_announced(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    wanted = CLASSES[kind]
    announced = [EntryPoint("announced", f"own_parts:{wanted}", f"albench.{kind}")]
    monkeypatch.setattr(
        registry, "entry_points", lambda group: announced if group == f"albench.{kind}" else []
    )
    for name in (f"{tmp_path}/own_parts.py:{wanted}", f"own_parts:{wanted}", "announced"):
        assert class_name(find(kind, name)) == wanted
    assert (
        registry.name_of(
            "strategies", registry.find_class("strategies", f"own_parts:{CLASSES['strategies']}")
        )
        == ""
    )
    other = CLASSES["objectives" if kind == "strategies" else "strategies"]
    with pytest.raises(UsageError, match=f"own_parts:{other} is not a"):
        find(kind, f"own_parts:{other}")


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("strategies", "entrophy", "entropy"),
        ("objectives", "supervized", "supervised"),
        ("networks", "resnet_cifarr", "resnet_cifar"),
        ("datasets", "cifar", "cifar10"),
    ],
)
def test_an_unknown_name_gets_the_nearest_ones(kind: str, wrong: str, right: str) -> None:
    with pytest.raises(UsageError, match=f"no {registry.WORDS[kind]} '{wrong}'") as caught:
        find(kind, wrong)
    assert right in caught.value.remedy


def test_unknown_data_sets_and_networks_where_they_are_made() -> None:
    with pytest.raises(DataError, match="no data set 'cifar'"):
        catalogue.official_format("cifar")
    assert catalogue.side_of("cifar") is None and catalogue.side_of("caltech101") is None
    with pytest.raises(UsageError, match="no network 'net'"):
        build_network(Model(name="net"), 10, 3)


def test_listing_names_imports_nothing_heavy() -> None:
    code = (
        "import sys; from benchmark.al import registry\n"
        "for kind in registry.TABLES: registry.component_names(kind), "
        "registry.installed_components(kind)\n"
        "assert not {'torch', 'numpy', 'benchmark.al.datasets', 'benchmark.al.strategies'} & "
        "set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_subclass_from_outside_has_a_stream_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    assert Entropy().stream == "entropy"
    assert registry.find_class("strategies", f"{tmp_path}/own.py:Least")().stream == ":Least"


def test_a_trial_with_ones_own_network_and_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They run, and the trial's identity follows the file's content and not its place."""
    ids = []
    for folder, text in (("a", OWN), ("b", OWN), ("c", f"{OWN}\n# changed\n")):
        (tmp_path / folder).mkdir()
        own = tmp_path / folder / "own.py"
        own.write_text(text)
        made = trial(
            sets={"protocol.models.0.name": f"{own}:Net", "protocol.data.name": f"{own}:Numbers"}
        )
        (model,) = made.protocol.models
        assert model.code is not None and model.code == made.protocol.data.code
        ids.append(trial_id(made))
    assert ids[0] == ids[1] != ids[2] and trial_id(trial()) not in ids
    _, learner = assembled(made, tmp_path)
    _, usual = assembled(trial(), tmp_path)
    assert type(learner.student).__name__ == "Net" and learner.weights() == usual.weights()
    assert np.array_equal(learner.parts.train_labels.numpy(), usual.parts.train_labels.numpy())


def test_a_folder_of_images_has_no_code() -> None:
    plain = trial().protocol.data.model_dump() | {
        "layout": "class_folders",
        "name": "own.py:Numbers",
    }
    with pytest.raises(ValueError, match="takes the name of a folder"):
        Data.model_validate(plain)
