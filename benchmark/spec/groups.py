"""Methods that every suite takes besides its own, by name and in groups: `--methods modern`,
`--methods all,typiclust,ceiling`.

They train under the suite's own protocol. A suite that has a method of the same name keeps its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from benchmark.spec.suite import Component, Method, MethodCost, Suite

CEILING, ALL = "ceiling", "all"
MODERN: Mapping[str, tuple[str, int, bool]] = {
    "typiclust": ("TypiClust: typical images of uncovered clusters", 1, True),
    "probcover": ("ProbCover: balls that cover most images", 1, True),
    "max_herding": ("MaxHerding: largest gain of generalised coverage", 1, True),
    "uherding": ("UHerding: generalised coverage weighted by uncertainty", 1, True),
    "bald": ("BALD: mutual information from 20 passes with dropout", 20, False),
    "batch_bald": ("BatchBALD: joint mutual information from 100 passes with dropout", 100, False),
    "power_bald": ("PowerBALD: draws in proportion to BALD", 20, False),
    "power_margin": ("PowerMargin: draws in proportion to 1 - margin", 1, False),
    "falcun": ("FALCUN: draws by uncertainty and diversity of probabilities", 1, False),
    "alfa_mix": ("ALFA-Mix: predictions that change when labelled features are mixed in", 1, True),
    "dropquery": ("DropQuery: predictions that change when features are dropped", 1, False),
    "cluster_margin": ("Cluster-Margin: small margins from clusters in turn", 1, False),
    "bait": ("BAIT: Fisher information of the last layer", 1, True),
}
"""Title, networks run forward on every candidate, and whether the labelled images are passed too,
by name of the strategy."""
ONE_MODEL = frozenset({"alfa_mix", "dropquery"})
"""Those that are about the last layer of one target model."""
GROUPS: Mapping[str, tuple[str, ...]] = {"modern": tuple(MODERN)}
"""Names of groups and what they stand for."""


def group_methods(suite: Suite) -> dict[str, Method]:
    """Every method of a group that fits the suite and whose name the suite does not give to a
    method of its own, and `ceiling`: one training on all labels."""
    models = len(suite.protocol.trained())
    found = {
        name: Method(
            title=title,
            strategy=Component(name=name),
            cost=MethodCost(scoring=passes * models, scores_labelled=labelled),
        )
        for name, (title, passes, labelled) in MODERN.items()
        if models == 1 or name not in ONE_MODEL
    }
    everything: dict[str, JsonValue] = {
        "initial": {"rule": "uniform", "size": suite.protocol.data.train_size},
        "budget": 1,
        "cycles": 1,
    }
    found[CEILING] = Method(
        title="Ceiling: all labels",
        strategy=Component(name="random"),
        set={"acquisition": everything},
    )
    return {name: method for name, method in found.items() if name not in suite.methods}


def expand_groups(names: Iterable[str], suite: Suite) -> list[str]:
    """The names with those of each group in the group's place, each once; what a suite has by
    itself stays a method. `all` stands for every method of the suite."""
    fitting = {*group_methods(suite), *suite.methods}
    groups = {**GROUPS, ALL: tuple(suite.methods)}
    found: list[str] = []
    for name in names:
        members = groups[name] if name in groups and name not in suite.methods else (name,)
        found += [member for member in members if member in fitting or len(members) == 1]
    return list(dict.fromkeys(found))
