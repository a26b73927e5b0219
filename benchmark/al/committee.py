"""Several target models that share one labelled set (DIAM): the learner's interface over a list of
learners.

Every member is trained by itself with its own network, size and weight stream; nothing of a
member's result depends on the others. Outputs get a leading axis of models; `accuracy` is the mean
over models, and `spread/models` its population standard deviation, which is never to be mixed with
the spread over seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor

from benchmark.al.learner import InitialWeights, Learner, LearnerData
from benchmark.al.objectives.base import Orders
from benchmark.al.output_name import OutputName
from benchmark.al.pool import Indices
from benchmark.al.random.streams import Streams
from benchmark.al.training.inference import Evaluated
from benchmark.al.training.numerics import Numerics
from benchmark.errors import UsageError


class Committee:
    """Target models side by side."""

    def __init__(self, members: list[Learner]) -> None:
        self.members = members
        self.metrics: dict[str, float] = {}

    @property
    def streams(self) -> Streams:
        """The trial's streams."""
        return self.members[0].streams

    @property
    def numerics(self) -> Numerics:
        """How arithmetic is done."""
        return self.members[0].numerics

    @property
    def orders(self) -> Orders:
        """In which orders images are gone through."""
        return self.members[0].orders

    @property
    def initial(self) -> InitialWeights | None:
        """Where networks start, if not where they are drawn."""
        return self.members[0].initial

    @property
    def parts(self) -> LearnerData:
        """The first model's images and everybody's labels."""
        return self.members[0].parts

    @property
    def epochs(self) -> int:
        """Epochs of one cycle, all models together."""
        return sum(member.epochs for member in self.members)

    def start_cycle(self, cycle: int, needs: Iterable[str]) -> None:
        """Every member starts its cycle."""
        for member in self.members:
            member.start_cycle(cycle, needs)

    def fit(
        self,
        cycle: int,
        labelled: Indices,
        unlabelled: Indices,
        needs: Iterable[str],
        resume: Mapping[str, Any] | None = None,
        after_epoch: Callable[[int, float, Callable[[], dict[str, Any]]], None] = lambda *_: None,
    ) -> None:
        """Train the members one after the other; the saved state holds those that are done and the
        one under way."""
        done: list[dict[str, Any]] = list(resume["done"]) if resume is not None else []
        for place, member in enumerate(self.members):
            if place < len(done):
                member.start_cycle(cycle, needs)
                member.load_progress(done[place])
                continue
            before = sum(other.epochs for other in self.members[:place])

            def after(
                epochs: int, loss: float, state: Callable[[], dict[str, Any]], before: int = before
            ) -> None:
                after_epoch(
                    before + epochs,
                    loss,
                    lambda: {"epochs": before + epochs, "done": list(done), "member": state()},
                )

            under_way = (
                resume["member"] if resume is not None and place == len(resume["done"]) else None
            )
            member.fit(cycle, labelled, unlabelled, needs, under_way, after)
            done.append(member.trained())

    def finish_cycle(self) -> Evaluated:
        """Evaluate every member; metrics by model are named `accuracy/model<i>`."""
        results = [member.finish_cycle() for member in self.members]
        accuracies = [member.metrics["accuracy"] for member in self.members]
        self.metrics = {
            "accuracy": fmean(accuracies),
            "spread/models": pstdev(accuracies),
            "loss/last": fmean(result.loss for result in results),
        } | {f"accuracy/model{member.place}": member.metrics["accuracy"] for member in self.members}
        for name in ("accuracy/validation", "loss/validation"):
            if name in self.members[0].metrics:
                self.metrics[name] = fmean(member.metrics[name] for member in self.members)
        per_class = tuple(
            fmean(values) for values in zip(*(result.per_class for result in results), strict=True)
        )
        return Evaluated(self.metrics["accuracy"], per_class, self.metrics["loss/last"])

    def outputs(self, names: Iterable[str], indices: Indices, cycle: int) -> dict[str, Tensor]:
        """Each output with a leading axis of models: (models, n, ...). `model<i>.<output>` is one
        model's, and `extractor.<output>` the one fixed network's: (n, ...)."""
        single = {
            name: owner
            for name in set(names)
            if (owner := self._owner(OutputName.parse(name))) is not None
        }
        wanted = set(names) - set(single)
        asked: list[dict[str, str]] = [{name: name for name in wanted} for _ in self.members]
        for name, (place, output) in single.items():
            asked[place][name] = output
        found = [
            member.outputs(set(own.values()), indices, cycle) if own else {}
            for member, own in zip(self.members, asked, strict=True)
        ]
        together = {name: torch.stack([outputs[name] for outputs in found]) for name in wanted}
        return together | {name: found[place][output] for name, (place, output) in single.items()}

    def _owner(self, name: OutputName) -> tuple[int, str] | None:
        """Index of the one member that answers, and the name it knows; None where all do. Raises
        UsageError."""
        if name.owner == "extractor":
            return 0, str(name)
        if name.model is None:
            return None
        places = [member.place for member in self.members]
        if name.model not in places:
            raise UsageError(
                f"the strategy needs '{name}', but the models are {', '.join(map(str, places))}",
                remedy="ask for one of them",
            )
        return places.index(name.model), str(name.of_member)

    def state(self) -> dict[str, Any]:
        """What is carried to the next cycle."""
        return {
            "members": [member.state() for member in self.members],
            "metrics": dict(self.metrics),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        for member, saved in zip(self.members, state["members"], strict=True):
            member.load_state(saved)
        self.metrics = dict(state["metrics"])

    def trained(self) -> dict[str, Any]:
        """What an identical training would leave behind."""
        return {"members": [member.trained() for member in self.members]}

    def load_progress(self, progress: Mapping[str, Any]) -> None:
        """Take back what `trained` returned."""
        for member, saved in zip(self.members, progress["members"], strict=True):
            member.load_progress(saved)

    def uses_unlabelled(self, needs: Iterable[str]) -> bool:
        """Whether the unlabelled list influences training or what is recorded during it."""
        return any(member.uses_unlabelled(needs) for member in self.members)

    def recorded(self, needs: Iterable[str]) -> frozenset[str]:
        """Which needs are recorded while training."""
        return self.members[0].recorded(needs)

    def scoring_images(self, indices: Indices | Tensor) -> Tensor:
        """(b, c, h, w) pool images through the first model's scoring view."""
        return self.members[0].scoring_images(indices)

    def weights(self) -> str:
        """sha256 over the members' weights."""
        return hashlib.sha256(
            "".join(member.weights() for member in self.members).encode()
        ).hexdigest()

    def kept_weights(self) -> str:
        """The same as `finish_cycle` leaves the members."""
        return hashlib.sha256(
            "".join(member.kept_weights() for member in self.members).encode()
        ).hexdigest()
