"""Data sets: found, checked, cut, decoded once, cached, and identified by the digest of their
content. No torch."""

from benchmark.al.datasets.catalogue import SOURCES
from benchmark.al.datasets.dataset import Dataset, DataStatus, Part
from benchmark.al.datasets.fetching import fetch
from benchmark.al.datasets.loading import describe, load

__all__ = ["SOURCES", "DataStatus", "Dataset", "Part", "describe", "fetch", "load"]
