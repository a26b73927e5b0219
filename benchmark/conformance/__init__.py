"""What every strategy keeps to, as checks that run on anybody's: `albench verify-method
FILE.py:Class` and our own tests."""

from benchmark.conformance.checks import CHECKS, Finding, Result, check
from benchmark.conformance.scenario import Scenario

__all__ = ["CHECKS", "Finding", "Result", "Scenario", "check"]
