"""Acquisition functions, one file each; the file's stem is the name a suite uses."""

from benchmark.al.strategies.base import Picks, ScoreStrategy, Strategy, View

__all__ = ["Picks", "ScoreStrategy", "Strategy", "View"]
