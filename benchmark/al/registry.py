"""Strategies, objectives, networks and data sets by name, without importing them.

The tables below name what this project has: a name in a suite, and where its class (of a data set:
the object) is defined. A name is part of a trial's identity and never changes; modules and classes
may. One's own component is `file.py:Class`, `package.module:Class`, or a name that an installed
package announces under the entry-point group `albench.strategies`, `albench.objectives`,
`albench.networks` or `albench.datasets`. A network or a data set may also be one of a library:
`timm:resnet18`, `torchvision:FashionMNIST`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from benchmark.errors import UsageError
from benchmark.spec.suite import Component

STRATEGIES = {
    "alfa_mix": "benchmark.al.strategies.alfa_mix:AlfaMix",
    "badge": "benchmark.al.strategies.badge:Badge",
    "bait": "benchmark.al.strategies.bait:Bait",
    "bal": "benchmark.al.strategies.bal:Bal",
    "bald": "benchmark.al.strategies.bald:Bald",
    "batch_bald": "benchmark.al.strategies.bald:BatchBald",
    "cal": "benchmark.al.strategies.diam:Cal",
    "cluster_margin": "benchmark.al.strategies.cluster_margin:ClusterMargin",
    "committee_entropy": "benchmark.al.strategies.committee:CommitteeEntropy",
    "committee_least_confidence": "benchmark.al.strategies.committee:CommitteeLeastConfidence",
    "committee_margin": "benchmark.al.strategies.committee:CommitteeMargin",
    "core_gcn": "benchmark.al.strategies.gcn:CoreGcn",
    "coreset": "benchmark.al.strategies.coreset:Coreset",
    "diam": "benchmark.al.strategies.diam:Diam",
    "diam_qp": "benchmark.al.strategies.diam:DiamQp",
    "dropquery": "benchmark.al.strategies.dropquery:DropQuery",
    "entropy": "benchmark.al.strategies.uncertainty:Entropy",
    "falcun": "benchmark.al.strategies.falcun:Falcun",
    "learning_loss": "benchmark.al.strategies.learning_loss:PredictedLoss",
    "least_confidence": "benchmark.al.strategies.uncertainty:LeastConfidence",
    "margin": "benchmark.al.strategies.uncertainty:Margin",
    "max_herding": "benchmark.al.strategies.herding:MaxHerding",
    "normalised_confidence": "benchmark.al.strategies.uncertainty:NormalisedConfidence",
    "power_bald": "benchmark.al.strategies.power:PowerBald",
    "power_margin": "benchmark.al.strategies.power:PowerMargin",
    "probcover": "benchmark.al.strategies.probcover:ProbCover",
    "pt4al": "benchmark.al.strategies.bal:Pt4al",
    "random": "benchmark.al.strategies.random:Random",
    "replay": "benchmark.al.strategies.replay:Replay",
    "stconal": "benchmark.al.strategies.stconal:StConal",
    "ta_vaal": "benchmark.al.strategies.vaal:TaVaal",
    "tod": "benchmark.al.strategies.tod:Tod",
    "typiclust": "benchmark.al.strategies.typiclust:TypiClust",
    "uherding": "benchmark.al.strategies.herding:UHerding",
    "uncertain_gcn": "benchmark.al.strategies.gcn:UncertainGcn",
    "vaal": "benchmark.al.strategies.vaal:Vaal",
}
OBJECTIVES = {
    "cod": "benchmark.al.objectives.cod:Cod",
    "learning_loss": "benchmark.al.objectives.learning_loss:LearningLoss",
    "mean_teacher": "benchmark.al.objectives.mean_teacher:MeanTeacher",
    "supervised": "benchmark.al.objectives.supervised:Supervised",
}
NETWORKS = {
    "linear_probe": "benchmark.al.networks.linear_probe:LinearProbe",
    "ofa": "benchmark.al.networks.ofa:Ofa",
    "resnet_bottleneck": "benchmark.al.networks.resnet_bal:ResNetBottleneck",
    "resnet_cifar": "benchmark.al.networks.resnet_cifar:ResNetCifar",
    "resnet_imagenet": "benchmark.al.networks.resnet_imagenet:ResNetImagenet",
    "small_cnn": "benchmark.al.networks.small_cnn:SmallCnn",
    "vgg_bn": "benchmark.al.networks.vgg_bn:VggBn",
    "vgg_plain": "benchmark.al.networks.vgg_plain:VggPlain",
}
"""A network takes `classes` and its own parameters, `channels` where these are not 3, and returns
`Outputs`."""
LIBRARIES = ("timm", "torchvision")
"""Libraries whose networks have names such as `timm:resnet18`."""
DATASETS = {
    "cifar10": "benchmark.al.datasets.cifar:CIFAR10",
    "cifar100": "benchmark.al.datasets.cifar:CIFAR100",
    "svhn": "benchmark.al.datasets.svhn:SVHN",
    "caltech101": "benchmark.al.datasets.caltech:CALTECH101",
    "caltech256": "benchmark.al.datasets.caltech:CALTECH256",
    "tiny_imagenet": "benchmark.al.datasets.tiny_imagenet:TINY_IMAGENET",
    "mnist": "benchmark.al.datasets.mnist:MNIST",
    "kmnist": "benchmark.al.datasets.mnist:KMNIST",
    "digits": "benchmark.al.datasets.digits:DIGITS",
}
"""A data set is an object with the methods of `DatasetFormat`; one's own may be a class that makes
it without arguments."""
DATA_LIBRARIES = {
    "huggingface": "benchmark.al.datasets.hugging_face:HuggingFaceFolder",
    "torchvision": "benchmark.al.datasets.torchvision_sets:find_torchvision_set",
}
"""What makes a data set of a library, such as `torchvision:FashionMNIST`, from its name there."""

TABLES: Mapping[str, Mapping[str, str]] = {
    "strategies": STRATEGIES,
    "objectives": OBJECTIVES,
    "networks": NETWORKS,
    "datasets": DATASETS,
}
"""What this project has of each kind."""
BASES = {
    "strategies": "benchmark.al.strategies.base:Strategy",
    "objectives": "benchmark.al.objectives.base:Objective",
    "networks": "torch.nn:Module",
    "datasets": "benchmark.al.datasets.source:DatasetFormat",
}
"""What everything of a kind is, imported when one of it is looked up."""
WORDS = {
    "strategies": "strategy",
    "objectives": "objective",
    "networks": "network",
    "datasets": "data set",
}


def component_names(kind: str) -> list[str]:
    """Names of the built-in components of a kind, sorted, without importing any."""
    return sorted(TABLES[kind])


def installed_components(kind: str) -> Mapping[str, EntryPoint]:
    """What installed packages announce of a kind, by name, without importing any."""
    return {entry.name: entry for entry in entry_points(group=f"albench.{kind}")}


def definition_of(kind: str, name: str) -> tuple[str, str]:
    """Module and class behind a built-in name."""
    module, _, attribute = TABLES[kind][name].partition(":")
    return module, attribute


def name_of(kind: str, cls: type[Any]) -> str:
    """The built-in name of a class; empty for one from outside the project."""
    target = f"{cls.__module__}:{cls.__qualname__}"
    return next((name for name, found in TABLES[kind].items() if found == target), "")


def build_component(kind: str, component: Component) -> Any:
    """An instance of the strategy or objective with its parameters.

    Raises UsageError for unknown names and wrong parameters.
    """
    cls = find_class(kind, component.name)
    try:
        return TypeAdapter(cls).validate_json(json.dumps(component.params), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "parameters"
        raise UsageError(
            f"{component.name}: {field}: {first['msg']}",
            remedy=f"parameters of {component.name}: {inspect.signature(cls)}",
        ) from error


def find_class(kind: str, name: str) -> type[Any]:
    """The class of a strategy, an objective or a network. Raises UsageError where there is none,
    with the nearest names."""
    found, base = _find_object(kind, name), _find_attribute(BASES[kind])
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise UsageError(
            f"{name} is not a {base.__name__}", remedy=f"subclass {base.__module__}.{base.__name__}"
        )
    return found


def find_dataset(name: str) -> Any:
    """The data set of this name. Raises UsageError where there is none, with the nearest names."""
    library, _, rest = name.partition(":")
    if library in DATA_LIBRARIES:
        return _find_attribute(DATA_LIBRARIES[library])(rest)
    found, base = _find_object("datasets", name), _find_attribute(BASES["datasets"])
    made = found() if inspect.isclass(found) else found
    if not isinstance(made, base):
        raise UsageError(
            f"{name} is not a {base.__name__}",
            remedy=f"give it the attributes and methods of {base.__module__}.{base.__name__}",
        )
    return made


def _find_object(kind: str, name: str) -> Any:
    """The object behind a name. Raises UsageError where there is none, with the nearest names."""
    if ":" in name:
        return _find_attribute(name)
    if name in TABLES[kind]:
        return _find_attribute(TABLES[kind][name])
    installed = installed_components(kind)
    if name in installed:
        return installed[name].load()
    known = [*component_names(kind), *sorted(installed)]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
    raise UsageError(f"no {WORDS[kind]} '{name}'", remedy=f"did you mean {', '.join(close)}?")


def _find_attribute(target: str) -> Any:
    """What `module:name` or `file.py:name` stands for; None where the module has no such name."""
    place, _, attribute = target.rpartition(":")
    return getattr(
        _import_file(place) if place.endswith(".py") else _import_module(place), attribute, None
    )


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"cannot import {name}: {error}", remedy="install it, or give `path/to/file.py:Class`"
        ) from error


def _import_file(path: str) -> ModuleType:
    name = f"albench_plugin_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise UsageError(f"no plug-in file {path}", remedy="give `path/to/file.py:Class`")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(
            f"the plug-in {path} fails to load: {error!r}",
            remedy="run the file by itself to see where",
        ) from error
    return module
