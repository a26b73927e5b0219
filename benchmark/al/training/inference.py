"""Forward passes without training: many outputs of many networks from one pass over the images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

import torch
from torch import Tensor, nn

from benchmark.al.augmentation.images import ImageSource
from benchmark.al.functional.scores import require_finite
from benchmark.al.networks.outputs import Outputs
from benchmark.al.output_name import OutputName
from benchmark.al.random.philox import Counter
from benchmark.al.training.numerics import Numerics, promote_dtype
from benchmark.errors import UsageError

Networks = Mapping[str, nn.Module | list[nn.Module]]
"""By name; `""` is the trained network, a list is several that are asked together."""


@dataclass(frozen=True)
class Evaluated:
    """Test accuracy in percent, overall and per class, and the mean cross-entropy."""

    accuracy: float
    per_class: tuple[float, ...]
    loss: float


@dataclass(frozen=True)
class Inference:
    """How images are passed through networks: in batches of a fixed size, in eval mode, through one
    view."""

    images: ImageSource
    batch_size: int
    numerics: Numerics
    heads: Mapping[str, Callable[[Outputs], Tensor]] = field(default_factory=dict)
    """Outputs by name that are computed from a network's own."""
    counter: Counter | None = None
    pass_: int = 0

    @torch.inference_mode()
    def outputs(self, networks: Networks, names: set[str], indices: Tensor) -> dict[str, Tensor]:
        """Each `<network>.<output>` for all images: (n, ...), or (networks, n, ...) where the name
        stands for several.

        Every network sees every image once, and all of them see the same tensor. Raises UsageError
        for a network that is not there.
        """
        wanted: dict[str, list[tuple[str, str]]] = {}
        for name in sorted(names):
            asked = OutputName.parse(name)
            wanted.setdefault(asked.owner, []).append((name, asked.output))
            self._check(asked.output)
        groups = {owner: _group_networks(networks, owner) for owner in wanted}
        for network in itertools.chain(*groups.values()):
            network.eval()
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        indices = indices.to(self.numerics.device)
        for start in range(0, len(indices), self.batch_size):
            chunk = indices[start : start + self.batch_size]
            batch = self._batch(chunk)
            for owner, outputs in wanted.items():
                with self.numerics.autocast():
                    passes: list[Outputs] = [network(batch) for network in groups[owner]]
                    # Heads are networks too: in half precision they take what the network gives
                    # only under autocast.
                    for name, output in outputs:
                        read = self.heads[output] if output in self.heads else attrgetter(output)
                        found[name].append(
                            torch.stack([promote_dtype(read(out)[: len(chunk)]) for out in passes])
                        )
        whole = {name: torch.cat(pieces, dim=1) for name, pieces in found.items()}
        several = {
            name
            for owner, outputs in wanted.items()
            if isinstance(networks[owner], list)
            for name, _ in outputs
        }
        return {name: value if name in several else value[0] for name, value in whole.items()}

    def _check(self, output: str) -> None:
        if output not in self.heads and output not in Outputs._fields:
            raise UsageError(
                f"the strategy needs the output '{output}', which neither the network nor the "
                "objective makes",
                remedy=(
                    "pair it with an objective that makes it; made here: "
                    f"{', '.join((*Outputs._fields, *self.heads))}"
                ),
            )

    def evaluate(self, model: nn.Module, labels: Tensor) -> Evaluated:
        """Accuracy on all images of the view. Raises AlbenchError where a logit is not finite."""
        everything = torch.arange(len(labels), device=self.numerics.device)
        logits = self.outputs({"": model}, {"logits"}, everything)["logits"]
        hit = logits.argmax(dim=1) == labels
        belongs = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
        loss = nn.functional.cross_entropy(logits.double(), labels)
        # One copy for all figures, so that the host waits once.
        single = torch.stack([torch.isfinite(logits).all().double(), loss, hit.sum().double()])
        of_classes = torch.stack([(belongs & hit[:, None]).sum(dim=0), belongs.sum(dim=0)]).double()
        found = torch.cat([single, of_classes.flatten()]).tolist()
        (finite, mean, right), rights, sizes = (
            found[:3],
            found[3 : 3 + len(of_classes[0])],
            found[-len(of_classes[0]) :],
        )
        if not finite:
            require_finite("logits of the test images", logits)
        per_class = tuple(
            some / size * 100 if size else 0.0 for some, size in zip(rights, sizes, strict=True)
        )
        return Evaluated(right / len(labels) * 100, per_class, mean)

    def _batch(self, chunk: Tensor) -> Tensor:
        # A short last batch is padded: other batch sizes may round differently.
        padded = torch.cat([chunk, chunk[:1].expand(self.batch_size - len(chunk))])
        return self.images.batch(padded, self.counter, 0, self.pass_)


def _group_networks(networks: Networks, owner: str) -> list[nn.Module]:
    if owner not in networks:
        known = ", ".join(sorted(name for name in networks if name)) or "none"
        raise UsageError(
            f"the strategy needs outputs of the network '{owner}', which this training does not "
            "keep",
            remedy=f"pair it with an objective or a protocol that keeps it; kept here: {known}",
        )
    found = networks[owner]
    return found if isinstance(found, list) else [found]
