"""The loss-prediction module of learning loss (Yoo and Kweon, CVPR 2019, section 3.2) as the
releases of TOD (siyuhuang/TOD at 883494b, models/lossnet.py) and ST-CoNAL (soony1213/ST-CoNAL at
43cb8c9, models/query_models.py) have it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.errors import UsageError


class LossPrediction(nn.Module):
    """Each stage output: average pooling, linear, ReLU; all concatenated: linear to one number, no
    activation.

    `windows` are the sides of the pooling windows (stride = side; 0: the whole map). TOD's are 32,
    16, 8, 4 regardless of the image size: on 224-pixel inputs they see only the top left corner of
    each map. 123,905 parameters at the defaults. Raises UsageError for windows that leave more than
    one value per channel.
    """

    def __init__(
        self,
        channels: Sequence[int] = (64, 128, 256, 512),
        windows: Sequence[int] = (32, 16, 8, 4),
        hidden: int = 128,
    ) -> None:
        super().__init__()
        if len(channels) != len(windows):
            raise UsageError(f"{len(windows)} pooling windows for {len(channels)} stage outputs")
        self.windows = tuple(windows)
        self.branches = nn.ModuleList(nn.Linear(count, hidden) for count in channels)
        self.linear = nn.Linear(hidden * len(channels), 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """maps: (b, channels[i], h_i, w_i) each -> predicted losses (b,)."""
        pooled = [self._pool(x, window) for x, window in zip(maps, self.windows, strict=True)]
        hidden = [F.relu(branch(x)) for branch, x in zip(self.branches, pooled, strict=True)]
        predicted: Tensor = self.linear(torch.cat(hidden, dim=1))
        return predicted.squeeze(1)

    @staticmethod
    def _pool(x: Tensor, window: int) -> Tensor:
        if window == 0:
            return x.mean(dim=(2, 3))
        side = min(x.shape[2:])
        if side < window or max(x.shape[2:]) >= 2 * window:
            raise UsageError(
                f"a pooling window of {window} does not give one value on a map of "
                f"{x.shape[2]}x{x.shape[3]}",
                where="objective.params.windows",
                remedy="use windows that fit the network's stage outputs, or 0 for the whole map",
            )
        return F.avg_pool2d(x, window).flatten(1)
