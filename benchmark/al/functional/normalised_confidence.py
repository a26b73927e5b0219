"""The uncertainty of PT4AL and BAL: top-1 probability of the softmax of L2-normalised logits, smallest first.

PT4AL: Yi et al., ECCV 2022, johnsk95/PT4AL at 9a0da4a, main.py get_plabels2. BAL: Li et al., TPAMI 2024,
dvlab-research/BAL at 140d279, main.py get_confidence.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def normalised_confidence(logits: Tensor) -> Tensor:
    """logits (n, classes) -> (n,). The length of the logit vector has no influence: not ordinary least-confidence."""
    return F.normalize(logits, dim=1).softmax(dim=1).amax(dim=1)
