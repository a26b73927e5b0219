"""Names of what a strategy needs, taken apart in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

LABELLED, PRETEXT, FEATURES, HEAD = "labelled", "pretext", "features", "head"
"""Parts of names: the same output on labelled images; an array over the pool from the stage before
the first cycle, or from a file; the last linear layer of a network."""
PASSES = ("dropout", "perturbed")
"""First parts of names that a number follows: that many passes of the trained network."""
LABELS = "labelled.labels"
"""The one name of labels: those of the images that are labelled."""


@dataclass(frozen=True)
class OutputName:
    """`[labelled.][model<i>.][<network>.]<output>`, as strategies declare it and learners are asked
    for it."""

    output: str
    """`logits`, `features`, what an objective or a recorder adds, or an array of the pretext
    stage."""
    network: str = ""
    """Which of the networks that a learner keeps; empty for the trained one, `pretext` and
    `features` for arrays over the pool, `head` for the last linear layer, `dropout<k>` and
    `perturbed<k>` for k passes of the trained network."""
    model: int | None = None
    """The one target model that is meant (None: all)."""
    labelled: bool = False
    """Whether it is computed on the labelled images instead of the candidates."""

    @staticmethod
    def parse(text: str) -> OutputName:
        """The parts of a name; `str` of the result is the name again."""
        head, _, output = text.rpartition(".")
        parts = head.split(".") if head else []
        labelled = parts[:1] == [LABELLED]
        if labelled:
            parts = parts[1:]
        number = re.fullmatch(r"model(0|[1-9]\d*)", parts[0]) if parts else None
        model = None if number is None else int(number[1])
        return OutputName(output, ".".join(parts if number is None else parts[1:]), model, labelled)

    def __str__(self) -> str:
        return ".".join(
            (
                *([LABELLED] if self.labelled else []),
                *([self.owner] if self.owner else []),
                self.output,
            )
        )

    @property
    def owner(self) -> str:
        """Model and network, as in the name."""
        model = [] if self.model is None else [f"model{self.model}"]
        return ".".join((*model, *([self.network] if self.network else [])))

    @property
    def is_static(self) -> bool:
        """Whether it is there before the first cycle, for the whole pool and for good: from a stage
        or from a file."""
        return self.network in (PRETEXT, FEATURES)

    @property
    def passes(self) -> tuple[str, int] | None:
        """Kind and number of passes of the trained network; None for other names."""
        found = re.fullmatch(rf"({'|'.join(PASSES)})([1-9]\d*)", self.network)
        return None if found is None else (found[1], int(found[2]))

    @property
    def headed(self) -> str | None:
        """The network whose last linear layer is meant; None for outputs that belong to images."""
        owner, _, last = self.network.rpartition(".")
        return owner if last == HEAD else None

    @property
    def unlabelled(self) -> OutputName:
        """The same output, without the images it is computed on."""
        return replace(self, labelled=False)

    @property
    def of_member(self) -> OutputName:
        """The name by which the one model knows it."""
        return replace(self, model=None)
