"""Identities: what makes two trials the same question.

`trial_id` is a pure function of what is asked. Executor, paths, titles and reported values are not
in it, so they can change without losing results. Fields that equal their default are left out
before hashing: adding a new field with a default keeps every old id. Changing a default would not,
and is forbidden (tests/spec/test_identity.py has golden ids).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from benchmark.spec.base import Spec
from benchmark.spec.suite import Trial

IDENTITY_VERSION = 1
SHORT = 16
"""Hex digits of an id in folder names and tables; the whole id is in the files."""


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, no NaN. Raises ValueError for what JSON cannot
    hold."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    """sha256 (hex) of the canonical JSON of `value`; models are dumped without fields that equal
    their default."""
    if isinstance(value, Spec):
        value = value.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _identifying_values(spec: Spec) -> Any:
    """The values of a model that are not at their default, without the places of files whose digest
    is among them."""
    return _without_places(spec.model_dump(mode="json", exclude_defaults=True))


def _without_places(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_places(part) for part in value]
    if not isinstance(value, dict):
        return value
    found = {key: _without_places(part) for key, part in value.items()}
    if found.keys() >= {"name", "code"}:
        # The digest of the file says what runs; where the file lies does not.
        found["name"] = found["name"].rpartition(":")[2]
    if found.keys() in ({"file", "sha256"}, {"file", "made"}):
        del found["file"]
    return found


def trial_id(trial: Trial) -> str:
    """The identity of a trial: sha256 (hex) over protocol, strategy, objective, profile, seed and
    data digest."""
    return digest(
        {
            "identity": IDENTITY_VERSION,
            "protocol": _identifying_values(trial.protocol),
            "strategy": _identifying_values(trial.strategy),
            "objective": _identifying_values(trial.objective),
            "profile": trial.profile,
            "seed": trial.seed,
            "data": trial.data_digest,
        }
    )
