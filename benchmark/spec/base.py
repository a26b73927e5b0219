"""What all specifications share: strict, frozen models and the types of their fields."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]


Natural = Annotated[int, Field(ge=0)]


Fraction = Annotated[float, Field(ge=0, le=1)]


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+()-]*$")]


Reference = Annotated[
    str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.+()-]*|[^:]+:[A-Za-z_][A-Za-z0-9_]*)$")
]
"""A registered name, or `file.py:Class` / `package.module:Class` for one's own."""


DataReference = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z0-9][A-Za-z0-9_.+()-]*|[^:]+:[A-Za-z_][A-Za-z0-9_]*"
        r"|huggingface:[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?)$"
    ),
]
"""A `Reference`, or a folder of Hugging Face files as it is called on the Hub."""


class Spec(BaseModel):
    """Base of everything pinned: unknown keys, wrong types, NaN and infinities are refused;
    instances are immutable."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


def flatten_leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Flatten a JSON-like value into (dotted path, leaf) pairs; lists of scalars count as one
    leaf."""
    if isinstance(value, dict) and value:
        return [
            leaf
            for key, item in value.items()
            for leaf in flatten_leaves(item, f"{path}.{key}" if path else key)
        ]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [
            leaf
            for place, item in enumerate(value)
            for leaf in flatten_leaves(item, f"{path}.{place}")
        ]
    return [(path, value)]
