"""Training objectives, one file each; `registry.OBJECTIVES` gives each the name a suite uses."""

from benchmark.al.objectives.base import Batch, Build, CycleData, Objective

__all__ = ["Batch", "Build", "CycleData", "Objective"]
