"""Acquisition functions, one file a family; `registry.STRATEGIES` gives each the name a suite
uses."""

from benchmark.al.strategies.base import Picks, ScoreStrategy, Strategy, View

__all__ = ["Picks", "ScoreStrategy", "Strategy", "View"]
