"""Training objectives, one file each; the file's stem is the name a suite uses."""

from benchmark.al.objectives.base import Batch, Build, CycleData, Objective

__all__ = ["Batch", "Build", "CycleData", "Objective"]
