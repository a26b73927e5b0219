"""Features of a data set's images from a fixed network, computed once for all suites and trials
that read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark.api.workspace import Workspace
from benchmark.errors import UsageError
from benchmark.spec.data import Data
from benchmark.spec.protocol import FeatureNetwork, Protocol


@dataclass(frozen=True)
class ComputedFeatures:
    """A features file."""

    path: Path
    identity: str
    """sha256 (hex) over the data, the weights, the preprocessing and the code of the network."""
    made: FeatureNetwork
    note: str
    """Why the data are not the published ones; empty where they are."""


def compute_features(
    name: str,
    workspace: Workspace | None = None,
    *,
    network: str | None = None,
    size: int | None = None,
    threads: int = 1,
    on_images: Callable[[int, int], None] = lambda *_: None,
) -> ComputedFeatures:
    """Run a fixed network over all images of a data set, or of the data set of a suite, unless that
    has been done.

    For a suite on an imbalanced pool the whole data set passes, and the features of the pool are
    taken from it.

    name: `cifar10`, or a suite such as `frozen/cifar10`, which also says the network and the side
    of the images in pixels. `on_images` is called with images done and images in all. An
    interrupted call goes on where it stopped.

    Raises UsageError for unknown names and where no network is given, DataError where data or
    weights are absent.
    """
    from benchmark.al import datasets
    from benchmark.al.datasets.features import identity_of
    from benchmark.al.extraction import extract_features, load_network, take_features

    workspace = workspace or Workspace()
    data, pinned = _data_of(name, workspace)
    if pinned is not None:
        network, size = network or pinned.network, size or pinned.size
    if network is None or size is None:
        raise UsageError(
            f"no network or no size is given, and {name} pins none",
            remedy="--network efficientnet_lite0 --size 128",
        )
    built, made = load_network(network, size, workspace.data / "weights")
    dataset = datasets.load(data, workspace.data, workspace.cache)
    # An imbalanced pool is a part of the data set: its images pass with all others, once for every
    # suite.
    entire, _ = (data, None) if data.imbalance is None else _data_of(data.name, workspace)
    whole = dataset if entire is data else datasets.load(entire, workspace.data, workspace.cache)
    path = extract_features(whole, built, made, workspace.data, threads, on_images)
    if data.imbalance is not None:
        path = take_features(whole, path, dataset, data.imbalance, made, workspace.data)
    return ComputedFeatures(path, identity_of(dataset.digest, made), made, dataset.canonical_note)


def _data_of(name: str, workspace: Workspace) -> tuple[Data, FeatureNetwork | None]:
    """The images that are meant, and the network that a suite pins for them. Raises UsageError."""
    from benchmark.al import datasets
    from benchmark.spec.selectors import match_suites, parse_selector

    if "/" in name:
        protocols = [
            suite.suite.protocol
            for suite in match_suites(parse_selector(name).suite, workspace.suites)
        ]
        if len(protocols) != 1:
            raise UsageError(
                f"'{name}' stands for {len(protocols)} suites", remedy="name one suite"
            )
        return protocols[0].data, _network_of(protocols[0])
    if name not in datasets.SOURCES:
        raise UsageError(
            f"no data set or suite '{name}'",
            remedy=f"data sets: {', '.join(sorted(datasets.SOURCES))}",
        )
    for suite in match_suites("*", workspace.suites):
        data = suite.suite.protocol.data
        if data.name == name and data.imbalance is None and data.limit is None and not data.decode:
            return data, None
    raise UsageError(
        f"no suite uses all of {name} as it was published", remedy="name a suite: frozen/cifar10"
    )


def _network_of(protocol: Protocol) -> FeatureNetwork | None:
    pinned = protocol.features.get(protocol.inputs or "")
    return None if pinned is None else pinned.made
