"""albench: re-runs published deep active-learning papers as pinned and judges their numbers with statistics."""

__version__ = "0.1.0"
