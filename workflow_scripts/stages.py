"""Stages: named results whose directory is keyed by everything that they depend on.

A stage's label is its readable name and twelve hex digits of a hash over its own settings and its
parents' keys (`sim-pe~3f2a9c1d77e0`). An edited setting makes a new directory: old results are
never overwritten, two experiments share what they have in common, and returning to an old value
costs nothing.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel

KEY_DIGITS = 12

# The version of each step's algorithm, part of its stage's key: raise it when a change of code
# changes results, and the old results stay where they are. (A touched script alone re-runs nothing:
# see profiles/default.)
VERSIONS = {
    "prepare": 1,
    "render": 2,
    "encoder": 1,
    "generator": 2,
    "initialise": 2,
    "look_ahead": 3,
    "pe": 4,
    "query_classes": 2,
    "release_central_images": 2,
    "pretraining": 1,
    "dp_sgd": 2,
    "utility": 2,
    "fidelity": 1,
}


def canonical(value: Any) -> Any:
    """Plain types with sorted keys: what is hashed, handed to jobs and written as JSON."""
    if isinstance(value, BaseModel):
        return canonical(value.model_dump())
    if isinstance(value, dict):
        return {str(key): canonical(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    # 1 and 1.0 are one setting; integral floats hash as integers do.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


@dataclass(frozen=True, eq=False)
class Stage:
    """A result with a name, its own settings and the stages that it depends on."""

    name: str
    settings: dict
    parents: tuple["Stage", ...] = ()

    @cached_property
    def key(self) -> str:
        """Twelve hex digits of SHA-256 over the settings and the parents' keys."""
        content = [canonical(self.settings), [parent.key for parent in self.parents]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:KEY_DIGITS]

    @cached_property
    def label(self) -> str:
        """The name of the stage's directory."""
        return f"{self.name}~{self.key}"

    @cached_property
    def description(self) -> dict:
        """What `settings.json` says beside the results."""
        parents = [parent.label for parent in self.parents]
        return {"name": self.name, "settings": canonical(self.settings), "parents": parents}
