"""Which blocks the once-for-all networks of DIAM are made of (tangypnuaa/DIAM at cddf397; OFA's
configuration files, han-cai/files at a7c9bcd): sub-networks of OFA's MobileNetV3 of width 1.0,
"specialised" for three telephones.

Facts of the configuration files, no weights. The names are those of OFA's files; R is the side a
network is trained at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WIDTHS = (24, 40, 80, 112, 160)
"""Output channels of the five stages."""
STRIDES = (2, 2, 2, 1, 2)
"""Stride of the first block of each stage; every other block has 1."""
EXCITED = (False, True, False, True, True)
"""Whether a stage's blocks have squeeze-and-excitation."""
ACTIVATIONS: tuple[Literal["relu", "h_swish"], ...] = (
    "relu",
    "relu",
    "h_swish",
    "h_swish",
    "h_swish",
)
TEACHER = "ofa_D4_E6_K7"
"""The largest sub-network, OFA's ImageNet teacher: coreset's fixed feature extractor."""


@dataclass(frozen=True)
class OfaNet:
    """One sub-network: `blocks[stage]` holds (kernel, expansion) of each of the stage's blocks."""

    name: str
    side: int
    blocks: tuple[tuple[tuple[int, int], ...], ...]
    dropout: float = 0.1


def _net_table(name: str, side: int, *stages: str, dropout: float = 0.1) -> OfaNet:
    pairs = (
        tuple(tuple(map(int, block.split("/"))) for block in stage.split()) for stage in stages
    )
    return OfaNet(name, side, tuple(pairs), dropout)  # type: ignore[arg-type]


TARGETS = (
    _net_table(
        "note10_lat@22ms_top1@76.6_finetune@25",
        224,
        "3/3 3/3",
        "5/3 3/4 3/4",
        "7/4 5/4 5/4",
        "5/4 3/6 3/4",
        "3/6 3/6 3/6 3/3",
    ),
    _net_table(
        "note10_lat@16ms_top1@75.5_finetune@25",
        192,
        "3/3 3/3",
        "5/3 5/4 3/4 3/3",
        "5/4 5/4 3/3",
        "5/4 5/4 3/3",
        "3/6 7/4 5/4 3/3",
    ),
    _net_table(
        "note10_lat@11ms_top1@73.6_finetune@25",
        176,
        "3/3 3/3",
        "5/4 3/4",
        "5/4 3/4",
        "3/4 3/3 3/3",
        "3/4 5/4 5/4",
    ),
    _net_table(
        "note10_lat@8ms_top1@71.4_finetune@25",
        160,
        "3/3 3/3",
        "3/3 3/4",
        "3/4 3/3 3/3",
        "3/3 3/4",
        "3/4 5/4",
    ),
    _net_table(
        "note8_lat@65ms_top1@76.1_finetune@25",
        204,
        "7/3 3/3",
        "3/4 5/4 3/3",
        "7/6 3/6 3/4",
        "5/6 3/6 3/4",
        "5/6 5/4 5/4 3/3",
    ),
    _net_table(
        "note8_lat@49ms_top1@74.9_finetune@25",
        176,
        "5/3 3/4",
        "5/4 3/4 7/4",
        "7/4 7/3 3/4",
        "3/4 3/6 3/4",
        "3/6 5/6 3/6 5/4",
    ),
    _net_table(
        "note8_lat@31ms_top1@72.8_finetune@25",
        152,
        "5/3 3/3",
        "5/4 5/3",
        "3/4 3/4 5/4",
        "3/4 5/3 7/4",
        "3/6 3/3 5/3 5/3",
    ),
    _net_table(
        "note8_lat@22ms_top1@70.4_finetune@25",
        140,
        "3/3 3/3",
        "5/3 5/3",
        "7/4 3/3",
        "5/3 3/4",
        "3/6 7/6",
    ),
    _net_table(
        "s7edge_lat@88ms_top1@76.3_finetune@25",
        192,
        "5/3 3/4",
        "5/6 3/6 3/4",
        "7/4 5/6 5/3",
        "5/6 5/6 3/4 5/4",
        "3/6 7/6 3/6 3/4",
    ),
    _net_table(
        "s7edge_lat@58ms_top1@74.7_finetune@25",
        192,
        "3/3 3/3",
        "5/3 3/4",
        "7/4 5/3 3/4 3/3",
        "3/4 3/4 3/3",
        "3/6 5/4 5/4",
    ),
    _net_table(
        "s7edge_lat@41ms_top1@73.1_finetune@25",
        160,
        "3/3 3/3",
        "5/3 3/4",
        "7/4 5/4",
        "3/4 3/4 3/3",
        "3/6 5/4 3/3 3/3",
    ),
    _net_table(
        "s7edge_lat@29ms_top1@70.5_finetune@25",
        144,
        "3/3 3/3",
        "5/3 3/4",
        "5/4 3/4",
        "5/4 5/4",
        "3/6 5/3",
    ),
)
"""The twelve target models in DIAM's order: a setting of k models uses the first k."""

NETS = {
    net.name: net
    for net in (*TARGETS, _net_table(TEACHER, 224, *["7/6 7/6 7/6 7/6"] * 5, dropout=0.0))
}
