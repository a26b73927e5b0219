"""Data sets: found, checked, cut, decoded once, cached, and identified by the digest of their content. No torch."""

from benchmark.al.data.catalogue import SOURCES
from benchmark.al.data.dataset import Dataset, DataStatus, Part
from benchmark.al.data.fetching import fetch
from benchmark.al.data.loading import describe, load

__all__ = ["SOURCES", "DataStatus", "Dataset", "Part", "describe", "fetch", "load"]
